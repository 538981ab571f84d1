"""Figures as people read them. The exact values stand in the JSON and Parquet files."""

from __future__ import annotations

from sim.metrics.metric import Metric

_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("min", 60_000))


def duration(ms: float) -> str:
    """`3.2 d`, `4.0 h`, `52 s`: three figures at most, the unit that suits."""
    size = abs(ms)
    for unit, length in _UNITS:
        if size >= length:
            return f"{ms / length:.1f} {unit}"
    if size >= 1000 or size == 0:
        return f"{ms / 1000:.3g} s"
    return f"{ms:.3g} ms"


def value(metric: Metric, found: float | None) -> str:
    """One figure with its unit; `-` where there is nothing to measure."""
    if found is None:
        return "-"
    if metric.unit == "ms":
        return duration(found)
    if metric.unit == "share":
        return f"{found:.1%}"
    if metric.unit == "count":
        return f"{found:,.0f}"
    return f"{found:,.2f}"


def difference(metric: Metric, found: float | None, base: float | None) -> str:
    """`-2.1 h (-34 %)`: against the baseline, absolute and in percent; `=` where nothing differs."""
    if found is None or base is None:
        return "-"
    change = found - base
    if change == 0:
        return "="
    if metric.unit == "share":
        return f"{change * 100:+.1f} points"
    sign = "+" if change > 0 else "-"
    size = value(metric, abs(change))
    return f"{sign}{size} ({percent(change / base)})" if base else f"{sign}{size}"


def percent(ratio: float) -> str:
    """`+12 %`, `-0.3 %`, `x 7.2`: above a tripling the factor says more."""
    if ratio > 2:
        return f"x {ratio + 1:,.1f}"
    return f"{ratio * 100:+.0f} %" if abs(ratio) >= 0.0995 else f"{ratio * 100:+.1f} %"


def better(metric: Metric, found: float | None, base: float | None) -> int:
    """1 if `found` is better than `base`, -1 if it is worse, 0 if neither can be said."""
    if found is None or base is None or found == base:
        return 0
    return 1 if (found < base) == (metric.better == "lower") else -1
