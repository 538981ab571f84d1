"""Bounded slowdown: max(1, completion / max(run time of the trace, 10 s)), of the jobs that have a completion time.

Where no job is preempted or slowed this is Feitelson's max(1, (wait + run) / max(run, 10 s)). The run time of the
trace in the denominator makes slow cards, distance and restarts count as the losses that they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.metrics.metric import Metric, PerJob, Sample, completed, known, mean, quantile

if TYPE_CHECKING:
    from sim.results import Run

BOUND_MS = 10_000
"""A job shorter than this counts as so long, so that the shortest do not dominate."""


def slowdowns(sample: Sample) -> NDArray[np.float64]:
    """One for each job of the sample that has one."""
    return known(of_all(sample.run), sample)


def of_all(run: Run) -> NDArray[np.float64]:
    """One for each job, NaN for those that have none."""
    jobs = run.jobs
    found = np.maximum(1.0, jobs.completion_ms / np.maximum(jobs.work_ms, BOUND_MS))
    return np.where(completed(run), found, np.nan)


METRICS = (
    Metric(
        name="bounded_slowdown_mean",
        title="bounded slowdown, mean",
        unit="ratio",
        better="lower",
        of=lambda s: mean(slowdowns(s)),
        per_job=PerJob("bounded_slowdown", of_all, "mean", of_taken=False),
    ),
    Metric(
        name="bounded_slowdown_p95",
        title="bounded slowdown, p95",
        unit="ratio",
        better="lower",
        of=lambda s: quantile(slowdowns(s), 0.95),
        per_job=PerJob("bounded_slowdown", of_all, "quantile", 0.95, of_taken=False),
    ),
)
