"""Requests by when they come, and how long they take: a mixture of waits in a backlog, waits for a free slot and times in one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PRECISION: Final = 1e-9
"""Relative, of a quantile."""

ALIKE: Final = 1e-4
"""Rates that differ by less, relatively, are taken for one between them: wrong by the square of it."""


class Arrivals(NamedTuple):
    """Requests by when they come: in each row they come evenly over its time and are answered alike.

    A request takes its wait in the backlog, then, with a probability, an exponential wait for a free slot, then its time in
    the slot. Columns of equal length; times since the service began.
    """

    from_ms: Floats
    until_ms: Floats
    requests: Floats
    first_wait_ms: Floats
    """In the backlog, of one that comes at `from_ms`; linear until `until_ms`. Infinite for those that are never answered."""
    last_wait_ms: Floats
    waits: Floats
    """Probability of a wait beside that: that no slot is free. In a backlog 1, as noise makes it longer than it is counted."""
    relief_per_ms: Floats
    """One over the mean of that wait."""
    answer_per_ms: Floats
    """One over the mean time in a slot."""

    @property
    def total(self) -> float:
        """How many requests."""
        return float(self.requests.sum())

    @property
    def unanswered(self) -> float:
        """Requests that had not been answered when the service ended."""
        return float(self.requests[np.isinf(self.last_wait_ms)].sum())

    def mean_ms(self) -> float:
        """Infinite if a request is never answered, NaN of none."""
        each = (self.first_wait_ms + self.last_wait_ms) / 2 + self.waits / self.relief_per_ms + 1 / self.answer_per_ms
        return float((each * self.requests).sum() / self.total) if self.total else math.nan

    def above(self, limit_ms: float) -> Floats:
        """Requests of each row that take longer than this."""
        found = self.requests.copy()
        answered = np.isfinite(self.last_wait_ms)
        found[answered] *= _tail(self if answered.all() else self.rows(answered), limit_ms)
        return found

    def share_above(self, limit_ms: float) -> float:
        """Of all requests; NaN of none."""
        return float(self.above(limit_ms).sum()) / self.total if self.total else math.nan

    def quantile_ms(self, q: float) -> float:
        """The time that a share `q` of the requests does not exceed; infinite where fewer are answered, NaN of none."""
        total, left = self.total, (1 - q) * self.total
        if not total:
            return math.nan
        if self.unanswered >= left:
            return math.inf
        low, high = 0.0, float((1 / self.answer_per_ms).max())
        while self.above(high).sum() > left:
            low, high = high, 2 * high
        while high - low > PRECISION * high:
            middle = (low + high) / 2
            low, high = (middle, high) if self.above(middle).sum() > left else (low, middle)
        return high

    def cut(self, at_ms: Floats) -> Arrivals:
        """The same requests in rows that end at each of these times. `at_ms` ascends."""
        first = np.searchsorted(at_ms, self.from_ms, side="right")
        parts = np.maximum(np.searchsorted(at_ms, self.until_ms, side="left") - first, 0) + 1
        owner = np.repeat(np.arange(len(parts)), parts)
        number = np.arange(len(owner)) - np.repeat(np.cumsum(parts) - parts, parts)
        edges = np.append(at_ms, np.inf)
        whole = self.rows(owner)
        begin = np.where(number == 0, whole.from_ms, edges[first[owner] + number - 1])
        end = np.where(number == parts[owner] - 1, whole.until_ms, edges[first[owner] + number])
        length = whole.until_ms - whole.from_ms
        safe = np.where(length > 0, length, 1.0)
        low = np.where(number == 0, 0.0, (begin - whole.from_ms) / safe)
        high = np.where(number == parts[owner] - 1, 1.0, (end - whole.from_ms) / safe)
        answered = np.isfinite(whole.last_wait_ms)
        grows = np.zeros(len(owner))
        grows[answered] = whole.last_wait_ms[answered] - whole.first_wait_ms[answered]
        return whole._replace(
            from_ms=begin,
            until_ms=end,
            requests=whole.requests * (high - low),
            first_wait_ms=whole.first_wait_ms + grows * low,
            last_wait_ms=whole.first_wait_ms + grows * high,
        )

    def within(self, from_ms: float, until_ms: float) -> Arrivals:
        """Those that come in this time."""
        cut = self.cut(np.unique(np.array([from_ms, until_ms], dtype=np.float64)))
        return cut.rows((cut.from_ms >= from_ms) & (cut.until_ms <= until_ms))

    def rows(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> Arrivals:
        """Some of the rows."""
        return Arrivals(*(column[which] for column in self))


def together(parts: Sequence[Arrivals]) -> Arrivals:
    """The requests of several services. At least one."""
    return Arrivals(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _tail(found: Arrivals, limit_ms: float) -> Floats:
    """Share of each row that takes longer. All are answered.

    F(rate) is that share if an exponential time of this rate follows the wait in the backlog; with two of them, of rates a and b,
    it is F(a) + a (F(a) - F(b)) / (b - a).
    """
    low = np.minimum(found.first_wait_ms, found.last_wait_ms)
    width = np.maximum(found.first_wait_ms, found.last_wait_ms) - low
    begun = np.clip(limit_ms - low, 0, width)  # what waits longer than this is late before it has a slot
    begun_share = np.where(width > 0, begun / np.where(width > 0, width, 1), limit_ms >= low)
    rest = np.maximum(limit_ms - low - begun, 0)
    slow, fast = (
        np.minimum(found.answer_per_ms, found.relief_per_ms),
        np.maximum(found.answer_per_ms, found.relief_per_ms),
    )
    one = 1 - begun_share + begun_share * _mean_exp(found.answer_per_ms, rest, begun)
    two = np.where(
        width > 0, _quotient(slow, fast, rest, begun), rest * np.exp(-slow * rest) * _mean_decay((fast - slow) * rest)
    )
    late: Floats = one + found.waits * found.answer_per_ms * begun_share * two
    return late


def _mean_exp(rate: Floats, begin: Floats, length: Floats) -> Floats:
    """The mean of exp(-rate x) over x from `begin` on, for this length."""
    return np.exp(-rate * begin) * _mean_decay(rate * length)


def _quotient(slow: Floats, fast: Floats, begin: Floats, length: Floats) -> Floats:
    """The difference of two such means by that of their rates; where these are about the same, the derivative between them."""
    apart = fast - slow > ALIKE * fast
    difference = _mean_exp(slow, begin, length) - _mean_exp(fast, begin, length)
    rate, middle, end = (slow + fast) / 2, begin + length / 2, begin + length
    short = rate * length < ALIKE**2
    before, behind = ((x / rate + 1 / rate**2) * np.exp(-rate * x) for x in (begin, end))
    derivative = np.where(short, middle * np.exp(-rate * middle), (before - behind) / np.where(short, 1, length))
    return np.where(apart, difference / np.where(apart, fast - slow, 1), derivative)


def _mean_decay(x: Floats) -> Floats:
    """The mean of exp(-y) over y from 0 to x; 1 at 0."""
    safe = np.where(x > 0, x, 1.0)
    found: Floats = np.where(x > 0, -np.expm1(-safe) / safe, 1.0)
    return found
