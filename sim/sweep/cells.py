"""One cell: replayed and written whole, or not at all. What a worker process runs.

A result is one Parquet file, `cells/<key>.parquet`. For each replication it has a row for all jobs and one for each queue and
size class: what varied, the group, every metric. It is written under another name and then renamed, so that a process that is
killed leaves nothing half done.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sim.experiment.comparison import measure_counted
from sim.experiment.plan import plan_of, replicated, subjects_of
from sim.experiment.prepare import Prepared, prepare, replay_prepared, to_be_written
from sim.experiment.scenario import Scenario, make_scenario
from sim.fleet.problems import FleetError
from sim.metrics.registry import METRICS, groups, summary
from sim.results import Run, RunDirectoryError, write_run
from sim.run import InputError
from sim.sweep.identity import Digests, cell_key
from traces.trace import Trace, TraceError
from traces.whole_file import whole_file

CELLS: Final = "cells"
RUNS: Final = "runs"


class Job(NamedTuple):
    """What a worker is told."""

    number: int
    key: str
    varied: dict[str, Any]
    scenario: dict[str, Any]
    """As a scenario file has it: plain data, which any executor can carry."""
    out: str
    keep_runs: bool


class Done(NamedTuple):
    """What came of a cell."""

    number: int
    key: str
    error: str | None
    """None if its result is written."""
    stop: bool = False
    """The result could not be written: no other cell's can be."""


@dataclass(frozen=True, slots=True)
class _Held:
    """The trace that this process read last: most cells of a sweep share it."""

    source: tuple[str, str | None, str | None]
    trace: Trace


class _Memory:
    """What a worker process remembers from cell to cell."""

    def __init__(self) -> None:
        self.held: _Held | None = None
        self.digests = Digests()
        self.code: dict[str, tuple[tuple[str, ...], ...]] = {}
        """Policy -> its code when this process first imported it."""


_memory = _Memory()


def run_cell(job: Job) -> Done:
    """Replay a cell and write its result. Wrong input and a policy that fails are told, not raised."""
    try:
        scenario = make_scenario(job.scenario, source=f"cell {job.number}")
        _refuse_other_code(job, scenario)
        tables = list(_tables(job, scenario))
    except (InputError, FleetError, TraceError, RunDirectoryError, OSError) as error:
        return Done(job.number, job.key, str(error))
    try:
        _write(Path(job.out) / CELLS / f"{job.key}.parquet", pa.concat_tables(tables))
    except OSError as error:
        return Done(job.number, job.key, f"its result cannot be written: {error.strerror or error}", stop=True)
    return Done(job.number, job.key, None)


def run_folder(out: Path, key: str, replication: int = 0) -> Path:
    """Where the run directory of a cell stands, if it is kept."""
    return out / RUNS / (f"{key}-{replication}" if replication else key)


def _refuse_other_code(job: Job, scenario: Scenario) -> None:
    """Raise `InputError` if files, policy or program are not what they were when the sweep was read."""
    assert scenario.policy is not None, "every cell has a policy"
    _memory.digests.forget_policies()
    code = _memory.digests.policy(scenario.policy)
    if _memory.code.setdefault(scenario.policy, code) != code:
        raise InputError(f"{scenario.policy}: has changed since this worker imported it: start the workers anew")
    if cell_key(scenario, _memory.digests) != job.key:
        raise InputError(
            "a file of the cell, its policy or this program has changed, or is another one on this worker"
        )


def _tables(job: Job, scenario: Scenario) -> Iterator[Any]:
    assert scenario.policy is not None, "every cell has a policy"
    digest = _memory.digests.file(scenario.trace)
    source = (scenario.trace, scenario.format, digest)
    held = _memory.held  # because: the workers of a cluster may be threads of one process
    prepared = prepare(
        scenario, [scenario.policy], trace=held.trace if held is not None and held.source == source else None
    )
    if prepared.trace.sha256 != digest:
        raise InputError(f"{scenario.trace}: changed while it was read")
    _memory.held = _Held(source, prepared.trace)
    plan = plan_of(scenario)
    counted = subjects_of([prepared], plan).counted[0]
    for number in range(plan.replications):
        copy = replicated(prepared, plan.shake, number)
        run = _run(job, copy, scenario.policy, number)
        yield _rows(job, run, number, counted)


def _run(job: Job, prepared: Prepared, policy: str, number: int) -> Run:
    run = replay_prepared(prepared, policy)
    if not run.complete:
        raise InputError(str(run.manifest["message"]))
    if job.keep_runs:
        run = to_be_written(prepared, run)
        write_run(run, run_folder(Path(job.out), job.key, number), summary(run))
    return run


def _rows(job: Job, run: Run, replication: int, counted: NDArray[np.bool_]) -> Any:
    found = [(group, measure_counted(run, group, counted)) for group in groups(run.jobs)]
    count = len(found)
    columns: dict[str, pa.Array] = {
        "cell": pa.array([job.number] * count, pa.int64()),
        "key": pa.array([job.key] * count, pa.string()),
        "varied": pa.array([json.dumps(job.varied, sort_keys=True)] * count, pa.string()),
        "policy": pa.array([run.name] * count, pa.string()),
        "replication": pa.array([replication] * count, pa.int64()),
        "fingerprint": pa.array([run.manifest["fingerprint"]] * count, pa.string()),
        "group": pa.array([group.kind for group, _ in found], pa.string()),
        "name": pa.array([group.name or "all" for group, _ in found], pa.string()),
        "jobs": pa.array([int((group.rows & counted).sum()) for group, _ in found], pa.int64()),
    }
    for metric in METRICS:
        columns[metric.name] = pa.array([values.get(metric.name) for _, values in found], pa.float64())
    return pa.table(columns)


def _write(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as made:
        pq.write_table(table, made)
