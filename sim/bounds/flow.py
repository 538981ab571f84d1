"""Lower bounds on the sum of completion times (end - submission) of rigid jobs whose weights share a limit.

All hold for preemptive schedules with migration, hence for any schedule. One machine that works off weight x run time at
speed `limit` stands for everything that may run at once:

1. each job takes at least its run time;
2. shortest remaining first on that machine is optimal for it (preemptive, with releases), and it relaxes the rigid jobs;
3. in a rigid schedule a job ends at least half its run time behind the mean time at which it is worked on, and the sum of
   these mean busy times is least on that machine if the smallest area goes first, preemptively (Goemans, Queyranne, Schulz,
   Skutella and Wang, "Single machine scheduling with release dates", SIAM J. Discrete Math. 2002).

A bound for some jobs holds whatever the others do, so bounds of disjoint sets of jobs add up. The sets are the busy periods
of the machine, and in each the best of the three is taken. Everything is integer; results are rounded down.
"""

from __future__ import annotations

from collections import Counter
from heapq import heappop, heappush
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.bounds.weights import SUMS_MAX, Exact, areas

Integers = NDArray[np.int64]

RUN_TIMES, SHORTEST, BUSY_TIME = "run times", "shortest remaining first", "mean busy times"


class FlowBound(NamedTuple):
    """A sum of completion times that no schedule is below."""

    sum_ms: int
    jobs_by_bound: dict[str, int]
    """Which of the three bounds was the best for how many jobs."""


def flow_bound(submit_ms: Integers, run_ms: Integers, weights: Integers, limit: int) -> FlowBound:
    """The bound for these jobs; their order does not matter. Jobs without weight or run time count by their run time."""
    counted = (weights > 0) & (run_ms > 0)
    found: Counter[str] = Counter({RUN_TIMES: int((~counted).sum())})
    total = int(run_ms[~counted].sum())
    order = np.flatnonzero(counted)
    order = order[np.argsort(submit_ms[order], kind="stable")]
    run = run_ms[order]
    area = areas(weights[order], run)
    release = _released(submit_ms[order], limit, area)
    begins = _busy_periods(release, area)
    bounds = [*begins.tolist(), len(order)]
    alone = np.diff(bounds) == 1
    total += int(run[begins[alone]].sum())
    found[RUN_TIMES] += int(alone.sum())
    for begin, end in pairwise(bounds):
        if end - begin > 1:
            base = int(release[begin])
            part = Period(
                [int(r) - base for r in release[begin:end]], area[begin:end].tolist(), int(run[begin:end].sum())
            )
            value, name = part.bound(limit)
            total += value
            found[name] += end - begin
    return FlowBound(total, dict(found))


def _released(submit_ms: Integers, limit: int, area: Exact) -> Exact:
    """Releases in units of 1/limit ms, from the first on, as integers that can be added to the areas."""
    since = submit_ms - submit_ms.min(initial=0) if len(submit_ms) else submit_ms
    if area.dtype != object and float(since.max(initial=0)) * limit + float(area.astype(np.float64).sum()) < SUMS_MAX:
        small: Exact = since * limit
        return small
    exact: Exact = since.astype(object) * limit
    return exact


def _busy_periods(release: Exact, area: Exact) -> Integers:
    """Where each busy period of the machine begins; releases ascend."""
    if not len(release):
        return np.zeros(0, dtype=np.int64)
    done = np.cumsum(area)
    idle_until = np.maximum.accumulate(release - (done - area))
    free_at = done + idle_until
    new = np.append([True], np.asarray(release[1:] >= free_at[:-1], dtype=bool))
    found: Integers = np.flatnonzero(new)
    return found


class Period(NamedTuple):
    """The jobs of one busy period, by release. Times in units of 1/limit ms, from the period's beginning."""

    release: list[int]
    area: list[int]
    run_ms: int
    """Sum over the jobs."""

    def bound(self, limit: int) -> tuple[int, str]:
        """The best of the three bounds, in ms, and its name."""
        bounds = (
            (self.run_ms, RUN_TIMES),
            (self.shortest_remaining_first() // limit, SHORTEST),
            ((self.twice_mean_busy_times() + limit * self.run_ms) // (2 * limit), BUSY_TIME),
        )
        return max(bounds, key=lambda bound: bound[0])

    def shortest_remaining_first(self) -> int:
        """The least sum of completion times on the machine."""
        left: list[int] = []
        now = 0
        total = -sum(self.release)
        for release, area in zip(self.release, self.area, strict=True):
            while left:
                first = left[0]
                if now + first > release:
                    left[0] = first - (release - now)  # because: the least, made less, is still the least of the heap
                    break
                now += heappop(left)
                total += now
            now = release
            heappush(left, area)
        for area in sorted(left):
            now += area
            total += now
        return total

    def twice_mean_busy_times(self) -> int:
        """Twice the least sum of (mean busy time - release), each job's rounded down."""
        releases, areas_of = self.release, self.area
        left = areas_of.copy()
        moments = [0] * len(left)
        """Of each job, the sum of end^2 - begin^2 over its pieces, as seen from its release."""
        waiting: list[tuple[int, int]] = []
        now = 0
        for number, release in enumerate(releases):
            while waiting:
                job = waiting[0][1]
                piece = left[job]
                begin = now - releases[job]
                if now + piece > release:
                    piece = release - now
                    left[job] -= piece
                    moments[job] += piece * (2 * begin + piece)
                    break
                moments[job] += piece * (2 * begin + piece)
                now += piece
                heappop(waiting)
            now = release
            heappush(waiting, (areas_of[number], number))
        for _, job in sorted(waiting):
            begin, piece = now - releases[job], left[job]
            moments[job] += piece * (2 * begin + piece)
            now += piece
        return sum(moment // area for moment, area in zip(moments, areas_of, strict=True))
