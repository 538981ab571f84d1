"""The fleet as policies see it: the same servers, in the same order, as a `Topology` and `QueueView`s."""

from __future__ import annotations

from collections.abc import Mapping

from policies.api import DEVICE_MILLI, QueueView
from policies.topology import Node, Topology
from sim.fleet.model import Fleet, Server


def topology_of(fleet: Fleet) -> Topology:
    """The servers and levels of a fleet."""
    return Topology([_node(server) for server in fleet.servers], fleet.levels)


def queues_of(fleet: Fleet) -> dict[str, QueueView]:
    """The queues of a fleet, holding nothing yet."""
    return {
        queue.name: QueueView(
            name=queue.name,
            nominal_milli=_milli(queue.nominal),
            borrowing_limit_milli=None if queue.borrowing_limit is None else _milli(queue.borrowing_limit),
            cohort=queue.cohort,
            weight=queue.weight,
            pools=queue.pools,
            held_milli={},
        )
        for queue in fleet.queues
    }


def _milli(devices: Mapping[str, int]) -> dict[str, int]:
    return {accelerator: count * DEVICE_MILLI for accelerator, count in devices.items()}


def _node(server: Server) -> Node:
    return Node(
        name=server.name,
        pool=server.pool,
        accelerator=server.accelerator,
        devices=server.devices,
        device_memory_mib=server.device_memory_mib,
        islands=server.islands,
        cpu_milli=server.cpu_milli,
        memory_mib=server.memory_mib,
        max_pods=server.max_pods,
        domains=server.domains,
        resource=server.resource,
        labels=server.labels,
        taints=server.taints,
        unschedulable=server.unschedulable,
        allocatable=tuple(sorted(server.allocatable.items())),
    )
