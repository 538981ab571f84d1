"""Statistics of jobs in blocks under any weights of the blocks, without building a single resample.

A weight of 2 means that all jobs of the block are there twice. Means and sums need only sums by block. Quantiles are exact
order statistics of the weighted sample: the values are sorted once, cumulative counts by block at every so many
values find the cell of a rank by a matrix product, and only that cell is looked through.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sim.statistics.draws import Codes, Floats

CELL_MIN, CELL_MAX = 8, 256
"""Sorted values that are looked through one by one."""

ELEMENTS: Final = 1 << 20
"""Elements of the temporary arrays: weights are worked through in parts."""


class Pool:
    """Values of jobs, NaN where a job has none, each in one of `blocks` blocks."""

    def __init__(self, values: Floats, codes: Codes, blocks: int) -> None:
        known = ~np.isnan(values)
        self._values: Floats = values[known]
        self._codes: Codes = codes[known]
        self._blocks = blocks
        self._sorted: _Sorted | None = None
        self.counts: Floats = np.bincount(self._codes, minlength=blocks).astype(np.float64)
        """Jobs with a value, by block."""
        self.sums: Floats = np.bincount(self._codes, self._values, minlength=blocks).astype(np.float64)

    def mean(self, weights: Floats) -> Floats:
        """For each row of weights; NaN where no job is left."""
        return ratio_of_sums(self.sums, self.counts, weights)

    def sum(self, weights: Floats) -> Floats:
        """For each row of weights, as if it were of as many blocks as the sample: sums stay comparable. NaN of no block."""
        return ratio_of_sums(self.sums, np.ones(self._blocks), weights) * self._blocks

    def quantiles(self, weights: Floats, qs: Sequence[float]) -> Floats:
        """Shape (quantiles, rows of weights), linear between neighbours; NaN where no job is left."""
        if self._sorted is None:
            self._sorted = _Sorted(self._values, self._codes, self._blocks)
        part = max(ELEMENTS // max(self._sorted.cells.shape), 1)
        parts = [self._sorted.quantiles(weights[i : i + part], qs) for i in range(0, len(weights), part)]
        return np.concatenate(parts, axis=1)


class _Sorted:
    """Values in ascending order, in cells as long as their number, so that finding a cell and looking through it cost alike."""

    def __init__(self, values: Floats, codes: Codes, blocks: int) -> None:
        order = np.argsort(values, kind="stable")
        self.values = values[order]
        self.cell = min(max(int(len(values) ** 0.5), CELL_MIN), CELL_MAX)
        count = max(-(-len(values) // self.cell), 1)
        self.cells: Codes = np.full((count, self.cell), blocks, dtype=np.int64)
        self.cells.reshape(-1)[: len(values)] = codes[order]
        inside = self.cells + np.arange(count)[:, None] * (blocks + 1)
        counts = np.bincount(inside.reshape(-1), minlength=count * (blocks + 1))
        counts = counts.reshape(count, blocks + 1)[:, :blocks].astype(np.float64)
        self.before = np.vstack((np.zeros(blocks), np.cumsum(counts, axis=0)))
        """Shape (cells + 1, blocks): how many values of each block stand before each cell."""

    def quantiles(self, weights: Floats, qs: Sequence[float]) -> Floats:
        # because: whole numbers below 2**53 are exact in a product of matrices, in whatever order they are added
        before = np.asarray(self.before @ weights.T, dtype=np.float64)
        padded = np.hstack((weights, np.zeros((len(weights), 1)))).astype(np.int32)
        found = np.full((len(qs), len(weights)), np.nan)
        some = np.flatnonzero(before[-1] > 0)
        if not len(some):
            return found
        before, padded = before[:, some], padded[some]
        last: Floats = before[-1] - 1
        for row, q in enumerate(qs):
            rank: Floats = last * q
            low: Floats = np.floor(rank)
            left, right = self._neighbours(low, np.minimum(low + 1, last), before, padded)
            found[row, some] = _between(left, right, rank - low)
        return found

    def _neighbours(
        self, low: Floats, high: Floats, before: Floats, padded: NDArray[np.int32]
    ) -> tuple[Floats, Floats]:
        """The values with `low` and with `high` others before them, for each column of `before`; `high` is not much higher."""
        columns = np.arange(len(low))
        cell = (before <= low).sum(axis=0) - 1
        cumulative = np.cumsum(padded[columns[:, None], self.cells[cell]], axis=1, dtype=np.int32)
        start = before[cell, columns]
        left = self.values[cell * self.cell + (cumulative <= (low - start)[:, None]).sum(axis=1)]
        position = (cumulative <= (high - start)[:, None]).sum(axis=1)
        right: Floats = self.values[np.minimum(cell * self.cell + position, len(self.values) - 1)]
        beyond = np.flatnonzero(position == self.cell)  # because: the neighbour stands in a later cell
        if len(beyond):
            right[beyond] = self._neighbours(high[beyond], high[beyond], before[:, beyond], padded[beyond])[0]
        return left, right


def _between(left: Floats, right: Floats, part: Floats) -> Floats:
    """Linear interpolation as numpy rounds it: from the nearer end."""
    step = right - left
    return np.where(part < 0.5, left + step * part, right - step * (1 - part))


def weighted(by_block: Floats, weights: Floats) -> Floats:
    """Weighted sums over blocks, one for each row of weights, added in one order on every machine."""
    found: Floats = (weights * by_block).sum(axis=1)
    return found


def ratio_of_sums(above: Floats, below: Floats, weights: Floats) -> Floats:
    """A share or a mean: weighted sum of `above` / weighted sum of `below`; NaN where there is nothing below."""
    over, under = weighted(above, weights), weighted(below, weights)
    return np.divide(over, under, out=np.full_like(over, np.nan), where=under > 0)
