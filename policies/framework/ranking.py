"""The best servers for one pod, best first, by any rule of placement.

The rule says which server it takes; of the others it is asked which it would take then, and so on. That is its own total order,
ties included. Where the rule gives scores and takes the server with the largest, one look at the scores gives the same.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from policies import bitset
from policies.api import NodeSet, PodGroup, Request
from policies.framework.points import Placer
from policies.nodes import NodeTable


class RankingError(ValueError):
    """A rule of placement chose a server that it was not given."""


@runtime_checkable
class _Scores(Protocol):
    def scores(
        self, request: Request, group: PodGroup, nodes: NodeTable
    ) -> NDArray[np.float64] | NDArray[np.int64]: ...


def best_nodes(placer: Placer, request: Request, nodes: NodeTable, within: NodeSet, count: int) -> list[int]:
    """Up to `count` servers of `within` for a request of one pod, the one that the rule takes first.

    Only the first question is asked of `nodes` itself; the others are what-ifs.
    """
    first = _choice(placer, request, nodes, within)
    if first is None:
        return []
    if isinstance(placer, _Scores):
        ordered = _by_scores(placer, request, nodes, within, count)
        if ordered[:1] == [first]:
            return ordered
    best = [first]
    table = nodes.what_if()
    while len(best) < count:
        within ^= 1 << best[-1]
        other = _choice(placer, request, table, within)
        if other is None:
            break
        best.append(other)
    return best


def _choice(placer: Placer, request: Request, nodes: NodeTable, within: NodeSet) -> int | None:
    placement = placer.place(request, nodes, within) if within else None
    if placement is None:
        return None
    node: int = placement[0][0]
    if len(placement) != 1 or not 0 <= node < len(nodes) or not within >> node & 1:
        raise RankingError(f"{placer.name} placed one pod as {placement!r}, which it was not given")
    return node


def _by_scores(rule: _Scores, request: Request, nodes: NodeTable, within: NodeSet, count: int) -> list[int]:
    group = request.gang[0]
    feasible = (nodes.pods_everywhere(request, group) > 0) & bitset.to_array(within, len(nodes))
    candidates = np.flatnonzero(feasible)
    scores = rule.scores(request, group, nodes)[candidates]
    order = np.argsort(-scores, kind="stable")[:count]
    found: list[int] = candidates[order].tolist()
    return found
