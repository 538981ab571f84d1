"""How much worse is still no worse: `+5 % or +2 min`, in the unit of a metric. Declared before the replay, never after."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from sim.experiment.durations import parse_duration

if TYPE_CHECKING:
    from sim.metrics.metric import Metric

Unit = Literal["ms", "share", "ratio", "count"]

_NUMBER: Final = re.compile(r"\d+(?:\.\d+)?", re.ASCII)

EXAMPLES: Final = {
    "ms": "+5 % or +2 min",
    "share": "+2 points",
    "ratio": "+5 % or +0.1",
    "count": "+10 % or +3",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Margin:
    """The larger of a part of the baseline's value and an amount. Negative asks for an improvement."""

    relative: float | None = None
    absolute: float | None = None
    """In the unit of the metric; milliseconds, parts of 1."""
    text: str = ""
    """As it is shown."""


DEFAULT_MARGINS: Final[dict[str, Margin]] = {
    "ms": Margin(relative=0.05, absolute=10_000, text="+5 % or +10 s"),
    "share": Margin(absolute=0.01, text="+1 point"),
    "ratio": Margin(relative=0.05, text="+5 %"),
    "count": Margin(absolute=0.0, text="+0"),
}
"""By unit, for metrics whose margin nobody declared. Ten seconds is the bound of the bounded slowdown."""


LATENCY_MARGIN: Final = Margin(relative=0.05, text="+5 %")
"""Requests take milliseconds or seconds: what is nothing to a job would be everything to them."""


def default_margin(metric: Metric) -> Margin:
    """Where nobody declared one."""
    of_requests = metric.of_requests is not None and metric.unit == "ms"
    return LATENCY_MARGIN if of_requests else DEFAULT_MARGINS[metric.unit]


def parse_margin(text: str, unit: Unit, worse: int = 1) -> Margin:
    """`+5 % or +2 min`, or either alone. Raises `ValueError` that says what it must be.

    A signed amount is a change of the metric, of which more is worse if `worse` is 1 and less if it is -1; one without a
    sign is towards the worse.
    """
    relative: float | None = None
    absolute: float | None = None
    for part in re.split(r"\bor\b", text):
        amount, is_relative = _amount(part.strip(), unit, text)
        if (relative if is_relative else absolute) is not None:
            raise ValueError(f"must name a part and an amount at most once each, got {text.strip()!r}")
        amount *= worse if part.strip()[0] in "+-" else 1
        relative, absolute = (amount, absolute) if is_relative else (relative, amount)
    return Margin(relative=relative, absolute=absolute, text=" ".join(text.split()))


def parse_limit(text: str, unit: Unit) -> float:
    """A value of a metric: `30m`, `70 %` of a share, `12`. Raises `ValueError`."""
    found, is_relative = _amount(text.strip(), unit, text)
    if is_relative and unit != "share":
        wanted = _wanted(unit).removesuffix(" or a percentage")
        raise ValueError(f"must be {wanted}, such as {_limit_example(unit)}, got {text.strip()!r}")
    return found


def _amount(text: str, unit: Unit, whole: str) -> tuple[float, bool]:
    """Value, and whether it is a part of the baseline's value."""
    sign = -1.0 if text.startswith("-") else 1.0
    plain = text.removeprefix("+").removeprefix("-").replace(" ", "")
    number = _NUMBER.match(plain)
    rest = plain[number.end() :] if number else ""
    if number and rest == "%":
        return sign * float(number[0]) / 100, True
    if unit == "ms" and plain:
        try:
            return sign * parse_duration(plain), False
        except ValueError:
            pass
    elif number and unit == "share" and rest in {"points", "point"}:
        return sign * float(number[0]) / 100, False
    elif number and not rest and (unit in {"ratio", "count"} or float(number[0]) == 0):
        return sign * float(number[0]), False
    raise ValueError(f"must be {_wanted(unit)}, such as {EXAMPLES[unit]}, got {whole.strip()!r}")


def _wanted(unit: Unit) -> str:
    return {
        "ms": "a length of time or a percentage",
        "share": "points or a percentage",
        "ratio": "a number or a percentage",
        "count": "a number or a percentage",
    }[unit]


def _limit_example(unit: Unit) -> str:
    return {"ms": "30m", "share": "70 %", "ratio": "1.5", "count": "10"}[unit]
