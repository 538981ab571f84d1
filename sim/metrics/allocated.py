"""Allocated share of capacity: device time that jobs held / (devices of the fleet x time).

The time is from the first submission of the run to its last end. In a static fill, which has no clock, it is what is
held at the end. A group of jobs is measured against the whole fleet and the whole time, so that groups add up.
"""

from __future__ import annotations

from sim.jobs_table import RUNNING, exact_dot
from sim.metrics.metric import Metric, Sample


def allocated_share(sample: Sample) -> float | None:
    """None where the fleet has no device or no time passed."""
    run, jobs = sample.run, sample.run.jobs
    capacity = run.capacity_milli
    if not capacity or not len(jobs):
        return None
    if run.is_fill:
        return float(jobs.demand_milli[sample.rows & (jobs.state == RUNNING)].sum()) / capacity
    last_ms = int(jobs.end_ms.max()) if run.complete and jobs.ended.any() else int(run.manifest["end_ms"])
    span_ms = last_ms - int(jobs.submit_ms.min())
    held = exact_dot(jobs.held_ms[sample.rows], jobs.demand_milli[sample.rows])
    return held / (capacity * span_ms) if span_ms > 0 else None


METRICS = (
    Metric(
        name="allocated_share",
        title="allocated share of capacity",
        unit="share",
        better="higher",
        of=allocated_share,
        in_fill=True,
    ),
)
