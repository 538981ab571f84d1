"""Default preemption: whom to evict so that a pod fits, and on which node.

On each node that could help: take out all pods of lower priority; if the pod fits then, bring them back one by one, the most
important first, those under a disruption budget that is used up before the others, as long as the pod still fits. Who cannot
come back is a victim. Then choose the node, by `merits`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np

from policies.kube.configuration import PreemptionArgs, Profile
from policies.kube.filters import PodCheck, Verdict
from policies.kube.fit import TOO_MANY_PODS, insufficient, looked_at
from policies.kube.ledger import Ledger
from policies.kube.messages import NO_VICTIMS, NOT_HELPFUL, unavailable
from policies.kube.pods import Pod
from policies.kube.terms import Selector

JUST_NOW: Final = 1 << 62
"""Stands for the start of a pod that has not started: later than every other."""

PRIORITY_SHIFT: Final = 1 << 31
"""Added to each priority of a sum, so that none is negative."""


class DisruptionBudget(NamedTuple):
    """A PodDisruptionBudget as it is now."""

    namespace: str
    selector: Selector | None
    """None, and the empty one, select nothing."""
    disruptions_allowed: int


class Candidate(NamedTuple):
    """A node on which the pod would fit without the victims."""

    node: int
    victims: tuple[Pod, ...]
    """The most important first."""
    pdb_violations: int = 0


class Search(NamedTuple):
    """What the search for candidates gave."""

    candidates: tuple[Candidate, ...]
    reasons: dict[str, int]
    """Why the other nodes are none -> how many."""


def start_of(pod: Pod) -> int:
    """When it started, in milliseconds."""
    return JUST_NOW if pod.started_ms is None else pod.started_ms


def importance(pod: Pod) -> tuple[int, int, str]:
    """Sorts the most important first: higher priority, then earlier start; the uid among equals."""
    return (-pod.priority, start_of(pod), pod.uid)


def merits(candidate: Candidate) -> tuple[int, int, int, int, int]:
    """Sorts the best candidate first.

    1. the fewest violations of disruption budgets, 2. the lowest priority of the most important victim, 3. the smallest sum of
    priorities, 4. the fewest victims, 5. the latest start, of the earliest among the victims of the highest priority.
    """
    victims = candidate.victims
    highest = max(victim.priority for victim in victims)
    return (
        candidate.pdb_violations,
        victims[0].priority,
        sum(victim.priority + PRIORITY_SHIFT for victim in victims),
        len(victims),
        -min(start_of(victim) for victim in victims if victim.priority == highest),
    )


def best_of(candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Those with the best merits; the choice among them is free."""
    if not candidates:
        return ()
    least = min(map(merits, candidates))
    return tuple(each for each in candidates if merits(each) == least)


def violating(pods: Iterable[Pod], budgets: Sequence[DisruptionBudget]) -> tuple[list[Pod], list[Pod]]:
    """(those whose eviction would break a budget, the others), each in the order given."""
    allowed = [budget.disruptions_allowed for budget in budgets]
    broken: list[Pod] = []
    others: list[Pod] = []
    for pod in pods:
        violates = False
        labels = dict(pod.terms.labels)
        for place, budget in enumerate(budgets):
            selector = budget.selector
            if budget.namespace != pod.terms.namespace or selector is None or not selector.requirements:
                continue
            if labels and selector.holds(labels):
                allowed[place] -= 1
                violates = violates or allowed[place] < 0
        (broken if violates else others).append(pod)
    return broken, others


class Preemptor:
    """Searches candidates on a ledger. `draw(n)` gives where among n nodes to begin."""

    def __init__(
        self,
        ledger: Ledger,
        profile: Profile,
        *,
        draw: Callable[[int], int],
        budgets: Sequence[DisruptionBudget] = (),
    ) -> None:
        self._ledger = ledger
        self._profile = profile
        self._draw = draw
        self.budgets = budgets
        """Those in force; the owner may replace them."""
        self._order = np.array(ledger.tree_order(), dtype=np.int64)

    def search(self, check: PodCheck, verdict: Verdict, *, prune: bool = True) -> Search:
        """The candidates for a pod that fits nowhere. `prune` False tries every node in full."""
        potential = ~verdict.feasible & ~verdict.unresolvable
        nodes = self._order[potential[self._order]]
        reasons = {NOT_HELPFUL: len(self._ledger) - len(nodes)}
        if not len(nodes):
            return Search((), reasons)
        offset, wanted = self._draw(len(nodes)), _wanted(self._profile.preemption, len(nodes))
        skip = self._hopeless(check.pod, nodes, reasons) if prune and not check.pod.terms.host_ports else frozenset()
        found: list[Candidate] = []
        for node in np.roll(nodes, -offset).tolist():
            if node in skip:
                continue
            result = self.victims_on(check, node)
            if isinstance(result, Candidate):
                found.append(result)
                if len(found) >= wanted and any(not each.pdb_violations for each in found):
                    break
            else:
                for reason in result:
                    reasons[reason] = reasons.get(reason, 0) + 1
        found.sort(key=lambda each: each.pdb_violations > 0)
        return Search(tuple(found), reasons)

    def _hopeless(self, pod: Pod, nodes: np.ndarray, reasons: dict[str, int]) -> frozenset[int]:
        """The nodes that even without all pods of lower priority are too full, or that have none; their reasons are counted."""
        ledger = self._ledger
        if not ledger.pod_table.any_below(pod.priority):
            reasons[NO_VICTIMS] = reasons.get(NO_VICTIMS, 0) + len(nodes)
            return frozenset(nodes.tolist())
        asked = looked_at(pod.terms, self._profile.fit) if "NodeResourcesFit" in self._profile.filters else []
        below, held = ledger.pod_table.held_below(pod.priority, [name for name, _ in asked])
        none = below[nodes] == 0
        out = none.copy()
        reasons[NO_VICTIMS] = reasons.get(NO_VICTIMS, 0) + int(none.sum())
        if "NodeResourcesFit" in self._profile.filters:
            short = [(TOO_MANY_PODS, (ledger.pods_held - below)[nodes] >= ledger.pods_max[nodes])]
            for name, amount in asked:
                allocatable, requested = ledger.column(name)
                short.append((insufficient(name), (allocatable - requested + held[name])[nodes] < amount))
            for reason, where in short:
                count = int((where & ~none).sum())
                if count:
                    reasons[reason] = reasons.get(reason, 0) + count
                    out |= where
        return frozenset(nodes[out].tolist())

    def victims_on(self, check: PodCheck, node: int) -> Candidate | list[str]:
        """The candidate of one node, or the reasons why it is none. The ledger is afterwards as it was before."""
        pod = check.pod
        lower = [other for other in self._ledger.pods_on[node].values() if other.priority < pod.priority]
        if not lower:
            return [NO_VICTIMS]
        lower.sort(key=importance)
        for each in lower:
            check.remove(each, node)
        gone = list(lower)
        try:
            faults = check.faults_at(node)
            if faults:
                return faults
            protected, others = violating(lower, self.budgets)
            victims: list[Pod] = []
            broken = 0
            for each in (*protected, *others):
                check.add(each, node)
                gone.remove(each)
                if check.faults_at(node):
                    check.remove(each, node)
                    gone.append(each)
                    victims.append(each)
                    broken += each in protected
        finally:
            for each in gone:
                check.add(each, node)
        if not victims:
            return [NO_VICTIMS]
        return Candidate(node, tuple(sorted(victims, key=importance)), broken)


def _wanted(args: PreemptionArgs, nodes: int) -> int:
    """After how many candidates the search may stop."""
    return min(max(nodes * args.min_candidate_percentage // 100, args.min_candidates), nodes)


def told(nodes: int, reasons: dict[str, int]) -> str:
    """The message of a preemption that found no candidate."""
    return f"preemption: {unavailable(nodes, reasons)}"
