"""A sweep over any executor: what is there already is not done again, what fails is told, what dies is tried once more.

The executor is anything with `submit` that gives futures as `concurrent.futures` does: processes on this machine, or a Dask
cluster through `Client.get_executor()`. The state of a sweep is its directory and nothing else: `cells/` holds the results,
`failed.jsonl` what failed. So a coordinator that was killed is started again with the same command and goes on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from contextlib import AbstractContextManager, closing, contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from sim.results import RunDirectoryError
from sim.sweep.cells import CELLS, Done, Job, run_cell
from sim.sweep.grid import Cell

RESULTS: Final = "results.parquet"
FAILED: Final = "failed.jsonl"
SWEEP: Final = "sweep.json"

DEATHS_MAX: Final = 3
"""A cell whose worker dies so often is taken to be the reason, and fails."""

AT_ONCE: Final = 4
"""Cells in flight for each worker: enough to keep it busy, few enough to lose little."""

MakeExecutor = Callable[[], AbstractContextManager[Executor]]
"""Gives an executor anew, also after one broke."""


class Sweep(NamedTuple):
    """What came of a sweep."""

    cells: int
    kept: int
    """Cells that were there already."""
    failed: list[Done]


def run_sweep(
    cells: Sequence[Cell],
    out: Path,
    make_executor: MakeExecutor,
    *,
    workers: int = 1,
    keep_runs: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Sweep:
    """Run the cells that have no result in `out` yet, then gather all results. Raises `RunDirectoryError`.

    `progress` is told how many cells are done.
    """
    _begin(cells, out)
    wanted = {cell.key: _job(cell, out, keep_runs) for cell in cells if not _result(out, cell.key).exists()}
    kept = len(cells) - len(wanted)
    failed: list[Done] = []
    with (out / FAILED).open("w", encoding="utf-8") as log:
        for number, done in enumerate(_all_done(wanted, make_executor, AT_ONCE * workers), start=kept + 1):
            if done.error is not None:
                failed.append(done)
                log.write(json.dumps(done._asdict()) + "\n")
                log.flush()
            if progress is not None:
                progress(number)
    _sweep_up(out)
    _gather(cells, out)
    return Sweep(len(cells), kept, sorted(failed))


def _job(cell: Cell, out: Path, keep_runs: bool) -> Job:
    return Job(cell.number, cell.key, cell.varied, cell.scenario.model_dump(), str(out.resolve()), keep_runs)


def _result(out: Path, key: str) -> Path:
    return out / CELLS / f"{key}.parquet"


def _begin(cells: Sequence[Cell], out: Path) -> None:
    """The directory of the sweep: new, or one of a sweep that was interrupted."""
    mark = out / SWEEP
    if out.exists() and not mark.exists() and (not out.is_dir() or any(out.iterdir())):
        raise RunDirectoryError(
            f"{out}: exists and is not the directory of a sweep; give another --out, or remove it"
        )
    (out / CELLS).mkdir(parents=True, exist_ok=True)
    _sweep_up(out)
    data = {
        "rehearse_sweep_results": 1,
        "cells": [{"cell": each.number, "key": each.key, **each.varied} for each in cells],
    }
    made = mark.with_name(f".{SWEEP}.{os.getpid()}")
    made.write_text(json.dumps(data, indent=1, default=str) + "\n", encoding="utf-8")
    made.replace(mark)


def _sweep_up(out: Path) -> None:
    for left in (out / CELLS).glob(".*"):  # because: a process that was killed could not remove them
        left.unlink(missing_ok=True)


def _all_done(wanted: dict[str, Job], make_executor: MakeExecutor, at_once: int) -> Iterator[Done]:
    """Each cell as it is done. An executor that breaks is replaced; what was in flight is tried again, one cell at a time."""
    waiting = list(wanted.values())[::-1]
    suspects: list[Job] = []
    deaths: dict[str, int] = {}
    while waiting or suspects:
        lost: list[Job] = []
        alone = bool(suspects)  # because: with one cell in flight it is known whose worker died
        with make_executor() as executor:
            yield from _until_it_breaks(executor, suspects if alone else waiting, lost, 1 if alone else at_once)
        for job in lost:
            deaths[job.key] = deaths.get(job.key, 0) + 1
            if deaths[job.key] < DEATHS_MAX:
                suspects.append(job)
            else:
                yield Done(job.number, job.key, f"its worker died {DEATHS_MAX} times")


def _until_it_breaks(executor: Executor, waiting: list[Job], lost: list[Job], at_once: int) -> Iterator[Done]:
    flying: dict[Future[Done], Job] = {}
    broken = False
    while flying or (waiting and not broken):
        while waiting and not broken and len(flying) < at_once:
            job = waiting.pop()
            try:
                flying[executor.submit(run_cell, job)] = job
            except (BrokenExecutor, RuntimeError):
                waiting.append(job)
                broken = True
        if not flying:
            return
        ready, _ = wait(flying, return_when=FIRST_COMPLETED)
        for future in ready:
            job = flying.pop(future)
            error = future.exception()
            if error is None:
                yield future.result()
            elif isinstance(error, BrokenExecutor):
                lost.append(job)
                broken = True
            else:
                yield Done(job.number, job.key, f"{type(error).__name__}: {error}")


def _gather(cells: Sequence[Cell], out: Path) -> None:
    """All results as one file, in the order of the cells: the same bytes however they were made."""
    tables = [pq.read_table(path) for cell in cells if (path := _result(out, cell.key)).exists()]
    if not tables:
        return
    table = pa.concat_tables(tables)
    numbers = {cell.key: cell.number for cell in cells}
    place = table.schema.get_field_index("cell")
    renumbered = pa.array([numbers[key] for key in table["key"].to_pylist()], pa.int64())
    table = table.set_column(place, "cell", renumbered)
    keys = sorted({key for cell in cells for key in cell.varied})
    varied = {cell.key: cell.varied for cell in cells}
    for key in keys:
        values = [varied[each].get(key) for each in table["key"].to_pylist()]
        if f"varied.{key}" not in table.column_names:
            table = table.append_column(f"varied.{key}", _column(values))
    made = out / f".{RESULTS}.{os.getpid()}"
    pq.write_table(table.drop_columns(["varied"]), made)
    made.replace(out / RESULTS)


def _column(values: list[Any]) -> pa.Array:
    """Numbers stay numbers; anything mixed becomes text."""
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int} or kinds <= {float} or kinds <= {str} or kinds <= {bool}:
        return pa.array(values)
    if kinds <= {int, float}:
        return pa.array([None if value is None else float(value) for value in values])
    return pa.array([None if value is None else json.dumps(value, sort_keys=True) for value in values])


@contextmanager
def processes(workers: int) -> Iterator[Executor]:
    """Processes on this machine."""
    # because: a spawned process is the same on every system, and a fork of a process with threads may hang
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        yield pool


@contextmanager
def dask(address: str) -> Iterator[Executor]:
    """The workers of a Dask cluster, which must see the same files under the same names. Raises `RunDirectoryError`."""
    try:
        from distributed import Client
    except ImportError:
        raise RunDirectoryError("--dask: needs the package distributed: pip install 'rehearse[dask]'") from None
    try:
        client: Any = Client(address, timeout=10)  # type: ignore[no-untyped-call]  # because: it has no types
    except (OSError, ValueError) as error:
        raise RunDirectoryError(f"--dask {address}: nobody answers there: {error}") from error
    with closing(client), client.get_executor(pure=False) as executor:
        yield executor
