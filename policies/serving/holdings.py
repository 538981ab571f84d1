"""What the pods that hold places take of the nodes, and the jobs that policies see running.

Which devices a pod has, only the node knows: the closest idle ones stand for them, and stay the same as long as they can.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from operator import attrgetter
from typing import NamedTuple

from policies import bitset
from policies.api import DEVICE_MILLI, DeviceMask, Placement, QueueView, Request, RunningJob, Share
from policies.kube.pods import Pod
from policies.kube.sharing import WHOLE
from policies.nodes import UNLIMITED, NodeLedger
from policies.running import RunningTable
from policies.serving.shapes import Shape, ShapeError, Shapes, job_view, others_of
from policies.serving.units import Hold, Unit
from policies.topology import Node, Topology

_ROOM = attrgetter(
    *(name for name in Node._fields if name not in ("labels", "taints", "unschedulable", "allocatable"))
)
"""What of a server the ledger counts by."""


class _Held(NamedTuple):
    """What the held pods of a unit take of the ledger, and what policies see of it."""

    takes: list[tuple[Request, Placement]]
    runs: list[tuple[RunningJob, list[Pod]]]


class Place(NamedTuple):
    """A pod where it is: for questions about what else is there."""

    pod: Pod
    hold: Hold


class Holdings:
    """See the module. `shown` says which running pods policies see; `faults` is told of what does not fit."""

    def __init__(
        self,
        running: RunningTable,
        queues: Mapping[str, QueueView],
        faults: dict[str, str],
        *,
        levels: Mapping[str, str],
        labels: bool,
        shown: Callable[[Pod], bool],
    ) -> None:
        self.topology = Topology(())
        self.ledger = NodeLedger(self.topology)
        self.shapes = Shapes(self.topology, labels=labels)
        self.number: dict[str, int] = {}
        self.there: dict[str, dict[str, Place]] = {}
        """Node -> uid -> everything that is really there, or is about to be: those that leave too."""
        self.short: set[str] = set()
        """Units of which a pod holds more than its node has left for it: more was bound there than fits, or devices fell out."""
        self._running = running
        self._queues = queues
        self._faults = faults
        self._levels = levels
        self._labels = labels
        self._shown = shown
        self._held: dict[str, _Held] = {}

    def reset(self, nodes: Mapping[str, Node]) -> None:
        """New servers; whatever was taken is to be given back before and taken again after."""
        assert not self._held, "what is held is counted on the servers that were"
        self.topology = self._topology_of(nodes)
        self.ledger = NodeLedger(self.topology)
        self.number = {node.name: number for number, node in enumerate(self.topology.nodes)}
        self.shapes = Shapes(self.topology, labels=self._labels)

    def relabel(self, nodes: Mapping[str, Node]) -> bool:
        """Take over other labels, taints and cordons; what was taken stays taken. False, and nothing changed, if more differs."""
        topology = self._topology_of(nodes)
        if topology.levels != self.topology.levels or len(topology) != len(self.topology):
            return False
        if any(_ROOM(new) != _ROOM(old) for new, old in zip(topology.nodes, self.topology.nodes, strict=True)):
            return False
        # because: policies know by the identity of the table that what they remember of it is outdated
        self.ledger = self.ledger.what_if()
        self.ledger.topology = self.topology = topology
        self.shapes = Shapes(topology, labels=self._labels)
        return True

    def _topology_of(self, nodes: Mapping[str, Node]) -> Topology:
        servers = [node for _, node in sorted(nodes.items())]
        used = [
            rank for rank, label in enumerate(self._levels.values()) if any(label in node.labels for node in servers)
        ]
        levels = list(self._levels)
        return Topology(
            [node._replace(domains=tuple(node.domains[rank] for rank in used)) for node in servers],
            tuple(levels[rank] for rank in used),
        )

    # -- who is where ------------------------------------------------------------------------------------------

    def come(self, pod: Pod, hold: Hold) -> None:
        """A pod is on a node, or about to be."""
        self.there.setdefault(hold.node, {})[pod.uid] = Place(pod, hold)

    def go(self, uid: str, node: str) -> None:
        """It is there no more."""
        places = self.there.get(node, {})
        places.pop(uid, None)
        if not places:
            self.there.pop(node, None)

    # -- taking and giving back --------------------------------------------------------------------------------

    def take(self, unit: Unit, now_ms: int) -> None:
        """Take what the unit's pods hold, unless that is done."""
        if unit.name in self._held or not unit.holds:
            return
        placed: list[tuple[Pod, int, int]] = []
        takes: list[tuple[Request, Placement]] = []
        # because: those that know their devices keep them, and the others take what is left
        for pod in sorted(unit.held, key=lambda pod: not unit.holds[pod.uid].devices):
            hold = unit.holds[pod.uid]
            node = self.number.get(hold.node)
            if node is None:
                continue
            fitted, mask = self._devices(pod, node, hold)
            if fitted is not pod:
                self.short.add(unit.name)
            request = self.shapes.shape([fitted]).request
            placement = (Share(node, mask),)
            self.ledger.take(request, placement)
            takes.append((request, placement))
            placed.append((fitted, node, mask))
            if mask != hold.devices:
                hold = unit.holds[pod.uid] = hold._replace(devices=mask)
            self.come(pod, hold)
        if not placed:
            return
        placed.sort(key=lambda each: (each[0].namespace, each[0].name))
        held = self._held[unit.name] = _Held(takes, list(self._runs(unit, placed, now_ms)))
        shown = any(self._shown(pod) for pod, _, _ in placed)
        for running, _ in held.runs:
            if shown:
                self._running.jobs[running.job.job_id] = running
            self._count(running, 1)

    def give_back(self, unit: Unit) -> bool:
        """Give back what the unit's pods hold; whether that was anything."""
        held = self._held.pop(unit.name, None)
        if held is None:
            return False
        self.short.discard(unit.name)
        for request, placement in held.takes:
            self.ledger.release(request, placement)
        for running, _ in held.runs:
            self._running.jobs.pop(running.job.job_id, None)
            self._count(running, -1)
        return True

    def runs_of(self, name: str) -> list[tuple[RunningJob, list[Pod]]]:
        """The running jobs of a unit, each with its pods."""
        held = self._held.get(name)
        return [] if held is None else held.runs

    def _devices(self, pod: Pod, node: int, hold: Hold) -> tuple[Pod, DeviceMask]:
        """The devices that a pod holds; and the pod, with fewer if the node does not have as many left."""
        key = f"pod {pod.key}"
        self._faults.pop(key, None)
        if not pod.devices:
            return pod, 0
        ledger = self.ledger
        request = self.shapes.shape([pod]).request
        if hold.devices.bit_count() == pod.devices and all(
            self.left_milli(node, device) >= request.device_milli for device in bitset.bits(hold.devices)
        ):
            return pod, hold.devices
        mask = ledger.devices_for(node, request, pod.devices)
        if mask:
            return pod, mask
        there = min(ledger.idle[node], pod.devices)
        self._faults[key] = f"holds {pod.devices} devices of {hold.node}, which has {there} left"
        mask = self.topology.pick(node, ledger.idle_mask[node], there) if there else 0
        return replace(pod, devices=there, share=WHOLE), mask

    def left_milli(self, node: int, device: int) -> int:
        """What is left of a device."""
        if self.ledger.idle_mask[node] >> device & 1:
            return DEVICE_MILLI
        return self.ledger.partial.get(node, {}).get(device, 0)

    def _runs(
        self, unit: Unit, placed: list[tuple[Pod, int, int]], now_ms: int
    ) -> Iterator[tuple[RunningJob, list[Pod]]]:
        """The held pods of a unit as running jobs: one, or one each where no request describes them together."""
        where = {pod.uid: (node, mask) for pod, node, mask in placed}
        pods = [pod for pod, _, _ in placed]
        try:
            shape = self.shapes.shape(pods)
        except ShapeError:
            for pod in pods:
                yield self._run(f"{unit.name}/{pod.uid}", unit, self.shapes.shape([pod]), where, now_ms), [pod]
        else:
            yield self._run(unit.name, unit, shape, where, now_ms), pods

    def _run(
        self, job_id: str, unit: Unit, shape: Shape, where: Mapping[str, tuple[int, int]], now_ms: int
    ) -> RunningJob:
        pods = [pod for group in shape.groups for pod in group]
        start_ms = min(unit.holds[pod.uid].start_ms for pod in pods)
        pods.sort(key=lambda pod: (pod.namespace, pod.name))
        job = job_view(job_id, unit.arrival, pods, shape.request, now_ms)
        placement = tuple(
            Share(*where[pod.uid], 1, number) for number, group in enumerate(shape.groups) for pod in group
        )
        end = None if job.estimate_ms is None else start_ms + job.estimate_ms
        return RunningJob(job, placement, start_ms, end)

    def _count(self, running: RunningJob, sign: int) -> None:
        queue = self._queues.get(running.job.queue)
        if queue is None:
            return
        for share in running.placement:
            amount = sign * share.device_mask.bit_count() * running.job.request.device_milli
            for key in (self.topology.accelerator_of[share.node] or "generic", "*") if amount else ():
                queue.held_milli[key] = queue.held_milli.get(key, 0) + amount

    # -- what the ledger does not count --------------------------------------------------------------------------

    def lacking(self, pod: Pod, name: str, more: Iterable[Pod], leaving: Mapping[str, Place]) -> str:
        """Why a node cannot take the pod (with `more` that come too) for want of something that the ledger does not count."""
        wanted = others_of(pod)
        if not wanted:
            return ""
        amounts = dict(self.topology.nodes[self.number[name]].allocatable)
        present = [place.pod for uid, place in self.there.get(name, {}).items() if uid not in leaving]
        for resource, amount in wanted.items():
            used = sum(
                dict(each.terms.requests).get(resource, 0) for each in (*present, *more) if each.uid != pod.uid
            )
            if amounts.get(resource, 0) < used + amount:
                return f"{name} has {max(amounts.get(resource, 0) - used, 0)} of {resource} left, {amount} are needed"
        return ""

    def blockers(self, pod: Pod, hold: Hold, leaving: Mapping[str, Place]) -> set[str]:
        """Who of those that leave the node still has what the pod was given there."""
        node = self.number.get(hold.node)
        if node is None or not leaving:
            return set()
        requests = {uid: self.shapes.shape([place.pod]).request for uid, place in leaving.items()}
        found: set[str] = set()
        for device in bitset.bits(hold.devices):
            on_it = [uid for uid, place in leaving.items() if place.hold.devices >> device & 1]
            if on_it and self.left_milli(node, device) < sum(requests[uid].device_milli for uid in on_it):
                found.update(on_it)
        groups = [request.gang[0] for request in requests.values()]
        ledger = self.ledger
        for left, needed in (
            (ledger.cpu_left[node], sum(group.cpu_milli for group in groups)),
            (ledger.memory_left[node], sum(group.memory_mib for group in groups)),
            (ledger.pods_left[node], len(groups)),
        ):
            if left < UNLIMITED and left < needed:
                found.update(leaving)
        if self.lacking(pod, hold.node, (), {}):
            found.update(leaving)
        return found
