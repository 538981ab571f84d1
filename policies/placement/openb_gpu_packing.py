"""gpu-packing: devices that are shared already before idle devices of servers in use before untouched servers.

Pods without devices go to the lowest number. Source: see `openb_rule`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from policies.api import DEVICE_MILLI, PodGroup, Request
from policies.nodes import NodeTable
from policies.placement.openb_rule import OpenbRule


class GpuPacking(OpenbRule):
    """See the module."""

    name = "gpu-packing"

    def scores(self, request: Request, group: PodGroup, nodes: NodeTable) -> NDArray[np.int64]:
        """50..100 on shared devices alone, 33..50 with idle ones, 0..33 on an untouched server.

        The devices counted are those that suffice, in ascending order of what is left, as many as the pod asks for.
        """
        columns = nodes.columns()
        if not group.devices:
            return np.zeros(len(nodes), dtype=np.int64)
        left = np.sort(columns.left_milli, axis=1)
        suffices = left >= request.device_milli
        taken = suffices & (np.cumsum(suffices, axis=1) <= group.devices)
        idle_taken = (taken & (left == DEVICE_MILLI)).sum(axis=1)
        left_taken = np.where(taken, left, 0).sum(axis=1)
        shared = np.maximum(100 - left_taken * 100 // DEVICE_MILLI // 10, 50)
        in_use = np.where(idle_taken > 0, np.maximum(50 - idle_taken, 33), shared)
        untouched = columns.idle == (columns.left_milli >= 0).sum(axis=1)
        return np.where(untouched, np.maximum(33 - columns.idle, columns.idle), in_use)
