"""What the auditor reads: the columns of a timeline as entries, and what a record asks for, cut into pods.

Written without the code that makes requests and masks, so that the two can be compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from policies.kube.sharing import same_cards
from policies.topology import Node
from sim.fleet.catalogue import catalogue
from sim.fleet.model import GENERIC
from sim.scheduling import read_scheduling
from sim.timeline import Columns, Happened
from traces.job import JobRecord


class Held(NamedTuple):
    """`pods` pods of one group of a gang on these devices of one server."""

    node: int
    devices: tuple[int, ...]
    pods: int
    group: int


class Entry(NamedTuple):
    """One entry of the timeline."""

    number: int
    at_ms: int
    happened: Happened
    row: int
    speed_ppm: int
    held: tuple[Held, ...]


class Pods(NamedTuple):
    """Equal pods that a job consists of; the amounts are of each."""

    pods: int
    devices: int
    cpu_milli: int
    memory_mib: int


def entries(line: Columns) -> Iterator[Entry]:
    """The columns as entries, in order."""
    nodes, masks = line.share_node.tolist(), line.share_devices.tolist()
    pods, groups = line.share_pods.tolist(), line.share_group.tolist()
    bounds = line.share_start.tolist()
    facts = zip(line.at_ms.tolist(), line.happened.tolist(), line.job.tolist(), line.speed_ppm.tolist(), strict=True)
    for number, (at_ms, happened, row, speed) in enumerate(facts):
        held = tuple(
            Held(nodes[k], tuple(d for d in range(64) if masks[k] >> d & 1), pods[k], groups[k])
            for k in range(bounds[number], bounds[number + 1])
        )
        yield Entry(number, at_ms, Happened(happened), row, speed, held)


def allows(record: JobRecord, pools: tuple[str, ...] | None, node: Node) -> bool:
    """Whether the kind of a server is one that the job may use."""
    if pools is not None and node.pool not in pools:
        return False
    if record.scheduling is None:
        if node.unschedulable:
            return False
    elif not read_scheduling(record.scheduling).allows(
        node.labels, node.name, node.taints, unschedulable=node.unschedulable
    ):
        return False
    if not record.gpu_count:
        return True
    if record.accelerators and not any(_is_called(node, name) for name in record.accelerators):
        return False
    needed, has = record.gpu_memory_mib, node.device_memory_mib
    return needed is None or has is None or has >= needed


def _is_called(node: Node, name: str) -> bool:
    """Whether a record's word for a card means those of a server: its model by any name, or the resource that counts it."""
    model = node.accelerator or ""
    if name in (model, node.resource):
        return True
    row = catalogue().find(model)
    if row is None or catalogue().find(name) is row:
        return row is not None
    if node.resource or "/" not in name:
        return False
    shared = [each for resource in row.resource_names for each in same_cards(resource)]
    return row.id == GENERIC or name in (*row.resource_names, *shared)


def pods_of(record: JobRecord, split: str, largest: int) -> Iterator[Pods]:
    """The pods that a job is cut into, larger first; `largest` is the most devices of a server that it may use."""
    devices = record.gpu_count
    if record.pods is not None:
        shapes = [(record.pods, devices // record.pods)]
    elif devices <= 1:
        shapes = [(1, devices)]
    elif split == "free":
        shapes = [(devices, 1)]
    else:
        shapes = [shape for shape in ((devices // largest, largest), (1, devices % largest)) if all(shape)]
    for pods, each in shapes:
        # each pod's part of the whole job's amount goes by its devices, rounded up
        part, of = (each, devices) if devices else (1, sum(pods for pods, _ in shapes))
        yield Pods(pods, each, -(-record.cpu_milli * part // of), -(-record.memory_mib * part // of))
