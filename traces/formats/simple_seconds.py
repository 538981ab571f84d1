"""The least a table can hold, in seconds: `job_id,submit_s,gpus,duration`."""

from __future__ import annotations

from traces.formats.canonical import devices
from traces.job import DEVICE_MILLI, JobRecord
from traces.reading import Reading
from traces.row import Row
from traces.table import TableFormat
from traces.trace import Rejection


class SimpleSecondsFormat(TableFormat):
    """`gpus` as in the canonical trace: an integer, or one share below 1."""

    name = "simple-seconds"
    description = "four columns in seconds: job_id,submit_s,gpus,duration"
    required = ("job_id", "submit_s", "gpus", "duration")

    def begin(self, reading: Reading, columns: tuple[str, ...]) -> None:
        """Say what the table leaves open."""
        reading.note("time 0 is the table's own (submit_s is taken as it stands)")

    def convert(self, row: Row) -> JobRecord | Rejection:
        """The record of one row."""
        job_id = row.identity("job_id")
        gpu_count, gpu_milli = row.parsed("gpus", lambda text: devices(text, None), (0, DEVICE_MILLI))
        return row.record(
            job_id,
            submit_ms=row.seconds("submit_s"),
            run_ms=row.seconds("duration"),
            gpu_count=gpu_count,
            gpu_milli=gpu_milli,
            extra=self.extra_cells(row),
        )


FORMAT = SimpleSecondsFormat()
