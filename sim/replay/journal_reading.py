"""Reads a journal of a served policy (docs/reference/journal.md): a file, or a folder of them.

Nothing that a killed process, a full disk or a cut file leaves behind stops it: what cannot be read is reported with its place,
and everything complete is read.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from policies.serving.journal import VERSION
from policies.serving.journal_writer import PATTERN
from sim.run import InputError


class Entry(NamedTuple):
    """One line of a journal after its header."""

    line: int
    at_ms: int
    event: Mapping[str, Any] | None = None
    """`{"type", "object"}`."""
    decision: Mapping[str, Any] | None = None
    snapshot: Mapping[str, Any] | None = None
    """The end of a snapshot: how many objects it has, and who holds what."""
    is_snapshot: bool = False
    """True for an event that is part of the snapshot at the beginning of the file."""


class Problem(NamedTuple):
    """What could not be read, and where."""

    file: str
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.reason}"


@dataclass(slots=True)
class JournalFile:
    """One file. `entries` reads it; afterwards `problems` says what could not be read."""

    path: Path
    header: Mapping[str, Any]
    problems: list[Problem] = field(default_factory=list)

    @property
    def number(self) -> int:
        """Its place among the files of one process."""
        return int(self.header["number"])

    def entries(self) -> Iterator[Entry | None]:
        """The lines after the header, in order; None stands for one that could not be read."""
        for line, value in _lines(self.path, self.problems):
            if line == 1:
                continue
            entry = _entry(line, value)
            if value is not None and entry is None:
                self.problems.append(Problem(self.path.name, line, "is no line of a journal"))
            yield entry


class Process(NamedTuple):
    """The files that one process wrote, in order."""

    files: tuple[JournalFile, ...]

    @property
    def header(self) -> Mapping[str, Any]:
        """That of the first file."""
        return self.files[0].header


@dataclass(slots=True)
class Journal:
    """What a path leads to."""

    processes: tuple[Process, ...]
    problems: list[Problem]
    """Of files without a header that can be read: they are left out."""


HEADER_KEYS: Final = {"at_ms": int, "number": int, "run": str, "driver": str, "policy": str}


def is_journal(first: object) -> bool:
    """Whether the first line of a file begins a journal."""
    return isinstance(first, Mapping) and "journal" in first


def open_journal(path: Path) -> Journal:
    """The journal of a file or a folder. Raises `InputError` if there is none, or one of a later version."""
    if path.is_dir():
        # because: a file that is being compressed exists twice for a moment
        found = {each.name.removesuffix(".gz"): each for each in sorted(path.glob(PATTERN), reverse=True)}
        files = [found[name] for name in sorted(found) if not found[name].name.endswith(".part")]
    else:
        files = [path]
    problems: list[Problem] = []
    read = [file for each in files if (file := _opened(each, problems)) is not None]
    if not read:
        told = "".join(f"\n  {problem}" for problem in problems)
        raise InputError(f"{path}: holds no journal that can be read{told}")
    runs: dict[str, list[JournalFile]] = {}
    for file in read:
        runs.setdefault(str(file.header["run"]), []).append(file)
    return Journal(tuple(Process(tuple(sorted(each, key=_number))) for each in runs.values()), problems)


def _number(file: JournalFile) -> int:
    return file.number


def _opened(path: Path, problems: list[Problem]) -> JournalFile | None:
    header = next((value for _, value in _lines(path, problems)), None)
    if header is None:
        problems.append(Problem(path.name, 1, "has no header, so nothing of it can be read"))
        return None
    version = header.get("journal")
    if not isinstance(version, int):
        problems.append(Problem(path.name, 1, "does not begin a journal"))
        return None
    if version > VERSION:
        raise InputError(f"{path}: is a journal of version {version}; this program reads up to {VERSION}")
    wrong = [key for key, kind in HEADER_KEYS.items() if not isinstance(header.get(key), kind)]
    if wrong:
        problems.append(Problem(path.name, 1, f"the header has no {', '.join(wrong)}"))
        return None
    return JournalFile(path, header)


def _lines(path: Path, problems: list[Problem]) -> Iterator[tuple[int, dict[str, Any] | None]]:
    """Each line with its number, as an object; None where it is none. Only the first problem at an end is told."""
    number = 0
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if packed else path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                value = _object(line)
                if value is None:
                    torn = not line.endswith(b"\n")
                    reason = "is torn: the process ended while it wrote" if torn else "is not a JSON object"
                    problems.append(Problem(path.name, number, reason))
                yield number, value
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        problems.append(Problem(path.name, number + 1, f"the compressed file is cut or damaged: {error}"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None


def _object(line: bytes) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _entry(line: int, value: Mapping[str, Any] | None) -> Entry | None:
    if value is None or type(value.get("at_ms")) is not int:
        return None
    at_ms = value["at_ms"]
    event, decision, snapshot = (value.get(key) for key in ("event", "decision", "snapshot"))
    if isinstance(event, dict):
        return Entry(line, at_ms, event=event, is_snapshot=snapshot is True)
    if isinstance(decision, dict):
        return Entry(line, at_ms, decision=decision)
    return Entry(line, at_ms, snapshot=snapshot) if isinstance(snapshot, dict) else None


def places(problems: Sequence[Problem], at_most: int = 20) -> list[str]:
    """Problems as lines for people."""
    left = len(problems) - at_most
    return [str(problem) for problem in problems[:at_most]] + ([f"... and {left} more"] if left > 0 else [])
