"""What is wrong with a fleet, all of it at once, each thing with its place."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong: `path` says where (`pools[1].islands[0]`, `line 12 gpu`), `reason` what."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}" if self.path else self.reason

    def under(self, prefix: str) -> Problem:
        """The same problem, seen from one level further out."""
        if not self.path:
            return Problem(prefix, self.reason)
        joint = "" if self.path.startswith("[") else "."
        return Problem(f"{prefix}{joint}{self.path}", self.reason)


class FleetError(ValueError):
    """A fleet that cannot be: `problems` holds every reason, and the text lists them all."""

    def __init__(self, problems: Iterable[Problem], *, source: str = "fleet") -> None:
        self.problems: list[Problem] = list(problems)
        self.source = source
        super().__init__(self.problems, source)

    def __reduce__(self) -> tuple[object, ...]:
        # because: ValueError would call __init__ with positional arguments when a worker sends it back
        return (_rebuild, (self.problems, self.source))

    def __str__(self) -> str:
        if len(self.problems) == 1:
            return f"{self.source}: {self.problems[0]}"
        lines = "".join(f"\n  {problem}" for problem in self.problems)
        return f"{self.source}: {len(self.problems)} problems:{lines}"


def _rebuild(problems: list[Problem], source: str) -> FleetError:
    return FleetError(problems, source=source)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'fifo'?`, or the empty text when nothing known comes close."""
    folded = {name.casefold(): name for name in known}
    close = difflib.get_close_matches(word.casefold(), list(folded), n=1, cutoff=0.6)
    return f"; did you mean {folded[close[0]]!r}?" if close else ""


def shown(values: Sequence[object], *, at_most: int = 8) -> str:
    """The first few values, joined by commas, and how many were left out."""
    text = ", ".join(str(value) for value in values[:at_most])
    left = len(values) - at_most
    return f"{text} and {left} more" if left > 0 else text
