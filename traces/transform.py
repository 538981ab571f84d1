"""Records to records: window, load, resampling, queues, names, CPUs. Nothing here changes a record in place."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from traces.job import DEVICE_MILLI, JobRecord

DAY_MS = 86_400_000
NAME_HEX_DIGITS = 20
"""80 bits: two of a million names collide with a probability below one in a million million."""


def window(
    records: Iterable[JobRecord],
    start_ms: int = 0,
    end_ms: int | None = None,
    *,
    rebase: bool = True,
) -> list[JobRecord]:
    """The jobs submitted in [start_ms, end_ms); times then count from start_ms, unless `rebase` is False.

    A recorded start moves with its submission. Raises `ValueError` for a window that ends before it starts.
    """
    if end_ms is not None and end_ms < start_ms:
        raise ValueError(f"the window ends at {end_ms} ms, before it starts at {start_ms} ms")
    inside = (job for job in records if job.submit_ms >= start_ms and (end_ms is None or job.submit_ms < end_ms))
    return [_moved(job, -start_ms if rebase else 0) for job in inside]


def scale_load(records: Sequence[JobRecord], factor: Fraction | int | str) -> list[JobRecord]:
    """The same jobs, submitted `factor` times as densely: every interval since the first is divided by it.

    Exact rational arithmetic, rounded down to the ms, so the order never changes. Recorded starts are dropped: they
    belong to the load that was. Raises `ValueError` unless `factor` is positive.
    """
    ratio = Fraction(factor)
    if ratio <= 0:
        raise ValueError(f"the load factor must be positive, got {factor}")
    first_ms = min((job.submit_ms for job in records), default=0)
    top, bottom = ratio.denominator, ratio.numerator
    return [
        replace(job, submit_ms=first_ms + (job.submit_ms - first_ms) * top // bottom, recorded_start_ms=None)
        for job in records
    ]


def resample_days(records: Sequence[JobRecord], days: int, rng: np.random.Generator) -> list[JobRecord]:
    """A trace of `days` whole days, each drawn with replacement from the days of `records` (a block bootstrap).

    Keeps what happens inside a day (bursts, the office hours) and breaks what links days. Ids become `id@day`, so
    that each stays unique. Raises `ValueError` if there is no record, or no day to make.
    """
    if days < 1:
        raise ValueError(f"days must be at least 1, got {days}")
    if not records:
        raise ValueError("there is no day to draw from: the trace is empty")
    by_day: dict[int, list[JobRecord]] = {}
    for job in records:
        by_day.setdefault(job.submit_ms // DAY_MS, []).append(job)
    first, last = min(by_day), max(by_day)
    drawn = rng.integers(first, last + 1, size=days)
    return [
        replace(_moved(job, (day - int(source)) * DAY_MS), job_id=f"{job.job_id}@{day}", recorded_start_ms=None)
        for day, source in enumerate(drawn)
        for job in by_day.get(int(source), ())
    ]


def anonymise(records: Iterable[JobRecord], key: str) -> list[JobRecord]:
    """The same jobs under keyed hashes of job id, user, queue and service.

    Without scheduling and unknown columns, which may name people.

    Equal names stay equal under one key, and no name can be tried out without the key (BLAKE2b). The order of equal
    submissions by id changes with the names. Raises `ValueError` for an empty key.
    """
    if not key:
        raise ValueError("the key must not be empty: without one, names can be found by trying them")
    secret = hashlib.blake2b(key.encode("utf-8", "surrogatepass")).digest()
    return [
        replace(
            job,
            job_id=_hashed(secret, "j", job.job_id),
            user=None if job.user is None else _hashed(secret, "u", job.user),
            queue=None if job.queue is None else _hashed(secret, "q", job.queue),
            service=None if job.service is None else _hashed(secret, "s", job.service),
            scheduling=None,
            extra=None,
        )
        for job in records
    ]


def cpus_as_devices(records: Iterable[JobRecord]) -> list[JobRecord]:
    """The same jobs with each CPU core as one whole device: for logs of clusters without GPUs.

    Cores are rounded up; pods stay where the cores divide by them. Jobs of no core keep no device.
    """
    return [_on_cpus(job) for job in records]


def with_deadlines(
    records: Iterable[JobRecord], factor: Fraction | int | str = 0, plus_ms: int = 0
) -> list[JobRecord]:
    """The same jobs with a deadline of `factor` x run time + `plus_ms` after their submission, rounded down to the ms.

    A job that has a deadline keeps it, and one with a lifetime gets none, as it does not end with its work. The run time is the
    true one, which no user knows: deadlines so made are as tight for every job. Raises `ValueError` for a negative factor or
    amount, and where both are 0.
    """
    ratio = Fraction(factor)
    if ratio < 0 or plus_ms < 0 or not (ratio or plus_ms):
        raise ValueError(f"a deadline must be after the submission, got {factor} x run time + {plus_ms} ms")
    top, bottom = ratio.numerator, ratio.denominator
    return [
        job
        if job.deadline_ms is not None or job.lifetime_ms is not None
        else replace(job, deadline_ms=job.run_ms * top // bottom + plus_ms)
        for job in records
    ]


def select_queues(records: Iterable[JobRecord], queues: Iterable[str]) -> list[JobRecord]:
    """The jobs of these queues."""
    wanted = frozenset(queues)
    return [job for job in records if job.queue in wanted]


def _moved(job: JobRecord, by_ms: int) -> JobRecord:
    if by_ms == 0:
        return job
    start_ms = job.recorded_start_ms
    return replace(
        job,
        submit_ms=job.submit_ms + by_ms,
        recorded_start_ms=None if start_ms is None or start_ms + by_ms < 0 else start_ms + by_ms,
    )


def _hashed(secret: bytes, kind: str, name: str) -> str:
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), key=secret, person=kind.encode())
    return kind + digest.hexdigest()[:NAME_HEX_DIGITS]


def _on_cpus(job: JobRecord) -> JobRecord:
    cores = -(-job.cpu_milli // DEVICE_MILLI)
    pods = job.pods if job.pods and cores % job.pods == 0 else None
    return replace(
        job,
        gpu_count=cores,
        gpu_milli=DEVICE_MILLI,
        pods=pods,
        gpu_memory_mib=None,
        cpu_milli=0,
        accelerators=(),
        scheduling=None,
    )
