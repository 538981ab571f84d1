"""gpu-clustering: servers that hold pods of the same class, those of that class alone first, the fullest among them.

Pods fall into classes: shares of a device, or a number of whole devices. Within 25 points a server scores by how many
devices are taken. Pods without devices go to the lowest number. What a server held counts for ever, as in the study.
It knows only what it placed itself. Source: see `openb_rule`.
"""

from __future__ import annotations

import weakref
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.api import DEVICE_MILLI, NodeSet, Placement, PodGroup, Request
from policies.nodes import NodeTable
from policies.placement.openb_rule import DEVICE_SCALE_MILLI, OpenbRule

SHARES: Final = 0
"""The class of shares of a device; the others are their number of devices."""


class _Answer(NamedTuple):
    """A placement given out, of which it is not known yet whether it was used."""

    change: int
    """How many changes the table had seen by then."""
    request: Request
    placement: Placement


class GpuClustering(OpenbRule):
    """See the module."""

    name = "gpu-clustering"

    def __init__(self) -> None:
        self._live: weakref.ref[NodeTable] | None = None
        """The table whose past is remembered: the first one asked about. Other tables of the same servers are
        what-ifs: they are scored by the same past and add nothing to it. Once it is gone, or for other servers, all
        begins anew; views come and go as they like, as long as they show the same live table."""
        self._held: dict[int, NDArray[np.bool_]] = {}
        """Persists between passes: class -> the servers that hold or held a pod of it, by what was placed here."""
        self._answer: _Answer | None = None
        """Persists between calls: counts as held once the live table shows that its servers changed."""

    def place(self, request: Request, nodes: NodeTable, within: NodeSet | None = None) -> Placement | None:
        """A complete placement, or None."""
        self._remember(nodes)
        placement = super().place(request, nodes, within)
        if placement is not None and request.devices and self._live is not None and self._live() is nodes:
            self._answer = _Answer(nodes.changes, request, placement)
        return placement

    def scores(self, request: Request, group: PodGroup, nodes: NodeTable) -> NDArray[np.int64]:
        """75..100 where its class is alone, 50..75 where it is among others, 25..50 without any, else 0..25."""
        if not group.devices:
            return np.zeros(len(nodes), dtype=np.int64)
        nothing = np.zeros(len(nodes), dtype=bool)
        same = self._held.get(_class(request, group), nothing)
        classes = sum((held.astype(np.int64) for held in self._held.values()), np.zeros(len(nodes), dtype=np.int64))
        fullness = 25 * (DEVICE_SCALE_MILLI - nodes.columns().free_milli) // DEVICE_SCALE_MILLI
        bonus = np.where(same, np.where(classes == 1, 75, 50), np.where(classes == 0, 25, 0))
        return fullness + bonus

    def _remember(self, nodes: NodeTable) -> None:
        live = None if self._live is None else self._live()
        if live is None or live.topology is not nodes.topology:
            self._live, self._held, self._answer = weakref.ref(nodes), {}, None
            return
        answer = self._answer
        if live is not nodes or answer is None:
            return
        self._answer = None
        changed = nodes.changed_since(answer.change)
        for share in answer.placement:
            if changed is None or share.node in changed:
                group = answer.request.gang[share.group]
                held = self._held.setdefault(_class(answer.request, group), np.zeros(len(nodes), dtype=bool))
                held[share.node] = True


def _class(request: Request, group: PodGroup) -> int:
    return SHARES if request.device_milli < DEVICE_MILLI else group.devices
