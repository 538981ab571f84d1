"""What is wrong with a key of a scenario, in the words of the scenario and not of the library that found it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sim.fleet.problems import Problem, did_you_mean

_TIME: Final = "a length of time such as 5m, 90s or 1h30m"
_TIMES: Final = ("warm_up", "drain", "checkpoint", "restart", "cycle", "at", "until", "start_up", "objective")

_MAPPINGS: Final[Mapping[str, str]] = {
    "rules": "rules by their names, such as {ties: random}",
    "shake": "a percentage such as 3 %, or {submit: ..., run: ...}",
    "slow": "a mapping such as {at: 1h, factor: 2}",
    "services": "a mapping such as {name: chat, rate: ..., ...}",
    "rate": "a number of requests a second, {peak: ..., hours: [...]} or {file: ...}",
    "replicas": "a number, or {least: ..., most: ...}",
}
"""What a key wants that holds keys of its own, or each item of its list."""

_SHOWN: Final = 80
"""Characters of a wrong value."""


def problem_of(error: Mapping[str, Any], known: Sequence[str]) -> Problem:
    """One error of pydantic, at its place. `known` are the keys that there are where one is unknown."""
    kind, parts, given = error["type"], error["loc"], _shown(error["input"])
    if kind == "invalid_key":
        return Problem(_place(parts[:-1]), f"must have text as keys, got {given}")
    place = _place(parts)
    if kind == "extra_forbidden":
        return Problem(place, f"unknown key{did_you_mean(str(parts[-1]), known)}")
    if kind == "missing":
        return Problem(place, "is required")
    if kind == "literal_error":
        expected = error["ctx"]["expected"].replace(" or ", ", ").replace("'", "")
        hint = did_you_mean(str(error["input"]), expected.split(", "))
        return Problem(place, f"must be one of {expected}, got {given}{hint}")
    if kind == "value_error":
        return Problem(place, str(error["msg"]).removeprefix("Value error, "))
    return Problem(place, f"must be {_wanted(error)}, got {given}")


def _wanted(error: Mapping[str, Any]) -> str:
    """What the value must be."""
    kind, named = error["type"], [part for part in error["loc"] if isinstance(part, str)]
    key = named[-1] if named else ""
    if kind in {"model_type", "model_attributes_type", "dict_type"}:
        return _MAPPINGS.get(key, "a mapping")
    if kind == "int_type" and key == "service_time":
        return "a length of time such as 800ms, 7.4ms or 250us"
    if kind == "int_type" and key in _TIMES:
        return _TIME
    if kind == "int_parsing_size":
        return "a smaller number"
    if named[:1] == ["shake"] and kind in {"less_than_equal", "greater_than_equal"}:
        return "from 0 % to 50 %"
    return str(error["msg"]).removeprefix("Input should be ")


def _place(parts: Sequence[str | int]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
