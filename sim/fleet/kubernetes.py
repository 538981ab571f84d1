"""A cluster of Kubernetes, as `kubectl get` prints it -> fleet: its nodes, the levels above them, its queues.

Each Node object is read by `policies.kube.nodes`, as in production, so that both see the same servers. Levels come from Volcano's
HyperNodes or from a Topology of Kueue, else from the well-known labels for zone and region; one that no node is labelled with is
left out. Queues come from Kueue. What runs on the nodes is not part of a fleet.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from policies.kube.hypernodes import levels_of
from policies.kube.nodes import LEVELS, notes_of, read_server
from policies.kube.nodes import Server as KubeServer
from policies.kube.objects import Fault, ObjectError, labels_of, mapping, text
from sim.fleet.kinds import device_kinds
from sim.fleet.kube_objects import KINDS, Placed, looks_like_objects, read_objects
from sim.fleet.kube_queues import KueueReader
from sim.fleet.model import RESERVED_LEVELS, Fleet, FleetError, Problem, Queue, Server

__all__ = ["Imported", "import_cluster", "looks_like_nodes", "read_kubernetes_nodes"]

looks_like_nodes = looks_like_objects

HOSTNAME: Final = "kubernetes.io/hostname"
"""A level of Kueue that is the server itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A fleet, and in words what of the objects it does not say."""

    fleet: Fleet
    notes: tuple[str, ...]


def read_kubernetes_nodes(text: str, *, source: str, name: str | None = None) -> Fleet:
    """The fleet of a list of objects. Raises `FleetError` with every problem at its path (`items[3].metadata.name`)."""
    return import_cluster(read_objects(text, source=source), source=source, name=name).fleet


def import_cluster(objects: Sequence[Placed], *, source: str, name: str | None = None) -> Imported:
    """The fleet of the objects of a cluster. Raises `FleetError` with every problem at its place."""
    of_kind: dict[str, list[Placed]] = {}
    for placed in objects:
        of_kind.setdefault(placed.kind, []).append(placed)
    nodes = of_kind.get("Node", [])
    problems: list[Problem] = []
    notes: dict[str, None] = {}
    if not nodes:
        raise FleetError([Problem("", "holds no Node object")], source=source)
    labels = _level_labels(of_kind.get("Topology", []), of_kind.get("HyperNode", []), nodes, problems)
    read = [each for placed in nodes if (each := _read_node(placed, labels, problems, notes)) is not None]
    if problems:
        raise FleetError(problems, source=source)
    levels, servers = tuple(labels), [server for _, server in read]
    if of_kind.get("HyperNode"):
        levels, servers = _under_hypernodes(of_kind["HyperNode"], servers, problems)
    queues = _queues(of_kind, servers, problems, notes)
    if problems:
        raise FleetError(problems, source=source)
    left_out = {kind: len(found) for kind, found in of_kind.items() if kind not in KINDS}
    for kind, count in sorted(left_out.items()):
        notes[f"{count} of kind {kind} left out: they are no part of a fleet"] = None
    try:
        fleet = Fleet(name=name or source, levels=levels, servers=tuple(servers), queues=tuple(queues))
    except FleetError as error:
        raise FleetError(error.problems, source=source) from None
    return Imported(fleet=fleet, notes=tuple(notes))


def _read_node(
    placed: Placed, levels: Mapping[str, str], problems: list[Problem], notes: dict[str, None]
) -> tuple[Placed, Server] | None:
    """One Node object as a server, or nothing, with its problems."""
    try:
        read = read_server(placed.item, device_kinds(), levels)
        server = _server(read)
    except ObjectError as error:
        problems += [Problem(placed.at(fault.path), fault.reason) for fault in error.faults]
        return None
    except FleetError as error:
        problems += [Problem(placed.at(problem.path), problem.reason) for problem in error.problems]
        return None
    for note in notes_of(placed.item):
        notes[note] = None
    return placed, server


def _server(read: KubeServer) -> Server:
    node = read.node
    return Server(
        name=node.name,
        pool=node.pool,
        accelerator=node.accelerator,
        devices=node.devices,
        device_memory_mib=node.device_memory_mib,
        numa=_numa([card.numa for card in read.cards]),
        cpu_milli=node.cpu_milli,
        memory_mib=node.memory_mib,
        max_pods=node.max_pods,
        domains=node.domains,
        resource=node.resource,
        labels=node.labels,
        taints=node.taints,
        unschedulable=node.unschedulable,
        allocatable=dict(node.allocatable),
    )


def _numa(sockets: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """The devices of each socket; nothing where there is one."""
    different = sorted(set(sockets))
    if len(different) < 2:
        return ()
    return tuple(tuple(device for device, socket in enumerate(sockets) if socket == which) for which in different)


def _level_labels(
    topologies: Sequence[Placed], hypernodes: Sequence[Placed], nodes: Sequence[Placed], problems: list[Problem]
) -> dict[str, str]:
    """Level -> its label, narrow to wide, without those that no node has; none where HyperNodes say."""
    if topologies and hypernodes:
        place = f"{topologies[0].place}, {hypernodes[0].place}"
        problems.append(Problem(place, "a Topology of Kueue and HyperNodes of Volcano: leave out one of them"))
    if hypernodes:
        return {}
    labels = LEVELS
    if topologies:
        read = {tuple(_topology(placed, problems).items()) for placed in topologies}
        if len(read) > 1:
            places = ", ".join(placed.place for placed in topologies)
            problems.append(Problem(places, "several Topologies with different levels: leave one"))
        labels = dict(sorted(read)[0])
    there = {key for placed in nodes for key in labels_of(placed.item)}
    return {level: label for level, label in labels.items() if label in there}


def _topology(placed: Placed, problems: list[Problem]) -> dict[str, str]:
    """The levels of a Topology of Kueue, which lists them from wide to narrow, by the last word of their labels."""
    spec: Any = placed.item.get("spec")
    listed = spec.get("levels") if isinstance(spec, dict) else None
    entries = listed if isinstance(listed, list) else []
    labels = [entry.get("nodeLabel") if isinstance(entry, dict) else None for entry in entries]
    if not labels or not all(isinstance(label, str) and label for label in labels):
        problems.append(Problem(placed.at("spec.levels"), "must be a list of levels, each with its nodeLabel"))
        return {}
    narrow_first = [str(label) for label in reversed(labels) if label != HOSTNAME]
    words = _level_names([label.rpartition("/")[2] for label in narrow_first], narrow_first)
    return dict(zip(words, narrow_first, strict=True))


def _level_names(words: Sequence[str], otherwise: Sequence[str]) -> tuple[str, ...]:
    """Short names where they are unique and free, else the other ones."""
    return tuple(
        word if words.count(word) == 1 and word not in RESERVED_LEVELS else other
        for word, other in zip(words, otherwise, strict=True)
    )


def _under_hypernodes(
    hypernodes: Sequence[Placed], servers: Sequence[Server], problems: list[Problem]
) -> tuple[tuple[str, ...], list[Server]]:
    """The levels of HyperNodes, and the servers in their domains."""
    try:
        found = levels_of([placed.item for placed in hypernodes], {server.name: server.labels for server in servers})
    except ObjectError as error:
        problems += _at_names(hypernodes, error.faults)
        return (), list(servers)
    names = _level_names(found.names, [f"level-{name}" for name in found.names])
    return names, [replace(server, domains=found.domains[server.name]) for server in servers]


def _at_names(hypernodes: Sequence[Placed], faults: Iterable[Fault]) -> list[Problem]:
    by_name = {text(mapping(placed.item.get("metadata")).get("name")): placed for placed in hypernodes}
    found = []
    for path, reason in faults:
        name, _, inside = path.partition(": ")
        placed = by_name.get(name)
        found.append(
            Problem(f"HyperNode {path}" if placed is None else placed.at(inside), f"HyperNode {name}: {reason}")
        )
    return found


def _queues(
    of_kind: Mapping[str, list[Placed]], servers: Sequence[Server], problems: list[Problem], notes: dict[str, None]
) -> list[Queue]:
    reader = KueueReader(servers, device_kinds())
    queues = reader.queues(
        of_kind.get("ClusterQueue", []), of_kind.get("Cohort", []), of_kind.get("ResourceFlavor", [])
    )
    problems += reader.problems
    notes.update(reader.notes)
    return queues
