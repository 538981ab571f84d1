"""Typed access to plain data with camelCase keys: what is wrong is collected with its path, and the reading goes on."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from typing import Any, Final

from policies.kube.objects import Fault

_DURATION: Final = re.compile(r"(?P<number>[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?P<unit>ns|us|µs|μs|ms|s|m|h)")
_NANOSECONDS: Final = {
    "ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9,
}  # fmt: skip


def near(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'filter'?`, or the empty text where nothing known comes close."""
    folded = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(word.casefold(), list(folded), n=1)
    return f"; did you mean {folded[close[0]]!r}?" if close else ""


def duration_ms(text: str) -> int | None:
    """A Go duration (`5s`, `1m30s`, `250ms`) in milliseconds, rounded up; None for anything else."""
    if text == "0":
        return 0
    total, place = Fraction(0), 0
    for part in _DURATION.finditer(text):
        if part.start() != place:
            return None
        total += Fraction(part["number"]) * _NANOSECONDS[part["unit"]]
        place = part.end()
    return None if not text or place != len(text) else -int(-total // 10**6)


class Section:
    """One object of the data. Keys that are not in `known` are faults, once, when it is opened."""

    def __init__(self, value: object, path: str, known: Iterable[str], faults: list[Fault]) -> None:
        self.path = path
        self.faults = faults
        self.values: Mapping[str, Any] = {}
        if value is None:
            return
        if not isinstance(value, Mapping):
            self.wrong("", f"must be a mapping, got {_shown(value)}")
            return
        self.values = value
        names = tuple(known)
        for key in value:
            if key not in names:
                self.wrong(str(key), f"is not known here{near(str(key), names)}")

    def __contains__(self, key: str) -> bool:
        return self.values.get(key) is not None

    def at(self, key: str) -> str:
        """The path of a key."""
        if not key:
            return self.path
        return f"{self.path}.{key}" if self.path else key

    def wrong(self, key: str, reason: str) -> None:
        """Something is wrong at a key."""
        self.faults.append(Fault(self.at(key), reason))

    def inner(self, key: str, known: Iterable[str]) -> Section:
        """The object under a key; an empty one where there is none."""
        return Section(self.values.get(key), self.at(key), known, self.faults)

    def items(self, key: str, known: Iterable[str]) -> Iterator[Section]:
        """The objects of the list under a key."""
        for place, value in enumerate(self.list(key)):
            yield Section(value, f"{self.at(key)}[{place}]", known, self.faults)

    def list(self, key: str) -> list[Any]:
        """The list under a key, empty where there is none."""
        value = self.values.get(key)
        if value is None:
            return []
        if not isinstance(value, list):
            self.wrong(key, f"must be a list, got {_shown(value)}")
            return []
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """The texts of the list under a key."""
        found = self.list(key)
        for place, value in enumerate(found):
            if not isinstance(value, str):
                self.faults.append(Fault(f"{self.at(key)}[{place}]", f"must be text, got {_shown(value)}"))
        return tuple(value for value in found if isinstance(value, str))

    def text(self, key: str, default: str = "", *, choices: Iterable[str] = (), required: bool = False) -> str:
        """The text under a key."""
        value = self.values.get(key)
        if value is None:
            if required:
                self.wrong(key, "is required")
            return default
        if not isinstance(value, str) or (required and not value):
            self.wrong(key, f"must be text, got {_shown(value)}")
            return default
        allowed = tuple(choices)
        if allowed and value not in allowed:
            hint = near(value, allowed) or f"; known are {', '.join(allowed)}"
            self.wrong(key, f"must not be {value!r}{hint}")
            return default
        return value

    def whole(self, key: str, default: int, low: int, high: int = 2**31 - 1) -> int:
        """The whole number under a key, `low..high`."""
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self.wrong(key, f"must be a whole number from {low} to {high}, got {_shown(value)}")
            return default
        return value

    def flag(self, key: str, *, default: bool = False) -> bool:
        """The true or false under a key."""
        value = self.values.get(key)
        if value is None:
            return default
        if not isinstance(value, bool):
            self.wrong(key, f"must be true or false, got {_shown(value)}")
            return default
        return value

    def duration(self, key: str, default_ms: int) -> int:
        """The Go duration under a key, in milliseconds."""
        value = self.values.get(key)
        if value is None:
            return default_ms
        found = duration_ms(value) if isinstance(value, str) else None
        if found is None:
            self.wrong(key, f"must be a duration such as 5s or 1m30s, got {_shown(value)}")
            return default_ms
        return found


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 40 else text[:37] + "..."
