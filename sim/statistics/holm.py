"""Holm's step-down correction: many questions at once, and still at most 5 % to be wrong in any."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjusted p-values in the given order. None, a question without an answer, stays None and does not count."""
    order = sorted((i for i, p in enumerate(p_values) if p is not None), key=lambda i: (p_values[i] or 0.0, i))
    adjusted: list[float | None] = [None] * len(p_values)
    least = 0.0
    for rank, i in enumerate(order):
        least = min(max(least, (len(order) - rank) * (p_values[i] or 0.0)), 1.0)
        adjusted[i] = least
    return adjusted
