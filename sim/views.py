"""State as policies see it. The one door between truth and policy: the true run time stops here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from policies.api import JobView, QueueView, Request, RunningJob
from policies.nodes import NodeLedger, NodeTable
from policies.queues import JobPool, SortedItems
from traces.job import JobRecord

NEVER = 1 << 62
"""Sorts behind every time."""


class RunningTable:
    """The running jobs, live. For its owner to change, for policies to read."""

    def __init__(self) -> None:
        self.jobs: dict[str, RunningJob] = {}
        """For the owner of the table to change."""
        self.by_end: SortedItems[RunningJob] | None = None
        """The same jobs by expected end, once somebody has asked; for the owner to keep."""
        self._attained: Callable[[str], int] = lambda _: 0

    def __len__(self) -> int:
        return len(self.jobs)

    def __contains__(self, job_id: object) -> bool:
        return job_id in self.jobs

    def __iter__(self) -> Iterator[RunningJob]:
        return iter(self.jobs.values())

    def __getitem__(self, job_id: str) -> RunningJob:
        return self.jobs[job_id]

    def by_expected_end(self) -> Iterator[RunningJob]:
        """Earliest expected end first, then order of arrival; those without an estimate last."""
        if self.by_end is None:
            self.by_end = SortedItems(_expected_end)
            for job in self.jobs.values():
                self.by_end.add(job)
        return iter(self.by_end)

    def attained_ms(self, job_id: str) -> int:
        """Work done until now, as run time at full speed, whole milliseconds."""
        return self._attained(job_id)

    def ask_attained(self, attained: Callable[[str], int]) -> None:
        """Where `attained_ms` gets its answer. For the owner of the table."""
        self._attained = attained


def _expected_end(job: RunningJob) -> tuple[int, int]:
    end = job.expected_end_ms
    return (NEVER if end is None else end, job.job.arrival)


class SimView:
    """The `ClusterView` of the simulator: live, one object for the whole run."""

    __slots__ = ("ledger", "now_ms", "nodes", "pending", "queues", "releases", "running", "starts")

    def __init__(self, ledger: NodeLedger, queues: Mapping[str, QueueView]) -> None:
        self.now_ms = 0
        self.ledger = ledger
        self.nodes: NodeTable = ledger
        self.pending = JobPool()
        self.running = RunningTable()
        self.queues = queues
        self.releases = 0
        self.starts = 0


def job_view(record: JobRecord, arrival: int, request: Request, oracle: bool) -> JobView:
    """What a scheduler may know of a record. With the oracle, the truth stands for a missing estimate too."""
    estimate = record.estimate_ms
    if oracle and estimate is None:
        estimate = record.run_ms
    # tuple.__new__ and positions, because this runs once for each job of a trace of millions
    return tuple.__new__(
        JobView,
        (
            record.job_id,
            arrival,
            record.submit_ms,
            request,
            record.queue or "",
            record.user,
            record.priority,
            estimate,
            record.family,
            0,
            0,
            record.run_ms if oracle else None,
        ),
    )
