"""Kubernetes quantities (`96`, `95500m`, `1.5Gi`, `1e3`), exactly, and as the API server rounds them.

The grammar is that of apimachinery (`pkg/api/resource/quantity.go`): a sign, digits with or without a point, and a suffix; what
is finer than a billionth is rounded away from zero. What its parser lets pass is let pass (`5.`, `.5`, `Mi`, which is nothing),
and what it refuses is refused (`1K`, `1 Gi`, `0.1mi`). Amounts beyond 64 bits are cut to 2^63-1, as a scheduler counts in them.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import Final

INT64_MAX: Final = 2**63 - 1

CHARACTERS_MAX: Final = 400
"""A longer text is no quantity that anybody wrote."""

_NANO: Final = 10**9
_CAP: Final = INT64_MAX * _NANO
_EXPONENT_MAX: Final = 2**31 - 1

_FORM: Final = re.compile(
    r"(?P<sign>[+-]?)(?P<whole>[0-9]*)(?:\.(?P<part>[0-9]*))?"
    r"(?:[eE](?P<power>[+-]?[0-9]+)|(?P<unit>[numkMGTPE]|[KMGTPE]i)?)"
)

_DECIMAL: Final = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY: Final = {f"{unit}i": 10 * power for power, unit in enumerate("KMGTPE", start=1)}


@lru_cache(maxsize=65_536)
def nano_of(text: str) -> int:
    """The quantity in billionths, rounded away from zero. Raises `ValueError` for what is no quantity."""
    match = _FORM.fullmatch(text) if 0 < len(text) <= CHARACTERS_MAX else None
    if match is None or not text.isascii():
        raise ValueError(f"must be a quantity such as 96, 95500m or 1.5Gi, got {text[:40]!r}")
    sign, whole, part, power, unit = match.groups(default="")
    number = int(f"0{whole}{part}")
    if unit in _BINARY:
        number <<= _BINARY[unit]
        exponent = -len(part)
    else:
        exponent = (int(power) if power else _DECIMAL[unit]) - len(part)
    if abs(int(power or 0)) > _EXPONENT_MAX:
        raise ValueError(f"must have an exponent within 32 bits, got {text[:40]!r}")
    nano = min(_scaled(number, exponent + 9), _CAP)
    return -nano if sign == "-" else nano


@lru_cache(maxsize=65_536)
def milli_of(text: str) -> int:
    """The quantity in thousandths, as the API server keeps the amounts of a resource list: rounded away from zero."""
    return up(nano_of(text), 10**6)


def parse_quantity(text: str) -> Fraction:
    """The value of a quantity. Raises `ValueError` for what is no quantity."""
    return Fraction(nano_of(text), _NANO)


def up(amount: int, unit: int) -> int:
    """An amount in larger units, rounded away from zero."""
    return -(-amount // unit) if amount >= 0 else amount // unit


def _scaled(number: int, exponent: int) -> int:
    """`number` x 10^exponent, rounded up; huge exponents are not worked out."""
    if not number:
        return 0
    if exponent >= 0:
        return number * int(10 ** min(exponent, 60))
    return up(number, int(10 ** min(-exponent, CHARACTERS_MAX + 20)))
