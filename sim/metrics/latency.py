"""Latency: from a request's arrival at its service to its answer, over all requests; and how many were late.

How long requests take follows from the replicas that ran: `sim.services.latency`. Requests that were never answered count as
infinitely late: a quantile that they reach has no value, and neither has the mean as soon as there is one. Late is what took
longer than the objective of its service.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from sim.metrics.metric import Metric, OfRequests, PerJob, Sample, known
from sim.services.arrivals import together
from sim.services.of_run import Answered, Requests, answered, late_by_replica, requests_of

if TYPE_CHECKING:
    from sim.results import Run


def figure(what: OfRequests, requests: Sequence[Requests]) -> float:
    """Of all requests of these services; infinite where too many were never answered, NaN where there are none."""
    if what.statistic in ("late", "late count"):
        late, total = _late_of(requests)
        return late if what.statistic == "late count" else late / total if total else math.nan
    parts = [each.arrivals for each in requests]
    if not parts:
        return math.nan
    found = together(parts)
    if what.statistic == "mean":
        return found.mean_ms()
    assert what.q is not None, "a quantile has a q"
    return found.quantile_ms(what.q)


def _late_of(requests: Sequence[Requests]) -> tuple[float, float]:
    """Late requests and all, of the services that have an objective."""
    parts = [(each.arrivals, each.objective_ms) for each in requests if each.objective_ms is not None]
    late = sum(float(arrivals.above(limit).sum()) for arrivals, limit in parts)
    return late, sum(arrivals.total for arrivals, _ in parts)


def late_requests(run: Run) -> NDArray[np.float64]:
    """One for each job: its part of the requests that were late while it was wanted.

    NaN for jobs that are no replicas, and for replicas of services without an objective.
    """
    found = np.full(len(run.jobs), np.nan)
    for each in answered(run).values():
        found[each.rows] = late_by_replica(each)
    return found


def _late(sample: Sample) -> float | None:
    late = known(late_requests(sample.run), sample)
    return float(late.sum()) if len(late) else None


def _figure_of(what: OfRequests, sample: Sample) -> float:
    """The figure of a sample. Those of the last run are remembered: many groups of jobs have replicas of the same services."""
    services = answered(sample.run)
    if not (_REMEMBERED and _REMEMBERED[0][0] is services):
        _REMEMBERED[:] = [(services, {})]
    figures = _REMEMBERED[0][1]
    names = tuple(name for name, each in services.items() if sample.rows[each.rows].any())
    key = (what, names, None if sample.counted is None else sample.counted.tobytes())
    if key not in figures:
        figures[key] = figure(what, requests_of(sample))
    return figures[key]


_REMEMBERED: Final[
    list[tuple[Mapping[str, Answered], dict[tuple[OfRequests, tuple[str, ...], bytes | None], float]]]
] = []


def _of_requests(name: str, title: str, what: OfRequests) -> Metric:
    def of(sample: Sample) -> float | None:
        value = _figure_of(what, sample)
        return value if math.isfinite(value) else None

    late = what.statistic == "late"
    return Metric(
        name=name,
        title=title,
        unit="share" if late else "ms",
        better="lower",
        of=of,
        of_requests=what,
        needs="objectives" if late else "services",
    )


METRICS = (
    _of_requests("latency_mean_ms", "latency, mean", OfRequests("latency", "mean")),
    _of_requests("latency_median_ms", "latency, median", OfRequests("latency", "quantile", 0.5)),
    _of_requests("latency_p95_ms", "latency, p95", OfRequests("latency", "quantile", 0.95)),
    _of_requests("latency_p99_ms", "latency, p99", OfRequests("latency", "quantile", 0.99)),
    Metric(
        name="late_requests",
        title="late requests",
        unit="count",
        better="lower",
        of=_late,
        per_job=PerJob("late_requests", late_requests, "sum"),
        of_requests=OfRequests("late_requests", "late count"),
        needs="objectives",
    ),
    _of_requests("late_share", "late share of requests", OfRequests("late", "late")),
)
