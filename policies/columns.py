"""The servers as NumPy columns, for rules that look at all of them: brought up to date on access, at the cost of what
changed since. Who never asks pays nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from policies.bitset import bits
from policies.topology import Topology
from policies.values import DEVICE_MILLI, Placement

UNLIMITED = 1 << 60
"""Stands for "not modelled" in the columns of CPU, memory and pods."""

JOURNAL_MAX = 1 << 16
"""Changes that are remembered; who comes later reads everything anew."""


class Columns(NamedTuple):
    """One entry a server; read-only, true until the next change."""

    idle: NDArray[np.int64]
    """Wholly idle devices, shape (N,)."""
    left_milli: NDArray[np.int64]
    """What is left of each device, shape (N, D); -1 where the server has no such device."""
    free_milli: NDArray[np.int64]
    """Sum of what is left, shape (N,)."""
    cpu_milli: NDArray[np.int64]
    """CPU left; `UNLIMITED` where not modelled."""
    memory_mib: NDArray[np.int64]
    pods: NDArray[np.int64]


class Journal:
    """Which servers changed, in order, from the first question on."""

    __slots__ = ("_nodes", "_start", "watched")

    def __init__(self) -> None:
        self.watched = False
        """True once somebody has asked: until then nothing need be noted."""
        self._nodes: list[int] = []
        self._start = 0

    def position(self) -> int:
        """How many changes were noted so far."""
        self.watched = True
        return self._start + len(self._nodes)

    def since(self, position: int) -> list[int] | None:
        """Servers that changed after `position`, each once, or None if that is too long ago to know."""
        if position < self._start:
            return None
        return list(dict.fromkeys(self._nodes[position - self._start :]))

    def note(self, placement: Placement) -> None:
        """The servers of a placement changed."""
        self._nodes.extend([share[0] for share in placement])
        if len(self._nodes) > JOURNAL_MAX:
            dropped = len(self._nodes) // 2
            del self._nodes[:dropped]
            self._start += dropped


class Rows(Protocol):
    """What the columns are made of; see `policies.nodes.NodeTable`."""

    topology: Topology
    idle: list[int]
    idle_mask: list[int]
    partial: dict[int, dict[int, int]]
    cpu_left: list[int]
    memory_left: list[int]
    pods_left: list[int]
    journal: Journal


class Mirror:
    """The columns of one table."""

    __slots__ = ("_as_of", "_columns")

    def __init__(self, table: Rows) -> None:
        size = len(table.topology)
        self._columns = Columns(
            idle=np.zeros(size, dtype=np.int64),
            left_milli=np.full((size, max(table.topology.widest, 1)), -1, dtype=np.int64),
            free_milli=np.zeros(size, dtype=np.int64),
            cpu_milli=np.zeros(size, dtype=np.int64),
            memory_mib=np.zeros(size, dtype=np.int64),
            pods=np.zeros(size, dtype=np.int64),
        )
        self._as_of = table.journal.position()
        self._refresh(table, range(size))

    def of_copy(self, original: Rows, copy: Rows) -> Mirror:
        """The columns of a copy that was just made of the table."""
        mirror = Mirror.__new__(Mirror)
        mirror._columns = Columns._make(column.copy() for column in self.columns(original))  # noqa: SLF001
        mirror._as_of = copy.journal.position()  # noqa: SLF001  # because: both are made here, as __init__ would
        return mirror

    def columns(self, table: Rows) -> Columns:
        """The columns, brought up to date."""
        now = table.journal.position()
        if self._as_of != now:
            changed = table.journal.since(self._as_of)
            self._refresh(table, range(len(table.topology)) if changed is None else changed)
            self._as_of = now
        return self._columns

    def _refresh(self, table: Rows, changed: Iterable[int]) -> None:
        columns = self._columns
        for node in changed:
            row = columns.left_milli[node]
            row[: table.topology.nodes[node].devices] = 0
            free = table.idle[node] * DEVICE_MILLI
            for device in bits(table.idle_mask[node]):
                row[device] = DEVICE_MILLI
            for device, left in table.partial.get(node, {}).items():
                row[device] = left
                free += left
            columns.idle[node] = table.idle[node]
            columns.free_milli[node] = free
            columns.cpu_milli[node] = table.cpu_left[node]
            columns.memory_mib[node] = table.memory_left[node]
            columns.pods[node] = table.pods_left[node]
