"""Placing a gang by scores, pod by pod, each pod seeing what the pods before it took."""

from __future__ import annotations

from policies import bitset
from policies.api import NodeSet, Placement, Request, Share
from policies.framework.points import Score, choose
from policies.nodes import NodeLedger, NodeTable


def place_by_score(rule: Score, request: Request, nodes: NodeTable, within: NodeSet) -> Placement | None:
    """The placement that gives each pod, in turn, the feasible server with the largest score; None if one has none.

    Works for every request: whole and shared devices, CPU only, limits of CPU, memory and pods.
    """
    shares: list[Share] = []
    table: NodeTable = nodes
    ledger: NodeLedger | None = None
    allowed = bitset.to_array(within, len(nodes))
    pods_in_all = sum(group.pods for group in request.gang)
    for number, group in enumerate(request.gang):
        for _ in range(group.pods):
            feasible = (table.pods_everywhere(request, group) > 0) & allowed
            if not feasible.any():
                return None
            node = choose(rule.scores(request, group, table), feasible)
            mask = rule.devices(request, group.devices, node, table) if group.devices else 0
            share = Share(node, mask, 1, number)
            shares.append(share)
            if len(shares) < pods_in_all:
                if ledger is None:
                    table = ledger = nodes.what_if()
                ledger.take(request, (share,))
    return tuple(shares)
