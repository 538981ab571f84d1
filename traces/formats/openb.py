"""Alibaba's openb pod lists (cluster-trace-gpu-v2023), with times and without.

Source: alibaba/clusterdata and hkust-adsl/kubernetes-scheduler-simulator; Weng et al.,
USENIX ATC 2023. A pod is a job of one pod.
"""

from __future__ import annotations

from typing import NamedTuple

from traces.job import AMOUNT_MAX, DEVICE_MILLI, TIME_MS_MAX, JobRecord
from traces.reading import Reading
from traces.row import Row
from traces.table import TableFormat
from traces.trace import Rejection

TIME_COLUMNS = ("creation_time", "deletion_time", "scheduled_time")


class _Times(NamedTuple):
    submit_ms: int
    run_ms: int
    recorded_start_ms: int | None


class OpenbFormat(TableFormat):
    """A pod runs from scheduled_time (creation_time where it has none) to deletion_time.

    Of a list without times each pod is submitted at 0 and runs 0 ms.
    """

    name = "openb"
    description = "Alibaba openb pods: name,cpu_milli,memory_mib,num_gpu,gpu_milli[,gpu_spec,...,scheduled_time]"
    required = ("name", "cpu_milli", "memory_mib", "num_gpu", "gpu_milli")
    optional = ("gpu_spec", *TIME_COLUMNS)
    kept = ("qos", "pod_phase")
    job_id_column = "name"

    def begin(self, reading: Reading, columns: tuple[str, ...]) -> None:
        """Say what the source leaves open."""
        if "creation_time" in columns:
            reading.note("time 0 is the list's own, unstated; pod_phase is a snapshot, so outcomes are unknown")
            reading.note("pods that ran at the end of the list have its last instant as their deletion: censored")
        else:
            reading.note("the list has no times: every pod is submitted at 0 in the order of the file and runs 0 ms")

    def convert(self, row: Row) -> JobRecord | Rejection:
        """The record of one pod."""
        name = row.identity("name")
        gpu_count, gpu_milli = _devices(row)
        times = _times(row) if "creation_time" in row.cells else _Times(0, 0, None)
        return row.record(
            name,
            submit_ms=times.submit_ms,
            run_ms=times.run_ms,
            recorded_start_ms=times.recorded_start_ms,
            gpu_count=gpu_count,
            gpu_milli=gpu_milli,
            pods=1,
            cpu_milli=row.integer("cpu_milli", 0, AMOUNT_MAX),
            memory_mib=row.integer("memory_mib", 0, AMOUNT_MAX),
            accelerators=_models(row.text("gpu_spec")),
            extra=self.extra_cells(row),
        )


def _devices(row: Row) -> tuple[int, int]:
    gpu_count = row.integer("num_gpu")
    gpu_milli = row.integer("gpu_milli", 0, DEVICE_MILLI)
    if gpu_count == 0:
        if gpu_milli:
            row.problem("gpu_milli", f"must be 0 for a pod without a device, got {gpu_milli}")
        return 0, DEVICE_MILLI
    if gpu_milli == 0 and not row.problems:
        row.problem("gpu_milli", "must be at least 1 for a pod with a device, got 0")
    if gpu_count > 1 and gpu_milli != DEVICE_MILLI:
        row.problem("gpu_milli", f"must be {DEVICE_MILLI} for a pod with {gpu_count} devices, got {gpu_milli}")
    return gpu_count, max(gpu_milli, 1)


def _times(row: Row) -> _Times:
    submit_ms = _ms(row, "creation_time") or 0
    end_ms = _ms(row, "deletion_time") or 0
    scheduled_ms = _ms(row, "scheduled_time", required=False)
    if scheduled_ms is None:
        row.reading.count("pods without a scheduled_time run from their creation to their deletion")
    elif scheduled_ms < submit_ms:
        row.problem("scheduled_time", "must not be before creation_time")
    start_ms = submit_ms if scheduled_ms is None else scheduled_ms
    if end_ms < start_ms and not row.problems:
        row.problem("deletion_time", "must not be before the pod was scheduled or created")
    return _Times(submit_ms, end_ms - start_ms, scheduled_ms)


def _ms(row: Row, column: str, *, required: bool = True) -> int | None:
    seconds_max = TIME_MS_MAX // 1000
    read = row.integer if required else row.integer_or_none
    seconds = read(column, 0, seconds_max)
    return None if seconds is None else seconds * 1000


def _models(spec: str | None) -> tuple[str, ...]:
    """The models of `A|B|A`, each once, in order: some lists repeat one."""
    return tuple(dict.fromkeys(part for part in (spec or "").split("|") if part))


FORMAT = OpenbFormat()
