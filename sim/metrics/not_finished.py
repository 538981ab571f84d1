"""Jobs that did not finish, and jobs that never started: no mean of waiting times says anything about those."""

from __future__ import annotations

from sim.jobs_table import DROPPED, FINISHED, REJECTED
from sim.metrics.metric import Metric, PerJob, Sample


def not_finished(sample: Sample) -> float:
    """In a static fill, where nothing ends: the pods that fitted nowhere."""
    state = sample.run.jobs.state[sample.rows]
    if sample.run.is_fill:
        return float(((state == DROPPED) | (state == REJECTED)).sum())
    return float((state != FINISHED).sum())


METRICS = (
    Metric(
        name="not_finished",
        title="jobs not finished",
        unit="count",
        better="lower",
        of=not_finished,
        in_fill=True,
        per_job=PerJob("not_finished", lambda run: (run.jobs.state != FINISHED).astype(float), "sum"),
    ),
    Metric(
        name="not_started",
        title="jobs never started",
        unit="count",
        better="lower",
        of=lambda s: float((s.rows & ~s.run.jobs.started).sum()),
        per_job=PerJob("not_started", lambda run: (~run.jobs.started).astype(float), "sum"),
        in_fill=True,
    ),
)
