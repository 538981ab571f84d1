"""Families of fleets: the same fleet with more or fewer servers of a pool, without a domain, or with a random part removed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain, zip_longest
from typing import Final, Literal

from sim.fleet.model import Fleet, FleetError, Problem, Queue, Server
from sim.fleet.problems import did_you_mean
from sim.planning.quotas import scaled_queues
from sim.streams import Streams

SERVER: Final = "server"
"""The narrowest domain: one server."""

PLACES: Final = frozenset({"zone", "region", "site", "room", "hall", "building", "datacenter", "dc"})
"""Levels that stand for places. Buying servers builds no new one, and a planner fills those that are there evenly."""

HOST_LABEL: Final = "kubernetes.io/hostname"
"""The label that repeats a server's name."""

Quotas = Literal["keep", "scale"]
"""What becomes of the queues' entitlements when the fleet grows or shrinks."""


def resized(fleet: Fleet, pool: str, count: int, *, quotas: Quotas = "keep") -> Fleet:
    """The fleet with `count` servers of a pool: fewer of them, or copies behind the last.

    Narrow domains (racks) stay whole: they are emptied from the last on, and bought again under names of their own
    (`leaf-0+1`). Wider ones, and places such as zones, are there already: they are filled and emptied in turn, so that none
    stands for more than its part. Raises `FleetError` if there is no such pool, or no server is left.
    """
    of_pool = [server for server in fleet.servers if server.pool == pool]
    if not of_pool:
        raise FleetError(
            [Problem("pool", f"there is no pool {pool!r}{did_you_mean(pool, fleet.pools)}")], source=fleet.name
        )
    new_racks = bool(fleet.levels) and fleet.levels[0] not in PLACES
    in_turn = _in_turn(of_pool, range(len(fleet.levels) - 1, 0 if new_racks else -1, -1))
    kept = {server.name for server in in_turn[:count]}
    servers = [server for server in fleet.servers if server.pool != pool or server.name in kept]
    servers += [
        _copy(in_turn[number % len(in_turn)], number // len(in_turn), new_racks=new_racks)
        for number in range(len(in_turn), count)
    ]
    return with_servers(fleet, servers, quotas=quotas)


def _in_turn(servers: Sequence[Server], ranks: Sequence[int]) -> list[Server]:
    """The servers, one of each domain of the first rank in turn, and within a domain so by the ranks behind it."""
    if not ranks:
        return list(servers)
    by_domain: dict[str, list[Server]] = {}
    for server in servers:
        by_domain.setdefault(server.domains[ranks[0]], []).append(server)
    parts = [_in_turn(part, ranks[1:]) for part in by_domain.values()]
    return [server for server in chain.from_iterable(zip_longest(*parts)) if server is not None]


def _copy(server: Server, times: int, *, new_racks: bool) -> Server:
    name, labels, domains = f"{server.name}+{times}", server.labels, server.domains
    if new_racks:
        domains = (f"{domains[0]}+{times}", *domains[1:])
    if HOST_LABEL in labels:
        labels = {**labels, HOST_LABEL: name}
    return replace(server, name=name, domains=domains, labels=labels)


def compacted(fleet: Fleet, count: int, seed: int, *, quotas: Quotas = "keep") -> Fleet:
    """`count` servers of the fleet, in its order, chosen at random: those of `count` are among those of `count` + 1."""
    order = Streams(seed).generator("compaction").permutation(len(fleet.servers))
    chosen = sorted(order[:count].tolist())
    return with_servers(fleet, [fleet.servers[number] for number in chosen], quotas=quotas)


def without_one(fleet: Fleet, level: str) -> Iterator[tuple[str, Fleet]]:
    """(name of the domain, the fleet without it) for each domain of a level that could fail; `server` is each kind of server.

    Of servers that are alike in everything but the name, the first stands for all. Entitlements stay: a failure changes
    none. Nothing for a domain that is the whole fleet. Raises `FleetError` for an unknown level.
    """
    if level == SERVER:
        names, shown = _kinds(fleet)
    elif level in fleet.levels:
        rank = fleet.levels.index(level)
        domains: dict[str, set[str]] = {}
        for server in fleet.servers:
            if not is_stand_in(server):
                domains.setdefault(server.domains[rank], set()).add(server.name)
        names, shown = list(domains.values()), list(domains)
    else:
        known = (SERVER, *fleet.levels)
        hint = f"{did_you_mean(level, known)}; known are {', '.join(known)}"
        raise FleetError([Problem("spare", f"there is no level {level!r}{hint}")], source=fleet.name)
    for gone, name in zip(names, shown, strict=True):
        left = [server for server in fleet.servers if server.name not in gone]
        if any(not is_stand_in(server) for server in left):
            yield name, with_servers(fleet, left)


def _kinds(fleet: Fleet) -> tuple[list[set[str]], list[str]]:
    """One server of each kind, as sets of one name and as names."""
    kinds: dict[Server, str] = {}
    for server in fleet.servers:
        if not is_stand_in(server):
            labels = {key: value for key, value in server.labels.items() if key != HOST_LABEL}
            kinds.setdefault(replace(server, name="any", labels=labels), server.name)
    return [{name} for name in kinds.values()], list(kinds.values())


def with_servers(fleet: Fleet, servers: Sequence[Server], *, quotas: Quotas = "keep") -> Fleet:
    """The fleet with other servers. A queue whose pools are all gone may use nothing."""
    there = {server.pool for server in servers}
    orphans = [queue for queue in fleet.queues if queue.pools is not None and not there & set(queue.pools)]
    servers = [*servers, *_stand_ins(fleet, orphans)]
    there = {server.pool for server in servers}
    queues = tuple(_within(queue, there) for queue in fleet.queues)
    found = replace(fleet, servers=tuple(servers), queues=queues)
    return replace(found, queues=scaled_queues(fleet, found)) if quotas == "scale" else found


def _within(queue: Queue, pools: set[str]) -> Queue:
    if queue.pools is None:
        return queue
    return replace(queue, pools=tuple(pool for pool in queue.pools if pool in pools))


def _stand_ins(fleet: Fleet, orphans: Sequence[Queue]) -> Iterator[Server]:
    """A server on which nothing fits for each queue without a pool: a fleet cannot say that a queue may use no pool."""
    for pool in dict.fromkeys(queue.pools[0] for queue in orphans if queue.pools):
        first = next(server for server in fleet.servers if server.pool == pool)
        yield Server(
            name=f"{pool}: none left",
            pool=pool,
            accelerator=None,
            devices=0,
            cpu_milli=0,
            memory_mib=0,
            max_pods=0,
            domains=first.domains,
        )


def is_stand_in(server: Server) -> bool:
    """Whether it only stands for a pool of which no server is left."""
    return server.max_pods == 0 and server.name == f"{server.pool}: none left"


def server_count(fleet: Fleet) -> int:
    """Its servers, without what stands for pools that are gone."""
    return sum(not is_stand_in(server) for server in fleet.servers)


def cost_of(fleet: Fleet, prices: Mapping[str, float]) -> float:
    """What the devices of the fleet cost: the price of one by its accelerator, or that of `*`."""
    return sum(
        server.devices * prices.get(server.accelerator or "", prices.get("*", 0.0)) for server in fleet.servers
    )
