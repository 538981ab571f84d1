"""Kubernetes quantities (`96`, `95500m`, `1.5Gi`, `1e3`), exactly."""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Final

_FORM: Final = re.compile(
    r"(?P<number>[0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})"
    r"(?:[eE](?P<power>[+-]?[0-9]{1,2})|(?P<unit>[numkMGTPE]|[KMGTPE]i)?)"
)

_UNITS: Final = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    "": Fraction(1),
    "k": Fraction(1000),
    **{unit: Fraction(1000**power) for power, unit in enumerate("MGTPE", start=2)},
    **{f"{unit}i": Fraction(1024**power) for power, unit in enumerate("KMGTPE", start=1)},
}


def parse_quantity(text: str) -> Fraction:
    """The exact value of a quantity that is not negative. Raises `ValueError` for anything else."""
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError(f"must be a quantity such as 96, 95500m or 1.5Gi, got {text[:40]!r}")
    return Fraction(match["number"]) * Fraction(10) ** int(match["power"] or 0) * _UNITS[match["unit"] or ""]
