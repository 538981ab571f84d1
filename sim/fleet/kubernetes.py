"""`kubectl get nodes -o json` -> fleet: what the nodes can allocate, which cards they have, and where they stand.

Devices are the extended resource that the catalogue knows as counting whole cards (`nvidia.com/gpu`,
`huawei.com/Ascend910B3`, ...). The model is the one that a label of the node names, else the only card with that
resource, else `generic`. CPU is rounded down to milli-cores and memory to MiB. Levels are the well-known labels for
zone and region. Cordoned nodes are kept, with the label `rehearse/unschedulable`.

Not read: what runs on the nodes, taints, MIG slices. Cards that a sharing plugin multiplies are counted as it counts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final

from sim.fleet.catalogue import Accelerator, catalogue
from sim.fleet.model import GENERIC, MAX_AMOUNT, MAX_DEVICES, Fleet, FleetError, Problem, Server
from policies.kube.quantity import parse_quantity

LEVELS: Final = {"zone": "topology.kubernetes.io/zone", "region": "topology.kubernetes.io/region"}
"""Level -> well-known label, narrow to wide. A level that no node is labelled with is left out."""

MODEL_LABELS: Final = ("nvidia.com/gpu.product", "amd.com/gpu.product-name", "node.kubernetes.io/npu.chip.name")
"""Labels whose value names the model of the card, in the order in which they are asked."""

MEMORY_LABEL: Final = "nvidia.com/gpu.memory"
"""The label that gives the memory of one card in MiB."""

NOWHERE: Final = "unlabelled"
"""The domain of a node without the label of a level that other nodes have."""


def looks_like_nodes(text: str) -> bool:
    """Whether a text is JSON with items, as `kubectl get nodes -o json` prints; it may still be refused."""
    start = text.lstrip("\ufeff \t\r\n")
    return start.startswith("{") and '"items"' in start


def read_kubernetes_nodes(text: str, *, source: str, name: str | None = None) -> Fleet:
    """The fleet of a list of nodes. Raises `FleetError` with every problem at its path (`items[3].metadata.name`)."""
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FleetError([Problem("", f"is not JSON: {error}")], source=source) from None
    items = _mapping(document).get("items")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise FleetError([Problem("items", "must be a list of nodes, each a JSON object")], source=source)
    nodes = [_Node(item) for item in items]
    levels = tuple(level for level, label in LEVELS.items() if any(label in node.labels for node in nodes))
    servers = [server for node in nodes if (server := node.server(levels)) is not None]
    problems = [each.under(f"items[{index}]") for index, node in enumerate(nodes) for each in node.problems]
    if problems:
        raise FleetError(problems, source=source)
    try:
        return Fleet(name=name or source, levels=levels, servers=tuple(servers))
    except FleetError as error:
        raise FleetError(error.problems, source=source) from None


@dataclass(slots=True)
class _Node:
    """One node and what is wrong with it."""

    item: Mapping[str, Any]
    problems: list[Problem] = field(default_factory=list)

    @property
    def labels(self) -> dict[str, str]:
        labels = _mapping(_mapping(self.item.get("metadata")).get("labels"))
        return {key: value for key, value in labels.items() if isinstance(value, str) and key.isprintable()}

    def server(self, levels: tuple[str, ...]) -> Server | None:
        """The server of this node, or `None` with its `problems`."""
        allocatable = _mapping(_mapping(self.item.get("status")).get("allocatable"))
        accelerator, devices, memory_mib = self._cards(allocatable)
        cpu_milli = self._amount(allocatable, "cpu", lambda cores: cores * 1000)
        node_memory_mib = self._amount(allocatable, "memory", lambda count: count / 2**20)
        max_pods = self._amount(allocatable, "pods", lambda count: count)
        if self.problems:
            return None
        labels = self.labels
        if _mapping(self.item.get("spec")).get("unschedulable") is True:
            labels["rehearse/unschedulable"] = "true"
        path = [labels.get(LEVELS[level]) or NOWHERE for level in levels]
        try:
            return Server(
                name=_mapping(self.item.get("metadata")).get("name") or "",
                pool=accelerator or "cpu",
                accelerator=accelerator,
                devices=devices,
                device_memory_mib=memory_mib,
                cpu_milli=cpu_milli,
                memory_mib=node_memory_mib,
                max_pods=max_pods,
                domains=tuple("/".join(reversed(path[rank:])) for rank in range(len(path))),
                labels=labels,
            )
        except FleetError as error:
            self.problems += error.problems
            return None

    def _cards(self, allocatable: Mapping[str, Any]) -> tuple[str | None, int, int | None]:
        """Model, count and memory of one card in MiB."""
        counts = {
            resource: count
            for resource in dict.fromkeys(name for row in catalogue() for name in row.resource_names)
            if (count := self._amount(allocatable, resource, lambda count: count))
        }
        if len(counts) > 1:
            path = "status.allocatable"
            self.problems.append(Problem(path, f"has several kinds of devices: {', '.join(counts)}"))
        if not counts or self.problems:
            return None, 0, None
        resource, count = next(iter(counts.items()))
        if count > MAX_DEVICES:
            reason = f"must be at most {MAX_DEVICES}, got {count}; a sharing plugin may multiply what it counts"
            self.problems.append(Problem(f"status.allocatable.{resource}", reason))
        name, row = self._model(resource)
        label = self.labels.get(MEMORY_LABEL, "")
        if label.isascii() and label.isdigit() and 0 < len(label) <= 12 and int(label):
            return name, count, int(label)
        return name, count, row.memory_mib if row else None

    def _model(self, resource: str) -> tuple[str, Accelerator | None]:
        for label in MODEL_LABELS:
            value = self.labels.get(label, "").strip()
            if value:
                bare = value.removeprefix("NVIDIA-").removeprefix("Tesla-")
                row = catalogue().find(value) or catalogue().find(bare)
                return (row.id if row else value), row
        rows = [row for row in catalogue() if resource in row.resource_names]
        return (rows[0].id, rows[0]) if len(rows) == 1 else (GENERIC, None)

    def _amount(
        self, allocatable: Mapping[str, Any], resource: str, scale: Callable[[Fraction], Fraction]
    ) -> int | None:
        """A quantity in the unit of `scale`, rounded down; `None` when it is absent or bad."""
        if resource not in allocatable:
            return None
        try:
            amount = int(scale(parse_quantity(str(allocatable[resource]))))
        except ValueError as error:
            self.problems.append(Problem(f"status.allocatable.{resource}", str(error)))
            return None
        if amount > MAX_AMOUNT:
            self.problems.append(Problem(f"status.allocatable.{resource}", f"is too large: {amount}"))
        return amount


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
