"""A file being read: its rows once, in order, and what the reader has to say about them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from traces.job import FieldProblem, JobRecord
from traces.trace import Rejection, TraceError

Numbered = tuple[int, JobRecord | Rejection]
"""A row with its line, which a record does not carry."""


class Reading(Iterator[JobRecord | Rejection]):
    """The rows of one file. `notes` and `unknown_columns` are complete once the rows are exhausted."""

    def __init__(self) -> None:
        self.unknown_columns: tuple[str, ...] = ()
        self._rows: Iterator[JobRecord | Rejection] = iter(())
        self._said: list[str] = []
        self._counts: Counter[str] = Counter()

    def attach(self, rows: Iterator[JobRecord | Rejection]) -> None:
        """Set the rows that this reading hands out."""
        self._rows = rows

    def note(self, text: str) -> None:
        """Say `text` in the notes."""
        self._said.append(text)

    def count(self, what: str) -> None:
        """Say in the notes how many `what` there were; this is one more."""
        self._counts[what] += 1

    @property
    def notes(self) -> tuple[str, ...]:
        """What the reader assumed so far, in words, with counts last."""
        return (*self._said, *(f"{n} {what}" for what, n in sorted(self._counts.items())))

    def __iter__(self) -> Reading:
        return self

    def __next__(self) -> JobRecord | Rejection:
        return next(self._rows)


class FileFormat:
    """A format whose rows come with their lines: makes a `Reading` of them, each job id once.

    A subclass gives `rows`; it may use `traces.table.TableFormat`, which does so for delimited text.
    """

    name: str
    description: str
    job_id_column: ClassVar[str | None] = "job_id"
    """What the file calls the id of a job; None where it has none."""

    def sniff(self, path: Path, head: bytes) -> bool:
        """True if the first bytes (decompressed) of the file look like this format."""
        raise NotImplementedError

    def rows(self, path: Path, reading: Reading, epoch_ms: int) -> Iterator[Numbered]:
        """Each row once, in file order, with its line; stamps are counted from `epoch_ms`."""
        raise NotImplementedError

    def read(self, path: Path) -> Reading:
        """Each row once, in file order, streaming. Raises `TraceError` while iterating."""
        reading = Reading()
        reading.attach(unique(self.rows(path, reading, 0), self.job_id_column))
        return reading


class StampedFormat(FileFormat):
    """A format with naive stamps: its epoch is the earliest submission of an accepted row.

    A stream cannot know the earliest row of an unsorted file, so the file is read twice.
    """

    zone: ClassVar[str]

    def read(self, path: Path) -> Reading:
        """Each row once, in file order, times counted from the earliest accepted submission."""
        reading = Reading()
        reading.attach(self._from_earliest(path, reading))
        return reading

    def _from_earliest(self, path: Path, reading: Reading) -> Iterator[JobRecord | Rejection]:
        from traces.values import stamp_text

        first_pass = unique(self.rows(path, Reading(), 0), self.job_id_column)
        submits = (row.submit_ms for row in first_pass if isinstance(row, JobRecord))
        epoch_ms = min(submits, default=0)
        reading.note(f"time 0 is {stamp_text(epoch_ms)}, the earliest accepted submission; {self.zone}")
        yield from unique(self.rows(path, reading, epoch_ms), self.job_id_column)


def unique(rows: Iterator[Numbered], column: str | None) -> Iterator[JobRecord | Rejection]:
    """The rows without their lines; a job whose id an earlier row of the file has is rejected."""
    first_line: dict[str, int] = {}
    for line, row in rows:
        if isinstance(row, Rejection):
            yield row
            continue
        first = first_line.setdefault(row.job_id, line)
        if first != line:
            reason = f"must be unique, but line {first} has it already"
            yield Rejection(line, row.job_id, (FieldProblem(column or "job_id", reason),))
            continue
        yield row


def fail(path: Path, line: int, reason: str) -> TraceError:
    """The error that says where the file stops being a trace."""
    return TraceError(f"{path}:{line}: {reason}" if line else f"{path}: {reason}")
