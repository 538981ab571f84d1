"""Canonical traces to disk, CSV or Parquet, such that reading them gives the same records again.

What CSV cannot say is refused, not bent: line breaks, NUL, and empty text, which would come back as absent.
"""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from traces.job import JobRecord
from traces.schema import COLUMNS, SCHEMA_KEY, SCHEMA_VERSION, TEXT_COLUMNS
from traces.trace import TraceError
from traces.whole_file import whole_file

_UNSAFE_IN_CSV = ("\n", "\r", "\0")
_PARQUET_ROWS = 65_536


def write_trace(records: Sequence[JobRecord], path: Path, *, version_line: bool = False) -> None:
    """Write a canonical trace: Parquet for `.parquet`, CSV for `.csv` and `.csv.gz`.

    The file appears whole or not at all, and is the same bytes for the same records. `version_line` puts
    `# rehearse-trace 1` above a CSV's header, which other programs may not expect. Raises `TraceError` for
    another ending, a record that the form cannot hold, or a disk that refuses.
    """
    path = Path(path)
    if path.name.endswith(".parquet"):
        _atomically(path, lambda stream: _write_parquet(records, path, stream))
    elif path.name.endswith((".csv", ".csv.gz")):
        compressed = path.name.endswith(".gz")
        _atomically(path, lambda stream: _write_csv(records, path, stream, version_line, compressed))
    else:
        raise TraceError(f"{path}: must end in .csv, .csv.gz or .parquet")


def extra_columns(records: Sequence[JobRecord], path: Path) -> tuple[str, ...]:
    """The names of all extra columns, sorted. Raises `TraceError` if one cannot be a column of the file."""
    names = tuple(sorted({name for record in records if record.extra for name in record.extra}))
    for name in names:
        if name in COLUMNS:
            raise TraceError(f"{path}: the extra column {name!r} has the name of a column of the schema")
        if not name or name != name.strip() or any(char in name for char in _UNSAFE_IN_CSV):
            raise TraceError(f"{path}: {name!r} cannot be the name of a column")
    return names


def _cells(record: JobRecord, names: tuple[str, ...]) -> dict[str, Any]:
    """The row of one record: integers, text, or None for what is absent."""
    cells: dict[str, Any] = {
        "job_id": record.job_id,
        "submit_ms": record.submit_ms,
        "run_ms": record.run_ms,
        "gpus": record.gpu_count,
        "pods": record.pods,
        "gpu_milli": record.gpu_milli,
        "gpu_memory_mib": record.gpu_memory_mib,
        "cpu_milli": record.cpu_milli,
        "memory_mib": record.memory_mib,
        "accelerators": "|".join(record.accelerators) if record.accelerators else None,
        "user": record.user,
        "queue": record.queue,
        "priority": record.priority,
        "estimate_ms": record.estimate_ms,
        "deadline_ms": record.deadline_ms,
        "lifetime_ms": record.lifetime_ms,
        "outcome": record.outcome,
        "recorded_start_ms": record.recorded_start_ms,
        "family": record.family,
        "service": record.service,
        "scheduling": record.scheduling,
    }
    if names:
        extra = record.extra or {}
        cells |= {name: extra.get(name) for name in names}
    return cells


def _checked(record: JobRecord, cells: dict[str, Any], path: Path, unsafe: tuple[str, ...]) -> dict[str, Any]:
    for model in record.accelerators:
        if "|" in model or not model.strip():
            raise _refusal(path, record, "accelerators", f"{model!r} cannot be joined by |")
    for name, value in cells.items():
        if isinstance(value, str):
            if not value:
                raise _refusal(path, record, name, "empty text would be read as absent; use None")
            if any(char in value for char in unsafe):
                raise _refusal(path, record, name, "a line break or NUL cannot be in a CSV; write Parquet")
    return cells


def _refusal(path: Path, record: JobRecord, column: str, reason: str) -> TraceError:
    return TraceError(f"{path}: job {record.job_id!r}: {column}: {reason}")


def _write_csv(
    records: Sequence[JobRecord], path: Path, stream: BinaryIO, version_line: bool, compressed: bool
) -> None:
    names = extra_columns(records, path)
    # because: no name and no time in the gzip header, so that the same records are the same bytes
    raw = gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0) if compressed else None
    text = io.TextIOWrapper(raw or stream, encoding="utf-8", newline="", write_through=False)
    if version_line:
        text.write(f"# {SCHEMA_KEY} {SCHEMA_VERSION}\n")
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_MINIMAL)
    writer.writerow((*COLUMNS, *names))
    for record in records:
        writer.writerow(_checked(record, _cells(record, names), path, _UNSAFE_IN_CSV).values())
    text.flush()
    text.detach()
    if raw is not None:
        raw.close()


def _write_parquet(records: Sequence[JobRecord], path: Path, stream: BinaryIO) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    names = extra_columns(records, path)
    kinds = [(name, pa.string() if name in TEXT_COLUMNS else pa.int64()) for name in COLUMNS]
    schema = pa.schema([*kinds, *((name, pa.string()) for name in names)])
    schema = schema.with_metadata({SCHEMA_KEY: SCHEMA_VERSION})
    with pq.ParquetWriter(stream, schema) as writer:
        for batch in _batches(records):
            rows = [_checked(record, _cells(record, names), path, ()) for record in batch]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))


def _batches(records: Sequence[JobRecord]) -> Iterator[Sequence[JobRecord]]:
    for start in range(0, len(records), _PARQUET_ROWS):
        yield records[start : start + _PARQUET_ROWS]


def _atomically(path: Path, write: Callable[[BinaryIO], None]) -> None:
    """Write beside the place and rename, so that no reader ever sees half a trace."""
    try:
        with whole_file(path) as made, made.open("wb") as stream:
            write(stream)
    except (OSError, UnicodeEncodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise TraceError(f"{path}: cannot be written: {reason}") from error
