"""What a pod takes of a node, as kube-scheduler counts it.

The larger of what the containers want together (sidecars with them) and what each init container wants with the sidecars before
it; then what the pod states as a whole; then the overhead. A container without requests has its limits for them. While a
container is being resized, the larger of what it wants and what it has counts. Sums are exact in thousandths, as the API server
keeps them, and rounded up once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from policies.kube.objects import EMPTY, Fault, Json, in_units, items, mapping, milli_amounts, text

NONZERO_CPU_MILLI: Final = 100
"""What scores count for a container that asks for no CPU."""

NONZERO_MEMORY_BYTES: Final = 200 << 20
"""What scores count for a container that asks for no memory."""

_UNSAID: Final = {"cpu": NONZERO_CPU_MILLI, "memory": NONZERO_MEMORY_BYTES * 1000}


class Wants(NamedTuple):
    """What one container wants, in thousandths, and how it runs."""

    amounts: dict[str, int]
    starts: bool
    """True for an init container."""
    stays: bool
    """True for a container and a sidecar; False for an init container that ends before the next one begins."""


class PodAmounts(NamedTuple):
    """What a pod takes, in the units of `policies.kube.terms`."""

    requests: dict[str, int]
    nonzero_cpu_milli: int
    nonzero_memory_bytes: int
    containers: tuple[dict[str, int], ...]
    """What each container wants for itself, init containers first."""


def pod_amounts(spec: Json, faults: list[Fault], status: Json = EMPTY) -> PodAmounts:
    """The amounts of a PodSpec; what is wrong goes to `faults`. `status` tells of containers that are being resized."""
    wants = [*_wants(spec, status, faults)]
    requests = _together(wants, EMPTY)
    stated = _stated(spec, wants, requests, faults)
    overhead = milli_amounts(spec.get("overhead"), "spec.overhead", faults)
    padded = requests if _says_all(wants) else _together(wants, _UNSAID)
    for amounts in (requests, padded):
        amounts.update(stated)
    if padded is not requests:
        _add(padded, overhead)
    _add(requests, overhead)
    counted = {name: in_units(name, milli) for name, milli in requests.items()}
    return PodAmounts(
        counted,
        padded.get("cpu", 0),
        in_units("memory", padded.get("memory", 0)),
        tuple({name: in_units(name, milli) for name, milli in each.amounts.items()} for each in wants),
    )


def is_sidecar(container: Json) -> bool:
    """Whether an init container goes on running beside the containers."""
    return container.get("restartPolicy") == "Always"


def _wants(spec: Json, status: Json, faults: list[Fault]) -> Iterator[Wants]:
    for kind in ("initContainers", "containers"):
        starts = kind == "initContainers"
        for place, container in enumerate(items(spec.get(kind))):
            stays = not starts or is_sidecar(container)
            amounts = _container(container, f"spec.{kind}[{place}]", faults)
            if status and stays and amounts:
                _resized(amounts, text(container.get("name")), status, faults)
            yield Wants(amounts, starts, stays)


def _container(container: Json, path: str, faults: list[Fault]) -> dict[str, int]:
    resources = container.get("resources")
    found: dict[str, int] = {}
    if resources:
        limits = mapping(resources).get("limits")
        if limits:
            found = milli_amounts(limits, f"{path}.resources.limits", faults)
        found.update(milli_amounts(mapping(resources).get("requests"), f"{path}.resources.requests", faults))
    return found


def _resized(found: dict[str, int], name: str, status: Json, faults: list[Fault]) -> None:
    """Count what a container has, where it has not yet what it wants: the larger, or what it has if it cannot get more."""
    has: dict[str, int] = {}
    for kind in ("initContainerStatuses", "containerStatuses"):
        for place, each in enumerate(items(status.get(kind))):
            if each.get("name") != name:
                continue
            path = f"status.{kind}[{place}]"
            now = milli_amounts(mapping(each.get("resources")).get("requests"), f"{path}.resources.requests", faults)
            given = milli_amounts(each.get("allocatedResources"), f"{path}.allocatedResources", faults)
            for resource, milli in (*now.items(), *given.items()):
                has[resource] = max(has.get(resource, 0), milli)
    refused = any(
        each.get("type") == "PodResizePending" and each.get("reason") == "Infeasible"
        for each in items(status.get("conditions"))
    )
    for resource, milli in has.items():
        if resource in found:
            found[resource] = milli if refused else max(found[resource], milli)


def _together(wants: list[Wants], unsaid: Mapping[str, int]) -> dict[str, int]:
    running: dict[str, int] = {}
    sidecars: dict[str, int] = {}
    starting: dict[str, int] = {}
    for each in wants:
        amounts = {**unsaid, **each.amounts} if unsaid else each.amounts
        if each.stays:
            _add(running, amounts)
        if not each.starts:
            continue
        if each.stays:
            _add(sidecars, amounts)
            peak = sidecars
        else:
            peak = dict(sidecars)
            _add(peak, amounts)
        for name, milli in peak.items():
            starting[name] = max(starting.get(name, 0), milli)
    for name, milli in starting.items():
        if milli > running.get(name, -1):
            running[name] = milli
    return running


def _stated(spec: Json, wants: list[Wants], requests: Mapping[str, int], faults: list[Fault]) -> dict[str, int]:
    """What the pod states as a whole. Where it states a limit alone, what its containers want counts, else the limit."""
    whole_pod = mapping(spec.get("resources"))
    if not whole_pod:
        return {}
    limits = milli_amounts(whole_pod.get("limits"), "spec.resources.limits", faults)
    stated = milli_amounts(whole_pod.get("requests"), "spec.resources.requests", faults)
    for name, milli in limits.items():
        asked = any(name in each.amounts for each in wants)
        stated.setdefault(name, requests[name] if asked else milli)
    return {name: milli for name, milli in stated.items() if name in _UNSAID or name.startswith("hugepages-")}


def _says_all(wants: list[Wants]) -> bool:
    """Whether every container says how much CPU and memory it wants."""
    return all("cpu" in each.amounts and "memory" in each.amounts for each in wants)


def _add(total: dict[str, int], more: Mapping[str, int]) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, 0) + amount
