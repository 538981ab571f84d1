"""Text to exact integers: decimal arithmetic, never float, and a reason for whatever is not a value.

Every function raises `BadValueError`, whose text is the reason that a rejection shows.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Context, Decimal
from functools import lru_cache
from typing import NamedTuple

NUMBER_LENGTH_MAX = 100
SHOWN_LENGTH_MAX = 40

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,4})?")
_STAMP = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})[T ]([0-9]{2}):([0-9]{2}):([0-9]{2})(\.[0-9]{1,9})?")
_SPAN = re.compile(r"(?:([0-9]{1,6})-)?(?:([0-9]{1,6}):)?([0-9]{1,6}):([0-9]{2})(\.[0-9]{1,9})?")

# because: 100 digits and a four-digit exponent must multiply without rounding, whatever the caller's context
_EXACT = Context(prec=200, Emax=99_999, Emin=-99_999)
_EPOCH = date(1970, 1, 1)
_DAY_S = 86_400


class BadValueError(ValueError):
    """The text of a field is not a value of its kind. The message is the reason, without the field."""


class Scaled(NamedTuple):
    """An integer amount, and whether the text held more decimals than the unit keeps."""

    value: int
    rounded: bool


def shown(text: str) -> str:
    """The offending text as a message may print it: quoted, and cut where it is long."""
    return repr(text if len(text) <= SHOWN_LENGTH_MAX else text[:SHOWN_LENGTH_MAX] + "...")


def decimal(text: str) -> Decimal:
    """The number that `text` writes in ASCII digits. NaN, infinities, hexadecimal and `1_000` are not numbers."""
    if len(text) > NUMBER_LENGTH_MAX:
        raise BadValueError(f"must be a number of at most {NUMBER_LENGTH_MAX} characters, got {shown(text)}")
    stripped = text.strip(" \t")
    if not _NUMBER.fullmatch(stripped):
        raise BadValueError(f"must be a number, got {shown(text)}")
    return _EXACT.create_decimal(stripped)


def plain_integer(text: str) -> int | None:
    """The integer that a short text of ASCII digits writes; None for every other text, be it a number or not."""
    return int(text) if len(text) <= 18 and text.isascii() and text.isdigit() else None


def integer(text: str, low: int, high: int) -> int:
    """The integer from `low` to `high` that `text` writes; `3.0` and `3e2` are integers, `3.5` is not."""
    amount = decimal(text)
    _check_range(text, amount, low, high, 1)
    if amount != amount.to_integral_value():
        raise BadValueError(f"must be an integer, got {shown(text)}")
    return int(amount)


def scaled(text: str, factor: Decimal, low: int, high: int, *, up: bool = False) -> Scaled:
    """`text` x `factor` as an integer from `low` to `high`, half to even (or up, for what a job must be given).

    `factor` is how many of the result's unit one of the text's unit has: seconds to ms is 1000.
    """
    amount = _EXACT.multiply(decimal(text), factor)
    _check_range(text, amount, low, high, factor)
    value = amount.to_integral_value(ROUND_CEILING if up else ROUND_HALF_EVEN)
    return Scaled(int(value), value != amount)


def _check_range(text: str, amount: Decimal, low: int, high: int, factor: Decimal | int) -> None:
    if amount < low:
        bound = "must not be negative" if low == 0 else f"must be at least {_bound(low, factor)}"
        raise BadValueError(f"{bound}, got {shown(text)}")
    if amount > high:
        raise BadValueError(f"must be at most {_bound(high, factor)}, got {shown(text)}")


def _bound(limit: int, factor: Decimal | int) -> str:
    return f"{_EXACT.divide(Decimal(limit), Decimal(factor)).normalize():f}"


def stamp_ms(text: str) -> int:
    """Milliseconds from 1970-01-01 to the naive stamp `YYYY-MM-DD HH:MM:SS[.fraction]` (`T` is allowed)."""
    match = _STAMP.fullmatch(text.strip(" \t"))
    if match is None:
        raise BadValueError(f"must be a stamp like 2020-09-01 13:45:00, got {shown(text)}")
    day, hour, minute, second, fraction = match.groups()
    days = _day_number(day)
    if days is None or int(hour) > 23 or int(minute) > 59 or int(second) > 59:
        raise BadValueError(f"must be a stamp of the calendar, got {shown(text)}")
    if days < 0:
        raise BadValueError(f"must not be before 1970, got {shown(text)}")
    seconds = days * _DAY_S + int(hour) * 3600 + int(minute) * 60 + int(second)
    return seconds * 1000 + _fraction_ms(fraction)


def span_ms(text: str) -> int:
    """Milliseconds of Slurm's `[D-]HH:MM:SS` or `MM:SS`, with a fraction or not; at most six digits each."""
    match = _SPAN.fullmatch(text.strip(" \t"))
    if match is None or int(match[4]) > 59:
        raise BadValueError(f"must be a time like 1-02:03:04, got {shown(text)}")
    days, hours, minutes, seconds, fraction = match.groups()
    whole = int(days or 0) * _DAY_S + int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds)
    return whole * 1000 + _fraction_ms(fraction)


def stamp_text(ms: int) -> str:
    """The stamp that `stamp_ms` reads as `ms`, for notes."""
    stamp = datetime(1970, 1, 1) + timedelta(milliseconds=ms)  # noqa: DTZ001  # because: traces give naive stamps
    return stamp.isoformat(sep=" ", timespec="milliseconds" if ms % 1000 else "seconds")


def _fraction_ms(fraction: str | None) -> int:
    return scaled(fraction, Decimal(1000), 0, 1000).value if fraction else 0


@lru_cache(maxsize=4096)
def _day_number(day: str) -> int | None:
    try:
        return (date.fromisoformat(day) - _EPOCH).days
    except ValueError:
        return None
