"""Confidence intervals from resampled blocks: BCa (Efron 1987), widened for few blocks (Hesterberg 2015).

BCa corrects the median bias (z0) and the skewness (a, from the jackknife over blocks) of a percentile interval. Two things
keep it honest where blocks are few. A resample varies by a factor sqrt((k - 1) / k) too little, and the normal distribution
stands where Student's should: so each normal quantile z is replaced by sqrt(k / (k - 1)) t(k - 1). And z0 and a are
themselves estimated from k blocks, which often have not seen the long tail at all, so that BCa alone misses too often: the
interval is never narrower, on either side, than the symmetric one, value -+ t(k - 1) standard errors.
`benchmarks/coverage.py` measures what each of these gives.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from sim.statistics.draws import Floats
from sim.statistics.estimate import Estimate
from sim.statistics.student import NORMAL, t_cdf, t_quantile

CONFIDENCE: Final = 0.95
"""Two-sided; each end is a one-sided bound at 97.5 %."""

UNDEFINED_SHARE_MAX: Final = 0.01
"""Where more resamples than this have no value there is no interval."""


class Interval(NamedTuple):
    """A figure and the ends of its confidence interval."""

    value: float
    low: float
    high: float


def interval(estimate: Estimate, confidence: float = CONFIDENCE) -> Interval | None:
    """The interval; None for one block, or where the figure or too many of its resamples have no value."""
    usable = _usable(estimate)
    if usable is None:
        return None
    widening, freedom = _widening(estimate.blocks), estimate.blocks - 1
    reach = t_quantile(0.5 + confidence / 2, freedom) * widening
    z0, a = NORMAL.inv_cdf(_share_below(usable, estimate.value)), acceleration(estimate.left_out)
    low, high = np.quantile(usable, [_level(-reach, z0, a), _level(reach, z0, a)])
    error = reach * float(usable.std())
    return Interval(estimate.value, min(float(low), estimate.value - error), max(float(high), estimate.value + error))


def p_value(estimate: Estimate, at: float = 0.0) -> float | None:
    """Two-sided: the level at which an end of the interval touches `at`; never below what the resamples can tell."""
    usable = _usable(estimate)
    if usable is None:
        return None
    if np.all(usable == at):
        return 1.0
    widening, freedom = _widening(estimate.blocks), estimate.blocks - 1
    error = float(usable.std())
    away = at - estimate.value
    symmetric = _tail((away / error if error > 0 else math.copysign(math.inf, away)) / widening, freedom)
    corrected = _tail(_z_at(usable, at, estimate) / widening, freedom)
    # because: beyond all resamples BCa says only that it is smaller still
    tail = symmetric if _outside(usable, at) else max(symmetric, corrected)
    return min(max(2 * tail, 2 / (len(usable) + 1)), 1.0)


def acceleration(left_out: Floats) -> float:
    """The skewness of the jackknife over blocks, a sixth of it; 0 where leaving out changes nothing."""
    known = left_out[~np.isnan(left_out)]
    if not len(known):
        return 0.0
    apart = known.mean() - known
    spread = float((apart**2).sum())
    return float((apart**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0


def _usable(estimate: Estimate) -> Floats | None:
    """The resamples that have a value."""
    if estimate.blocks < 2 or math.isnan(estimate.value):
        return None
    known = ~np.isnan(estimate.resampled)
    if known.mean() < 1 - UNDEFINED_SHARE_MAX:
        return None
    return estimate.resampled[known]


def _share_below(usable: Floats, at: float) -> float:
    """Half of what is equal counts; never 0 or 1."""
    share = ((usable < at).sum() + (usable <= at).sum()) / (2 * len(usable))
    half = 0.5 / len(usable)
    return float(min(max(share, half), 1 - half))


def _outside(usable: Floats, at: float) -> bool:
    return bool(np.all(usable < at) or np.all(usable > at))


def _widening(blocks: int) -> float:
    return math.sqrt(blocks / (blocks - 1))


def _level(z: float, z0: float, a: float) -> float:
    """The level of the percentile that BCa takes for the normal quantile z."""
    stretch = 1 - a * (z0 + z)
    if stretch <= 0:  # because: beyond its pole the correction turns round; the outermost resample stands for it
        return 1.0 if z > 0 else 0.0
    return NORMAL.cdf(z0 + (z0 + z) / stretch)


def _z_at(usable: Floats, at: float, estimate: Estimate) -> float:
    """The normal quantile for which `_level` gives the share of resamples below `at`."""
    z0, a = NORMAL.inv_cdf(_share_below(usable, estimate.value)), acceleration(estimate.left_out)
    shift = NORMAL.inv_cdf(_share_below(usable, at)) - z0
    stretch = 1 + a * shift
    return math.copysign(math.inf, shift) if stretch <= 0 else shift / stretch - z0


def _tail(t: float, freedom: int) -> float:
    return t_cdf(-abs(t), freedom) if math.isfinite(t) else 0.0
