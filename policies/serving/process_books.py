"""What a policy in another process has been told of a cluster, and what it must be told next: the view as changes.

A message costs what changed: the servers that changed lead to the jobs that may have left them, the rank of the last arrival to
those that came since. Where the counts do not agree after that, somebody else changed the cluster, and everything is compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from policies.api import DEVICE_MILLI, Action, ClusterView, JobView, Placement, Preempt, QueueView, Request, Start
from policies.bitset import bits
from policies.columns import UNLIMITED
from policies.nodes import NodeTable
from policies.ordering.fifo import Fifo
from policies.topology import Node, Topology

ARRIVAL: Final = Fifo()


class Told(NamedTuple):
    """A running job as the policy knows it."""

    job: JobView
    placement: Placement


class Books:
    """The books of one policy on one cluster, from the first message on."""

    def __init__(self, view: ClusterView) -> None:
        self.view = view
        self.nodes: NodeTable = view.nodes
        self.waiting: dict[str, JobView] = {}
        """The waiting jobs that the policy knows."""
        self.running: dict[str, Told] = {}
        """The running jobs that it knows."""
        self._on: dict[int, dict[str, None]] = {}
        """Server -> the running jobs that it knows there."""
        self._numbers: dict[Request, int] = {}
        self._new_requests: list[dict[str, Any]] = []
        self._changes: list[dict[str, Any]] = []
        self._latest = -1
        """Rank of the last arrival that it knows."""
        self._position = self.nodes.changes
        self._began = False

    def cluster(self) -> dict[str, Any]:
        """The message of what never changes."""
        topology = self.nodes.topology
        return {
            "type": "cluster",
            "levels": list(topology.levels),
            "nodes": [_node(node) for node in topology.nodes],
            "queues": [_queue(queue) for queue in self.view.queues.values()],
        }

    def message(self, seq: int, *, attained: bool) -> dict[str, Any]:
        """The message of a pass: what the policy does not know yet. It counts as told from now on."""
        touched = self.nodes.changed_since(self._position)
        if not self._began or touched is None:
            touched = list(range(len(self.nodes)))
        self._position = self.nodes.changes
        self._departures({job_id for node in touched for job_id in self._on.get(node, ())})
        self._arrivals(self.view.pending.newer_than(self._latest))
        if len(self.view.pending) != len(self.waiting) or len(self.view.running) != len(self.running):
            self._compare_all()
        self._began = True
        running = self.view.running
        message = {
            "type": "pass",
            "seq": seq,
            "now_ms": self.view.now_ms,
            "requests": self._new_requests,
            "changes": self._changes,
            "servers": [_server(node, self.nodes) for node in touched],
            "attained_ms": {job_id: running.attained_ms(job_id) for job_id in self.running} if attained else None,
        }
        self._new_requests, self._changes = [], []
        return message

    def note(self, action: Action) -> None:
        """An action of the policy was applied: see what came of it."""
        if isinstance(action, Start):
            if action.job_id in self.view.running:
                self._started(action.job_id)
        elif isinstance(action, Preempt):
            self._departures({action.job_id} & self.running.keys())
        elif (job_id := getattr(action, "job_id", None)) in self.waiting and job_id not in self.view.pending:
            self._ended(str(job_id))
        elif job_id in self.running and job_id in self.view.running:
            self._resized(str(job_id))

    # -- what happened -----------------------------------------------------------------------------------------

    def _arrivals(self, jobs: Iterable[JobView]) -> None:
        for job in jobs:
            self._latest = max(self._latest, job.arrival)
            if job.job_id not in self.waiting:
                self._wait("arrived", job)

    def _departures(self, candidates: set[str]) -> None:
        """Those of the candidates that no longer run, in the order of their arrival."""
        running = self.view.running
        gone = [self.running[job_id].job for job_id in candidates if job_id not in running]
        for job in sorted(gone, key=ARRIVAL.key):
            self._forget(job.job_id)
            now = self._pending(job) if job.job_id in self.view.pending else None
            if now is None:
                self._changes.append({"change": "ended", "job_id": job.job_id})
            else:
                self._wait("preempted", now)

    def _compare_all(self) -> None:
        pending, running = self.view.pending, self.view.running
        self._departures(set(self.running))
        for job in [job for job in self.waiting.values() if job.job_id not in pending]:
            if job.job_id in running:
                self._started(job.job_id)
            else:
                self._ended(job.job_id)
        self._arrivals(pending.by(ARRIVAL))
        for each in running:
            if each.job.job_id not in self.running:
                self._wait("arrived", each.job)
                self._started(each.job.job_id)

    def _pending(self, job: JobView) -> JobView | None:
        """A waiting job as it is now."""
        _, found = next(self.view.pending.by(ARRIVAL).entries_after(job.arrival - 1), (None, None))
        return found if found is not None and found.job_id == job.job_id else None

    # -- one change --------------------------------------------------------------------------------------------

    def _wait(self, change: str, job: JobView) -> None:
        self.waiting[job.job_id] = job
        self._changes.append({"change": change, "job": self._job(job)})

    def _ended(self, job_id: str) -> None:
        del self.waiting[job_id]
        self._changes.append({"change": "ended", "job_id": job_id})

    def _started(self, job_id: str) -> None:
        self.waiting.pop(job_id, None)
        self._run("started", job_id)

    def _resized(self, job_id: str) -> None:
        self._forget(job_id)
        self._run("resized", job_id)

    def _run(self, change: str, job_id: str) -> None:
        now = self.view.running[job_id]
        self.running[job_id] = Told(now.job, now.placement)
        for share in now.placement:
            self._on.setdefault(share.node, {})[job_id] = None
        self._changes.append(
            {
                "change": change,
                "job_id": job_id,
                "placement": [
                    {"node": node, "devices": list(bits(mask)), "pods": pods, "group": group}
                    for node, mask, pods, group in now.placement
                ],
                "start_ms": now.start_ms,
                "expected_end_ms": now.expected_end_ms,
                "overhead_ms": now.overhead_ms,
            }
        )

    def _forget(self, job_id: str) -> None:
        for share in self.running.pop(job_id).placement:
            self._on.get(share.node, {}).pop(job_id, None)

    def _job(self, job: JobView) -> dict[str, Any]:
        number = self._numbers.get(job.request)
        if number is None:
            number = self._numbers[job.request] = len(self._numbers)
            self._new_requests.append(_request(number, job.request, self.nodes.topology))
        return {**job._asdict(), "request": number}


# -- values as messages ------------------------------------------------------------------------------------------------


def _node(node: Node) -> dict[str, Any]:
    return {
        "name": node.name,
        "pool": node.pool,
        "accelerator": node.accelerator,
        "devices": node.devices,
        "device_memory_mib": node.device_memory_mib,
        "islands": [list(island) for island in node.islands],
        "cpu_milli": node.cpu_milli,
        "memory_mib": node.memory_mib,
        "max_pods": node.max_pods,
        "domains": list(node.domains),
        "resource": node.resource,
        "labels": dict(node.labels),
        "taints": [taint._asdict() for taint in node.taints],
        "unschedulable": node.unschedulable,
    }


def _queue(queue: QueueView) -> dict[str, Any]:
    def amounts(given: Mapping[str, int] | None) -> dict[str, int] | None:
        return None if given is None else dict(given)

    return {
        "name": queue.name,
        "nominal_milli": amounts(queue.nominal_milli),
        "borrowing_limit_milli": amounts(queue.borrowing_limit_milli),
        "cohort": queue.cohort,
        "weight": queue.weight,
        "pools": None if queue.pools is None else list(queue.pools),
    }


def _request(number: int, request: Request, topology: Topology) -> dict[str, Any]:
    return {
        "request": number,
        "gang": [group._asdict() for group in request.gang],
        "devices": request.devices,
        "device_milli": request.device_milli,
        "device_memory_mib": request.device_memory_mib,
        "accelerators": list(request.accelerators),
        "pools": None if request.pools is None else list(request.pools),
        "eligible": None if request.eligible == topology.everywhere else _ranges(request.eligible),
        "plain": request.plain,
    }


def _ranges(nodes: int) -> list[list[int]]:
    """A set of servers as ranges from first to last."""
    found: list[list[int]] = []
    for node in bits(nodes):
        if found and found[-1][1] == node - 1:
            found[-1][1] = node
        else:
            found.append([node, node])
    return found


def _server(number: int, nodes: NodeTable) -> dict[str, Any]:
    left = [0] * nodes.topology.nodes[number].devices
    for device in bits(nodes.idle_mask[number]):
        left[device] = DEVICE_MILLI
    for device, milli in nodes.partial.get(number, {}).items():
        left[device] = milli
    cpu, memory, pods = nodes.cpu_left[number], nodes.memory_left[number], nodes.pods_left[number]
    return {
        "node": number,
        "left_milli": left,
        "cpu_milli": cpu if cpu < UNLIMITED else None,
        "memory_mib": memory if memory < UNLIMITED else None,
        "pods": pods if pods < UNLIMITED else None,
    }
