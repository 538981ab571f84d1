"""What a pod's terms say of each node, whatever pods are there: the filters and raw scores that never change.

Worked out once for all pods with the same selectors and tolerations, one look at each distinct value of a label.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from policies.kube.configuration import Profile
from policies.kube.ledger import Counts, Ledger, Mask
from policies.kube.terms import (
    UNSCHEDULABLE,
    NodeTerm,
    PodTerms,
    PreferredNode,
    Requirement,
    Taint,
    Toleration,
)

SOFT_EFFECT: Final = "PreferNoSchedule"
CORDON: Final = Taint(UNSCHEDULABLE, "", "NoSchedule")

NAME_FIELD: Final = "metadata.name"


class NodeFacts(NamedTuple):
    """One entry a node, shape (N,)."""

    cordoned: Mask
    """Unschedulable, and the pod does not tolerate it (NodeUnschedulable)."""
    tainted: Mask
    """A taint with a hard effect is not tolerated (TaintToleration)."""
    unenforced: Mask
    """The affinity that the profile adds does not match (NodeAffinity)."""
    unselected: Mask
    """The pod's own selector or required affinity does not match (NodeAffinity)."""
    outside: Mask | None
    """Nodes that the pod's affinity rules out by their name alone: they are not even looked at. None is no node."""
    repelled: Counts
    """How many taints with the soft effect are not tolerated."""
    attracted: Counts
    """The sum of the weights of the preferred terms that match."""


class FactFinder:
    """Facts about the nodes of a ledger under a profile, remembered."""

    def __init__(self, ledger: Ledger, profile: Profile) -> None:
        self._ledger = ledger
        self._profile = profile
        self._known: dict[object, NodeFacts] = {}
        self._taints: dict[tuple[Taint, ...], list[int]] = {}
        for number, node in enumerate(ledger.nodes):
            self._taints.setdefault(node.taints, []).append(number)
        self._cordoned = np.array([node.unschedulable for node in ledger.nodes], dtype=np.bool_)

    def of(self, terms: PodTerms) -> NodeFacts:
        """What a pod's terms say of each node."""
        key = (terms.node_selector, terms.required, terms.preferred, terms.tolerations)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._find(terms)
        return known

    def _find(self, terms: PodTerms) -> NodeFacts:
        profile = self._profile
        cordoned = self._cordoned
        if any(each.tolerates(CORDON) for each in terms.tolerations):
            cordoned = np.zeros_like(cordoned)
        selected = self._all(tuple(Requirement(key, "In", (value,)) for key, value in terms.node_selector))
        return NodeFacts(
            cordoned=cordoned,
            tainted=self._by_taints(lambda taints: not terms.tolerates(taints)).astype(np.bool_),
            unenforced=~self._any(profile.added_required),
            unselected=~(selected & self._any(terms.required)),
            outside=self._outside(terms.required),
            repelled=self._by_taints(lambda taints: _repelled(taints, terms.tolerations)),
            attracted=self._attracted(terms.preferred + profile.added_preferred),
        )

    def selects(self, terms: PodTerms) -> Mask:
        """Where the pod's own selector and required affinity match."""
        return ~self.of(terms).unselected

    def tolerates(self, terms: PodTerms) -> Mask:
        """Where the pod tolerates every taint with a hard effect."""
        return ~self.of(terms).tainted

    def _by_taints(self, count: Callable[[tuple[Taint, ...]], int]) -> Counts:
        found = np.zeros(len(self._ledger), dtype=np.int64)
        for taints, nodes in self._taints.items():
            if taints and (amount := count(taints)):
                found[nodes] = amount
        return found

    def _holds(self, requirement: Requirement) -> Mask:
        codes, values = self._ledger.label_codes(requirement.key)
        table = [requirement.holds({requirement.key: value}) for value in values]
        return np.array([*table, requirement.holds({})], dtype=np.bool_)[codes]  # because: code -1 is the last entry

    def _all(self, requirements: tuple[Requirement, ...]) -> Mask:
        found = np.ones(len(self._ledger), dtype=np.bool_)
        for each in requirements:
            found &= self._holds(each)
        return found

    def _term(self, term: NodeTerm) -> Mask:
        if not term.labels and not term.fields:
            return np.zeros(len(self._ledger), dtype=np.bool_)
        found = self._all(term.labels)
        for each in term.fields:
            found &= np.array([each.holds({NAME_FIELD: node.name}) for node in self._ledger.nodes], dtype=np.bool_)
        return found

    def _any(self, terms: tuple[NodeTerm, ...] | None) -> Mask:
        if terms is None:
            return np.ones(len(self._ledger), dtype=np.bool_)
        found = np.zeros(len(self._ledger), dtype=np.bool_)
        for each in terms:
            found |= self._term(each)
        return found

    def _attracted(self, preferred: tuple[PreferredNode, ...]) -> Counts:
        found = np.zeros(len(self._ledger), dtype=np.int64)
        for each in preferred:
            found += each.weight * self._term(each.term)
        return found

    def _outside(self, required: tuple[NodeTerm, ...] | None) -> Mask | None:
        """The nodes that no term names, where every term names its nodes (as daemon sets do)."""
        if not required:
            return None
        named: set[str] = set()
        for term in required:
            lists = [set(each.values) for each in term.fields if each.key == NAME_FIELD and each.operator == "In"]
            if not lists:
                return None
            named |= set.intersection(*lists)
        return np.array([node.name not in named for node in self._ledger.nodes], dtype=np.bool_)


def _repelled(taints: tuple[Taint, ...], tolerations: tuple[Toleration, ...]) -> int:
    return sum(
        taint.effect == SOFT_EFFECT and not any(each.tolerates(taint) for each in tolerations) for taint in taints
    )
