"""Quantities: the values that apimachinery's own tests state, and a reading of the grammar that shares no code with ours."""

from __future__ import annotations

from decimal import ROUND_UP, Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.kube.quantity import INT64_MAX, milli_of, nano_of, parse_quantity

NANO = Fraction(1, 10**9)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("0Mi", 0),
        ("96", 96),
        ("95500m", Fraction(191, 2)),
        ("1.5Gi", 3 * 2**29),
        ("4Pi", 4 * 2**50),
        ("1E", 10**18),
        ("1E-3", Fraction(1, 1000)),
        ("1.3E+6", 1_300_000),
        ("100.035k", 100_035),
        ("0.0005k", Fraction(1, 2)),
        ("7.123456M", 7_123_456),
        ("100.035Ki", Fraction(10_243_584, 100)),
        ("0.05Gi", Fraction(536_870_912, 10)),
        (".001", Fraction(1, 1000)),
        ("1.G", 10**9),
        ("+5", 5),
        ("-5m", Fraction(-1, 200)),
        # rounded away from zero to a billionth
        ("3.001n", 4 * NANO),
        ("0.0000000001", NANO),
        ("0.00000012345", 124 * NANO),
        ("-0.9n", -NANO),
        ("0.000000000001Ki", 2 * NANO),
        ("1e-2147483647", NANO),
        # cut to 64 bits
        ("9Ei", INT64_MAX),
        ("9223372036854775807Ki", INT64_MAX),
        ("12E", INT64_MAX),
        ("1e2147483647", INT64_MAX),
        # what its parser lets pass
        (".", 0),
        ("-", 0),
        ("Mi", 0),
    ],
)
def test_values(text, value):
    assert parse_quantity(text) == value


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "1.1.M",
            "1+1.0M",
            "0.1mi",
            "0.1am",
            "aoeu",
            ".5i",
            "1i",
            "-3.01i",
            "-3.01e-",
            "1e4294967297",
            " 1",
            "1 ",
        ),
        *("1K", "1g", "1 Gi", "1e", "NaN", "inf", "0x1", "1_000", "\uff11", "1e2147483648", "9" * 401),
    ],
)
def test_what_is_refused(text):
    with pytest.raises(ValueError, match="must "):
        nano_of(text)


UNITS = {"": 0, "n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
BINARY = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"]

numbers = st.from_regex(r"[+-]?([0-9]{1,25}|[0-9]{1,12}\.[0-9]{0,12}|\.[0-9]{1,12})", fullmatch=True)
suffixes = st.sampled_from([*UNITS, *BINARY]) | st.integers(-30, 30).flatmap(
    lambda power: st.sampled_from([f"e{power}", f"E{power}", f"e{power:+d}"])
)


def independently(number: str, suffix: str) -> Decimal:
    """The value in billionths by decimal arithmetic, away from zero, cut to 64 bits."""
    with localcontext() as context:
        context.prec, context.Emax, context.Emin = 400, 99_999, -99_999
        if suffix in BINARY:
            value = Decimal(number) * 1024 ** (BINARY.index(suffix) + 1)
        elif suffix in UNITS:
            value = Decimal(number).scaleb(UNITS[suffix])
        else:
            value = Decimal(number + suffix)
        nano = (value * 10**9).to_integral_value(ROUND_UP)
        cap = Decimal(INT64_MAX) * 10**9
        return max(min(nano, cap), -cap)


@given(numbers, suffixes)
def test_any_quantity_is_what_decimal_arithmetic_says(number, suffix):
    nano = int(independently(number, suffix))
    assert nano_of(number + suffix) == nano
    assert milli_of(number + suffix) == (abs(nano) + 10**6 - 1) // 10**6 * (1 if nano > 0 else -1)


@given(st.text(alphabet="0123456789.+-eEinumkKMGTP ", max_size=8))
def test_every_text_is_a_quantity_or_a_value_error(text):
    try:
        found = nano_of(text)
    except ValueError as refused:
        reason = str(refused)
    else:
        found, reason = abs(found), repr(text)
        assert found <= INT64_MAX * 10**9
    assert repr(text) in reason
