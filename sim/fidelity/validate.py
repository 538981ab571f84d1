"""A run beside the recorded starts of its trace: distances of distributions, overheads, and what that means.

A trace is the truth of one policy on one fleet. Replayed under a model of the same policy on a model of the same fleet, the waits
should come out alike; where they do not, differences between policies that are smaller than this error say nothing.

Distances: Kolmogorov-Smirnov is the largest vertical gap between the two distribution functions (0..1), Wasserstein-1 the mean
horizontal gap, in milliseconds. Sources: the textbook definitions, computed exactly from the sorted samples.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sim.experiment.durations import as_text
from sim.jobs_table import STATES, WITHDRAWN
from sim.results import JOBS, RunDirectoryError, read_manifest
from traces.job import DEVICE_MILLI

Waits = NDArray[np.float64]

QUANTILES: Final = (0.5, 0.9, 0.95, 0.99)

TAIL: Final = 2
"""The place of the 95th percentile in `QUANTILES`."""

NEAR_MS: Final = 60_000
NEAR_SHARE: Final = 0.1
"""A predicted wait is near the recorded one within a minute or a tenth of it, whichever is more."""

EXACT: Final = 0.0005
"""An error that is smaller is not worth its decimals."""

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
    recorded: int
    """Jobs with a recorded start that is not before their submission."""
    compared: int
    """Those of them that also started in the run."""
    withdrawn: int
    """Those of them that were taken away in the run while they waited, and never started."""
    before_submission: int
    """Jobs whose recorded start is before their submission: clocks that disagree. They are not compared."""
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


def validate(directory: Path) -> Fidelity:
    """Compare a run directory with what its trace recorded.

    Raises `RunDirectoryError` if the trace recorded no starts, and for a static fill, which has no waits.
    """
    manifest = read_manifest(directory)
    if manifest["rules"]["fill"]:
        raise RunDirectoryError(f"{directory}: a static fill has no clock, so it predicts no waits")
    capacity_milli = int(manifest["inputs"]["cluster"]["devices"]) * DEVICE_MILLI
    columns = _columns(directory)
    recorded_start, submit = _numbers(columns["recorded_start_ms"]), _numbers(columns["submit_ms"])
    if not np.isfinite(recorded_start).any():
        raise RunDirectoryError(f"{directory}: the trace records no starts, so there is nothing to compare with")
    predicted = _numbers(columns["first_start_ms"]) - submit
    recorded = recorded_start - submit
    known = recorded >= 0  # because: a job without a recorded start is not a number, and that is not at least 0
    both = known & np.isfinite(predicted)
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
    found = Fidelity(
        jobs=len(submit),
        recorded=int(known.sum()),
        compared=int(both.sum()),
        withdrawn=int((known & ~both & _are(columns["state"], STATES[WITHDRAWN])).sum()),
        before_submission=int((recorded < 0).sum()),
        overall=overall,
        by_queue=by_queue,
        idle_delay_ms=_delays(idle) if len(idle) >= JOBS_LEAST else None,
        recorded_peak_milli=peak,
        capacity_milli=capacity_milli,
        over_capacity_share=over,
        conclusion=(),
    )
    return replace(found, conclusion=tuple(_conclusion(found)))


def _columns(directory: Path) -> Any:
    names = ["submit_ms", "first_start_ms", "recorded_start_ms", "work_ms", "demand_milli", "queue", "state"]
    try:
        return pq.read_table(directory / JOBS, columns=names)
    except (OSError, KeyError, pa.ArrowException) as error:
        raise RunDirectoryError(f"{directory}: is not a whole run directory: {error}") from error


def _delays(waits: Waits) -> dict[str, float]:
    return {"p50": float(np.median(waits)), "p95": float(np.quantile(waits, 0.95))}


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


def _are(column: Any, word: str) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = pc.equal(column.cast(pa.string()), word).to_numpy()
    return found


def _numbers(column: Any) -> Waits:
    """A column as floats; null is NaN. Milliseconds stay exact below 2^53."""
    values: Waits = column.to_numpy().astype(np.float64)
    return values


def _conclusion(found: Fidelity) -> Iterator[str]:
    overall = found.overall
    if found.before_submission:
        yield (
            f"{found.before_submission} jobs start before they are submitted, by the record: its clocks disagree. They are not"
            " compared."
        )
    lost = found.recorded - found.compared
    if lost:
        gone = (
            f" {found.withdrawn} of them were taken away before, when their lifetime was over."
            if found.withdrawn
            else ""
        )
        yield (
            f"{lost} of {found.recorded} jobs that ran never start in the run: the fleet, a quota or the policy was another."
            f"{gone} The figures are of the others."
        )
    if found.over_capacity_share > 0:
        yield (
            f"The recorded schedule held up to {found.recorded_peak_milli / 1000:,.0f} devices; the modelled fleet has"
            f" {found.capacity_milli / 1000:,.0f}. It was above that for {found.over_capacity_share:.1%} of the time: the model"
            " of the fleet is too small."
        )
    if overall is None:
        yield f"Fewer than {JOBS_LEAST} jobs can be compared: nothing can be said about trust."
        return
    pairs = [
        (overall.predicted_mean_ms, overall.recorded_mean_ms),
        (overall.predicted_quantiles_ms[TAIL], overall.recorded_quantiles_ms[TAIL]),
    ]
    mean, tail = (_against(*pair) for pair in pairs)
    yield f"The mean wait is predicted as {mean}, the 95th percentile as {tail}."
    errors = [abs(error) for pair in pairs if (error := _relative(*pair)) is not None]
    if errors:
        yield (
            f"Differences between policies below about {_percent(max(errors))} are smaller than what this model gets wrong:"
            " rank policies by larger ones only."
        )
    else:
        yield "The record has no waits to speak of: what a policy does to them cannot be judged by it."
    if overall.rank_correlation is not None and overall.rank_correlation < 0.5:
        yield (
            f"Which job waits long is not predicted (rank correlation {overall.rank_correlation:.2f}): do not quote single jobs."
        )


def _relative(predicted: float, recorded: float) -> float | None:
    return None if recorded <= 0 else predicted / recorded - 1


def _against(predicted: float, recorded: float) -> str:
    """`4.0 h, +12% from the recorded 3.6 h`; a recorded zero has no percentage."""
    error = _relative(predicted, recorded)
    if error is None:
        return f"{as_text(predicted)}, where none was recorded"
    if abs(error) < EXACT:
        return f"{as_text(predicted)}, as it was recorded"
    return f"{as_text(predicted)}, {'-' if error < 0 else '+'}{_percent(abs(error))} from the recorded {as_text(recorded)}"


def _percent(share: float) -> str:
    return f"{share:.1%}" if share < 0.1 else f"{share:.0%}"
