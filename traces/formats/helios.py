"""SenseTime Helios 2020, the official `cluster_log.csv`.

Source: S-Lab-System-Group/HeliosData; Hu et al., SC 2021. Times are seconds; stamps are naive China
time, which has no daylight saving.
"""

from __future__ import annotations

from traces.job import JobRecord
from traces.reading import Reading, StampedFormat
from traces.row import Row
from traces.table import TableFormat
from traces.trace import Rejection

STATES = {
    "completed": "completed",
    "cancelled": "cancelled",
    "canceled": "cancelled",
    "failed": "failed",
    "timeout": "timeout",
    "node_fail": "node_fail",
}

_MILLI_PER_CORE = 1000


class HeliosFormat(TableFormat, StampedFormat):
    """`vc` is the queue. The devices are cut into `node_num` equal pods where that is possible."""

    name = "helios"
    description = "Helios, official cluster_log.csv: job_id,user,vc,gpu_num,cpu_num,node_num,state,..."
    zone = "stamps are naive China time"
    required = ("job_id", "gpu_num", "submit_time", "duration")
    optional = ("user", "vc", "cpu_num", "node_num", "state", "start_time")
    unused = ("end_time", "queue")

    def begin(self, reading: Reading, columns: tuple[str, ...]) -> None:
        """Say what the source leaves open."""
        reading.note("jobs with gpu_num 0 are CPU jobs; there are no estimates")

    def convert(self, row: Row) -> JobRecord | Rejection:
        """The record of one row."""
        job_id = row.identity("job_id")
        submit_ms = row.stamp("submit_time")
        gpu_count = row.integer("gpu_num")
        return row.record(
            job_id,
            submit_ms=submit_ms,
            run_ms=row.seconds("duration"),
            gpu_count=gpu_count,
            pods=equal_pods(row, "node_num", gpu_count),
            cpu_milli=(row.integer_or_none("cpu_num") or 0) * _MILLI_PER_CORE,
            user=row.text("user"),
            queue=row.text("vc"),
            outcome=row.outcome("state", STATES),
            recorded_start_ms=row.started(submit_ms, row.stamp_or_none("start_time")),
            extra=self.extra_cells(row),
        )


def equal_pods(row: Row, column: str, gpu_count: int) -> int | None:
    """The number of servers as pods; None (and noted) where the devices cannot be cut into as many equal pods."""
    nodes = row.integer_or_none(column, 1)
    if nodes is not None and gpu_count % nodes:
        row.reading.count(f"jobs whose devices do not divide by {column} have only their total")
        return None
    return nodes


FORMAT = HeliosFormat()
