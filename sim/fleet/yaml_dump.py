"""`Fleet` -> fleet file, so that what was built in a notebook or read from a node list can be edited."""

from __future__ import annotations

import re
from itertools import groupby
from typing import Any, Final

import yaml

from sim.fleet.model import Fleet, Queue, Server
from sim.fleet.yaml_schema import SCHEMA_VERSION

_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
_READ_OTHERWISE: Final = ("true", "false", "null")


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: object) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    plain = _PLAIN.fullmatch(text) and text.casefold() not in _READ_OTHERWISE
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if plain else '"')


_Dumper.add_representer(str, _text)


def fleet_to_yaml(fleet: Fleet) -> str:
    """A fleet file that `read_fleet_yaml` turns into an equal fleet.

    Neighbours that are alike become one pool; their labels and amounts may differ, and are then written as lists.
    """
    data: dict[str, Any] = {"rehearse_fleet": SCHEMA_VERSION, "name": fleet.name, "names": "exact"}
    data["levels"] = list(fleet.levels)
    alike = groupby(fleet.servers, key=lambda server: (_common(server), _said(server), server.pool))
    data["pools"] = [_pool(list(servers), fleet.levels) for _, servers in alike]
    if fleet.queues:
        data["queues"] = [_queue(queue) for queue in fleet.queues]
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110)


def _common(server: Server) -> dict[str, Any]:
    """What neighbours must share to be written as one pool, without what is left at its default."""
    values: dict[str, Any] = {
        "accelerator": server.accelerator,
        "devices": server.devices,
        "device_memory_mib": server.device_memory_mib,
        "islands": [list(group) for group in server.islands] or None,
        "numa": [list(group) for group in server.numa] or None,
        "max_pods": server.max_pods,
        "resource": server.resource or None,
        "taints": [taint._asdict() for taint in server.taints] or None,
        "unschedulable": server.unschedulable or None,
    }
    return {key: value for key, value in values.items() if value is not None}


def _said(server: Server) -> tuple[object, ...]:
    """Which of the things that may differ between neighbours it says at all."""
    return (server.cpu_milli is None, server.memory_mib is None, sorted(server.labels), sorted(server.allocatable))


def _per_server(servers: list[Server]) -> dict[str, Any]:
    """Labels and amounts: one value where all servers agree, else one for each."""
    first = servers[0]
    values: dict[str, Any] = {
        "cpu_milli": None if first.cpu_milli is None else _folded([each.cpu_milli for each in servers]),
        "memory_mib": None if first.memory_mib is None else _folded([each.memory_mib for each in servers]),
        "labels": {key: _folded([each.labels[key] for each in servers]) for key in first.labels},
        "allocatable": {name: _folded([each.allocatable[name] for each in servers]) for name in first.allocatable},
    }
    return {key: value for key, value in values.items() if value is not None and value != {}}


def _folded(values: list[Any]) -> Any:
    return values[0] if all(value == values[0] for value in values) else values


def _pool(servers: list[Server], levels: tuple[str, ...]) -> dict[str, Any]:
    pool: dict[str, Any] = {"name": servers[0].pool, "servers": [server.name for server in servers]}
    pool |= _common(servers[0]) | _per_server(servers)
    place: dict[str, str | list[str]] = {}
    for rank, level in enumerate(levels):
        column = [server.domains[rank] for server in servers]
        place[level] = column[0] if len(set(column)) == 1 else column
    if place:
        pool["place"] = place
    return pool


def _queue(queue: Queue) -> dict[str, Any]:
    values: dict[str, Any] = {
        "name": queue.name,
        "nominal": dict(queue.nominal),
        "borrowing_limit": None if queue.borrowing_limit is None else dict(queue.borrowing_limit),
        "cohort": queue.cohort,
        "weight": queue.weight,
        "pools": None if queue.pools is None else list(queue.pools),
    }
    return {key: value for key, value in values.items() if value is not None}
