"""How far each policy of a comparison is from what no schedule can beat, and from the best oracle among them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from sim.bounds.bounds import Bounds
from sim.report.words import duration
from sim.results import Run


@dataclass(frozen=True, slots=True, kw_only=True)
class Distance:
    """One policy. None where it cannot be compared, for the reason `because`."""

    policy: str
    peeks: bool
    """True for an oracle, which cannot be deployed."""
    mean_completion_ms: float | None = None
    times_bound: float | None = None
    """Mean completion time over the bound: at most so many times that of any schedule."""
    times_best_oracle: float | None = None
    """The same over the best oracle's; None without an oracle among the policies."""
    makespan_ms: int | None = None
    makespan_times_bound: float | None = None
    because: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Distances:
    """The bounds of a trace, and how far each policy is from them."""

    bounds: Bounds
    best_oracle: str | None
    """The oracle with the least mean completion time."""
    policies: list[Distance]

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return {
            **self.bounds.as_data(),
            "best_oracle": self.best_oracle,
            "policies": [asdict(each) for each in self.policies],
        }


def how_far(bounds: Bounds, runs: Mapping[str, Run]) -> Distances:
    """The distance of each run of the trace that the bounds are of."""
    found = [_measured(bounds, name, run) for name, run in runs.items()]
    oracles = {each.policy: each.mean_completion_ms for each in found if each.peeks and each.mean_completion_ms}
    best = min(oracles, key=lambda name: (oracles[name], name), default=None)
    if best is not None:
        found = [_beside(each, oracles[best]) for each in found]
    return Distances(bounds=bounds, best_oracle=best, policies=found)


def _measured(bounds: Bounds, name: str, run: Run) -> Distance:
    peeks = bool(run.manifest["policy"]["peeks"])
    reason = _not_comparable(bounds, run)
    if reason is not None:
        return Distance(policy=name, peeks=peeks, because=reason)
    jobs = run.jobs
    mean_ms = int(jobs.completion_ms[bounds.rows].sum()) / bounds.jobs
    makespan_ms = int(jobs.end_ms[bounds.rows].max() - jobs.submit_ms.min())
    return Distance(
        policy=name,
        peeks=peeks,
        mean_completion_ms=mean_ms,
        times_bound=_times(mean_ms, bounds.mean_completion.value_ms),
        makespan_ms=makespan_ms,
        makespan_times_bound=_times(makespan_ms, bounds.makespan.value_ms),
    )


def _not_comparable(bounds: Bounds, run: Run) -> str | None:
    if bounds.mean_completion.value_ms is None:
        return bounds.mean_completion.because
    if not np.array_equal(run.jobs.ended & ~bounds.taken, bounds.rows):
        return "it did not end the same jobs: those that fit the empty fleet"
    return None


def _beside(each: Distance, oracle_ms: float | None) -> Distance:
    if each.mean_completion_ms is None or not oracle_ms:
        return each
    return replace(each, times_best_oracle=each.mean_completion_ms / oracle_ms)


def _times(value: float, bound: int | None) -> float | None:
    return value / bound if bound else None


def distance_lines(data: Mapping[str, Any] | None) -> list[str]:
    """The bound, and how many times it each policy takes, as one line for a terminal; none where there is no bound.

    `data` is that of `Distances`, perhaps read from a file.
    """
    if data is None or data["mean_completion_ms"] is None:
        return []
    said = f"No schedule has a mean completion below {duration(data['mean_completion_ms'])}"
    told = [
        f"{each['policy']} {each['times_bound']:.2f}" for each in data["policies"] if each["times_bound"] is not None
    ]
    if told:
        said += f"; times that: {', '.join(told)}"
    if data["best_oracle"] is not None:
        said += f" ({data['best_oracle']} is the best oracle here)"
    if data.get("jobs_with_lifetime"):
        said += f"; jobs with a lifetime, of which there are {data['jobs_with_lifetime']:,}, are left out"
    return [f"{said}."]
