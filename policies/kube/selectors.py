"""Selectors, affinities, tolerations and spreading of a Pod object -> `policies.kube.terms`."""

from __future__ import annotations

from collections.abc import Mapping

from policies.kube.objects import EMPTY, Json, items, mapping, text, texts, whole
from policies.kube.terms import (
    NodeTerm,
    PodAffinityTerm,
    PreferredNode,
    Requirement,
    Selector,
    SpreadConstraint,
    Toleration,
    WeightedPodAffinity,
)

_EVERYTHING = Selector()


def read_requirements(value: object) -> tuple[Requirement, ...]:
    """A list of `matchExpressions` or `matchFields`."""
    return tuple(
        Requirement(text(each.get("key")), text(each.get("operator")), texts(each.get("values")))
        for each in items(value)
    )


def read_selector(value: object) -> Selector | None:
    """A label selector; None where there is none (which selects nothing)."""
    if not isinstance(value, dict):
        return None
    if not value:
        return _EVERYTHING
    exact = tuple(
        Requirement(key, "In", (each,))
        for key, each in sorted(mapping(value.get("matchLabels")).items())
        if isinstance(each, str)
    )
    return Selector(exact + read_requirements(value.get("matchExpressions")))


def read_node_term(value: object) -> NodeTerm:
    """One term of a node selector."""
    term = mapping(value)
    return NodeTerm(read_requirements(term.get("matchExpressions")), read_requirements(term.get("matchFields")))


def read_required_nodes(affinity: Json) -> tuple[NodeTerm, ...] | None:
    """Required node affinity; None where there is none."""
    wanted = mapping(affinity.get("nodeAffinity")).get("requiredDuringSchedulingIgnoredDuringExecution")
    if not isinstance(wanted, dict):
        return None
    return tuple(read_node_term(each) for each in items(wanted.get("nodeSelectorTerms")))


def read_preferred_nodes(affinity: Json) -> tuple[PreferredNode, ...]:
    """Preferred node affinity."""
    wanted = mapping(affinity.get("nodeAffinity")).get("preferredDuringSchedulingIgnoredDuringExecution")
    return tuple(
        PreferredNode(whole(each.get("weight"), 0), read_node_term(each.get("preference"))) for each in items(wanted)
    )


def read_tolerations(value: object) -> tuple[Toleration, ...]:
    """The tolerations of a pod."""
    return tuple(
        Toleration(
            text(each.get("key")),
            text(each.get("operator")) or "Equal",
            text(each.get("value")),
            text(each.get("effect")),
        )
        for each in items(value)
    )


def read_spread(value: object) -> tuple[SpreadConstraint, ...]:
    """`topologySpreadConstraints`."""
    return tuple(
        SpreadConstraint(
            topology_key=text(each.get("topologyKey")),
            max_skew=whole(each.get("maxSkew"), 1),
            hard=each.get("whenUnsatisfiable") != "ScheduleAnyway",
            selector=read_selector(each.get("labelSelector")),
            min_domains=whole(each.get("minDomains"), 0) or None,
            node_affinity_policy=text(each.get("nodeAffinityPolicy")) or "Honor",
            node_taints_policy=text(each.get("nodeTaintsPolicy")) or "Ignore",
            match_label_keys=texts(each.get("matchLabelKeys")),
        )
        for each in items(value)
    )


def read_pod_terms(affinity: Json, kind: str, labels: Mapping[str, str] = EMPTY) -> tuple[PodAffinityTerm, ...]:
    """The required terms of `podAffinity` or `podAntiAffinity`. `labels` are the pod's own, for `matchLabelKeys`."""
    wanted = mapping(affinity.get(kind)).get("requiredDuringSchedulingIgnoredDuringExecution")
    return tuple(_pod_term(each, labels) for each in items(wanted))


def read_preferred_pods(affinity: Json, labels: Mapping[str, str] = EMPTY) -> tuple[WeightedPodAffinity, ...]:
    """The preferred terms between pods; those of anti-affinity with negative weight."""
    if not affinity:
        return ()
    found = []
    for kind, sign in (("podAffinity", 1), ("podAntiAffinity", -1)):
        wanted = mapping(affinity.get(kind)).get("preferredDuringSchedulingIgnoredDuringExecution")
        found += [
            WeightedPodAffinity(
                sign * whole(each.get("weight"), 0), _pod_term(mapping(each.get("podAffinityTerm")), labels)
            )
            for each in items(wanted)
        ]
    return tuple(found)


def _pod_term(value: Json, labels: Mapping[str, str]) -> PodAffinityTerm:
    return PodAffinityTerm(
        topology_key=text(value.get("topologyKey")),
        selector=_with_label_keys(read_selector(value.get("labelSelector")), value, labels),
        namespaces=texts(value.get("namespaces")),
        namespace_selector=read_selector(value.get("namespaceSelector")),
    )


def _with_label_keys(selector: Selector | None, term: Json, labels: Mapping[str, str]) -> Selector | None:
    """The selector with `matchLabelKeys` and `mismatchLabelKeys` worked in, as the API server does when a pod is made."""
    if selector is None:
        return None
    more = tuple(
        each
        for keys, operator in (("matchLabelKeys", "In"), ("mismatchLabelKeys", "NotIn"))
        for key in texts(term.get(keys))
        if key in labels and (each := Requirement(key, operator, (labels[key],))) not in selector.requirements
    )
    return Selector(selector.requirements + more) if more else selector
