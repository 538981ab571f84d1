"""The scheduling cycles: which waiting job is tried, and what happens to the others when it does not fit.

One pass works on what changed. Jobs with the same request are interchangeable for placement, so a request that found
no room is not tried again until something is released.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import Any

from policies.api import Action, ClusterView, JobView, NodeSet, Placement, Policy, Request, Semantics, Start
from policies.framework.points import Admission, Ordering, Placer

new_start = tuple.__new__
"""Makes a `Start` from a tuple, in half the time of calling `Start`: the strict cycle is the hottest loop of a replay."""


class NoRoom:
    """Requests that found no room, remembered while nothing has been released.

    What is free only shrinks between two releases, so an answer "no" stays true until the next one.
    """

    def __init__(self) -> None:
        self._requests: set[Request] = set()
        self._nodes: object = None
        self._releases = -1

    def at(self, view: ClusterView) -> set[Request]:
        """The requests without room now; the caller adds to it."""
        releases = view.releases
        if self._releases != releases or self._nodes is not view.nodes:
            self._releases = releases
            self._nodes = view.nodes
            if self._requests:
                self._requests = set()
        return self._requests


class Cycle(Policy):
    """What all cycles have: an order, a placement and, if entitlements are kept, an admission."""

    blocking = ""
    """What happens behind a job that does not fit, in words."""

    def __init__(self, *, name: str, order: Ordering, placer: Placer, admission: Admission | None = None) -> None:
        self.name = name
        self.order = order
        self.placer = placer
        self.admission = admission
        self.no_room = NoRoom()
        """Persists between passes; see `NoRoom`."""

    def place(self, job: JobView, view: ClusterView) -> Placement | None:
        """Where the job may start now, entitlements kept, or None."""
        if self.admission is None:
            return self.placer.place(job.request, view.nodes)
        within: NodeSet = self.admission.allowed(job, view)
        return self.placer.place(job.request, view.nodes, within) if within else None

    def semantics(self) -> Semantics:
        """What this policy means."""
        return Semantics(
            order=self.order.name,
            blocking=self.blocking,
            placement=self.placer.name,
            quota="not kept" if self.admission is None else self.admission.name,
            needs_estimates=self.order.needs_estimates,
            peeks=self.order.peeks,
        )


class StrictCycle(Cycle):
    """The head of the queue blocks all behind it until it fits. Kueue's StrictFIFO, with any order."""

    blocking = "the first job that does not fit blocks all behind it"

    def decide(self, view: ClusterView) -> Iterator[Action]:
        """Start from the head while it fits."""
        queue = view.pending.by(self.order)
        job = queue.first()
        if job is None:
            return
        no_room = self.no_room.at(view)
        place = self.placer.place if self.admission is None else None
        nodes = view.nodes
        while job is not None:
            if place is None:
                placement = self.place(job, view)
            elif job.request in no_room:
                return
            else:
                placement = place(job.request, nodes)
            if placement is None:
                no_room.add(job.request)
                return
            yield new_start(Start, (job[0], placement))
            job = queue.first()


class BestEffortCycle(Cycle):
    """In order, whoever fits starts; no reservation, so a large job can starve. Kueue's BestEffortFIFO."""

    blocking = "skips jobs that do not fit, without reservation"

    def decide(self, view: ClusterView) -> Iterable[Action]:
        """Try each distinct request at its first job in order, until none has room."""
        return self._by_job(view) if self.admission else self._by_request(view)

    def _by_request(self, view: ClusterView) -> Iterator[Action]:
        parts = view.pending.by_request(self.order)
        no_room = self.no_room.at(view)
        heads: list[tuple[Any, int, Request]] = []
        for number, (request, queue) in enumerate(parts.items()):
            if request not in no_room and (entry := queue.first_entry()) is not None:
                heads.append((entry[0], number, request))
        heapq.heapify(heads)
        while heads:
            _, number, request = heads[0]
            placement = self.placer.place(request, view.nodes)
            if placement is None:
                no_room.add(request)
                heapq.heappop(heads)
                continue
            queue = parts[request]
            job = queue.first()
            assert job is not None, "a part with an entry has a head"
            yield Start(job.job_id, placement)
            entry = queue.first_entry() if request in parts else None
            if entry is None:
                heapq.heappop(heads)
            else:
                heapq.heapreplace(heads, (entry[0], number, request))

    def _by_job(self, view: ClusterView) -> Iterator[Action]:
        tried: set[tuple[str, Request]] = set()
        for job in list(view.pending.by(self.order)):
            kind = (job.queue, job.request)
            if kind in tried:
                continue
            placement = self.place(job, view)
            if placement is None:
                tried.add(kind)
            else:
                yield Start(job.job_id, placement)
