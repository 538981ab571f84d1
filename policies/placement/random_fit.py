"""Random: any server that suffices, each with the same chance; pod by pod. A baseline for the other placements."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from policies.api import NodeSet, Placement, PodGroup, Request
from policies.bitset import bits
from policies.framework.draft import Draft
from policies.framework.placement import IndexedPlacement
from policies.nodes import NodeTable


class RandomFit(IndexedPlacement):
    """See the module. `rng` is the stream of this purpose alone, handed in."""

    name = "random"

    def __init__(self, *, rng: np.random.Generator) -> None:
        self._rng = rng

    def one(self, devices: int, nodes: NodeTable, allowed: NodeSet) -> int:
        """Any server that suffices, or -1."""
        servers = 0
        for idle in range(devices, len(nodes.by_idle)):
            servers |= nodes.by_idle[idle]
        servers &= allowed
        return self._any(servers) if servers else -1

    def whole_servers(self, request: Request, nodes: NodeTable, allowed: NodeSet) -> Placement | None:
        """As any gang: the lowest numbers have no right here."""
        return self.place_gang(request, nodes, allowed)

    def _any(self, servers: NodeSet) -> int:
        chosen = int(self._rng.integers(servers.bit_count()))
        for place, node in enumerate(bits(servers)):
            if place == chosen:
                return node
        raise AssertionError("a set has fewer members than it counts")

    def fill(self, draft: Draft, group: PodGroup, number: int) -> None:
        """One pod at a time to any."""
        by_idle = draft.by_idle
        for _ in range(group.pods):
            servers = 0
            for idle in range(group.devices, len(by_idle)):
                servers |= by_idle[idle]
            node = self._any(servers)
            idle = next(count for count in range(group.devices, len(by_idle)) if by_idle[count] >> node & 1)
            draft.take(node, idle, group, number, 1)

    def scores(self, request: Request, group: PodGroup, nodes: NodeTable) -> NDArray[np.int64]:
        """A random order of the servers, so that each feasible one has the same chance."""
        return self._rng.permutation(len(nodes)).astype(np.int64)
