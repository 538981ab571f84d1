"""What a metric is: a name, a unit, which way is better, and a function of a run and some of its jobs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.timeline import EXPIRED

if TYPE_CHECKING:
    from sim.jobs_table import Integers
    from sim.results import Run


class Sample(NamedTuple):
    """A run, and the jobs of it that are looked at."""

    run: Run
    rows: NDArray[np.bool_]
    """One for each job of the run."""
    counted: NDArray[np.bool_] | None = None
    """The jobs between warm-up and drain, which bound what figures of the whole run are measured over time; None is all."""

    def waits_ms(self) -> Integers:
        """Wait of the jobs that started. The others are counted by `not_started`, never left out in silence."""
        jobs = self.run.jobs
        return jobs.wait_ms[self.rows & jobs.started]

    def completions_ms(self) -> Integers:
        """Completion time of the jobs that were complete, or were killed."""
        return self.run.jobs.completion_ms[self.rows & completed(self.run)]


@dataclass(frozen=True, slots=True)
class PerJob:
    """How a metric comes from one value for each job: what a comparison needs to say how sure it is."""

    column: str
    """The same name stands for the same values; with the statistic it is what gates call the metric: `wait.p95`."""
    values: Callable[[Run], NDArray[np.float64]]
    """One for each job of a run, NaN where the job has none."""
    statistic: Literal["mean", "quantile", "sum"]
    q: float | None = None
    """Of a quantile."""
    having: Literal["deadline_ms"] | None = None
    """A column of `JobsTable`, and field of `JobRecord`: a job without it is no part of the question. Without a value, one that
    is part of it never came so far."""
    of_taken: bool = True
    """False if it asks nothing of jobs whose lifetime was over: see `taken_away`."""


@dataclass(frozen=True, slots=True)
class OfRequests:
    """How a figure of the whole run comes from the requests of services: it can be asked of some of them."""

    column: str
    """With the statistic it is what gates call the metric: `latency.p95`."""
    statistic: Literal["mean", "quantile", "late", "late count"]
    q: float | None = None
    """Of a quantile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One figure of a run."""

    name: str
    """Stable: `summary.json`, gates and scripts use it. Ends in its unit where it has one."""
    title: str
    unit: Literal["ms", "share", "ratio", "count"]
    better: Literal["lower", "higher"]
    of: Callable[[Sample], float | None]
    """None where the sample has nothing to measure."""
    grouped: bool = True
    """False for what only the whole fleet has."""
    in_fill: bool = False
    """True if it also means something in a static fill, which has no clock."""
    per_job: PerJob | None = None
    """None for a figure of the whole run, such as the makespan: only whole replays say how much it varies."""
    of_requests: OfRequests | None = None
    """Of a figure of the whole run that services have each for itself. Of a metric that has both, limits on one run ask this."""
    needs: Literal["services", "objectives"] | None = None
    """What a run must have for the metric to mean anything: services, or services with an objective."""


def taken_away(run: Run) -> NDArray[np.bool_]:
    """The jobs whose lifetime was over while they ran or waited: they end then under every policy, whatever they have done."""
    line = run.timeline
    found = np.zeros(len(run.jobs), dtype=np.bool_)
    found[line.job[np.isin(line.happened, EXPIRED)]] = True
    return found


def completed(run: Run) -> NDArray[np.bool_]:
    """The jobs that ended with their work, and those that were killed: whose end is an achievement of the policy."""
    return run.jobs.ended & ~taken_away(run)


def known(values: NDArray[np.float64], sample: Sample) -> NDArray[np.float64]:
    """The values of the sample's jobs, without NaN. `values` has one for each job of the run."""
    of_sample = values[sample.rows]
    return of_sample[~np.isnan(of_sample)]


def where(known: NDArray[np.bool_], values: Integers) -> NDArray[np.float64]:
    """The values of known jobs, NaN for the others."""
    return np.where(known, values, np.nan)


def mean(values: NDArray[np.int64] | NDArray[np.float64]) -> float | None:
    """The mean, or None of nothing."""
    return float(values.mean()) if len(values) else None


def quantile(values: NDArray[np.int64] | NDArray[np.float64], q: float) -> float | None:
    """The q-quantile, linear between neighbours (numpy's and pandas' default), or None of nothing."""
    return round(float(np.quantile(values, q)), 6) if len(values) else None
