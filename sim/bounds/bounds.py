"""Lower bounds of a whole trace on a fleet, each with the reason why no schedule is below it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from policies.api import QueueView
from policies.topology import Topology
from sim.bounds.flow import FlowBound, flow_bound
from sim.bounds.makespan import longest_chain, work_bound
from sim.bounds.parts import Counted, Part, counted_jobs
from sim.rules import Rules
from sim.world.speed import PPM, SpeedModel
from traces.job import JobRecord

WAYS_MAX: Final = 3
"""Ways to count by which the sum of completion times is bounded: devices, and those under which the load is highest."""

HOLDS: Final = (
    "holds for any schedule that knows all run times, may preempt, migrate and place anywhere, of jobs that keep their"
    " gang size; failures, restarts, quotas and thinking can only add to it"
)


@dataclass(frozen=True, slots=True)
class Bound:
    """One lower bound. None where none can be given; `because` says why it holds, or why there is none."""

    value_ms: int | None
    because: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What no schedule of a trace on a fleet is below. There is none on waits or on tails: run times hide them."""

    mean_completion: Bound
    """End - submission, mean over `rows`, rounded down."""
    makespan: Bound
    """Last end - first submission."""
    sum_completion_ms: int | None
    rows: NDArray[np.bool_]
    """The records that are counted: those that fit the empty fleet and have no lifetime. A run that ended others of these
    cannot be compared.
    """
    taken: NDArray[np.bool_]
    """The records with a lifetime, which are not counted: they end when it does, under every schedule."""
    jobs_by_bound: dict[str, int]
    """Which bound was the best for how many jobs."""

    @property
    def jobs(self) -> int:
        """How many jobs are counted."""
        return int(self.rows.sum())

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "jobs": self.jobs,
            "jobs_with_lifetime": int(self.taken.sum()),
            "mean_completion_ms": self.mean_completion.value_ms,
            "mean_completion_because": self.mean_completion.because,
            "makespan_ms": self.makespan.value_ms,
            "makespan_because": self.makespan.because,
            "sum_completion_ms": self.sum_completion_ms,
            "jobs_by_bound": dict(self.jobs_by_bound),
        }


def bounds_of(
    records: Sequence[JobRecord],
    topology: Topology,
    *,
    rules: Rules | None = None,
    queues: Mapping[str, QueueView] | None = None,
    speed: SpeedModel | None = None,
) -> Bounds:
    """Bounds for all records that fit the empty fleet and end with their work, at the best speed that each may have.

    Queues count for their pools only. Servers of different models count together as long as some job may use both: valid, and
    looser. Nothing is bounded in a static fill, which has no clock.
    """
    rules = rules or Rules()
    counted = counted_jobs(records, topology, rules, queues or {}, speed)
    reason = _no_bound(counted, rules)
    if reason is not None:
        none = Bound(None, reason)
        return Bounds(
            mean_completion=none,
            makespan=none,
            sum_completion_ms=None,
            rows=counted.rows,
            taken=counted.taken,
            jobs_by_bound={},
        )
    flow = _flow(counted)
    speeds = _speeds(counted)
    jobs = int(counted.rows.sum())
    named = ", ".join(f"{name} for {count:,} jobs" for name, count in flow.jobs_by_bound.items() if count)
    return Bounds(
        mean_completion=Bound(
            flow.sum_ms // jobs, f"{named}, whichever is more in each busy period; {HOLDS}{speeds}"
        ),
        makespan=_makespan(counted, speeds),
        sum_completion_ms=flow.sum_ms,
        rows=counted.rows,
        taken=counted.taken,
        jobs_by_bound=flow.jobs_by_bound,
    )


def _no_bound(counted: Counted, rules: Rules) -> str | None:
    if rules.fill:
        return "a static fill has no clock: nothing ends in it"
    if not counted.rows.any():
        return (
            "every job has a lifetime"
            if counted.taken.any() and counted.taken.all()
            else "no job fits the empty fleet"
        )
    return None


def _speeds(counted: Counted) -> str:
    if counted.fastest_ppm == PPM:
        return ""
    return f"; run times are those at the best speed that each job may have anywhere (up to {counted.fastest_ppm / PPM:g})"


def _flow(counted: Counted) -> FlowBound:
    """Bounds of the parts of the fleet add up."""
    total = 0
    jobs: Counter[str] = Counter()
    for part in counted.parts:
        submit, run = counted.submit_ms[part.rows], counted.run_ms[part.rows]
        found = [
            flow_bound(submit, run, _weights(part, number), part.weights[number].limit)
            for number in _heaviest(part, run)
        ]
        best = max(found, key=lambda bound: bound.sum_ms, default=FlowBound(int(run.sum()), {"run times": len(run)}))
        total += best.sum_ms
        jobs.update(best.jobs_by_bound)
    return FlowBound(total, dict(jobs))


def _weights(part: Part, number: int) -> NDArray[np.int64]:
    return np.array(part.weights[number].of, dtype=np.int64)[part.request]


def _heaviest(part: Part, run_ms: NDArray[np.int64]) -> list[int]:
    """The ways to count that may bound best: devices, and those that see more load than devices do."""
    by_request = np.bincount(part.request, weights=run_ms.astype(np.float64))
    loads = [float(np.dot(by_request, ways.of)) / ways.limit for ways in part.weights]
    more = sorted(range(1, len(loads)), key=lambda number: -loads[number])
    return [*range(min(1, len(loads))), *(number for number in more[: WAYS_MAX - 1] if loads[number] > loads[0])]


def _makespan(counted: Counted, speeds: str) -> Bound:
    submit, run = counted.submit_ms[counted.rows], counted.run_ms[counted.rows]
    best, because = longest_chain(submit, run), "the job that could end last if each ran when it came"
    for part in counted.parts:
        for number, ways in enumerate(part.weights):
            own = (counted.submit_ms[part.rows], counted.run_ms[part.rows], _weights(part, number), ways.limit)
            value = work_bound(*own)
            if value > best:
                best, because = value, f"what is submitted late, counted by {ways.name}, takes until then"
    return Bound(best - int(counted.submit_ms.min()), f"{because}; {HOLDS}{speeds}")
