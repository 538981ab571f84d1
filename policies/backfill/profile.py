"""How many devices are free from when to when: the future as a staircase, for jobs that fit wherever enough are free."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

FOREVER = 1 << 62
"""Later than every time."""


class Profile:
    """Free milli-devices over time, from `now_ms` on for ever. Changed by its owner as slots are given away.

    Invariant: `times_ms` ascends, and `free[i]` holds from `times_ms[i]` until the next.
    """

    __slots__ = ("free", "times_ms")

    def __init__(self, now_ms: int, free: int, releases: Iterable[tuple[int, int]]) -> None:
        """`releases` are (time, milli-devices) in ascending order, all later than now."""
        self.times_ms = [now_ms]
        self.free = [free]
        for at_ms, amount in releases:
            free += amount
            if at_ms == self.times_ms[-1]:
                self.free[-1] = free
            else:
                self.times_ms.append(at_ms)
                self.free.append(free)

    def earliest(self, need: int, run_ms: int) -> int | None:
        """The first instant from which `need` is free for `run_ms`; None if there is none."""
        times, free = self.times_ms, self.free
        start = None
        for place, amount in enumerate(free):
            if amount < need:
                start = None
                continue
            if start is None:
                start = times[place]
            if place + 1 == len(times) or times[place + 1] - start >= run_ms:
                return start
        return None

    def fits(self, start_ms: int, run_ms: int, need: int) -> bool:
        """True if `need` is free from `start_ms`, which is not before the first step, for `run_ms`."""
        times, free = self.times_ms, self.free
        first = bisect_right(times, start_ms) - 1
        last = bisect_left(times, start_ms + run_ms)
        return all(free[place] >= need for place in range(first, last))

    def take(self, start_ms: int, run_ms: int, need: int) -> None:
        """Give a slot away."""
        first = self._cut(start_ms)
        last = self._cut(start_ms + run_ms) if run_ms < FOREVER else len(self.free)
        free = self.free
        for place in range(first, last):
            free[place] -= need

    def _cut(self, at_ms: int) -> int:
        """The place of the step that begins at `at_ms`, made if there is none."""
        place = bisect_right(self.times_ms, at_ms) - 1
        if self.times_ms[place] != at_ms:
            place += 1
            self.times_ms.insert(place, at_ms)
            self.free.insert(place, self.free[place - 1])
        return place

    def move_to(self, now_ms: int) -> bool:
        """Let the profile begin at `now_ms`. False, and it is of no use any more, if that is behind its first step."""
        if len(self.times_ms) > 1 and now_ms >= self.times_ms[1]:
            return False
        self.times_ms[0] = now_ms
        return True
