"""The base of the placements of the openb study: one score, one pod at a time, ties to the lowest server number.

Scores are integers, truncated. A pod that asks for no CPU counts as 100 milli-cores in them, but takes none. A share
of a device goes to the device with the least left that suffices, the lowest number among equals.
CPU that is not modelled counts as none left in scores.

Source: Weng et al., "Beware of Fragmentation", USENIX ATC 2023, section 6; the formulas as in the simulator published
with it (hkust-adsl/kubernetes-scheduler-simulator, pkg/simulator/plugin). It knows no gangs: the pods of a gang are
placed here one after the other, each seeing what those before it took.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from policies.api import DeviceMask, NodeSet, Placement, PodGroup, Request
from policies.framework.scoring import place_by_score
from policies.nodes import UNLIMITED, NodeTable
from policies.placement.fragmentation import LEAST_CPU_MILLI

CPU_SCALE_MILLI: Final = 128_000
"""CPU of the largest server of the study; a constant of its scores, whatever the fleet."""

DEVICE_SCALE_MILLI: Final = 8_000
"""Devices of the largest server of the study; a constant of its scores, whatever the fleet."""


class OpenbRule:
    """A subclass gives `name` and `scores`."""

    name: str = ""

    def place(self, request: Request, nodes: NodeTable, within: NodeSet | None = None) -> Placement | None:
        """A complete placement, or None."""
        allowed = request.eligible
        if within is not None:
            allowed &= within
        return place_by_score(self, request, nodes, allowed) if allowed else None

    def scores(self, request: Request, group: PodGroup, nodes: NodeTable) -> NDArray[np.int64]:
        """The rule as a score; see `Score`."""
        raise NotImplementedError

    def devices(self, request: Request, count: int, node: int, nodes: NodeTable) -> DeviceMask:
        """The first idle devices; a shared device with the least left first."""
        return nodes.devices_for(node, request, count)


def counted_cpu_milli(group: PodGroup) -> int:
    """CPU of one pod, as scores count it."""
    return group.cpu_milli or LEAST_CPU_MILLI


def device_milli(request: Request, group: PodGroup) -> int:
    """Devices of one pod, in milli-devices."""
    return group.devices * request.device_milli


def cpu_left_milli(nodes: NodeTable) -> NDArray[np.int64]:
    """CPU left on each server; 0 where it is not modelled."""
    left = nodes.columns().cpu_milli
    return np.where(left >= UNLIMITED, 0, left)
