"""What is free, summed over sets of servers, kept up to date at each start and end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from policies import bitset
from policies.nodes import UNLIMITED, NodeTable
from policies.values import DEVICE_MILLI, NodeSet, Placement, Request


class Amounts(NamedTuple):
    """What a whole job takes."""

    device_milli: int
    cpu_milli: int
    memory_mib: int
    pods: int


def amounts_of(request: Request) -> Amounts:
    """What all pods of a request take together."""
    gang = request.gang
    return Amounts(
        request.demand_milli,
        sum(group.pods * group.cpu_milli for group in gang),
        sum(group.pods * group.memory_mib for group in gang),
        sum(group.pods for group in gang),
    )


class Free:
    """What the servers of one set have left together; `UNLIMITED` where one of them does not model it."""

    __slots__ = ("cpu_milli", "device_milli", "memory_mib", "nodes", "pods")

    def __init__(self, nodes: NodeSet, table: NodeTable) -> None:
        members = list(bitset.bits(nodes))
        self.nodes = nodes
        self.device_milli = sum(table.idle[node] for node in members) * DEVICE_MILLI
        self.device_milli += sum(sum(lefts.values()) for node, lefts in table.partial.items() if nodes >> node & 1)
        self.cpu_milli = _sum(table.cpu_left[node] for node in members)
        self.memory_mib = _sum(table.memory_left[node] for node in members)
        self.pods = _sum(table.pods_left[node] for node in members)

    def lacks(self, asked: Amounts) -> bool:
        """True if less is left than is asked."""
        return (
            self.device_milli < asked.device_milli
            or self.cpu_milli < asked.cpu_milli
            or self.memory_mib < asked.memory_mib
            or self.pods < asked.pods
        )

    def move(self, amounts: Amounts, sign: int) -> None:
        """A job that lies wholly inside the set takes (-1) or gives back (1)."""
        self.device_milli += sign * amounts.device_milli
        if self.cpu_milli < UNLIMITED:
            self.cpu_milli += sign * amounts.cpu_milli
        if self.memory_mib < UNLIMITED:
            self.memory_mib += sign * amounts.memory_mib
        if self.pods < UNLIMITED:
            self.pods += sign * amounts.pods

    def move_part(self, request: Request, placement: Placement, sign: int) -> None:
        """The same for the shares of a placement that lie inside the set."""
        for node, mask, pods, number in placement:
            if self.nodes >> node & 1:
                group = request.gang[number]
                milli = mask.bit_count() * request.device_milli
                self.move(Amounts(milli, pods * group.cpu_milli, pods * group.memory_mib, pods), sign)


def _sum(lefts: Iterable[int]) -> int:
    total = 0
    for left in lefts:
        if left >= UNLIMITED:
            return UNLIMITED
        total += left
    return total
