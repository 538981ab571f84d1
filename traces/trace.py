"""What reading a trace gives: records, rejections, and the sum that must agree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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

    Invariant: `len(records) - made + len(rejections) == rows`.
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
    made: int = 0
    """Records at the end that no row of the file gave, such as replicas of services."""

    def __post_init__(self) -> None:
        if self.accepted + len(self.rejections) != self.rows:
            raise AssertionError(
                f"{self.path}: {self.accepted} accepted + {len(self.rejections)} rejected is not {self.rows} rows"
            )

    @property
    def accepted(self) -> int:
        """Rows of the file that are records."""
        return len(self.records) - self.made

    @property
    def own(self) -> Trace:
        """The trace with the records of its file alone."""
        return replace(self, records=self.records[: self.accepted], made=0) if self.made else self

    def with_made(self, records: Sequence[JobRecord]) -> Trace:
        """The trace with its own records and these behind them, instead of any that were made before."""
        own = self.own
        return replace(own, records=[*own.records, *records], made=len(records)) if records else own

    def with_own(self, records: list[JobRecord]) -> Trace:
        """The trace with other records of its own, none rejected, and none made."""
        return replace(self, records=records, rows=len(records), rejections=[], made=0)


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
