"""What reading a trace gives: records, rejections, and the sum that must agree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from traces.job import FieldProblem, JobRecord


class Rejection(NamedTuple):
    """One row of a trace that did not become a record, with everything that is wrong with it."""

    line: int
    """Line in the (decompressed) file, from 1; row from 1 in a file without lines; 0 for the file itself."""
    job_id: str | None
    problems: tuple[FieldProblem, ...]


@dataclass(frozen=True, slots=True)
class Trace:
    """The records of one file, sorted as in the file, with what was rejected and why.

    Invariant: `len(records) + len(rejections) == rows`.
    """

    path: str
    format: str
    sha256: str
    rows: int
    records: list[JobRecord]
    rejections: list[Rejection]
    unknown_columns: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What the reader assumed, in words: epoch, time zone, meaning of a doubtful column."""

    def __post_init__(self) -> None:
        if len(self.records) + len(self.rejections) != self.rows:
            raise AssertionError(
                f"{self.path}: {len(self.records)} accepted + {len(self.rejections)} rejected is not {self.rows} rows"
            )


class TraceError(ValueError):
    """A file cannot be read as a trace at all: missing, truncated, wrong encoding, unknown format."""


class TraceFormat(Protocol):
    """One file format. Registered in `traces/registry.py`; checked by `traces.conformance`."""

    name: str
    description: str

    def sniff(self, path: Path, head: bytes) -> bool:
        """True if the first bytes (decompressed) of the file look like this format."""
        ...

    def read(self, path: Path) -> Iterator[JobRecord | Rejection]:
        """Each row once, in file order, streaming. Raises `TraceError` if the file cannot be read."""
        ...
