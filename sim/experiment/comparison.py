"""What a comparison says: each metric of each policy beside the baseline, who waits longer, what ties alone move.

Pure figures from finished runs. How they are shown is decided in `sim.report`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from sim.jobs_table import Integers
from sim.metrics.registry import groups, measure
from sim.results import Run

VERSION: Final = 1
WORST: Final = 5
"""Jobs and users that wait longest beyond the baseline, listed by name."""

Values = dict[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupValues:
    """All policies measured on the same jobs."""

    kind: str
    name: str
    jobs: int
    values: dict[str, Values]
    """Policy -> metric -> value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shift:
    """Who waits longer, and who shorter, than under the baseline."""

    compared: int
    """Jobs that start under both."""
    longer: int
    shorter: int
    only_baseline: int
    """Jobs that start under the baseline only."""
    only_policy: int
    worst_jobs: list[dict[str, Any]]
    worst_users: list[dict[str, Any]]
    groups: list[dict[str, Any]]
    """By queue and size class: jobs, how many wait longer, mean change in ms."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TieSpread:
    """What the order of jobs of the same millisecond alone does to each metric."""

    orders: int
    """Random orders tried, beside the run's own."""
    not_measured: str | None
    """Why there are none."""
    low: dict[str, Values]
    high: dict[str, Values]
    """Policy -> metric -> smallest and largest value, the run's own among them."""

    def width(self, policy: str, metric: str) -> float | None:
        """How far the order of ties moves a metric; None where that was not measured."""
        low, high = self.low.get(policy, {}).get(metric), self.high.get(policy, {}).get(metric)
        return None if low is None or high is None else high - low


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Runs of one trace under several policies."""

    baseline: str
    runs: dict[str, Run]
    groups: list[GroupValues]
    shifts: dict[str, Shift]
    ties: TieSpread

    @property
    def names(self) -> list[str]:
        """The policies, the baseline first."""
        return list(self.runs)

    @property
    def others(self) -> list[str]:
        """The policies without the baseline."""
        return [name for name in self.runs if name != self.baseline]

    @property
    def whole(self) -> GroupValues:
        """The group of all jobs."""
        return self.groups[0]

    @property
    def oracles(self) -> list[str]:
        """The policies that read true run times: bounds, which cannot be deployed."""
        return [name for name, run in self.runs.items() if run.manifest["policy"]["peeks"]]

    def best(self, metric: str, better: str, among: Sequence[str] | None = None) -> list[str]:
        """The policies with the best value of a metric, among the runs that came to their end."""
        known = {
            name: value
            for name in (self.names if among is None else among)
            if self.runs[name].complete and (value := self.whole.values[name][metric]) is not None
        }
        if not known:
            return []
        best = min(known.values()) if better == "lower" else max(known.values())
        return [name for name, value in known.items() if value == best]


def compare_runs(runs: Sequence[Run], baseline: str, ties: TieSpread) -> Comparison:
    """Put runs of the same trace side by side. The baseline comes first."""
    by_name = {run.name: run for run in runs}
    ordered = {baseline: by_name[baseline], **by_name}
    first = ordered[baseline]
    compared = [
        GroupValues(
            kind=group.kind,
            name=group.name,
            jobs=int(group.rows.sum()),
            values={name: measure(run, group) for name, run in ordered.items()},
        )
        for group in groups(first.jobs)
    ]
    others = [run for name, run in ordered.items() if name != baseline and not run.is_fill]
    return Comparison(
        baseline=baseline,
        runs=ordered,
        groups=compared,
        shifts={run.name: shift(run, first) for run in others},
        ties=ties,
    )


def shift(run: Run, base: Run) -> Shift:
    """Job by job against the baseline. Both runs are of the same trace, so their rows agree."""
    both = run.jobs.started & base.jobs.started
    change = np.where(both, run.jobs.wait_ms - base.jobs.wait_ms, 0)
    rows = np.flatnonzero(both)
    worst = rows[np.lexsort((rows, -change[rows]))][:WORST]
    ids, users = run.jobs.text("job_id"), run.jobs.text("user")
    return Shift(
        compared=len(rows),
        longer=int((change > 0).sum()),
        shorter=int((change < 0).sum()),
        only_baseline=int((base.jobs.started & ~run.jobs.started).sum()),
        only_policy=int((run.jobs.started & ~base.jobs.started).sum()),
        worst_jobs=[
            {
                "job_id": ids[int(row)].as_py(),
                "user": users[int(row)].as_py(),
                "gpus": int(run.jobs.demand_milli[row]) / 1000,
                "longer_ms": int(change[row]),
                "wait_ms": int(run.jobs.wait_ms[row]),
            }
            for row in worst
            if change[row] > 0
        ],
        worst_users=_worst_users(run, change, both),
        groups=[
            {"kind": group.kind, "name": group.name, "jobs": int(inside.sum()), **_change(change[inside])}
            for group in groups(run.jobs)
            if (inside := group.rows & both).any()
        ],
    )


def _change(change: Integers) -> dict[str, Any]:
    return {"longer": int((change > 0).sum()), "mean_change_ms": float(change.mean())}


def _worst_users(run: Run, change: Integers, both: np.typing.NDArray[np.bool_]) -> list[dict[str, Any]]:
    codes, names = run.jobs.groups("user")
    jobs = np.bincount(codes[both], minlength=len(names))
    total = np.zeros(len(names), dtype=np.int64)
    np.add.at(total, codes[both], change[both])
    mean = total / np.maximum(jobs, 1)
    order = sorted(range(len(names)), key=lambda i: (-mean[i], names[i]))
    return [
        {"user": names[i], "jobs": int(jobs[i]), "mean_change_ms": float(mean[i])}
        for i in order[:WORST]
        if mean[i] > 0 and names[i] != "-"
    ]


def no_ties(reason: str) -> TieSpread:
    """Nothing was measured, for this reason."""
    return TieSpread(orders=0, not_measured=reason, low={}, high={})


def tie_spread(own: Mapping[str, Values], others: Mapping[str, Sequence[Values]]) -> TieSpread:
    """Smallest and largest value of each metric over a run's own order of ties and the other ones."""
    low: dict[str, Values] = {}
    high: dict[str, Values] = {}
    for policy, values in own.items():
        low[policy], high[policy] = {}, {}
        for metric in values:
            seen = [each.get(metric) for each in (values, *others[policy])]
            known = [value for value in seen if value is not None]
            low[policy][metric] = min(known) if len(known) == len(seen) else None
            high[policy][metric] = max(known) if len(known) == len(seen) else None
    return TieSpread(orders=max(map(len, others.values()), default=0), not_measured=None, low=low, high=high)
