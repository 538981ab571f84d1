"""One cell: replayed and written whole, or not at all. What a worker process runs.

A result is one Parquet file, `cells/<key>.parquet`, with a row for all jobs and one for each queue and size class: what
varied, the group, every metric. It is written under another name and then renamed, so that a process that is killed
leaves nothing half done.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from sim.experiment.prepare import prepare, replay_prepared
from sim.experiment.scenario import Scenario
from sim.fleet.problems import FleetError
from sim.metrics.registry import METRICS, summary
from sim.results import RunDirectoryError, write_run
from sim.run import InputError
from traces.trace import Trace, TraceError

CELLS: Final = "cells"
RUNS: Final = "runs"


class Job(NamedTuple):
    """What a worker is told."""

    number: int
    key: str
    varied: dict[str, Any]
    scenario: dict[str, Any]
    """As `Scenario.model_dump` gives it: plain data, which any executor can carry."""
    out: str
    keep_runs: bool


class Done(NamedTuple):
    """What came of a cell."""

    number: int
    key: str
    error: str | None
    """None if its result is written."""


_last_trace: list[tuple[tuple[str, str | None], Trace]] = []
"""The trace that this process read last: most cells of a sweep share it."""


def run_cell(job: Job) -> Done:
    """Replay a cell and write its result. Wrong input and a policy that fails are told, not raised."""
    try:
        scenario = Scenario.model_validate(job.scenario)
        assert scenario.policy is not None, "every cell has a policy"
        prepared = prepare(scenario, [scenario.policy], trace=_known(scenario))
        _last_trace[:] = [((scenario.trace, scenario.format), prepared.trace)]
        run = replay_prepared(prepared, scenario.policy)
        if not run.complete:
            return Done(job.number, job.key, str(run.manifest["message"]))
        found = summary(run)
        if job.keep_runs:
            write_run(run, Path(job.out) / RUNS / job.key, found)
        _write(Path(job.out) / CELLS / f"{job.key}.parquet", _rows(job, found))
    except (InputError, FleetError, TraceError, RunDirectoryError, OSError) as error:
        return Done(job.number, job.key, str(error))
    return Done(job.number, job.key, None)


def _known(scenario: Scenario) -> Trace | None:
    same = _last_trace and _last_trace[0][0] == (scenario.trace, scenario.format)
    return _last_trace[0][1] if same else None


def _rows(job: Job, found: Mapping[str, Any]) -> pa.Table:
    groups = [("all", "all", found["metrics"])]
    groups += [("queue", name, values) for name, values in found["by_queue"].items()]
    groups += [("size", name, values) for name, values in found["by_size"].items()]
    count = len(groups)
    columns: dict[str, pa.Array] = {
        "cell": pa.array([job.number] * count, pa.int64()),
        "key": pa.array([job.key] * count, pa.string()),
        "varied": pa.array([json.dumps(job.varied, sort_keys=True)] * count, pa.string()),
        "policy": pa.array([found["policy"]] * count, pa.string()),
        "fingerprint": pa.array([found["fingerprint"]] * count, pa.string()),
        "group": pa.array([kind for kind, _, _ in groups], pa.string()),
        "name": pa.array([name for _, name, _ in groups], pa.string()),
        "jobs": pa.array([values.get("jobs") for _, _, values in groups], pa.int64()),
    }
    for metric in METRICS:
        columns[metric.name] = pa.array([_number(values.get(metric.name)) for _, _, values in groups], pa.float64())
    return pa.table(columns)


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _write(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    made = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        pq.write_table(table, made)
        with made.open("rb") as file:
            os.fsync(file.fileno())  # because: the name must not be there before the content is
        made.replace(path)
    finally:
        made.unlink(missing_ok=True)
