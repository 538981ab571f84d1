"""InterPodAffinity: the filter for required affinity and anti-affinity between pods, and the score for preferred ones.

Both directions count: what the pod says of those that are there, and what those that are there say of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from policies.kube.configuration import Profile
from policies.kube.ledger import Counts, Ledger, Mask
from policies.kube.pods import Pod
from policies.kube.terms import Labels, PodAffinityTerm

AFFINITY: Final = "node(s) didn't match pod affinity rules"
ANTI_AFFINITY: Final = "node(s) didn't match pod anti-affinity rules"
EXISTING: Final = "node(s) didn't satisfy existing pods anti-affinity rules"

NAMESPACE_NAME: Final = "kubernetes.io/metadata.name"
"""The one label that every namespace has; others are not known here."""


def term_matches(term: PodAffinityTerm, owner: str, namespace: str, labels: Labels) -> bool:
    """Whether a term of a pod in namespace `owner` means a pod with these labels in `namespace`."""
    if term.selector is None:
        return False
    selector = term.namespace_selector
    if not term.namespaces and selector is None:
        inside = namespace == owner
    else:
        inside = namespace in term.namespaces or (
            selector is not None and selector.holds({NAMESPACE_NAME: namespace})
        )
    return inside and term.selector.holds(dict(labels))


class _PerDomain:
    """How many pods are in each domain of each topology key."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.counts: dict[str, Counts] = {}

    def add(self, key: str, node: int, amount: int) -> None:
        codes, values = self._ledger.label_codes(key)
        code = codes[node]
        if code < 0:
            return
        if key not in self.counts:
            self.counts[key] = np.zeros(len(values) + 1, dtype=np.int64)  # because: the last one is for code -1
        self.counts[key][code] += amount

    def at(self, key: str, nodes: Counts | slice | int) -> Counts:
        """The count of the domain of each node, 0 where it has none."""
        codes = self._ledger.label_codes(key)[0][nodes]
        counts = self.counts.get(key)
        return np.zeros_like(codes) if counts is None else counts[codes]

    def __bool__(self) -> bool:
        return any(column.any() for column in self.counts.values())


class PodAffinityFilter:
    """The hard rules between one pod and those in the ledger as it is. `update` keeps it true in a what-if."""

    def __init__(self, pod: Pod, ledger: Ledger) -> None:
        self._pod = pod
        self._ledger = ledger
        self._near = _PerDomain(ledger)
        self._away = _PerDomain(ledger)
        self._existing = _PerDomain(ledger)
        for uid, node in ledger.choosy.items():
            self._say(ledger.pods_on[node][uid], node, 1)
        if pod.terms.near or pod.terms.away:
            for (namespace, labels, _), nodes in ledger.label_groups.items():
                keys = self._keys(namespace, labels)
                for node, count in nodes.items():
                    for column, key in keys:
                        column.add(key, node, count)

    def __bool__(self) -> bool:
        return bool(self._pod.terms.near or self._pod.terms.away or self._existing.counts)

    def _keys(self, namespace: str, labels: Labels) -> list[tuple[_PerDomain, str]]:
        """What a pod with these labels counts for: every required term must mean it, or any forbidding one."""
        terms = self._pod.terms
        found = []
        if terms.near and all(term_matches(each, terms.namespace, namespace, labels) for each in terms.near):
            found += [(self._near, each.topology_key) for each in terms.near]
        return found + [
            (self._away, each.topology_key)
            for each in terms.away
            if term_matches(each, terms.namespace, namespace, labels)
        ]

    def _say(self, other: Pod, node: int, sign: int) -> None:
        """What a pod that is there forbids this one."""
        mine = self._pod.terms
        for each in other.terms.away:
            if term_matches(each, other.terms.namespace, mine.namespace, mine.labels):
                self._existing.add(each.topology_key, node, sign)

    def update(self, other: Pod, node: int, sign: int) -> None:
        """A pod comes to a node, or leaves it."""
        self._say(other, node, sign)
        for column, key in self._keys(other.terms.namespace, other.terms.labels):
            column.add(key, node, sign)

    def _first_of_its_kind(self) -> bool:
        """Whether nobody matches the required terms yet and the pod itself does: then it may be the first."""
        terms = self._pod.terms
        return not self._near and all(
            term_matches(each, terms.namespace, terms.namespace, terms.labels) for each in terms.near
        )

    def _masks(self, nodes: slice) -> tuple[Mask, Mask, Mask]:
        """(affinity missed, anti-affinity broken, another's anti-affinity broken) for each node."""
        size = len(self._ledger.nodes[nodes])
        missed, broken, forbidden = (np.zeros(size, dtype=np.bool_) for _ in range(3))
        lonely = np.zeros(size, dtype=np.bool_)
        for each in self._pod.terms.near:
            missed |= self._ledger.label_codes(each.topology_key)[0][nodes] < 0
            lonely |= self._near.at(each.topology_key, nodes) <= 0
        if lonely.any() and not self._first_of_its_kind():
            missed |= lonely
        for each in self._pod.terms.away:
            broken |= self._away.at(each.topology_key, nodes) > 0
        for key in self._existing.counts:
            forbidden |= self._existing.at(key, nodes) > 0
        return missed, broken, forbidden

    def faults(self) -> list[tuple[str, Mask]]:
        """(reason, nodes), each node with its first reason only."""
        missed, broken, forbidden = self._masks(slice(None))
        return [(AFFINITY, missed), (ANTI_AFFINITY, broken & ~missed), (EXISTING, forbidden & ~broken & ~missed)]

    def fault_at(self, node: int) -> str | None:
        """The reason of one node, None where the pod may go there."""
        masks = self._masks(slice(node, node + 1))
        return next(
            (why for why, mask in zip((AFFINITY, ANTI_AFFINITY, EXISTING), masks, strict=True) if mask[0]), None
        )


def affinity_scores(pod: Pod, ledger: Ledger, profile: Profile, candidates: Counts) -> Counts | None:
    """0..100 for each candidate, or None where nobody prefers anything."""
    points = _PerDomain(ledger)
    for key, node, weight in _preferences(pod, ledger, profile):
        points.add(key, node, weight)
    if not points.counts:
        return None
    raw = np.zeros(len(candidates), dtype=np.int64)
    for key in points.counts:
        raw += points.at(key, candidates)
    least, most = int(raw.min()), int(raw.max())
    if most == least:
        return np.zeros(len(candidates), dtype=np.int64)
    return (100.0 * ((raw - least) / (most - least))).astype(np.int64)


def _preferences(pod: Pod, ledger: Ledger, profile: Profile) -> Iterator[tuple[str, int, int]]:
    """(topology key, node, weight) of everything that speaks for, or against, the domain of a node."""
    mine = pod.terms
    if mine.preferred_pods:
        for (namespace, labels, _), nodes in ledger.label_groups.items():
            for each in mine.preferred_pods:
                if term_matches(each.term, mine.namespace, namespace, labels):
                    for node, count in nodes.items():
                        yield each.term.topology_key, node, each.weight * count
    elif profile.ignore_preferred_terms_of_existing:
        return
    for uid, node in ledger.choosy.items():
        other = ledger.pods_on[node][uid].terms
        hard = profile.hard_pod_affinity_weight
        if hard:
            for term in other.near:
                if term_matches(term, other.namespace, mine.namespace, mine.labels):
                    yield term.topology_key, node, hard
        for each in other.preferred_pods:
            if term_matches(each.term, other.namespace, mine.namespace, mine.labels):
                yield each.term.topology_key, node, each.weight
