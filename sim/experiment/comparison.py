"""What a comparison says: each metric of each policy beside the baseline, who waits longer, what ties alone move.

Pure figures from finished runs. How they are shown is decided in `sim.report`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sim.experiment.effects import Effect
from sim.experiment.paired import Paired
from sim.experiment.quantities import quantity
from sim.gates.judge import GateResult
from sim.jobs_table import Integers
from sim.metrics.registry import Group, groups, measure
from sim.results import Run

VERSION: Final = 2
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
    paired: Paired | None = None
    """None of a single run, of a static fill, and where the baseline broke off."""
    gates: tuple[GateResult, ...] = ()
    bounds: Mapping[str, Any] | None = None
    """How far each policy is from what no schedule can beat, as `sim.bounds.distance` says it; None where nobody asked."""

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

    @property
    def replays(self) -> int:
        """How many replays of each policy the intervals rest on; `groups`, `shifts` and `ties` are of the first."""
        return 1 if self.paired is None else len(self.paired.evidence.replays)

    def effect(self, policy: str, metric: str) -> Effect | None:
        """What a policy changes in a metric of all jobs; None where that was not asked for."""
        found = None if self.paired is None else self.paired.policies.get(policy)
        asked = quantity(metric).name
        everyone = () if found is None else (each for each in found.metrics if each.kind == "all")
        return next((each for each in everyone if each.quantity == asked), None)

    def overall(self, metric: str) -> dict[str, float | None]:
        """Policy -> a metric over all replays, which its intervals speak of; empty where several were not asked for it."""
        if self.replays == 1:
            return {name: found[metric] for name, found in self.whole.values.items()}
        known = {policy: effect for policy in self.others if (effect := self.effect(policy, metric))}
        values = {policy: each.value for policy, each in known.items()}
        return {self.baseline: next(iter(known.values())).baseline, **values} if known else {}

    def best(
        self,
        metric: str,
        better: str,
        among: Sequence[str] | None = None,
        values: Mapping[str, float | None] | None = None,
    ) -> list[str]:
        """The policies with the best value of a metric, among the runs that came to their end.

        Without `values` it is that of the first replay.
        """
        if values is None:
            values = {name: found[metric] for name, found in self.whole.values.items()}
        known = {
            name: value
            for name in (self.names if among is None else among)
            if self.runs[name].complete and (value := values.get(name)) is not None
        }
        if not known:
            return []
        best = min(known.values()) if better == "lower" else max(known.values())
        return [name for name, value in known.items() if value == best]


def compare_runs(
    runs: Sequence[Run],
    baseline: str,
    ties: TieSpread,
    *,
    counted: NDArray[np.bool_] | None = None,
    paired: Paired | None = None,
    gates: Sequence[GateResult] = (),
) -> Comparison:
    """Put runs of the same trace side by side. The baseline comes first. Jobs that are not `counted` are left out."""
    by_name = {run.name: run for run in runs}
    ordered = {baseline: by_name[baseline], **by_name}
    first = ordered[baseline]
    if counted is None:
        counted = np.ones(len(first.jobs), dtype=bool)
    shown = [group for group in groups(first.jobs) if (group.rows & counted).any() or group.kind == "service"]
    # because: what the requests of a run have in common is remembered as long as no other run is asked
    measured = {name: [measure_counted(run, group, counted) for group in shown] for name, run in ordered.items()}
    compared = [
        GroupValues(
            kind=group.kind,
            name=group.name,
            jobs=int((group.rows & counted).sum()),
            values={name: values[number] for name, values in measured.items()},
        )
        for number, group in enumerate(shown)
    ]
    others = [run for name, run in ordered.items() if name != baseline and not run.is_fill]
    return Comparison(
        baseline=baseline,
        runs=ordered,
        groups=compared,
        shifts={run.name: shift(run, first, counted) for run in others},
        ties=ties,
        paired=paired,
        gates=tuple(gates),
    )


def measure_counted(run: Run, group: Group, counted: NDArray[np.bool_]) -> Values:
    """The metrics of the group's jobs that count; figures of the whole run stay those of the whole run."""
    return measure(run, group, None if counted.all() else counted)


def shift(run: Run, base: Run, counted: NDArray[np.bool_] | None = None) -> Shift:
    """Job by job against the baseline. Both runs are of the same trace, so their rows agree."""
    inside: NDArray[np.bool_] = np.ones(len(run.jobs), dtype=bool) if counted is None else counted
    both = run.jobs.started & base.jobs.started & inside
    change = np.where(both, run.jobs.wait_ms - base.jobs.wait_ms, 0)
    compared = np.flatnonzero(both)
    worst = compared[np.lexsort((compared, -change[compared]))][:WORST]
    ids, users = run.jobs.text("job_id"), run.jobs.text("user")
    return Shift(
        compared=len(compared),
        longer=int((change > 0).sum()),
        shorter=int((change < 0).sum()),
        only_baseline=int((base.jobs.started & ~run.jobs.started & inside).sum()),
        only_policy=int((run.jobs.started & ~base.jobs.started & inside).sum()),
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
            {"kind": group.kind, "name": group.name, "jobs": int(rows.sum()), **_change(change[rows])}
            for group in groups(run.jobs)
            if (rows := group.rows & both).any()
        ],
    )


def _change(change: Integers) -> dict[str, Any]:
    return {"longer": int((change > 0).sum()), "mean_change_ms": float(change.mean())}


def _worst_users(run: Run, change: Integers, both: NDArray[np.bool_]) -> list[dict[str, Any]]:
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
