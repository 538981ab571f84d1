"""Blocks that follow each other in time are not independent: a backlog of one day is the morning of the next.

The correlation r of what neighbouring blocks add says by how much. As of a first-order autoregression, k blocks are then
worth k (1 - r) / (1 + r) independent ones, and a difference varies by the root of (1 + r) / (1 - r) more than
resampling blocks one by one shows.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sim.statistics.draws import Floats
from sim.statistics.estimate import Estimate

CORRELATION_MAX: Final = 0.95
ROUNDING: Final = 1e-11


def added(left_out: Floats) -> Floats:
    """What each block adds to an estimate, from the estimates without each; 0 where there is none."""
    known = ~np.isnan(left_out)
    if not known.any():
        return np.zeros(len(left_out))
    mean = float(np.nanmean(left_out))
    return without_noise(np.where(known, mean - left_out, 0.0), abs(mean))


def without_noise(values: Floats, scale: Floats | float) -> Floats:
    """Zero for what is but the rounding of figures of this size: rounding has correlations of its own."""
    return np.where(np.abs(values) <= ROUNDING * scale, 0.0, values)


def lag_one(adds: Floats, series: NDArray[np.int64]) -> float:
    """The correlation of what each block adds with what the next one of the same series adds; 0 where nothing can be said.

    `series` gives the trace of each block, blocks in the order of time. A correlation of few blocks comes out too small by
    about (1 + 3 r) / k (Kendall 1954); that is added.
    """
    apart = adds - adds.mean() if len(adds) else adds
    spread = float((apart**2).sum())
    if len(adds) < 4 or spread <= 0:
        return 0.0
    together = series[1:] == series[:-1]
    found = float((apart[1:] * apart[:-1])[together].sum()) / spread
    return min(found + (1 + 3 * found) / len(adds), CORRELATION_MAX)


def allowing_for(estimate: Estimate, r: float) -> Estimate:
    """The same figure with the spread, and the number of blocks, that blocks correlated by `r` are worth. Never narrower."""
    if r <= 0:
        return estimate
    factor = (1 + r) / (1 - r)
    stretch = math.sqrt(factor)
    value = estimate.value
    return Estimate(
        value,
        value + stretch * (estimate.resampled - value),
        value + stretch * (estimate.left_out - value),
        int(estimate.blocks / factor),
    )
