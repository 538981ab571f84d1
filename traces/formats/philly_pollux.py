"""Microsoft Philly 2017 as Pollux has it: `timestamp,duration,num_gpus,gpu_time,cluster`, unsorted, no ids.

Source: petuum/adaptdl, OSDI 2021 artifact.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from traces.job import JobRecord
from traces.reading import Numbered, Reading, StampedFormat
from traces.row import Row
from traces.table import TableFormat
from traces.trace import Rejection


class PhillyPolluxFormat(TableFormat, StampedFormat):
    """The id of a job is the number of its row. Equal rows are kept: without ids they may well be two jobs."""

    name = "philly-pollux"
    description = "Philly, Pollux's table: timestamp,duration,num_gpus,gpu_time,cluster"
    zone = "stamps are UTC"
    required = ("timestamp", "duration", "num_gpus")
    optional = ("cluster",)
    unused = ("gpu_time",)
    job_id_column = None

    def rows(self, path: Path, reading: Reading, epoch_ms: int) -> Iterator[Numbered]:
        """Each row, in file order; rows equal to an earlier one are counted in the notes."""
        seen: set[tuple[int, int, int, str | None]] = set()
        for number, (line, row) in enumerate(super().rows(path, reading, epoch_ms), start=1):
            if isinstance(row, Rejection):
                yield line, row._replace(job_id=str(number))
                continue
            alike = (row.submit_ms, row.run_ms, row.gpu_count, row.queue)
            if alike in seen:
                reading.count("rows repeat an earlier row exactly and are kept, as there are no ids")
            seen.add(alike)
            yield line, replace(row, job_id=str(number))

    def begin(self, reading: Reading, columns: tuple[str, ...]) -> None:
        """Say what the source leaves open."""
        reading.note("job ids are row numbers; there are no estimates, users or outcomes")

    def convert(self, row: Row) -> JobRecord | Rejection:
        """The record of one row, its line as a stand-in for its id."""
        return row.record(
            str(row.line),
            submit_ms=row.stamp("timestamp"),
            run_ms=row.seconds("duration"),
            gpu_count=row.integer("num_gpus"),
            queue=row.text("cluster"),
            extra=self.extra_cells(row),
        )


FORMAT = PhillyPolluxFormat()
