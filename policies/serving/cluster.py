"""A cluster of Kubernetes as policies see it: nodes and pods go in, a `ClusterView` comes out.

Whoever drives it (an extender, a scheduler of its own, the replay of a journal) tells it of every Node and Pod object that
comes, changes or goes, and of what it has decided itself. It asks nobody and knows no clock. One thread only.

A pod that is bound or assumed holds its devices, CPU and memory. Which devices, only the node knows: the closest idle ones
stand for them. Nodes are numbered by name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from policies.api import DEVICE_MILLI, JobView, NodeSet, Placement, QueueView, Request, RunningJob, Share
from policies.feasibility import why_not
from policies.kube.devices import DeviceKinds
from policies.kube.nodes import LEVELS, read_node
from policies.kube.objects import Json, ObjectError, mapping, text
from policies.kube.pods import Pod, read_pod
from policies.kube.sharing import WHOLE
from policies.nodes import NodeLedger, NodeTable
from policies.queues import JobPool
from policies.running import RunningTable
from policies.serving.units import REST, Hold, Shape, ShapeError, Shapes, Unit, unit_name
from policies.topology import Node, Topology


class Assignment(NamedTuple):
    """A pod and the node that it was given."""

    pod: Pod
    node: str


class PlacementError(ValueError):
    """A policy placed a job where it does not fit, or one that does not wait."""


class _Held(NamedTuple):
    """What the held pods of a unit take of the ledger, and what policies see of it."""

    takes: list[tuple[Request, Placement]]
    runs: list[RunningJob]


class Cluster:
    """See the module. A `policies.api.ClusterView`.

    `ours` says which waiting pods are this scheduler's to place; `levels` leads from a level to its node label, narrow to wide;
    `labels` keeps the labels of pods for policies that look at other pods.
    """

    def __init__(
        self,
        kinds: DeviceKinds,
        *,
        ours: Callable[[Pod], bool] = lambda _: True,
        levels: Mapping[str, str] = LEVELS,
        queues: Mapping[str, QueueView] | None = None,
        labels: bool = False,
    ) -> None:
        self.pending = JobPool()
        self.running = RunningTable()
        self.queues: dict[str, QueueView] = {
            name: queue._replace(held_milli={}) for name, queue in (queues or {}).items()
        }
        self.releases = 0
        self.starts = 0
        self.faults: dict[str, str] = {}
        """Object -> what is wrong with it, or why it cannot be placed yet: nothing is passed over in silence."""
        self._kinds = kinds
        self._ours = ours
        self._levels = dict(levels)
        self._labels = labels
        self._nodes: dict[str, Node] = {}
        self._number: dict[str, int] = {}
        self._units: dict[str, Unit] = {}
        self._unit_of: dict[str, str] = {}
        self._group_sizes: dict[str, int] = {}
        self._waits: dict[str, Shape] = {}
        self._held: dict[str, _Held] = {}
        self._arrivals = 0
        self._stale = True
        self._topology = Topology(())
        self._ledger = NodeLedger(self._topology)
        self._shapes = Shapes(self._topology, labels=labels)

    # -- the view --------------------------------------------------------------------------------------------

    @property
    def now_ms(self) -> int:
        """The driver's clock, in milliseconds since 1970. It never goes back."""
        return self.running.now_ms

    @now_ms.setter
    def now_ms(self, now_ms: int) -> None:
        self.running.now_ms = max(now_ms, self.running.now_ms)

    @property
    def nodes(self) -> NodeTable:
        """The servers with what is left of each."""
        self.settle()
        return self._ledger

    def settle(self) -> None:
        """Take changes of nodes into account. A driver calls it before each pass; it is cheap if nothing changed."""
        if self._stale:
            self._rebuild()

    # -- what the API server says -----------------------------------------------------------------------------

    def set_node(self, item: Json) -> None:
        """A Node object was added or changed."""
        name = text(mapping(item.get("metadata")).get("name"))
        self.faults.pop(f"node {name}", None)
        try:
            node = read_node(item, self._kinds, self._levels)
        except ObjectError as error:
            self.faults[f"node {name}"] = str(error)
            self.delete_node(name)
            return
        if self._nodes.get(name) != node:
            self._nodes[name] = node
            self._stale = True

    def delete_node(self, name: str) -> None:
        """A node is gone. Its pods stay until they are said to be gone too."""
        if self._nodes.pop(name, None) is not None:
            self._stale = True

    def set_pod(self, item: Json) -> Pod | None:
        """A Pod object was added or changed; the pod, or None if it cannot be read (see `faults`)."""
        meta = mapping(item.get("metadata"))
        key = f"pod {text(meta.get('namespace')) or 'default'}/{text(meta.get('name'))}"
        self.faults.pop(key, None)
        try:
            pod = read_pod(item, self._kinds)
        except ObjectError as error:
            self.faults[key] = str(error)
            self.delete_pod(text(meta.get("uid")))
            return None
        self.put(pod)
        return pod

    def put(self, pod: Pod) -> None:
        """A pod was added or changed."""
        name = unit_name(pod)
        if pod.ended or self._unit_of.get(pod.uid, name) != name:
            self.delete_pod(pod.uid)
        if pod.ended:
            return
        unit = self._units.get(name)
        if unit is None:
            self._arrivals += 1
            unit = self._units[name] = Unit(name, self._arrivals)
        before, hold = unit.pods.get(pod.uid), unit.holds.get(pod.uid)
        self._unit_of[pod.uid] = name
        unit.pods[pod.uid] = pod
        if pod.gang is not None:
            unit.size = self._group_sizes.get(name) or pod.gang.size or (unit.size if before else None)
        if pod.node and hold is not None and hold.node == pod.node:
            unit.holds[pod.uid] = hold._replace(assumed=False)
            if before is not None and before.terms == pod.terms:
                return  # because: that it is bound where it was assumed to be changes nothing
            self._give_back(unit)
        elif pod.node:
            self._give_back(unit)
            unit.holds[pod.uid] = Hold(pod.node, 0, pod.started_ms or self.now_ms, assumed=False)
        elif hold is not None and not hold.assumed:
            self._give_back(unit)
            del unit.holds[pod.uid]
        elif before == pod:
            return
        self._apply(unit)

    def delete_pod(self, uid: str) -> None:
        """A pod is gone, or has ended: it holds nothing any more."""
        name = self._unit_of.pop(uid, None)
        if name is None:
            return
        unit = self._units[name]
        if uid in unit.holds:
            self._give_back(unit)
            del unit.holds[uid]
        self.faults.pop(f"pod {unit.pods.pop(uid).key}", None)
        self._apply(unit)
        if not unit.pods:
            del self._units[name]

    def set_group(self, namespace: str, name: str, size: int) -> None:
        """The gang's own object says how many pods must start together."""
        key = f"{namespace}/{name}"
        self._group_sizes[key] = size
        unit = self._units.get(key)
        if unit is not None and unit.size != size:
            unit.size = size
            self._apply(unit)

    # -- what was decided ---------------------------------------------------------------------------------------

    def assume(self, job_id: str, placement: Placement) -> list[Assignment]:
        """A waiting job starts: its pods hold their places from now on. Raises `PlacementError`, and nothing changed."""
        self.settle()
        shape = self._waits.get(job_id)
        if shape is None:
            raise PlacementError(f"{job_id} does not wait")
        fault = why_not(shape.request, placement, self._ledger)
        if fault is not None:
            raise PlacementError(f"{job_id}: {fault}")
        unit = self._units[job_id.removesuffix(REST)]
        self._give_back(unit, counted=False)
        found = []
        for pod, node, mask in _members(shape, placement):
            name = self._topology.nodes[node].name
            unit.holds[pod.uid] = Hold(name, mask, self.now_ms, assumed=True)
            found.append(Assignment(pod, name))
        self._apply(unit)
        self.starts += 1
        return found

    def forget(self, uid: str) -> None:
        """An assumed pod could not be bound: it waits again. A pod that the API server says is bound stays where it is."""
        unit = self._units.get(self._unit_of.get(uid, ""))
        hold = None if unit is None else unit.holds.get(uid)
        if unit is not None and hold is not None and hold.assumed:
            self._give_back(unit)
            del unit.holds[uid]
            self._apply(unit)

    # -- questions ------------------------------------------------------------------------------------------------

    def pods_of(self, job_id: str) -> list[Pod]:
        """The pods of a job that waits or runs."""
        unit = self._units.get(job_id.removesuffix(REST))
        if unit is None:
            return []
        return unit.waiting if job_id in self._waits else unit.held

    def known(self, uid: str) -> Pod | None:
        """The pod with this uid, or None."""
        unit = self._units.get(self._unit_of.get(uid, ""))
        return None if unit is None else unit.pods.get(uid)

    def hold_of(self, uid: str) -> Hold | None:
        """Where a pod is, or None."""
        unit = self._units.get(self._unit_of.get(uid, ""))
        return None if unit is None else unit.holds.get(uid)

    def running_of(self, uid: str) -> RunningJob | None:
        """The running job that a pod is part of, or None."""
        held = self._held.get(self._unit_of.get(uid, ""))
        if held is None:
            return None
        name = self._unit_of[uid]
        return held.runs[0] if held.runs[0].job.job_id == name else self.running.jobs.get(f"{name}/{uid}")

    def view_of(self, pod: Pod) -> JobView:
        """A single pod as a job, whether it is known here or not."""
        self.settle()
        return self._view(pod.key, self._arrivals + 1, [pod], self._shapes.shape([pod]).request)

    def number_of(self, node: str) -> int | None:
        """The number of a node in `nodes`, or None if it is not known."""
        self.settle()
        return self._number.get(node)

    def set_of(self, names: Iterable[str]) -> NodeSet:
        """The nodes with these names as a set; names that are not known are left out."""
        self.settle()
        number = self._number
        found = 0
        for name in names:
            at = number.get(name)
            if at is not None:
                found |= 1 << at
        return found

    def units(self) -> Iterator[Unit]:
        """Everything that waits or runs."""
        return iter(self._units.values())

    # -- inside -----------------------------------------------------------------------------------------------------

    def _rebuild(self) -> None:
        for unit in self._units.values():
            self._give_back(unit)
        nodes = [node for _, node in sorted(self._nodes.items())]
        used = [
            rank for rank, label in enumerate(self._levels.values()) if any(label in node.labels for node in nodes)
        ]
        nodes = [node._replace(domains=tuple(node.domains[rank] for rank in used)) for node in nodes]
        self._topology = Topology(nodes, tuple(list(self._levels)[rank] for rank in used))
        self._ledger = NodeLedger(self._topology)
        self._number = {node.name: number for number, node in enumerate(nodes)}
        self._shapes = Shapes(self._topology, labels=self._labels)
        self._stale = False
        self.releases += 1
        for unit in self._units.values():
            self._apply(unit)

    def _give_back(self, unit: Unit, *, counted: bool = True) -> None:
        """Release what the unit's pods hold, before it changes. `counted` tells policies that something may have become free."""
        held = self._held.pop(unit.name, None)
        if held is None:
            return
        for request, placement in held.takes:
            self._ledger.release(request, placement)
        for running in held.runs:
            del self.running.jobs[running.job.job_id]
            self._count(running, -1)
        self.releases += counted

    def _apply(self, unit: Unit) -> None:
        """Bring the pending pool, the running table and the ledger in line with the unit."""
        if self._stale:
            return  # because: the rebuild that is due does it for all
        if unit.name not in self._held:
            self._hold(unit)
        self._wait(unit)

    def _hold(self, unit: Unit) -> None:
        placed: list[tuple[Pod, int, int]] = []
        takes: list[tuple[Request, Placement]] = []
        for pod in unit.held:
            node = self._number.get(unit.holds[pod.uid].node)
            if node is None:
                continue
            fitted, mask = self._devices(pod, node, unit.holds[pod.uid])
            request = self._shapes.shape([fitted]).request
            placement = (Share(node, mask),)
            self._ledger.take(request, placement)
            takes.append((request, placement))
            placed.append((fitted, node, mask))
            unit.holds[pod.uid] = unit.holds[pod.uid]._replace(devices=mask)
        if not placed:
            return
        runs = self._runs(unit, placed)
        self._held[unit.name] = _Held(takes, runs)
        for running in runs:
            self.running.jobs[running.job.job_id] = running
            self._count(running, 1)

    def _devices(self, pod: Pod, node: int, hold: Hold) -> tuple[Pod, int]:
        """The devices that a pod holds; and the pod, with fewer if the node does not have as many left."""
        key = f"pod {pod.key}"
        self.faults.pop(key, None)
        if not pod.devices:
            return pod, 0
        ledger = self._ledger
        request = self._shapes.shape([pod]).request
        whole = request.device_milli == DEVICE_MILLI
        if whole and hold.devices.bit_count() == pod.devices and not hold.devices & ~ledger.idle_mask[node]:
            return pod, hold.devices
        mask = ledger.devices_for(node, request, pod.devices)
        if mask:
            return pod, mask
        there = ledger.idle[node]
        self.faults[key] = f"holds {pod.devices} devices of {hold.node}, which has {there} left"
        return replace(pod, devices=there, share=WHOLE), ledger.idle_mask[node]

    def _runs(self, unit: Unit, placed: list[tuple[Pod, int, int]]) -> list[RunningJob]:
        """The held pods of a unit as running jobs: one, or one each where no request describes them together."""
        where = {pod.uid: (node, mask) for pod, node, mask in placed}
        try:
            shape = self._shapes.shape([pod for pod, _, _ in placed])
        except ShapeError:
            return [
                self._run(f"{unit.name}/{pod.uid}", unit, [pod], self._shapes.shape([pod]), where)
                for pod, _, _ in placed
            ]
        return [self._run(unit.name, unit, [pod for pod, _, _ in placed], shape, where)]

    def _run(
        self, job_id: str, unit: Unit, pods: list[Pod], shape: Shape, where: Mapping[str, tuple[int, int]]
    ) -> RunningJob:
        start_ms = min(unit.holds[pod.uid].start_ms for pod in pods)
        job = self._view(job_id, unit.arrival, pods, shape.request)
        placement = tuple(
            Share(*where[pod.uid], 1, number) for number, group in enumerate(shape.groups) for pod in group
        )
        end = None if job.estimate_ms is None else start_ms + job.estimate_ms
        return RunningJob(job, placement, start_ms, end)

    def _wait(self, unit: Unit) -> None:
        for job_id in (unit.name, f"{unit.name}{REST}"):
            if self._waits.pop(job_id, None) is not None:
                job = self.pending.get(job_id)
                assert job is not None, "what waits is in the pool"
                self.pending.remove(job)
        self.faults.pop(f"job {unit.name}", None)
        waiting = [pod for pod in unit.waiting if self._ours(pod)]
        if not waiting:
            return
        fault = unit.fault(waiting)
        try:
            shape = None if fault else self._shapes.shape(waiting)
        except ShapeError as error:
            fault, shape = str(error), None
        if shape is None:
            self.faults[f"job {unit.name}"] = fault
            return
        job_id = f"{unit.name}{REST}" if unit.holds else unit.name
        self._waits[job_id] = shape
        self.pending.add(self._view(job_id, unit.arrival, waiting, shape.request))

    def _view(self, job_id: str, arrival: int, pods: list[Pod], request: Request) -> JobView:
        first = pods[0]
        created = [pod.created_ms for pod in pods if pod.created_ms is not None]
        return JobView(
            job_id=job_id,
            arrival=arrival,
            submit_ms=min(created, default=self.now_ms),
            request=request,
            queue=first.queue,
            user=first.user,
            priority=first.priority,
            estimate_ms=first.estimate_ms,
            family=first.family,
        )

    def _count(self, running: RunningJob, sign: int) -> None:
        queue = self.queues.get(running.job.queue)
        if queue is None:
            return
        for share in running.placement:
            amount = sign * share.device_mask.bit_count() * running.job.request.device_milli
            for key in (self._topology.accelerator_of[share.node] or "generic", "*") if amount else ():
                queue.held_milli[key] = queue.held_milli.get(key, 0) + amount


def _members(shape: Shape, placement: Placement) -> Iterator[tuple[Pod, int, int]]:
    """Which pod goes where, and on which devices: pods by name, shares as they come. A share of several pods is cut."""
    left = [iter(group) for group in shape.groups]
    for node, mask, pods, group in placement:
        devices = shape.request.gang[group].devices
        for _ in range(pods):
            part = 0
            for _ in range(devices):
                part |= mask & -mask
                mask &= mask - 1
            yield next(left[group]), node, part
