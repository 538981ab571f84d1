"""Microsoft Philly 2017, the joined table: `job,submit_utc,arr,size,dur,vc,match`.

Source: the join of the two public conversions (RFold, Pollux) of Jeon et al., USENIX ATC 2019.
"""

from __future__ import annotations

from traces.job import JobRecord
from traces.reading import Reading
from traces.row import Row
from traces.table import TableFormat
from traces.trace import Rejection


class PhillyJoinedFormat(TableFormat):
    """`arr` (submission) and `dur` (run time) are seconds, `size` devices, `vc` the queue where it is known."""

    name = "philly-joined"
    description = "Philly, joined table: job,submit_utc,arr,size,dur,vc,match"
    required = ("job", "arr", "size", "dur")
    optional = ("vc",)
    unused = ("submit_utc", "match")
    job_id_column = "job"

    def begin(self, reading: Reading, columns: tuple[str, ...]) -> None:
        """Say what the source leaves open."""
        reading.note("time 0 is the first job (arr); durations probably include gaps between retries")
        reading.note("there are no estimates, users or outcomes; jobs without a vc have no queue")

    def convert(self, row: Row) -> JobRecord | Rejection:
        """The record of one row."""
        return row.record(
            row.identity("job"),
            submit_ms=row.seconds("arr"),
            run_ms=row.seconds("dur"),
            gpu_count=row.integer("size"),
            queue=row.text("vc"),
            extra=self.extra_cells(row),
        )


FORMAT = PhillyJoinedFormat()
