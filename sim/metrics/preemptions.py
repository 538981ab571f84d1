"""Preemptions: how often a running job lost its devices."""

from __future__ import annotations

from sim.metrics.metric import Metric, PerJob

METRICS = (
    Metric(
        name="preemptions",
        title="preemptions",
        unit="count",
        better="lower",
        of=lambda s: float(s.run.jobs.preemptions[s.rows].sum()),
        per_job=PerJob("preemptions", lambda run: run.jobs.preemptions.astype(float), "sum"),
    ),
)
