"""fgd: the server, and on it the device, where a pod adds least to fragmentation (fragmentation gradient descent).

The score is 100 x sigmoid((F before - F after) / one device), F as in `fragmentation`. A share of one device tries
each device of the server and takes the first of the best; other pods take the first idle devices, and shares of
several devices those with the least left. Assumes that the mix of pods is known; it does not learn the mix.
Source: Weng et al., "Beware of Fragmentation", USENIX ATC 2023, section 4; see `openb_rule`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from policies.api import DEVICE_MILLI, DeviceMask, PodGroup, Request
from policies.nodes import Columns, NodeTable
from policies.placement.fragmentation import UNIT, Fragmentation, Levels, TypicalPod
from policies.placement.openb_rule import OpenbRule, counted_cpu_milli
from policies.topology import Topology

KINDS_MAX: Final = 256
"""Kinds of pods whose scores are remembered; the one not used for longest is forgotten."""

NOT_HERE: Final = -1
"""The score of a device that does not suffice."""

PodShape = tuple[int, int, int]
"""What a score depends on: (CPU as counted, share of each device, devices)."""


class Fgd(OpenbRule):
    """See the module. Raises ValueError without a mix of typical pods."""

    name = "fgd"

    def __init__(self, *, typical_pods: Sequence[TypicalPod]) -> None:
        if not typical_pods:
            raise ValueError("fgd needs the mix of pods by which it measures fragmentation: give --typical-pods FILE")
        self._mix = tuple(typical_pods)
        self._memo: _Memo | None = None
        """Persists between passes: scores by kind of pod, each true for the state of the server that it was made of.
        A table of other servers begins a new one."""

    def scores(self, request: Request, group: PodGroup, nodes: NodeTable) -> NDArray[np.int64]:
        """0..100; 50 where F stays the same."""
        return self._memo_for(nodes.topology).scores(_shape(request, group), nodes.columns())

    def devices(self, request: Request, count: int, node: int, nodes: NodeTable) -> DeviceMask:
        """The first of the best devices for a share of one; else as everywhere."""
        if count != 1 or request.device_milli == DEVICE_MILLI:
            return super().devices(request, count, node, nodes)
        group = next(group for group in request.gang if group.devices == count)
        memo = self._memo_for(nodes.topology)
        ratings = memo.rate_devices(_shape(request, group), np.array([node]), nodes.columns())
        return 1 << int(ratings[0].argmax())

    def _memo_for(self, topology: Topology) -> _Memo:
        if self._memo is None or self._memo.topology is not topology:
            self._memo = _Memo(topology, Fragmentation(self._mix, topology))
        return self._memo


def _shape(request: Request, group: PodGroup) -> PodShape:
    return (counted_cpu_milli(group), request.device_milli, group.devices)


def _sigmoid_score(gain: NDArray[np.int64]) -> NDArray[np.int64]:
    """100 x sigmoid of a gain in devices, truncated; `gain` in milli-devices / UNIT."""
    devices = np.clip(
        gain / (UNIT * DEVICE_MILLI), -700, 700
    )  # because: beyond, exp overflows and the score is 0 or 100
    return (100 / (1 + np.exp(-devices))).astype(np.int64)


class _Known:
    """The scores of one kind of pod as of a version of the memo."""

    __slots__ = ("scores", "version")

    def __init__(self, size: int) -> None:
        self.scores = np.zeros(size, dtype=np.int64)
        self.version = -1


class _Memo:
    """Scores by kind of pod. A call costs the servers that changed since this kind was last asked about.

    What changed is seen by comparing the columns with those of the last call, so that a what-if may come between.
    """

    def __init__(self, topology: Topology, fragmentation: Fragmentation) -> None:
        size = len(topology)
        self.topology = topology
        self._fragmentation = fragmentation
        self._left = np.full((size, max(topology.widest, 1)), -2, dtype=np.int64)
        self._cpu = np.full(size, -1, dtype=np.int64)
        self._before = np.zeros(size, dtype=np.int64)
        """F of each server in the state of `_left` and `_cpu`."""
        self._version = 0
        self._changed_at = np.zeros(size, dtype=np.int64)
        """The version in which each server last changed."""
        self._known: dict[PodShape, _Known] = {}
        """The kind asked about last stands last."""

    def scores(self, shape: PodShape, columns: Columns) -> NDArray[np.int64]:
        """The score of each server; only those on which the pod fits mean anything."""
        self._look(columns)
        known = self._known.pop(shape, None) or _Known(len(self.topology))
        self._known[shape] = known
        if len(self._known) > KINDS_MAX:
            del self._known[next(iter(self._known))]
        stale = np.flatnonzero(self._changed_at > known.version)
        if len(stale):
            known.scores[stale] = self._rate(shape, stale, columns)
        known.version = self._version
        return known.scores

    def _look(self, columns: Columns) -> None:
        differs = (columns.left_milli != self._left).any(axis=1)
        differs |= columns.cpu_milli != self._cpu
        changed = np.flatnonzero(differs)
        if len(changed):
            self._version += 1
            self._changed_at[changed] = self._version
            self._left[changed] = columns.left_milli[changed]
            self._cpu[changed] = columns.cpu_milli[changed]
            self._before[changed] = self._fragmentation.of(self._left[changed], self._cpu[changed], changed)

    def _rate(self, shape: PodShape, servers: NDArray[np.int64], columns: Columns) -> NDArray[np.int64]:
        cpu, milli, devices = shape
        if devices == 1 and milli < DEVICE_MILLI:
            best: NDArray[np.int64] = self.rate_devices(shape, servers, columns).max(axis=1)
            return best
        left = np.maximum(columns.left_milli[servers], 0)
        if devices:
            left -= milli * _taken(left, milli, devices)
        after = self._fragmentation.of(left, columns.cpu_milli[servers] - cpu, servers)
        return _sigmoid_score(self._before[servers] - after)

    def rate_devices(self, shape: PodShape, servers: NDArray[np.int64], columns: Columns) -> NDArray[np.int64]:
        """The score of each device of these servers for a share, shape (n, D); `NOT_HERE` if too little is left."""
        cpu, milli, _ = shape
        self._look(columns)
        left = np.maximum(columns.left_milli[servers], 0)
        now = self._fragmentation.against_levels(left)
        then = self._fragmentation.against_levels(np.maximum(left - milli, 0))
        below, enough = (part.sum(axis=1)[:, None, :] - part + other for part, other in zip(now, then, strict=True))
        after = self._fragmentation.measure(
            Levels(below, enough),
            left.sum(axis=1)[:, None] - milli,
            (columns.cpu_milli[servers] - cpu)[:, None],
            servers[:, None],
        )
        ratings = _sigmoid_score(self._before[servers][:, None] - after)
        rated: NDArray[np.int64] = np.where(left >= milli, ratings, NOT_HERE)
        return rated


def _taken(left: NDArray[np.int64], milli: int, devices: int) -> NDArray[np.bool_]:
    """The devices that a pod takes on each server: those that suffice, the least left first, lowest numbers first."""
    least_first = np.argsort(np.where(left >= milli, left, DEVICE_MILLI + 1), axis=1, kind="stable")[:, :devices]
    taken = np.zeros(left.shape, dtype=bool)
    np.put_along_axis(taken, least_first, values=True, axis=1)
    return taken & (left >= milli)
