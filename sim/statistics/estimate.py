"""A figure together with how it varies over resamples, and arithmetic that keeps what is paired paired."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.statistics.draws import Draws, Floats


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure of the sample, of its resamples, and of the sample without each block."""

    value: float
    resampled: Floats
    left_out: Floats
    blocks: int
    """Blocks that have something to say: that hold a job of the group."""

    def __sub__(self, other: Estimate) -> Estimate:
        """The difference, resample by resample."""
        blocks = max(self.blocks, other.blocks)
        return Estimate(
            self.value - other.value, self.resampled - other.resampled, self.left_out - other.left_out, blocks
        )

    def __truediv__(self, other: Estimate) -> Estimate:
        """The ratio, resample by resample; NaN where nothing can be divided by."""
        own, by = self._all(), other._all()
        return self._from(np.divide(own, by, out=np.full_like(own, np.nan), where=by != 0), other)

    def excess(self, base: Estimate, *, relative: float | None, absolute: float | None, worse: int) -> Estimate:
        """By how much it is worse than `base` beyond what is allowed: the larger of a part of |base| and an amount.

        `worse` is 1 where more is worse, -1 where less is. At most 0 where the margin is kept.
        """
        own, by = self._all(), base._all()
        if relative is None and absolute is None:
            raise ValueError("a margin needs a part or an amount")
        part = np.full_like(by, -np.inf) if relative is None else relative * abs(by)
        allowed = np.maximum(part, -np.inf if absolute is None else absolute)
        return self._from(worse * (own - by) - allowed, base)

    def beyond(self, limit: float, worse: int) -> Estimate:
        """By how much it lies beyond a fixed limit."""
        return self._from(worse * (self._all() - limit), self)

    def _all(self) -> Floats:
        return np.concatenate(([self.value], self.resampled, self.left_out))

    def _from(self, values: Floats, other: Estimate) -> Estimate:
        count = len(self.resampled) + 1
        return Estimate(float(values[0]), values[1:count], values[count:], max(self.blocks, other.blocks))


def estimate(values: Floats, draws: Draws, blocks: int | None = None) -> Estimate:
    """From a statistic at all weights of `draws`, in their order."""
    count = draws.resamples + 1
    return Estimate(float(values[0]), values[1:count], values[count:], draws.blocks if blocks is None else blocks)
