"""RFold's form of the Philly and Lingjun jobs: `#job id,arrival time (sec),topology,shape,size,duration (sec)`.

Source: shuoshuc/RFold. The header begins with `#`. `size` is devices; `topology` and
`shape` are wishes of that project.
"""

from __future__ import annotations

from traces.job import JobRecord
from traces.reading import Reading
from traces.row import Row
from traces.table import TableFormat
from traces.trace import Rejection


class RfoldFormat(TableFormat):
    """Arrival and duration in seconds; a duration of 0 is a job that ends in the instant in which it starts."""

    name = "rfold"
    description = "RFold's table of Philly or Lingjun jobs: #job id,arrival time (sec),...,size,duration (sec)"
    required = ("job id", "arrival time (sec)", "size", "duration (sec)")
    unused = ("topology", "shape")
    job_id_column = "job id"
    header_mark = "#"

    def begin(self, reading: Reading, columns: tuple[str, ...]) -> None:
        """Say what the source leaves open."""
        reading.note("time 0 is the table's own; there are no estimates, users, queues or outcomes")

    def convert(self, row: Row) -> JobRecord | Rejection:
        """The record of one row."""
        return row.record(
            row.identity("job id"),
            submit_ms=row.seconds("arrival time (sec)"),
            run_ms=row.seconds("duration (sec)"),
            gpu_count=row.integer("size"),
            extra=self.extra_cells(row),
        )


FORMAT = RfoldFormat()
