"""The bodies of `k8s.io/kube-scheduler/extender/v1`: Go structs without JSON tags, so their keys are capitalised Go names.

Read as Go's decoder reads: any case of the outer keys, null for what is not there. The Pod and Node objects inside are ordinary
v1 JSON and are passed on as they came. Written with capitalised keys, nothing left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

import orjson

from policies.kube.extender import FilterAnswer, Victims
from policies.kube.objects import Json, mapping, text

VERBS: Final = ("filter", "prioritize", "preempt", "bind")


class MalformedError(ValueError):
    """A body that is not JSON."""


class WireError(ValueError):
    """JSON that is not the request of the verb; the message says where."""


class NodeArgs(NamedTuple):
    """ExtenderArgs: the question of `filter` and `prioritize`."""

    pod: Json
    names: list[str]
    """Each once, in the order of the request."""
    nodes: dict[str, Json] | None
    """By name; None where only names were sent (`nodeCacheCapable: true`)."""


class Candidate(NamedTuple):
    """A node, and the pods that would have to go."""

    victims: Victims
    pods: dict[str, Json]
    """By uid; empty where only uids were sent."""


class PreemptArgs(NamedTuple):
    """ExtenderPreemptionArgs."""

    pod: Json
    candidates: dict[str, Candidate]


class BindArgs(NamedTuple):
    """ExtenderBindingArgs."""

    name: str
    namespace: str
    uid: str
    node: str

    @property
    def key(self) -> str:
        """`namespace/name` of the pod."""
        return f"{self.namespace}/{self.name}"


# -- reading ----------------------------------------------------------------------------------------------------------


def read_json(body: bytes) -> Any:
    """The value of a body. Raises `MalformedError`; NaN and Infinity are no JSON."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedError(f"the body is not JSON: {error}") from None


def pod_of(value: object) -> Json:
    """The pod of any request, for the log; empty where there is none."""
    return mapping(_any_case(value).get("pod")) if isinstance(value, dict) else {}


def read_node_args(value: object) -> NodeArgs:
    """The question of `filter` or `prioritize`. Raises `WireError`."""
    fields = _fields(value)
    pod = _pod(fields)
    listed, names = fields.get("nodes"), fields.get("nodenames")
    if listed is not None:
        nodes = _nodes(listed)
        return NodeArgs(pod, list(nodes), nodes)
    if names is None:
        raise WireError("neither Nodes nor NodeNames is given")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise WireError("NodeNames: must be a list of texts")
    return NodeArgs(pod, list(dict.fromkeys(names)), None)


def read_preempt_args(value: object) -> PreemptArgs:
    """The question of `preempt`. Raises `WireError`."""
    fields = _fields(value)
    pod = _pod(fields)
    whole, meta = fields.get("nodenametovictims"), fields.get("nodenametometavictims")
    key, found = ("NodeNameToVictims", whole) if whole is not None else ("NodeNameToMetaVictims", meta)
    if not isinstance(found, dict):
        raise WireError(f"{key}: must be an object of node names")
    return PreemptArgs(pod, {node: _candidate(each, f"{key}.{node}") for node, each in found.items()})


def read_bind_args(value: object) -> BindArgs:
    """The question of `bind`. Raises `WireError`."""
    fields = _fields(value)
    found = BindArgs(*(text(fields.get(key)) for key in ("podname", "podnamespace", "poduid", "node")))
    missing = [
        key for key, said in zip(("PodName", "PodNamespace", "PodUID", "Node"), found, strict=True) if not said
    ]
    if missing:
        raise WireError(f"{', '.join(missing)}: must be a text that is not empty")
    return found


def _fields(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise WireError("the request must be a JSON object")
    return _any_case(value)


def _any_case(value: Mapping[str, Any]) -> dict[str, Any]:
    return {key.lower(): each for key, each in value.items()}


def _pod(fields: Mapping[str, Any]) -> Json:
    pod = fields.get("pod")
    if not isinstance(pod, dict):
        raise WireError("Pod: is required, an object")
    return pod


def _nodes(listed: object) -> dict[str, Json]:
    items = listed.get("items") if isinstance(listed, dict) else None
    if items is None and isinstance(listed, dict):
        return {}
    if not isinstance(items, list):
        raise WireError("Nodes: must be a list of nodes with items")
    nodes: dict[str, Json] = {}
    for place, item in enumerate(items):
        name = text(mapping(item.get("metadata")).get("name")) if isinstance(item, dict) else ""
        if not name:
            raise WireError(f"Nodes.items[{place}]: must be a Node with a name")
        nodes.setdefault(name, item)
    return nodes


def _candidate(value: object, path: str) -> Candidate:
    fields = _any_case(value) if isinstance(value, dict) else {}
    pods = fields.get("pods")
    if not isinstance(pods, list) or not all(isinstance(pod, dict) for pod in pods):
        raise WireError(f"{path}.Pods: must be a list of objects")
    whole: dict[str, Json] = {}
    uids = []
    for pod in pods:
        uid = text(_any_case(pod).get("uid"))
        if not uid:
            uid = text(mapping(pod.get("metadata")).get("uid"))
            whole[uid] = pod
        if not uid:
            raise WireError(f"{path}.Pods: a pod has no uid")
        uids.append(uid)
    violations = fields.get("numpdbviolations") or 0
    if not isinstance(violations, int):
        raise WireError(f"{path}.NumPDBViolations: must be a whole number")
    return Candidate(Victims(tuple(dict.fromkeys(uids)), violations), whole)


# -- writing ----------------------------------------------------------------------------------------------------------


def filter_reply(answer: FilterAnswer, args: NodeArgs) -> dict[str, Any]:
    """ExtenderFilterResult: the nodes that pass as they were asked for, by name or whole."""
    nodes = None if args.nodes is None else {"metadata": {}, "items": [args.nodes[name] for name in answer.nodes]}
    return {
        "Nodes": nodes,
        "NodeNames": list(answer.nodes) if nodes is None else None,
        "FailedNodes": answer.failed,
        "FailedAndUnresolvableNodes": answer.failed_and_unresolvable,
        "Error": "",
    }


def filter_error(message: str) -> dict[str, Any]:
    """ExtenderFilterResult of a question that has no answer."""
    return {
        "Nodes": None,
        "NodeNames": None,
        "FailedNodes": {},
        "FailedAndUnresolvableNodes": {},
        "Error": message,
    }


def prioritize_reply(scores: Iterable[tuple[str, int]]) -> list[dict[str, Any]]:
    """HostPriorityList: a bare list."""
    return [{"Host": name, "Score": score} for name, score in scores]


def preempt_reply(kept: Mapping[str, Victims]) -> dict[str, Any]:
    """ExtenderPreemptionResult: always uids, whatever the question held."""
    return {
        "NodeNameToMetaVictims": {
            node: {"Pods": [{"UID": uid} for uid in victims.uids], "NumPDBViolations": victims.pdb_violations}
            for node, victims in kept.items()
        }
    }


def bind_reply(error: str = "") -> dict[str, str]:
    """ExtenderBindingResult."""
    return {"Error": error}
