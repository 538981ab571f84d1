"""openb-best-fit: the server that the pod leaves with the least CPU and devices, each in parts of the largest server.

CPU and devices weigh the same; memory is not looked at. The study stretches the scores of the feasible servers to
0..100, which keeps their order on servers no larger than its largest, so it is left out. Source: see `openb_rule`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from policies.api import PodGroup, Request
from policies.nodes import NodeTable
from policies.placement.openb_rule import (
    CPU_SCALE_MILLI,
    DEVICE_SCALE_MILLI,
    OpenbRule,
    counted_cpu_milli,
    cpu_left_milli,
    device_milli,
)


class OpenbBestFit(OpenbRule):
    """See the module."""

    name = "openb-best-fit"

    def scores(self, request: Request, group: PodGroup, nodes: NodeTable) -> NDArray[np.int64]:
        """100 where nothing would be left."""
        cpu = (cpu_left_milli(nodes) - counted_cpu_milli(group)) / CPU_SCALE_MILLI
        devices = (nodes.columns().free_milli - device_milli(request, group)) / DEVICE_SCALE_MILLI
        return (100 * (1 - (0.5 * cpu + 0.5 * devices))).astype(np.int64)
