"""The servers as they are now, with indexes that each change keeps up to date.

Two layouts of the same facts. Lists and bit sets serve decisions that touch one server at a time: the servers that
have c idle devices are one integer, so the best fit is one AND and one lowest bit. NumPy columns serve rules that
look at all servers; they are brought up to date on access, at the cost of what changed since.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.api import DEVICE_MILLI, DeviceMask, NodeSet, Placement, PodGroup, Request
from policies.bitset import bits
from policies.topology import Topology

UNLIMITED = 1 << 60
"""Stands for "not modelled" in the columns of CPU, memory and pods."""

JOURNAL_MAX = 1 << 16
"""Changes that are remembered; who comes later reads everything anew."""


class Columns(NamedTuple):
    """One entry a server; read-only, true until the next change."""

    idle: NDArray[np.int64]
    """Wholly idle devices, shape (N,)."""
    left_milli: NDArray[np.int64]
    """What is left of each device, shape (N, D); -1 where the server has no such device."""
    free_milli: NDArray[np.int64]
    """Sum of what is left, shape (N,)."""
    cpu_milli: NDArray[np.int64]
    """CPU left; `UNLIMITED` where not modelled."""
    memory_mib: NDArray[np.int64]
    pods: NDArray[np.int64]


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
        self._watched = False
        """Changes are noted only once somebody has asked for columns or changes."""
        self._journal: list[int] = []
        self._journal_start = 0
        self._columns: Columns | None = None
        self._columns_at = 0

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
        copy._watched = False
        copy._journal = []
        copy._journal_start = 0
        copy._columns = None
        copy._columns_at = 0
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

    def pods_on(self, node: int, request: Request, group: PodGroup, busy: DeviceMask = 0) -> int:
        """How many pods of the group server `node` could take now, with the devices of `busy` taken too.

        `busy` holds whole devices. Its pods' CPU and memory are not counted: use a what-if for those.
        """
        if request.device_milli == DEVICE_MILLI:
            pods = (self.idle_mask[node] & ~busy).bit_count() // group.devices if group.devices else UNLIMITED
        else:
            pods = self._shares_on(node, request.device_milli, busy) // max(group.devices, 1)
        if group.cpu_milli:
            pods = min(pods, self.cpu_left[node] // group.cpu_milli)
        if group.memory_mib:
            pods = min(pods, self.memory_left[node] // group.memory_mib)
        return min(pods, self.pods_left[node])

    def _shares_on(self, node: int, milli: int, busy: DeviceMask) -> int:
        count = (self.idle_mask[node] & ~busy).bit_count() * (DEVICE_MILLI // milli)
        for device, left in self.partial.get(node, {}).items():
            if not busy >> device & 1:
                count += left // milli
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
            pods = np.maximum(columns.left_milli, 0).__floordiv__(milli).sum(axis=1)
        else:
            pods = (columns.left_milli >= milli).sum(axis=1) // group.devices
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

    # -- columns and changes -----------------------------------------------------------------------------------

    def columns(self) -> Columns:
        """The NumPy columns, brought up to date."""
        now = self.changes
        if self._columns is None:
            self._columns = self._build_columns()
        elif self._columns_at != now:
            changed = self.changed_since(self._columns_at)
            if changed is None:
                self._columns = self._build_columns()
            else:
                self._refresh(self._columns, changed)
        self._columns_at = now
        return self._columns

    @property
    def changes(self) -> int:
        """How many changes were noted so far: a position for `changed_since`. Noting begins with the first call."""
        self._watched = True
        return self._journal_start + len(self._journal)

    def changed_since(self, position: int) -> list[int] | None:
        """Servers that changed after `position`, each once, or None if that is too long ago to know."""
        if position < self._journal_start:
            return None
        return list(dict.fromkeys(self._journal[position - self._journal_start :]))

    def _build_columns(self) -> Columns:
        size = len(self)
        columns = Columns(
            idle=np.zeros(size, dtype=np.int64),
            left_milli=np.full((size, max(self.topology.widest, 1)), -1, dtype=np.int64),
            free_milli=np.zeros(size, dtype=np.int64),
            cpu_milli=np.array(self.cpu_left, dtype=np.int64),
            memory_mib=np.array(self.memory_left, dtype=np.int64),
            pods=np.array(self.pods_left, dtype=np.int64),
        )
        self._refresh(columns, list(range(size)))
        return columns

    def _refresh(self, columns: Columns, changed: list[int]) -> None:
        for node in changed:
            row = columns.left_milli[node]
            row[: self.topology.nodes[node].devices] = 0
            free = self.idle[node] * DEVICE_MILLI
            for device in bits(self.idle_mask[node]):
                row[device] = DEVICE_MILLI
            for device, left in self.partial.get(node, {}).items():
                row[device] = left
                free += left
            columns.idle[node] = self.idle[node]
            columns.free_milli[node] = free
            columns.cpu_milli[node] = self.cpu_left[node]
            columns.memory_mib[node] = self.memory_left[node]
            columns.pods[node] = self.pods_left[node]


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
                if mask & free != mask or count != pods * gang[group][1] or (node | group) < 0:
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
        if self._watched or self.limits_side_resources:
            self._after(request, placement, -1)
        return total

    def _give_back(self, placement: Placement, total: int) -> int:
        """Undo the shares that hold the first `total` devices of a placement."""
        for node, mask, _, _ in placement:
            if not total:
                break
            before = self.idle[node]
            self.idle[node] = after = before + mask.bit_count()
            self.idle_mask[node] |= mask
            self.by_idle[before] ^= 1 << node
            self.by_idle[after] ^= 1 << node
            total -= mask.bit_count()
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
        if self._watched or self.limits_side_resources:
            self._after(request, placement, 1)

    def _after(self, request: Request, placement: Placement, sign: int) -> None:
        if self.limits_side_resources:
            self._side(request, placement, sign)
        if self._watched:
            self._journal.extend([share[0] for share in placement])
            if len(self._journal) > JOURNAL_MAX:
                self._trim()

    def _take_shares(self, request: Request, placement: Placement) -> None:
        milli = request.device_milli
        for node, mask, _, _ in placement:
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

    def _trim(self) -> None:
        dropped = len(self._journal) // 2
        del self._journal[:dropped]
        self._journal_start += dropped
