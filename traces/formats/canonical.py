"""The canonical trace: CSV or Parquet with one column for each field of `JobRecord`.

`docs/reference/canonical-trace.md` is the contract. `traces.write` writes what is read here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

from traces import values
from traces.formats import canonical_parquet
from traces.job import COUNT_MAX, DEVICE_MILLI, TIME_MS_MAX, FieldProblem, JobRecord
from traces.reading import Numbered, Reading, fail
from traces.row import Row
from traces.schema import OPTIONAL_COLUMNS, REQUIRED_COLUMNS, SCHEMA_VERSION
from traces.table import TableFormat
from traces.trace import Rejection

OUTCOME_WORDS = {
    "completed": "completed",
    "failed": "failed",
    "cancelled": "cancelled",
    "canceled": "cancelled",
    "timeout": "timeout",
    "node_fail": "node_fail",
    "unknown": "unknown",
}

_VERSION_LINE = re.compile(r"#\s*rehearse-trace\b(.*)")


class CanonicalFormat(TableFormat):
    """Integer milliseconds, milli-devices and MiB; text is taken as it stands, blanks included."""

    name = "canonical"
    description = "this project's own columns (job_id, submit_ms, run_ms, gpus, ...), CSV or Parquet"
    required = REQUIRED_COLUMNS
    optional = OPTIONAL_COLUMNS
    comments = True

    def sniff(self, path: Path, head: bytes) -> bool:
        """True for Parquet, and for a header with the required columns."""
        return head.startswith(canonical_parquet.MAGIC) or super().sniff(path, head)

    def rows(self, path: Path, reading: Reading, epoch_ms: int) -> Iterator[Numbered]:
        """Each row with its line in a CSV, or its number from 1 in a Parquet file."""
        if not canonical_parquet.is_parquet(path):
            yield from super().rows(path, reading, epoch_ms)
            return
        columns = canonical_parquet.columns_of(path)
        reading.unknown_columns = tuple(name for name in columns if name not in (*self.required, *self.optional))
        for number, cells in canonical_parquet.cells_of(path):
            yield number, self.convert(Row(number, cells, reading))

    def check_comment(self, path: Path, line: int, text: str) -> None:
        """Refuse a schema version that this reader does not know; other comments say nothing."""
        match = _VERSION_LINE.match(text)
        if match and match[1].strip() != SCHEMA_VERSION:
            known = f"this reader knows version {SCHEMA_VERSION}"
            raise fail(path, line, f"unknown schema version {match[1].strip()!r}: {known}")

    def convert(self, row: Row) -> JobRecord | Rejection:
        """The record of one row."""
        job_id = _exact(row, "job_id")
        row.job_id = job_id
        if job_id is None or not job_id.strip():
            row.problem("job_id", "must not be empty")
        gpu_count, gpu_milli = _devices(row)
        return row.record(
            job_id or "",
            submit_ms=row.integer("submit_ms", 0, TIME_MS_MAX),
            run_ms=row.integer("run_ms", 0, TIME_MS_MAX),
            gpu_count=gpu_count,
            gpu_milli=gpu_milli,
            extra=self.extra_cells(row),
            **_optional_fields(row),
        )


def _optional_fields(row: Row) -> dict[str, Any]:
    cells = row.cells
    fields: dict[str, Any] = {
        name: _exact(row, name) for name in ("user", "queue", "family", "service", "scheduling")
    }
    fields["pods"] = row.integer_or_none("pods", 1, COUNT_MAX)
    fields["gpu_memory_mib"] = row.integer_or_none("gpu_memory_mib")
    fields["cpu_milli"] = row.integer_or_none("cpu_milli") or 0
    fields["memory_mib"] = row.integer_or_none("memory_mib") or 0
    fields["priority"] = row.integer_or_none("priority", -(2**31), 2**31 - 1) or 0
    fields["estimate_ms"] = row.integer_or_none("estimate_ms", 0, TIME_MS_MAX)
    fields["deadline_ms"] = row.integer_or_none("deadline_ms", 0, TIME_MS_MAX)
    fields["lifetime_ms"] = row.integer_or_none("lifetime_ms", 1, TIME_MS_MAX)
    fields["recorded_start_ms"] = row.integer_or_none("recorded_start_ms", 0, TIME_MS_MAX)
    fields["accelerators"] = _accelerators(row)
    word = cells.get("outcome", "").strip().lower()
    fields["outcome"] = OUTCOME_WORDS.get(word, word) if word else "unknown"
    return fields


def _exact(row: Row, column: str) -> str | None:
    return row.cells.get(column) or None


def _accelerators(row: Row) -> tuple[str, ...]:
    text = row.cells.get("accelerators", "")
    if not text:
        return ()
    models = tuple(text.split("|"))
    if not all(model.strip() for model in models):
        row.problems.append(FieldProblem("accelerators", f"names no model between two |: {values.shown(text)}"))
    return models


def _devices(row: Row) -> tuple[int, int]:
    """Count and share of the devices: an integer `gpus` counts them, a fraction is the total demand."""
    share = row.integer_or_none("gpu_milli", 1, DEVICE_MILLI)
    count = values.plain_integer(row.cells["gpus"])
    if count is not None and count <= COUNT_MAX:
        return count, share or DEVICE_MILLI
    return row.parsed("gpus", lambda text: devices(text, share), (0, DEVICE_MILLI))


def devices(text: str, share_milli: int | None) -> tuple[int, int]:
    """Devices and milli-devices of each. Raises `BadValueError` where `text` names no whole number of them."""
    amount = values.decimal(text)
    values.scaled(text, Decimal(1), 0, COUNT_MAX)
    if amount == amount.to_integral_value():
        return int(amount), share_milli or DEVICE_MILLI
    milli = values.scaled(text, Decimal(DEVICE_MILLI), 0, COUNT_MAX * DEVICE_MILLI)
    if milli.rounded:
        raise values.BadValueError(f"must be exact in thousandths of a device, got {values.shown(text)}")
    if share_milli is None:
        if milli.value >= DEVICE_MILLI:
            raise values.BadValueError(f"above 1 must be an integer unless gpu_milli is given, got {text}")
        return 1, milli.value
    count, remainder = divmod(milli.value, share_milli)
    if remainder:
        raise values.BadValueError(f"must be a multiple of gpu_milli {share_milli}, got {values.shown(text)}")
    return count, share_milli


FORMAT = CanonicalFormat()
