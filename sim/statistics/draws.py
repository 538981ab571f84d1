"""Resamples of blocks as weights: how often each block is in each of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

RESAMPLES: Final = 2000

Floats = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Draws:
    """All weightings of `blocks` blocks at which a statistic is evaluated.

    `weights`, shape (1 + resamples + blocks, blocks): first the sample itself, then the resamples with replacement,
    then, for the jackknife, the sample without each block in turn. The same draws serve every metric and every policy
    of a comparison, so that what is paired stays paired.
    """

    blocks: int
    resamples: int
    weights: Floats


def draw(blocks: int, rng: np.random.Generator, resamples: int = RESAMPLES) -> Draws:
    """Draws from a stream that is handed in. Raises `ValueError` without a block or a resample."""
    if blocks < 1 or resamples < 1:
        raise ValueError(f"at least one block and one resample are needed, got {blocks} and {resamples}")
    drawn = rng.multinomial(blocks, np.full(blocks, 1 / blocks), size=resamples)
    weights: Floats = np.vstack((np.ones((1, blocks)), drawn, 1 - np.eye(blocks))).astype(np.float64)
    return Draws(blocks, resamples, weights)
