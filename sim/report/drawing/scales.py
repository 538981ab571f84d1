"""Where the ticks of an axis stand."""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.report.voice import Voice

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS

WAITS_MS: Final = (
    1000,
    10_000,
    60_000,
    600_000,
    HOUR_MS,
    10 * HOUR_MS,
    DAY_MS,
    7 * DAY_MS,
    30 * DAY_MS,
    365 * DAY_MS,
)


class Tick(NamedTuple):
    """One tick. A `minor` one is left out where the page is narrow."""

    at: float
    """As a part of the axis."""
    text: str
    minor: bool = False


def nice_step(span: float, count: int) -> float:
    """The least of 1, 2, 2.5, 5 times a power of ten that divides the span into at most so many parts."""
    if span <= 0 or not math.isfinite(span):
        return 1.0
    power = 10.0 ** math.floor(math.log10(span / count))
    return next(step * power for step in (1, 2, 2.5, 5, 10, 20) if span / (step * power) <= count)


def linear(low: float, high: float, count: int) -> list[float]:
    """Round values from `low` to `high`."""
    step = nice_step(high - low, count)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def time_ticks(span_ms: float, voice: Voice, *, start_ms: float = 0, count: int = 6) -> tuple[list[Tick], str]:
    """Ticks of a time that begins `start_ms` after the first submission, and the unit in words."""
    unit, length = next(((key, each) for key, each in UNITS if span_ms >= 3 * each), UNITS[-1])
    values = linear(start_ms / length, (start_ms + span_ms) / length, count)
    ticks = [
        Tick((value * length - start_ms) / span_ms, voice.plain(value), minor=number % 2 == 1)
        for number, value in enumerate(values)
    ]
    return ticks, voice.say(f"axis.since.{unit}")


UNITS: Final = (("days", DAY_MS), ("hours", HOUR_MS), ("minutes", 60_000), ("seconds", 1000))


class LogWaits(NamedTuple):
    """A logarithmic axis of waits that begins at one second: what is less stands there."""

    high_ms: float

    def at(self, wait_ms: NDArray[np.float64]) -> NDArray[np.float64]:
        """Parts of the axis."""
        found: NDArray[np.float64] = np.log(np.maximum(wait_ms, 1000) / 1000) / math.log(self.high_ms / 1000)
        return found

    def ticks(self, voice: Voice) -> list[Tick]:
        """Lengths of time that people know."""
        inside = [tick for tick in WAITS_MS if tick <= self.high_ms]
        return [
            Tick(
                float(self.at(np.array([float(tick)]))[0]),
                ("≤ " if tick == WAITS_MS[0] else "") + voice.round_duration(tick),
                minor=tick in WAITS_MS[1::2],
            )
            for tick in inside
        ]
