"""Conservative backfilling: every waiting job, in the order of the queue, has the earliest slot by estimates that delays
no job before it; those whose slot is now start.

With `depth` k only the first k blocked jobs get slots, and the others start where they delay none of these: k = 1 is
EASY with a promise for the whole window. Where every server has one device slots are counted. On servers a slot is a
placement, fixed over its whole window: that is right where it matters which devices a job gets, and costs
utilisation, because a job may wait although another device would do for the second half of its run.

The plan is made anew whenever anything was released or a job that has a slot was taken away, so a slot is no guarantee;
`policies.backfill.compression` keeps its word. Source: Mu'alem and Feitelson (IEEE TPDS 2001).

Cost: a pass may plan every waiting job, each against every step of the plan. Planning stops as soon as nothing that
waits could start now, and a pass that follows arrivals goes on where the last one stopped.

Assumptions: a job that has outrun its estimate counts as ending a millisecond from now; one without an estimate holds
its devices for ever, so a job may have no slot at all: then nobody behind it in the queue passes, since any job might
delay it without bound. A job that its queue's entitlement forbids now is passed over without a slot. Restart costs
of preempted jobs are not planned for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

from policies.api import Action, ClusterView, JobQueue, JobView, NodeSet, Placement, Semantics, Start
from policies.backfill.pinned import PinnedPlan
from policies.backfill.plan import CountingPlan, Plan, Slot, counting_is_exact, run_ms_of
from policies.backfill.profile import FOREVER
from policies.backfill.reservation import ReservationKind, expected_ms, has_room
from policies.framework.cycle import Cycle
from policies.framework.points import Admission, Ordering, Placer


@dataclass(slots=True)
class Planning:
    """A plan under way, and how far it has come."""

    plan: Plan
    releases: int
    starts: int
    """The view's counters as far as this policy's own actions account for them."""
    seen: int = -1
    """Every job that waited at the last pass arrived at this rank or before."""
    behind: Any = None
    """Key of the last job that was planned; None before the first."""
    promised: set[str] = field(default_factory=set)
    """The waiting jobs that have a slot."""
    first_ms: int = FOREVER
    """The earliest start that is promised."""
    started: bool = False
    """A job started since: planned anew, slots with devices may come to lie on others."""
    late: bool = False
    """A job that started since pays for its start first, so that it ends later than the plan holds."""
    closed: str | None = None
    """A job was found to which no slot can be promised: nobody behind it passes."""
    waiting: int = 0
    """How many jobs waited when the last pass was over."""

    def waits_for_nobody(self, view: ClusterView) -> bool:
        """True if a job for which the plan holds a slot, or that closed it, has been taken away meanwhile."""
        waiting = len(view.pending)
        if waiting == self.waiting + len(view.pending.newer_than(self.seen)):
            return False  # because: nobody is looked for who cannot be missing
        for_whom = self.promised if self.closed is None else self.promised | {self.closed}
        return not all(job_id in view.pending for job_id in for_whom)


class Conservative(Cycle):
    """See the module."""

    blocking = "each blocked job is promised its earliest slot; others pass if they delay no promise"

    def __init__(
        self,
        *,
        name: str,
        order: Ordering,
        placer: Placer,
        admission: Admission | None = None,
        depth: int | None = None,
        candidates: Ordering | None = None,
        shadow_equality: bool = True,
        extra: bool = True,
        reservation: ReservationKind = "feasible",
    ) -> None:
        super().__init__(name=name, order=order, placer=placer, admission=admission)
        if depth is not None and depth < 1:
            raise ValueError(f"depth: must be >= 1, got {depth}")
        self.depth = depth
        """How many blocked jobs are promised a slot; None is all."""
        self.candidates = order if candidates is None else candidates
        """The order in which jobs without a promise are tried."""
        self.shadow_equality = shadow_equality
        """True if a job without a promise may end exactly when a promised slot begins."""
        self.extra = extra
        """True if a job without a promise may outlive the first promised start."""
        self.reservation: ReservationKind = reservation
        self.planning: Planning | None = None
        """Persists between passes: a pass that follows arrivals goes on with it. Never changes a decision."""

    def decide(self, view: ClusterView) -> Iterator[Action]:
        """Plan in the order of the queue, and start whoever's slot is now."""
        planning = self.planning
        if planning is None or not self._goes_on(planning, view):
            self.planning = None
            yield from self._start_heads(view)
            if not self._startable(view):
                return
            plan = new_plan(view, self.order, self.placer, self.reservation)
            planning = self.planning = Planning(plan, view.releases, view.starts)
        newer = view.pending.newer_than(planning.seen)
        if newer:
            planning.seen = max(planning.seen, newer[-1].arrival)
        yield from self._plan_queue(planning, view)
        if self.depth is not None and len(planning.promised) >= self.depth:
            yield from self._pass_by(planning, view)
        planning.waiting = len(view.pending)

    def _start_heads(self, view: ClusterView) -> Iterator[Action]:
        """Start from the head while it fits: before anything is promised, whoever fits now has a slot now."""
        queue = view.pending.by(self.order)
        while (job := queue.first()) is not None and (placement := self.place(job, view)) is not None:
            yield Start(job.job_id, placement)

    def _startable(self, view: ClusterView) -> bool:
        """True if some waiting job may find room now: if none does, planning further decides nothing."""
        no_room = self.no_room.at(view)
        for request in view.pending.by_request(self.order):
            if request in no_room:
                continue
            if has_room(request, view.nodes, request.eligible) and self.placer.place(request, view.nodes) is not None:
                return True
            no_room.add(request)
        return False

    def _goes_on(self, planning: Planning, view: ClusterView) -> bool:
        """True if planning anew would give the same plan as far as this one has come."""
        if self.admission is not None or self.depth is not None:
            return False
        if planning.releases != view.releases or planning.starts != view.starts:
            return False
        if planning.waits_for_nobody(view):
            return False
        if planning.late or (planning.started and planning.plan.gives_devices):
            return False
        for job in view.pending.newer_than(planning.seen):
            if not planning.plan.knows(job.request):
                return False
            if planning.behind is not None and self.order.key(job) < planning.behind:
                return False
        return planning.plan.move_to(view.now_ms)

    def _plan_queue(self, planning: Planning, view: ClusterView) -> Iterator[Action]:
        """Slots in the order of the queue, until the promises are used up or nothing more can start now."""
        plan, jobs = planning.plan, queue_behind(view.pending.by(self.order), planning.behind)
        open_now = self._startable(view)
        while open_now and planning.closed is None and (entry := next(jobs, None)) is not None:
            planning.behind, job = entry
            within = self.allowed(job, view)
            if not within:
                continue
            slot = plan.earliest(job.request, run_ms_of(expected_ms(job)), within)
            if slot is None:
                planning.closed = job.job_id
                return
            plan.take(job.request, slot)
            placement = self._placement_now(job, slot, view, within)
            if placement is not None:
                yield Start(job.job_id, placement)
                planning.starts += 1
                planning.started = True
                planning.late |= job.job_id in view.running and view.running[job.job_id].overhead_ms > 0
                jobs = queue_behind(view.pending.by(self.order), planning.behind)
                open_now = self._startable(view)
            else:
                planning.promised.add(job.job_id)
                planning.first_ms = min(planning.first_ms, slot.start_ms)
                if len(planning.promised) == self.depth:
                    return

    def _pass_by(self, planning: Planning, view: ClusterView) -> Iterator[Action]:
        """Jobs without a promise start where they delay none."""
        plan, now_ms = planning.plan, view.now_ms
        behind_equality = 0 if self.shadow_equality else 1
        for job in list(view.pending.by(self.candidates)):
            if job.job_id in planning.promised or not has_room(job.request, view.nodes, job.request.eligible):
                continue
            run_ms = run_ms_of(expected_ms(job))
            if not self.extra and now_ms + run_ms + behind_equality > planning.first_ms:
                continue
            within = self.allowed(job, view)
            slot = plan.at_once(job.request, run_ms + behind_equality, within) if within else None
            placement = None if slot is None else self._placement_now(job, slot, view, within)
            if slot is not None and placement is not None:
                plan.take(job.request, slot._replace(run_ms=run_ms))
                yield Start(job.job_id, placement)

    def allowed(self, job: JobView, view: ClusterView) -> NodeSet:
        """The servers on which the job may start as far as entitlements go."""
        return job.request.eligible if self.admission is None else self.admission.allowed(job, view)

    def _placement_now(self, job: JobView, slot: Slot, view: ClusterView, within: NodeSet) -> Placement | None:
        if slot.start_ms != view.now_ms:
            return None
        return slot.placement or self.placer.place(job.request, view.nodes, within)

    def semantics(self) -> Semantics:
        """What this policy means."""
        depth = "all" if self.depth is None else str(self.depth)
        return replace(
            super().semantics(),
            reservation=f"{depth} blocked jobs, {RESERVATIONS[self.reservation]}; planned anew when anything is released"
            " (a pass may plan every waiting job)",
            needs_estimates=True,
            peeks=self.order.peeks or self.candidates.peeks,
            options={
                "candidates": self.candidates.name,
                "shadow-equality": "yes" if self.shadow_equality else "no",
                "extra": "yes" if self.extra else "no",
                "depth": depth,
                "reservation": self.reservation,
                "replan": "each-pass",
            },
        )


RESERVATIONS: dict[ReservationKind, str] = {
    "feasible": "counted where every server has one device, else pinned to devices over the whole window",
    "counting": "counting devices, wherever they are",
    "pinned": "pinned to devices over the whole window",
}
"""What each kind promises, in words."""


def new_plan(view: ClusterView, order: Ordering, placer: Placer, kind: ReservationKind) -> Plan:
    """A plan in which only the running jobs have their devices."""
    waiting = view.pending.by_request(order)
    if kind == "counting" or (kind == "feasible" and counting_is_exact(view, waiting)):
        return CountingPlan(view, exact=kind == "feasible")
    return PinnedPlan(view, placer, shared=not all(request.plain for request in waiting))


def queue_behind(queue: JobQueue, key: Any) -> Iterator[tuple[Any, JobView]]:
    """Each job behind `key` with its key; all of them if it is None."""
    if key is not None:
        return queue.entries_after(key)
    first = queue.first_entry()
    return iter(()) if first is None else chain((first,), queue.entries_after(first[0]))
