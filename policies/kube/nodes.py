"""Node objects of Kubernetes -> servers, as simulator and production drivers see them.

Devices are the cards that their plugin registers, else the extended resource that counts them. The model is the one that a label
of the node names, else the registry, else the only card with that resource, else `generic`. Amounts are those that kube-scheduler
counts with, which it rounds up; memory in MiB is rounded down, and `Node.allocatable` has it in bytes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from policies.kube.devices import DeviceKind, DeviceKinds
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
)
from policies.kube.registry import RegisteredDevice, registered_devices
from policies.kube.shapes import NODE, fits, misfits
from policies.kube.sharing import not_modelled
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

_VENDOR: Final = re.compile(r"^(?:(?:NVIDIA|Tesla|AMD|MLU|DCU)[ _-]+)+")
"""What plugins and labels put before the name of a card."""

NOWHERE: Final = "unlabelled"
"""The domain of a node without the label of a level that other nodes have."""


def read_node(item: Json, kinds: DeviceKinds, levels: Mapping[str, str] = LEVELS) -> Node:
    """The server of one Node object. `levels` leads from a level to its label, narrow to wide.

    Raises `ObjectError` with everything that is wrong.
    """
    return read_server(item, kinds, levels).node


class Server(NamedTuple):
    """A node and its cards, as far as their plugin registers them; a device has the number of its place."""

    node: Node
    cards: tuple[RegisteredDevice, ...] = ()


def read_server(item: Json, kinds: DeviceKinds, levels: Mapping[str, str] = LEVELS) -> Server:
    """As `read_node`, with the registered cards: with them `devices_held` tells which devices a pod holds."""
    if not fits(item, NODE):
        raise ObjectError(_named(item), [*misfits(item, NODE)])
    name = text(mapping(item.get("metadata")).get("name"))
    faults: list[Fault] = [] if name else [Fault("metadata.name", "is required")]
    allocatable = amounts(mapping(item.get("status")).get("allocatable"), "status.allocatable", faults)
    labels = labels_of(item)
    resource = _resource(allocatable, kinds, faults)
    cards = registered_devices(name, resource, annotations_of(item), allocatable, faults) if resource else ()
    devices = _device_count(resource, allocatable, cards, faults)
    accelerator, memory_mib = _model(resource, labels, cards, kinds) if devices else (None, None)
    if faults:
        raise ObjectError(_named(item), faults)
    spec = mapping(item.get("spec"))
    memory = allocatable.get("memory")
    node = Node(
        name=name,
        pool=accelerator or "cpu",
        accelerator=accelerator,
        devices=devices,
        device_memory_mib=memory_mib,
        cpu_milli=allocatable.get("cpu"),
        memory_mib=None if memory is None else memory >> 20,
        max_pods=allocatable.get("pods"),
        domains=domains_of(labels, tuple(levels.values())),
        resource=resource if devices else "",
        labels=labels,
        taints=tuple(
            Taint(text(each.get("key")), text(each.get("value")), text(each.get("effect")))
            for each in items(spec.get("taints"))
        ),
        unschedulable=spec.get("unschedulable") is True,
        allocatable=tuple(sorted(allocatable.items())),
    )
    return Server(node, cards)


def notes_of(item: Json) -> tuple[str, ...]:
    """What a Node object says and a server does not, in words."""
    allocatable = amounts(mapping(item.get("status")).get("allocatable"), "", [])
    there = [name for name in not_modelled(allocatable) if allocatable[name]]
    return tuple(f"{name} is not modelled: its devices are not counted" for name in there)


def domains_of(labels: Mapping[str, str], level_labels: Sequence[str]) -> tuple[str, ...]:
    """The name of its domain at each level, narrow to wide, made unique by the wider ones."""
    path = [labels.get(label) or NOWHERE for label in level_labels]
    return tuple("/".join(reversed(path[rank:])) for rank in range(len(path)))


def _named(item: Json) -> str:
    return f"node {text(mapping(item.get('metadata')).get('name')) or '?'}"


def _resource(allocatable: Mapping[str, int], kinds: DeviceKinds, faults: list[Fault]) -> str:
    """The resource that counts the devices of the node; empty without one."""
    counts = [name for name in kinds.resources if allocatable.get(name)]
    usual = counts[0] if len(counts) == 1 else kinds.same_cards(counts) if counts else ""
    if usual is None:
        faults.append(Fault("status.allocatable", f"has several kinds of devices: {', '.join(counts)}"))
    return usual or ""


def _device_count(
    resource: str, allocatable: Mapping[str, int], cards: Sequence[RegisteredDevice], faults: list[Fault]
) -> int:
    count = len(cards) or allocatable.get(resource, 0)
    if count > DEVICES_MAX:
        reason = f"must be at most {DEVICES_MAX}, got {count}; a sharing plugin may multiply what it counts"
        faults.append(Fault(f"status.allocatable.{resource}", reason))
    return count


def _model(
    resource: str, labels: Mapping[str, str], cards: Sequence[RegisteredDevice], kinds: DeviceKinds
) -> tuple[str, int | None]:
    """Model and memory in MiB of one device."""
    kind = _kind(resource, labels, cards, kinds)
    named = labels.get(MEMORY_LABEL, "")
    labelled = int(named) if named.isascii() and named.isdigit() and 0 < len(named) <= 12 else 0
    registered = min((card.memory_mib for card in cards), default=0)
    return kind.accelerator, registered or labelled or kind.memory_mib


def _kind(
    resource: str, labels: Mapping[str, str], cards: Sequence[RegisteredDevice], kinds: DeviceKinds
) -> DeviceKind:
    labelled = [value for label in MODEL_LABELS if (value := labels.get(label, "").strip())]
    registered = [card.model for card in cards[:1] if card.model]
    for name in (*labelled, *registered):
        known = kinds.find(name) or kinds.find(_VENDOR.sub("", name))
        if known is not None:
            return known
    if labelled:
        return DeviceKind(labelled[0], (resource,))
    sole = kinds.sole(resource)
    if sole is None and registered:
        return DeviceKind(_VENDOR.sub("", registered[0]) or GENERIC, (resource,))
    return sole or DeviceKind(GENERIC, (resource,))
