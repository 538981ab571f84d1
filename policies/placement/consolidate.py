"""Consolidate: the fewest servers, then the narrowest domain, then the domain with the least left over.

For gangs whose members talk to each other. Among placements with the fewest servers possible now, the one inside a single
domain of the narrowest level that can hold it; among those domains the one with the fewest idle devices. Inside it
the servers with the most room first, and the tightest that suffices for the last pods. It keeps no domain free.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from policies import bitset
from policies.api import DEVICE_MILLI, NodeSet, Placement, PodGroup, Request, Share
from policies.bitset import bits
from policies.framework.draft import Draft
from policies.framework.placement import IndexedPlacement
from policies.framework.points import choose
from policies.nodes import NodeTable

MOST_FREE = 1 << 20
"""More than a server has free, in devices or in milli-devices."""

ENOUGH = 1 << 60
"""Above every server that does not take all the pods that are left."""


class Consolidate(IndexedPlacement):
    """See the module."""

    name = "consolidate"

    def place(self, request: Request, nodes: NodeTable, within: NodeSet | None = None) -> Placement | None:
        """A complete placement, or None."""
        if request.plain or sum(group.pods for group in request.gang) == 1:
            return super().place(request, nodes, within)
        allowed = request.eligible
        if within is not None:
            allowed &= within
        return self._narrowest(request, nodes, allowed, self._by_room(request, nodes, allowed))

    def _by_room(self, request: Request, nodes: NodeTable, within: NodeSet) -> Placement | None:
        """As `fill`, for any request: the server that takes the most pods, or the tightest that takes all that are left."""
        shares: list[Share] = []
        ledger = nodes.what_if()
        allowed = bitset.to_array(within, len(nodes))
        for number, group in enumerate(request.gang):
            left = group.pods
            while left:
                fit = np.where(allowed, np.minimum(ledger.pods_everywhere(request, group), left), 0)
                if not fit.any():
                    return None
                free = _free(request, ledger)
                node = choose(np.where(fit == left, ENOUGH - free, fit * MOST_FREE + free), fit > 0)
                for _ in range(int(fit[node])):
                    mask = ledger.devices_for(node, request, group.devices) if group.devices else 0
                    shares.append(Share(node, mask, 1, number))
                    ledger.take(request, (shares[-1],))
                left -= int(fit[node])
        return tuple(shares)

    def one(self, devices: int, nodes: NodeTable, allowed: NodeSet) -> int:
        """The tightest server, or -1."""
        everywhere = allowed is nodes.topology.everywhere
        for servers in nodes.by_idle[devices:]:
            if servers and (everywhere or (servers := servers & allowed)):
                return (servers & -servers).bit_length() - 1
        return -1

    def whole_servers(self, request: Request, nodes: NodeTable, allowed: NodeSet) -> Placement | None:
        """As any gang: which of the idle servers matters here."""
        return self._narrowest(request, nodes, allowed, super().whole_servers(request, nodes, allowed))

    def place_gang(self, request: Request, nodes: NodeTable, allowed: NodeSet) -> Placement | None:
        """Of the placements with the fewest servers, the one in the narrowest and fullest domain."""
        widest = super().place_gang(request, nodes, allowed)
        return self._narrowest(request, nodes, allowed, widest)

    def _narrowest(
        self, request: Request, nodes: NodeTable, allowed: NodeSet, widest: Placement | None
    ) -> Placement | None:
        if widest is None:
            return None
        fewest = len({share.node for share in widest})
        if fewest == 1:
            return widest
        for domains in nodes.topology.domains:
            best: tuple[int, int] | None = None
            chosen: Placement | None = None
            for number, domain in enumerate(domains):
                inside = self._inside(request, nodes, allowed & domain, fewest)
                if inside is not None:
                    rank = (_idle_devices(nodes, allowed & domain), number)
                    if best is None or rank < best:
                        best, chosen = rank, inside
            if chosen is not None:
                return chosen
        return widest

    def _inside(self, request: Request, nodes: NodeTable, domain: NodeSet, fewest: int) -> Placement | None:
        if domain.bit_count() < fewest:
            return None
        if request.plain:
            first = request.gang[0]
            if nodes.whole_pods(first.devices, domain) < first.pods:
                return None
            placement = super().place_gang(request, nodes, domain)
        else:
            placement = self._by_room(request, nodes, domain)
        if placement is None or len({share.node for share in placement}) > fewest:
            return None
        return placement

    def fill(self, draft: Draft, group: PodGroup, number: int) -> None:
        """The most room first; the last pods to the tightest server that takes them all."""
        left = group.pods
        while left:
            idle = self._next_idle(draft, group, left)
            servers = draft.by_idle[idle]
            pods = min(left, idle // group.devices)
            draft.take((servers & -servers).bit_length() - 1, idle, group, number, pods)
            left -= pods

    @staticmethod
    def _next_idle(draft: Draft, group: PodGroup, left: int) -> int:
        by_idle = draft.by_idle
        for idle in range(left * group.devices, len(by_idle)):
            if by_idle[idle]:
                return idle
        return next(idle for idle in range(len(by_idle) - 1, 0, -1) if by_idle[idle])

    def scores(self, request: Request, group: PodGroup, nodes: NodeTable) -> NDArray[np.int64]:
        """A server that takes more pods of the gang goes first; the fewest left among equals."""
        fit = np.minimum(nodes.pods_everywhere(request, group), group.pods)
        return fit * MOST_FREE - _free(request, nodes)


def _free(request: Request, nodes: NodeTable) -> NDArray[np.int64]:
    columns = nodes.columns()
    return columns.idle if request.device_milli == DEVICE_MILLI else columns.free_milli


def _idle_devices(nodes: NodeTable, within: NodeSet) -> int:
    return sum(nodes.idle[node] for node in bits(within))
