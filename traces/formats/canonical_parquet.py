"""Parquet files of the canonical trace, batch by batch, as cells of text for the reader that CSV has too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from traces.reading import fail
from traces.schema import REQUIRED_COLUMNS, SCHEMA_KEY, SCHEMA_VERSION

MAGIC = b"PAR1"
_BATCH_ROWS = 8192


def is_parquet(path: Path) -> bool:
    """True if the file begins like Parquet; False if it does not, or cannot be opened."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def columns_of(path: Path) -> tuple[str, ...]:
    """The names of the columns. Raises `TraceError` if the file is no canonical trace of a known version."""
    return tuple(_opened(path).schema_arrow.names)


def cells_of(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Each row from 1 on, as text by column; null is empty text. Raises `TraceError` if it cannot be read."""
    import pyarrow as pa

    parquet = _opened(path)
    number = 0
    try:
        for batch in parquet.iter_batches(batch_size=_BATCH_ROWS):
            names = batch.schema.names
            columns = [[_text(value) for value in column.to_pylist()] for column in batch.columns]
            for values in zip(*columns, strict=True):
                number += 1
                yield number, dict(zip(names, values, strict=True))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise fail(path, number + 1, f"the Parquet file is corrupt: {_first_line(error)}") from error


def _opened(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        parquet = pq.ParquetFile(path)
        schema = parquet.schema_arrow
    except (pa.ArrowException, OSError, ValueError) as error:
        raise fail(path, 0, f"the Parquet file cannot be read: {_first_line(error)}") from error
    _check(path, schema)
    return parquet


def _check(path: Path, schema: Any) -> None:
    import pyarrow as pa

    names = list(schema.names)
    missing = [name for name in REQUIRED_COLUMNS if name not in names]
    if missing:
        raise fail(path, 0, f"the Parquet file lacks the columns {', '.join(missing)}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise fail(path, 0, f"the Parquet file names {', '.join(map(repr, twice))} more than once")
    nested = [f"{field.name} ({field.type})" for field in schema if pa.types.is_nested(field.type)]
    if nested:
        raise fail(path, 0, f"columns must hold numbers or text, not {', '.join(nested)}")
    version = (schema.metadata or {}).get(SCHEMA_KEY.encode(), SCHEMA_VERSION.encode())
    if version != SCHEMA_VERSION.encode():
        known = f"this reader knows version {SCHEMA_VERSION}"
        raise fail(path, 0, f"unknown schema version {version.decode(errors='replace')!r}: {known}")


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="backslashreplace")
    return repr(value) if isinstance(value, float) else str(value)


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", maxsplit=1)[0]
