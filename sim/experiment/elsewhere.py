"""A baseline that is not replayed here: the run of a directory, made perhaps by an older version, perhaps on another machine."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from sim.experiment.compare import Given
from sim.experiment.plan import plan_of, subjects_of
from sim.experiment.prepare import Prepared
from sim.experiment.sampler import observe
from sim.jobs_table import deadlines_of
from sim.results import Run, RunDirectoryError, read_run
from sim.run import InputError, cluster_data


def baseline_of_run(prepared: Sequence[Prepared], path: Path) -> Given:
    """The run of a directory as the baseline. Raises `InputError` unless it is of the same jobs, fleet and rules."""
    try:
        run = read_run(path)
    except RunDirectoryError as error:
        raise InputError(f"--baseline-run {error}") from error
    problems = list(_problems(prepared, run))
    if problems:
        raise InputError("\n".join(f"--baseline-run {path}: {problem}" for problem in problems))
    first = prepared[0]
    # because: an older version did not write the deadlines, and it is the same trace
    run = replace(run, jobs=replace(run.jobs, deadline_ms=deadlines_of(first.trace.records)))
    counted = subjects_of([first], plan_of(first.scenario)).counted[0]
    observed = [[observe(run, counted)]]
    return Given(*relabelled(run, first, f"{run.name} ({path.name})", {"run": str(path)}), observed)


def relabelled(run: Run, prepared: Prepared, name: str, source: dict[str, str]) -> tuple[str, Run]:
    """The run under another name, beside a policy of the same name; its manifest says where it comes from."""
    manifest = {**run.manifest, "policy": {**run.manifest["policy"], "spec": name}, "baseline": source}
    return name, replace(run, manifest=manifest, records=prepared.trace.records)


def _problems(prepared: Sequence[Prepared], run: Run) -> Iterator[str]:
    first = prepared[0]
    if len(prepared) > 1 or plan_of(first.scenario).replications > 1:
        yield "is one replay of one trace: it cannot be compared with several traces or replications"
    if not run.complete:
        yield f"its policy broke off: {run.manifest['message']}"
    if run.is_fill or first.rules.fill:
        yield "a static fill has no time: nothing can be compared"
    if run.manifest["inputs"]["trace"]["sha256"] != first.trace.sha256:
        yield f"is of another trace: {run.manifest['inputs']['trace']['path']}"
    elif _without_places(run.manifest["inputs"].get("services", [])) != _without_places(first.services_data()):
        yield "has other services"
    elif run.jobs.text("job_id").to_pylist() != [job.job_id for job in first.trace.records]:
        yield "has other jobs of the same file: the trace was read otherwise"
    if _fleet(run.manifest["inputs"]["cluster"]) != _fleet(cluster_data(first.loaded)):
        yield f"is of another fleet: {run.manifest['inputs']['cluster']['source']}"
    yield from _differ("rule", run.manifest["rules"], _plain(asdict(first.rules)))
    yield from _differ("model", run.manifest["world"], _plain(first.world.decided(first.loaded.fleet).as_data()))


def _without_places(services: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What makes services, wherever the files of their rates stand."""
    return [{**_plain(each), "rate_file": None} for each in services]


def _fleet(data: dict[str, Any]) -> dict[str, Any]:
    """What makes a fleet, wherever its file stands."""
    return {key: data[key] for key in ("sha256", "servers", "devices_by_accelerator")}


def _plain(data: dict[str, Any]) -> dict[str, Any]:
    """As it comes back from a file."""
    found: dict[str, Any] = json.loads(json.dumps(data))
    return found


def _differ(what: str, there: dict[str, Any], here: dict[str, Any]) -> Iterator[str]:
    """The settings that both have and that are not the same. An oracle is granted to a policy, not to a comparison."""
    for key in sorted(there.keys() & here.keys() - {"oracle"}):
        if there[key] != here[key]:
            yield f"was replayed otherwise: {what} {key} was {there[key]!r} and is {here[key]!r}"
