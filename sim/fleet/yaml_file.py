"""The fleet file: YAML -> `Fleet`, with every problem at its path, and back again.

The keys are described in docs/reference/fleet-file.md. The work is in three steps, each of which reports all
that it finds: the text is YAML (`yaml_text`), the keys have the right types (`yaml_schema`), the fleet can be
(here).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Final, NoReturn

from policies.kube.terms import Taint
from sim.fleet.catalogue import catalogue
from sim.fleet.model import ANY_ACCELERATOR, MAX_SERVERS, Fleet, FleetError, Problem, Queue, Server
from sim.fleet.problems import did_you_mean
from sim.fleet.yaml_columns import PerServer
from sim.fleet.yaml_schema import EveryDevices, EveryServers, FleetKeys, PoolKeys, QueueKeys, check_keys
from sim.fleet.yaml_text import read_mapping


def read_fleet_yaml(text: str, *, source: str, name: str | None = None) -> Fleet:
    """The fleet that a YAML text describes, called as it says, else `name`, else `source`.

    Raises `FleetError` with every problem at its path, as in `pools[1].islands[0]: there is no device 8`.
    """
    keys = check_keys(read_mapping(text, source=source), source=source)
    return _Builder(keys, source, name or source).fleet()


class _Builder:
    """Turns checked keys into a fleet; collects problems and refuses once, at the end."""

    def __init__(self, keys: FleetKeys, source: str, name: str) -> None:
        self.keys = keys
        self.name = keys.name if keys.name is not None else name
        self.source = source
        self.exact = keys.names == "exact"
        self.problems: list[Problem] = []
        self.servers: list[Server] = []
        self.places: list[str] = []  # for each server its path in the file, as in pools[1].servers[7]

    def fleet(self) -> Fleet:
        total = sum(_count(pool) for pool in self.keys.pools)
        if total > MAX_SERVERS:
            self._refuse([Problem("pools", f"hold {total} servers; a fleet has at most {MAX_SERVERS}")])
        for index, pool in enumerate(self.keys.pools):
            self._pool(f"pools[{index}]", pool)
        queues = [
            queue
            for index, keys in enumerate(self.keys.queues)
            if (queue := self._queue(f"queues[{index}]", keys)) is not None
        ]
        if self.problems:
            self._refuse(self.problems)
        try:
            return Fleet(
                name=self.name,
                levels=tuple(self.keys.levels),
                servers=tuple(self.servers),
                queues=tuple(queues),
            )
        except FleetError as error:
            self._refuse([self._replaced(problem) for problem in error.problems])

    def _refuse(self, problems: list[Problem]) -> NoReturn:
        raise FleetError(problems, source=self.source) from None

    def _replaced(self, problem: Problem) -> Problem:
        """The problem with places in the file instead of numbers of servers."""

        def place(match: re.Match[str]) -> str:
            return self.places[int(match[1])]

        pattern = re.compile(r"\bservers\[([0-9]+)\]")
        return Problem(pattern.sub(place, problem.path), pattern.sub(place, problem.reason))

    def _pool(self, path: str, pool: PoolKeys) -> None:
        before = len(self.problems)
        domains = self._domains(path, pool)
        accelerator, memory_mib = self._accelerator(path, pool)
        names = _names(pool)
        columns = PerServer(pool)
        self.problems += columns.problems(path, len(names))
        if len(self.problems) > before:
            return
        try:
            first = Server(
                name=names[0],
                pool=pool.name,
                accelerator=accelerator,
                devices=pool.devices,
                device_memory_mib=memory_mib,
                islands=_groups(pool.islands, pool.devices),
                numa=_groups(pool.numa, pool.devices),
                max_pods=pool.max_pods,
                domains=domains[0],
                resource=pool.resource or "",
                taints=tuple(Taint(taint.key, taint.value, taint.effect) for taint in pool.taints),
                unschedulable=pool.unschedulable,
                **columns.of(0),
            )
            for offset, name in enumerate(names):
                self.places.append(f"{path}.servers[{offset}]")
                self.servers.append(replace(first, name=name, domains=domains[offset], **columns.of(offset)))
        except FleetError as error:
            self.problems += [self._of_server(problem).under(path) for problem in error.problems]

    def _of_server(self, problem: Problem) -> Problem:
        """The problem of a server by the keys of the file, where those differ from the fields of `Server`."""
        keys = {"name": "servers", "pool": "name"}
        keys |= {f"domains[{rank}]": f"place.{level}" for rank, level in enumerate(self.keys.levels)}
        return Problem(keys.get(problem.path, problem.path), problem.reason)

    def _accelerator(self, path: str, pool: PoolKeys) -> tuple[str | None, int | None]:
        """The id of the model, and the memory of one device: that of the file, else that of the catalogue."""
        if pool.accelerator is None or self.exact:
            return pool.accelerator, pool.device_memory_mib
        row = catalogue().find(pool.accelerator)
        if row is None:
            hint = catalogue().hint(pool.accelerator)
            self.problems.append(Problem(f"{path}.accelerator", f"unknown model {pool.accelerator!r}{hint}"))
            return None, None
        known_mib = row.memory_mib if pool.devices else None
        return row.id, known_mib if pool.device_memory_mib is None else pool.device_memory_mib

    def _domains(self, path: str, pool: PoolKeys) -> list[tuple[str, ...]]:
        """For each server of the pool its domain at each level, narrow to wide."""
        levels, count = self.keys.levels, _count(pool)
        self.problems += _place_problems(f"{path}.place", pool, levels, count)
        columns: list[list[str]] = []
        parents: list[str] | None = None
        for level in reversed(levels):
            own = _column(pool, level, count)
            if parents is not None and not self.exact:
                own = [f"{parent}/{name}" for parent, name in zip(parents, own, strict=True)]
            columns.insert(0, own)
            parents = own
        return list(zip(*columns, strict=True)) if columns else [()] * count

    def _queue(self, path: str, keys: QueueKeys) -> Queue | None:
        try:
            nominal = self._quota(f"{path}.nominal", keys.nominal)
            limit = keys.borrowing_limit
            return Queue(
                name=keys.name,
                nominal=nominal,
                borrowing_limit=None if limit is None else self._quota(f"{path}.borrowing_limit", limit),
                cohort=keys.cohort,
                weight=keys.weight,
                pools=None if keys.pools is None else tuple(keys.pools),
            )
        except FleetError as error:
            self.problems += [problem.under(path) for problem in error.problems]
            return None

    def _quota(self, path: str, quota: Mapping[str, int]) -> dict[str, int]:
        """The quota by id; a model that no pool has is a problem, because nothing could ever use it."""
        if self.exact:
            return dict(quota)
        there = {catalogue().canonical(pool.accelerator) for pool in self.keys.pools if pool.accelerator}
        by_id: dict[str, int] = {}
        for name, amount in quota.items():
            accelerator = name if name == ANY_ACCELERATOR else catalogue().canonical(name)
            if accelerator != ANY_ACCELERATOR and accelerator not in there:
                hint = did_you_mean(name, there)
                self.problems.append(Problem(f"{path}.{name}", f"no pool has the accelerator {name!r}{hint}"))
            if accelerator in by_id:
                self.problems.append(Problem(f"{path}.{name}", f"is {accelerator}, which is named already"))
            by_id[accelerator] = amount
        return by_id


_NO_PLACE: Final = "is not placed: write a name, {every: 16}, or one name for each server"


def _place_problems(path: str, pool: PoolKeys, levels: list[str], count: int) -> Iterator[Problem]:
    for level, place in pool.place.items():
        if level not in levels:
            yield Problem(f"{path}.{level}", f"unknown level{did_you_mean(level, levels)}")
        if isinstance(place, list) and len(place) != count:
            yield Problem(f"{path}.{level}", f"names {len(place)} domains for {count} servers")
    for level in levels:
        if level not in pool.place:
            yield Problem(f"{path}.{level}", _NO_PLACE)
    for narrow, wide in pairwise(levels):
        inner, outer = pool.place.get(narrow), pool.place.get(wide)
        if isinstance(inner, EveryServers) and isinstance(outer, EveryServers) and outer.every % inner.every:
            reason = f"a {wide} of {outer.every} servers cannot be cut into {narrow}s of {inner.every}"
            yield Problem(f"{path}.{narrow}.every", reason)


def _column(pool: PoolKeys, level: str, count: int) -> list[str]:
    """The bare name of the domain at one level, for each server of the pool."""
    place = pool.place.get(level, "-")
    if isinstance(place, str):
        return [place] * count
    if isinstance(place, EveryServers):
        named = place.named if place.named is not None else f"{pool.name}-{level}"
        return [f"{named}{place.first + index // place.every}" for index in range(count)]
    return place if len(place) == count else ["-"] * count


def _groups(groups: EveryDevices | list[list[int]], devices: int) -> tuple[tuple[int, ...], ...]:
    if isinstance(groups, EveryDevices):
        starts = range(0, devices, groups.every)
        return tuple(tuple(range(start, min(start + groups.every, devices))) for start in starts)
    return tuple(tuple(group) for group in groups)


def _count(pool: PoolKeys) -> int:
    return pool.servers if isinstance(pool.servers, int) else len(pool.servers)


def _names(pool: PoolKeys) -> list[str]:
    if not isinstance(pool.servers, int):
        return pool.servers
    prefix = pool.prefix if pool.prefix is not None else f"{pool.name}-"
    return [f"{prefix}{index}" for index in range(pool.servers)]
