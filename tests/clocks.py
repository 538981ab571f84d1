"""A clock for servers that time out, renew and expire: its time passes as the event loop turns, not as the machine's does."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time

RATE = 40.0
TURN_S = 0.001


class TurnClock:
    """Each turn of the event loop that has slept a millisecond is `rate` milliseconds; the calendar is wrong by `skew_ms`.

    A machine that stalls turns no loop, and so ages no lease: what a test says in seconds holds on a machine that is busy. Where
    nothing hinders it, time passes about `rate` times as fast.
    """

    def __init__(self, rate: float = RATE, skew_ms: int = 0) -> None:
        self._step_s = TURN_S * rate
        self._skew_ms = skew_ms
        self._began_ms = time.time_ns() // 1_000_000
        self._now_s = 0.0
        self._sleeping: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._turning: asyncio.Task[None] | None = None

    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return self._began_ms + self._skew_ms + int(self._now_s * 1000)

    def monotonic_s(self) -> float:
        """Seconds since some moment, another one for each clock."""
        return self._now_s + self._skew_ms

    async def sleep(self, seconds: float) -> None:
        """Wait by this clock, which begins to go with the first who waits."""
        if self._turning is None:
            self._turning = asyncio.create_task(self._turn())
        over = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleeping, (self._now_s + seconds, next(self._order), over))
        await over

    async def _turn(self) -> None:
        """Until the event loop ends, which cancels it."""
        while True:
            await asyncio.sleep(TURN_S)
            self._now_s += self._step_s
            while self._sleeping and self._sleeping[0][0] <= self._now_s:
                over = heapq.heappop(self._sleeping)[2]
                if not over.done():
                    over.set_result(None)
