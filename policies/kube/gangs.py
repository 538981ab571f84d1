"""To which gang and which queue a pod belongs, in the words of the schedulers that users have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from policies.kube.objects import Json, mapping, text


class GangRef(NamedTuple):
    """The gang of a pod."""

    name: str
    size: int | None = None
    """How many pods must start together; None where only the gang's own object says."""


COSCHEDULING: Final = "scheduling.x-k8s.io/pod-group"
COSCHEDULING_OLD: Final = "pod-group.scheduling.sigs.k8s.io"
VOLCANO: Final = "scheduling.k8s.io/group-name"
KUEUE: Final = "kueue.x-k8s.io/pod-group-name"
KUEUE_SIZE: Final = "kueue.x-k8s.io/pod-group-total-count"
KOORDINATOR: Final = "gang.scheduling.koordinator.sh/name"
KOORDINATOR_SIZE: Final = "gang.scheduling.koordinator.sh/min-available"
KAI: Final = "pod-group-name"
SIZE: Final = "rehearse/gang-size"
"""Annotation that says the size where the gang has no object of its own."""

QUEUE_LABELS: Final = (
    "kueue.x-k8s.io/queue-name",
    "volcano.sh/queue-name",
    "scheduling.volcano.sh/queue-name",
    "kai.scheduler/queue",
    "quota.scheduling.koordinator.sh/name",
    "rehearse/queue",
)
"""Labels or annotations that name the queue of a pod, in the order in which they are asked."""


def gang_of(spec: Json, labels: Mapping[str, str], annotations: Mapping[str, str]) -> GangRef | None:
    """The gang that a pod names, or None."""
    said = {**annotations, **labels}
    size = _size(said.get(SIZE))
    native = native_gang(spec)
    if native:
        return GangRef(native, size)
    for key, size_key in (
        (COSCHEDULING, ""),
        (COSCHEDULING_OLD, ""),
        (VOLCANO, ""),
        (KUEUE, KUEUE_SIZE),
        (KOORDINATOR, KOORDINATOR_SIZE),
        (KAI, ""),
    ):
        if said.get(key):
            return GangRef(said[key], _size(said.get(size_key)) or size)
    return None


def native_gang(spec: Json) -> str:
    """The gang in Kubernetes' own words: a PodGroup (1.36), or a pod group of a Workload (1.35); the empty text without one."""
    group = text(mapping(spec.get("schedulingGroup")).get("podGroupName"))
    workload = mapping(spec.get("workloadRef"))
    parts = (workload.get("name"), workload.get("podGroup"), workload.get("podGroupReplicaKey"))
    return group or "/".join(text(part) for part in parts if part)


def queue_of(labels: Mapping[str, str], annotations: Mapping[str, str]) -> str:
    """The queue that a pod names, or the empty text."""
    said = {**annotations, **labels}
    return next((said[key] for key in QUEUE_LABELS if said.get(key)), "")


def _size(value: str | None) -> int | None:
    return int(value) if value and value.isascii() and value.isdigit() and 0 < len(value) < 7 and int(value) else None
