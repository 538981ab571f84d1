"""openb-random: any server on which the pod fits, each with the same chance.

The baseline of the openb study. Its random numbers are not those of the published runs, so it agrees with them in the
mean only. It differs from `random` in nothing but the way: `random` has a shortcut for whole devices.
Source: see `openb_rule`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from policies.api import PodGroup, Request
from policies.nodes import NodeTable
from policies.placement.openb_rule import OpenbRule


class OpenbRandom(OpenbRule):
    """See the module. `rng` is the stream of this purpose alone, handed in."""

    name = "openb-random"

    def __init__(self, *, rng: np.random.Generator) -> None:
        self._rng = rng

    def scores(self, request: Request, group: PodGroup, nodes: NodeTable) -> NDArray[np.int64]:
        """A random order of the servers."""
        return self._rng.permutation(len(nodes)).astype(np.int64)
