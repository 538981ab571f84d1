"""When a job that failed is tried again: after a second, then two, four, ..., as kube-scheduler backs off."""

from __future__ import annotations

import asyncio
import contextlib
import heapq
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

from policies.serving.clock import Clock

FIRST_S: Final = 1.0
KNOWN_MAX: Final = 10_000


class Retries:
    """See the module. `due(unit, reason)` is called when it is time for what was put off for that reason."""

    def __init__(self, *, clock: Clock, due: Callable[[str, str], Awaitable[None]]) -> None:
        self._clock = clock
        self._due = due
        self._failures: Counter[str] = Counter()
        self._heap: list[tuple[float, str, str]] = []
        self._news = asyncio.Event()

    def later(self, unit: str, reason: str, *, max_s: float) -> None:
        """Put a unit off. It waits longer after each further failure."""
        wait_s = min(FIRST_S * 2 ** min(self._failures[unit], 16), max_s)
        if len(self._failures) > KNOWN_MAX:
            self._failures.clear()
        self._failures[unit] += 1
        heapq.heappush(self._heap, (self._clock.monotonic_s() + wait_s, unit, reason))
        self._news.set()

    def succeeded(self, unit: str) -> None:
        """Its next failure counts as the first."""
        self._failures.pop(unit, None)

    async def run(self) -> None:
        """Call `due` when it is time, until cancelled."""
        while True:
            self._news.clear()
            wait_s = self._heap[0][0] - self._clock.monotonic_s() if self._heap else None
            if wait_s is None or wait_s > 0:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), wait_s)
                continue
            _, unit, reason = heapq.heappop(self._heap)
            await self._due(unit, reason)
