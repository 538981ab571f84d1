"""What happened, in order: append-only and columnar. The only source of results."""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.api import Placement

FIELDS = 4
"""Integers of one entry."""

CHUNK = FIELDS << 12
"""Integers that are kept in a list before they become columns."""


class Happened(IntEnum):
    """The kinds of entries."""

    ARRIVE = 0
    START = 1
    FINISH = 2
    KILL = 3
    """It outran its limit."""
    PREEMPT = 4
    REJECT = 5
    DROP = 6
    """Static fill found no place for it."""
    SPEED = 7
    """Its speed changed while it ran."""
    EXPIRE = 8
    """Its lifetime was over while it ran."""
    WITHDRAW = 9
    """Its lifetime was over while it waited."""


ENDS = (
    Happened.FINISH,
    Happened.KILL,
    Happened.REJECT,
    Happened.DROP,
    Happened.EXPIRE,
    Happened.WITHDRAW,
)
"""After these a job does nothing more."""

RELEASES = (Happened.FINISH, Happened.KILL, Happened.PREEMPT, Happened.EXPIRE)
"""These give back what the last START took."""

LEAVES = (Happened.START, Happened.REJECT, Happened.DROP, Happened.WITHDRAW)
"""With these a job waits no longer."""

EXPIRED = (Happened.EXPIRE, Happened.WITHDRAW)
"""With these a lifetime is over."""


class Columns(NamedTuple):
    """The timeline as columns. Each entry's shares are rows `share_start[i] : share_start[i + 1]` of the share columns."""

    at_ms: NDArray[np.int64]
    happened: NDArray[np.int8]
    job: NDArray[np.int32]
    """Row of the job in the results."""
    speed_ppm: NDArray[np.int32]
    """Millionths of full speed, for START and SPEED; 0 elsewhere."""
    share_start: NDArray[np.int64]
    share_node: NDArray[np.int32]
    share_devices: NDArray[np.uint64]
    """Device masks."""
    share_pods: NDArray[np.int32]
    share_group: NDArray[np.int16]


class Timeline:
    """Grows by `add`; `columns()` closes it."""

    def __init__(self) -> None:
        self.open: list[int] = []
        """What is not columns yet: `FIELDS` integers an entry."""
        self._placements: list[Placement] = []
        """One for each START in `open`."""
        self._closed: list[Columns] = []
        self.add = self.open.extend
        """Append an entry: `(at_ms, happened, job, speed_ppm)`."""
        self.add_placement = self._placements.append
        """What the START that was just added takes."""

    def settle(self) -> None:
        """Turn what is open into columns. Called between instants, when `open` has `CHUNK` integers."""
        if not self.open:
            return
        entries = np.fromiter(self.open, dtype=np.int64, count=len(self.open)).reshape(-1, FIELDS)
        lengths = np.zeros(len(entries), dtype=np.int64)
        lengths[entries[:, 1] == int(Happened.START)] = np.fromiter(
            map(len, self._placements), dtype=np.int64, count=len(self._placements)
        )
        shares = np.fromiter(
            chain.from_iterable(chain.from_iterable(self._placements)), dtype=np.uint64, count=4 * int(lengths.sum())
        ).reshape(-1, 4)
        self._closed.append(
            Columns(
                at_ms=entries[:, 0].copy(),
                happened=entries[:, 1].astype(np.int8),
                job=entries[:, 2].astype(np.int32),
                speed_ppm=entries[:, 3].astype(np.int32),
                share_start=lengths,
                share_node=shares[:, 0].astype(np.int32),
                share_devices=shares[:, 1].copy(),
                share_pods=shares[:, 2].astype(np.int32),
                share_group=shares[:, 3].astype(np.int16),
            )
        )
        self.open.clear()
        self._placements.clear()

    def recent(self) -> Iterator[tuple[int, int, int, Placement]]:
        """`(at_ms, happened, job, placement)` of the entries that are still open, for stories."""
        placements = iter(self._placements)
        for first in range(0, len(self.open), FIELDS):
            at_ms, happened, job, _ = self.open[first : first + FIELDS]
            yield at_ms, happened, job, next(placements) if happened == Happened.START else ()

    def columns(self) -> Columns:
        """Everything, as columns."""
        self.settle()
        if not self._closed:
            empty = [np.zeros(0, dtype=kind) for kind in _KINDS]
            empty[4] = np.zeros(1, dtype=np.int64)
            return Columns._make(empty)
        joined = [np.concatenate(parts) for parts in zip(*self._closed, strict=True)]
        joined[4] = np.concatenate(([0], np.cumsum(joined[4])))
        self._closed = []
        return Columns._make(joined)


_KINDS = (np.int64, np.int8, np.int32, np.int32, np.int64, np.int32, np.uint64, np.int32, np.int16)
