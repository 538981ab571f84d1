"""Waiting time: first start - submit, of the jobs that started."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.metrics.metric import Metric, PerJob, Sample, mean, quantile, where

if TYPE_CHECKING:
    from sim.results import Run


def waits(run: Run) -> NDArray[np.float64]:
    """One for each job, NaN for those that did not start."""
    return where(run.jobs.started, run.jobs.wait_ms)


def _quantile(name: str, q: float) -> Metric:
    def of(sample: Sample) -> float | None:
        return quantile(sample.waits_ms(), q)

    return Metric(
        name=f"wait_{name}_ms",
        title=f"wait, {name}",
        unit="ms",
        better="lower",
        of=of,
        per_job=PerJob("wait", waits, "quantile", q),
    )


METRICS = (
    Metric(
        name="wait_mean_ms",
        title="wait, mean",
        unit="ms",
        better="lower",
        of=lambda s: mean(s.waits_ms()),
        per_job=PerJob("wait", waits, "mean"),
    ),
    _quantile("median", 0.5),
    _quantile("p95", 0.95),
    _quantile("p99", 0.99),
)
