"""From values back to JSON objects: what an extender is given of a modelled cluster.

Reading what was written gives an equal value. A node that did not come from Kubernetes is written as Kubernetes would have it;
its devices are counted by `DEVICE` where no extended resource is known.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from policies.kube.pods import Pod
from policies.kube.terms import (
    Amounts,
    NodeTerm,
    PodAffinityTerm,
    PodTerms,
    Requirement,
    Selector,
    SpreadConstraint,
)
from policies.topology import Node

JsonObject = dict[str, Any]

DEVICE: Final = "rehearse/device"
"""The extended resource of devices whose own is not known."""


def write_amounts(amounts: Amounts) -> dict[str, str]:
    """Amounts of `policies.kube.terms` as quantities."""
    return {name: f"{amount}m" if name == "cpu" else str(amount) for name, amount in amounts}


def amounts_of(node: Node) -> Amounts:
    """What pods may take of a node; only what is modelled, where the node is not of Kubernetes."""
    if node.allocatable:
        return node.allocatable
    known = {
        "cpu": node.cpu_milli,
        "memory": None if node.memory_mib is None else node.memory_mib << 20,
        "pods": node.max_pods,
        (node.resource or DEVICE): node.devices or None,
    }
    return tuple(sorted((name, amount) for name, amount in known.items() if amount is not None))


def write_node(node: Node) -> JsonObject:
    """A Node object."""
    spec: JsonObject = {}
    if node.unschedulable:
        spec["unschedulable"] = True
    if node.taints:
        spec["taints"] = [_without_empty(taint._asdict()) for taint in node.taints]
    allocatable = write_amounts(amounts_of(node))
    return {
        "metadata": {"name": node.name, "labels": dict(node.labels)},
        "spec": spec,
        "status": {"capacity": allocatable, "allocatable": allocatable},
    }


def write_pod(pod: Pod) -> JsonObject:
    """A Pod object."""
    metadata: JsonObject = {
        "name": pod.name,
        "namespace": pod.namespace,
        "uid": pod.uid,
        "labels": dict(pod.terms.labels),
    }
    if pod.created_ms is not None:
        metadata["creationTimestamp"] = write_time(pod.created_ms)
    amounts = write_amounts(pod.terms.requests)
    container: JsonObject = {"name": "main", "image": "main", "resources": {"requests": amounts, "limits": amounts}}
    if pod.terms.host_ports:
        container["ports"] = [
            {"hostPort": port.port, "containerPort": port.port, "protocol": port.protocol, "hostIP": port.ip}
            for port in pod.terms.host_ports
        ]
    spec: JsonObject = {
        "containers": [container],
        "priority": pod.priority,
        "schedulerName": pod.scheduler,
        **write_terms(pod.terms),
    }
    status: JsonObject = {"phase": pod.phase}
    if pod.node:
        spec["nodeName"] = pod.node
    if pod.started_ms is not None:
        status["startTime"] = write_time(pod.started_ms)
    if pod.nominated:
        status["nominatedNodeName"] = pod.nominated
    return {"metadata": _without_empty(metadata), "spec": spec, "status": status}


def write_time(at_ms: int) -> str:
    """Milliseconds since 1970 in RFC 3339, whole seconds, as Kubernetes writes times."""
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def write_terms(terms: PodTerms) -> JsonObject:
    """The scheduling part of a PodSpec, without amounts."""
    spec: JsonObject = {
        "nodeSelector": dict(terms.node_selector),
        "affinity": _without_empty(
            {
                "nodeAffinity": _node_affinity(terms),
                "podAffinity": _between(terms, terms.near, 1),
                "podAntiAffinity": _between(terms, terms.away, -1),
            }
        ),
        "tolerations": [_without_empty(each._asdict()) for each in terms.tolerations],
        "topologySpreadConstraints": [_spread(each) for each in terms.spread],
    }
    if not terms.may_preempt:
        spec["preemptionPolicy"] = "Never"
    return _without_empty(spec)


def _node_affinity(terms: PodTerms) -> JsonObject:
    found: JsonObject = {}
    if terms.required is not None:
        found["requiredDuringSchedulingIgnoredDuringExecution"] = {
            "nodeSelectorTerms": [_node_term(term) for term in terms.required]
        }
    if terms.preferred:
        found["preferredDuringSchedulingIgnoredDuringExecution"] = [
            {"weight": each.weight, "preference": _node_term(each.term)} for each in terms.preferred
        ]
    return found


def _node_term(term: NodeTerm) -> JsonObject:
    return _without_empty({"matchExpressions": _requirements(term.labels), "matchFields": _requirements(term.fields)})


def _requirements(requirements: tuple[Requirement, ...]) -> list[JsonObject]:
    return [
        _without_empty({"key": each.key, "operator": each.operator, "values": list(each.values)})
        for each in requirements
    ]


def _selector(selector: Selector) -> JsonObject:
    return _without_empty({"matchExpressions": _requirements(selector.requirements)})


def _between(terms: PodTerms, required: tuple[PodAffinityTerm, ...], sign: int) -> JsonObject:
    found: JsonObject = {}
    if required:
        found["requiredDuringSchedulingIgnoredDuringExecution"] = [_pod_term(each) for each in required]
    preferred = [each for each in terms.preferred_pods if each.weight * sign > 0]
    if preferred:
        found["preferredDuringSchedulingIgnoredDuringExecution"] = [
            {"weight": abs(each.weight), "podAffinityTerm": _pod_term(each.term)} for each in preferred
        ]
    return found


def _pod_term(term: PodAffinityTerm) -> JsonObject:
    found: JsonObject = {"topologyKey": term.topology_key}
    if term.selector is not None:
        found["labelSelector"] = _selector(term.selector)
    if term.namespaces:
        found["namespaces"] = list(term.namespaces)
    if term.namespace_selector is not None:
        found["namespaceSelector"] = _selector(term.namespace_selector)
    return found


def _spread(constraint: SpreadConstraint) -> JsonObject:
    found: JsonObject = {
        "topologyKey": constraint.topology_key,
        "maxSkew": constraint.max_skew,
        "whenUnsatisfiable": "DoNotSchedule" if constraint.hard else "ScheduleAnyway",
        "nodeAffinityPolicy": constraint.node_affinity_policy,
        "nodeTaintsPolicy": constraint.node_taints_policy,
    }
    if constraint.selector is not None:
        found["labelSelector"] = _selector(constraint.selector)
    if constraint.min_domains is not None:
        found["minDomains"] = constraint.min_domains
    if constraint.match_label_keys:
        found["matchLabelKeys"] = list(constraint.match_label_keys)
    return found


def _without_empty(item: JsonObject) -> JsonObject:
    return {key: value for key, value in item.items() if value not in ("", [], {}, None)}


def _name(text: str) -> str:
    """A text as a name that Kubernetes allows."""
    kept = "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in text.lower())
    return kept.strip("-")[:63] or "default"
