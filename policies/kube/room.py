"""The devices themselves: what a simulator, or whoever hands out devices, must find beyond what kube-scheduler counts.

kube-scheduler adds up amounts. Whether one device has enough left for a share, and which devices a pod gets, is known to the
table of the driver alone; a node without is treated as one that is too full.
"""

from __future__ import annotations

from typing import Final

from policies.kube.ledger import Mask
from policies.kube.pods import Pod
from policies.nodes import UNLIMITED, NodeLedger, NodeTable
from policies.values import DeviceMask, Request, Share

NO_DEVICE: Final = "node(s) had no device with enough left"


class DeviceRoom:
    """A `policies.kube.filters.Room` for one kind of pod at a time. `look_at` must be called first."""

    reason = NO_DEVICE

    def __init__(self) -> None:
        self._table: NodeTable | None = None
        self._copy: NodeLedger | None = None
        """A copy that may be changed; made when a pod is first taken out."""
        self._request: Request | None = None
        self._group = 0
        self.shares: dict[str, tuple[Request, Share]] = {}
        """Each pod on a node by its uid, with what it holds. For the owner of the ledger."""

    def look_at(self, table: NodeTable, request: Request, group: int, *, copy: NodeLedger | None = None) -> None:
        """The table that counts from now on, and the kind of pod that is asked for. `copy` is one that may be changed."""
        self._table = table
        self._copy = copy
        self._request = request
        self._group = group

    def _now(self) -> tuple[NodeTable, Request]:
        table = self._copy or self._table
        assert table is not None, "look_at comes first"
        assert self._request is not None, "look_at comes first"
        return table, self._request

    def mask(self, pod: Pod) -> Mask:
        """The nodes that could take one such pod now."""
        del pod
        table, request = self._now()
        found: Mask = table.pods_everywhere(request, request.gang[self._group]) > 0
        return found

    def fits(self, pod: Pod, node: int) -> bool:
        """Whether one node could."""
        del pod
        table, request = self._now()
        return self.devices(node) is not None and sides_fit(table, request, self._group, node)

    def devices(self, node: int) -> DeviceMask | None:
        """The devices that the pod would get; None if there are not as many."""
        table, request = self._now()
        count = request.gang[self._group].devices
        return (table.devices_for(node, request, count) or None) if count else 0

    def take_out(self, pod: Pod, node: int) -> None:
        """In a what-if a pod leaves: its devices are free."""
        del node
        request, share = self.shares[pod.uid]
        self._private().release(request, (share,))

    def put_back(self, pod: Pod, node: int) -> None:
        """It comes back."""
        del node
        request, share = self.shares[pod.uid]
        self._private().take(request, (share,))

    def _private(self) -> NodeLedger:
        if self._copy is None:
            assert self._table is not None, "look_at comes first"
            self._copy = self._table.what_if()
        return self._copy


def sides_fit(table: NodeTable, request: Request, group: int, node: int) -> bool:
    """Whether CPU, memory and the number of pods, as the table counts them, leave room for one more pod."""
    each = request.gang[group]
    return all(
        left >= UNLIMITED or left >= needed
        for left, needed in (
            (table.cpu_left[node], each.cpu_milli),
            (table.memory_left[node], each.memory_mib),
            (table.pods_left[node], 1),
        )
    )
