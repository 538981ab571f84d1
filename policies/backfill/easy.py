"""EASY: jobs start from the head of the queue; the first that does not fit is promised its earliest start, and a job
behind it may start now if that promise holds all the same.

A later job that fits now starts if by its estimate it ends no later than the shadow time (the promised start), or if
the promise holds although it keeps its devices: the extra rule. For the promise see `policies.backfill.reservation`.

Assumptions: a job without an estimate never ends by the shadow time, so only the extra rule lets it pass. If the head
can be promised no time at all, because jobs without an estimate hold what it needs, nobody passes it: any job might
then delay it, and without bound. A job that its queue's entitlement forbids now is passed over without a promise,
since nobody can say when entitlements become free. A candidate is tried on the placement that the rule of placement
gives it, and on no other. Restart costs of preempted jobs are not foreseen.

Sources: Lifka (JSSPP 1995); Mu'alem and Feitelson (IEEE TPDS 2001); shortest candidates first: Tsafrir, Etsion and
Feitelson (IEEE TPDS 2007). It promises nothing to any but the first blocked job (`policies.backfill.conservative`
does), and does not correct estimates.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from policies.api import Action, ClusterView, JobView, NodeSet, Placement, Request, Semantics, Start
from policies.backfill.merge import MergedRequests
from policies.backfill.reservation import Reservation, ReservationKind, expected_ms, reserve
from policies.framework.cycle import Cycle
from policies.framework.points import Admission, Ordering, Placer


@dataclass(slots=True)
class Promise:
    """The promise to the job at the head, and what has been looked at since it was made."""

    head: JobView
    reservation: Reservation | None
    """None if the estimates allow no promise: then nobody passes."""
    releases: int
    starts: int
    """The view's counters as far as this policy's own actions account for them."""
    seen: int
    """Every job that waited at the last pass arrived at this rank or before."""
    refused: bool = False
    """Some job was refused that would be admitted on other devices."""
    look_again: bool = False
    """After such a refusal a start changed what placements are made: the next pass looks at all jobs."""
    outdated: bool = False
    """A start changed what would be promised now."""

    def started(self) -> None:
        """A job that it allowed has started."""
        self.starts += 1
        self.outdated = self.reservation is not None and not self.reservation.survives_starts


class Easy(Cycle):
    """See the module. One promise, to the first job that does not fit."""

    blocking = "the first job that does not fit is promised its earliest start; others pass if they do not delay it"

    def __init__(
        self,
        *,
        name: str,
        order: Ordering,
        placer: Placer,
        admission: Admission | None = None,
        candidates: Ordering | None = None,
        shadow_equality: bool = True,
        extra: bool = True,
        reservation: ReservationKind = "feasible",
    ) -> None:
        super().__init__(name=name, order=order, placer=placer, admission=admission)
        self.candidates = order if candidates is None else candidates
        """The order in which later jobs are tried."""
        self.shadow_equality = shadow_equality
        """True if a job may end exactly at the shadow time."""
        self.extra = extra
        """True if a job that outlives the shadow time may start where the promise holds all the same."""
        self.reservation: ReservationKind = reservation
        self.promise: Promise | None = None
        """Persists between passes: a pass that follows arrivals only looks at those. Never changes a decision."""

    def decide(self, view: ClusterView) -> Iterable[Action]:
        """Start from the head while it fits, then whoever does not delay the head."""
        return self._pass_by_request(view) if self.admission is None else self._pass_by_job(view)

    def _pass_by_request(self, view: ClusterView) -> Iterator[Action]:
        queue = view.pending.by(self.order)
        no_room = self.no_room.at(view)
        while (head := queue.first()) is not None:
            placement = None if head.request in no_room else self.placer.place(head.request, view.nodes)
            if placement is None:
                break
            yield Start(head.job_id, placement)
        else:
            return
        no_room.add(head.request)
        if len(view.pending) == 1:
            return
        promise = self.promise
        if promise is None or not _holds(promise, head, view):
            promise = self.promise = self._promise(head, view)
            yield from self._look_at_all(promise, view, None)
        elif promise.look_again:
            yield from self._look_at_all(promise, view, None)
        else:
            yield from self._look_at_new(promise, view)

    def _promise(self, head: JobView, view: ClusterView) -> Promise:
        everywhere = view.nodes.topology.everywhere
        reservation = reserve(head, view, self.placer, kind=self.reservation, within=everywhere)
        return Promise(head, reservation, view.releases, view.starts, seen=-1)

    def _look_at_new(self, promise: Promise, view: ClusterView) -> Iterator[Action]:
        """Only those who arrived since: the answer to all others is as it was."""
        newer = view.pending.newer_than(promise.seen)
        if not newer or promise.reservation is None:
            return
        promise.seen = max(promise.seen, newer[-1].arrival)
        no_room = self.no_room.at(view)
        key = self.candidates.key
        for job in sorted((job for job in newer if job.request not in no_room), key=key):
            placement = self._may_start(job, promise, view)
            if placement is None:
                continue
            yield Start(job.job_id, placement)
            promise.started()
            if promise.refused:
                yield from self._look_at_all(promise, view, key(job))
                promise.look_again = True
                return

    def _look_at_all(self, promise: Promise, view: ClusterView, after: Any) -> Iterator[Action]:
        """Everybody behind `after` in the order of candidates, the requests merged by their first jobs."""
        newer = view.pending.newer_than(promise.seen)
        if newer:
            promise.seen = max(promise.seen, newer[-1].arrival)
        reservation = promise.reservation
        if reservation is None:
            return
        promise.refused = promise.look_again = False
        no_room = self.no_room.at(view)
        jobs = MergedRequests(view.pending.by_request(self.candidates), no_room, after)
        refused: set[Request] = set()
        while (job := jobs.job()) is not None:
            request = job.request
            short = self._ends_in_time(job, reservation.shadow_ms, view.now_ms)
            if job is promise.head or (not short and (request in refused or not self.extra)):
                jobs.advance()
                continue
            placement = self.placer.place(request, view.nodes)
            if placement is None:
                no_room.add(request)
                jobs.drop()
            elif not short and not reservation.admit(request, placement):
                refused.add(request)
                promise.refused |= reservation.moved_by_placement
                jobs.advance()
            else:
                yield Start(job.job_id, placement)
                promise.started()
                promise.look_again |= promise.refused
                if reservation.moved_by_placement:
                    refused.clear()
                jobs.started()

    def _may_start(self, job: JobView, promise: Promise, view: ClusterView) -> Placement | None:
        """Where a job that passes the head may start now, or None; notes what that means for the promise."""
        reservation = promise.reservation
        assert reservation is not None, "nobody passes without a promise"
        no_room = self.no_room.at(view)
        if job.request in no_room:
            return None
        short = self._ends_in_time(job, reservation.shadow_ms, view.now_ms)
        if not short and not self.extra:
            return None
        placement = self.placer.place(job.request, view.nodes)
        if placement is None:
            no_room.add(job.request)
            return None
        if short or reservation.admit(job.request, placement):
            return placement
        promise.refused |= reservation.moved_by_placement
        return None

    def _ends_in_time(self, job: JobView, shadow_ms: int, now_ms: int) -> bool:
        left_ms = expected_ms(job)
        if left_ms is None:
            return False
        end_ms = now_ms + left_ms
        return end_ms < shadow_ms or (end_ms == shadow_ms and self.shadow_equality)

    def _pass_by_job(self, view: ClusterView) -> Iterator[Action]:
        """The same with entitlements kept: two jobs of one request are not interchangeable, so each is looked at."""
        assert self.admission is not None
        head = None
        within: NodeSet = 0
        for job in list(view.pending.by(self.order)):
            within = self.admission.allowed(job, view)
            placement = self.placer.place(job.request, view.nodes, within) if within else None
            if placement is not None:
                yield Start(job.job_id, placement)
            elif within:
                head = job
                break
        if head is None:
            return
        reservation = reserve(head, view, self.placer, kind=self.reservation, within=within)
        if reservation is None:
            return
        for job in [job for job in view.pending.by(self.candidates) if job is not head]:
            short = self._ends_in_time(job, reservation.shadow_ms, view.now_ms)
            placement = self.place(job, view) if short or self.extra else None
            if placement is not None and (short or reservation.admit(job.request, placement)):
                yield Start(job.job_id, placement)

    def semantics(self) -> Semantics:
        """What this policy means."""
        return replace(
            super().semantics(),
            reservation=RESERVATIONS[self.reservation],
            needs_estimates=True,
            peeks=self.order.peeks or self.candidates.peeks,
            options={
                "candidates": self.candidates.name,
                "shadow-equality": "yes" if self.shadow_equality else "no",
                "extra": "yes" if self.extra else "no",
                "depth": "1",
                "reservation": self.reservation,
            },
        )


RESERVATIONS: dict[ReservationKind, str] = {
    "feasible": "one: the earliest instant at which a placement exists by the estimates",
    "counting": "one: the earliest instant at which enough devices are free by the estimates, wherever they are",
    "pinned": "one: the devices of the earliest placement by the estimates",
}
"""What each kind promises, in words."""


def _holds(promise: Promise, head: JobView, view: ClusterView) -> bool:
    """True if a new promise would be the same: same head, nothing released, no start but those it allowed."""
    return (
        promise.head is head
        and not promise.outdated
        and promise.releases == view.releases
        and promise.starts == view.starts
        and (promise.reservation is None or view.now_ms < promise.reservation.shadow_ms)
    )
