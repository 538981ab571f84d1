"""Families of fleets: the same fleet with more or fewer servers of a pool, without a domain, or with a random part removed.

Quotas stay as they are: what a queue is entitled to is a decision, not a consequence of the number of servers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from sim.fleet.model import Fleet, FleetError, Problem, Queue, Server
from sim.fleet.problems import did_you_mean

SERVER = "server"
"""The narrowest domain: one server."""


def resized(fleet: Fleet, pool: str, count: int) -> Fleet:
    """The fleet with `count` servers of a pool: the first of them, or copies behind the last.

    Copies repeat the pool from its first server on, in domains of their own (`leaf-0+1`), as if the racks were bought again.
    Raises `FleetError` if there is no such pool, or no server is left.
    """
    of_pool = [server for server in fleet.servers if server.pool == pool]
    if not of_pool:
        raise FleetError(
            [Problem("pool", f"there is no pool {pool!r}{did_you_mean(pool, fleet.pools)}")], source=fleet.name
        )
    kept = {server.name for server in of_pool[:count]}
    servers = [server for server in fleet.servers if server.pool != pool or server.name in kept]
    servers += [
        _copy(of_pool[number % len(of_pool)], number // len(of_pool)) for number in range(len(of_pool), count)
    ]
    return _with(fleet, servers)


def _copy(server: Server, times: int) -> Server:
    return replace(
        server,
        name=f"{server.name}+{times}",
        domains=tuple(f"{domain}+{times}" for domain in server.domains),
    )


def compacted(fleet: Fleet, count: int, seed: int) -> Fleet:
    """`count` servers of the fleet, in its order, chosen at random: those of `count` are among those of `count` + 1."""
    order = np.random.default_rng(seed).permutation(len(fleet.servers))
    chosen = sorted(order[:count].tolist())
    return _with(fleet, [fleet.servers[number] for number in chosen])


def without_one(fleet: Fleet, level: str) -> Iterator[tuple[str, Fleet]]:
    """(name of the domain, the fleet without it) for each domain of a level that could fail; `server` is each kind of server.

    Of servers that are alike in everything but the name, the first stands for all. Raises `FleetError` for an unknown level.
    """
    if level == SERVER:
        kinds: dict[Server, str] = {}
        for server in fleet.servers:
            kinds.setdefault(replace(server, name="any", labels={}), server.name)
        names = [{name} for name in kinds.values()]
        shown = list(kinds.values())
    elif level in fleet.levels:
        rank = fleet.levels.index(level)
        domains: dict[str, set[str]] = {}
        for server in fleet.servers:
            domains.setdefault(server.domains[rank], set()).add(server.name)
        names, shown = list(domains.values()), list(domains)
    else:
        known = (SERVER, *fleet.levels)
        raise FleetError(
            [
                Problem(
                    "spare", f"there is no level {level!r}{did_you_mean(level, known)}; known are {', '.join(known)}"
                )
            ],
            source=fleet.name,
        )
    for gone, name in zip(names, shown, strict=True):
        left = [server for server in fleet.servers if server.name not in gone]
        if left:
            yield name, _with(fleet, left)


def _with(fleet: Fleet, servers: Sequence[Server]) -> Fleet:
    """The fleet with other servers; queues lose the pools that are gone."""
    pools = {server.pool for server in servers}
    return replace(fleet, servers=tuple(servers), queues=tuple(_queue(queue, pools) for queue in fleet.queues))


def _queue(queue: Queue, pools: set[str]) -> Queue:
    if queue.pools is None or set(queue.pools) <= pools:
        return queue
    left = tuple(pool for pool in queue.pools if pool in pools)
    # because: a queue whose pools are all gone may use nothing, which no tuple of pools says; its entitlement does
    return replace(queue, pools=left) if left else replace(queue, pools=None, nominal={"*": 0}, borrowing_limit=None)


def devices_of(fleet: Fleet, prices: dict[str, float]) -> float:
    """What the fleet costs: devices times the price of their accelerator (or of `*`)."""
    return sum(
        server.devices * prices.get(server.accelerator or "", prices.get("*", 0.0)) for server in fleet.servers
    )
