"""Text to exact integers: what is a value, what is not, and how it is rounded."""

from __future__ import annotations

from decimal import Decimal

import pytest

from traces import values
from traces.formats.canonical import devices
from traces.formats.slurm_sacct import devices as slurm_devices
from traces.values import BadValueError


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("007", 7), ("+3", 3), ("-0", 0), (" 5\t", 5), ("3.0", 3), ("3.", 3), ("3e2", 300), ("1e-0", 1)],
)
def test_integers(text, value):
    assert values.integer(text, 0, 1000) == value


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            " ",
            "nan",
            "NaN",
            "inf",
            "-Infinity",
            "sNaN",
            "0x10",
            "0b1",
            "1_000",
            "1,000",
            "1e",
            "e3",
            ".",
            "+",
            "--1",
        ),
        *("\uff11\uff12", "٣", "²", "1 2", "1\n", "true", "None", "1e99999", "9" * 101, "1." + "0" * 200),
    ],
)
def test_what_is_no_number(text):
    with pytest.raises(BadValueError, match="must be a number"):
        values.integer(text, 0, 1000)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("-1", "must not be negative, got '-1'"),
        ("-1e400", "must not be negative, got '-1e400'"),
        ("1e400", "must be at most 1000, got '1e400'"),
        ("9" * 60, "must be at most 1000, got '" + "9" * 40 + "...'"),
        ("1.5", "must be an integer, got '1.5'"),
        ("1e-400", "must be an integer, got '1e-400'"),
    ],
)
def test_what_is_out_of_range_or_no_integer(text, reason):
    with pytest.raises(BadValueError) as caught:
        values.integer(text, 0, 1000)
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    ("seconds", "ms", "rounded"),
    [
        ("0.1", 100, False),
        ("4045909.9999999995", 4_045_910_000, True),
        ("0.0005", 0, True),  # half to even: down
        ("0.0015", 2, True),  # half to even: up
        ("0.00150000000000000000000000001", 2, True),
        ("1e-3", 1, False),
        ("1e-9999", 0, True),
    ],
)
def test_seconds_are_scaled_in_decimal(seconds, ms, rounded):
    assert values.scaled(seconds, Decimal(1000), 0, 10**12) == (ms, rounded)


def test_amounts_that_a_job_must_be_given_are_rounded_up():
    assert values.scaled("1", Decimal(1) / 1024, 0, 10, up=True).value == 1


def test_a_bound_is_said_in_the_unit_of_the_text():
    with pytest.raises(BadValueError, match=r"must be at most 5, got '6'"):
        values.scaled("6", Decimal(1000), 0, 5000)


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1970-01-01 00:00:00", 0),
        ("1970-01-02T00:00:01", 86_401_000),
        ("2000-02-29 12:00:00.5", 951_825_600_500),
        ("2023-11-16 18:17:03.9799600", 1_700_158_623_980),
    ],
)
def test_stamps(text, ms):
    assert values.stamp_ms(text) == ms


@pytest.mark.parametrize(
    "text",
    [
        *("", "2020-1-1 00:00:00", "2020-01-01", "2020-02-30 00:00:00", "2020-01-01 24:00:00", "2020-01-01 00:60:00"),
        *("2020-01-01 00:00:60", "0000-01-01 00:00:00", "1969-12-31 23:59:59", "2020-01-01 00:00:00Z"),
        *("\uff12\uff1020-01-01 00:00:00", "nan", "20200101 00:00:00"),
    ],
)
def test_what_is_no_stamp(text):
    with pytest.raises(BadValueError):
        values.stamp_ms(text)


def test_a_stamp_is_printed_as_it_is_read():
    for text in ("1970-01-01 00:00:00", "2017-10-03 08:00:10.250"):
        assert values.stamp_text(values.stamp_ms(text)) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("00:00:15", 15), ("1-02:03:04", 93_784), ("10:00", 600), ("100:00:00", 360_000), ("00:00:01.5", 1.5)],
)
def test_slurm_times(text, seconds):
    assert values.span_ms(text) == seconds * 1000


@pytest.mark.parametrize("text", ["", "15", "1:2", "-1:00:00", "1-2-3", "00:00:60", "UNLIMITED", "nan"])
def test_what_is_no_slurm_time(text):
    with pytest.raises(BadValueError, match="must be a time like"):
        values.span_ms(text)


@pytest.mark.parametrize(
    ("gpus", "share", "expected"),
    [
        ("0", None, (0, 1000)),
        ("8", None, (8, 1000)),
        ("8.0", None, (8, 1000)),
        ("2", 250, (2, 250)),  # an integer counts devices, and the share is of each
        ("0.47", None, (1, 470)),
        ("0.5", 250, (2, 250)),
        ("1.5", 500, (3, 500)),
    ],
)
def test_devices(gpus, share, expected):
    assert devices(gpus, share) == expected


@pytest.mark.parametrize(
    ("gpus", "share"),
    [("1.5", None), ("0.0001", None), ("0.9999", None), ("0.5", 300), ("-0.5", None), ("nan", None)],
)
def test_what_is_no_number_of_devices(gpus, share):
    with pytest.raises(BadValueError):
        devices(gpus, share)


@pytest.mark.parametrize(
    ("text", "gpus", "model"),
    [
        ("gpu:2", 2, None),
        ("gpu", 1, None),
        ("gres/gpu=2", 2, None),
        ("gres:gpu:2", 2, None),
        ("gpu:a100:2", 2, "a100"),
        ("gpu:a100:2(S:0-1)", 2, "a100"),
        ("gpu:2,craynetwork:1", 2, None),
        ("gres/gpu=4,gres/gpu:a100=4", 4, "a100"),
        ("(null)", 0, None),
        ("gpumem:5", 0, None),
        ("billing=8,cpu=8,mem=4G,node=1", 0, None),
    ],
)
def test_slurm_generic_resources(text, gpus, model):
    assert slurm_devices(text) == (gpus, model)
