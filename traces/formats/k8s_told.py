"""A file of Kubernetes objects, a list or a log of events -> what it tells of each pod in the end."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from traces import jsonarray
from traces.formats.k8s_pod import ENDED, PodFacts, read_pod, time_ms
from traces.job import FieldProblem
from traces.row import ROW
from traces.textfile import head, head_lines, numbered_lines
from traces.trace import Rejection

_CHANGES = ("ADDED", "MODIFIED", "DELETED")
_BESIDE = ("BOOKMARK", "ERROR")
_MEMORY_LABEL = "nvidia.com/gpu.memory"
_REGISTRY = re.compile(
    r"hami\.io/node-(?:[\w.-]+-register|register-[\w.-]+)|volcano\.sh/node-vgpu-register", re.ASCII
)


@dataclass(slots=True)
class Told:
    """What a file tells, object by object."""

    pods: dict[str, PodFacts] = field(default_factory=dict)
    gone: dict[str, int | None] = field(default_factory=dict)
    """Pods that were deleted, with the time of that where the file says it."""
    rejections: list[Rejection] = field(default_factory=list)
    memory_mib: dict[str, int] = field(default_factory=dict)
    """Node -> memory of one of its cards."""
    cluster_queue: dict[tuple[str, str], str] = field(default_factory=dict)
    """Namespace and LocalQueue -> ClusterQueue."""
    created_ms: dict[str, int] = field(default_factory=dict)
    """Objects that are neither pods nor nodes, by uid -> when they were made."""
    beside: int = 0
    """Lines of a journal that are no events."""
    _uids: dict[str, dict[str, int]] = field(default_factory=dict)

    def reject(self, line: int, reason: str, name: str | None = None, where: str = ROW) -> None:
        """Note that a line tells nothing."""
        self.rejections.append(Rejection(line, name, (FieldProblem(where, reason),)))

    def incarnation(self, pod: PodFacts) -> int:
        """Which pod of its name this is, from 1: one that is made anew has another uid."""
        known = self._uids.setdefault(f"{pod.namespace}/{pod.name}", {})
        return known.setdefault(pod.uid, len(known) + 1)


def is_log(first: bytes) -> bool:
    """Whether the first line of a file is an event, or the header of a journal."""
    line = next((line for line in head_lines(first) if line.strip()), "")
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return line.startswith(('{"type":', '{"at_ms":', '{"event":', '{"journal":'))
    return isinstance(value, dict) and ("event" in value or "journal" in value or {"type", "object"} <= set(value))


def read_file(path: Path) -> Told:
    """What the file tells. Raises `TraceError` if it cannot be read."""
    told = Told()
    if is_log(head(path)):
        for line, text in numbered_lines(path):
            if text and not text.isspace():
                _line(told, line, text)
        return told
    for line, item in jsonarray.elements_of(path, "items"):
        if not isinstance(item, dict):
            told.reject(line, "must be a JSON object")
        elif _kind(item) != "Pod":
            _other(told, item)
        else:
            pod = read_pod(item, line)
            first = told.pods.setdefault(pod.key, pod)
            if first is not pod:
                reason = f"must be unique, but line {first.line} has it already"
                told.reject(line, reason, pod.name or None, "metadata.name")
    return told


def _line(told: Told, line: int, text: str) -> None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        told.reject(line, f"is not JSON: {error}")
        return
    if not isinstance(value, dict):
        told.reject(line, "must be a JSON object")
        return
    if "event" not in value and "type" not in value:
        told.beside += 1
        return
    event = value.get("event", value)
    what, item = (event.get("type"), event.get("object")) if isinstance(event, dict) else (None, None)
    if what in _BESIDE:
        told.beside += 1
    elif what not in _CHANGES or not isinstance(item, dict):
        told.reject(line, f"must have a type ({', '.join(_CHANGES)}) and an object")
    elif _kind(item) != "Pod":
        _other(told, item)
    else:
        at_ms = value.get("at_ms")
        told_ms = at_ms if type(at_ms) is int and at_ms >= 0 and not value.get("snapshot") else None
        _change(told, read_pod(item, line), told_ms, deleted=what == "DELETED")


def _change(told: Told, pod: PodFacts, at_ms: int | None, *, deleted: bool) -> None:
    """The pod as this event tells of it, and what earlier ones told."""
    pod.incarnation = told.incarnation(pod)
    before = told.pods.get(pod.key)
    if before is not None:
        pod.line = before.line
        pod.scheduled_ms = before.scheduled_ms if pod.scheduled_ms is None else pod.scheduled_ms
        pod.ended_ms = before.ended_ms if pod.ended_ms is None else pod.ended_ms
    if pod.phase in ENDED and pod.ended_ms is None:
        pod.ended_ms = at_ms
    if deleted:
        told.gone[pod.key] = pod.deleted_ms if at_ms is None else at_ms
    told.pods[pod.key] = pod


def _kind(item: Mapping[str, Any]) -> str:
    kind = item.get("kind")
    if isinstance(kind, str) and kind:
        return kind
    spec = item.get("spec")
    return "Pod" if not isinstance(spec, dict) or "containers" in spec else ""


def _other(told: Told, item: Mapping[str, Any]) -> None:
    """An object that is no pod: what it tells of those that are."""
    parts = [item.get(part) for part in ("metadata", "spec")]
    metadata, spec = (part if isinstance(part, dict) else {} for part in parts)
    name, namespace, uid = (metadata.get(key) for key in ("name", "namespace", "uid"))
    kind = item.get("kind")
    if kind == "Node":
        memory_mib = _card_memory_mib(metadata)
        if memory_mib and isinstance(name, str):
            told.memory_mib[name] = memory_mib
    elif kind == "LocalQueue":
        queue = spec.get("clusterQueue")
        if isinstance(queue, str) and isinstance(name, str) and isinstance(namespace, str):
            told.cluster_queue[namespace, name] = queue
    elif isinstance(uid, str):
        created_ms = time_ms(metadata.get("creationTimestamp"), "", [])
        if created_ms is not None:
            told.created_ms[uid] = created_ms


def _card_memory_mib(metadata: Mapping[str, Any]) -> int:
    """The memory of the smallest card of a node, by the registry of its plugin, else by its label; 0 where neither says."""
    annotations, labels = (metadata.get(key) for key in ("annotations", "labels"))
    for name, written in annotations.items() if isinstance(annotations, dict) else ():
        if _REGISTRY.fullmatch(name) and isinstance(written, str):
            found = [amount for amount in _registered(written) if amount > 0]
            if found:
                return min(found)
    label = labels.get(_MEMORY_LABEL) if isinstance(labels, dict) else None
    return int(label) if isinstance(label, str) and label.isascii() and label.isdigit() and len(label) < 12 else 0


def _registered(written: str) -> list[int]:
    """The MiB of each card of a registry, in JSON or as text: the third field of each."""
    if written.lstrip().startswith("["):
        try:
            listed = json.loads(written)
        except (ValueError, RecursionError):
            return []
        amounts = [each.get("devmem") for each in listed if isinstance(each, dict)]
        return [amount for amount in amounts if type(amount) is int]
    fields = [part.split(",") for part in written.split(":")]
    return [
        int(each[2])
        for each in fields
        if len(each) > 4 and each[2].isascii() and each[2].isdigit() and len(each[2]) < 10
    ]
