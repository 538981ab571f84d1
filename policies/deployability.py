"""Where a policy can be deployed, told from the parts that it is made of.

kube-scheduler's own queue goes by priority, then arrival, and passes over a pod that does not fit until its backoff has ended;
nothing is kept for it. An extender cannot change that. So a policy is what an extender does if its choice of servers, its
entitlements and its choice of victims are all that is left of it: everything else needs a scheduler of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from policies.api import Policy, Semantics
from policies.framework.cycle import BestEffortCycle, Cycle, StrictCycle
from policies.framework.per_queue import PerQueue
from policies.kube.default import KubeDefault
from policies.ordering.fifo import Fifo
from policies.ordering.priority import Priority
from policies.preemption.priority import PreemptPriority

KUBE_SCHEDULER: Final = "kube-scheduler"
EXTENDER: Final = "extender"
SECOND_SCHEDULER: Final = "second scheduler"
SIMULATOR: Final = "simulator"

SKIPS: Final = (BestEffortCycle.decide, PreemptPriority.decide)
"""Cycles that pass over what does not fit, and keep nothing for it."""

PEEKS: Final = "it reads true run times"
OWN_CYCLE: Final = "it decides in a way of its own, which kube-scheduler cannot be told"


@dataclass(frozen=True, slots=True)
class Deployability:
    """See the module."""

    routes: tuple[str, ...]
    """Of `kube-scheduler`, `extender`, `second scheduler` and `simulator`, those that do what the policy does."""
    reasons: tuple[str, ...]
    """Why the narrower routes are closed, or what the extender takes for granted."""
    placement_only: bool
    """True if an extender can serve at least its placement, its entitlements and its choice of victims."""

    @property
    def text(self) -> str:
        """For people: `second scheduler only: it orders the queue by arrival and the head blocks it`."""
        reasons = (", and " if "," in "".join(self.reasons) else " and ").join(self.reasons)
        if KUBE_SCHEDULER in self.routes:
            return f"{KUBE_SCHEDULER}: {reasons}"
        if EXTENDER in self.routes:
            return f"extender, {reasons}" if reasons else EXTENDER
        only = SECOND_SCHEDULER if SECOND_SCHEDULER in self.routes else SIMULATOR
        return f"{only} only: {reasons}"


def deployability(policy: Policy, said: Semantics | None = None) -> Deployability:
    """Where this policy can be deployed. `said` is what it says of itself, where that is known already."""
    said = said or policy.semantics()
    cycle = cycle_of(policy)
    if said.peeks:
        return Deployability((SIMULATOR,), (PEEKS,), placement_only=False)
    if isinstance(policy, KubeDefault):
        routes = (KUBE_SCHEDULER, SECOND_SCHEDULER, SIMULATOR)
        return Deployability(routes, ("it is what a KubeSchedulerConfiguration says",), placement_only=False)
    if cycle is None:
        return Deployability((SECOND_SCHEDULER, SIMULATOR), (OWN_CYCLE,), placement_only=False)
    reasons = _beyond_an_extender(policy, cycle, said)
    if reasons:
        return Deployability((SECOND_SCHEDULER, SIMULATOR), reasons, placement_only=True)
    assumed = ("where all pods have the same priority",) if isinstance(cycle.order, Fifo) else ()
    return Deployability((EXTENDER, SECOND_SCHEDULER, SIMULATOR), assumed, placement_only=True)


def cycle_of(policy: Policy, queue: str = "") -> Cycle | None:
    """The cycle whose extension points decide for a job of `queue`; None if the policy is not made of them."""
    found = policy.cycle_of(queue) if isinstance(policy, PerQueue) else policy
    return found if isinstance(found, Cycle) else None


def _beyond_an_extender(policy: Policy, cycle: Cycle, said: Semantics) -> tuple[str, ...]:
    """What it does that kube-scheduler does not."""
    reasons: list[str] = []
    orders = f"it orders the queue by {cycle.order.name}"
    plain_order = isinstance(cycle.order, Fifo | Priority)
    if type(cycle).decide in SKIPS:
        reasons += [] if plain_order else [orders]
    elif type(cycle).decide is StrictCycle.decide:
        reasons += [orders, "the head blocks it"]
    elif said.reservation != "none":
        reasons += [orders, "reserves for what it holds back"]
    else:
        reasons += [OWN_CYCLE]
    if isinstance(policy, PerQueue):
        reasons.append("it takes queue after queue")
    return tuple(reasons)
