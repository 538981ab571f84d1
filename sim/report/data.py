"""The figures behind every table and picture of a page, as Parquet beside it: `docs/reference/report.md` says which."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from sim.causes.columns import totals_by_policy
from sim.experiment.effects import Effect
from sim.gates.judge import GateResult
from sim.metrics.registry import BY_NAME
from sim.report.models import figures
from sim.report.page_inputs import inputs
from sim.report.shown import Shown
from sim.report.voice import plain
from sim.results import RunDirectoryError

Rows = list[dict[str, Any]]

_TEXTS: Final = (
    "policy metric quantity kind group unit better margin verdict why gate outcome because job_id queue user under phase"
    " cause waiting name accelerator topic meaning confidence source what told sha256 fingerprint"
)
_INTEGERS: Final = (
    "jobs blocks blocks_needed servers devices row compared longer shorter only_policy only_baseline baseline_wait_ms"
    " change_ms"
)
_FLAGS: Final = "loses peeks estimated"

_TYPES: Final[Mapping[str, Any]] = {
    **dict.fromkeys(_TEXTS.split(), pa.string()),
    **dict.fromkeys(_INTEGERS.split(), pa.int64()),
    **dict.fromkeys(_FLAGS.split(), pa.bool_()),
}
"""Type of a column by its name, the same in every file; what is not here is a number with a point."""


def tables(shown: Shown) -> dict[str, Any]:
    """Name -> `pyarrow.Table`; a table without rows is left out."""
    found = {
        "metrics": _metrics(shown),
        "effects": list(_effects(shown)),
        "gates": _gates(shown.comparison.gates),
        "shifts": _shifts(shown),
        "movers": _movers(shown),
        "gantt": _gantt(shown),
        "waits": _waits(shown),
        "over_time": _over_time(shown),
        "heat": _heat(shown),
        "causes": _causes(shown),
        "fill": _fill(shown),
        "bounds": _bounds(shown),
        "semantics": _semantics(shown),
        "models": [each._asdict() for each in figures(shown.comparison)],
        "inputs": _inputs(shown),
    }
    return {name: _table(rows) for name, rows in found.items() if rows}


def write_tables(found: Mapping[str, Any], folder: Path) -> dict[str, int]:
    """Write them into `folder`, in place of those of an older page; file -> rows.

    Raises `RunDirectoryError` if something else stands there.
    """
    older = list(folder.iterdir()) if folder.is_dir() else []
    if (folder.exists() and not folder.is_dir()) or any(each.suffix != ".parquet" for each in older):
        raise RunDirectoryError(
            f"{folder}: exists and holds something else; the figures of the page would stand there"
        )
    for each in older:
        each.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in found.items():
        pq.write_table(table, folder / f"{name}.parquet", compression="zstd")
    return {f"{name}.parquet": table.num_rows for name, table in found.items()}


def _table(rows: Rows) -> Any:
    names = list(rows[0])
    columns = {name: pa.array([row[name] for row in rows], type=_TYPES.get(name, pa.float64())) for name in names}
    return pa.table(columns)


def _metrics(shown: Shown) -> Rows:
    comparison = shown.comparison
    rows = []
    for group in comparison.groups:
        for policy in comparison.names:
            for name, value in group.values[policy].items():
                base = group.values[comparison.baseline][name]
                rows.append(
                    {
                        "kind": group.kind,
                        "group": group.name,
                        "jobs": group.jobs,
                        "policy": policy,
                        "metric": name,
                        "unit": BY_NAME[name].unit,
                        "better": BY_NAME[name].better,
                        "value": value,
                        "difference": None if value is None or base is None else value - base,
                        "ties_width": comparison.ties.width(policy, name) if group.kind == "all" else None,
                    }
                )
    return rows


def _effects(shown: Shown) -> Iterator[dict[str, Any]]:
    paired = shown.comparison.paired
    for policy, found in ({} if paired is None else paired.policies).items():
        for effect in (*found.metrics, *found.groups):
            yield {"policy": policy, **_effect(effect)}


def _effect(effect: Effect) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for field in fields(effect):
        value = getattr(effect, field.name)
        if field.name in ("difference", "ratio"):
            for end in ("value", "low", "high"):
                row[f"{field.name}_{end}"] = None if value is None else getattr(value, end)
        else:
            row["group" if field.name == "name" else field.name] = value
    return row


def _gates(results: Sequence[GateResult]) -> Rows:
    return [asdict(each) for each in results]


def _shifts(shown: Shown) -> Rows:
    keys = ("compared", "longer", "shorter", "only_policy", "only_baseline")
    return [
        {"policy": policy, **{key: getattr(found, key) for key in keys}}
        for policy, found in shown.comparison.shifts.items()
    ]


def _movers(shown: Shown) -> Rows:
    return [
        {
            "policy": policy,
            "loses": each.loses,
            "job_id": each.job_id,
            "queue": each.queue,
            "user": each.user,
            "gpus": each.devices,
            "baseline_wait_ms": each.baseline_wait_ms,
            "wait_ms": each.wait_ms,
            "change_ms": each.change_ms,
        }
        for policy, found in shown.movers.items()
        for each in found
    ]


def _gantt(shown: Shown) -> Rows:
    return [
        {
            "policy": policy,
            "job_id": story.mover.job_id,
            "under": under,
            "phase": phase.kind,
            "from_ms": phase.from_ms,
            "until_ms": phase.until_ms,
        }
        for policy, stories in shown.stories.items()
        for story in stories
        for under, phases in ((shown.comparison.baseline, story.before), (policy, story.now))
        for phase in phases
    ]


def _waits(shown: Shown) -> Rows:
    return [
        {"policy": policy, "wait_ms": float(wait_ms), "share": float(share)}
        for policy, each in shown.waits.items()
        for wait_ms, share in zip(each.wait_ms, each.share, strict=True)
    ]


def _over_time(shown: Shown) -> Rows:
    return [
        {
            "policy": policy,
            "from_ms": float(shown.edges[place]),
            "until_ms": float(shown.edges[place + 1]),
            "devices_allocated": float(each.allocated[place]),
            "devices_waited_for": float(each.waiting[place]),
            "jobs_waiting": float(each.waiting_jobs[place]),
            "devices_fragmented": None if each.fragmented is None else float(each.fragmented[place]),
        }
        for policy, each in shown.over_time.items()
        for place in range(len(shown.edges) - 1)
    ]


def _heat(shown: Shown) -> Rows:
    rows = shown.rows
    if rows is None:
        return []
    return [
        {
            "policy": policy,
            "row": row,
            "name": rows.name[row],
            "accelerator": rows.accelerator[row] or None,
            "servers": int(rows.servers[row]),
            "devices": int(rows.devices[row]),
            "from_ms": float(shown.heat_edges[column]),
            "until_ms": float(shown.heat_edges[column + 1]),
            "allocated_share": float(shares[row, column]),
        }
        for policy, shares in shown.heat.items()
        for row in range(len(rows.name))
        for column in range(shares.shape[1])
    ]


def _causes(shown: Shown) -> Rows:
    return [
        {"policy": policy, "waiting": waiting, "cause": cause, "wait_ms": ms, "jobs": found["jobs"]}
        for policy, found in totals_by_policy(shown.comparison.runs).items()
        for waiting, key in (("first", "wait_ms"), ("again", "wait_again_ms"))
        for cause, ms in found[key].items()
    ]


def _fill(shown: Shown) -> Rows:
    return [
        {
            "policy": policy,
            "arrived_share": float(each.arrived[place]),
            "allocated_share": float(each.allocated[place]),
            "fragmented_share": float(each.fragmented[place]),
        }
        for policy, each in shown.fill.items()
        for place in range(len(each.arrived))
    ]


def _bounds(shown: Shown) -> Rows:
    data = shown.comparison.bounds
    if data is None:
        return []
    own = {"bound_completion_ms": data["mean_completion_ms"], "bound_makespan_ms": data["makespan_ms"]}
    return [{**each, **own} for each in data["policies"]]


def _semantics(shown: Shown) -> Rows:
    return [
        {"policy": policy, "topic": topic, "meaning": str(meaning)}
        for policy, run in shown.comparison.runs.items()
        for topic, meaning in run.manifest["semantics"].items()
    ]


def _inputs(shown: Shown) -> Rows:
    return [
        {"what": row["what"], "told": row["told"], "sha256": row["sha256"], "fingerprint": row["code"] or None}
        for row in inputs(shown.comparison, plain())
    ]
