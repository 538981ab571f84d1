"""Extension points: the small parts of which a policy is put together.

The vocabulary is kube-scheduler's. Ordering is `policies.api.SortKey` (QueueSort). Filter and Score work on all servers
at once. A gang starts whole or not at all, which is what Permit is for. Where a rule has a shortcut through the
indexes, the shortcut must give what the rule gives; the tests compare the two.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from policies.api import ClusterView, DeviceMask, JobView, NodeSet, Placement, PodGroup, Request, SortKey
from policies.nodes import NodeTable


class Ordering(SortKey, Protocol):
    """An ordering of the queue that says what it needs to know."""

    needs_estimates: bool
    peeks: bool
    """True if it reads the true run time: then it can be rehearsed, but not deployed."""


class Placer(Protocol):
    """Chooses where a gang goes. Called with a table on which it may fit; returns None if it does not."""

    name: str

    def place(self, request: Request, nodes: NodeTable, within: NodeSet | None = None) -> Placement | None:
        """A complete placement on servers of `within` (None is all), or None. Changes nothing."""
        ...


class Score(Protocol):
    """Rates every server for one pod of a group."""

    name: str

    def scores(self, request: Request, group: PodGroup, nodes: NodeTable) -> NDArray[np.float64] | NDArray[np.int64]:
        """One number a server, shape (N,); the largest wins, the lowest number of a server among equals."""
        ...

    def devices(self, request: Request, count: int, node: int, nodes: NodeTable) -> DeviceMask:
        """Which `count` devices of the chosen server."""
        ...


class Admission(Protocol):
    """Says on which servers a job may start now as far as entitlements go (quota)."""

    name: str

    def allowed(self, job: JobView, view: ClusterView) -> NodeSet:
        """The servers on which its queue has headroom for the whole job; 0 is "not now"."""
        ...


def choose(scores: NDArray[np.float64] | NDArray[np.int64], feasible: NDArray[np.bool_]) -> int:
    """The feasible server with the largest score, the lowest number among equals. At least one is feasible."""
    candidates = np.flatnonzero(feasible)
    return int(candidates[np.argmax(scores[candidates])])
