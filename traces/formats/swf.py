"""The Standard Workload Format of the Parallel Workloads Archive: 18 fields a job, `;` before comments.

Source: Chapin et al., "Benchmarks and Standards for the Evaluation of Parallel Job Schedulers", JSSPP
1999, and the archive's page on the format, version 2.2. Processors are read as devices. Times are seconds
since the start of the log and stay so.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from traces.job import FieldProblem, JobRecord
from traces.reading import FileFormat, Numbered, Reading
from traces.row import ROW, Row
from traces.textfile import head_lines, numbered_lines
from traces.trace import Rejection
from traces.values import BadValueError, decimal, integer

FIELDS = (
    "job_number",
    "submit_time",
    "wait_time",
    "run_time",
    "allocated_processors",
    "average_cpu_time",
    "used_memory",
    "requested_processors",
    "requested_time",
    "requested_memory",
    "status",
    "user_id",
    "group_id",
    "executable",
    "queue",
    "partition",
    "preceding_job",
    "think_time",
)

_OUTCOMES = {"-1": "unknown", "0": "failed", "1": "completed", "5": "cancelled"}
_PARTIAL = ("2", "3", "4")
_COMMENT = ";"
_KIB_PER_MIB = 1024
_MEMORY_KIB_MAX = 10**12


class _Size(NamedTuple):
    processors: int
    memory_mib: int


class SwfFormat(FileFormat):
    """-1 is unknown in every field. A job without a run time or without processors is rejected."""

    name = "swf"
    description = "Standard Workload Format: 18 fields a job; processors are read as devices"
    job_id_column = "job_number"

    def sniff(self, path: Path, head: bytes) -> bool:
        """True if the first line that is no comment has 18 numbers, or there is a `;` comment and no such line."""
        commented = False
        for line in head_lines(head):
            if line.startswith(_COMMENT):
                commented = True
            elif line.strip():
                return _is_job(line) or commented
        return commented

    def rows(self, path: Path, reading: Reading, epoch_ms: int) -> Iterator[Numbered]:
        """Each line that is neither blank nor a comment."""
        reading.note("processors are read as devices; time 0 is the start of the log")
        for line, text in numbered_lines(path):
            if text.startswith(_COMMENT):
                if "UnixStartTime:" in text:
                    reading.note(f"the log says {text.removeprefix(_COMMENT).strip()}")
            elif text and not text.isspace():
                yield line, self._convert(line, text.split(), reading)

    def _convert(self, line: int, fields: list[str], reading: Reading) -> JobRecord | Rejection:
        if len(fields) != len(FIELDS):
            reason = f"must have {len(FIELDS)} fields, got {len(fields)}"
            return Rejection(line, fields[0], (FieldProblem(ROW, reason),))
        row = Row(line, dict(zip(FIELDS, fields, strict=True)), reading)
        job_id = row.identity("job_number")
        submit_ms = row.seconds("submit_time")
        run_ms = row.seconds("run_time") if _known(row, "run_time", "the run time") else 0
        wait_ms = row.seconds("wait_time") if fields[2] != "-1" else None
        size = _size(row)
        return row.record(
            job_id,
            submit_ms=submit_ms,
            run_ms=run_ms,
            gpu_count=size.processors,
            memory_mib=size.memory_mib,
            user=_name(row, "user_id"),
            queue=_name(row, "queue"),
            estimate_ms=_estimate_ms(row),
            outcome=_outcome(row),
            recorded_start_ms=None if wait_ms is None else submit_ms + wait_ms,
        )


def _known(row: Row, column: str, what: str) -> bool:
    if row.cells[column] == "-1":
        row.problem(column, f"{what} is unknown (-1)")
        return False
    return True


def _size(row: Row) -> _Size:
    requested = row.integer("requested_processors", -1)
    allocated = row.integer("allocated_processors", -1)
    processors = requested if requested > 0 else allocated
    if processors <= 0 and not row.problems:
        row.problem("requested_processors", f"is {requested} and allocated is {allocated}: the size is unknown")
    memory_kib = row.integer("requested_memory", -1, _MEMORY_KIB_MAX)
    return _Size(max(processors, 0), -(-max(memory_kib * processors, 0) // _KIB_PER_MIB))


def _estimate_ms(row: Row) -> int | None:
    if row.cells["requested_time"] in ("-1", "0"):
        return None
    return row.seconds("requested_time")


def _outcome(row: Row) -> str:
    status = row.cells["status"]
    if status in _PARTIAL:
        row.problem("status", f"{status} is a part of a checkpointed job, which has a line of its own")
        return "unknown"
    if status not in _OUTCOMES:
        row.problem("status", f"must be -1 or 0 to 5, got {status!r}")
        return "unknown"
    return _OUTCOMES[status]


def _name(row: Row, column: str) -> str | None:
    number = row.integer(column, -1, 2**31 - 1)
    return None if number == -1 else str(number)


def _is_job(line: str) -> bool:
    fields = line.split()
    try:
        integer(fields[0], 0, 10**12)
        for field in fields:
            decimal(field)
    except BadValueError:
        return False
    return len(fields) == len(FIELDS)


FORMAT = SwfFormat()
