"""All metrics, and a run measured by them: as a whole, by queue and by size class. A new metric is one line here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.causes.columns import totals
from sim.jobs_table import ABSENT
from sim.metrics import (
    allocated,
    completion,
    deadline,
    fragmented,
    latency,
    makespan,
    not_finished,
    preemptions,
    quota_violation,
    slowdown,
    wait,
)
from sim.metrics.metric import Metric, Sample
from sim.services.of_run import has_services
from sim.services.summary import by_service

if TYPE_CHECKING:
    from sim.jobs_table import Integers, JobsTable
    from sim.results import Run

METRICS: Final[tuple[Metric, ...]] = (
    *wait.METRICS,
    *completion.METRICS,
    *slowdown.METRICS,
    *makespan.METRICS,
    *allocated.METRICS,
    *fragmented.METRICS,
    *quota_violation.METRICS,
    *deadline.METRICS,
    *preemptions.METRICS,
    *not_finished.METRICS,
    *latency.METRICS,
)

BY_NAME: Final = {metric.name: metric for metric in METRICS}

SIZE_CLASSES: Final = (
    ("no device", 0),
    ("part of one", 1),
    ("1", 1000),
    ("2-7", 2000),
    ("8", 8000),
    ("9-63", 9000),
    ("64+", 64_000),
)
"""Name and least demand in milli-devices, ascending."""


class Group(NamedTuple):
    """Some jobs of a trace that are measured together."""

    kind: str
    """`all`, `queue`, `size` or `service`."""
    name: str
    rows: NDArray[np.bool_]


def size_codes(demand_milli: Integers) -> Integers:
    """The place in `SIZE_CLASSES` of each demand."""
    least = np.array([milli for _, milli in SIZE_CLASSES])
    return np.searchsorted(least, demand_milli, side="right") - 1


def groups(jobs: JobsTable) -> Iterator[Group]:
    """All jobs, then each queue (where there is more than one), each size class that has a job, and each service."""
    yield Group("all", "", np.ones(len(jobs), dtype=bool))
    codes, names = jobs.groups("queue")
    if len(names) > 1:
        for code, name in enumerate(names):
            yield Group("queue", name, codes == code)
    of_job = size_codes(jobs.demand_milli)
    for code, (name, _) in enumerate(SIZE_CLASSES):
        rows = of_job == code
        if rows.any():
            yield Group("size", name, rows)
    codes, names = jobs.groups("service")
    for code, name in enumerate(names):
        if name != "-":
            yield Group("service", name, codes == code)


def meant(run: Run) -> list[Metric]:
    """The metrics that mean something for a run, in the order of `METRICS`."""
    return [each for each in METRICS if (each.in_fill or not run.is_fill) and _has_what_it_needs(run, each)]


def _has_what_it_needs(run: Run, metric: Metric) -> bool:
    having = None if metric.per_job is None else metric.per_job.having
    if having is not None and not np.not_equal(getattr(run.jobs, having), ABSENT).any():
        return False
    return metric.needs is None or has_services(run, objective=metric.needs == "objectives")


def measure(run: Run, group: Group, counted: NDArray[np.bool_] | None = None) -> dict[str, float | None]:
    """Metric name -> value, in the order of `METRICS`, of those that mean something for the group.

    Of `counted` jobs alone, where that is given; figures of the whole run stay those of the whole run.
    """
    sample = Sample(run, group.rows if counted is None else group.rows & counted)
    whole = Sample(run, group.rows, counted)
    return {
        metric.name: metric.of(sample if metric.per_job else whole)
        for metric in meant(run)
        if metric.grouped or group.kind == "all"
    }


def summary(run: Run) -> dict[str, Any]:
    """What `summary.json` holds."""
    units = [metric for metric in METRICS if _has_what_it_needs(run, metric)]
    services = by_service(run)
    found: dict[str, Any] = {
        "policy": run.name,
        "complete": run.complete,
        "fingerprint": run.manifest["fingerprint"],
        "jobs": run.manifest["jobs"]["by_state"],
        "units": {metric.name: {"unit": metric.unit, "better": metric.better} for metric in units},
        "metrics": {},
        "by_queue": {},
        "by_size": {},
    }
    for group in groups(run.jobs):
        values = measure(run, group)
        if group.kind == "all":
            found["metrics"] = values
        else:
            more = services.get(group.name, {}) if group.kind == "service" else {}
            found.setdefault(f"by_{group.kind}", {})[group.name] = {"jobs": int(group.rows.sum()), **more, **values}
    if run.causes is not None:
        found["causes"] = totals(run.causes, run.jobs.started)
    return found
