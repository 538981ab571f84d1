"""A tiny cluster in memory, and small random cases for it: what `policies.conformance` lets a policy decide on.

It is no simulator: no traces, no rules, no speeds, no results. Jobs arrive, run as long as they run, and end; a preempted job
keeps its progress. In some cases some jobs are taken away at a time of their own, waiting or running, as a user deletes them.
It exists so that the kit has a driver of its own, written from the contract alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from policies.api import (
    Action,
    JobView,
    PodGroup,
    Preempt,
    QueueView,
    Reject,
    Request,
    RunningJob,
    Share,
    Start,
    WakeAt,
)
from policies.feasibility import why_not
from policies.nodes import NodeLedger, NodeTable
from policies.placement.first_fit import FirstFit
from policies.queues import JobPool
from policies.running import RunningTable
from policies.topology import Node, Topology


class Case(NamedTuple):
    """What is played: a fleet, its queues and the jobs in order of arrival, with their true run times."""

    name: str
    topology: Topology
    queues: tuple[QueueView, ...]
    jobs: tuple[JobView, ...]
    lifetimes: Mapping[str, int] = MappingProxyType({})
    """Jobs that are taken away so many milliseconds after their submission, if they wait or run then."""


class Cluster:
    """A `ClusterView` that its owner moves on. `oracle` grants true run times, `estimates` False hides the estimates."""

    def __init__(self, case: Case, *, oracle: bool = False, estimates: bool = True) -> None:
        self.now_ms = 0
        self.ledger = NodeLedger(case.topology)
        self.nodes: NodeTable = self.ledger
        self.pending = JobPool()
        self.running = RunningTable()
        self.queues: Mapping[str, QueueView] = {q.name: q._replace(held_milli={}) for q in case.queues}
        self.releases = 0
        self.starts = 0
        self.ended: list[str] = []
        self._truth = {job.job_id: job.oracle_run_ms or 0 for job in case.jobs}
        self._arrivals = [
            job._replace(
                oracle_run_ms=job.oracle_run_ms if oracle else None,
                estimate_ms=job.estimate_ms if estimates else None,
            )
            for job in reversed(case.jobs)
        ]
        self._ends: dict[str, int] = {}
        self._withdrawals = {
            job.job_id: job.submit_ms + case.lifetimes[job.job_id]
            for job in case.jobs
            if job.job_id in case.lifetimes
        }
        """When what still waits or runs is taken away."""
        self._wakes: set[int] = set()

    # -- time ------------------------------------------------------------------------------------------------

    def advance(self) -> bool:
        """Go to the next instant at which anything happens and let it happen: ends, then arrivals. False if nothing is left."""
        times = [*self._ends.values(), *self._withdrawals.values(), *self._wakes]
        if self._arrivals:
            times.append(self._arrivals[-1].submit_ms)
        if not times:
            return False
        self.now_ms = self.running.now_ms = max(min(times), self.now_ms)
        self._wakes.discard(self.now_ms)
        for job_id in [job_id for job_id, end in self._ends.items() if end == self.now_ms]:
            self._release(self.running.jobs[job_id])
            self._end(job_id)
        for job_id in [job_id for job_id, at_ms in self._withdrawals.items() if at_ms == self.now_ms]:
            if job_id in self.running:
                self._release(self.running.jobs[job_id])
            else:
                self.pending.remove(self.pending.jobs[job_id])
            self._end(job_id)
        while self._arrivals and self._arrivals[-1].submit_ms <= self.now_ms:
            self.pending.add(self._arrivals.pop())
        return True

    def digest(self) -> object:
        """All that a policy can read and must not change."""
        nodes = self.nodes
        return (
            self.now_ms,
            (self.releases, self.starts),
            list(self.pending.jobs.items()),
            list(self.running.jobs.items()),
            {name: (queue, dict(queue.held_milli)) for name, queue in self.queues.items()},
            (nodes.idle_mask.copy(), nodes.idle.copy(), nodes.by_idle.copy(), nodes.idle_total),
            {node: left.copy() for node, left in nodes.partial.items()},
            (nodes.cpu_left.copy(), nodes.memory_left.copy(), nodes.pods_left.copy()),
            [column.tolist() for column in nodes.columns()],
        )

    # -- actions ---------------------------------------------------------------------------------------------

    def fault(self, action: Action) -> str | None:
        """Why this action cannot be applied now, or None."""
        if isinstance(action, Start):
            job = self.pending.get(action.job_id)
            if job is None:
                return f"{action.job_id} does not wait"
            return why_not(job.request, action.placement, self.nodes)
        if isinstance(action, Preempt):
            return None if action.job_id in self.running else f"{action.job_id} does not run"
        if isinstance(action, Reject):
            return None if action.job_id in self.pending else f"{action.job_id} does not wait"
        if isinstance(action, WakeAt):
            return None if action.at_ms > self.now_ms else f"{action.at_ms} ms is not later than now"
        return "no driver grants it"

    def apply(self, action: Action) -> None:
        """Let an action without fault happen."""
        if isinstance(action, Start):
            self._start(self.pending.jobs[action.job_id], action.placement)
        elif isinstance(action, Preempt):
            running = self.running.jobs[action.job_id]
            attained = self.running.attained_ms(action.job_id)
            self._release(running)
            job = running.job
            self.pending.add(job._replace(attained_ms=attained, preemptions=job.preemptions + 1))
        elif isinstance(action, Reject):
            self.pending.remove(self.pending.jobs[action.job_id])
            self._end(action.job_id)
        elif isinstance(action, WakeAt):
            self._wakes.add(action.at_ms)

    def over_quota(self) -> str | None:
        """Which queue or cohort holds more than it is entitled to, or None."""
        groups: dict[str, list[QueueView]] = {}
        for queue in self.queues.values():
            groups.setdefault(f"cohort {queue.cohort}" if queue.cohort else f"queue {queue.name}", []).append(queue)
        for name, members in groups.items():
            held = sum(queue.held_milli.get("*", 0) for queue in members)
            nominal = sum(queue.nominal_milli["*"] for queue in members)
            if held > nominal:
                return f"{name} holds {held} milli-devices and is entitled to {nominal}"
        return None

    def _end(self, job_id: str) -> None:
        self.ended.append(job_id)
        self._withdrawals.pop(job_id, None)

    def _start(self, job: JobView, placement: tuple[Share, ...]) -> None:
        self.pending.remove(job)
        self.ledger.take(job.request, placement)
        left = None if job.estimate_ms is None else max(job.estimate_ms - job.attained_ms, 0)
        expected = None if left is None else self.now_ms + left
        self.running.jobs[job.job_id] = RunningJob(job, placement, self.now_ms, expected)
        self._ends[job.job_id] = self.now_ms + self._truth[job.job_id] - job.attained_ms
        self.starts += 1
        self._charge(job, placement, 1)

    def _release(self, running: RunningJob) -> None:
        job = running.job
        self.ledger.release(job.request, running.placement)
        del self.running.jobs[job.job_id], self._ends[job.job_id]
        self.releases += 1
        self._charge(job, running.placement, -1)

    def _charge(self, job: JobView, placement: tuple[Share, ...], sign: int) -> None:
        queue = self.queues.get(job.queue)
        if queue is None:
            return
        for share in placement:
            amount = sign * share.device_mask.bit_count() * job.request.device_milli
            for key in ("*", self.nodes.topology.accelerator_of[share.node] or "generic"):
                queue.held_milli[key] = queue.held_milli.get(key, 0) + amount


# -- cases -----------------------------------------------------------------------------------------------------


def random_case(seed: int, jobs_max: int = 14) -> Case:
    """A small fleet and a few jobs, each of which fits the empty fleet and the entitlement of its queue.

    In every other case there are more of them, closer together and for less, and half of them are taken away some time.
    """
    crowded = seed % 2 == 1
    rng = np.random.default_rng(seed)
    topology = _fleet(rng, small=crowded)
    requests: dict[object, Request] = {}
    jobs: list[JobView] = []
    now_ms = 0
    for number in range(int(rng.integers(max(jobs_max // 2, 1) if crowded else 1, jobs_max + 1))):
        now_ms += int(rng.choice((0, 0, 1, 1, 3) if crowded else (0, 0, 1, 7, 40)))
        request = _request(rng, topology, requests)
        if request is not None:
            jobs.append(_job(rng, number, now_ms, request))
    queues = _queues(rng, jobs)
    lifetimes = {job.job_id: int(rng.choice((1, 3, 9, 40))) for job in jobs if crowded and rng.integers(2)}
    return Case(f"random_case({seed})", topology, queues, tuple(jobs), lifetimes)


def _queues(rng: np.random.Generator, jobs: list[JobView]) -> tuple[QueueView, ...]:
    """Entitlements that hold the largest job of each queue, and often no more: alone, each can start."""
    cohort = "all" if rng.integers(2) else None
    queues = []
    for name in ("batch", "research")[: int(rng.integers(3))]:
        largest = max((job.request.demand_milli for job in jobs if job.queue == name), default=0)
        nominal = {"*": largest + int(rng.choice((0, 0, 1000)))}
        queues.append(QueueView(name, nominal, None, cohort, 1, None, {}))
    return tuple(queues)


def _fleet(rng: np.random.Generator, *, small: bool) -> Topology:
    limited = bool(rng.integers(2))
    mixed = bool(rng.integers(2))
    devices = int(rng.choice((1, 1, 2, 2) if small else (1, 2, 4, 8)))
    nodes = [
        Node(
            name=f"n{number}",
            accelerator="b" if mixed and number % 2 else "a",
            devices=devices if not mixed or number % 2 else max(devices // 2, 1),
            device_memory_mib=80 if mixed and number % 2 else 40,
            cpu_milli=4000 if limited else None,
            memory_mib=64 if limited else None,
            max_pods=6 if limited else None,
            domains=(f"leaf{number // 2}",),
        )
        for number in range(int(rng.integers(1, 4 if small else 6)))
    ]
    return Topology(nodes, ("leaf",))


def _request(rng: np.random.Generator, topology: Topology, known: dict[object, Request]) -> Request | None:
    pods = int(rng.choice((1, 1, 1, 2, 3)))
    devices = int(rng.choice((0, 1, 1, 1, 2, 4)))
    milli = int(rng.choice((1000, 1000, 300, 500))) if devices == 1 else 1000
    accelerators = ("b",) if not rng.integers(5) else ()
    sides = (1000, 16) if not rng.integers(3) else (0, 0)
    key = (pods, devices, milli, accelerators, sides)
    if key not in known:
        gang = (PodGroup(pods, devices, *sides),)
        known[key] = topology.request(gang, device_milli=milli, accelerators=accelerators)
    request = known[key]
    fits = request.eligible and FirstFit().place(request, NodeTable(topology)) is not None
    return request if fits else None


def _job(rng: np.random.Generator, number: int, now_ms: int, request: Request) -> JobView:
    run_ms = int(rng.choice((0, 1, 5, 30, 200)))
    return JobView(
        job_id=f"job{number}",
        arrival=number,
        submit_ms=now_ms,
        request=request,
        queue=str(rng.choice(("", "batch", "research"))),
        user=str(rng.choice(("ada", "bob"))),
        priority=int(rng.integers(3)),
        estimate_ms=None if not rng.integers(4) else run_ms * int(rng.integers(1, 4)) + int(rng.integers(3)),
        oracle_run_ms=run_ms,
    )
