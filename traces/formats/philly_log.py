"""Microsoft Philly 2017, the official `cluster_job_log`: a JSON list of jobs with their attempts.

Source: msr-fiddle/philly-traces; Jeon et al., USENIX ATC 2019. Stamps are naive UTC.

The run time is the sum of the attempts: how long the job held its devices. The span from the first start to
the last end also holds the gaps between retries, in which it waited.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from traces import jsonarray, values
from traces.job import FieldProblem, JobRecord
from traces.reading import Numbered, Reading, StampedFormat
from traces.row import ROW, Row
from traces.trace import Rejection

_OUTCOMES = {"pass": "completed", "killed": "cancelled", "failed": "failed"}
_KNOWN = frozenset({"status", "vc", "jobid", "user", "submitted_time", "attempts"})
_ABSENT = (None, "", "None")


class _Ran(NamedTuple):
    start_ms: int | None
    run_ms: int
    servers: tuple[int, ...]
    """Devices on each server."""


class PhillyLogFormat(StampedFormat):
    """`vc` is the queue. Jobs that never started, or had not ended, are rejected with the reason."""

    name = "philly-log"
    description = "Philly, official cluster_job_log: JSON list with status, vc, jobid, attempts, submitted_time, user"
    zone = "stamps are UTC"
    job_id_column = "jobid"

    def sniff(self, path: Path, head: bytes) -> bool:
        """True if the file is a JSON array whose first element names attempts or a jobid."""
        return head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[") and (b'"attempts"' in head or b'"jobid"' in head)

    def rows(self, path: Path, reading: Reading, epoch_ms: int) -> Iterator[Numbered]:
        """Each element of the list, with the line on which it begins."""
        reading.note("the run time is the sum of the attempts, without the gaps between them")
        reading.note("there are no estimates; a job's devices are those of its largest attempt")
        for line, element in jsonarray.elements(path):
            yield line, _converted(line, element, reading, epoch_ms)


def _converted(line: int, element: Any, reading: Reading, epoch_ms: int) -> JobRecord | Rejection:
    if not isinstance(element, dict):
        return Rejection(line, None, (FieldProblem(ROW, "must be a JSON object"),))
    row = Row(line, {key: _text(value) for key, value in element.items()}, reading, epoch_ms)
    job_id = row.identity("jobid")
    submit_ms = row.stamp("submitted_time")
    ran = _ran(row, element.get("attempts"))
    equal = len(set(ran.servers)) == 1
    return row.record(
        job_id,
        submit_ms=submit_ms,
        run_ms=ran.run_ms,
        gpu_count=sum(ran.servers),
        pods=len(ran.servers) if equal else None,
        user=row.text("user"),
        queue=row.text("vc"),
        outcome=row.outcome("status", _OUTCOMES),
        recorded_start_ms=row.started(submit_ms, ran.start_ms),
        extra=_unknown(row),
    )


def _unknown(row: Row) -> dict[str, str] | None:
    """The keys that the log is not known to have, as text; the reading reports them."""
    unknown = {key: text for key, text in row.cells.items() if key not in _KNOWN and text}
    if unknown:
        row.reading.unknown_columns = tuple(dict.fromkeys((*row.reading.unknown_columns, *unknown)))
    return unknown or None


def _ran(row: Row, attempts: Any) -> _Ran:
    nothing = _Ran(None, 0, ())
    if not isinstance(attempts, list):
        row.problem("attempts", "must be a list")
        return nothing
    if not attempts:
        row.problem("attempts", "is empty: the job never started")
        return nothing
    found = [_attempt(row, f"attempts[{index}]", attempt) for index, attempt in enumerate(attempts)]
    servers = max((attempt.servers for attempt in found), key=sum)
    if not sum(servers) and not row.problems:
        row.problem("attempts", "no attempt names a device")
    if any(sum(attempt.servers) != sum(servers) for attempt in found):
        row.reading.count("jobs whose attempts differ in size have the size of the largest")
    starts = [attempt.start_ms for attempt in found if attempt.start_ms is not None]
    return _Ran(min(starts, default=None), sum(attempt.run_ms for attempt in found), servers)


def _attempt(row: Row, name: str, attempt: Any) -> _Ran:
    if not isinstance(attempt, dict):
        row.problem(name, "must be a JSON object")
        return _Ran(None, 0, ())
    start_ms = _stamp(row, f"{name}.start_time", attempt.get("start_time"), "the attempt never started")
    end_ms = _stamp(row, f"{name}.end_time", attempt.get("end_time"), "the attempt had not ended")
    servers = _servers(row, f"{name}.detail", attempt.get("detail"))
    if start_ms is None or end_ms is None:
        return _Ran(start_ms, 0, servers)
    if end_ms < start_ms:
        row.problem(f"{name}.end_time", "must not be before start_time")
    return _Ran(start_ms - row.epoch_ms, max(end_ms - start_ms, 0), servers)


def _stamp(row: Row, field: str, value: Any, absent: str) -> int | None:
    if value in _ABSENT:
        row.problem(field, f"is null: {absent}")
        return None
    try:
        return values.stamp_ms(_text(value))
    except values.BadValueError as error:
        row.problem(field, str(error))
        return None


def _servers(row: Row, field: str, detail: Any) -> tuple[int, ...]:
    if not isinstance(detail, list):
        row.problem(field, "must be a list of servers")
        return ()
    counts = []
    for index, server in enumerate(detail):
        names = server.get("gpus") if isinstance(server, dict) else None
        if not isinstance(names, list):
            row.problem(f"{field}[{index}].gpus", "must be a list of names")
        elif names:
            counts.append(len(names))
    return tuple(counts)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "" if value is None else str(value)


FORMAT = PhillyLogFormat()
