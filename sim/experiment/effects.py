"""What each policy changes against the baseline: for all jobs, for each group of jobs, and job by job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from sim.experiment.asked import Asked
from sim.experiment.margins import default_margin
from sim.experiment.quantities import KINDS, Selector, Where, quantity
from sim.experiment.sampler import Sampler
from sim.results import Run
from sim.statistics.holm import holm
from sim.statistics.interval import Interval, interval, p_value
from sim.statistics.verdict import Verdict, decide, in_blocks

GROUP_QUANTITIES: Final = ("wait.mean", "wait.p95", "completion.mean")
"""Measured for each queue, user, size class and accelerator."""

QUANTILES_MAX: Final = 40
"""Groups of one kind, the largest, whose quantiles are measured: means are cheap, quantiles are not."""

MOVERS: Final = 10
"""Jobs that win most and that lose most, listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """A figure and the ends of its 95 % interval; each end is a one-sided bound at 97.5 %."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """One quantity of some jobs under a policy, against the baseline."""

    quantity: str
    metric: str
    """Of the registry: its unit and direction."""
    kind: str
    """`all`, `queue`, `user`, `size` or `accelerator`."""
    name: str
    jobs: int
    baseline: float | None
    value: float | None
    difference: Bounds | None
    """In the unit of the metric: policy minus baseline."""
    ratio: Bounds | None
    """Policy / baseline; None where the baseline has nothing to divide by."""
    blocks: int
    """Blocks that hold such a job."""
    worth: int
    """Independent blocks that they are worth."""
    p_value: float | None
    p_holm: float | None
    """Corrected for all metrics asked for; in groups, for all groups of the kind."""
    margin: str
    verdict: Verdict
    why: str
    blocks_needed: int | None
    """Blocks in all that would decide it if the effect is as large as it looks; None where none would, or none is needed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyEffects:
    """All that one policy changes."""

    metrics: list[Effect]
    """The family that was asked for, corrected together."""
    groups: list[Effect]
    worst_off: dict[str, Effect]
    """Kind -> the group whose mean wait grows most, or shrinks least: always named."""
    winners: list[dict[str, Any]]
    losers: list[dict[str, Any]]


def effects_of(sampler: Sampler, policy: str, baseline: str, family: Sequence[Asked]) -> PolicyEffects:
    """The effects of one policy; winners and losers are added by `movers`."""
    metrics = family_of(sampler, policy, baseline, family)
    groups: list[Effect] = []
    worst: dict[str, Effect] = {}
    for kind in KINDS:
        found = _groups(sampler, policy, baseline, kind)
        groups += found
        waits = [each for each in found if each.quantity == GROUP_QUANTITIES[0] and each.difference is not None]
        if len(waits) > 1:
            worst[kind] = max(waits, key=lambda each: (each.difference.value if each.difference else 0.0, each.name))
    return PolicyEffects(metrics=metrics, groups=groups, worst_off=worst, winners=[], losers=[])


def _groups(sampler: Sampler, policy: str, baseline: str, kind: str) -> list[Effect]:
    """Each group of a kind, the largest first, each quantity corrected for all groups; none where there is only one."""
    labels = sampler.subjects.labels[kind]
    jobs = np.bincount(labels.codes, minlength=len(labels.names))
    order = [int(code) for code in np.argsort(-jobs, kind="stable") if jobs[code]]
    if len(order) < 2:
        return []
    found: list[Effect] = []
    for name in GROUP_QUANTITIES:
        asked = quantity(name)
        codes = order[:QUANTILES_MAX] if asked.per_job and asked.per_job.statistic == "quantile" else order
        margin = default_margin(asked.metric)
        wanted = [Asked(selector=Selector(asked, ((kind, labels.names[code]),)), margin=margin) for code in codes]
        found += family_of(sampler, policy, baseline, wanted)
    return found


def family_of(sampler: Sampler, policy: str, baseline: str, family: Sequence[Asked]) -> list[Effect]:
    """Measured one by one, corrected together."""
    judged = [_Question(sampler, policy, baseline, each) for each in family]
    corrected = holm([each.p for each in judged])
    return [each.effect(p) for each, p in zip(judged, corrected, strict=True)]


class _Question:
    """One quantity before its p-value is corrected."""

    def __init__(self, sampler: Sampler, policy: str, baseline: str, asked: Asked) -> None:
        self.asked = asked
        what, where = asked.selector
        self.same = sampler.same(policy, baseline, what, where)
        self.jobs = len(sampler.rows(where))
        own, base = sampler.measured(policy, what, where), sampler.measured(baseline, what, where)
        self.value, self.base = (None if each.estimate is None else each.estimate.value for each in (own, base))
        self.why_not = own.why_not or base.why_not
        self.difference: Interval | None = None
        self.ratio: Interval | None = None
        self.excess: Interval | None = None
        self.p: float | None = None
        self.blocks = self.worth = 0
        if own.estimate is not None and base.estimate is not None:
            margin, pair = asked.margin, (policy, baseline)
            change = sampler.honest(own.estimate - base.estimate, asked.selector, pair)
            self.blocks, self.worth = max(own.estimate.blocks, base.estimate.blocks), change.blocks
            self.difference, self.p = interval(change), p_value(change)
            self.ratio = interval(sampler.honest(own.estimate / base.estimate, asked.selector, pair))
            over = own.estimate.excess(
                base.estimate, relative=margin.relative, absolute=margin.absolute, worse=what.worse
            )
            self.excess = interval(sampler.honest(over, asked.selector, pair))

    def effect(self, p_holm: float | None) -> Effect:
        what, where = self.asked.selector
        turned = self.difference
        if turned is not None and what.worse < 0:
            turned = Interval(-turned.value, -turned.high, -turned.low)
        found = decide(turned, self.excess, p=p_holm, blocks=self.worth, same=self.same, of=self.blocks)
        if self.why_not and not self.same:
            found = found._replace(said="undecided", why=self.why_not, blocks_needed=None)
        kind, name = _shown(where)
        return Effect(
            quantity=what.name,
            metric=what.metric.name,
            kind=kind,
            name=name,
            jobs=self.jobs,
            baseline=self.base,
            value=self.value,
            difference=_bounds(self.difference),
            ratio=_bounds(self.ratio),
            blocks=self.blocks,
            worth=self.worth,
            p_value=self.p,
            p_holm=p_holm,
            margin=self.asked.margin.text,
            verdict=found.said,
            why=found.why,
            blocks_needed=in_blocks(found.blocks_needed, self.blocks, self.worth),
        )


def _shown(where: Where) -> tuple[str, str]:
    """Kind and name of a group; several labels are one kind `and`."""
    if len(where) == 1:
        return where[0]
    return ("and", ",".join(f"{kind}={name}" for kind, name in where)) if where else ("all", "")


def _bounds(found: Interval | None) -> Bounds | None:
    return None if found is None else Bounds(value=found.value, low=found.low, high=found.high)


def with_movers(found: PolicyEffects, run: Run, base: Run, counted: np.typing.NDArray[np.bool_]) -> PolicyEffects:
    """The jobs whose wait changes most, in the replays that the directory holds."""
    both = np.flatnonzero(run.jobs.started & base.jobs.started & counted)
    change = (run.jobs.wait_ms - base.jobs.wait_ms)[both]
    order = np.lexsort((both, change))
    winners = [row for row in order[:MOVERS] if change[row] < 0]
    losers = [row for row in order[::-1][:MOVERS] if change[row] > 0]
    return replace(
        found,
        winners=[_mover(run, base, int(both[row])) for row in winners],
        losers=[_mover(run, base, int(both[row])) for row in losers],
    )


def _mover(run: Run, base: Run, row: int) -> dict[str, Any]:
    texts: Mapping[str, Any] = {name: run.jobs.text(name)[row].as_py() for name in ("job_id", "queue", "user")}
    own, before = int(run.jobs.wait_ms[row]), int(base.jobs.wait_ms[row])
    return {
        **texts,
        "gpus": int(run.jobs.demand_milli[row]) / 1000,
        "baseline_wait_ms": before,
        "wait_ms": own,
        "change_ms": own - before,
    }
