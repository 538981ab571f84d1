"""What the queues of a replay hold, and on which servers a kind of jobs has entitlement left."""

from __future__ import annotations

from collections.abc import Mapping

from policies.api import Placement, QueueView, Request
from policies.framework.points import Admission
from policies.nodes import NodeLedger
from policies.quota.nominal import NominalQuota
from policies.values import NodeSet
from sim.causes.kinds import Kind
from sim.views import SimView


class Entitlement:
    """The queues as the run had them, charged with each start and end. `admission` looks at queues and servers only."""

    def __init__(self, admission: Admission, queues: Mapping[str, QueueView], ledger: NodeLedger) -> None:
        self._admission = admission
        self._queues = {name: queue._replace(held_milli={}) for name, queue in queues.items()}
        self._view = SimView(ledger, self._queues)
        self._topology = ledger.topology
        self._pot_of = _pot if isinstance(admission, NominalQuota) else _everyone
        self._changes = dict.fromkeys(map(self._pot_of, self._queues.values()), 0)
        """Those whose holdings count for a queue's headroom -> how often these have changed."""

    def charge(self, queue_name: str, request: Request, placement: Placement, sign: int) -> None:
        """A job of a queue takes (1) or gives back (-1)."""
        queue = self._queues.get(queue_name)
        if queue is None:
            return
        held = queue.held_milli
        for share in placement:
            milli = sign * share[1].bit_count() * request.device_milli
            if milli:
                accelerator = self._topology.accelerator_of[share[0]] or "generic"
                held[accelerator] = held.get(accelerator, 0) + milli
                held["*"] = held.get("*", 0) + milli
        self._changes[self._pot_of(queue)] += 1

    def allowed(self, kind: Kind) -> NodeSet:
        """The eligible servers for which the queue of the kind has entitlement left for one more of its jobs."""
        queue = self._queues.get(kind.example.queue)
        if queue is None:
            return kind.request.eligible
        changes = self._changes[self._pot_of(queue)]
        if kind.quota_as_of != changes:
            kind.quota_as_of = changes
            kind.allowed = self._admission.allowed(kind.example, self._view) & kind.request.eligible
        return kind.allowed


def _everyone(_: QueueView) -> tuple[str, str]:
    """For a rule that this file does not know."""
    return ("", "")


def _pot(queue: QueueView) -> tuple[str, str]:
    """Under nominal quota the holdings of its cohort count, else its own."""
    return ("queue", queue.name) if queue.cohort is None else ("cohort", queue.cohort)
