"""A run beside the recorded starts of its trace: distances of distributions, overheads, and what that means.

A trace is the truth of one policy on one fleet. Replayed under a model of the same policy on a model of the same fleet, the waits
should come out alike; where they do not, differences between policies that are smaller than this error say nothing.

Distances: Kolmogorov-Smirnov is the largest vertical gap between the two distribution functions (0..1), Wasserstein-1 the mean
horizontal gap, in milliseconds. Sources: the textbook definitions, computed exactly from the sorted samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sim.results import JOBS, RunDirectoryError

Waits = NDArray[np.float64]

QUANTILES: Final = (0.5, 0.9, 0.95, 0.99)

NEAR_MS: Final = 60_000
NEAR_SHARE: Final = 0.1
"""A predicted wait is near the recorded one within a minute or a tenth of it, whichever is more."""

JOBS_LEAST: Final = 30
"""Fewer jobs than this say nothing about a distribution."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Predicted and recorded waits of one group of jobs. Times in milliseconds."""

    jobs: int
    predicted_mean_ms: float
    recorded_mean_ms: float
    predicted_quantiles_ms: tuple[float, ...]
    """At `QUANTILES`."""
    recorded_quantiles_ms: tuple[float, ...]
    ks: float
    wasserstein_ms: float
    rank_correlation: float | None
    """Spearman's, of the jobs' waits; None where one side is constant."""
    near_share: float
    """Jobs whose predicted wait is near the recorded one."""
    overhead_ms: float
    """The constant that brings the two distributions closest, 0 or more: what the control plane and start-up add."""
    wasserstein_with_overhead_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """What `validate` found."""

    jobs: int
    compared: int
    """Jobs with a recorded start that also started in the run."""
    overall: Agreement | None
    by_queue: Mapping[str, Agreement]
    idle_delay_ms: Mapping[str, float] | None
    """Recorded waits of jobs that the run started at once: median and p95. None where there are too few."""
    recorded_peak_milli: int
    """The most that the recorded schedule held at once."""
    capacity_milli: int
    over_capacity_share: float
    """Share of the recorded time in which it held more than the modelled fleet has."""
    conclusion: tuple[str, ...]

    def as_data(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self)


def validate(directory: Path, capacity_milli: int) -> Fidelity:
    """Compare a run directory with what its trace recorded. Raises `RunDirectoryError` if the trace recorded no starts."""
    columns = pq.read_table(
        directory / JOBS,
        columns=["submit_ms", "first_start_ms", "recorded_start_ms", "work_ms", "demand_milli", "queue"],
    )
    recorded_start = _numbers(columns["recorded_start_ms"])
    if not np.isfinite(recorded_start).any():
        raise RunDirectoryError(f"{directory}: the trace records no starts, so there is nothing to compare with")
    submit = _numbers(columns["submit_ms"])
    predicted = _numbers(columns["first_start_ms"]) - submit
    recorded = recorded_start - submit
    both = np.isfinite(predicted) & np.isfinite(recorded)
    queues = np.array(columns["queue"].fill_null("-").to_pylist(), dtype=object)
    overall = agreement(predicted[both], recorded[both]) if both.sum() >= JOBS_LEAST else None
    by_queue = {
        str(queue): agreement(predicted[mine], recorded[mine])
        for queue in sorted(set(queues[both]))
        if (mine := both & (queues == queue)).sum() >= JOBS_LEAST
    }
    idle = recorded[both & (predicted == 0)]
    peak, over = _recorded_load(
        recorded_start, _numbers(columns["work_ms"]), _numbers(columns["demand_milli"]), capacity_milli
    )
    delays = (
        {"p50": float(np.median(idle)), "p95": float(np.quantile(idle, 0.95))} if len(idle) >= JOBS_LEAST else None
    )
    return Fidelity(
        jobs=len(submit),
        compared=int(both.sum()),
        overall=overall,
        by_queue=by_queue,
        idle_delay_ms=delays,
        recorded_peak_milli=peak,
        capacity_milli=capacity_milli,
        over_capacity_share=over,
        conclusion=tuple(_conclusion(overall, peak, over, capacity_milli)),
    )


def agreement(predicted: Waits, recorded: Waits) -> Agreement:
    """How well predicted waits agree with the recorded ones, job by job and as distributions. Shape (n,) each, n >= 1."""
    shift = max(float(np.median(np.sort(recorded) - np.sort(predicted))), 0.0)
    near = np.abs(predicted - recorded) <= np.maximum(NEAR_MS, NEAR_SHARE * recorded)
    return Agreement(
        jobs=len(predicted),
        predicted_mean_ms=float(predicted.mean()),
        recorded_mean_ms=float(recorded.mean()),
        predicted_quantiles_ms=tuple(np.quantile(predicted, QUANTILES).tolist()),
        recorded_quantiles_ms=tuple(np.quantile(recorded, QUANTILES).tolist()),
        ks=kolmogorov_smirnov(predicted, recorded),
        wasserstein_ms=wasserstein(predicted, recorded),
        rank_correlation=_spearman(predicted, recorded),
        near_share=float(near.mean()),
        overhead_ms=shift,
        wasserstein_with_overhead_ms=wasserstein(predicted + shift, recorded),
    )


def kolmogorov_smirnov(one: Waits, other: Waits) -> float:
    """The largest gap between two empirical distribution functions."""
    values = np.concatenate((one, other))
    here = np.searchsorted(np.sort(one), values, side="right") / len(one)
    there = np.searchsorted(np.sort(other), values, side="right") / len(other)
    return float(np.abs(here - there).max())


def wasserstein(one: Waits, other: Waits) -> float:
    """The mean distance between the quantile functions of two samples of equal size."""
    return float(np.abs(np.sort(one) - np.sort(other)).mean())


def _spearman(one: Waits, other: Waits) -> float | None:
    ranks = [_ranks(values) for values in (one, other)]
    spread = [values.std() for values in ranks]
    if len(one) < 2 or not all(spread):
        return None
    return float(((ranks[0] - ranks[0].mean()) * (ranks[1] - ranks[1].mean())).mean() / (spread[0] * spread[1]))


def _ranks(values: Waits) -> Waits:
    """Ranks from 0; equal values share the mean of theirs."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    first = np.cumsum(count) - count
    ranks: Waits = (first + (count - 1) / 2)[place]
    return ranks


def _recorded_load(starts: Waits, runs: Waits, demand: Waits, capacity_milli: int) -> tuple[int, float]:
    """The most that the recorded schedule held, and the share of its time above the capacity."""
    known = np.isfinite(starts)
    times = np.concatenate((starts[known], starts[known] + runs[known]))
    change = np.concatenate((demand[known], -demand[known]))
    order = np.lexsort((change, times))  # because: at one instant, what ends goes before what starts
    held, at = np.cumsum(change[order]), times[order]
    lasts = np.diff(at)
    whole = lasts.sum()
    over = float(lasts[held[:-1] > capacity_milli].sum() / whole) if whole else 0.0
    return int(held.max(initial=0)), over


def _numbers(column: Any) -> Waits:
    """A column as floats; null is NaN. Milliseconds stay exact below 2^53."""
    values: Waits = column.to_numpy().astype(np.float64)
    return values


def _conclusion(overall: Agreement | None, peak: int, over: float, capacity_milli: int) -> list[str]:
    said = []
    if over > 0:
        said.append(
            f"The recorded schedule held up to {peak / 1000:,.0f} devices; the modelled fleet has"
            f" {capacity_milli / 1000:,.0f}. It was above that for {over:.1%} of the time: the model of the fleet is too small."
        )
    if overall is None:
        return [*said, f"Fewer than {JOBS_LEAST} jobs can be compared: nothing can be said about trust."]
    error = _relative(overall.predicted_mean_ms, overall.recorded_mean_ms)
    tail = _relative(overall.predicted_quantiles_ms[2], overall.recorded_quantiles_ms[2])
    said.append(
        f"Mean wait is predicted {_signed(error)} from the recorded one, the 95th percentile {_signed(tail)}."
    )
    if error is not None and tail is not None:
        worst = max(abs(error), abs(tail))
        said.append(
            f"Differences between policies below about {worst:.0%} are smaller than what this model gets wrong: rank policies"
            " by larger ones only."
        )
    if overall.rank_correlation is not None and overall.rank_correlation < 0.5:
        said.append(
            f"Which job waits long is not predicted (rank correlation {overall.rank_correlation:.2f}): do not quote single jobs."
        )
    return said


def _relative(predicted: float, recorded: float) -> float | None:
    return None if recorded <= 0 else predicted / recorded - 1


def _signed(error: float | None) -> str:
    return "from a recorded one of zero" if error is None else f"{error:+.0%}"
