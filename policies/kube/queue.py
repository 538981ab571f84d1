"""kube-scheduler's queue: who is tried now, who waits for an event, and who for the end of a backoff.

A pod that could not be scheduled waits until something happens in the cluster. Then it is tried again, but not before its backoff
has passed: the initial one, doubled with each attempt up to the longest, looked at once a second. Columns, because an event
touches every waiting job.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from policies.kube.ledger import Counts, Mask
from policies.values import JobView

LOOK_MS: Final = 1000
"""How often the backoffs are looked at."""

FLUSH_MS: Final = 300_000
"""After how long a pod is tried again although nothing happened."""

DOUBLINGS_MAX: Final = 30


class WaitingJobs:
    """The waiting jobs by slot. `group` numbers the jobs that are alike for the scheduler; it is the owner's."""

    def __init__(self, initial_ms: int, longest_ms: int) -> None:
        self._initial_ms = initial_ms
        self._longest_ms = longest_ms
        self.slot_of: dict[str, int] = {}
        self.job_at: list[JobView | None] = []
        self._free: list[int] = []
        self._latest = -1
        """The largest rank of arrival that was seen."""
        self.waits: Mask = np.zeros(64, dtype=np.bool_)
        """False in slots that are free."""
        self.moved: Mask = np.zeros(64, dtype=np.bool_)
        """To be tried as soon as the backoff allows; False while it waits for an event."""
        self.ready_ms: Counts = np.zeros(64, dtype=np.int64)
        """When its backoff ends."""
        self.since_ms: Counts = np.zeros(64, dtype=np.int64)
        """Since when it waits for an event."""
        self.attempts: Counts = np.zeros(64, dtype=np.int64)
        self.priority: Counts = np.zeros(64, dtype=np.int64)
        self.arrival: Counts = np.zeros(64, dtype=np.int64)
        self.group: Counts = np.zeros(64, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.slot_of)

    @property
    def latest(self) -> int:
        """The largest rank of arrival that was seen: later ones are new."""
        return self._latest

    def add(self, job: JobView, group: int) -> None:
        """A job begins to wait; it is tried at once. It is here already: nothing happens."""
        if job.job_id in self.slot_of:
            return
        slot = self._free.pop() if self._free else len(self.job_at)
        if slot == len(self.job_at):
            self.job_at.append(None)
            if slot == len(self.waits):
                self._grow()
        self.slot_of[job.job_id] = slot
        self.job_at[slot] = job
        self._latest = max(self._latest, job.arrival)
        self.waits[slot] = self.moved[slot] = True
        self.ready_ms[slot] = self.since_ms[slot] = self.attempts[slot] = 0
        self.priority[slot], self.arrival[slot], self.group[slot] = job.priority, job.arrival, group

    def remove(self, job_id: str) -> None:
        """A job waits no more. Raises KeyError if it did not."""
        slot = self.slot_of.pop(job_id)
        self.job_at[slot] = None
        self.waits[slot] = self.moved[slot] = False
        self._free.append(slot)

    def keep_only(self, job_ids: Iterable[str]) -> None:
        """Forget the jobs that are not among these."""
        for job_id in self.slot_of.keys() - set(job_ids):
            self.remove(job_id)

    def _grow(self) -> None:
        for name in ("waits", "moved", "ready_ms", "since_ms", "attempts", "priority", "arrival", "group"):
            column: NDArray[np.generic] = getattr(self, name)
            setattr(self, name, np.concatenate([column, np.zeros_like(column)]))

    # -- what becomes of them ---------------------------------------------------------------------------------------

    def move_all(self) -> None:
        """Something happened in the cluster: everybody is worth another attempt."""
        self.moved[:] = self.waits

    def flush(self, now_ms: int) -> bool:
        """Those that have waited for an event for too long are tried again. Whether there were any."""
        long = self.waits & ~self.moved & (self.since_ms + FLUSH_MS <= now_ms)
        self.moved |= long
        return bool(long.any())

    def ready(self, now_ms: int) -> Counts:
        """The slots to be tried now."""
        return np.flatnonzero(self.moved & (self.ready_ms <= now_ms))

    def in_order(self, slots: Counts) -> list[int]:
        """Slots in the order of the queue: higher priority first, then arrival."""
        if len(slots) > 1:
            slots = slots[np.lexsort((self.arrival[slots], -self.priority[slots]))]
        order: list[int] = slots.tolist()
        return order

    def backing_off(self, now_ms: int) -> Counts:
        """The slots that are to be tried once their backoff ends."""
        return np.flatnonzero(self.moved & (self.ready_ms > now_ms))

    def failed(self, slots: list[int] | Counts, at_ms: int | Counts, *, backoff: bool, stays: bool = False) -> None:
        """Attempts that failed at a time: wait for an event, or `stays`, for the end of the backoff alone."""
        self.attempts[slots] += 1
        if backoff:
            doublings = np.minimum(self.attempts[slots] - 1, DOUBLINGS_MAX)
            after = np.minimum(self._initial_ms << doublings, self._longest_ms) + at_ms
            self.ready_ms[slots] = -(-after // LOOK_MS) * LOOK_MS
        else:
            self.ready_ms[slots] = at_ms
        self.since_ms[slots] = at_ms
        self.moved[slots] = stays

    def catch_up(self, hopeless: Mask, now_ms: int) -> None:
        """Count the attempts that certainly failed meanwhile: of groups (by number) that have no room since the last event."""
        due = self.moved & (self.ready_ms > 0) & (self.ready_ms < now_ms)
        slots = np.flatnonzero(due)
        if len(slots):
            slots = slots[hopeless[self.group[slots]]]
            if len(slots):
                self.failed(slots, self.ready_ms[slots], backoff=True)
