"""A sweep over any executor: what is there already is not done again, what fails is told, what dies is tried once more.

The executor is anything with `submit` that gives futures as `concurrent.futures` does: processes on this machine, or a Dask
cluster through `Client.get_executor()`. The state of a sweep is its directory and nothing else: `cells/` holds the results,
`failed.jsonl` what failed, `earlier/` results that this sweep does not ask for. So a coordinator that was killed is started
again with the same command and goes on.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, Executor, Future, wait
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from sim.results import RunDirectoryError
from sim.run import Progress
from sim.sweep.cells import CELLS, Done, Job, run_cell, run_folder
from sim.sweep.gather import RESULTS, gather
from sim.sweep.grid import Cell
from sim.sweep.lock import LOCK, only_one
from sim.workers import worker_processes
from traces.whole_file import whole_file

__all__ = ["FAILED", "RESULTS", "Sweep", "dask", "processes", "run_sweep", "with_result"]

FAILED: Final = "failed.jsonl"
SWEEP: Final = "sweep.json"
EARLIER: Final = "earlier"

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
    progress: Progress | None = None,
) -> Sweep:
    """Run the cells that have no result in `out` yet, then gather all results. Raises `RunDirectoryError`, OSError.

    `progress` is told how many of those cells are done.
    """
    _refuse_unless_ours(out)
    (out / CELLS).mkdir(parents=True, exist_ok=True)
    with only_one(out):
        _begin(cells, out)
        there = with_result(cells, out, keep_runs=keep_runs)
        wanted = [cell for cell in cells if cell.key not in there]
        failed = _run(wanted, out, make_executor, AT_ONCE * workers, keep_runs=keep_runs, progress=progress)
        _sweep_up(out)
        there = with_result(cells, out)
        stopped = next((done for done in failed if done.stop), None)
        if stopped is not None:
            raise RunDirectoryError(
                f"{out}: stopped, since of cell {stopped.number} {stopped.error}; {len(there)} of {len(cells)} cells are done,"
                " and the same command goes on"
            )
        lost = {cell.number for cell in wanted if cell.key not in there} - {done.number for done in failed}
        assert not lost, f"cells {sorted(lost)} have no result and did not fail"
        gather([cell for cell in cells if cell.key in there], out)
    return Sweep(len(cells), len(cells) - len(wanted), sorted(failed))


def with_result(cells: Sequence[Cell], out: Path, *, keep_runs: bool = False) -> set[str]:
    """Keys of the cells that are done; with `keep_runs`, of those whose run directory stands there too."""
    names = {entry.name for entry in os.scandir(out / CELLS)} if (out / CELLS).is_dir() else set[str]()
    return {
        cell.key
        for cell in cells
        if f"{cell.key}.parquet" in names and (not keep_runs or run_folder(out, cell.key).is_dir())
    }


def _run(
    wanted: list[Cell],
    out: Path,
    make_executor: MakeExecutor,
    at_once: int,
    *,
    keep_runs: bool,
    progress: Progress | None,
) -> list[Done]:
    failed: list[Done] = []
    place = str(out.resolve())
    jobs = (Job(cell.number, cell.key, cell.varied, cell.data, place, keep_runs) for cell in wanted)
    with (out / FAILED).open("w", encoding="utf-8") as log:
        for number, done in enumerate(_all_done(_Queue(jobs), make_executor, at_once), start=1):
            if done.error is not None:
                failed.append(done)
                log.write(json.dumps(done._asdict()) + "\n")
                log.flush()
            if progress is not None:
                progress(number)
    return failed


def _refuse_unless_ours(out: Path) -> None:
    """Raise `RunDirectoryError` unless the directory is new, empty, or that of a sweep, which may have been killed early."""
    if not out.exists():
        return
    ours = {SWEEP, CELLS, LOCK}
    if not out.is_dir() or not (
        (out / SWEEP).exists()
        or all(each.name in ours or each.name.startswith(f".{SWEEP}.") for each in out.iterdir())
    ):
        raise RunDirectoryError(
            f"{out}: exists and is not the directory of a sweep; give another --out, or remove it"
        )


def _begin(cells: Sequence[Cell], out: Path) -> None:
    """Tidy up behind a sweep that was interrupted, and say what this one is."""
    _sweep_up(out)
    data = {
        "rehearse_sweep_results": 1,
        "cells": [{"cell": each.number, "key": each.key, **each.varied} for each in cells],
    }
    with whole_file(out / SWEEP) as made:
        made.write_text(json.dumps(data, indent=1, default=str) + "\n", encoding="utf-8")
    _put_aside({f"{cell.key}.parquet" for cell in cells}, out)


def _put_aside(wanted: set[str], out: Path) -> None:
    """Results that this sweep does not ask for go to `earlier/`, and those that it asks for come back from there."""
    earlier = out / EARLIER
    others = [entry.name for entry in os.scandir(out / CELLS) if entry.name not in wanted]
    if others:
        earlier.mkdir(exist_ok=True)
    for name in others:
        (out / CELLS / name).replace(earlier / name)
    for name in [entry.name for entry in os.scandir(earlier)] if earlier.is_dir() else []:
        if name in wanted:
            (earlier / name).replace(out / CELLS / name)


def _sweep_up(out: Path) -> None:
    """Remove what a process that was killed could not."""
    for left in [*(out / CELLS).glob(".*"), *out.glob(f".{SWEEP}.*"), *out.glob(f".{RESULTS}.*")]:
        left.unlink(missing_ok=True)


class _Queue:
    """Jobs that wait, made when they are asked for; one that could not be given away comes back to the front."""

    def __init__(self, jobs: Iterator[Job]) -> None:
        self._jobs = jobs
        self._back: list[Job] = []
        self.stopped = False
        """No more are to be begun."""

    def pop(self) -> Job | None:
        """The next; None if there is none, or no more are to be begun."""
        if self.stopped:
            return None
        return self._back.pop() if self._back else next(self._jobs, None)

    def push(self, job: Job) -> None:
        """Before all others."""
        self._back.append(job)


def _all_done(waiting: _Queue, make_executor: MakeExecutor, at_once: int) -> Iterator[Done]:
    """Each cell as it is done. An executor that breaks is replaced; what was in flight is tried again, one cell at a time."""
    deaths: dict[str, int] = {}
    suspects: list[Job] = []
    while True:
        lost: list[Job] = []
        # because: with one cell in flight it is known whose worker died
        queue, most = (_Queue(iter(suspects)), 1) if suspects else (waiting, at_once)
        first = queue.pop()
        if first is None:
            return
        queue.push(first)
        suspects = []
        with make_executor() as executor:
            for done in _until_it_breaks(executor, queue, lost, most):
                waiting.stopped = waiting.stopped or done.stop
                yield done
        if queue is not waiting:
            suspects += iter(queue.pop, None)
        for job in lost:
            deaths[job.key] = deaths.get(job.key, 0) + 1
            if deaths[job.key] < DEATHS_MAX:
                suspects.append(job)
            else:
                yield Done(job.number, job.key, f"its worker died {DEATHS_MAX} times")


def _until_it_breaks(executor: Executor, waiting: _Queue, lost: list[Job], at_once: int) -> Iterator[Done]:
    flying: dict[Future[Done], Job] = {}
    broken = False
    while True:
        while not broken and len(flying) < at_once and (job := waiting.pop()) is not None:
            try:
                flying[executor.submit(run_cell, job)] = job
            except (BrokenExecutor, RuntimeError):
                waiting.push(job)
                broken = True
        if not flying:
            return
        ready, _ = wait(flying, return_when=FIRST_COMPLETED)
        for future in ready:
            job = flying.pop(future)
            try:
                yield future.result()
            except (BrokenExecutor, CancelledError):
                lost.append(job)
                broken = True
            except Exception as error:  # because: a defect in one cell must not end the others
                yield Done(job.number, job.key, f"{type(error).__name__}: {error}")


@contextmanager
def processes(workers: int) -> Iterator[Executor]:
    """Processes on this machine."""
    with worker_processes(workers) as pool:
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
