"""Which running jobs must go so that a job fits: as few as possible, the cheapest first. Tried on a copy."""

from __future__ import annotations

from collections.abc import Sequence

from policies.api import ClusterView, NodeSet, Placement, Request, RunningJob
from policies.framework.points import Placer


def make_room(
    request: Request, victims: Sequence[RunningJob], view: ClusterView, placer: Placer, within: NodeSet | None = None
) -> tuple[list[RunningJob], Placement] | None:
    """The victims that must go, and where the job then fits; None if it does not fit even without all of them.

    `victims` has the cheapest first. Jobs are released in that order until the job fits; then, as in kube-scheduler, the dearest
    are reprieved one by one while it still fits.
    """
    ledger = view.nodes.what_if()
    gone: list[RunningJob] = []
    placement = None
    for victim in victims:
        ledger.release(victim.job.request, victim.placement)
        gone.append(victim)
        if request.plain and ledger.idle_total < request.devices:
            continue
        placement = placer.place(request, ledger, within)
        if placement is not None:
            break
    if placement is None:
        return None
    for victim in list(reversed(gone[:-1])):
        ledger.take(victim.job.request, victim.placement)
        other = placer.place(request, ledger, within)
        if other is None:
            ledger.release(victim.job.request, victim.placement)
        else:
            placement = other
            gone.remove(victim)
    return gone, placement
