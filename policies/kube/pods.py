"""Pod objects of Kubernetes -> what scheduling needs of them.

`policies.kube.amounts` counts what it takes of a node, `policies.kube.sharing` what of a device. What has another form than
Kubernetes gives it is refused, with its path; null is absent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from policies.kube.amounts import (
    NONZERO_CPU_MILLI,
    NONZERO_MEMORY_BYTES,
    PodAmounts,
    is_sidecar,
    pod_amounts,
)
from policies.kube.devices import DeviceKinds
from policies.kube.gangs import GangRef, gang_of, queue_of
from policies.kube.objects import (
    EMPTY,
    Fault,
    Json,
    ObjectError,
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
from policies.kube.shapes import POD, POD_SPEC, fits, misfits
from policies.kube.sharing import (
    SHARING,
    WHOLE,
    Asked,
    SharedDevice,
    asked_otherwise,
    largest,
    not_modelled,
    share_of,
)
from policies.kube.terms import HostPort, PodTerms

__all__ = [
    "ENDED",
    "ESTIMATE",
    "FAMILY",
    "NONZERO_CPU_MILLI",
    "NONZERO_MEMORY_BYTES",
    "Pod",
    "read_pod",
    "read_terms",
]

ESTIMATE: Final = "rehearse/estimate-seconds"
"""Annotation with the run time that the user expects; `activeDeadlineSeconds` stands for it."""

FAMILY: Final = "rehearse/family"
"""Annotation or label with the family of the model that the job trains or serves."""

ENDED: Final = ("Succeeded", "Failed")

_NVIDIA: Final = "nvidia.com/gpu"


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
    notes: tuple[str, ...] = ()
    """What it asks for and this says nothing of, in words."""

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
    if not fits(item, POD):
        raise ObjectError(_named(item), [*misfits(item, POD)])
    metadata, spec, status = (mapping(item.get(part)) for part in ("metadata", "spec", "status"))
    faults: list[Fault] = []
    name = text(metadata.get("name"))
    if not name:
        faults.append(Fault("metadata.name", "is required"))
    if not spec:
        faults.append(Fault("spec", "is required"))
    labels, annotations = labels_of(item), annotations_of(item)
    namespace = text(metadata.get("namespace")) or "default"
    amounts = pod_amounts(spec, faults, status)
    resource, devices, share = _devices(amounts, annotations, kinds, faults)
    if faults:
        raise ObjectError(_named(item), faults)
    return Pod(
        name=name,
        namespace=namespace,
        uid=text(metadata.get("uid")) or f"{namespace}/{name}",
        terms=_terms(spec, amounts, labels, namespace),
        devices=devices,
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
        notes=_notes(spec, amounts.requests),
    )


def read_terms(
    spec: Json, *, labels: Mapping[str, str], namespace: str = "default", faults: list[Fault] | None = None
) -> PodTerms:
    """The terms of a PodSpec. What is wrong goes to `faults`, or raises `ObjectError` where no list is given."""
    found: list[Fault] = [] if faults is None else faults
    if fits(spec, POD_SPEC):
        amounts = pod_amounts(spec, found)
    else:
        found += misfits(spec, POD_SPEC, "spec")
        spec, amounts = EMPTY, pod_amounts(EMPTY, found)
    if found and faults is None:
        raise ObjectError("pod", found)
    return _terms(spec, amounts, labels, namespace)


def _named(item: Json) -> str:
    metadata = mapping(item.get("metadata"))
    return f"pod {text(metadata.get('namespace')) or 'default'}/{text(metadata.get('name')) or '?'}"


def _terms(spec: Json, amounts: PodAmounts, labels: Mapping[str, str], namespace: str) -> PodTerms:
    affinity = mapping(spec.get("affinity"))
    return PodTerms(
        namespace=namespace,
        labels=tuple(sorted(labels.items())),
        requests=tuple(sorted((name, amount) for name, amount in amounts.requests.items() if amount)),
        nonzero_cpu_milli=amounts.nonzero_cpu_milli,
        nonzero_memory_bytes=amounts.nonzero_memory_bytes,
        node_selector=tuple(
            sorted((key, value) for key, value in mapping(spec.get("nodeSelector")).items() if isinstance(value, str))
        ),
        required=read_required_nodes(affinity),
        preferred=read_preferred_nodes(affinity),
        tolerations=read_tolerations(spec.get("tolerations")),
        spread=read_spread(spec.get("topologySpreadConstraints")),
        near=read_pod_terms(affinity, "podAffinity", labels),
        away=read_pod_terms(affinity, "podAntiAffinity", labels),
        preferred_pods=read_preferred_pods(affinity, labels),
        host_ports=_host_ports(spec),
        images=tuple(text(each.get("image")) for each in items(spec.get("containers")) if each.get("image")),
        may_preempt=spec.get("preemptionPolicy") != "Never",
    )


def _devices(
    amounts: PodAmounts, annotations: Mapping[str, str], kinds: DeviceKinds, faults: list[Fault]
) -> tuple[str, int, SharedDevice]:
    """Resource, number and share of the devices that a pod holds."""
    requests = amounts.requests
    counted = [name for name in requests if kinds.counts_devices(name) and requests[name]]
    if len(counted) > 1:
        faults.append(Fault("spec.containers", f"ask for several kinds of devices: {', '.join(counted)}"))
    if not counted:
        asked = asked_otherwise(requests, annotations) or _uncounted(requests)
        return asked or ("", 0, WHOLE)
    resource = counted[0]
    shares = []
    for container in amounts.containers:
        if container.get(resource):
            share, found = share_of(container, resource)
            shares.append(share)
            faults += (Fault(f"spec.containers: {path}", reason) for path, reason in found)
    return resource, requests[resource], largest(shares)


def _uncounted(requests: Mapping[str, int]) -> Asked | None:
    """A part of one NVIDIA card, asked for without the count: HAMi's webhook puts in 1."""
    rule = SHARING[_NVIDIA]
    if not any(requests.get(name) for name in (rule.memory, rule.percent, rule.cores)):
        return None
    return Asked(_NVIDIA, 1, share_of(requests, _NVIDIA)[0])


def _notes(spec: Json, requests: Mapping[str, int]) -> tuple[str, ...]:
    notes = [f"{name} is not modelled: its devices are not counted" for name in not_modelled(requests)]
    if spec.get("resourceClaims"):
        notes.append("resourceClaims are not modelled: devices that they claim are not counted")
    return tuple(notes)


def _host_ports(spec: Json) -> tuple[HostPort, ...]:
    """The ports of the host that containers and sidecars take; with the host's network, all of their ports."""
    host = spec.get("hostNetwork") is True
    sidecars = (each for each in items(spec.get("initContainers")) if is_sidecar(each))
    ports = (
        (whole(port.get("hostPort"), 0) or (whole(port.get("containerPort"), 0) if host else 0), port)
        for container in (*items(spec.get("containers")), *sidecars)
        for port in items(container.get("ports"))
    )
    return tuple(
        HostPort(number, text(port.get("protocol")) or "TCP", text(port.get("hostIP")) or HostPort(0).ip)
        for number, port in ports
        if number > 0
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
