"""The jobs whose wait changes most against the baseline, and what each did when."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from sim.jobs_table import WAITING, WITHDRAWN
from sim.report.curves import Mask
from sim.results import Run
from sim.stretches import stretches

MOST: Final = 10
"""Of each side."""

DRAWN: Final = 5
"""Of each side, as a picture."""


class Mover(NamedTuple):
    """A job under a policy and under the baseline."""

    row: int
    loses: bool
    job_id: str
    queue: str | None
    user: str | None
    devices: float
    baseline_wait_ms: int
    wait_ms: int

    @property
    def change_ms(self) -> int:
        """More than 0 where it waits longer than under the baseline."""
        return self.wait_ms - self.baseline_wait_ms


class Phase(NamedTuple):
    """Some time of a job: it `waits`, `runs`, or `waits again` after a preemption."""

    kind: str
    from_ms: int
    until_ms: int


def movers(run: Run, base: Run, counted: Mask) -> list[Mover]:
    """Those that lose most, the worst first, then those that win most; those that start under one of both only are none."""
    both = np.flatnonzero(run.jobs.started & base.jobs.started & counted)
    change = (run.jobs.wait_ms - base.jobs.wait_ms)[both]
    order = np.lexsort((both, change))
    losers = [both[place] for place in order[::-1][:MOST] if change[place] > 0]
    winners = [both[place] for place in order[:MOST] if change[place] < 0]
    return [_mover(run, base, int(row), loses=True) for row in losers] + [
        _mover(run, base, int(row), loses=False) for row in winners
    ]


def _mover(run: Run, base: Run, row: int, *, loses: bool) -> Mover:
    return Mover(
        row=row,
        loses=loses,
        job_id=run.jobs.text("job_id")[row].as_py(),
        queue=run.jobs.text("queue")[row].as_py(),
        user=run.jobs.text("user")[row].as_py(),
        devices=int(run.jobs.demand_milli[row]) / 1000,
        baseline_wait_ms=int(base.jobs.wait_ms[row]),
        wait_ms=int(run.jobs.wait_ms[row]),
    )


def phases(run: Run, rows: list[int]) -> dict[int, list[Phase]]:
    """What each of these jobs did, in order, none of them of no length but a run."""
    found = stretches(run.timeline, int(run.manifest["end_ms"]))
    wanted = np.flatnonzero(np.isin(found.job, rows))
    by_job: dict[int, list[Phase]] = {row: [] for row in rows}
    since = {row: int(run.jobs.submit_ms[row]) for row in rows}
    for place in wanted.tolist():
        row, start, end = int(found.job[place]), int(found.start_ms[place]), int(found.end_ms[place])
        if start > since[row]:
            by_job[row].append(Phase("waits again" if by_job[row] else "waits", since[row], start))
        by_job[row].append(Phase("runs", start, end))
        since[row] = end
    for row in rows:
        until = _waits_until(run, row)
        if until > since[row]:
            by_job[row].append(Phase("waits again" if by_job[row] else "waits", since[row], until))
    return by_job


def _waits_until(run: Run, row: int) -> int:
    """When a job was taken away that waited, or the run stopped while it did; 0 for any other."""
    if run.jobs.state[row] == WITHDRAWN:
        return int(run.timeline.at_ms[np.flatnonzero(run.timeline.job == row)[-1]])
    return int(run.manifest["end_ms"]) if run.jobs.state[row] == WAITING else 0


def span(parts: list[list[Phase]]) -> tuple[int, int]:
    """From the first to the last moment of all of them."""
    ends = [each for phases_of_job in parts for each in phases_of_job]
    return min(each.from_ms for each in ends), max(each.until_ms for each in ends)


def rows_drawn(found: list[Mover]) -> list[Mover]:
    """Those that the picture shows: of each side the first."""
    losers, winners = ([each for each in found if each.loses is side][:DRAWN] for side in (True, False))
    return losers + winners
