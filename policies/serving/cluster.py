"""A cluster of Kubernetes as policies see it: nodes and pods go in, a `ClusterView` comes out.

Whoever drives it (an extender, a scheduler of its own, the replay of a journal) tells it of every Node and Pod object that
comes, changes or goes, and of what it has decided itself. It asks nobody and knows no clock. One thread only.

A pod that is bound or assumed holds its devices, CPU and memory. Nodes are numbered by name.
"""

from __future__ import annotations

from typing import NamedTuple

from policies.api import Placement
from policies.bitset import from_members
from policies.feasibility import why_not
from policies.kube.nodes import read_server
from policies.kube.objects import Json, ObjectError, annotations_of, mapping, text
from policies.kube.pods import Pod, read_pod
from policies.kube.registry import devices_held
from policies.serving.cluster_state import ClusterState
from policies.serving.holdings import Place
from policies.serving.shapes import members
from policies.serving.units import REST, Hold, Unit, gang_name, same_to_policies, unit_name


class Assignment(NamedTuple):
    """A pod and the node that it was given."""

    pod: Pod
    node: str


class PlacementError(ValueError):
    """A policy placed a job where it does not fit, or speaks of one that does not wait or run."""


class Cluster(ClusterState):
    """See the module. A `policies.api.ClusterView`; `ClusterState` says what it is made of."""

    # -- what the API server says -----------------------------------------------------------------------------

    def set_node(self, item: Json) -> None:
        """A Node object was added or changed."""
        name = text(mapping(item.get("metadata")).get("name"))
        self.faults.pop(f"node {name}", None)
        try:
            node, cards = read_server(item, self._kinds, self._levels)
        except ObjectError as error:
            self.delete_node(name)
            self.faults[f"node {name}"] = str(error)
            return
        self._cards[name] = cards
        if self._nodes.get(name) != node:
            self._nodes[name] = node
            self._nodes_changed()

    def delete_node(self, name: str) -> None:
        """A node is gone. Its pods stay until they are said to be gone too."""
        self.faults.pop(f"node {name}", None)
        self._cards.pop(name, None)
        if self._nodes.pop(name, None) is not None:
            self._nodes_changed()

    def _nodes_changed(self) -> None:
        self._stale = True
        self.changes += 1

    def set_pod(self, item: Json) -> Pod | None:
        """A Pod object was added or changed; the pod, or None if it cannot be read (see `faults`)."""
        meta = mapping(item.get("metadata"))
        key = f"pod {text(meta.get('namespace')) or 'default'}/{text(meta.get('name'))}"
        self.faults.pop(key, None)
        try:
            pod = read_pod(item, self._kinds)
        except ObjectError as error:
            self.delete_pod(text(meta.get("uid")))
            self.faults[key] = str(error)
            return None
        cards = self._cards.get(pod.node)
        if cards:
            held = devices_held(annotations_of(item), cards)
            self._told[pod.uid] = from_members(held) if len(held) == pod.devices else 0
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
        same = before is not None and same_to_policies(before, pod, labels=self._labels)
        self._unit_of[pod.uid] = name
        unit.pods[pod.uid] = pod
        size, unit.size = unit.size, self._size(unit)
        same = same and size == unit.size
        if not same:
            unit.parked = ""
        if pod.uid in unit.leaving:
            if pod.node:
                unit.leaving[pod.uid] = unit.leaving[pod.uid]._replace(assumed=False)
            if same:
                return
        elif pod.node and hold is not None and hold.node == pod.node:
            unit.holds[pod.uid] = hold._replace(assumed=False)
            if same:
                return  # because: that it is bound where it was assumed to be changes nothing
            self._give_back(unit)
        elif pod.node:
            self._give_back(unit)
            self._drop(unit, pod.uid)
            told = self._told.get(pod.uid, 0)
            unit.holds[pod.uid] = Hold(pod.node, told, pod.started_ms or self.now_ms, assumed=False)
        elif hold is not None and not hold.assumed:
            self._drop(unit, pod.uid)
        elif same:
            return
        elif hold is not None:
            self._give_back(unit)
        self._apply(unit)

    def delete_pod(self, uid: str) -> None:
        """A pod is gone, or has ended: it holds nothing any more."""
        self._told.pop(uid, None)
        name = self._unit_of.pop(uid, None)
        if name is None:
            return
        unit = self._units[name]
        self._drop(unit, uid)
        self._left(unit, uid)
        self.faults.pop(f"pod {unit.pods.pop(uid).key}", None)
        unit.parked = ""
        unit.size = self._size(unit)
        self._apply(unit)
        if not unit.pods:
            del self._units[name]

    def set_group(self, namespace: str, name: str, size: int) -> None:
        """The gang's own object says how many pods must start together."""
        self._group_changed(gang_name(namespace, name), size)

    def delete_group(self, namespace: str, name: str) -> None:
        """The gang's own object is gone: its pods say how many they are, or nobody does."""
        self._group_changed(gang_name(namespace, name), None)

    def _group_changed(self, key: str, size: int | None) -> None:
        if size is None:
            self._group_sizes.pop(key, None)
        else:
            self._group_sizes[key] = size
        unit = self._units.get(key)
        if unit is not None and unit.size != self._size(unit):
            unit.size = self._size(unit)
            unit.parked = ""
            self._apply(unit)

    def _size(self, unit: Unit) -> int | None:
        """How many pods must start together; None while nobody says."""
        said = [pod.gang.size for pod in unit.pods.values() if pod.gang is not None and pod.gang.size is not None]
        if any(pod.gang is not None for pod in unit.pods.values()):
            return self._group_sizes.get(unit.name) or max(said, default=None)
        return 1

    # -- what was decided ---------------------------------------------------------------------------------------

    def assume(self, job_id: str, placement: Placement) -> list[Assignment]:
        """A waiting job starts: its pods hold their places from now on. Raises `PlacementError`, and nothing changed."""
        self.settle()
        shape = self._waits.get(job_id)
        if shape is None:
            raise PlacementError(f"{job_id} does not wait")
        fault = why_not(shape.request, placement, self._holdings.ledger)
        if fault is not None:
            raise PlacementError(f"{job_id}: {fault}")
        unit = self._units[job_id.removesuffix(REST)]
        nodes = self._holdings.topology.nodes
        found: list[Assignment] = []
        holds: dict[str, Hold] = {}
        for pod, node, mask in members(shape, placement):
            name = nodes[node].name
            same_node = [other.pod for other in found if other.node == name]
            fault = self._holdings.lacking(pod, name, same_node, self._leaving.get(name, {}))
            if fault:
                raise PlacementError(f"{job_id}: {fault}")
            holds[pod.uid] = Hold(name, mask, self.now_ms, assumed=True)
            found.append(Assignment(pod, name))
        self._give_back(unit, counted=False)
        unit.holds.update(holds)
        self._apply(unit)
        self.starts += 1
        return found

    def assume_pod(self, uid: str, node: str) -> None:
        """Another scheduler is about to bind a pod that waits: it holds its place from now on, whether it fits or not."""
        self.settle()
        unit = self._units.get(self._unit_of.get(uid, ""))
        if unit is None or uid in unit.holds or uid in unit.leaving:
            return
        self._give_back(unit, counted=False)
        unit.holds[uid] = Hold(node, 0, self.now_ms, assumed=True)
        self._apply(unit)
        self.starts += 1

    def forget(self, uid: str) -> None:
        """An assumed pod could not be bound: it waits again. A pod that the API server says is bound stays where it is."""
        unit = self._units.get(self._unit_of.get(uid, ""))
        if unit is None:
            return
        if uid in unit.holds and unit.holds[uid].assumed:
            self._drop(unit, uid)
        elif uid in unit.leaving and unit.leaving[uid].assumed:
            self._left(unit, uid)
        else:
            return
        self._apply(unit)

    def leave(self, job_id: str) -> list[Assignment]:
        """A running job is preempted: policies see its places as free, but they are its own until its pods are gone.

        Raises `PlacementError`, and nothing changed.
        """
        self.settle()
        unit, pods = self._running_pods(job_id)
        if unit is None or job_id not in self.running:
            raise PlacementError(f"{job_id} does not run")
        self._give_back(unit)
        found = []
        for pod in pods:
            hold = unit.leaving[pod.uid] = unit.holds.pop(pod.uid)
            self._leaving.setdefault(hold.node, {})[pod.uid] = Place(pod, hold)
            found.append(Assignment(pod, hold.node))
        self._apply(unit)
        return found

    def stay(self, uid: str) -> None:
        """A pod that was to leave does not: it holds its place again."""
        unit = self._units.get(self._unit_of.get(uid, ""))
        hold = None if unit is None else unit.leaving.get(uid)
        if unit is None or hold is None:
            return
        self._left(unit, uid)
        self._give_back(unit, counted=False)
        unit.holds[uid] = hold
        self._apply(unit)

    def park(self, job_id: str, reason: str) -> None:
        """A waiting job is not decided on until it changes, or `unpark` is called."""
        unit = self._units.get(job_id.removesuffix(REST))
        if unit is not None:
            unit.parked = reason
            self._apply(unit)

    def unpark(self, job_id: str, reason: str) -> None:
        """A job that is parked for this reason waits like any other."""
        unit = self._units.get(job_id.removesuffix(REST))
        if unit is not None and unit.parked == reason:
            self.park(job_id, "")
