"""dot-product: the server whose free CPU and devices point least in the direction of what the pod asks for.

The score is 100 x (1 - half the dot product of what is left and what is asked, each in parts of the largest server).
The smaller product wins, as in the openb study; Tetris (Grandl et al., SIGCOMM 2014), from which the rule has its
name, prefers the larger one. Memory is not looked at. Source: see `openb_rule`.
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


class DotProduct(OpenbRule):
    """See the module."""

    name = "dot-product"

    def scores(self, request: Request, group: PodGroup, nodes: NodeTable) -> NDArray[np.int64]:
        """0..100 on servers no larger than the study's largest."""
        cpu = cpu_left_milli(nodes) / CPU_SCALE_MILLI * (counted_cpu_milli(group) / CPU_SCALE_MILLI)
        devices = (
            nodes.columns().free_milli / DEVICE_SCALE_MILLI * (device_milli(request, group) / DEVICE_SCALE_MILLI)
        )
        return (100 * (1 - 0.5 * (cpu + devices))).astype(np.int64)
