"""The cluster as kube-scheduler's cache sees it: what each node has, what is asked of it, and which pods are there.

One column an amount, in whole numbers and in the units of `policies.kube.terms`: milli-cores, bytes, else counts. A pod adds
what it requests; CPU and memory are counted twice, as requested and as scores see them (`PodTerms.nonzero_cpu_milli`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from policies.columns import UNLIMITED
from policies.kube.pods import Pod
from policies.kube.terms import HostPort, Labels, PodTerms
from policies.topology import Node

__all__ = ["CPU", "EPHEMERAL", "MEMORY", "NATIVE", "PODS", "UNLIMITED", "Counts", "Ledger", "Mask"]

CPU: Final = "cpu"
MEMORY: Final = "memory"
EPHEMERAL: Final = "ephemeral-storage"
PODS: Final = "pods"
NATIVE: Final = (CPU, MEMORY, EPHEMERAL)
"""Resources that every node has; all others are extended, and count only for pods that ask for them."""

ZONE: Final = "topology.kubernetes.io/zone"
REGION: Final = "topology.kubernetes.io/region"

Counts: TypeAlias = NDArray[np.int64]
Mask: TypeAlias = NDArray[np.bool_]
LabelGroup: TypeAlias = tuple[str, Labels, bool]
"""Namespace, labels, and whether the pods are leaving."""


class Ledger:
    """See the module. Nodes are numbered in the order given; pods are known by their uid.

    `allocatable` stands for what the nodes say themselves, one mapping a node: a fleet that is not of Kubernetes gives
    `UNLIMITED` for what it does not model, which always fits and counts in no score.
    """

    def __init__(self, nodes: Sequence[Node], allocatable: Sequence[Mapping[str, int]] | None = None) -> None:
        amounts = [dict(node.allocatable) for node in nodes] if allocatable is None else allocatable
        self.nodes = tuple(nodes)
        self.number_of = {node.name: number for number, node in enumerate(nodes)}
        names = dict.fromkeys((*NATIVE, *(name for each in amounts for name in each)))
        names.pop(PODS, None)
        self.allocatable: dict[str, Counts] = {
            name: np.array([each.get(name, 0) for each in amounts], dtype=np.int64) for name in names
        }
        self.scored: dict[str, Counts] = {
            name: np.where(column < UNLIMITED, column, 0) for name, column in self.allocatable.items()
        }
        """As `allocatable`, 0 where it is not modelled: a resource without capacity counts in no score."""
        self.requested: dict[str, Counts] = {name: self._zeros() for name in names}
        self.nonzero: dict[str, Counts] = {CPU: self._zeros(), MEMORY: self._zeros()}
        self.pods_max = np.array([each.get(PODS, 0) for each in amounts], dtype=np.int64)
        self.pods_held = self._zeros()
        self.pods_on: list[dict[str, Pod]] = [{} for _ in nodes]
        """The pods of each node by uid, in the order in which they came."""
        self.node_of: dict[str, int] = {}
        self.pod_of: dict[str, Pod] = {}
        """Every pod by its uid; live."""
        self.label_groups: dict[LabelGroup, dict[int, int]] = {}
        """Pods that no selector can tell apart: node -> how many."""
        self.choosy: dict[str, int] = {}
        """The pods that say anything of other pods (affinity or anti-affinity), by uid, with their node."""
        self.ports_on: dict[int, dict[str, tuple[HostPort, ...]]] = {}
        """Node -> uid -> host ports, for nodes where any is taken."""
        self.pod_table = PodTable(len(nodes))
        self._codes: dict[str, tuple[Counts, tuple[str, ...]]] = {}

    def __len__(self) -> int:
        return len(self.nodes)

    def _zeros(self) -> Counts:
        return np.zeros(len(self.nodes), dtype=np.int64)

    def column(self, resource: str) -> tuple[Counts, Counts]:
        """(allocatable, requested) of a resource, zeros where no node has it."""
        if resource not in self.requested:
            for columns in (self.allocatable, self.scored, self.requested):
                columns[resource] = self._zeros()
        return self.allocatable[resource], self.requested[resource]

    def label_codes(self, key: str) -> tuple[Counts, tuple[str, ...]]:
        """The value of a label at each node as a number, -1 where it has none; and the values by number."""
        known = self._codes.get(key)
        if known is None:
            number_of: dict[str, int] = {}
            codes = self._zeros() - 1
            for number, node in enumerate(self.nodes):
                value = node.labels.get(key)
                if value is not None:
                    codes[number] = number_of.setdefault(value, len(number_of))
            known = self._codes[key] = (codes, tuple(number_of))
        return known

    def tree_order(self) -> list[int]:
        """The order in which nodes are looked at: one of each zone in turn, as kube-scheduler keeps its list."""
        zones: dict[tuple[str, str], list[int]] = {}
        for number, node in enumerate(self.nodes):
            zones.setdefault((node.labels.get(REGION, ""), node.labels.get(ZONE, "")), []).append(number)
        longest = max(map(len, zones.values()), default=0)
        return [zone[place] for place in range(longest) for zone in zones.values() if place < len(zone)]

    # -- changes -------------------------------------------------------------------------------------------------

    def add(self, pod: Pod, node: int) -> None:
        """A pod is on a node, bound or assumed. Raises ValueError if it already is on one."""
        if pod.uid in self.node_of:
            raise ValueError(f"pod {pod.key} ({pod.uid}) is on {self.nodes[self.node_of[pod.uid]].name} already")
        self.node_of[pod.uid] = node
        self.pod_of[pod.uid] = pod
        self.pods_on[node][pod.uid] = pod
        self._count(pod, node, 1)
        terms = pod.terms
        if terms.near or terms.away or terms.preferred_pods:
            self.choosy[pod.uid] = node
        if terms.host_ports:
            self.ports_on.setdefault(node, {})[pod.uid] = terms.host_ports
        self.pod_table.add(pod, node)

    def remove(self, uid: str) -> tuple[Pod, int]:
        """A pod is gone: it and its node. Raises KeyError if it is nowhere."""
        node = self.node_of.pop(uid)
        pod = self.pod_of.pop(uid)
        del self.pods_on[node][uid]
        self._count(pod, node, -1)
        self.choosy.pop(uid, None)
        if pod.terms.host_ports:
            del self.ports_on[node][uid]
            if not self.ports_on[node]:
                del self.ports_on[node]
        self.pod_table.remove(uid)
        return pod, node

    def _count(self, pod: Pod, node: int, sign: int) -> None:
        terms = pod.terms
        for name, amount in terms.requests:
            if name != PODS:
                self.column(name)[1][node] += sign * amount
        self.nonzero[CPU][node] += sign * terms.nonzero_cpu_milli
        self.nonzero[MEMORY][node] += sign * terms.nonzero_memory_bytes
        self.pods_held[node] += sign
        group = (terms.namespace, terms.labels, pod.leaving)
        nodes = self.label_groups.setdefault(group, {})
        nodes[node] = nodes.get(node, 0) + sign
        if not nodes[node]:
            del nodes[node]
            if not nodes:
                del self.label_groups[group]

    def pods(self) -> Iterator[tuple[Pod, int]]:
        """Every pod with its node."""
        for node, pods in enumerate(self.pods_on):
            for pod in pods.values():
                yield pod, node

    # -- one node --------------------------------------------------------------------------------------------------

    def ports_conflict(self, terms: PodTerms, node: int) -> bool:
        """Whether a host port that the pod wants is taken there."""
        return any(
            wanted.port == taken.port
            and wanted.protocol == taken.protocol
            and (wanted.ip == taken.ip or HostPort(0).ip in (wanted.ip, taken.ip))
            for ports in self.ports_on.get(node, {}).values()
            for taken in ports
            for wanted in terms.host_ports
        )


class PodTable:
    """The pods as rows, for questions about all pods of lower priority at once."""

    def __init__(self, nodes: int) -> None:
        self._nodes = nodes
        self._row_of: dict[str, int] = {}
        self._free: list[int] = []
        self._node = np.full(64, -1, dtype=np.int64)
        """-1 in rows that are free."""
        self._priority = np.zeros(64, dtype=np.int64)
        self._amounts: dict[str, Counts] = {}
        self._of_priority: dict[int, int] = {}

    def add(self, pod: Pod, node: int) -> None:
        """A pod came."""
        row = self._free.pop() if self._free else len(self._row_of)
        if row == len(self._node):
            self._grow()
        self._row_of[pod.uid] = row
        self._node[row] = node
        self._priority[row] = pod.priority
        for column in self._amounts.values():
            column[row] = 0
        for name, amount in pod.terms.requests:
            if name not in self._amounts:
                self._amounts[name] = np.zeros(len(self._node), dtype=np.int64)
            self._amounts[name][row] = amount
        self._of_priority[pod.priority] = self._of_priority.get(pod.priority, 0) + 1

    def remove(self, uid: str) -> None:
        """A pod went."""
        row = self._row_of.pop(uid)
        priority = int(self._priority[row])
        self._node[row] = -1
        self._free.append(row)
        self._of_priority[priority] -= 1
        if not self._of_priority[priority]:
            del self._of_priority[priority]

    def _grow(self) -> None:
        size = len(self._node)
        self._node = np.concatenate([self._node, np.full(size, -1, dtype=np.int64)])
        self._priority = np.concatenate([self._priority, np.zeros(size, dtype=np.int64)])
        for name, column in self._amounts.items():
            self._amounts[name] = np.concatenate([column, np.zeros(size, dtype=np.int64)])

    def any_below(self, priority: int) -> bool:
        """Whether any pod has a lower priority."""
        return any(other < priority for other in self._of_priority)

    def held_below(self, priority: int, resources: Sequence[str]) -> tuple[Counts, dict[str, Counts]]:
        """For each node, how many pods of lower priority it has, and what they request of each resource."""
        rows = np.flatnonzero((self._node >= 0) & (self._priority < priority))
        at = self._node[rows]
        held: dict[str, Counts] = {}
        for name in resources:
            column = np.zeros(self._nodes, dtype=np.int64)
            if name in self._amounts:
                np.add.at(column, at, self._amounts[name][rows])
            held[name] = column
        return np.bincount(at, minlength=self._nodes).astype(np.int64), held
