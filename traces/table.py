"""Delimited text with a header: the part that every such format shares.

A format names its columns and converts one row; splitting, headers, comments, the number of fields, unknown
columns and duplicate ids are dealt with here.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, NamedTuple

from traces.job import FieldProblem, JobRecord
from traces.reading import FileFormat, Numbered, Reading, fail
from traces.row import ROW, Row
from traces.textfile import head_lines, numbered_lines
from traces.trace import Rejection


class Header(NamedTuple):
    """The columns of a table, in order, and the line that names them."""

    line: int
    columns: tuple[str, ...]
    trailing: bool
    """True where each line ends with one delimiter too many, as `sacct --parsable` writes it."""


class TableFormat(FileFormat):
    """A header line, then a line a job. Fields may be quoted, but none holds a line break."""

    required: ClassVar[tuple[str, ...]]
    optional: ClassVar[tuple[str, ...]] = ()
    unused: ClassVar[tuple[str, ...]] = ()
    """Columns that the format has and a record has no place for: left out, and said in the notes."""
    kept: ClassVar[tuple[str, ...]] = ()
    """Columns that the format has and that go, as they are, into `extra`."""
    delimiter: ClassVar[str] = ","
    header_mark: ClassVar[str] = ""
    """What stands before the first column's name in the header: `#` in some files."""
    comments: ClassVar[bool] = False
    """True where lines that begin with `#` may stand above the header."""
    trailing_delimiter: ClassVar[bool] = False

    def convert(self, row: Row) -> JobRecord | Rejection | None:
        """The record or the rejection of one row; None for a line that is no job at all (and is noted)."""
        raise NotImplementedError

    def sniff(self, path: Path, head: bytes) -> bool:
        """True if the header has every required column."""
        for line in head_lines(head):
            if self._above_header(line):
                continue
            columns = self._columns(line)
            return columns is not None and set(self.required) <= set(columns.columns)
        return False

    def rows(self, path: Path, reading: Reading, epoch_ms: int) -> Iterator[Numbered]:
        """Each line below the header that is not blank, with its number."""
        lines = numbered_lines(path)
        header = self._header(path, lines)
        self._note_columns(header, reading)
        self.begin(reading, header.columns)
        for line, text in lines:
            if not text or text.isspace():
                continue
            row = self._row(line, text, header, reading, epoch_ms)
            converted = self.convert(row) if isinstance(row, Row) else row
            if converted is not None:
                yield line, converted

    def begin(self, reading: Reading, columns: tuple[str, ...]) -> None:
        """Say what the format assumes, before the first row."""

    def extra_cells(self, row: Row) -> dict[str, str] | None:
        """The cells that go into `JobRecord.extra`: of unknown columns and of `kept` ones, where not empty."""
        names = (*self.kept, *row.reading.unknown_columns)
        return {name: text for name in names if (text := row.cells.get(name))} or None

    def _above_header(self, line: str) -> bool:
        return not line.strip() or (self.comments and line.startswith("#"))

    def _columns(self, line: str) -> Header | None:
        if not line.startswith(self.header_mark):
            return None
        fields = self._split(line.removeprefix(self.header_mark))
        if fields is None:
            return None
        names = [name.strip() for name in fields]
        trailing = self.trailing_delimiter and names[-1] == ""
        return Header(0, tuple(names[:-1] if trailing else names), trailing)

    def _header(self, path: Path, lines: Iterator[tuple[int, str]]) -> Header:
        for line, text in lines:
            if self._above_header(text):
                self.check_comment(path, line, text)
                continue
            header = self._columns(text)
            if header is None:
                raise fail(path, line, f"the header must begin with {self.header_mark!r}, or is quoted wrongly")
            missing = [name for name in self.required if name not in header.columns]
            if missing:
                raise fail(path, line, f"the header lacks {', '.join(missing)} ({self.name} needs them)")
            twice = sorted({name for name in header.columns if header.columns.count(name) > 1})
            if twice:
                raise fail(path, line, f"the header names {', '.join(map(repr, twice))} more than once")
            return header._replace(line=line)
        raise fail(path, 0, "there is no header line")

    def check_comment(self, path: Path, line: int, text: str) -> None:
        """Raise `TraceError` if a comment above the header says that the file cannot be read."""

    def _note_columns(self, header: Header, reading: Reading) -> None:
        known = {*self.required, *self.optional, *self.unused, *self.kept}
        reading.unknown_columns = tuple(name for name in header.columns if name not in known)
        unused = [name for name in header.columns if name in self.unused]
        if unused:
            reading.note(f"columns that a record has no place for are left out: {', '.join(unused)}")

    def _row(self, line: int, text: str, header: Header, reading: Reading, epoch_ms: int) -> Row | Rejection:
        fields = self._split(text)
        if fields is None:
            return Rejection(line, None, (FieldProblem(ROW, "its quotes do not match"),))
        if header.trailing and fields[-1] == "":
            fields.pop()
        if len(fields) != len(header.columns):
            reason = f"must have {len(header.columns)} fields like the header, got {len(fields)}"
            return Rejection(line, self._job_id(fields, header), (FieldProblem(ROW, reason),))
        return Row(line, dict(zip(header.columns, fields, strict=True)), reading, epoch_ms)

    def _job_id(self, fields: list[str], header: Header) -> str | None:
        if self.job_id_column is None:
            return None
        at = header.columns.index(self.job_id_column)
        return (fields[at].strip() or None) if at < len(fields) else None

    def _split(self, line: str) -> list[str] | None:
        if '"' not in line or self.delimiter == "|":
            return line.split(self.delimiter)
        try:
            return next(csv.reader([line], delimiter=self.delimiter, strict=True))
        except csv.Error:
            return None
