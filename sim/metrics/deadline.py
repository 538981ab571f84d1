"""Deadlines: the share of the jobs with one that missed it, and how late those were that finished (tardiness).

One minus the share is what the literature calls SLO attainment or the deadline satisfactory ratio (ElasticFlow, ASPLOS 2023).
Only a job that finished can be in time: one that was killed, rejected or withdrawn, or that never started, missed its deadline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.jobs_table import ABSENT, FINISHED, RUNNING, WAITING
from sim.metrics.metric import Metric, PerJob, known, mean, quantile

if TYPE_CHECKING:
    from sim.results import Run


def missed(run: Run) -> NDArray[np.float64]:
    """1 for each job that missed its deadline, 0 for each that met it.

    NaN for those without one, in a static fill, and where a run that broke off says neither.
    """
    jobs = run.jobs
    found = np.where(_in_time(run), 0.0, 1.0)
    found[~_measured(run)] = np.nan
    if not run.complete:
        still = np.isin(jobs.state, (WAITING, RUNNING))
        found[still & (jobs.submit_ms + jobs.deadline_ms >= int(run.manifest["end_ms"]))] = np.nan
    return found


def tardiness(run: Run) -> NDArray[np.float64]:
    """max(0, completion - deadline) of each job, NaN for those without a deadline and those that did not finish."""
    jobs = run.jobs
    finished = _measured(run) & (jobs.state == FINISHED)
    return np.where(finished, np.maximum(jobs.completion_ms - jobs.deadline_ms, 0), np.nan)


def _measured(run: Run) -> NDArray[np.bool_]:
    """The jobs with a deadline; none in a static fill, which has no clock."""
    found: NDArray[np.bool_] = np.not_equal(run.jobs.deadline_ms, ABSENT) & (not run.is_fill)
    return found


def _in_time(run: Run) -> NDArray[np.bool_]:
    jobs = run.jobs
    found: NDArray[np.bool_] = (jobs.state == FINISHED) & (jobs.completion_ms <= jobs.deadline_ms)
    return found


METRICS = (
    Metric(
        name="deadline_missed_share",
        title="deadlines missed",
        unit="share",
        better="lower",
        of=lambda s: mean(known(missed(s.run), s)),
        per_job=PerJob("deadline_missed", missed, "mean", having="deadline_ms"),
    ),
    Metric(
        name="tardiness_mean_ms",
        title="tardiness, mean",
        unit="ms",
        better="lower",
        of=lambda s: mean(known(tardiness(s.run), s)),
        per_job=PerJob("tardiness", tardiness, "mean", having="deadline_ms"),
    ),
    Metric(
        name="tardiness_p95_ms",
        title="tardiness, p95",
        unit="ms",
        better="lower",
        of=lambda s: quantile(known(tardiness(s.run), s), 0.95),
        per_job=PerJob("tardiness", tardiness, "quantile", 0.95, having="deadline_ms"),
    ),
)
