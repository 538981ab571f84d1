"""The filters of kube-scheduler in their order, for one pod: over all nodes at once, or for one node in a what-if.

A node has the reasons of the first plugin that turns it down, as in the original.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

import numpy as np

from policies.kube.configuration import Profile
from policies.kube.facts import FactFinder, NodeFacts
from policies.kube.fit import fit_faults, fit_faults_at
from policies.kube.ledger import Ledger, Mask
from policies.kube.pod_affinity import AFFINITY, PodAffinityFilter
from policies.kube.pods import Pod
from policies.kube.spreading import NO_LABEL, SpreadFilter

CORDONED: Final = "node(s) were unschedulable"
TAINTED: Final = "node(s) had untolerated taint(s)"
UNENFORCED: Final = "node(s) didn't match scheduler-enforced node affinity"
UNSELECTED: Final = "node(s) didn't match Pod's node affinity/selector"
OUTSIDE: Final = "node(s) didn't satisfy plugin(s) [NodeAffinity]"
NO_PORTS: Final = "node(s) didn't have free ports for the requested pod ports"

UNRESOLVABLE: Final = frozenset((CORDONED, TAINTED, UNENFORCED, UNSELECTED, OUTSIDE, AFFINITY, NO_LABEL))
"""Reasons that no preemption on the node can take away. To be too small even when empty is the other one."""

Faults = list[tuple[str, Mask]]


class Room(Protocol):
    """What else must be there, beyond what kube-scheduler looks at: the devices themselves, in a simulator."""

    reason: str

    def mask(self, pod: Pod) -> Mask:
        """The nodes that have it now."""
        ...

    def fits(self, pod: Pod, node: int) -> bool:
        """Whether one node has it now."""
        ...

    def take_out(self, pod: Pod, node: int) -> None:
        """In a what-if a pod leaves its node."""
        ...

    def put_back(self, pod: Pod, node: int) -> None:
        """It comes back."""
        ...


@dataclass(slots=True)
class Verdict:
    """Which nodes pass, and why the others do not."""

    feasible: Mask
    unresolvable: Mask
    """Nodes that do not pass and that preemption cannot help."""
    faults: Faults = field(default_factory=list)
    """(reason, nodes); a node may be in several of one plugin."""

    def counts(self) -> dict[str, int]:
        """Reason -> how many nodes have it."""
        found: dict[str, int] = {}
        for reason, nodes in self.faults:
            found[reason] = found.get(reason, 0) + int(nodes.sum())
        return found

    def reasons_at(self, node: int) -> list[str]:
        """Why one node does not pass; empty where it does."""
        return [reason for reason, nodes in self.faults if nodes[node]]

    def reject(self, reason: str, nodes: Mask, *, for_good: bool = False) -> None:
        """Turn down nodes that have passed so far."""
        hit = nodes & self.feasible
        if hit.any():
            self.faults.append((reason, hit))
            self.feasible &= ~hit
            if for_good or reason in UNRESOLVABLE:
                self.unresolvable |= hit


class PodCheck:
    """The filters for one pod on a ledger. `add` and `remove` change the ledger and keep the check true."""

    def __init__(
        self, pod: Pod, ledger: Ledger, profile: Profile, facts: FactFinder, room: Room | None = None
    ) -> None:
        self.pod = pod
        self._ledger = ledger
        self._profile = profile
        self._facts = facts
        self._room = room
        terms = pod.terms
        self._spread = SpreadFilter(pod, ledger, facts) if any(each.hard for each in terms.spread) else None
        found = PodAffinityFilter(pod, ledger) if terms.near or terms.away or ledger.choosy else None
        self._affinity = found or None

    # -- all nodes -----------------------------------------------------------------------------------------------

    def verdict(self) -> Verdict:
        """What each node says."""
        size = len(self._ledger)
        verdict = Verdict(np.ones(size, dtype=np.bool_), np.zeros(size, dtype=np.bool_))
        facts = self._facts.of(self.pod.terms)
        if facts.outside is not None and "NodeAffinity" in self._profile.filters:
            verdict.reject(OUTSIDE, facts.outside)
        for name in self._profile.filters:
            rule = _RULES.get(name)
            if rule is not None:
                rule(self, verdict, facts)
        if self._room is not None and verdict.feasible.any():
            verdict.reject(self._room.reason, ~self._room.mask(self.pod))
        return verdict

    def unschedulable(self, verdict: Verdict, facts: NodeFacts) -> None:
        """NodeUnschedulable."""
        verdict.reject(CORDONED, facts.cordoned)

    def taints(self, verdict: Verdict, facts: NodeFacts) -> None:
        """TaintToleration."""
        verdict.reject(TAINTED, facts.tainted)

    def node_affinity(self, verdict: Verdict, facts: NodeFacts) -> None:
        """NodeAffinity: what the profile enforces first."""
        verdict.reject(UNENFORCED, facts.unenforced)
        verdict.reject(UNSELECTED, facts.unselected)

    def ports(self, verdict: Verdict, _: NodeFacts) -> None:
        """NodePorts."""
        if self.pod.terms.host_ports and self._ledger.ports_on:
            taken = np.zeros(len(self._ledger), dtype=np.bool_)
            for node in self._ledger.ports_on:
                taken[node] = self._ledger.ports_conflict(self.pod.terms, node)
            verdict.reject(NO_PORTS, taken)

    def fit(self, verdict: Verdict, _: NodeFacts) -> None:
        """NodeResourcesFit: every resource that is short is a reason."""
        faults, never = fit_faults(self.pod.terms, self._ledger, self._profile.fit)
        open_before = verdict.feasible.copy()
        for reason, short in faults:
            hit = short & open_before
            if hit.any():
                verdict.faults.append((reason, hit))
                verdict.feasible &= ~hit
        verdict.unresolvable |= never & open_before

    def spread(self, verdict: Verdict, _: NodeFacts) -> None:
        """PodTopologySpread."""
        if self._spread is not None:
            for reason, nodes in self._spread.faults():
                verdict.reject(reason, nodes)

    def pod_affinity(self, verdict: Verdict, _: NodeFacts) -> None:
        """InterPodAffinity."""
        if self._affinity is not None:
            for reason, nodes in self._affinity.faults():
                verdict.reject(reason, nodes)

    # -- one node, in a what-if --------------------------------------------------------------------------------

    def faults_at(self, node: int) -> list[str]:
        """The reasons of a node that had none that are for good; empty where the pod fits now."""
        on = self._profile.filters
        if "NodePorts" in on and self._ledger.ports_conflict(self.pod.terms, node):
            return [NO_PORTS]
        if "NodeResourcesFit" in on:
            faults = fit_faults_at(self.pod.terms, self._ledger, self._profile.fit, node)
            if faults:
                return faults
        for name, rule in (("PodTopologySpread", self._spread), ("InterPodAffinity", self._affinity)):
            fault = rule.fault_at(node) if rule is not None and name in on else None
            if fault is not None:
                return [fault]
        if self._room is not None and not self._room.fits(self.pod, node):
            return [self._room.reason]
        return []

    def remove(self, pod: Pod, node: int) -> None:
        """A pod leaves its node."""
        self._ledger.remove(pod.uid)
        if self._room is not None:
            self._room.take_out(pod, node)
        self._update(pod, node, -1)

    def add(self, pod: Pod, node: int) -> None:
        """It comes back."""
        self._ledger.add(pod, node)
        if self._room is not None:
            self._room.put_back(pod, node)
        self._update(pod, node, 1)

    def _update(self, pod: Pod, node: int, sign: int) -> None:
        if self._spread is not None:
            self._spread.update(pod, node, sign)
        if self._affinity is not None:
            self._affinity.update(pod, node, sign)


_RULES: Final[dict[str, Callable[[PodCheck, Verdict, NodeFacts], None]]] = {
    "NodeUnschedulable": PodCheck.unschedulable,
    "TaintToleration": PodCheck.taints,
    "NodeAffinity": PodCheck.node_affinity,
    "NodePorts": PodCheck.ports,
    "NodeResourcesFit": PodCheck.fit,
    "PodTopologySpread": PodCheck.spread,
    "InterPodAffinity": PodCheck.pod_affinity,
}
"""NodeName is not here: a pod that names its node is not for the scheduler to place."""
