"""Completion time: end - submit, of the jobs that ended with their work or were killed.

What runs until its lifetime is over, such as a replica of a service, has none: it ends then under every policy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.metrics.metric import Metric, PerJob, Sample, completed, mean, quantile, where

if TYPE_CHECKING:
    from sim.results import Run


def completions(run: Run) -> NDArray[np.float64]:
    """One for each job, NaN for those that have none."""
    return where(completed(run), run.jobs.completion_ms)


def _quantile(name: str, q: float) -> Metric:
    def of(sample: Sample) -> float | None:
        return quantile(sample.completions_ms(), q)

    return Metric(
        name=f"completion_{name}_ms",
        title=f"completion, {name}",
        unit="ms",
        better="lower",
        of=of,
        per_job=PerJob("completion", completions, "quantile", q, of_taken=False),
    )


METRICS = (
    Metric(
        name="completion_mean_ms",
        title="completion, mean",
        unit="ms",
        better="lower",
        of=lambda s: mean(s.completions_ms()),
        per_job=PerJob("completion", completions, "mean", of_taken=False),
    ),
    _quantile("median", 0.5),
    _quantile("p95", 0.95),
    _quantile("p99", 0.99),
)
