"""Student's t distribution with whole degrees of freedom: exact finite sums (Abramowitz and Stegun 26.7.3 and 26.7.4)."""

from __future__ import annotations

import math
from functools import cache
from statistics import NormalDist
from typing import Final

NORMAL: Final = NormalDist()

NORMAL_FROM: Final = 1000
"""From this many degrees of freedom on the normal distribution stands for it: they differ by less than 0.0002."""


def t_cdf(t: float, freedom: int) -> float:
    """P(T <= t). Raises `ValueError` for less than one degree of freedom."""
    if freedom < 1:
        raise ValueError(f"degrees of freedom must be at least 1, got {freedom}")
    if freedom >= NORMAL_FROM:
        return NORMAL.cdf(t)
    angle = math.atan2(t, math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term = cosine if odd else 1.0
    total = 0.0 if freedom == 1 else term
    for step in range(2 + odd, freedom - 1, 2):
        term *= cosine * cosine * (step - 1) / step
        total += term
    inside = 2 / math.pi * (angle + sine * total) if odd else sine * total
    return min(max(0.5 + inside / 2, 0.0), 1.0)


@cache
def t_quantile(p: float, freedom: int) -> float:
    """The t with P(T <= t) = p, by bisection. Raises `ValueError` for p outside (0, 1)."""
    if not 0 < p < 1:
        raise ValueError(f"p must lie between 0 and 1, got {p}")
    if freedom >= NORMAL_FROM:
        return NORMAL.inv_cdf(p)
    low, high = -1.0, 1.0
    while t_cdf(low, freedom) > p:
        low *= 2
    while t_cdf(high, freedom) < p:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if t_cdf(middle, freedom) < p else (low, middle)
    return (low + high) / 2
