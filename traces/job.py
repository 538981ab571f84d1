"""JobRecord: what truly happened to one job, its run time included. It validates itself.

A record is the truth of a trace. Schedulers never see it: the simulator derives from it what a
scheduler may know. All quantities are integers in the unit that ends their name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

DEVICE_MILLI = 1000
"""One whole device, in milli-devices."""

TIME_MS_MAX = 10**14
"""About 3,170 years: sums of a trace's times stay inside 64-bit integers."""

COUNT_MAX = 10**7
"""Upper bound of devices and pods of one job."""

AMOUNT_MAX = 10**12
"""Upper bound of milli-cores and MiB of one job."""

OUTCOMES = ("completed", "failed", "cancelled", "timeout", "node_fail", "unknown")
"""How the recorded job ended. Every format maps its own words to this closed list."""


class FieldProblem(NamedTuple):
    """One thing that is wrong with one field of one record."""

    field: str
    reason: str


class InvalidJobError(ValueError):
    """A record breaks the rules of `JobRecord`. `problems` lists all of them."""

    def __init__(self, job_id: object, problems: list[FieldProblem]) -> None:
        self.job_id = job_id
        self.problems = problems
        super().__init__(f"job {job_id!r}: " + "; ".join(f"{p.field}: {p.reason}" for p in problems))


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """One job of a trace, as it truly ran.

    `gpu_count` devices of which it takes `gpu_milli` thousandths each; 0 devices is a CPU job. `pods` is
    the number of equal pods that the devices are cut into, or None where only the total is known.
    `cpu_milli` and `memory_mib` are of the whole job, `gpu_memory_mib` is the least memory that each of its
    devices must have. An empty `accelerators` allows every model. `deadline_ms` and `lifetime_ms` count from the submission,
    so that they stay with a job that is moved.

    Raises `InvalidJobError` with every problem at once.
    """

    job_id: str
    submit_ms: int
    run_ms: int
    gpu_count: int
    gpu_milli: int = DEVICE_MILLI
    pods: int | None = None
    gpu_memory_mib: int | None = None
    cpu_milli: int = 0
    memory_mib: int = 0
    accelerators: tuple[str, ...] = ()
    user: str | None = None
    queue: str | None = None
    priority: int = 0
    estimate_ms: int | None = None
    deadline_ms: int | None = None
    """The longest completion time with which it is in time."""
    lifetime_ms: int | None = None
    """When it is taken away, whatever it does by then: for what runs until it is not wanted, such as a replica of a service."""
    outcome: str = "unknown"
    recorded_start_ms: int | None = None
    family: str | None = None
    service: str | None = None
    """The inference service of which it is a replica."""
    scheduling: str | None = None
    """What Kubernetes knows of each pod beyond the rest: a Pod object with what scheduling reads, as JSON."""
    extra: Mapping[str, str] | None = field(default=None, compare=True)
    """Columns of the file that this schema does not know, kept as text."""

    def __post_init__(self) -> None:
        problems = list(_problems(self))
        if problems:
            raise InvalidJobError(self.job_id, problems)

    @property
    def demand_milli(self) -> int:
        """What the job takes of the fleet, in milli-devices."""
        return self.gpu_count * self.gpu_milli

    @property
    def gpus(self) -> float:
        """Devices, fractional for a job that shares one."""
        return self.gpu_count * self.gpu_milli / DEVICE_MILLI


def _problems(job: JobRecord) -> Iterator[FieldProblem]:
    if not isinstance(job.job_id, str) or not job.job_id.strip():
        yield FieldProblem("job_id", f"must be text that is not empty, got {job.job_id!r}")
    yield from _outside("submit_ms", job.submit_ms, 0, TIME_MS_MAX)
    yield from _outside("run_ms", job.run_ms, 0, TIME_MS_MAX)
    yield from _outside("gpu_count", job.gpu_count, 0, COUNT_MAX)
    yield from _outside("gpu_milli", job.gpu_milli, 1, DEVICE_MILLI)
    yield from _outside("cpu_milli", job.cpu_milli, 0, AMOUNT_MAX)
    yield from _outside("memory_mib", job.memory_mib, 0, AMOUNT_MAX)
    yield from _outside("priority", job.priority, -(2**31), 2**31 - 1)
    if job.gpu_memory_mib is not None:
        yield from _outside("gpu_memory_mib", job.gpu_memory_mib, 0, AMOUNT_MAX)
    if job.estimate_ms is not None:
        yield from _outside("estimate_ms", job.estimate_ms, 0, TIME_MS_MAX)
    if job.deadline_ms is not None:
        yield from _outside("deadline_ms", job.deadline_ms, 0, TIME_MS_MAX)
    if job.lifetime_ms is not None:
        yield from _outside("lifetime_ms", job.lifetime_ms, 1, TIME_MS_MAX)
    if job.recorded_start_ms is not None:
        yield from _outside("recorded_start_ms", job.recorded_start_ms, 0, TIME_MS_MAX)
    if job.pods is not None:
        yield from _pods_problems(job)
    if job.scheduling is not None and not _is_json_object(job.scheduling):
        yield FieldProblem("scheduling", f"must be a JSON object, got {str(job.scheduling)[:40]!r}")
    if job.outcome not in OUTCOMES:
        yield FieldProblem("outcome", f"must be one of {', '.join(OUTCOMES)}, got {job.outcome!r}")


@lru_cache(maxsize=4096)
def _is_json_object(text: object) -> bool:
    try:
        return isinstance(text, str) and isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _pods_problems(job: JobRecord) -> Iterator[FieldProblem]:
    outside = list(_outside("pods", job.pods, 1, COUNT_MAX))
    yield from outside
    if not outside and isinstance(job.gpu_count, int) and job.pods and job.gpu_count % job.pods:
        yield FieldProblem("pods", f"{job.gpu_count} devices cannot be cut into {job.pods} equal pods")


def _outside(name: str, value: object, low: int, high: int) -> Iterator[FieldProblem]:
    if not isinstance(value, int) or isinstance(value, bool):
        yield FieldProblem(name, f"must be an integer, got {value!r}")
    elif not low <= value <= high:
        yield FieldProblem(name, f"must be from {low} to {high}, got {value}")
