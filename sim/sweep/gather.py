"""All results of a sweep as one file, in the order of its cells: the same bytes however they were made."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from sim.sweep.cells import CELLS
from sim.sweep.grid import Cell
from traces.whole_file import whole_file

RESULTS: Final = "results.parquet"

AT_ONCE: Final = 500
"""Cells that are in memory together, and in one row group."""

MARK: Final = b"rehearse_sweep"
"""Key of the file's metadata that says which cells it holds."""


def gather(cells: Sequence[Cell], out: Path) -> None:
    """Write the results of those cells that have one, unless they stand there already. Raises OSError."""
    if not cells:
        return
    mark = _mark(cells)
    path = out / RESULTS
    if path.exists() and (pq.read_schema(path).metadata or {}).get(MARK) == mark:
        return
    varied = _varied(cells)
    with whole_file(path) as made:
        _write(cells, varied, mark, out / CELLS, made)


def _write(cells: Sequence[Cell], varied: dict[str, Any], mark: bytes, folder: Path, made: Path) -> None:
    writer: Any = None
    try:
        for first in range(0, len(cells), AT_ONCE):
            table = _part(cells[first : first + AT_ONCE], varied, first, folder)
            if writer is None:
                schema = table.schema.with_metadata({MARK: mark})
                writer = pq.ParquetWriter(made, schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _part(cells: Sequence[Cell], varied: dict[str, Any], first: int, folder: Path) -> Any:
    """The rows of some cells, with the numbers and the columns that they have in this sweep."""
    tables = [_read(folder / f"{cell.key}.parquet") for cell in cells]
    table = pa.concat_tables(tables).drop_columns(["varied"])
    place = [row for row, each in enumerate(tables) for _ in range(each.num_rows)]
    numbers = pa.array([cells[row].number for row in place], pa.int64())
    table = table.set_column(table.schema.get_field_index("cell"), "cell", numbers)
    rows = pa.array([first + row for row in place], pa.int64())
    for name, column in varied.items():
        table = table.append_column(name, column.take(rows))
    return table


def _read(path: Path) -> Any:
    # because: without threads a small file is read three times as fast
    with pq.ParquetFile(path) as file:
        return file.read(use_threads=False)


def _mark(cells: Sequence[Cell]) -> bytes:
    text = json.dumps([[cell.number, cell.key, cell.varied] for cell in cells], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest().encode()


def _varied(cells: Sequence[Cell]) -> dict[str, Any]:
    """`varied.<key>` -> what each cell has of its own; null where a cell leaves it as it is."""
    keys = sorted({key for cell in cells for key in cell.varied})
    return {f"varied.{key}": _column([cell.varied.get(key) for cell in cells]) for key in keys}


def _column(values: list[Any]) -> Any:
    """Numbers stay numbers; anything mixed becomes text."""
    kinds = {type(value) for value in values if value is not None}
    if len(kinds) <= 1 and kinds <= {int, float, str, bool}:
        return pa.array(values, None if kinds else pa.string())
    if kinds == {int, float}:
        return pa.array([None if value is None else float(value) for value in values])
    return pa.array([None if value is None else json.dumps(value, sort_keys=True, default=str) for value in values])
