"""Conservative backfilling that keeps its word: a waiting job's slot is a guarantee, and only ever becomes earlier.

A job that arrives gets the earliest slot that takes nothing from the others. After completions, and when a job that has
a slot is taken away, each waiting job in turn, in the order of the queue, moves to the earliest slot now possible, once.
Source: Feitelson and Weil, "Utilization and Predictability in Scheduling the IBM SP2 with Backfilling" (IPPS 1998).

Cost: a pass that follows a completion plans every waiting job twice: its old slot, then its new one.

Assumptions: as `policies.backfill.conservative`. When a running job outruns its estimate, a slot may no longer be
there when its time comes: such a job gets the earliest slot when its turn comes. Entitlements are not known ahead and
are not kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from policies.api import Action, ClusterView, JobView, Semantics, Start
from policies.backfill.conservative import RESERVATIONS, new_plan
from policies.backfill.plan import Plan, Slot, run_ms_of
from policies.backfill.reservation import ReservationKind, expected_ms
from policies.framework.cycle import Cycle
from policies.framework.points import Ordering, Placer


@dataclass(slots=True)
class Guarantees:
    """The slots of all jobs that wait, and the plan that holds them."""

    plan: Plan
    slots: dict[str, Slot] = field(default_factory=dict)
    """By job; a job that no estimate allows a slot has none."""
    releases: int = 0
    starts: int = 0
    """The view's counters as far as this policy's own actions account for them."""

    def holds_for_nobody(self, view: ClusterView) -> bool:
        """True if a job that has a slot has been taken away."""
        return not all(job_id in view.pending for job_id in self.slots)


class CompressedConservative(Cycle):
    """See the module."""

    blocking = "each blocked job is guaranteed a slot, which only becomes earlier; others pass if they delay none"

    def __init__(
        self, *, name: str, order: Ordering, placer: Placer, reservation: ReservationKind = "feasible"
    ) -> None:
        super().__init__(name=name, order=order, placer=placer)
        self.reservation: ReservationKind = reservation
        self.guarantees: Guarantees | None = None
        """Persists between passes: the slots that were given away."""

    def decide(self, view: ClusterView) -> Iterator[Action]:
        """Keep the slots, move them forward after completions, and start whoever's slot has come."""
        known = self.guarantees
        waiting = list(view.pending.by(self.order))
        if known is None or self._outdated(known, waiting, view):
            plan = new_plan(view, self.order, self.placer, self.reservation)
            fresh = Guarantees(plan, {}, view.releases, view.starts)
            if known is not None:
                keep(known.slots, fresh, waiting, view.now_ms)
                if known.releases != view.releases or known.holds_for_nobody(view):
                    compress(fresh, waiting)
            known = self.guarantees = fresh
        for job in waiting:
            if job.job_id not in known.slots and not give(known, job):
                break
        for job in waiting:
            slot = known.slots.get(job.job_id)
            if slot is None or slot.start_ms > view.now_ms:
                continue
            placement = slot.placement or self.placer.place(job.request, view.nodes)
            if placement is not None:
                del known.slots[job.job_id]
                yield Start(job.job_id, placement)
                known.starts += 1

    def _outdated(self, known: Guarantees, waiting: list[JobView], view: ClusterView) -> bool:
        """True if the plan does not show the present any more."""
        return (
            known.releases != view.releases
            or known.starts != view.starts
            or known.holds_for_nobody(view)
            or not all(known.plan.knows(job.request) for job in waiting)
            or not known.plan.move_to(view.now_ms)
        )

    def semantics(self) -> Semantics:
        """What this policy means."""
        return replace(
            super().semantics(),
            reservation=f"all blocked jobs, {RESERVATIONS[self.reservation]}; kept, and made earlier after completions"
            " (such a pass plans every waiting job)",
            needs_estimates=True,
            options={"depth": "all", "reservation": self.reservation, "replan": "compression"},
        )


def keep(old: dict[str, Slot], fresh: Guarantees, waiting: list[JobView], now_ms: int) -> None:
    """Take the old slots over, the earliest first; one that is not there any more is lost."""
    still = [(max(slot.start_ms, now_ms), job, slot) for job in waiting if (slot := old.get(job.job_id)) is not None]
    still.sort(key=lambda entry: entry[0])  # stable: the order of the queue among equals
    for start_ms, job, slot in still:
        kept = slot._replace(start_ms=start_ms)
        if fresh.plan.is_free(job.request, kept):
            fresh.plan.take(job.request, kept)
            fresh.slots[job.job_id] = kept


def compress(known: Guarantees, waiting: list[JobView]) -> None:
    """Each job in turn moves to the earliest slot that takes nothing from the others."""
    closed = False
    for job in waiting:
        old = known.slots.pop(job.job_id, None)
        if old is not None:
            known.plan.give_back(job.request, old)
        elif closed:
            continue
        closed |= not give(known, job)


def give(known: Guarantees, job: JobView) -> bool:
    """Give a job the earliest slot. False if there is none: then no later job is given a new one."""
    slot = known.plan.earliest(job.request, run_ms_of(expected_ms(job)), job.request.eligible)
    if slot is None:
        return False
    known.plan.take(job.request, slot)
    known.slots[job.job_id] = slot
    return True
