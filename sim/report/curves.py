"""From a run to the curves of a page: waits, devices over time. Exact where they have points, and few points."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.jobs_table import Integers
from sim.results import Run
from sim.timeline import LEAVES, RELEASES, Happened

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

WAIT_POINTS: Final = 400
"""Lengths of waiting at which the share of jobs is measured, evenly apart on a logarithmic axis."""

INTERVALS: Final = 300
"""Intervals into which a curve over time is divided; each shows its mean."""


class Waits(NamedTuple):
    """The share of all jobs that count which start after at most so long. Below 1 at the end where jobs never start."""

    wait_ms: Floats
    share: Floats
    half_ms: float | None
    """By then half of them have started; None where fewer than half ever do. Likewise the others."""
    p95_ms: float | None
    started: int
    jobs: int


class OverTime(NamedTuple):
    """Means over intervals; the fleet's devices, not thousandths."""

    allocated: Floats
    waiting: Floats
    """Devices asked for by jobs that wait."""
    waiting_jobs: Floats
    fragmented: Floats | None


def wait_grid(runs: list[Run], counted: Mask) -> Floats:
    """Common lengths of waiting, from zero to the longest."""
    longest = max((int(run.jobs.wait_ms[run.jobs.started & counted].max(initial=0)) for run in runs), default=0)
    grid = np.geomspace(1000, max(longest, 10_000), WAIT_POINTS).round()
    return np.unique(np.concatenate(([0.0], grid, [float(max(longest, 10_000))])))


def waits(run: Run, counted: Mask, grid: Floats) -> Waits:
    """The distribution of waits on a grid: exact at each of its points."""
    found = np.sort(run.jobs.wait_ms[run.jobs.started & counted])
    jobs = int(counted.sum())
    share = np.searchsorted(found, grid, side="right") / max(jobs, 1)
    return Waits(grid, share, _reached(found, jobs, 0.5), _reached(found, jobs, 0.95), len(found), jobs)


def _reached(found: Integers, jobs: int, share: float) -> float | None:
    rank = int(np.ceil(share * jobs)) - 1
    return float(found[rank]) if 0 <= rank < len(found) else None


def time_edges(runs: list[Run]) -> Floats:
    """Common intervals, from the first submission to the last event of any run; empty where no time passes."""
    first = min((int(run.jobs.submit_ms.min()) for run in runs if len(run.jobs)), default=0)
    last = max((int(run.timeline.at_ms[-1]) for run in runs if len(run.timeline.at_ms)), default=0)
    return np.linspace(first, last, INTERVALS + 1) if last > first else np.zeros(0)


def over_time(run: Run, edges: Floats) -> OverTime:
    """All curves of one run."""
    course = run.fragmentation
    fragmented = None
    if course is not None and len(course.at_ms):
        at = np.append(course.at_ms, max(round(float(edges[-1])), int(course.at_ms[-1])))
        fragmented = means(at, np.append(course.fragmented_gpu_milli, 0.0) / 1000, edges)
    return OverTime(
        allocated=means(*held_devices(run), edges),
        waiting=means(*queue_length(run, devices=True), edges),
        waiting_jobs=means(*queue_length(run), edges),
        fragmented=fragmented,
    )


def held_devices(run: Run) -> tuple[Integers, Floats]:
    """Times, and the devices held from each until the next."""
    line = run.timeline
    moves = np.flatnonzero((line.happened == Happened.START) | np.isin(line.happened, RELEASES))
    sign = np.where(line.happened[moves] == Happened.START, 1, -1)
    return line.at_ms[moves], np.cumsum(sign * run.jobs.demand_milli[line.job[moves]]) / 1000


def queue_length(run: Run, *, devices: bool = False) -> tuple[Integers, Floats]:
    """Times, and the jobs that wait from each until the next, or the devices that they ask for."""
    line = run.timeline
    step = np.zeros(len(line.at_ms), dtype=np.int64)
    step[(line.happened == Happened.ARRIVE) | (line.happened == Happened.PREEMPT)] = 1
    gone = np.isin(line.happened, LEAVES)
    step[gone] = -1
    moves = np.flatnonzero(step)
    amount = run.jobs.demand_milli[line.job[moves]] / 1000 if devices else np.ones(len(moves))
    return line.at_ms[moves], np.cumsum(step[moves] * amount)


def means(at: Integers, values: Floats, edges: Floats) -> Floats:
    """Time-weighted means of a step function over intervals: exact, whatever happens inside one. Zero where it is not."""
    if len(at) < 2 or len(edges) < 2:
        return np.zeros(max(len(edges) - 1, 0))
    area = np.concatenate(([0.0], np.cumsum(values[:-1] * np.diff(at))))
    upto = np.interp(edges, at, area, left=0.0)
    found: Floats = np.diff(upto) / np.diff(edges)
    return found
