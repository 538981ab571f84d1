"""From what replays gave to estimates: any quantity of any jobs under any policy, with how it varies over blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.experiment.plan import Blocks, Plan, Subjects
from sim.experiment.quantities import Quantity, Selector, Where, quantities, serving
from sim.metrics.latency import figure
from sim.metrics.metric import PerJob, Sample
from sim.metrics.registry import METRICS
from sim.metrics.wait import waits
from sim.results import Run
from sim.services.of_run import Requests, answered, counted_requests
from sim.statistics.dependence import added, allowing_for, lag_one, without_noise
from sim.statistics.draws import Draws, draw
from sim.statistics.estimate import Estimate, estimate
from sim.statistics.pool import Pool, ratio_of_sums
from sim.streams import Streams

Floats = NDArray[np.float64]

STREAM: Final = "bootstrap"
WAIT: Final = PerJob("wait", waits, "mean")

NO_REQUESTS: Final[Mapping[str, Requests]] = MappingProxyType({})


class Observed(NamedTuple):
    """What one replay gave, as far as a comparison needs it."""

    fingerprint: str
    columns: dict[str, Floats]
    """Column of jobs -> one value for each job of the trace, NaN where it has none."""
    whole: dict[str, float | None]
    """Figures of the whole run that no job has."""
    requests: Mapping[str, Requests] = NO_REQUESTS
    """Service -> those of its requests that count."""


def observe(run: Run, counted: NDArray[np.bool_] | None = None) -> Observed:
    """Every column that a metric is made of, every metric that is made of none, and the requests while `counted` jobs came."""
    columns: dict[str, Floats] = {}
    for each in quantities():
        if each.per_job is not None and each.per_job.column not in columns:
            columns[each.per_job.column] = each.per_job.values(run)
    sample = Sample(run, np.ones(len(run.jobs), dtype=bool))
    whole = {each.name: each.of(sample) for each in METRICS if each.per_job is None and each.of_requests is None}
    own = sample._replace(counted=counted)
    requests = {name: counted_requests(each, own) for name, each in answered(run).items()}
    return Observed(str(run.manifest["fingerprint"]), columns, whole, requests)


@dataclass(frozen=True, slots=True)
class Measured:
    """An estimate, or why there is none."""

    estimate: Estimate | None
    why_not: str = ""


class Sampler:
    """Measures policies on the same jobs, in the same blocks, with the same draws."""

    def __init__(
        self, subjects: Subjects, blocks: Blocks, plan: Plan, observed: Mapping[str, Sequence[Sequence[Observed]]]
    ) -> None:
        """`observed`: policy -> trace -> replication."""
        self.subjects, self.blocks, self.plan = subjects, blocks, plan
        self._observed = observed
        self.policies = tuple(observed)
        """Those that were measured, the baseline among them."""
        self.draws: Draws = draw(blocks.number, Streams(plan.seed).generator(STREAM), plan.resamples)
        self.distinct = len({self._prints(trace, number) for trace, number in self._replays()})
        """Replays of the whole set of policies that differ from each other."""
        self._series = self._series_of_blocks()
        self.measured = cache(self._measured)
        self._column = cache(self._column_of)
        self._correlation = cache(self._correlation_of)
        self._sorted_by = cache(self._sorting)

    def rows(self, where: Where) -> NDArray[np.int64]:
        """The jobs that count and have all the labels, in order."""
        if not where:
            return np.arange(len(self.subjects))
        found = self._members(*where[0])
        for kind, name in where[1:]:
            found = np.intersect1d(found, self._members(kind, name), assume_unique=True)
        return found

    def _members(self, kind: str, name: str) -> NDArray[np.int64]:
        """Those with one label. Jobs are sorted by a kind once, so that many groups cost no more than few."""
        labels = self.subjects.labels[kind]
        if name not in labels.names:
            return np.zeros(0, dtype=np.int64)
        order, starts = self._sorted_by(kind)
        code = labels.names.index(name)
        return order[starts[code] : starts[code + 1]]

    def _sorting(self, kind: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        labels = self.subjects.labels[kind]
        counts = np.bincount(labels.codes, minlength=len(labels.names))
        return np.argsort(labels.codes, kind="stable"), np.concatenate(([0], np.cumsum(counts)))

    def values(self, policy: str, column: str, where: Where) -> Floats:
        """Shape (replications, jobs)."""
        return self._column(policy, column)[:, self.rows(where)]

    def same(self, policy: str, other: str, quantity: Quantity, where: Where) -> bool:
        """True if every job has the same value under both, in every replication."""
        if quantity.per_job is None:
            own, by = self._whole(policy, quantity, where), self._whole(other, quantity, where)
            return bool(np.array_equal(own, by))
        column = quantity.per_job.column
        own, by = self.values(policy, column, where), self.values(other, column, where)
        return bool(np.array_equal(own, by, equal_nan=True))

    def honest(self, contrast: Estimate, selector: Selector, policies: Sequence[str]) -> Estimate:
        """A difference of two policies, or a figure of one, with the spread that blocks are worth that follow each other."""
        if self._series is None or selector.quantity.per_job is None:
            return contrast
        own = lag_one(added(contrast.left_out), self._series)
        return allowing_for(contrast, max(own, self._correlation(selector, tuple(policies))))

    def _correlation_of(self, selector: Selector, policies: tuple[str, ...]) -> float:
        """How what neighbouring blocks add goes together, for the mean and for a quantile by the jobs beyond it.

        Because: leaving a block out moves a quantile by leaps, in which the dependence that there is does not show.
        """
        per_job, where = selector.quantity.per_job, selector.where
        if self._series is None or per_job is None:
            return 0.0
        codes = self.blocks.codes[:, self.rows(where)].reshape(-1)
        adds: list[list[Floats]] = []
        for policy in policies:
            values = self.values(policy, per_job.column, where).reshape(-1)
            pool = Pool(values, codes, self.blocks.number)
            adds.append([added(pool.mean(self.draws.weights[self.draws.resamples + 1 :]))])
            if per_job.q is not None and pool.counts.any():
                limit = float(np.nanquantile(values, per_job.q))
                adds[-1].append(np.bincount(codes, values > limit, minlength=self.blocks.number).astype(np.float64))
        apart = [_apart(*each) for each in zip(*adds, strict=False)]
        found = max((lag_one(each, self._series) for each in apart), default=0.0)
        if per_job.column == WAIT.column or per_job.statistic == "sum":
            return found
        # because: what links days is the backlog, which waits show with the least noise
        return max(found, self._correlation(Selector(Quantity("", selector.quantity.metric, WAIT), where), policies))

    def _series_of_blocks(self) -> NDArray[np.int64] | None:
        """The trace of each block; None where blocks do not follow each other."""
        if self.blocks.rule.unit not in ("time", "count"):
            return None
        found = np.zeros(self.blocks.number, dtype=np.int64)
        found[self.blocks.codes[0]] = self.subjects.trace
        return found

    def _measured(self, policy: str, quantity: Quantity, where: Where = ()) -> Measured:
        per_job = quantity.per_job
        if per_job is None:
            return self._of_whole_runs(policy, quantity, where)
        rows = self.rows(where)
        codes = self.blocks.codes[:, rows].reshape(-1)
        values = self._column(policy, per_job.column)[:, rows].reshape(-1)
        pool = Pool(values, codes, self.blocks.number)
        blocks = int((np.bincount(codes, minlength=self.blocks.number) > 0).sum()) if len(codes) else 0
        if not pool.counts.any():
            return Measured(None, "no job has a value")
        found = _condensed(pool, per_job, self.draws, replications=self.plan.replications)
        return Measured(estimate(found, self.draws, self._independent(blocks)))

    def _of_whole_runs(self, policy: str, quantity: Quantity, where: Where) -> Measured:
        """The mean over replays; only where whole replays are the blocks."""
        unit = self.blocks.rule.unit
        if unit not in ("replication", "trace"):
            return Measured(None, "it is one figure of a whole replay: needs blocks: replication, or trace")
        values = self._whole(policy, quantity, where)
        if np.isnan(values).any():
            return Measured(None, "it was not measured in every replay")
        if np.isinf(values).any():
            return Measured(None, "it is infinite: requests were never answered")
        if unit == "trace":
            values = values.reshape(-1, self.plan.replications).mean(axis=1)
        found = ratio_of_sums(values, np.ones(len(values)), self.draws.weights)
        return Measured(estimate(found, self.draws, self._independent(len(values))))

    def _independent(self, blocks: int) -> int:
        """Replications that came out alike are one piece of evidence, not several."""
        return min(blocks, self.distinct) if self.blocks.rule.unit == "replication" else blocks

    def _whole(self, policy: str, quantity: Quantity, where: Where) -> Floats:
        """One for each replay, NaN where it has none."""
        replays = [each for trace in self._observed[policy] for each in trace]
        of_requests = quantity.of_requests
        if of_requests is not None:
            names = serving(where, self.subjects.services)
            asked = [[each.requests[name] for name in names if name in each.requests] for each in replays]
            return np.array([figure(of_requests, each) for each in asked])
        found = [each.whole.get(quantity.metric.name) for each in replays]
        return np.array([np.nan if value is None else value for value in found])

    def _column_of(self, policy: str, column: str) -> Floats:
        """Shape (replications, jobs that count)."""
        return np.stack(
            [
                np.concatenate(
                    [
                        trace[number].columns[column][mask]
                        for trace, mask in zip(self._observed[policy], self.subjects.counted, strict=True)
                    ]
                )
                for number in range(self.plan.replications)
            ]
        )

    def _replays(self) -> list[tuple[int, int]]:
        return [(t, n) for t in range(len(self.subjects.counted)) for n in range(self.plan.replications)]

    def _prints(self, trace: int, number: int) -> tuple[str, ...]:
        return tuple(each[trace][number].fingerprint for each in self._observed.values())


def _apart(own: Floats, other: Floats | None = None) -> Floats:
    return own if other is None else without_noise(own - other, np.abs(own) + np.abs(other))


def _condensed(pool: Pool, per_job: PerJob, draws: Draws, *, replications: int) -> Floats:
    if per_job.statistic == "mean":
        return pool.mean(draws.weights)
    if per_job.statistic == "sum":  # because: of one replay, so that more replications do not make more preemptions
        return pool.sum(draws.weights) / replications
    found: Floats = pool.quantiles(draws.weights, [per_job.q or 0.0])[0]
    return found
