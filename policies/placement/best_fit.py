"""Best fit: the server with the fewest idle devices that suffices, the lowest number among equals.

A gang fills server after server. A share of a device goes to the server with the least left in sum. Keeps large holes
for large jobs. It does not look at levels above the server.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from policies.api import DEVICE_MILLI, NodeSet, PodGroup, Request
from policies.framework.draft import Draft
from policies.framework.placement import IndexedPlacement
from policies.nodes import NodeTable


class BestFit(IndexedPlacement):
    """See the module."""

    name = "best-fit"

    def one(self, devices: int, nodes: NodeTable, allowed: NodeSet) -> int:
        """The tightest server, or -1."""
        everywhere = allowed is nodes.topology.everywhere
        for servers in nodes.by_idle[devices:]:
            if servers and (everywhere or (servers := servers & allowed)):
                return (servers & -servers).bit_length() - 1
        return -1

    def fill(self, draft: Draft, group: PodGroup, number: int) -> None:
        """Tightest first, each filled as far as it goes: the tightest stays the tightest."""
        left = group.pods
        for idle in range(group.devices, len(draft.by_idle)):
            fit = idle // group.devices
            while servers := draft.by_idle[idle]:
                pods = min(left, fit)
                draft.take((servers & -servers).bit_length() - 1, idle, group, number, pods)
                left -= pods
                if not left:
                    return

    def scores(self, request: Request, group: PodGroup, nodes: NodeTable) -> NDArray[np.int64]:
        """The fewest left wins: idle devices, or milli-devices for a share."""
        columns = nodes.columns()
        return -columns.idle if request.device_milli == DEVICE_MILLI else -columns.free_milli
