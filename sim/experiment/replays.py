"""All replays of a comparison, one after the other or in worker processes. Workers change nothing but the time."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from sim.experiment.comparison import Values, measure_counted
from sim.experiment.plan import Mask, replicated
from sim.experiment.prepare import Prepared, replay_prepared, to_be_written
from sim.experiment.sampler import Observed, observe
from sim.experiment.shake import Shake
from sim.metrics.registry import groups, summary
from sim.results import write_run
from sim.run import Progress


class Task(NamedTuple):
    """One replay: perhaps into a directory, perhaps under another order of ties for its metrics alone."""

    spec: str
    out: Path | None = None
    other_ties: int | None = None
    trace: int = 0
    replication: int = 0


class Done(NamedTuple):
    """What came of it."""

    values: Values
    """The metrics of all jobs; empty of a run that broke off."""
    observed: Observed | None
    """None of another order of ties, of a run that broke off, and of a fill."""


class Work(NamedTuple):
    """What all tasks share."""

    prepared: Sequence[Prepared]
    """One for each trace."""
    counted: Sequence[Mask]
    """For each trace: which of its jobs count."""
    shake: Shake | None = None


def results(work: Work, tasks: Sequence[Task], workers: int, progress: Progress | None) -> Iterator[Done]:
    """What came of the tasks, in their order."""
    jobs = [len(work.prepared[task.trace].trace.records) for task in tasks]
    if workers <= 1:
        for number, task in enumerate(tasks):
            yield do(work, task, _from(progress, sum(jobs[:number])))
        return
    # because: a spawned process is the same on every system, and a fork of a process with threads may hang
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(workers, len(tasks)), context, _begin, (work,)) as pool:
        for number, found in enumerate(pool.map(_do_in_worker, tasks), start=1):
            if progress is not None:
                progress(sum(jobs[:number]))
            yield found


def do(work: Work, task: Task, progress: Progress | None = None) -> Done:
    """One replay."""
    prepared = replicated(work.prepared[task.trace], work.shake, task.replication)
    run = replay_prepared(prepared, task.spec, progress=progress, other_ties=task.other_ties)
    if task.out is not None:
        run = to_be_written(prepared, run)
        write_run(run, task.out, summary(run))
    if not run.complete:
        return Done({}, None)
    wanted, counted = task.other_ties is None and not run.is_fill, work.counted[task.trace]
    return Done(measure_counted(run, next(groups(run.jobs)), counted), observe(run, counted) if wanted else None)


def _from(progress: Progress | None, done: int) -> Progress | None:
    if progress is None:
        return None
    return lambda ended: progress(done + ended)


_WORK: list[Work] = []
"""What a worker process replays; filled once when it begins."""


def _begin(work: Work) -> None:
    _WORK.append(work)


def _do_in_worker(task: Task) -> Done:
    return do(_WORK[0], task)
