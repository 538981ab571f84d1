"""Waiting time: first start - submit, of the jobs that started."""

from __future__ import annotations

from sim.metrics.metric import Metric, Sample, mean, quantile


def _quantile(name: str, q: float) -> Metric:
    def of(sample: Sample) -> float | None:
        return quantile(sample.waits_ms(), q)

    return Metric(name=f"wait_{name}_ms", title=f"wait, {name}", unit="ms", better="lower", of=of)


METRICS = (
    Metric(name="wait_mean_ms", title="wait, mean", unit="ms", better="lower", of=lambda s: mean(s.waits_ms())),
    _quantile("median", 0.5),
    _quantile("p95", 0.95),
    _quantile("p99", 0.99),
)
