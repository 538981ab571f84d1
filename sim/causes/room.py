"""Whether a placement of a whole gang exists on the servers as they are: exact for the gangs that records give.

Those are equal pods, perhaps with one other pod beside them. Whole devices are counted through the indexes; for shared
devices and limits of CPU, memory and pods, the pods that each server could take are remembered for each request, and only
the servers that changed are looked at again. Anything else is answered by trying: the best-fit placement.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from policies.nodes import NodeLedger
from policies.placement.best_fit import BestFit
from policies.values import DEVICE_MILLI, NodeSet, PodGroup, Request

IMPOSSIBLE: Final = 1 << 60
"""The loss on a server that cannot take the other pod."""


class Room:
    """The servers of one replay, asked again and again; `changed` is called after each change of them."""

    def __init__(self, ledger: NodeLedger) -> None:
        self._ledger = ledger
        self._counts: dict[tuple[int, NodeSet], int] = {}
        """(devices of a pod, servers) -> pods of whole devices, since the last change."""
        self._tried: dict[tuple[Request, NodeSet], bool] = {}
        """Answers that were found by trying, since the last change."""
        self._pods: dict[Request, _PodsByServer] = {}

    def changed(self) -> None:
        """The servers changed."""
        if self._counts:
            self._counts.clear()
        if self._tried:
            self._tried.clear()

    def fits(self, request: Request, within: NodeSet) -> bool:
        """True if the whole gang fits on the servers of `within`, which are eligible, now."""
        gang = request.gang
        if len(gang) == 1 and request.plain:
            return self._whole_pods(gang[0].devices, within) >= gang[0].pods
        split = _pods_and_one(gang)
        if split is None:
            return self._by_trying(request, within)
        if request.plain:
            return self._whole_with_one(*split, within)
        pods = self._pods.get(request)
        if pods is None:
            pods = self._pods[request] = _PodsByServer(request, *split)
        return pods.fit(self._ledger, within)

    def _whole_pods(self, devices: int, within: NodeSet) -> int:
        found = self._counts.get((devices, within))
        if found is None:
            found = self._counts[devices, within] = self._ledger.whole_pods(devices, within)
        return found

    def _whole_with_one(self, group: PodGroup, other: PodGroup | None, within: NodeSet) -> bool:
        """Equal pods and one other, by the server on which the other costs the fewest of the equal ones."""
        assert other is not None, "a single group is counted directly"
        spare = self._whole_pods(group.devices, within) - group.pods
        if spare < 0:
            return False
        by_idle = self._ledger.by_idle
        return any(
            by_idle[idle] & within and idle // group.devices - (idle - other.devices) // group.devices <= spare
            for idle in range(other.devices, len(by_idle))
        )

    def _by_trying(self, request: Request, within: NodeSet) -> bool:
        found = self._tried.get((request, within))
        if found is None:
            found = self._tried[request, within] = BestFit().place(request, self._ledger, within) is not None
        return found


def _pods_and_one(gang: tuple[PodGroup, ...]) -> tuple[PodGroup, PodGroup | None] | None:
    """The group of equal pods, and the one pod beside it if there is one; None for any other gang."""
    if len(gang) == 1:
        return gang[0], None
    if len(gang) == 2 and gang[1].pods == 1:
        return gang[0], gang[1]
    if len(gang) == 2 and gang[0].pods == 1:
        return gang[1], gang[0]
    return None


class _PodsByServer:
    """For one request, how many of its equal pods each server could take, none counted beyond what is asked."""

    __slots__ = ("_as_of", "_group", "_loss", "_other", "_pods", "_request", "_total")

    def __init__(self, request: Request, group: PodGroup, other: PodGroup | None) -> None:
        self._request = request
        self._group = group
        self._other = other
        self._as_of = -1
        """Position in the journal of the ledger; -1 before the first look."""
        self._pods = np.zeros(0, dtype=np.int64)
        self._loss = np.zeros(0, dtype=np.int64)
        """How many of the equal pods fewer, if the other pod stands there too; `IMPOSSIBLE` if it cannot."""
        self._total = 0

    def fit(self, ledger: NodeLedger, within: NodeSet) -> bool:
        """True if the gang fits on the servers of `within`."""
        self._bring_up_to_date(ledger)
        total = self._total
        everywhere = within == self._request.eligible
        if total < self._group.pods:
            return False
        mask = slice(None) if everywhere else ledger.topology.as_array(within)
        if not everywhere:
            total = int(self._pods[mask].sum())
        if self._other is None:
            return total >= self._group.pods
        return total - int(self._loss[mask].min(initial=IMPOSSIBLE)) >= self._group.pods

    def _bring_up_to_date(self, ledger: NodeLedger) -> None:
        now = ledger.changes
        if now == self._as_of:
            return
        known = None if self._as_of < 0 else ledger.changed_since(self._as_of)
        self._as_of = now
        if known is None:
            self._pods = np.zeros(len(ledger), dtype=np.int64)
            self._loss = np.full(len(ledger), IMPOSSIBLE, dtype=np.int64)
            self._total = 0
        eligible = self._request.eligible
        for node in range(len(ledger)) if known is None else known:
            if eligible >> node & 1:
                self._look_at(ledger, node)

    def _look_at(self, ledger: NodeLedger, node: int) -> None:
        """One server anew."""
        server = _Server(ledger, node, self._request.device_milli)
        pods = min(server.pods(self._group), self._group.pods)
        self._total += pods - int(self._pods[node])
        self._pods[node] = pods
        if self._other is not None:
            if server.take(self._other):
                self._loss[node] = pods - min(server.pods(self._group), self._group.pods)
            else:
                self._loss[node] = IMPOSSIBLE


class _Server:
    """What one server has left, for pods that take `milli` of each of their devices."""

    __slots__ = ("cpu_milli", "idle", "memory_mib", "milli", "pods_left", "shared")

    def __init__(self, ledger: NodeLedger, node: int, milli: int) -> None:
        self.milli = milli
        self.idle = ledger.idle[node]
        self.shared: list[int] = []
        """What is left of the partial devices, where shares are asked for."""
        if milli != DEVICE_MILLI and node in ledger.partial:
            self.shared = [left for left in ledger.partial[node].values() if left >= milli]
        self.cpu_milli = ledger.cpu_left[node]
        self.memory_mib = ledger.memory_left[node]
        self.pods_left = ledger.pods_left[node]

    def pods(self, group: PodGroup) -> int:
        """How many pods of the group fit."""
        pods = self.pods_left
        if group.cpu_milli:
            pods = min(pods, self.cpu_milli // group.cpu_milli)
        if group.memory_mib:
            pods = min(pods, self.memory_mib // group.memory_mib)
        if not group.devices:
            return pods
        if self.milli == DEVICE_MILLI:
            return min(pods, self.idle // group.devices)
        shares = self.idle * (DEVICE_MILLI // self.milli) + sum(left // self.milli for left in self.shared)
        if group.devices == 1:
            return min(pods, shares)
        return min(pods, self._pods_over_several(group.devices))

    def _pods_over_several(self, devices: int) -> int:
        """Each pod takes a share of several distinct devices: p of them fit if the devices offer p x `devices` places, none
        more than p of them.
        """
        places = [left // self.milli for left in self.shared] + [DEVICE_MILLI // self.milli] * self.idle
        pods = 0
        while sum(min(place, pods + 1) for place in places) >= (pods + 1) * devices:
            pods += 1
        return pods

    def take(self, group: PodGroup) -> bool:
        """Put one pod of the group here; False, and nothing is taken, if it does not fit."""
        if self.pods(group) < 1:
            return False
        self.cpu_milli -= group.cpu_milli
        self.memory_mib -= group.memory_mib
        self.pods_left -= 1
        if self.milli == DEVICE_MILLI:
            self.idle -= group.devices
            return True
        self.shared.sort()
        for place in range(group.devices):
            if place < len(self.shared):
                self.shared[place] -= self.milli
            else:
                self.idle -= 1
                self.shared.append(DEVICE_MILLI - self.milli)
        self.shared = [left for left in self.shared if left >= self.milli]
        return True
