"""The contract between a policy and whatever drives it: the simulator, a scheduler loop, an extender.

A policy reads a `ClusterView` and yields actions. Each action is checked and applied before the next one is
asked for, so the view that a policy reads is always true. A policy never acts by itself, never reads a
clock, and never sees a true run time unless the driver grants the oracle.

Units: time in integer milliseconds, device share in milli-devices, memory in MiB, CPU in milli-cores.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from policies.nodes import NodeTable
from policies.values import (
    DEVICE_MILLI,
    Action,
    DeviceMask,
    JobView,
    NodeSet,
    Placement,
    PodGroup,
    Preempt,
    QueueView,
    Reject,
    Request,
    Resize,
    RunningJob,
    Share,
    Start,
    WakeAt,
)

__all__ = [
    "DEVICE_MILLI",
    "Action",
    "ClusterView",
    "DeviceMask",
    "ExternalPolicyError",
    "JobQueue",
    "JobView",
    "NodeSet",
    "PendingJobs",
    "Placement",
    "PodGroup",
    "Policy",
    "Preempt",
    "QueueView",
    "Reject",
    "Request",
    "Resize",
    "RunningJob",
    "RunningJobs",
    "Semantics",
    "Share",
    "SortKey",
    "Start",
    "WakeAt",
]


class SortKey(Protocol):
    """An ordering of jobs. Called once when a job enters a queue, so it may depend on the job only."""

    name: str

    def key(self, job: JobView) -> Any:
        """A comparable key. Its last part is `job.arrival`, so that no two jobs are equal."""
        ...


class JobQueue(Protocol):
    """Jobs in an order that is kept up to date; live and read-only."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[JobView]:
        """In order. Do not act while iterating: take a list, or look for the next one after the action."""
        ...

    def first(self) -> JobView | None:
        """The job at the head, or None."""
        ...

    def first_entry(self) -> tuple[Any, JobView] | None:
        """The head with its key, or None."""
        ...

    def entries_after(self, key: Any) -> Iterator[tuple[Any, JobView]]:
        """Each job behind `key` with its key, in order. After an action ask anew."""
        ...


class PendingJobs(Protocol):
    """Everything that waits; live and read-only. Between two passes a job may be gone from it without having started."""

    def __len__(self) -> int: ...

    def __contains__(self, job_id: object) -> bool: ...

    def by(self, order: SortKey) -> JobQueue:
        """All pending jobs in `order`. The first call builds the queue, later calls cost nothing."""
        ...

    def by_request(self, order: SortKey) -> Mapping[Request, JobQueue]:
        """The same, one for each distinct request that has a pending job; not for its key order."""
        ...

    def queue_names(self) -> list[str]:
        """The queues that have a pending job, by name."""
        ...

    def of_queue(self, name: str) -> PendingJobs:
        """The pending jobs of one queue; live."""
        ...

    def newer_than(self, arrival: int) -> list[JobView]:
        """The jobs that arrived last, down to and without rank `arrival`, in order of arrival."""
        ...


class RunningJobs(Protocol):
    """Everything that runs; live and read-only."""

    def __len__(self) -> int: ...

    def __contains__(self, job_id: object) -> bool: ...

    def __iter__(self) -> Iterator[RunningJob]:
        """In the order of their start."""
        ...

    def __getitem__(self, job_id: str) -> RunningJob: ...

    def by_expected_end(self) -> Iterator[RunningJob]:
        """Earliest expected end first, then order of arrival; those without an estimate last."""
        ...

    def attained_ms(self, job_id: str) -> int:
        """Work done until now, as run time at full speed, whole milliseconds."""
        ...


class ClusterView(Protocol):
    """What a policy reads. Live: after each yielded action it shows the new state."""

    now_ms: int

    @property
    def nodes(self) -> NodeTable:
        """The servers with what is left of each."""
        ...

    @property
    def pending(self) -> PendingJobs:
        """The jobs that wait."""
        ...

    @property
    def running(self) -> RunningJobs:
        """The jobs that hold devices."""
        ...

    @property
    def queues(self) -> Mapping[str, QueueView]:
        """The queues of the fleet by name; empty where the fleet has none."""
        ...

    @property
    def releases(self) -> int:
        """How often anything was released so far: unchanged means that nothing has become free."""
        ...

    @property
    def starts(self) -> int:
        """How many starts were applied so far."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Semantics:
    """What a policy means, in the words that every run and report prints."""

    order: str
    blocking: str
    placement: str
    scope: str = "fleet"
    reservation: str = "none"
    preemption: str = "never"
    quota: str = "not kept"
    needs_estimates: bool = False
    peeks: bool = False
    """True if it reads the true run time."""
    options: Mapping[str, str] | None = None


class ExternalPolicyError(Exception):
    """A policy that decides elsewhere failed, or broke its protocol. The text is for people, and says all there is to say."""


class Policy:
    """A scheduling policy. Subclass it, or write any class with the same members.

    It keeps no scratch state between passes; state that must persist is a declared field with a docstring.
    """

    name: str = ""
    runs_on_empty_queue: bool = False
    """True if a pass is worth its cost while nothing is pending (preemption, resizing, defragmentation)."""

    def decide(self, view: ClusterView) -> Iterable[Action]:
        """Yield actions, each of which is applied before the next is asked for."""
        raise NotImplementedError

    def semantics(self) -> Semantics:
        """What this policy means, for the report."""
        raise NotImplementedError

    def close(self) -> None:
        """Optional. The run is over, well or badly: give back what is held outside of memory, such as a process.

        Never while `decide` works. A policy may be asked to decide again, on a new view: that is a new run.
        """
