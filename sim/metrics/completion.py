"""Completion time: end - submit, of the jobs that ended."""

from __future__ import annotations

from sim.metrics.metric import Metric, Sample, mean, quantile


def _quantile(name: str, q: float) -> Metric:
    def of(sample: Sample) -> float | None:
        return quantile(sample.completions_ms(), q)

    return Metric(name=f"completion_{name}_ms", title=f"completion, {name}", unit="ms", better="lower", of=of)


METRICS = (
    Metric(
        name="completion_mean_ms",
        title="completion, mean",
        unit="ms",
        better="lower",
        of=lambda s: mean(s.completions_ms()),
    ),
    _quantile("median", 0.5),
    _quantile("p95", 0.95),
    _quantile("p99", 0.99),
)
