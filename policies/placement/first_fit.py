"""First fit: the server with the lowest number that suffices; a gang fills server after server."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from policies.api import NodeSet, PodGroup, Request
from policies.framework.draft import Draft
from policies.framework.placement import IndexedPlacement
from policies.nodes import NodeTable


class FirstFit(IndexedPlacement):
    """See the module."""

    name = "first-fit"

    def one(self, devices: int, nodes: NodeTable, allowed: NodeSet) -> int:
        """The lowest number, or -1."""
        servers = 0
        for idle in range(devices, len(nodes.by_idle)):
            servers |= nodes.by_idle[idle]
        servers &= allowed
        return (servers & -servers).bit_length() - 1

    def fill(self, draft: Draft, group: PodGroup, number: int) -> None:
        """Lowest numbers first, each filled as far as it goes."""
        left = group.pods
        by_idle = draft.by_idle
        while left:
            servers = 0
            for idle in range(group.devices, len(by_idle)):
                servers |= by_idle[idle]
            low = servers & -servers
            idle = next(count for count in range(group.devices, len(by_idle)) if by_idle[count] & low)
            pods = min(left, idle // group.devices)
            draft.take(low.bit_length() - 1, idle, group, number, pods)
            left -= pods

    def scores(self, request: Request, group: PodGroup, nodes: NodeTable) -> NDArray[np.int64]:
        """The same for all: the lowest number wins ties."""
        return np.zeros(len(nodes), dtype=np.int64)
