"""The servers as they are now, with indexes that each change keeps up to date.

Two layouts of the same facts. Lists and bit sets serve decisions that touch one server at a time: the servers that
have c idle devices are one integer, so the best fit is one AND and one lowest bit. NumPy columns serve rules that
look at all servers: `policies.columns`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from policies.bitset import bits
from policies.columns import UNLIMITED, Columns, Journal, Mirror
from policies.topology import Topology
from policies.values import DEVICE_MILLI, DeviceMask, NodeSet, Placement, PodGroup, Request

__all__ = ["UNLIMITED", "Columns", "NodeLedger", "NodeTable"]


class NodeTable:
    """Servers with what is left of each; read-only. `what_if()` gives a private copy that can be changed."""

    topology: Topology
    idle_mask: list[DeviceMask]
    """The wholly idle devices of each server."""
    idle: list[int]
    """How many they are."""
    partial: dict[int, dict[int, int]]
    """Server -> device -> what is left, for devices that are neither idle nor whole taken by one job."""
    by_idle: list[NodeSet]
    """For each count c, the servers with exactly c wholly idle devices."""
    idle_total: int
    """Wholly idle devices of the fleet."""
    limits_side_resources: bool
    """True if CPU, memory or the number of pods can stand in the way anywhere."""
    cpu_left: list[int]
    memory_left: list[int]
    pods_left: list[int]

    def __init__(self, topology: Topology) -> None:
        nodes = topology.nodes
        self.topology = topology
        self.idle_mask = [(1 << node.devices) - 1 for node in nodes]
        self.idle = [node.devices for node in nodes]
        self.partial = {}
        self.by_idle = [0] * (topology.widest + 1)
        for number, count in enumerate(self.idle):
            self.by_idle[count] |= 1 << number
        self.idle_total = sum(self.idle)
        self.cpu_left = [UNLIMITED if node.cpu_milli is None else node.cpu_milli for node in nodes]
        self.memory_left = [UNLIMITED if node.memory_mib is None else node.memory_mib for node in nodes]
        self.pods_left = [UNLIMITED if node.max_pods is None else node.max_pods for node in nodes]
        self.limits_side_resources = topology.limits_side_resources
        self.journal = Journal()
        """Which servers changed, once somebody has asked."""
        self.mirror: Mirror | None = None
        """The NumPy columns, once somebody has asked."""

    def __len__(self) -> int:
        return len(self.topology.nodes)

    def what_if(self) -> NodeLedger:
        """A private copy, to try what an action would leave. Costs a copy of the columns."""
        copy = NodeLedger.__new__(NodeLedger)
        copy.topology = self.topology
        copy.idle_mask = self.idle_mask.copy()
        copy.idle = self.idle.copy()
        copy.partial = {node: left.copy() for node, left in self.partial.items()}
        copy.by_idle = self.by_idle.copy()
        copy.idle_total = self.idle_total
        copy.cpu_left = self.cpu_left.copy()
        copy.memory_left = self.memory_left.copy()
        copy.pods_left = self.pods_left.copy()
        copy.limits_side_resources = self.limits_side_resources
        copy.journal = Journal()
        copy.mirror = None if self.mirror is None else self.mirror.of_copy(self, copy)
        return copy

    # -- questions about one pod group -----------------------------------------------------------------------

    def whole_pods(self, devices: int, within: NodeSet) -> int:
        """How many pods of `devices` whole devices the servers of `within` could take, devices alone counted."""
        count = 0
        for idle in range(devices, len(self.by_idle)):
            servers = self.by_idle[idle] & within
            if servers:
                count += servers.bit_count() * (idle // devices)
        return count

    def pods_everywhere(self, request: Request, group: PodGroup) -> NDArray[np.int64]:
        """How many pods of the group each server could take now, shape (N,); 0 where its kind is not allowed."""
        columns = self.columns()
        milli = request.device_milli
        if not group.devices:
            pods = np.full(len(self), UNLIMITED, dtype=np.int64)
        elif milli == DEVICE_MILLI:
            pods = columns.idle // group.devices
        elif group.devices == 1:
            pods = (np.maximum(columns.left_milli, 0) // milli).sum(axis=1)
        else:
            pods = np.array([_shared_pods(row, group.devices, milli) for row in columns.left_milli.tolist()])
        if group.cpu_milli:
            pods = np.minimum(pods, columns.cpu_milli // group.cpu_milli)
        if group.memory_mib:
            pods = np.minimum(pods, columns.memory_mib // group.memory_mib)
        pods = np.minimum(pods, columns.pods)
        pods[~self.topology.as_array(request.eligible)] = 0
        return pods

    def devices_for(self, node: int, request: Request, count: int) -> DeviceMask:
        """`count` devices of the server for one or more pods, close together; 0 if there are not as many.

        A shared device with the least left that suffices goes first, the lowest number among equals.
        """
        if request.device_milli == DEVICE_MILLI:
            available = self.idle_mask[node]
            return self.topology.pick(node, available, count) if available.bit_count() >= count else 0
        shared = sorted(
            (left, device) for device, left in self.partial.get(node, {}).items() if left >= request.device_milli
        )
        chosen = 0
        for _, device in shared[:count]:
            chosen |= 1 << device
        missing = count - chosen.bit_count()
        if missing:
            available = self.idle_mask[node]
            if available.bit_count() < missing:
                return 0
            chosen |= self.topology.pick(node, available, missing)
        return chosen

    # -- all servers at once -----------------------------------------------------------------------------------

    def columns(self) -> Columns:
        """The NumPy columns, brought up to date."""
        if self.mirror is None:
            self.mirror = Mirror(self)
        return self.mirror.columns(self)

    @property
    def changes(self) -> int:
        """How many changes were noted so far: a position for `changed_since`. Noting begins with the first call."""
        return self.journal.position()

    def changed_since(self, position: int) -> list[int] | None:
        """Servers that changed after `position`, each once, or None if that is too long ago to know."""
        return self.journal.since(position)


class NodeLedger(NodeTable):
    """A `NodeTable` that its owner changes."""

    def take(self, request: Request, placement: Placement) -> int:
        """Give these devices, CPU and memory to a job, or to a part of its gang: all of them or none.

        Returns how many devices were taken; -1, and nothing is taken, if a device does not exist or is not idle, or a
        share's devices are not what its pods need. For the rest, and for shared devices altogether, ask
        `policies.feasibility.why_not` first.
        """
        if request.device_milli != DEVICE_MILLI:
            self._take_shares(request, placement)
            self._after(request, placement, -1)
            return request.devices
        gang = request.gang
        idle, idle_mask, by_idle, bit_of = self.idle, self.idle_mask, self.by_idle, self.topology.bit_of
        total = 0
        try:
            for node, mask, pods, group in placement:
                free = idle_mask[node]
                count = mask.bit_count()
                if (
                    mask & free != mask
                    or count != pods * gang[group][1]
                    or pods < 1
                    or (node | group) < 0
                    or mask.__class__ is not int  # because: a NumPy integer would spread through the table
                ):
                    return self._give_back(placement, total)
                before = idle[node]
                idle[node] = after = before - count
                idle_mask[node] = free ^ mask
                bit = bit_of[node]
                by_idle[before] ^= bit
                by_idle[after] ^= bit
                total += count
        except (TypeError, ValueError, IndexError, AttributeError):
            return self._give_back(placement, total)
        self.idle_total -= total
        if self.limits_side_resources or self.journal.watched:
            self._after(request, placement, -1)
        return total

    def _give_back(self, placement: Placement, total: int) -> int:
        """Undo the shares that hold the first `total` devices of a placement."""
        if total:
            for share in placement:
                node, mask = share[0], share[1]
                before = self.idle[node]
                self.idle[node] = after = before + mask.bit_count()
                self.idle_mask[node] |= mask
                self.by_idle[before] ^= 1 << node
                self.by_idle[after] ^= 1 << node
                total -= mask.bit_count()
                if not total:
                    break
        return -1

    def release(self, request: Request, placement: Placement) -> None:
        """Take back what `take` gave."""
        if request.device_milli == DEVICE_MILLI:
            idle, idle_mask, by_idle, bit_of = self.idle, self.idle_mask, self.by_idle, self.topology.bit_of
            total = 0
            for node, mask, _, _ in placement:
                before = idle[node]
                count = mask.bit_count()
                idle[node] = after = before + count
                total += count
                idle_mask[node] |= mask
                bit = bit_of[node]
                by_idle[before] ^= bit
                by_idle[after] ^= bit
            self.idle_total += total
        else:
            self._release_shares(request, placement)
        if self.limits_side_resources or self.journal.watched:
            self._after(request, placement, 1)

    def _after(self, request: Request, placement: Placement, sign: int) -> None:
        if self.limits_side_resources:
            self._side(request, placement, sign)
        if self.journal.watched:
            self.journal.note(placement)

    def _take_shares(self, request: Request, placement: Placement) -> None:
        milli = request.device_milli
        for node, mask, _, _ in placement:
            if not mask:
                continue
            lefts = self.partial.setdefault(node, {})
            for device in bits(mask):
                left = lefts.get(device)
                if left is None:
                    self._set_idle(node, device, idle=False)
                    left = DEVICE_MILLI
                lefts[device] = left - milli

    def _release_shares(self, request: Request, placement: Placement) -> None:
        milli = request.device_milli
        for node, mask, _, _ in placement:
            if not mask:
                continue
            lefts = self.partial[node]
            for device in bits(mask):
                left = lefts[device] + milli
                if left == DEVICE_MILLI:
                    del lefts[device]
                    self._set_idle(node, device, idle=True)
                else:
                    lefts[device] = left
            if not lefts:
                del self.partial[node]

    def _set_idle(self, node: int, device: int, *, idle: bool) -> None:
        before = self.idle[node]
        after = before + 1 if idle else before - 1
        self.idle[node] = after
        self.idle_mask[node] ^= 1 << device
        self.by_idle[before] ^= 1 << node
        self.by_idle[after] ^= 1 << node
        self.idle_total += after - before

    def _side(self, request: Request, placement: Placement, sign: int) -> None:
        for node, _, pods, group in placement:
            each = request.gang[group]
            if self.cpu_left[node] < UNLIMITED:
                self.cpu_left[node] += sign * pods * each.cpu_milli
            if self.memory_left[node] < UNLIMITED:
                self.memory_left[node] += sign * pods * each.memory_mib
            if self.pods_left[node] < UNLIMITED:
                self.pods_left[node] += sign * pods


def _shared_pods(left_milli: list[int], devices: int, milli: int) -> int:
    """Pods that take `milli` of each of several devices of one server, the devices chosen as `devices_for` does."""
    pods = 0
    while True:
        left_milli = sorted(left for left in left_milli if left >= milli)
        if len(left_milli) < devices:
            return pods
        left_milli[:devices] = [left - milli for left in left_milli[:devices]]
        pods += 1
