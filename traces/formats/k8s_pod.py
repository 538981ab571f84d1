"""One Pod object -> what happened to it, and what it asked for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from traces.formats.k8s_amounts import Asked, asked
from traces.job import FieldProblem
from traces.values import shown

GANG_LABELS = (
    "scheduling.x-k8s.io/pod-group",
    "pod-group.scheduling.sigs.k8s.io",
    "scheduling.k8s.io/group-name",
    "kueue.x-k8s.io/pod-group-name",
    "gang.scheduling.koordinator.sh/name",
    "pod-group-name",
)
"""Labels or annotations that name the gang of a pod, in the order in which they are asked."""

QUEUE_LABELS = (
    "kueue.x-k8s.io/queue-name",
    "volcano.sh/queue-name",
    "scheduling.volcano.sh/queue-name",
    "kai.scheduler/queue",
    "quota.scheduling.koordinator.sh/name",
    "rehearse/queue",
)

MODEL_LABELS = ("nvidia.com/gpu.product", "amd.com/gpu.product-name", "node.kubernetes.io/npu.chip.name")
"""Node labels whose value is the model of the card."""

MIRROR = "kubernetes.io/config.mirror"
ENDED = ("Succeeded", "Failed")
_OUTCOMES = {
    "DeadlineExceeded": "timeout",
    "NodeLost": "node_fail",
    "NodeShutdown": "node_fail",
    "Terminated": "node_fail",
}
_KEPT = (
    "nodeSelector",
    "affinity",
    "tolerations",
    "topologySpreadConstraints",
    "overhead",
    "resources",
    "hostNetwork",
)


@dataclass(slots=True)
class PodFacts:
    """A pod as the file last told of it. Times are ms since 1970; None is not told."""

    line: int
    namespace: str
    name: str
    uid: str
    gang: str | None
    owner: str | None
    """The uid of what made it, if that is a job."""
    daemon: bool
    """Whether it belongs to its node and is no job."""
    node: str
    created_ms: int | None
    scheduled_ms: int | None
    ended_ms: int | None
    deleted_ms: int | None
    """When its deletion was asked for."""
    phase: str
    outcome: str
    asked: Asked
    queue: str | None
    user: str | None
    family: str | None
    priority: int
    estimate_ms: int | None
    models: tuple[str, ...]
    spec: dict[str, Any]
    """What scheduling reads of its PodSpec."""
    labels: dict[str, str]
    problems: list[FieldProblem] = field(default_factory=list)
    incarnation: int = 1
    """How many pods of this name there were before, and this one."""

    @property
    def key(self) -> str:
        """What stays the same when the pod is told of again."""
        return self.uid or f"{self.namespace}/{self.name}"


def read_pod(item: Mapping[str, Any], line: int) -> PodFacts:
    """The facts of a Pod object; what is wrong with it goes to `problems`."""
    problems: list[FieldProblem] = []
    metadata, spec, status = (_object(item.get(part), part, problems) for part in ("metadata", "spec", "status"))
    labels, annotations = (
        _texts(metadata.get(kind), f"metadata.{kind}", problems) for kind in ("labels", "annotations")
    )
    name = _text(metadata.get("name"), "metadata.name", problems)
    if not name:
        problems.append(FieldProblem("metadata.name", "must not be empty"))
    if not spec:
        problems.append(FieldProblem("spec", "must not be empty"))
    said = {**annotations, **labels}
    owners = [each for each in _list(metadata.get("ownerReferences")) if isinstance(each, dict)]
    wants = asked(spec, annotations, lambda path, reason: problems.append(FieldProblem(path, reason)))
    namespace = _text(metadata.get("namespace"), "metadata.namespace", problems) or "default"
    return PodFacts(
        line=line,
        namespace=namespace,
        name=name,
        uid=_text(metadata.get("uid"), "metadata.uid", problems),
        gang=_native_gang(spec) or next((said[key] for key in GANG_LABELS if said.get(key)), None),
        owner=_owner(owners),
        daemon=MIRROR in annotations or any(each.get("kind") in ("DaemonSet", "Node") for each in owners),
        node=_text(spec.get("nodeName"), "spec.nodeName", problems),
        created_ms=time_ms(metadata.get("creationTimestamp"), "metadata.creationTimestamp", problems),
        scheduled_ms=_scheduled_ms(status, problems),
        ended_ms=_ended_ms(status, problems),
        deleted_ms=time_ms(metadata.get("deletionTimestamp"), "metadata.deletionTimestamp", problems),
        phase=_text(status.get("phase"), "status.phase", problems) or "Pending",
        outcome=_outcome(status),
        asked=wants,
        queue=next((said[key] for key in QUEUE_LABELS if said.get(key)), namespace),
        user=annotations.get("rehearse/user") or labels.get("rehearse/user"),
        family=annotations.get("rehearse/family") or labels.get("rehearse/family"),
        priority=_whole(spec.get("priority"), "spec.priority", problems) or 0,
        estimate_ms=_estimate_ms(spec, annotations, problems),
        models=_models(spec) if wants.devices else (),
        spec=_scheduling(spec),
        labels=labels,
        problems=problems,
    )


def selector_keys(spec: Mapping[str, Any]) -> Iterator[str]:
    """The labels of other pods that a PodSpec asks about."""
    for selector in _selectors(spec):
        yield from (key for key in _of(selector, "matchLabels") if isinstance(key, str))
        for each in _list(selector.get("matchExpressions")):
            if isinstance(each, dict) and isinstance(each.get("key"), str):
                yield each["key"]


def scheduling_text(pod: PodFacts, keys: frozenset[str]) -> str:
    """The canonical `scheduling` of a pod: a Pod object with what scheduling reads, as compact JSON.

    Of the labels it keeps those that any pod of the trace asks about, for the others would only make equal pods different;
    so with the namespace.
    """
    item: dict[str, Any] = {"spec": pod.spec}
    if keys:
        labels = {key: pod.labels[key] for key in keys if key in pod.labels}
        item["metadata"] = {"namespace": pod.namespace, "labels": labels} if labels else {"namespace": pod.namespace}
    return json.dumps(item, sort_keys=True, separators=(",", ":"))


def _selectors(spec: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for each in _list(spec.get("topologySpreadConstraints")):
        if isinstance(each, dict):
            yield _of(each, "labelSelector")
            yield {
                "matchLabels": dict.fromkeys(key for key in _list(each.get("matchLabelKeys")) if isinstance(key, str))
            }
    affinity = _of(spec, "affinity")
    for kind in ("podAffinity", "podAntiAffinity"):
        for rule in _of(affinity, kind).values():
            for each in _list(rule):
                if isinstance(each, dict):
                    yield _of(each, "labelSelector")
                    yield _of(_of(each, "podAffinityTerm"), "labelSelector")


def _scheduling(spec: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: spec[key] for key in _KEPT if spec.get(key)}
    tolerations = [
        {key: value for key, value in each.items() if key != "tolerationSeconds"}
        for each in _list(kept.pop("tolerations", None))
        if isinstance(each, dict)
    ]
    if tolerations:
        kept["tolerations"] = tolerations
    for kind in ("initContainers", "containers"):
        containers = [_container(each) for each in _list(spec.get(kind)) if isinstance(each, dict)]
        if containers:
            kept[kind] = containers
    if spec.get("preemptionPolicy") == "Never":
        kept["preemptionPolicy"] = "Never"
    return kept


def _container(container: Mapping[str, Any]) -> dict[str, Any]:
    """What one container wants, limits standing for requests that are not said, and the ports that it takes."""
    resources = _of(container, "resources")
    requests = {**_of(resources, "limits"), **_of(resources, "requests")}
    ports = [
        {key: each[key] for key in ("hostPort", "containerPort", "hostIP", "protocol") if each.get(key)}
        for each in _list(container.get("ports"))
        if isinstance(each, dict)
    ]
    kept: dict[str, Any] = {"resources": {"requests": requests}} if requests else {}
    if any("hostPort" in port for port in ports):
        kept["ports"] = ports
    if container.get("restartPolicy") == "Always":
        kept["restartPolicy"] = "Always"
    return kept


def _models(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """The models of card that its node selector or its required node affinity allows; none where it does not say."""
    for label in MODEL_LABELS:
        chosen = _of(spec, "nodeSelector").get(label)
        if isinstance(chosen, str) and chosen:
            return (chosen,)
    required = _of(_of(_of(spec, "affinity"), "nodeAffinity"), "requiredDuringSchedulingIgnoredDuringExecution")
    found: dict[str, None] = {}
    for term in _list(required.get("nodeSelectorTerms")):
        named = [
            value
            for each in _list(term.get("matchExpressions") if isinstance(term, dict) else None)
            if isinstance(each, dict) and each.get("key") in MODEL_LABELS and each.get("operator") == "In"
            for value in _list(each.get("values"))
            if isinstance(value, str) and value
        ]
        if not named:
            return ()
        found.update(dict.fromkeys(named))
    return tuple(found)


def _scheduled_ms(status: Mapping[str, Any], problems: list[FieldProblem]) -> int | None:
    """When it was bound to its node; the kubelet's word for when it saw it stands for that."""
    for each in _list(status.get("conditions")):
        if isinstance(each, dict) and each.get("type") == "PodScheduled" and each.get("status") == "True":
            found = time_ms(each.get("lastTransitionTime"), "status.conditions.lastTransitionTime", problems)
            if found is not None:
                return found
    return time_ms(status.get("startTime"), "status.startTime", problems)


def _ended_ms(status: Mapping[str, Any], problems: list[FieldProblem]) -> int | None:
    """When its last container ended, for a pod that ended."""
    if status.get("phase") not in ENDED:
        return None
    found = []
    for place, each in enumerate(_list(status.get("containerStatuses"))):
        ended = _of(_of(each, "state"), "terminated").get("finishedAt")
        found.append(time_ms(ended, f"status.containerStatuses[{place}].state.terminated.finishedAt", problems))
    known = [end for end in found if end is not None]
    return max(known, default=None)


def _outcome(status: Mapping[str, Any]) -> str:
    phase, reason = status.get("phase"), status.get("reason")
    if phase == "Succeeded":
        return "completed"
    disrupted = [
        each.get("reason")
        for each in _list(status.get("conditions"))
        if isinstance(each, dict) and each.get("type") == "DisruptionTarget" and each.get("status") == "True"
    ]
    disrupted = [why for why in disrupted if isinstance(why, str)]
    if "PreemptionByScheduler" in disrupted or reason in ("Preempting", "Preempted"):
        return "unknown"
    if set(disrupted) & {"DeletionByTaintManager", "DeletionByPodGC"}:
        return "node_fail"
    return _OUTCOMES.get(str(reason), "failed") if phase == "Failed" else "cancelled"


def _estimate_ms(spec: Mapping[str, Any], annotations: Mapping[str, str], problems: list[FieldProblem]) -> int | None:
    said = annotations.get("rehearse/estimate-seconds", "")
    if said.isascii() and said.isdigit() and len(said) <= 10:
        return int(said) * 1000
    deadline = _whole(spec.get("activeDeadlineSeconds"), "spec.activeDeadlineSeconds", problems)
    return deadline * 1000 if deadline and deadline > 0 else None


def _native_gang(spec: Mapping[str, Any]) -> str:
    group = _of(spec, "schedulingGroup").get("podGroupName")
    if isinstance(group, str) and group:
        return group
    workload = _of(spec, "workloadRef")
    parts = (workload.get(key) for key in ("name", "podGroup", "podGroupReplicaKey"))
    return "/".join(part for part in parts if isinstance(part, str) and part)


def _owner(owners: Iterable[Mapping[str, Any]]) -> str | None:
    lasting = ("ReplicaSet", "ReplicationController", "StatefulSet", "DaemonSet", "Node")
    found = (each.get("uid") for each in owners if each.get("kind") not in lasting)
    return next((uid for uid in found if isinstance(uid, str)), None)


def time_ms(value: Any, path: str, problems: list[FieldProblem]) -> int | None:
    """A time in RFC 3339 as ms since 1970; null is None."""
    if value is None:
        return None
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else None
        if at is not None and at.tzinfo is not None and at.timestamp() >= 0:
            return round(at.timestamp() * 1000)
    except (ValueError, OverflowError):
        pass
    problems.append(FieldProblem(path, f"must be a time like 2026-01-31T13:45:00Z, got {shown(str(value))}"))
    return None


def _object(value: Any, path: str, problems: list[FieldProblem]) -> Mapping[str, Any]:
    if value is not None and not isinstance(value, dict):
        problems.append(FieldProblem(path, "must be a JSON object"))
    return value if isinstance(value, dict) else {}


def _texts(value: Any, path: str, problems: list[FieldProblem]) -> dict[str, str]:
    return {key: each for key, each in _object(value, path, problems).items() if isinstance(each, str)}


def _text(value: Any, path: str, problems: list[FieldProblem]) -> str:
    if value is not None and not isinstance(value, str):
        problems.append(FieldProblem(path, f"must be text, got {shown(str(value))}"))
    return value if isinstance(value, str) else ""


def _whole(value: Any, path: str, problems: list[FieldProblem]) -> int | None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        problems.append(FieldProblem(path, f"must be an integer, got {shown(str(value))}"))
        return None
    return value


def _of(value: Any, key: str) -> Mapping[str, Any]:
    inner = value.get(key) if isinstance(value, dict) else None
    return inner if isinstance(inner, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
