"""Makespan: from the first submission to the last end."""

from __future__ import annotations

from sim.metrics.metric import Metric, Sample


def makespan_ms(sample: Sample) -> float | None:
    """Of the sample's jobs; None if none of them ended."""
    jobs = sample.run.jobs
    ends = jobs.end_ms[sample.rows & jobs.ended]
    return float(ends.max() - jobs.submit_ms[sample.rows].min()) if len(ends) else None


METRICS = (Metric(name="makespan_ms", title="makespan", unit="ms", better="lower", of=makespan_ms),)
