"""When the scheduling passes of a run came, worked out from its timeline.

A run does not write its passes down. Without a cycle and without thinking there is one at the end of each instant in which
something happened, so nobody ever waits for one. Otherwise a pass is due after each event while a job waits: at once, or
when the thinking of the last pass is over, and then at the next multiple of the cycle. A start is a pass in any case.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sim.rules import Rules


class Passes:
    """Told of each instant in order; says whether a pass came in it, and which passes came between two instants."""

    def __init__(self, rules: Rules) -> None:
        self.always = rules.cycle_ms is None and rules.thinking == "free"
        """True if each instant ends with a pass."""
        self._cycle_ms = rules.cycle_ms or 1
        self._known = rules.thinking != "measured"
        """False if only starts show the passes: the thinking was measured, and not written down."""
        self._thinking_ms = rules.thinking_ms
        self._due_ms = -1
        """When the next pass is due; -1 if none is."""
        self._until_ms = 0
        """When the thinking of the last pass is over."""
        self._at_ms: list[int] = []

    def before(self, at_ms: int) -> Iterator[int]:
        """The pass that was due before `at_ms` and has come since the last instant, if there is one."""
        if 0 <= self._due_ms < at_ms:
            due_ms = self._due_ms
            self._come(due_ms)
            yield due_ms

    def instant(self, at_ms: int, *, event: bool, acted: bool) -> bool:
        """Whether a pass came at `at_ms`. `event`: something happened while a job waited; `acted`: a pass did something."""
        if event and self._known and self._due_ms < 0:
            due_ms = max(at_ms, self._until_ms)
            self._due_ms = due_ms + -due_ms % self._cycle_ms
        if acted or self._due_ms == at_ms:
            self._come(at_ms)
            return True
        return False

    def _come(self, at_ms: int) -> None:
        self._at_ms.append(at_ms)
        self._until_ms = max(self._until_ms, at_ms + self._thinking_ms)
        if self._due_ms <= at_ms:
            self._due_ms = -1

    def first_from(self, at_ms: NDArray[np.int64]) -> NDArray[np.int64]:
        """For each time, the first pass at or after it; far in the future where there was none."""
        if self.always:
            return at_ms
        known = np.array([*self._at_ms, 1 << 62], dtype=np.int64)
        found: NDArray[np.int64] = known[np.searchsorted(known, at_ms)]
        return found
