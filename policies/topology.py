"""The servers as they never change: who may host what, which devices are close, which domains a gang spans."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies import bitset
from policies.kube.terms import Amounts, PodTerms, Taint
from policies.values import DEVICE_MILLI, DeviceMask, NodeSet, PodGroup, Request

DEVICES_MAX = 64
"""Devices of one server: a mask of them fits a 64-bit integer."""

NO_LABELS: Final[Mapping[str, str]] = MappingProxyType({})


class Node(NamedTuple):
    """One server. None means "not modelled": then nothing is checked."""

    name: str
    pool: str = "default"
    accelerator: str | None = "generic"
    devices: int = 8
    device_memory_mib: int | None = None
    islands: tuple[tuple[int, ...], ...] = ()
    """Device numbers of each group with fast links; empty is one group of all."""
    cpu_milli: int | None = None
    memory_mib: int | None = None
    max_pods: int | None = None
    domains: tuple[str, ...] = ()
    """The name of its domain at each level, narrow to wide; unique at its level."""
    resource: str = ""
    """The extended resource that counts its devices, such as `nvidia.com/gpu`; empty where not known."""
    labels: Mapping[str, str] = NO_LABELS
    taints: tuple[Taint, ...] = ()
    """They count for requests with `terms` only: a trace that is not of Kubernetes cannot say what it tolerates."""
    unschedulable: bool = False
    """Cordoned: nothing new goes there, but what tolerates it."""
    allocatable: Amounts = ()
    """What pods may take, as Kubernetes counts it; empty where the fleet is not of Kubernetes."""


class Topology:
    """Servers, numbered in the order given, and the levels above them, narrow to wide.

    Raises ValueError for a server that cannot be.
    """

    def __init__(self, nodes: Sequence[Node], levels: Sequence[str] = ()) -> None:
        self.nodes: tuple[Node, ...] = tuple(nodes)
        self.levels: tuple[str, ...] = tuple(levels)
        for node in self.nodes:
            _check(node, self.levels)
        self.bit_of: tuple[NodeSet, ...] = tuple(1 << number for number in range(len(self.nodes)))
        """Each server as a set of one."""
        self.everywhere: NodeSet = (1 << len(self.nodes)) - 1
        self.widest: int = max((node.devices for node in self.nodes), default=0)
        """Devices of the largest server."""
        self.device_count: int = sum(node.devices for node in self.nodes)
        self.accelerator_of: tuple[str | None, ...] = tuple(node.accelerator for node in self.nodes)
        self.by_accelerator: dict[str, NodeSet] = {}
        """The servers of each model; those without devices under the empty name."""
        for number, node in enumerate(self.nodes):
            model = node.accelerator or ""
            self.by_accelerator[model] = self.by_accelerator.get(model, 0) | self.bit_of[number]
        self.domains: list[tuple[NodeSet, ...]] = []
        """For each level, the servers of each of its domains."""
        self.domain_names: list[tuple[str, ...]] = []
        self.domain_of: list[tuple[int, ...]] = []
        """For each level, the number of the domain of each server."""
        for level in range(len(self.levels)):
            self._index_level(level)
        self._islands: list[tuple[DeviceMask, ...]] = []
        self._island_kind: list[int] = []
        self._index_islands()
        self._arrays: dict[NodeSet, NDArray[np.bool_]] = {}
        self._picks: dict[tuple[int, DeviceMask, int], DeviceMask] = {}
        self.limits_side_resources: bool = any(
            node.cpu_milli is not None or node.memory_mib is not None or node.max_pods is not None
            for node in self.nodes
        )
        """True if CPU, memory or the number of pods can stand in the way anywhere."""
        self.limits_pods: bool = any(node.max_pods is not None for node in self.nodes)

    def _index_level(self, level: int) -> None:
        members: dict[str, NodeSet] = {}
        for number, node in enumerate(self.nodes):
            name = node.domains[level]
            members[name] = members.get(name, 0) | 1 << number
        order = {name: i for i, name in enumerate(members)}
        self.domain_names.append(tuple(members))
        self.domains.append(tuple(members.values()))
        self.domain_of.append(tuple(order[node.domains[level]] for node in self.nodes))

    def _index_islands(self) -> None:
        kinds: dict[tuple[DeviceMask, ...], int] = {}
        for node in self.nodes:
            islands = tuple(bitset.from_members(island) for island in node.islands)
            if len(islands) < 2:
                islands = ()
            self._islands.append(islands)
            self._island_kind.append(kinds.setdefault(islands, len(kinds)))

    def __len__(self) -> int:
        return len(self.nodes)

    def request(
        self,
        gang: tuple[PodGroup, ...],
        *,
        device_milli: int = DEVICE_MILLI,
        device_memory_mib: int | None = None,
        accelerators: tuple[str, ...] = (),
        pools: tuple[str, ...] | None = None,
        terms: PodTerms | None = None,
    ) -> Request:
        """A request on this fleet. The caller keeps one object for all jobs that ask for the same."""
        devices = sum(group.pods * group.devices for group in gang)
        side = any(group.cpu_milli or group.memory_mib for group in gang)
        eligible = self.allowing(
            devices=devices,
            device_memory_mib=device_memory_mib,
            accelerators=accelerators,
            pools=pools,
            terms=terms,
        )
        plain = (
            device_milli == DEVICE_MILLI
            and all(group.devices for group in gang)
            and not self.limits_pods
            and not (side and self.limits_side_resources)
        )
        return Request(
            gang=gang,
            devices=devices,
            device_milli=device_milli,
            device_memory_mib=device_memory_mib,
            accelerators=accelerators,
            pools=pools,
            terms=terms,
            side=side,
            eligible=eligible,
            plain=plain,
            simple=plain and len(gang) == 1 and eligible is self.everywhere,
        )

    def allowing(
        self,
        *,
        devices: int,
        device_memory_mib: int | None,
        accelerators: tuple[str, ...],
        pools: tuple[str, ...] | None,
        terms: PodTerms | None = None,
    ) -> NodeSet:
        """The servers of a kind that is allowed, whatever they hold now."""
        found = 0
        for number, node in enumerate(self.nodes):
            if pools is not None and node.pool not in pools:
                continue
            if (
                devices
                and accelerators
                and node.accelerator not in accelerators
                and (not node.resource or node.resource not in accelerators)
            ):
                continue
            if terms is None:
                if node.unschedulable:
                    continue
            elif not terms.allows(node.labels, node.name, node.taints, unschedulable=node.unschedulable):
                continue
            known = node.device_memory_mib
            if devices and device_memory_mib is not None and known is not None and known < device_memory_mib:
                continue
            found |= self.bit_of[number]
        return self.everywhere if found == self.everywhere else found  # one object, so that "anywhere" is one look

    def as_array(self, nodes: NodeSet) -> NDArray[np.bool_]:
        """A set of servers as a mask of shape (N,); remembered, so for sets that never change."""
        known = self._arrays.get(nodes)
        if known is None:
            known = bitset.to_array(nodes, len(self.nodes))
            known.setflags(write=False)
            self._arrays[nodes] = known
        return known

    def pick(self, node: int, available: DeviceMask, count: int) -> DeviceMask:
        """`count` of the available devices of a server, close together.

        The island with the fewest that still suffices, else the islands with the most first; lowest numbers first.
        """
        if available.bit_count() == count:
            return available
        key = (self._island_kind[node], available, count)
        known = self._picks.get(key)
        if known is None:
            known = _pick(self._islands[node], available, count)
            self._picks[key] = known
        return known

    def span(self, nodes: Iterable[int]) -> int:
        """How wide a set of servers is: 0 one server, 1 one domain of the narrowest level, ..., last the fleet."""
        members = iter(nodes)
        first = next(members)
        rest = [node for node in members if node != first]
        if not rest:
            return 0
        for level, domain_of in enumerate(self.domain_of):
            home = domain_of[first]
            if all(domain_of[node] == home for node in rest):
                return level + 1
        return len(self.levels) + 1


def _check(node: Node, levels: tuple[str, ...]) -> None:
    if not 0 <= node.devices <= DEVICES_MAX:
        raise ValueError(f"server {node.name}: devices must be from 0 to {DEVICES_MAX}, got {node.devices}")
    if len(node.domains) != len(levels):
        raise ValueError(f"server {node.name}: {len(node.domains)} domains for {len(levels)} levels")
    numbers = sorted(device for island in node.islands for device in island)
    if numbers and numbers != list(range(node.devices)):
        raise ValueError(f"server {node.name}: islands must hold each of its {node.devices} devices once")


def _pick(islands: tuple[DeviceMask, ...], available: DeviceMask, count: int) -> DeviceMask:
    inside = [available & island for island in islands]
    enough = [mask for mask in inside if mask.bit_count() >= count]
    if enough:
        return bitset.lowest(min(enough, key=int.bit_count), count)
    taken = 0
    for mask in sorted(inside, key=int.bit_count, reverse=True):
        if taken.bit_count() == count:
            break
        taken |= bitset.lowest(mask, min(count - taken.bit_count(), mask.bit_count()))
    return taken or bitset.lowest(available, count)
