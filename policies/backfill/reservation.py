"""What a job at the head of the queue is promised: the earliest start that the estimates of the running jobs allow.

Sources: Lifka, "The ANL/IBM SP Scheduling System" (JSSPP 1995); Mu'alem and Feitelson, "Utilization, Predictability,
Workloads, and User Runtime Estimates in Scheduling the IBM SP2 with Backfilling" (IEEE TPDS 2001): shadow time and
extra processors. There a machine is a count of processors. Here the promise is a start on servers, so the shadow time
is the earliest instant at which a placement exists, and "extra" is whatever leaves such a placement. Where every
server has one device the two are the same.

Assumptions: every running job whose expected end is at or before the shadow time counts as gone by then; one that has
outrun its estimate counts as ending a millisecond from now, so its promise slides. A running job without an estimate
has no known end and is never counted as gone. It does not look at entitlements: those are not known ahead.
"""

from __future__ import annotations

from typing import Literal, Protocol

from policies.api import DEVICE_MILLI, ClusterView, JobView, NodeSet, Placement, Request
from policies.feasibility import why_not
from policies.framework.points import Placer
from policies.nodes import NodeLedger, NodeTable

ReservationKind = Literal["feasible", "counting", "pinned"]
"""feasible: some placement must exist. counting: enough devices, wherever they are. pinned: a chosen placement."""


class Reservation(Protocol):
    """The promise to one job, and what may still be given away without breaking it."""

    shadow_ms: int
    """The promised start."""
    moved_by_placement: bool
    """True if a request that was refused may be admitted later on other devices."""
    survives_starts: bool
    """True if a promise made anew after the starts that it allowed would be the same."""

    def admit(self, request: Request, placement: Placement) -> bool:
        """May a job that outlives the shadow time start so? If so it is accounted for."""
        ...


class CountedReservation:
    """Devices are counted, wherever they are. Exact on a flat pool, a fiction on servers."""

    moved_by_placement = False
    survives_starts = True

    def __init__(self, shadow_ms: int, extra_milli: int) -> None:
        self.shadow_ms = shadow_ms
        self.extra_milli = extra_milli
        """Milli-devices that are free at the shadow time beyond the job's need."""

    def admit(self, request: Request, placement: Placement) -> bool:
        """It needs no more than the extra devices, which it then uses up."""
        if request.demand_milli > self.extra_milli:
            return False
        self.extra_milli -= request.demand_milli
        return True


class PlacedReservation:
    """At the shadow time a placement of the job must exist, whichever it is."""

    moved_by_placement = True
    survives_starts = True

    def __init__(self, shadow_ms: int, ledger: NodeLedger, head: Request, placer: Placer, within: NodeSet) -> None:
        self.shadow_ms = shadow_ms
        self.ledger = ledger
        """The servers as they will be at the shadow time, the job itself not yet started."""
        self._head = head
        self._placer = placer
        self._within = within

    def admit(self, request: Request, placement: Placement) -> bool:
        """With these devices gone for good the job still fits at the shadow time."""
        if not take_if_free(self.ledger, request, placement):
            return False
        head, ledger, within = self._head, self.ledger, self._within
        if has_room(head, ledger, within) and self._placer.place(head, ledger, within) is not None:
            return True
        self.ledger.release(request, placement)
        return False


class PinnedReservation:
    """The devices on which the job would start at the shadow time are its own."""

    moved_by_placement = True
    survives_starts = False  # because: made anew it may pin other devices

    def __init__(self, shadow_ms: int, ledger: NodeLedger) -> None:
        self.shadow_ms = shadow_ms
        self.ledger = ledger
        """The servers as they will be at the shadow time, the job itself started."""

    def admit(self, request: Request, placement: Placement) -> bool:
        """It touches none of the pinned devices."""
        return take_if_free(self.ledger, request, placement)


def reserve(
    head: JobView, view: ClusterView, placer: Placer, *, kind: ReservationKind, within: NodeSet
) -> Reservation | None:
    """The promise to `head`, which does not fit now; None if the estimates allow none (see the module)."""
    request = head.request
    if kind == "counting":
        return _count(request, view)
    found = _earliest(request, view, placer, within)
    if found is None:
        return None
    shadow_ms, ledger, placement = found
    if kind == "feasible":
        return PlacedReservation(shadow_ms, ledger, request, placer, within)
    ledger.take(request, placement)
    return PinnedReservation(shadow_ms, ledger)


def _earliest(
    request: Request, view: ClusterView, placer: Placer, within: NodeSet
) -> tuple[int, NodeLedger, Placement] | None:
    """The first instant at which a placement exists, the servers as they are then, and the placement."""
    ledger = view.nodes.what_if()
    soonest = at_ms = view.now_ms + 1
    released = False
    for running in view.running.by_expected_end():
        end_ms = running.expected_end_ms
        if end_ms is None:
            break
        end_ms = max(end_ms, soonest)
        if end_ms != at_ms and released and has_room(request, ledger, within):
            placement = placer.place(request, ledger, within)
            if placement is not None:
                return at_ms, ledger, placement
        ledger.release(running.job.request, running.placement)
        at_ms, released = end_ms, True
    placement = placer.place(request, ledger, within) if released else None
    return None if placement is None else (at_ms, ledger, placement)


def _count(request: Request, view: ClusterView) -> CountedReservation | None:
    free = free_milli(view.nodes)
    need = request.demand_milli
    at_ms = view.now_ms
    for running in view.running.by_expected_end():
        end_ms = running.expected_end_ms
        if end_ms is None:
            break
        end_ms = max(end_ms, view.now_ms + 1)
        if free >= need and end_ms != at_ms:
            break
        free += running.job.request.demand_milli
        at_ms = end_ms
    return CountedReservation(at_ms, free - need) if free >= need else None


def free_milli(nodes: NodeTable) -> int:
    """Milli-devices that nobody holds."""
    return nodes.idle_total * DEVICE_MILLI + sum(sum(left.values()) for left in nodes.partial.values())


def has_room(request: Request, nodes: NodeTable, within: NodeSet) -> bool:
    """False if counting alone rules a placement out: cheaper than to look for one."""
    if not request.plain:
        return True
    if nodes.idle_total < request.devices:
        return False
    largest = request.gang[0]
    return nodes.whole_pods(largest.devices, within & request.eligible) >= largest.pods


def take_if_free(ledger: NodeLedger, request: Request, placement: Placement) -> bool:
    """Take the devices, CPU and memory if all of them are there."""
    if not request.plain and why_not(request, placement, ledger) is not None:
        return False
    return ledger.take(request, placement) >= 0


def expected_ms(job: JobView) -> int | None:
    """What a waiting job will run from its start on, by its estimate; None where there is none."""
    return None if job.estimate_ms is None else max(job.estimate_ms - job.attained_ms, 0)
