"""The smallest count that is enough, where one look is dear: doubling, halving, and a look around for what is not monotone.

More servers do not always make waits shorter: a schedule is a chain of accidents. So the answer of a bisection is checked: the
counts just above it must be enough too, and the ones just below must not. If a count above fails, the answer moves behind it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

LOOK_AROUND: Final = 3
"""Counts on each side of the answer that are tried."""


@dataclass(frozen=True, slots=True)
class Found:
    """The answer of a search."""

    count: int | None
    """The smallest count from which on every one that was tried is enough; None if not even the largest is."""
    tried: dict[int, bool] = field(default_factory=dict)
    """Count -> whether it was enough, ascending."""

    @property
    def monotone(self) -> bool:
        """Whether among the counts that were tried none fails above one that is enough."""
        enough = [count for count, met in self.tried.items() if met]
        failed = [count for count, met in self.tried.items() if not met]
        return not enough or not failed or max(failed) < min(enough)

    @property
    def exceptions(self) -> list[int]:
        """Counts below the answer that are enough, though one above them is not: luck, not capacity."""
        return [count for count, met in self.tried.items() if met and (self.count is None or count < self.count)]


def smallest(
    least: int, most: int, enough: Callable[[int], bool], *, around: int = LOOK_AROUND, hint: int | None = None
) -> Found:
    """The smallest count in [least, most] that is enough, by bisection and a look around. `enough` is asked once a count.

    With a `hint` the search begins there and doubles its steps away from it. Raises ValueError if the range is empty.
    """
    if least > most:
        raise ValueError(f"no count from {least} to {most}")
    known: dict[int, bool] = {}

    def ask(count: int) -> bool:
        if count not in known:
            known[count] = enough(count)
        return known[count]

    high = _bracket(least, most, ask, most if hint is None else min(max(hint, least), most))
    if high is None:
        return Found(None, dict(sorted(known.items())))
    answer = high
    place = answer
    while place < min(answer + around, most):
        place += 1
        if not ask(place):
            answer = _next_enough(place, most, ask)
            if not ask(answer):
                return Found(None, dict(sorted(known.items())))
            place = answer
    for count in range(answer - 1, max(high - around, least) - 1, -1):
        ask(count)
    return Found(_from_where_all_are_enough(known), dict(sorted(known.items())))


def _bracket(least: int, most: int, ask: Callable[[int], bool], start: int) -> int | None:
    """A count that is enough and below which the next is not, or that is the least; None if the largest is not enough."""
    low, high, step = least - 1, most, 1
    if ask(start):
        high = start
        while start < most and high > least:  # because: from the largest on, halving is faster than doubling
            place = max(high - step, least)
            if not ask(place):
                low = place
                break
            high, step = place, 2 * step
    else:
        low = start
        while low < most:
            place = min(low + step, most)
            if ask(place):
                high = place
                break
            low, step = place, 2 * step
        else:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        if ask(middle):
            high = middle
        else:
            low = middle
    return high


def _next_enough(failed: int, most: int, ask: Callable[[int], bool]) -> int:
    for count in range(failed + 1, most):
        if ask(count):
            return count
    return most


def _from_where_all_are_enough(known: dict[int, bool]) -> int:
    failed = [count for count, met in known.items() if not met]
    above = max(failed, default=min(known) - 1)
    return min(count for count, met in known.items() if met and count > above)


def exhaustive(least: int, most: int, enough: Callable[[int], bool]) -> Found:
    """The same by looking at every count: for proof, and where the range is small."""
    known = {count: enough(count) for count in range(least, most + 1)}
    return Found(_from_where_all_are_enough(known) if known[most] else None, known)
