"""Lengths of time as people write them: `5m`, `1h30m`, `250ms`; of single requests also `7.4ms` and `250us`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Final

UNITS_MS: Final = {"ms": 1, "s": 1000, "min": 60_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

_PART: Final = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)(us|ms|min|[smhd])", re.ASCII)
_FACTOR: Final = re.compile(r"[+-]?(?:[0-9]+/[0-9]+|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?)", re.ASCII)


def parse_duration(text: str) -> int:
    """Whole milliseconds. Raises `ValueError` for a number without a unit and for what is no length of time."""
    found = _milliseconds(text, UNITS_MS, "5m, 90s or 1h30m")
    if found.denominator != 1:
        raise ValueError(f"must be whole milliseconds, got {text!r}")
    return int(found)


def parse_microseconds(text: str) -> int:
    """Whole microseconds, which may be written with the unit `us` too. Raises `ValueError` like `parse_duration`."""
    found = _milliseconds(text, {**UNITS_MS, "us": Fraction(1, 1000)}, "800ms, 7.4ms or 250us") * 1000
    if found.denominator != 1:
        raise ValueError(f"must be whole microseconds, got {text!r}")
    return int(found)


def parse_factor(text: str) -> Fraction:
    """The exact value of `1.5`, `3/2` or `1e-3`. Raises `ValueError` for what is no number, and `ZeroDivisionError`."""
    given = text.strip()
    if not _FACTOR.fullmatch(given):  # because: a power of ten of many digits would fill the memory
        raise ValueError(f"must be a number like 1.5 or 3/2, got {text!r}")
    return Fraction(given)


def _milliseconds(text: str, units: Mapping[str, int | Fraction], such_as: str) -> Fraction:
    given = text.strip()
    if given == "0":
        return Fraction(0)
    parts = list(_PART.finditer(given))
    if not parts or "".join(part[0] for part in parts) != given or any(part[2] not in units for part in parts):
        raise ValueError(f"must be a length of time such as {such_as}, got {text!r}")
    return sum((Fraction(part[1]) * units[part[2]] for part in parts), Fraction(0))


def as_text(ms: float) -> str:
    """`3.9 d`, `1 d`, `12 h`: the largest unit that is not above it, one figure behind the point where it has one."""
    for unit in ("d", "h", "min", "s"):
        if abs(ms) >= UNITS_MS[unit]:
            return f"{ms / UNITS_MS[unit]:.1f}".removesuffix(".0") + f" {unit}"
    return f"{ms:g} ms"
