"""State as policies see it. The one door between truth and policy: the true run time stops here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from policies.api import JobView, QueueView, Request, RunningJob
from policies.nodes import NodeLedger, NodeTable
from policies.queues import JobPool, SortedItems
from traces.job import JobRecord

NEVER = 1 << 62
"""Sorts behind every time."""


class RunningTable:
    """The running jobs, live. Its dictionaries are built when somebody first asks, and kept from then on."""

    def __init__(self) -> None:
        self.watched = False
        """True once somebody has asked: from then on the owner must tell of each job that comes and goes."""
        self._jobs: dict[str, RunningJob] = {}
        self._by_end: SortedItems[RunningJob] | None = None
        self._all: Callable[[], Iterable[RunningJob]] = tuple
        self._attained: Callable[[str], int] = lambda _: 0

    def _watch(self) -> dict[str, RunningJob]:
        if not self.watched:
            self.watched = True
            self._jobs = {running.job.job_id: running for running in sorted(self._all(), key=_start)}
        return self._jobs

    def __len__(self) -> int:
        return len(self._watch())

    def __contains__(self, job_id: object) -> bool:
        return job_id in self._watch()

    def __iter__(self) -> Iterator[RunningJob]:
        return iter(self._watch().values())

    def __getitem__(self, job_id: str) -> RunningJob:
        return self._watch()[job_id]

    def by_expected_end(self) -> Iterator[RunningJob]:
        """Earliest expected end first, then order of arrival; those without an estimate last."""
        if self._by_end is None:
            self._by_end = SortedItems(_expected_end)
            for job in self._watch().values():
                self._by_end.add(job)
        return iter(self._by_end)

    def attained_ms(self, job_id: str) -> int:
        """Work done until now, as run time at full speed, whole milliseconds."""
        return self._attained(job_id)

    def add(self, job: RunningJob) -> None:
        """A job begins to run. For the owner of the table, once it is watched."""
        self._jobs[job.job.job_id] = job
        if self._by_end is not None:
            self._by_end.add(job)

    def remove(self, job_id: str) -> None:
        """A job runs no more. For the owner of the table, once it is watched."""
        job = self._jobs.pop(job_id)
        if self._by_end is not None:
            self._by_end.remove(job)

    def ask(self, jobs: Callable[[], Iterable[RunningJob]], attained: Callable[[str], int]) -> None:
        """Where the table gets what it is asked for. For its owner."""
        self._all = jobs
        self._attained = attained


def _start(job: RunningJob) -> tuple[int, int]:
    return (job.start_ms, job.job.arrival)


def _expected_end(job: RunningJob) -> tuple[int, int]:
    end = job.expected_end_ms
    return (NEVER if end is None else end, job.job.arrival)


class SimView:
    """The `ClusterView` of the simulator: live, one object for the whole run."""

    __slots__ = ("ledger", "nodes", "now_ms", "pending", "queues", "releases", "running", "starts")

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
