"""The base of the placements that have a shortcut through the indexes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from policies.api import DeviceMask, NodeSet, Placement, PodGroup, Request, Share
from policies.framework.draft import Draft
from policies.framework.scoring import place_by_score
from policies.nodes import NodeTable

new_share = tuple.__new__
"""Makes a `Share` from a tuple, in half the time of calling `Share`: placements are made in the hottest loop."""


class IndexedPlacement:
    """Places whole devices through `NodeTable.by_idle`, everything else by scores.

    A subclass gives `one` (the server for a single pod), `fill` (a group of pods) and `scores`.
    """

    name: str = ""

    def place(self, request: Request, nodes: NodeTable, within: NodeSet | None = None) -> Placement | None:
        """A complete placement, or None."""
        topology = nodes.topology
        allowed = request.eligible
        if within is not None:
            allowed &= within
        if not request.plain:
            return place_by_score(self, request, nodes, allowed) if allowed else None
        if request.devices > nodes.idle_total:
            return None
        gang = request.gang
        if len(gang) == 1:
            pods, devices, _, _ = gang[0]
            if pods == 1:
                node = self.one(devices, nodes, allowed)
                if node < 0:
                    return None
                available = nodes.idle_mask[node]
                mask = available if nodes.idle[node] == devices else topology.pick(node, available, devices)
                return (new_share(Share, (node, mask, 1, 0)),)
            if devices == topology.widest:
                return self.whole_servers(request, nodes, allowed)
        return self.place_gang(request, nodes, allowed)

    def whole_servers(self, request: Request, nodes: NodeTable, allowed: NodeSet) -> Placement | None:
        """A gang of which each pod takes a whole server: all candidates are equal, the lowest numbers win."""
        pods = request.gang[0].pods
        servers = nodes.by_idle[-1]
        if allowed is not nodes.topology.everywhere:
            servers &= allowed
        if servers.bit_count() < pods:
            return None
        idle_mask = nodes.idle_mask
        shares = []
        for _ in range(pods):
            low = servers & -servers
            servers ^= low
            node = low.bit_length() - 1
            shares.append(new_share(Share, (node, idle_mask[node], 1, 0)))
        return tuple(shares)

    def place_gang(self, request: Request, nodes: NodeTable, allowed: NodeSet) -> Placement | None:
        """A gang of several pods of whole devices."""
        draft = Draft(nodes, allowed)
        for number, group in enumerate(request.gang):
            if draft.room(group.devices) < group.pods:
                return None
            self.fill(draft, group, number)
        return tuple(draft.shares)

    def one(self, devices: int, nodes: NodeTable, allowed: NodeSet) -> int:
        """The server for one pod, or -1."""
        raise NotImplementedError

    def fill(self, draft: Draft, group: PodGroup, number: int) -> None:
        """Place all pods of a group for which the draft has room."""
        raise NotImplementedError

    def scores(self, request: Request, group: PodGroup, nodes: NodeTable) -> NDArray[np.int64]:
        """The rule as a score; see `Score`."""
        raise NotImplementedError

    def devices(self, request: Request, count: int, node: int, nodes: NodeTable) -> DeviceMask:
        """Devices close together; a shared device with the least left first."""
        return nodes.devices_for(node, request, count)
