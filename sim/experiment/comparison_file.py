"""`comparison.json`: a comparison written, and read back."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from sim.causes.columns import totals_by_policy
from sim.experiment.comparison import VERSION, Comparison, TieSpread, compare_runs, no_ties
from sim.experiment.effects import Bounds, Effect, PolicyEffects
from sim.experiment.paired import Evidence, Paired
from sim.gates.judge import GateResult, overall
from sim.results import Run, RunDirectoryError, as_json, has_key, is_run, read_run

COMPARISON: Final = "comparison.json"


def is_comparison(path: Path) -> bool:
    """True if `path` holds a comparison."""
    return has_key(path / COMPARISON, "rehearse_comparison")


def write_comparison(comparison: Comparison, folders: dict[str, str], out: Path) -> None:
    """Write the file; the run directories stand beside it."""
    (out / COMPARISON).write_text(as_json(as_data(comparison, folders)), encoding="utf-8")


def as_data(comparison: Comparison, folders: dict[str, str]) -> dict[str, Any]:
    """What `comparison.json` holds."""
    paired = comparison.paired
    return {
        "rehearse_comparison": VERSION,
        "baseline": comparison.baseline,
        "policies": [
            {
                "policy": name,
                "folder": folders[name],
                "complete": run.complete,
                "message": run.manifest["message"],
                "fingerprint": run.manifest["fingerprint"],
            }
            for name, run in comparison.runs.items()
        ],
        "groups": [asdict(group) for group in comparison.groups],
        "shifts": {name: asdict(found) for name, found in comparison.shifts.items()},
        "ties": asdict(comparison.ties),
        "bounds": comparison.bounds,
        "causes": totals_by_policy(comparison.runs),
        "evidence": None if paired is None else asdict(paired.evidence),
        "effects": {} if paired is None else {name: asdict(found) for name, found in paired.policies.items()},
        "gates": None
        if not comparison.gates
        else {"outcome": overall(comparison.gates), "results": [asdict(each) for each in comparison.gates]},
    }


def read_comparison(path: Path) -> Comparison:
    """The comparison of a directory, or a single run as a comparison with itself. Raises `RunDirectoryError`."""
    if is_run(path):
        run: Run = read_run(path)
        return compare_runs([run], run.name, no_ties("a single run"))
    if not is_comparison(path):
        raise RunDirectoryError(f"{path}: is neither a comparison nor a run directory")
    data = json.loads((path / COMPARISON).read_text(encoding="utf-8"))
    if data["rehearse_comparison"] != VERSION:
        raise RunDirectoryError(
            f"{path}: is of version {data['rehearse_comparison']!r}; this program reads {VERSION}"
        )
    try:
        return _from_data(data, path)
    except (KeyError, TypeError, AttributeError) as error:
        raise RunDirectoryError(
            f"{path}: {COMPARISON} is not whole, or another version wrote it: {type(error).__name__}: {error};"
            " compare again"
        ) from error


def _from_data(data: dict[str, Any], path: Path) -> Comparison:
    runs = [read_run(path / each["folder"]) for each in data["policies"]]
    found = compare_runs(
        runs,
        data["baseline"],
        TieSpread(**data["ties"]),
        counted=_counted(runs[0], data["evidence"]),
        paired=_paired(data),
        gates=[GateResult(**each) for each in (data["gates"] or {"results": []})["results"]],
    )
    return replace(found, bounds=data["bounds"])


def _counted(run: Run, evidence: dict[str, Any] | None) -> np.typing.NDArray[np.bool_] | None:
    if evidence is None:
        return None
    submit_ms = run.jobs.submit_ms
    first, last = submit_ms.min() + evidence["warm_up_ms"], submit_ms.max() - evidence["drain_ms"]
    found: np.typing.NDArray[np.bool_] = (submit_ms >= first) & (submit_ms <= last)
    return found


def _paired(data: dict[str, Any]) -> Paired | None:
    if data["evidence"] is None:
        return None
    policies = {
        name: PolicyEffects(
            metrics=[_effect(each) for each in found["metrics"]],
            groups=[_effect(each) for each in found["groups"]],
            worst_off={kind: _effect(each) for kind, each in found["worst_off"].items()},
            winners=found["winners"],
            losers=found["losers"],
        )
        for name, found in data["effects"].items()
    }
    return Paired(evidence=Evidence(**data["evidence"]), policies=policies)


def _effect(data: dict[str, Any]) -> Effect:
    bounds = {key: None if data[key] is None else Bounds(**data[key]) for key in ("difference", "ratio")}
    return Effect(**{**data, **bounds})
