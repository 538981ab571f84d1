"""A gang being placed on whole devices: what is left of the servers as pod after pod takes its place."""

from __future__ import annotations

from policies.api import DeviceMask, NodeSet, PodGroup, Share
from policies.nodes import NodeTable


class Draft:
    """The servers of `within` by their count of idle devices, less what this draft took. Changes no table."""

    __slots__ = ("_left", "_nodes", "by_idle", "shares")

    def __init__(self, nodes: NodeTable, within: NodeSet) -> None:
        self._nodes = nodes
        self._left: dict[int, DeviceMask] = {}
        self.by_idle: list[NodeSet] = [servers & within for servers in nodes.by_idle]
        self.shares: list[Share] = []

    def room(self, devices: int) -> int:
        """Pods of `devices` whole devices that still fit."""
        return sum(self.by_idle[idle].bit_count() * (idle // devices) for idle in range(devices, len(self.by_idle)))

    def take(self, node: int, idle: int, group: PodGroup, number: int, pods: int) -> None:
        """Put `pods` pods of the group on a server that has `idle` idle devices."""
        count = pods * group.devices
        available = self._left.get(node)
        if available is None:
            available = self._nodes.idle_mask[node]
        mask = self._nodes.topology.pick(node, available, count)
        self._left[node] = available ^ mask
        bit = 1 << node
        self.by_idle[idle] ^= bit
        self.by_idle[idle - count] |= bit
        self.shares.append(Share(node, mask, pods, number))
