"""Lengths of time as people write them: `5m`, `1h30m`, `250ms`."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final

UNITS_MS: Final = {"ms": 1, "s": 1000, "min": 60_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

_PART: Final = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)(ms|min|[smhd])", re.ASCII)


def parse_duration(text: str) -> int:
    """Whole milliseconds. Raises `ValueError` for a number without a unit and for what is no length of time."""
    given = text.strip()
    if given == "0":
        return 0
    parts = list(_PART.finditer(given))
    if not parts or "".join(part[0] for part in parts) != given:
        raise ValueError(f"must be a length of time such as 5m, 90s or 1h30m, got {text!r}")
    found = sum(Fraction(part[1]) * UNITS_MS[part[2]] for part in parts)
    if found.denominator != 1:
        raise ValueError(f"must be whole milliseconds, got {text!r}")
    return int(found)


def as_text(ms: float) -> str:
    """`3.9 d`, `1 d`, `12 h`: the largest unit that is not above it, one figure behind the point where it has one."""
    for unit in ("d", "h", "min", "s"):
        if abs(ms) >= UNITS_MS[unit]:
            return f"{ms / UNITS_MS[unit]:.1f}".removesuffix(".0") + f" {unit}"
    return f"{ms:g} ms"
