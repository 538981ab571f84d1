"""Figures as people read them, in English. The exact values stand in the JSON and Parquet files."""

from __future__ import annotations

from sim.metrics.metric import Metric
from sim.report.voice import plain


def duration(ms: float) -> str:
    """`3.2 d`, `4.0 h`, `52 s`: three figures at most, the unit that suits."""
    return plain().duration(ms)


def value(metric: Metric, found: float | None) -> str:
    """One figure with its unit; `-` where there is nothing to measure."""
    return plain().value(metric, found)


def difference(metric: Metric, found: float | None, base: float | None) -> str:
    """`-2.1 h (-34 %)`: against the baseline, absolute and in percent; `=` where nothing differs."""
    return plain().difference(metric, found, base)


def percent(ratio: float) -> str:
    """`+12 %`, `-0.3 %`, `x 7.2`: above a tripling the factor says more."""
    return plain().percent(ratio)


def better(metric: Metric, found: float | None, base: float | None) -> int:
    """1 if `found` is better than `base`, -1 if it is worse, 0 if neither can be said."""
    if found is None or base is None or found == base:
        return 0
    return 1 if (found < base) == (metric.better == "lower") else -1
