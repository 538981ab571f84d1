"""How many requests come: always as many, by the hour of the day, or as a file says."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from sim.fleet.problems import FleetError, Problem, did_you_mean
from sim.run import InputError
from sim.services.service import Steps
from traces.job import TIME_MS_MAX
from traces.values import BadValueError, decimal, integer, shown

HOUR_MS: Final = 3_600_000

RATE_MAX: Final = 1e9
"""Requests a second."""

RATE_MIN: Final = 1e-9
"""What is below, one request in thirty years, is none."""

STEPS_MAX: Final = 1_000_000
"""Two years by the minute."""

COLUMNS: Final = ("at_ms", "requests_per_s")

PROBLEMS_MAX: Final = 50
"""Bad rows of one file that are told."""


class RateFile(NamedTuple):
    """What a file of rates says."""

    path: str
    sha256: str
    steps: Steps


def constant(begin_ms: int, per_s: float) -> Steps:
    """Always the same."""
    return _steps([(begin_ms, per_s)])


def daily(begin_ms: int, end_ms: int, peak: float, shares: Sequence[float], first_hour: int) -> Steps:
    """`peak` times the share of each hour, day after day; `shares[first_hour]` is that of the first hour from `begin_ms` on.

    Raises `ValueError` for more than `STEPS_MAX` hours.
    """
    hours = -(-(end_ms - begin_ms) // HOUR_MS)
    if hours > STEPS_MAX:
        raise ValueError(f"{hours} hours from the first to the last submission; at most {STEPS_MAX}")
    return _steps(
        (begin_ms + hour * HOUR_MS, peak * shares[(first_hour + hour) % len(shares)]) for hour in range(hours)
    )


def between(steps: Steps, begin_ms: int, end_ms: int) -> Steps:
    """The part from `begin_ms` on until before `end_ms`. Raises `ValueError` where it begins before the first step."""
    if begin_ms < steps.at_ms[0]:
        raise ValueError(f"begins at {steps.at_ms[0]} ms, but the trace at {begin_ms} ms")
    first = int(np.searchsorted(steps.at_ms, begin_ms, side="right")) - 1
    behind = max(int(np.searchsorted(steps.at_ms, end_ms)), first + 1)
    at_ms = steps.at_ms[first:behind].copy()
    at_ms[0] = begin_ms
    return Steps(at_ms, steps.value[first:behind])


def denser(steps: Steps, factor: Fraction) -> Steps:
    """Every interval since the first step divided by the factor, rounded down as `traces.transform.scale_load` does."""
    first = int(steps.at_ms[0])
    moved = (
        (first + (at - first) * factor.denominator // factor.numerator, value)
        for at, value in zip(steps.at_ms.tolist(), steps.value.tolist(), strict=True)
    )
    return _steps(dict(moved).items())  # because: of several steps of one millisecond the last counts


def read_rates(path: str) -> RateFile:
    """The rates of a CSV file with the columns `COLUMNS`. Raises `InputError` with every row that is wrong."""
    try:
        raw = Path(path).read_bytes()
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text") from error
    problems: list[Problem] = []
    found = list(islice(_rows(text, problems), STEPS_MAX + 1))
    if len(found) > STEPS_MAX:
        problems.append(Problem("", f"has more than {STEPS_MAX} rows"))
    if not found and not problems:
        problems.append(Problem("", "has no rows"))
    if problems:
        more = len(problems) - PROBLEMS_MAX
        told = [*problems[:PROBLEMS_MAX], *([Problem("", f"and {more} more")] if more > 0 else [])]
        raise InputError(str(FleetError(told, source=path)))
    return RateFile(path, hashlib.sha256(raw).hexdigest(), _steps(found))


def _rows(text: str, problems: list[Problem]) -> Iterator[tuple[int, float]]:
    """The rows that are right; what is wrong with the others goes to `problems`."""
    reader = csv.reader(io.StringIO(text, newline=""))
    header = [name.strip() for name in next(reader, [])]
    problems += _header_problems(header)
    if problems:
        return
    before = -1
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        place = f"line {reader.line_num}"
        if len(cells) != len(header):
            problems.append(Problem(place, f"has {len(cells)} cells, the header has {len(header)}"))
            continue
        row = dict(zip(header, cells, strict=True))
        at_ms = _at_ms(row["at_ms"], before, place, problems)
        rate = _rate(row["requests_per_s"], place, problems)
        before = before if at_ms is None else at_ms
        if at_ms is not None and rate is not None:
            yield at_ms, rate


def _header_problems(header: Sequence[str]) -> Iterator[Problem]:
    for name in COLUMNS:
        if header.count(name) != 1:
            yield Problem("line 1", f"must name {' and '.join(COLUMNS)} once each, got {shown(','.join(header))}")
            return
    for name in header:
        if name not in COLUMNS:
            yield Problem("line 1", f"unknown column {shown(name)}{did_you_mean(name, COLUMNS)}")


def _at_ms(text: str, before: int, place: str, problems: list[Problem]) -> int | None:
    try:
        found = integer(text, 0, TIME_MS_MAX)
    except BadValueError as error:
        problems.append(Problem(f"{place} at_ms", str(error)))
        return None
    if found <= before:
        problems.append(Problem(f"{place} at_ms", f"must be after that of the row before, {before}, got {found}"))
        return None
    return found


def _rate(text: str, place: str, problems: list[Problem]) -> float | None:
    try:
        found = float(decimal(text))
    except BadValueError as error:
        problems.append(Problem(f"{place} requests_per_s", str(error)))
        return None
    if not 0 <= found <= RATE_MAX:
        problems.append(Problem(f"{place} requests_per_s", f"must be from 0 to {RATE_MAX:g}, got {shown(text)}"))
        return None
    return found


def _steps(rows: Iterable[tuple[int, float]]) -> Steps:
    """Steps without those that change nothing, and without rates that are next to nothing."""
    kept: list[tuple[int, float]] = []
    for at_ms, given in rows:
        value = given if given >= RATE_MIN else 0.0
        if not kept or value != kept[-1][1]:
            kept.append((at_ms, value))
    return Steps(
        np.array([at_ms for at_ms, _ in kept], dtype=np.int64),
        np.array([value for _, value in kept], dtype=np.float64),
    )
