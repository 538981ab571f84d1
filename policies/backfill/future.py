"""All servers during one step of a plan, as arrays: what is idle, and the least of two steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policies import bitset
from policies.api import DEVICE_MILLI, NodeSet, Placement, Request
from policies.nodes import UNLIMITED, NodeLedger, NodeTable


@dataclass(slots=True)
class Shares:
    """What is left of each server where devices are shared or CPU, memory and pods are limited."""

    left_milli: NDArray[np.int64]
    """Shape (N, D)."""
    cpu_milli: NDArray[np.int64]
    memory_mib: NDArray[np.int64]
    pods: NDArray[np.int64]

    def copy(self) -> Shares:
        """An independent copy."""
        return Shares(self.left_milli.copy(), self.cpu_milli.copy(), self.memory_mib.copy(), self.pods.copy())

    def least(self, others: Sequence[Shares]) -> Shares:
        """What is left in this one and in all others."""
        return Shares(
            np.minimum.reduce([self.left_milli, *(other.left_milli for other in others)]),
            np.minimum.reduce([self.cpu_milli, *(other.cpu_milli for other in others)]),
            np.minimum.reduce([self.memory_mib, *(other.memory_mib for other in others)]),
            np.minimum.reduce([self.pods, *(other.pods for other in others)]),
        )

    def change(self, request: Request, placement: Placement, sign: int) -> None:
        """Take (-1) or give back (1)."""
        for node, mask, pods, group in placement:
            each = request.gang[group]
            for device in bitset.bits(mask):
                self.left_milli[node, device] += sign * request.device_milli
            for column, amount in (
                (self.cpu_milli, each.cpu_milli),
                (self.memory_mib, each.memory_mib),
                (self.pods, 1),
            ):
                if column[node] < UNLIMITED:
                    column[node] += sign * pods * amount


@dataclass(slots=True)
class Step:
    """The servers from one instant of a plan until the next."""

    idle: NDArray[np.uint64]
    """The wholly idle devices of each server as a mask, shape (N,)."""
    idle_total: int
    """How many they are."""
    shares: Shares | None
    """None where whole devices are all that anybody asks for."""

    @classmethod
    def of(cls, nodes: NodeTable, *, shared: bool) -> Step:
        """The servers as they are now."""
        shares = None
        if shared:
            now = nodes.columns()
            shares = Shares(now.left_milli, now.cpu_milli, now.memory_mib, now.pods).copy()
        return cls(np.array(nodes.idle_mask, dtype=np.uint64), nodes.idle_total, shares)

    def copy(self) -> Step:
        """An independent copy."""
        return Step(self.idle.copy(), self.idle_total, None if self.shares is None else self.shares.copy())

    def least(self, others: Sequence[Step]) -> Step:
        """What is idle in this one and in all others."""
        idle = np.bitwise_and.reduce([self.idle, *[other.idle for other in others]])
        shares = None
        if self.shares is not None:
            shares = self.shares.least([other.shares for other in others if other.shares is not None])
        return Step(idle, int(np.bitwise_count(idle).sum()), shares)

    def may_hold(self, request: Request, within: NodeSet, nodes: NodeTable) -> bool:
        """False if whole devices, counted by server, rule out the largest pods of a plain request."""
        if not request.plain:
            return True
        if self.idle_total < request.devices:
            return False
        largest = request.gang[0]
        pods = np.bitwise_count(self.idle) // largest.devices
        return int(pods.sum(where=nodes.topology.as_array(within), dtype=np.int64)) >= largest.pods

    def change(self, request: Request, placement: Placement, sign: int) -> None:
        """Take (-1) or give back (1)."""
        if self.shares is not None:
            self.shares.change(request, placement, sign)
        for node, mask, _, _ in placement:
            before = int(self.idle[node])
            if request.device_milli == DEVICE_MILLI:
                after = before | mask if sign > 0 else before & ~mask
            else:
                after = before & ~mask
                assert self.shares is not None, "shared devices are noted"
                for device in bitset.bits(mask):
                    after |= (int(self.shares.left_milli[node, device]) == DEVICE_MILLI) << device
            self.idle[node] = after
            self.idle_total += after.bit_count() - before.bit_count()

    def ledger(self, nodes: NodeTable) -> NodeLedger:
        """These servers as a table on which a placement can be looked for."""
        ledger = nodes.what_if()
        ledger.mirror = None  # because: it would show the columns of the copied table
        counts = np.bitwise_count(self.idle)
        ledger.idle_mask = self.idle.tolist()
        ledger.idle = counts.tolist()
        ledger.by_idle = [bitset.from_array(counts == count) for count in range(len(nodes.by_idle))]
        ledger.idle_total = self.idle_total
        shares = self.shares
        if shares is not None:
            ledger.cpu_left = shares.cpu_milli.tolist()
            ledger.memory_left = shares.memory_mib.tolist()
            ledger.pods_left = shares.pods.tolist()
            ledger.partial = {}
            for node, device in np.argwhere((shares.left_milli > 0) & (shares.left_milli < DEVICE_MILLI)).tolist():
                ledger.partial.setdefault(node, {})[device] = int(shares.left_milli[node, device])
        return ledger
