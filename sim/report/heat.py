"""How full each server is over time: servers, domains, or some servers together, so that any fleet fits a page."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.jobs_table import Integers
from sim.results import Run
from sim.servers_table import ServersTable
from sim.stretches import stretches

ROWS_MAX: Final = 48
COLUMNS: Final = 144

Floats = NDArray[np.float64]


class Rows(NamedTuple):
    """The rows of the map."""

    of_server: Integers
    """The row of each server; -1 for one without devices."""
    name: list[str]
    """Of the server, the domain, or the first and the last server."""
    accelerator: list[str]
    """Of its servers; empty where they differ."""
    servers: Integers
    devices: Integers
    kind: str
    """`server`, the name of a level, or `servers`."""


def rows_of(servers: ServersTable, levels: tuple[str, ...], most: int = ROWS_MAX) -> Rows:
    """A row for each server where they are few, else for each domain of the narrowest level that is small enough, else for as
    many neighbouring servers of one model as it takes. Servers without devices have none.
    """
    have = np.flatnonzero(servers.devices > 0)
    if len(have) <= most:
        return _rows(servers, have, np.arange(len(have)), "server", [servers.name[each] for each in have])
    for level, domains in zip(levels, servers.domains, strict=True):
        names, codes = _in_order([domains[each] for each in have])
        if most // 6 <= len(names) <= most:
            return _rows(servers, have, codes, level, names)
    codes = _neighbours([servers.accelerator[each] or "" for each in have], most)
    first, last = (np.searchsorted(codes, np.unique(codes), side=side) for side in ("left", "right"))
    ends = zip(have[first].tolist(), have[last - 1].tolist(), strict=True)
    return _rows(servers, have, codes, "servers", [f"{servers.name[i]} … {servers.name[j]}" for i, j in ends])


def _in_order(names: list[str]) -> tuple[list[str], Integers]:
    """The names by first appearance, and the number of each."""
    known = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return list(known), np.array([known[name] for name in names], dtype=np.int64)


def _neighbours(models: list[str], most: int) -> Integers:
    """Groups of about equal size, at most so many, none of two models unless these change too often."""
    told = np.array(models, dtype=object)
    changes = np.cumsum(np.append([False], told[1:] != told[:-1])).astype(np.int64)
    if changes[-1] >= most // 2:
        changes = np.zeros(len(models), dtype=np.int64)
    size = -(-len(models) // (most - int(changes[-1])))
    within = np.arange(len(models)) - np.searchsorted(changes, changes)
    _, codes = np.unique(changes * len(models) + within // size, return_inverse=True)
    found: Integers = codes.astype(np.int64)
    return found


def _rows(servers: ServersTable, have: Integers, codes: Integers, kind: str, names: list[str]) -> Rows:
    of_server = np.full(len(servers.name), -1, dtype=np.int64)
    of_server[have] = codes
    models: list[set[str]] = [set() for _ in names]
    for row, number in zip(codes.tolist(), have.tolist(), strict=True):
        models[row].add(servers.accelerator[number] or "")
    return Rows(
        of_server=of_server,
        name=names,
        accelerator=[each.pop() if len(each) == 1 else "" for each in models],
        servers=np.bincount(codes, minlength=len(names)).astype(np.int64),
        devices=np.bincount(codes, weights=servers.devices[have], minlength=len(names)).astype(np.int64),
        kind=kind,
    )


def shares_of_servers(run: Run) -> tuple[Integers, Integers, Integers, Integers]:
    """Server, from, until and milli-devices of everything that any job held."""
    line = run.timeline
    found = stretches(line, int(run.manifest["end_ms"]))
    begins, lengths = line.share_start[found.entry], np.diff(line.share_start)[found.entry]
    stretch = np.repeat(np.arange(len(found.entry)), lengths)
    share = np.arange(len(stretch)) - np.repeat(np.cumsum(lengths) - lengths, lengths) + np.repeat(begins, lengths)
    devices = np.bitwise_count(line.share_devices[share]).astype(np.int64)
    pods = line.share_pods[share].astype(np.int64)
    demand = run.jobs.demand_milli[found.job]
    whole = np.bincount(stretch, weights=devices, minlength=len(demand)) * 1000 == demand
    # because: whole devices are counted by the devices, parts of one by the pods that share it
    weight = np.where(whole[stretch], devices, pods)
    of_all = np.bincount(stretch, weights=weight, minlength=len(demand))[stretch]
    milli = np.rint(demand[stretch] * weight / np.maximum(of_all, 1)).astype(np.int64)
    return line.share_node[share].astype(np.int64), found.start_ms[stretch], found.end_ms[stretch], milli


def heat(run: Run, rows: Rows, edges: Floats) -> Floats:
    """The share of each row's devices that is allocated, mean over each interval; shape (rows, intervals)."""
    count, columns = len(rows.name), len(edges) - 1
    node, start_ms, end_ms, milli = shares_of_servers(run)
    row = rows.of_server[node]
    known = row >= 0
    row, milli = row[known], milli[known]
    at = np.concatenate((start_ms[known], end_ms[known])).astype(np.float64)
    change = np.concatenate((milli, -milli)).astype(np.float64)
    row = np.concatenate((row, row))
    step = (edges[-1] - edges[0]) / columns
    column = np.clip(((at - edges[0]) / step).astype(np.int64), 0, columns - 1)
    cell = row * columns + column
    # because: a change counts for the rest of its own interval, and for the whole of all later ones
    rest = np.bincount(cell, weights=change * (edges[column + 1] - at), minlength=count * columns)
    later = np.cumsum(np.bincount(cell, weights=change, minlength=count * columns).reshape(count, columns), axis=1)
    held = rest.reshape(count, columns) / step
    held[:, 1:] += later[:, :-1]
    found: Floats = np.clip(held / (rows.devices[:, None] * 1000), 0.0, 1.0)
    return found
