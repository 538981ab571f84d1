"""Spread: the server with the most idle devices, the lowest number among equals; pod by pod.

What kube-scheduler's LeastAllocated does to devices. Balances load and breaks up the holes that large jobs need.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from policies.api import DEVICE_MILLI, NodeSet, PodGroup, Request
from policies.framework.draft import Draft
from policies.framework.placement import IndexedPlacement
from policies.nodes import NodeTable


class Spread(IndexedPlacement):
    """See the module."""

    name = "spread"

    def one(self, devices: int, nodes: NodeTable, allowed: NodeSet) -> int:
        """The emptiest server, or -1."""
        for idle in range(len(nodes.by_idle) - 1, devices - 1, -1):
            servers = nodes.by_idle[idle] & allowed
            if servers:
                return (servers & -servers).bit_length() - 1
        return -1

    def fill(self, draft: Draft, group: PodGroup, number: int) -> None:
        """One pod at a time to the emptiest."""
        idle = len(draft.by_idle) - 1
        for _ in range(group.pods):
            while not draft.by_idle[idle]:
                idle -= 1
            servers = draft.by_idle[idle]
            draft.take((servers & -servers).bit_length() - 1, idle, group, number, 1)

    def scores(self, request: Request, group: PodGroup, nodes: NodeTable) -> NDArray[np.int64]:
        """The most left wins: idle devices, or milli-devices for a share."""
        columns = nodes.columns()
        return columns.idle if request.device_milli == DEVICE_MILLI else columns.free_milli
