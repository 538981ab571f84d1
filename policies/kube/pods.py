"""Pod objects of Kubernetes -> what scheduling needs of them.

Amounts are those that kube-scheduler counts: the larger of what the containers want together (sidecars with them) and what each
init container wants with the sidecars before it, and the overhead. A container without requests has its limits for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from policies.kube.devices import DeviceKinds
from policies.kube.gangs import GangRef, gang_of, queue_of
from policies.kube.objects import (
    Fault,
    Json,
    ObjectError,
    amounts,
    annotations_of,
    items,
    labels_of,
    mapping,
    text,
    time_ms,
    whole,
)
from policies.kube.selectors import (
    read_pod_terms,
    read_preferred_nodes,
    read_preferred_pods,
    read_required_nodes,
    read_spread,
    read_tolerations,
)
from policies.kube.sharing import WHOLE, SharedDevice, share_of
from policies.kube.terms import HostPort, PodTerms

NONZERO_CPU_MILLI: Final = 100
"""What scores count for a container that asks for no CPU."""

NONZERO_MEMORY_BYTES: Final = 200 << 20
"""What scores count for a container that asks for no memory."""

ESTIMATE: Final = "rehearse/estimate-seconds"
"""Annotation with the run time that the user expects; `activeDeadlineSeconds` stands for it."""

FAMILY: Final = "rehearse/family"
"""Annotation or label with the family of the model that the job trains or serves."""

ENDED: Final = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """One pod, as far as scheduling goes."""

    name: str
    namespace: str
    uid: str
    terms: PodTerms
    devices: int = 0
    """Whole or shared devices that it holds."""
    resource: str = ""
    """The extended resource that counts them."""
    share: SharedDevice = WHOLE
    priority: int = 0
    created_ms: int | None = None
    started_ms: int | None = None
    finished_ms: int | None = None
    """When its last container ended; for pods that ended."""
    node: str = ""
    """Where it is bound; empty while it is not."""
    phase: str = "Pending"
    scheduler: str = "default-scheduler"
    gates: tuple[str, ...] = ()
    """Scheduling gates that still hold it."""
    leaving: bool = False
    """True once its deletion was asked for."""
    nominated: str = ""
    gang: GangRef | None = None
    queue: str = ""
    user: str | None = None
    estimate_ms: int | None = None
    family: str | None = None

    @property
    def key(self) -> str:
        """`namespace/name`."""
        return f"{self.namespace}/{self.name}"

    @property
    def ended(self) -> bool:
        """Whether it holds nothing any more."""
        return self.phase in ENDED


def read_pod(item: Json, kinds: DeviceKinds) -> Pod:
    """The pod of one Pod object. Raises `ObjectError` with everything that is wrong."""
    metadata, spec, status = (mapping(item.get(part)) for part in ("metadata", "spec", "status"))
    faults: list[Fault] = []
    name = text(metadata.get("name"))
    if not name:
        faults.append(Fault("metadata.name", "is required"))
    if not isinstance(item.get("spec"), dict):
        faults.append(Fault("spec", "is required"))
    labels, annotations = labels_of(item), annotations_of(item)
    namespace = text(metadata.get("namespace")) or "default"
    terms = read_terms(spec, labels=labels, namespace=namespace, faults=faults)
    requests = dict(terms.requests)
    counted = [resource for resource in kinds.resources if requests.get(resource)]
    if len(counted) > 1:
        faults.append(Fault("spec.containers", f"ask for several kinds of devices: {', '.join(counted)}"))
    resource = counted[0] if counted else ""
    share, share_faults = share_of(requests, resource)
    faults += share_faults
    if faults:
        raise ObjectError(f"pod {namespace}/{name or '?'}", faults)
    return Pod(
        name=name,
        namespace=namespace,
        uid=text(metadata.get("uid")) or f"{namespace}/{name}",
        terms=terms,
        devices=requests.get(resource, 0),
        resource=resource,
        share=share,
        priority=whole(spec.get("priority"), 0),
        created_ms=time_ms(metadata.get("creationTimestamp")),
        started_ms=time_ms(status.get("startTime")),
        finished_ms=_finished_ms(status),
        node=text(spec.get("nodeName")),
        phase=text(status.get("phase")) or "Pending",
        scheduler=text(spec.get("schedulerName")) or "default-scheduler",
        gates=tuple(text(each.get("name")) for each in items(spec.get("schedulingGates"))),
        leaving=metadata.get("deletionTimestamp") is not None,
        nominated=text(status.get("nominatedNodeName")),
        gang=gang_of(spec, labels, annotations),
        queue=queue_of(labels, annotations) or namespace,
        user=annotations.get("rehearse/user") or labels.get("rehearse/user"),
        estimate_ms=_estimate_ms(spec, annotations),
        family=annotations.get(FAMILY) or labels.get(FAMILY),
    )


def read_terms(
    spec: Json, *, labels: Mapping[str, str], namespace: str = "default", faults: list[Fault] | None = None
) -> PodTerms:
    """The terms of a PodSpec. What is wrong goes to `faults`, or raises `ObjectError` where no list is given."""
    found: list[Fault] = [] if faults is None else faults
    affinity = mapping(spec.get("affinity"))
    requests, cpu, memory = _requests(spec, found)
    if found and faults is None:
        raise ObjectError("pod", found)
    return PodTerms(
        namespace=namespace,
        labels=tuple(sorted(labels.items())),
        requests=tuple(sorted((name, amount) for name, amount in requests.items() if amount)),
        nonzero_cpu_milli=cpu,
        nonzero_memory_bytes=memory,
        node_selector=tuple(
            sorted((key, value) for key, value in mapping(spec.get("nodeSelector")).items() if isinstance(value, str))
        ),
        required=read_required_nodes(affinity),
        preferred=read_preferred_nodes(affinity),
        tolerations=read_tolerations(spec.get("tolerations")),
        spread=read_spread(spec.get("topologySpreadConstraints")),
        near=read_pod_terms(affinity, "podAffinity"),
        away=read_pod_terms(affinity, "podAntiAffinity"),
        preferred_pods=read_preferred_pods(affinity),
        host_ports=_host_ports(spec),
        images=tuple(text(each.get("image")) for each in items(spec.get("containers")) if each.get("image")),
        may_preempt=spec.get("preemptionPolicy") != "Never",
    )


def _requests(spec: Json, faults: list[Fault]) -> tuple[dict[str, int], int, int]:
    """What the pod takes; and its CPU and memory as scores count them."""
    plain = _effective(spec, faults, nonzero=False)
    padded = _effective(spec, [], nonzero=True)
    overhead = amounts(spec.get("overhead"), "spec.overhead", faults)
    whole_pod = mapping(spec.get("resources"))
    stated = {
        **amounts(whole_pod.get("limits"), "spec.resources.limits", faults),
        **amounts(whole_pod.get("requests"), "spec.resources.requests", faults),
    }
    for requests in (plain, padded):
        requests.update({name: amount for name, amount in stated.items() if name in ("cpu", "memory")})
        _add(requests, overhead)
    return plain, padded.get("cpu", 0), padded.get("memory", 0)


def _effective(spec: Json, faults: list[Fault], *, nonzero: bool) -> dict[str, int]:
    running: dict[str, int] = {}
    for place, container in enumerate(items(spec.get("containers"))):
        _add(running, _container(container, f"spec.containers[{place}]", faults, nonzero=nonzero))
    sidecars: dict[str, int] = {}
    starting: dict[str, int] = {}
    for place, container in enumerate(items(spec.get("initContainers"))):
        wanted = _container(container, f"spec.initContainers[{place}]", faults, nonzero=nonzero)
        if container.get("restartPolicy") == "Always":
            _add(running, wanted)
            _add(sidecars, wanted)
            wanted = dict(sidecars)
        else:
            _add(wanted, sidecars)
        for name, amount in wanted.items():
            starting[name] = max(starting.get(name, 0), amount)
    return {name: max(running.get(name, 0), starting.get(name, 0)) for name in {**running, **starting}}


def _container(container: Json, path: str, faults: list[Fault], *, nonzero: bool) -> dict[str, int]:
    resources = mapping(container.get("resources"))
    found = {
        **amounts(resources.get("limits"), f"{path}.resources.limits", faults),
        **amounts(resources.get("requests"), f"{path}.resources.requests", faults),
    }
    if nonzero:
        found.setdefault("cpu", NONZERO_CPU_MILLI)
        found.setdefault("memory", NONZERO_MEMORY_BYTES)
    return found


def _add(total: dict[str, int], more: Mapping[str, int]) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, 0) + amount


def _host_ports(spec: Json) -> tuple[HostPort, ...]:
    ports: Iterable[Json] = (
        port for container in items(spec.get("containers")) for port in items(container.get("ports"))
    )
    return tuple(
        HostPort(
            whole(port.get("hostPort"), 0),
            text(port.get("protocol")) or "TCP",
            text(port.get("hostIP")) or HostPort(0).ip,
        )
        for port in ports
        if whole(port.get("hostPort"), 0) > 0
    )


def _finished_ms(status: Json) -> int | None:
    if status.get("phase") not in ENDED:
        return None
    ends = [
        time_ms(mapping(mapping(each.get("state")).get("terminated")).get("finishedAt"))
        for each in items(status.get("containerStatuses"))
    ]
    known = [end for end in ends if end is not None]
    return max(known) if known else None


def _estimate_ms(spec: Json, annotations: Mapping[str, str]) -> int | None:
    said = annotations.get(ESTIMATE, "")
    if said.isascii() and said.isdigit() and len(said) <= 10:
        return int(said) * 1000
    deadline = whole(spec.get("activeDeadlineSeconds"), 0)
    return deadline * 1000 if deadline > 0 else None
