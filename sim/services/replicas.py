"""From a service to the jobs that are its replicas: as many at each time as its rate of requests wants.

A replica that is wanted again after a while without it is another job: its model is loaded anew.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from sim.services.service import Service, Steps
from traces.job import JobRecord

US_PER_S: Final = 1_000_000


def wanted(service: Service) -> Steps:
    """How many replicas are wanted, as long as the service lasts; only the times at which that changes."""
    busy = service.rate.value * service.service_us / US_PER_S
    counts = np.array([service.replicas.wanted(each, service.slots) for each in busy.tolist()], dtype=np.int64)
    changes = np.append([True], np.diff(counts) != 0)
    return Steps(service.rate.at_ms[changes], counts[changes].astype(np.float64))


def replicas_of(service: Service) -> list[JobRecord]:
    """One job for each longest time in which replica k is wanted, those of k = 1 first, each k in order of time.

    Replica k is wanted while at least k are. Its jobs are `name/k`, `name/k.2`, `name/k.3` and so on.
    """
    return [
        _replica(service, f"{service.name}/{k}" if number == 1 else f"{service.name}/{k}.{number}", begin_ms, end_ms)
        for k, intervals in enumerate(_intervals(service), start=1)
        for number, (begin_ms, end_ms) in enumerate(intervals, start=1)
    ]


def jobs_of(counts: Steps) -> int:
    """How many jobs the replicas of such a `wanted` are."""
    return int(np.maximum(np.diff(counts.value, prepend=0.0), 0).sum())


def _intervals(service: Service) -> Iterator[Sequence[tuple[int, int]]]:
    """For k = 1, 2, ...: the times from when to when at least k are wanted, as long as there are any."""
    steps = wanted(service)
    counts = steps.value.astype(np.int64).tolist()
    found: list[list[tuple[int, int]]] = [[] for _ in range(max(counts))]
    open_since: list[int] = []
    for at_ms, count in zip([*steps.at_ms.tolist(), service.end_ms], [*counts, 0], strict=True):
        while len(open_since) > count:
            k = len(open_since) - 1
            found[k].append((open_since.pop(), at_ms))
        open_since += [at_ms] * (count - len(open_since))
    yield from found


def _replica(service: Service, job_id: str, begin_ms: int, end_ms: int) -> JobRecord:
    return JobRecord(
        job_id=job_id,
        submit_ms=begin_ms,
        run_ms=end_ms - begin_ms,
        lifetime_ms=end_ms - begin_ms,
        gpu_count=service.gpu_count,
        gpu_milli=service.gpu_milli,
        pods=service.pods,
        gpu_memory_mib=service.gpu_memory_mib,
        cpu_milli=service.cpu_milli,
        memory_mib=service.memory_mib,
        accelerators=service.accelerators,
        user=service.user,
        queue=service.queue,
        priority=service.priority,
        outcome="completed",
        family=service.family,
        service=service.name,
    )
