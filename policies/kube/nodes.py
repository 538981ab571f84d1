"""Node objects of Kubernetes -> servers, as simulator and production drivers see them.

Devices are the extended resource that counts whole cards. The model is the one that a label of the node names, else the only
card with that resource, else `generic`. CPU is rounded down to milli-cores and memory to MiB; `Node.allocatable` keeps the
exact amounts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from policies.kube.devices import DeviceKind, DeviceKinds
from policies.kube.objects import Fault, Json, ObjectError, items, labels_of, mapping, text
from policies.kube.quantity import parse_quantity
from policies.kube.terms import Taint
from policies.topology import DEVICES_MAX, Node

GENERIC: Final = "generic"
"""The model of a card about which nothing is known."""

LEVELS: Final = {"zone": "topology.kubernetes.io/zone", "region": "topology.kubernetes.io/region"}
"""Level -> well-known label, narrow to wide."""

MODEL_LABELS: Final = ("nvidia.com/gpu.product", "amd.com/gpu.product-name", "node.kubernetes.io/npu.chip.name")
"""Labels whose value names the model of the card, in the order in which they are asked."""

MEMORY_LABEL: Final = "nvidia.com/gpu.memory"
"""The label that gives the memory of one card in MiB."""

NOWHERE: Final = "unlabelled"
"""The domain of a node without the label of a level that other nodes have."""


def read_node(item: Json, kinds: DeviceKinds, levels: Mapping[str, str] = LEVELS) -> Node:
    """The server of one Node object. `levels` leads from a level to its label, narrow to wide.

    Raises `ObjectError` with everything that is wrong.
    """
    name = text(mapping(item.get("metadata")).get("name"))
    faults: list[Fault] = [] if name else [Fault("metadata.name", "is required")]
    allocatable = _exact(mapping(mapping(item.get("status")).get("allocatable")), faults)
    labels = labels_of(item)
    resource, devices = _devices(allocatable, kinds, faults)
    accelerator, memory_mib = _model(resource, labels, kinds) if resource else (None, None)
    if faults:
        raise ObjectError(f"node {name or '?'}", faults)
    spec = mapping(item.get("spec"))
    memory = allocatable.get("memory")
    return Node(
        name=name,
        pool=accelerator or "cpu",
        accelerator=accelerator,
        devices=devices,
        device_memory_mib=memory_mib,
        cpu_milli=allocatable.get("cpu"),
        memory_mib=None if memory is None else memory >> 20,
        max_pods=allocatable.get("pods"),
        domains=domains_of(labels, tuple(levels.values())),
        resource=resource,
        labels=labels,
        taints=tuple(
            Taint(text(each.get("key")), text(each.get("value")), text(each.get("effect")))
            for each in items(spec.get("taints"))
        ),
        unschedulable=spec.get("unschedulable") is True,
        allocatable=tuple(sorted(allocatable.items())),
    )


def domains_of(labels: Mapping[str, str], level_labels: Sequence[str]) -> tuple[str, ...]:
    """The name of its domain at each level, narrow to wide, made unique by the wider ones."""
    path = [labels.get(label) or NOWHERE for label in level_labels]
    return tuple("/".join(reversed(path[rank:])) for rank in range(len(path)))


def _exact(found: Json, faults: list[Fault]) -> dict[str, int]:
    """What pods may take: CPU in milli-cores, the rest whole, rounded down."""
    amounts: dict[str, int] = {}
    for name, quantity in found.items():
        try:
            exact = parse_quantity(str(quantity))
        except ValueError as error:
            faults.append(Fault(f"status.allocatable.{name}", str(error)))
            continue
        amounts[name] = int((exact * 1000 if name == "cpu" else exact) // 1)
    return amounts


def _devices(allocatable: Mapping[str, int], kinds: DeviceKinds, faults: list[Fault]) -> tuple[str, int]:
    """The resource that counts the devices of the node, and how many there are."""
    counts = {name: allocatable[name] for name in kinds.resources if allocatable.get(name)}
    if len(counts) > 1:
        faults.append(Fault("status.allocatable", f"has several kinds of devices: {', '.join(counts)}"))
    if not counts:
        return "", 0
    resource, count = next(iter(counts.items()))
    if count > DEVICES_MAX:
        reason = f"must be at most {DEVICES_MAX}, got {count}; a sharing plugin may multiply what it counts"
        faults.append(Fault(f"status.allocatable.{resource}", reason))
    return resource, count


def _model(resource: str, labels: Mapping[str, str], kinds: DeviceKinds) -> tuple[str, int | None]:
    """Model and memory in MiB of one device."""
    kind = _kind(resource, labels, kinds)
    named = labels.get(MEMORY_LABEL, "")
    memory = int(named) if named.isascii() and named.isdigit() and 0 < len(named) <= 12 else 0
    return kind.accelerator, memory or kind.memory_mib


def _kind(resource: str, labels: Mapping[str, str], kinds: DeviceKinds) -> DeviceKind:
    for label in MODEL_LABELS:
        value = labels.get(label, "").strip()
        if value:
            bare = value.removeprefix("NVIDIA-").removeprefix("Tesla-")
            return kinds.find(value) or kinds.find(bare) or DeviceKind(value, (resource,))
    return kinds.sole(resource) or DeviceKind(GENERIC, (resource,))
