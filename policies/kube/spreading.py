"""PodTopologySpread: the filter for hard constraints and the score for soft ones.

Only the pod's own constraints count. Those that a profile gives by default need the services and sets a pod belongs to, which
are not modelled.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np

from policies.kube.facts import FactFinder
from policies.kube.ledger import Counts, Ledger, Mask
from policies.kube.pods import Pod
from policies.kube.terms import Labels, PodTerms, Requirement, Selector, SpreadConstraint

HOSTNAME: Final = "kubernetes.io/hostname"
NO_LABEL: Final = "node(s) didn't match pod topology spread constraints (missing required label)"
SKEWED: Final = "node(s) didn't match pod topology spread constraints"


class _Constraint(NamedTuple):
    """One constraint with what it counts."""

    max_skew: int
    min_domains: int
    selector: Selector | None
    matches_self: bool
    codes: Counts
    """The domain of each node by number, -1 where it has none."""
    counted: Mask
    """The nodes whose pods count."""
    counts: Counts
    """How many pods that match each domain has."""
    present: Mask
    """The domains that have a node whose pods count."""


def own_selector(constraint: SpreadConstraint, labels: Labels) -> Selector | None:
    """The constraint's selector with the pod's own values of `matchLabelKeys`; None selects nothing."""
    values = dict(labels)
    more = tuple(Requirement(key, "In", (values[key],)) for key in constraint.match_label_keys if key in values)
    if constraint.selector is None or not more:
        return constraint.selector
    return Selector(more + constraint.selector.requirements)


class SpreadFilter:
    """The hard constraints of one pod, counted over the ledger as it is. `update` keeps it true in a what-if."""

    def __init__(self, pod: Pod, ledger: Ledger, facts: FactFinder) -> None:
        self._namespace = pod.terms.namespace
        wanted = [each for each in pod.terms.spread if each.hard]
        self._labelled = _labelled(wanted, ledger)
        self._constraints = [_count(each, pod.terms, ledger, facts, self._labelled) for each in wanted]

    def __bool__(self) -> bool:
        return bool(self._constraints)

    def faults(self) -> list[tuple[str, Mask]]:
        """(reason, nodes): without a label that is needed, then too much skew."""
        skewed = np.zeros(len(self._labelled), dtype=np.bool_)
        for each in self._constraints:
            skew = np.append(each.counts, 0)[each.codes] + each.matches_self - _least(each)
            skewed |= skew > each.max_skew
        return [(NO_LABEL, ~self._labelled), (SKEWED, skewed & self._labelled)]

    def fault_at(self, node: int) -> str | None:
        """The reason of one node, None where the pod may go there."""
        if not self._labelled[node]:
            return NO_LABEL
        for each in self._constraints:
            count = int(each.counts[each.codes[node]])
            if count + each.matches_self - _least(each) > each.max_skew:
                return SKEWED
        return None

    def update(self, pod: Pod, node: int, sign: int) -> None:
        """A pod comes to a node, or leaves it."""
        if pod.terms.namespace != self._namespace or pod.leaving:
            return
        labels = dict(pod.terms.labels)
        for each in self._constraints:
            if each.counted[node] and each.selector is not None and each.selector.holds(labels):
                each.counts[each.codes[node]] += sign


def _least(constraint: _Constraint) -> int:
    """The pods of the domain that has the fewest; 0 where there are too few domains."""
    domains = int(constraint.present.sum())
    if not domains or domains < constraint.min_domains:
        return 0
    return int(constraint.counts[constraint.present].min())


def _labelled(constraints: list[SpreadConstraint], ledger: Ledger) -> Mask:
    """The nodes that have every label."""
    found = np.ones(len(ledger), dtype=np.bool_)
    for each in constraints:
        found &= ledger.label_codes(each.topology_key)[0] >= 0
    return found


def _count(
    constraint: SpreadConstraint, terms: PodTerms, ledger: Ledger, facts: FactFinder, labelled: Mask
) -> _Constraint:
    codes, values = ledger.label_codes(constraint.topology_key)
    counted = labelled.copy()
    if constraint.node_affinity_policy == "Honor":
        counted &= facts.selects(terms)
    if constraint.node_taints_policy == "Honor":
        counted &= facts.tolerates(terms)
    selector = own_selector(constraint, terms.labels)
    per_node = matching_pods(selector, terms.namespace, ledger)
    counts = np.zeros(len(values), dtype=np.int64)
    present = np.zeros(len(values), dtype=np.bool_)
    where = np.flatnonzero(counted)
    np.add.at(counts, codes[where], per_node[where])
    present[codes[where]] = True
    return _Constraint(
        max_skew=constraint.max_skew,
        min_domains=1 if constraint.min_domains is None else constraint.min_domains,
        selector=selector,
        matches_self=selector is not None and selector.holds(dict(terms.labels)),
        codes=codes,
        counted=counted,
        counts=counts,
        present=present,
    )


def matching_pods(selector: Selector | None, namespace: str, ledger: Ledger) -> Counts:
    """How many pods of a namespace match, on each node. Those that leave do not count, and an empty selector counts none."""
    found = np.zeros(len(ledger), dtype=np.int64)
    if selector is None or not selector.requirements:
        return found
    for (home, labels, leaving), nodes in ledger.label_groups.items():
        if home == namespace and not leaving and selector.holds(dict(labels)):
            for node, count in nodes.items():
                found[node] += count
    return found


def spread_scores(pod: Pod, ledger: Ledger, facts: FactFinder, candidates: Counts) -> Counts | None:
    """0..100 for each candidate, or None where the pod has no soft constraint."""
    wanted = [each for each in pod.terms.spread if not each.hard]
    if not wanted:
        return None
    labelled = _labelled(wanted, ledger)
    scored = labelled[candidates]
    nodes = candidates[scored]
    raw = np.zeros(len(nodes))
    for constraint in wanted:
        each = _count(constraint, pod.terms, ledger, facts, labelled)
        here = each.codes[nodes]
        size = len(nodes) if constraint.topology_key == HOSTNAME else len(np.unique(here))
        raw = raw + (each.counts[here] * math.log(size + 2) + (each.max_skew - 1))
    rounded = np.floor(raw + 0.5).astype(np.int64)
    found = np.zeros(len(candidates), dtype=np.int64)
    if len(nodes):
        least, most = int(rounded.min()), int(rounded.max())
        found[scored] = 100 if most == 0 else 100 * (most + least - rounded) // most
    return found
