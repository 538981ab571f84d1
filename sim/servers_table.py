"""The servers of a run: what pictures of the fleet need, written beside the results, without the fleet's own file."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from policies.topology import Topology


class ServersTable(NamedTuple):
    """One row for each server, in the order of the fleet: the numbers that the timeline has."""

    name: list[str]
    devices: NDArray[np.int64]
    accelerator: list[str | None]
    domains: list[list[str]]
    """For each level, narrow to wide, the domain of each server."""


def servers_table(topology: Topology) -> ServersTable:
    """That of a fleet."""
    return ServersTable(
        name=[node.name for node in topology.nodes],
        devices=np.array([node.devices for node in topology.nodes], dtype=np.int64),
        accelerator=list(topology.accelerator_of),
        domains=[[node.domains[level] for node in topology.nodes] for level in range(len(topology.levels))],
    )


def servers_arrow(servers: ServersTable, levels: tuple[str, ...]) -> Any:
    """As a `pyarrow.Table`: the columns of the levels are called `level <name>`."""
    text = pa.string()
    columns = {
        "server": pa.array(servers.name, type=text),
        "devices": pa.array(servers.devices),
        "accelerator": pa.array(servers.accelerator, type=text),
    }
    for level, domains in zip(levels, servers.domains, strict=True):
        columns[f"level {level}"] = pa.array(domains, type=text)
    return pa.table(columns)


def servers_from_arrow(table: Any, levels: tuple[str, ...]) -> ServersTable:
    """The table that `servers_arrow` made. Raises KeyError for one that it did not make."""
    return ServersTable(
        name=table["server"].to_pylist(),
        devices=np.asarray(table["devices"].to_numpy(), dtype=np.int64),
        accelerator=table["accelerator"].to_pylist(),
        domains=[table[f"level {level}"].to_pylist() for level in levels],
    )
