"""Makespan: from the first submission to the last completion.

The end of a lifetime is none (`sim.metrics.completion`): the trace says when that is, and not the policy.
"""

from __future__ import annotations

from sim.metrics.metric import Metric, Sample, completed


def makespan_ms(sample: Sample) -> float | None:
    """Of the sample's jobs; None if none of them was complete or killed."""
    jobs = sample.run.jobs
    ends = jobs.end_ms[sample.rows & completed(sample.run)]
    return float(ends.max() - jobs.submit_ms[sample.rows].min()) if len(ends) else None


METRICS = (Metric(name="makespan_ms", title="makespan", unit="ms", better="lower", of=makespan_ms),)
