"""One row being read: it hands out parsed fields, and collects everything that is wrong with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, TypeVar

from traces import values
from traces.job import AMOUNT_MAX, COUNT_MAX, TIME_MS_MAX, FieldProblem, InvalidJobError, JobRecord
from traces.reading import Reading
from traces.trace import Rejection
from traces.values import BadValueError

MS_PER_SECOND = Decimal(1000)
ROW = "row"
"""The field that a problem names when it is the row as a whole that is wrong."""

_T = TypeVar("_T")


class Row:
    """The cells of one row by column name. A getter that fails notes the problem and returns a harmless value.

    So a converter reads all its fields first and calls `record` last, which gives a record, or a rejection
    with every problem of the row. `epoch_ms` is what stamps are counted from (ms since 1970).
    """

    __slots__ = ("cells", "epoch_ms", "job_id", "line", "problems", "reading")

    def __init__(self, line: int, cells: Mapping[str, str], reading: Reading, epoch_ms: int = 0) -> None:
        self.line = line
        self.cells = cells
        self.reading = reading
        self.epoch_ms = epoch_ms
        self.job_id: str | None = None
        self.problems: list[FieldProblem] = []

    def problem(self, column: str, reason: str) -> None:
        """Note that the field of `column` is wrong, because of `reason`."""
        self.problems.append(FieldProblem(column, reason))

    def text(self, column: str) -> str | None:
        """The cell without surrounding blanks; None where it is empty, or the file has no such column."""
        return self.cells.get(column, "").strip() or None

    def required_text(self, column: str) -> str:
        """The cell without surrounding blanks; a problem where it is empty."""
        return self._required(column, str.strip, "")

    def identity(self, column: str) -> str:
        """The required text that names the job, also in a rejection."""
        self.job_id = self.text(column)
        return self.required_text(column)

    def integer(self, column: str, low: int = 0, high: int = COUNT_MAX) -> int:
        """A required integer from `low` to `high`."""
        value = values.plain_integer(self.cells.get(column, ""))
        if value is not None and low <= value <= high:  # because: nearly every cell is, and a trace has millions
            return value
        return self._required(column, lambda text: values.integer(text, low, high), low)

    def integer_or_none(self, column: str, low: int = 0, high: int = AMOUNT_MAX) -> int | None:
        """An integer from `low` to `high`; None where the cell is empty."""
        text = self.cells.get(column, "")
        if not text:
            return None
        value = values.plain_integer(text)
        if value is not None and low <= value <= high:
            return value
        return self._optional(column, lambda text: values.integer(text, low, high))

    def seconds(self, column: str) -> int:
        """A required time in seconds, as ms."""
        return self._required(column, self._ms, 0)

    def stamp(self, column: str) -> int:
        """A required naive stamp, as ms since the epoch of the file."""
        return self._required(column, self._since_epoch, 0)

    def stamp_or_none(self, column: str) -> int | None:
        """A naive stamp, as ms since the epoch of the file; None where the cell is empty."""
        return self._optional(column, self._since_epoch)

    def parsed(self, column: str, parse: Callable[[str], _T], default: _T) -> _T:
        """What `parse` makes of a required cell; `default` where it raises `BadValueError`."""
        return self._required(column, parse, default)

    def outcome(self, column: str, words: Mapping[str, str]) -> str:
        """The cell's word, in lower case, by the table `words`; an unlisted word is `unknown`, and noted."""
        word = self.text(column)
        if word is None:
            return "unknown"
        outcome = words.get(word.lower())
        if outcome is None:
            self.reading.count(f"rows whose {column} {values.shown(word)} has no counterpart are `unknown`")
            return "unknown"
        return outcome

    def started(self, submit_ms: int, start_ms: int | None) -> int | None:
        """The recorded start, or None (and noted) where it lies before the submission."""
        if start_ms is not None and start_ms < submit_ms:
            self.reading.count("recorded starts before the submission are left out")
            return None
        return start_ms

    def record(self, job_id: str, **fields: Any) -> JobRecord | Rejection:
        """The record of these fields, or the rejection with every problem found here and by `JobRecord`."""
        if self.problems:
            return self.reject()
        try:
            return JobRecord(job_id=job_id, **fields)
        except InvalidJobError as error:
            self.problems.extend(error.problems)
        return self.reject()

    def reject(self) -> Rejection:
        """The rejection of this row with the problems so far."""
        return Rejection(self.line, self.job_id, tuple(self.problems))

    def _required(self, column: str, parse: Callable[[str], _T], default: _T) -> _T:
        text = self.cells.get(column, "")
        if not text or text.isspace():
            self.problem(column, "must not be empty")
            return default
        return self._parsed(column, text, parse, default)

    def _optional(self, column: str, parse: Callable[[str], _T]) -> _T | None:
        text = self.cells.get(column, "")
        if not text or text.isspace():
            return None
        return self._parsed(column, text, parse, None)

    def _parsed(self, column: str, text: str, parse: Callable[[str], _T], default: _T) -> _T:
        try:
            return parse(text)
        except BadValueError as error:
            self.problem(column, str(error))
            return default

    def _ms(self, text: str) -> int:
        ms, rounded = values.scaled(text, MS_PER_SECOND, 0, TIME_MS_MAX)
        if rounded:
            self.reading.count("times in seconds were rounded to the millisecond, half to even")
        return ms

    def _since_epoch(self, text: str) -> int:
        ms = values.stamp_ms(text) - self.epoch_ms
        if ms > TIME_MS_MAX:
            raise BadValueError(f"must be at most {TIME_MS_MAX} ms after the epoch, got {values.shown(text)}")
        return ms
