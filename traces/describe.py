"""What is in a trace, in numbers. Pure data: how it is shown is decided elsewhere."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from traces.job import DEVICE_MILLI, JobRecord
from traces.trace import Trace

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
TOP_NAMES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceSummary:
    """Figures of one trace. Absent is None: an empty trace has no first submission."""

    path: str
    format: str
    sha256: str
    rows: int
    accepted: int
    rejected: int
    rejected_by_reason: dict[str, int]
    """`field: reason` with values left out, most frequent first."""
    notes: tuple[str, ...]
    unknown_columns: tuple[str, ...]
    first_submit_ms: int | None
    last_submit_ms: int | None
    span_ms: int
    """Last minus first submission."""
    gpu_jobs: int
    cpu_jobs: int
    shared_jobs: int
    """Jobs that take less than a whole device."""
    jobs_by_gpus: dict[str, int]
    """Demand in devices (`0.47`, `8`) to jobs, by demand."""
    gpus_max: float
    gpu_ms: float
    """Sum of devices x run time, in device-milliseconds."""
    offered_devices: float | None
    """gpu_ms / span: devices that are busy on average if nothing waits; None without a span."""
    run_ms_mean: float | None
    run_ms_quantiles: dict[str, int]
    zero_run_jobs: int
    users: int
    queues: int
    top_users: dict[str, int]
    top_queues: dict[str, int]
    outcomes: dict[str, int]
    families: dict[str, int]
    accelerators: dict[str, int]
    """Models that jobs are restricted to, joined by |, to jobs."""
    tied_jobs: int
    """Jobs that share their submit instant with another: their order is the simulator's choice."""
    with_estimate: int
    estimate_below_run: int
    """Jobs that outrun their estimate."""
    with_recorded_start: int
    with_lifetime: int
    """Jobs that run until they are not wanted: their run time does not end them."""
    with_deadline: int
    deadline_below_run: int
    """Jobs that would miss theirs on an empty fleet, at the recorded speed."""
    deadline_to_run_median: float | None
    """Of those that have a deadline and a run time: how tight it is. None without such jobs."""
    submissions_in_order: bool

    def as_dict(self) -> dict[str, Any]:
        """The figures as plain data, for JSON."""
        return asdict(self)


def describe(trace: Trace) -> TraceSummary:
    """The figures of a trace."""
    jobs = trace.records
    submits = [job.submit_ms for job in jobs]
    runs = sorted(job.run_ms for job in jobs)
    span_ms = max(submits) - min(submits) if jobs else 0
    gpu_milli_ms = sum(job.demand_milli * job.run_ms for job in jobs)
    reasons = Counter(generic(p.field, p.reason) for r in trace.rejections for p in r.problems)
    return TraceSummary(
        path=trace.path,
        format=trace.format,
        sha256=trace.sha256,
        rows=trace.rows,
        accepted=len(jobs),
        rejected=len(trace.rejections),
        rejected_by_reason=_counted(reasons),
        notes=trace.notes,
        unknown_columns=trace.unknown_columns,
        first_submit_ms=min(submits, default=None),
        last_submit_ms=max(submits, default=None),
        span_ms=span_ms,
        gpu_ms=gpu_milli_ms / DEVICE_MILLI,
        offered_devices=gpu_milli_ms / DEVICE_MILLI / span_ms if span_ms else None,
        run_ms_mean=sum(runs) / len(runs) if runs else None,
        run_ms_quantiles={f"{q:g}": quantile(runs, q) for q in QUANTILES} if runs else {},
        zero_run_jobs=sum(run == 0 for run in runs),
        tied_jobs=sum(n for n in Counter(submits).values() if n > 1),
        submissions_in_order=all(a <= b for a, b in itertools.pairwise(submits)),
        **_demand(jobs),
        **_names(jobs),
        **_knowledge(jobs),
    )


def quantile(ordered: Sequence[int], q: float) -> int:
    """The smallest value that at least `q` of the (sorted, not empty) values do not exceed: no interpolation."""
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)]


def generic(field: str, reason: str) -> str:
    """A problem without the value that it shows, so that equal problems count together."""
    return f"{field}: {reason.split(', got ', maxsplit=1)[0].split(', but line ', maxsplit=1)[0]}"


def _demand(jobs: Sequence[JobRecord]) -> dict[str, Any]:
    by_milli = Counter(job.demand_milli for job in jobs)
    return {
        "gpu_jobs": sum(job.gpu_count > 0 for job in jobs),
        "cpu_jobs": sum(job.gpu_count == 0 for job in jobs),
        "shared_jobs": sum(job.gpu_count > 0 and job.gpu_milli < DEVICE_MILLI for job in jobs),
        "jobs_by_gpus": {f"{milli / DEVICE_MILLI:g}": n for milli, n in sorted(by_milli.items())},
        "gpus_max": max(by_milli, default=0) / DEVICE_MILLI,
    }


def _names(jobs: Sequence[JobRecord]) -> dict[str, Any]:
    users = Counter(job.user for job in jobs if job.user is not None)
    queues = Counter(job.queue for job in jobs if job.queue is not None)
    return {
        "users": len(users),
        "queues": len(queues),
        "top_users": _counted(users, TOP_NAMES),
        "top_queues": _counted(queues, TOP_NAMES),
        "outcomes": _counted(Counter(job.outcome for job in jobs)),
        "families": _counted(Counter(job.family for job in jobs if job.family is not None), TOP_NAMES),
        "accelerators": _counted(Counter("|".join(job.accelerators) for job in jobs if job.accelerators), TOP_NAMES),
    }


def _knowledge(jobs: Sequence[JobRecord]) -> dict[str, Any]:
    due = [(job.deadline_ms, job.run_ms) for job in jobs if job.deadline_ms is not None]
    ratios = [deadline / run for deadline, run in due if run]
    return {
        "with_estimate": sum(job.estimate_ms is not None for job in jobs),
        "estimate_below_run": sum(job.estimate_ms is not None and job.estimate_ms < job.run_ms for job in jobs),
        "with_recorded_start": sum(job.recorded_start_ms is not None for job in jobs),
        "with_lifetime": sum(job.lifetime_ms is not None for job in jobs),
        "with_deadline": len(due),
        "deadline_below_run": sum(deadline < run for deadline, run in due),
        "deadline_to_run_median": median(ratios) if ratios else None,
    }


def _counted(counts: Counter[str], top: int | None = None) -> dict[str, int]:
    """Most frequent first, equal ones by name."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return dict(ordered[:top])
