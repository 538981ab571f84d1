"""A slice of Helios with the columns of felivalencia3/mini-compute-simulator, under a header of `#` comments.

`submit_time` is in microseconds since the start of the slice (2020-09-01, local time, in the published one).
"""

from __future__ import annotations

from decimal import Decimal

from traces import values
from traces.formats.helios import STATES, equal_pods
from traces.job import TIME_MS_MAX, JobRecord
from traces.reading import Reading
from traces.row import Row
from traces.table import TableFormat
from traces.trace import Rejection

_MS_PER_MICROSECOND = Decimal("0.001")


class HeliosSliceFormat(TableFormat):
    """`tenant` is the queue. `walltime_limit_s` equals the run time, so it is an oracle and no estimate."""

    name = "helios-slice"
    description = "Helios slice (Venus): job_id,user,tenant,class,submit_time,num_chips,...,final_status"
    required = ("job_id", "submit_time", "num_chips", "duration_s")
    optional = ("user", "tenant", "chip_type", "num_nodes", "final_status")
    unused = ("class", "walltime_limit_s")
    comments = True

    def begin(self, reading: Reading, columns: tuple[str, ...]) -> None:
        """Say what the source leaves open."""
        reading.note("time 0 is the start of the slice; submit_time is in microseconds")
        if "walltime_limit_s" in columns:
            reading.note("walltime_limit_s equals the run time: an oracle, so no job has an estimate")

    def convert(self, row: Row) -> JobRecord | Rejection:
        """The record of one row."""
        job_id = row.identity("job_id")
        gpu_count = row.integer("num_chips")
        chip = row.text("chip_type")
        return row.record(
            job_id,
            submit_ms=row.parsed("submit_time", lambda text: _from_microseconds(row, text), 0),
            run_ms=row.seconds("duration_s"),
            gpu_count=gpu_count,
            pods=equal_pods(row, "num_nodes", gpu_count),
            accelerators=(chip,) if chip else (),
            user=row.text("user"),
            queue=row.text("tenant"),
            outcome=row.outcome("final_status", STATES),
            extra=self.extra_cells(row),
        )


def _from_microseconds(row: Row, text: str) -> int:
    ms, rounded = values.scaled(text, _MS_PER_MICROSECOND, 0, TIME_MS_MAX)
    if rounded:
        row.reading.count("submissions in microseconds were rounded to the millisecond, half to even")
    return ms


FORMAT = HeliosSliceFormat()
