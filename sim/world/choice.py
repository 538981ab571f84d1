"""Which models of the world are on in a run, with which tables, and which servers are slow when."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from policies import bitset
from policies.topology import Topology
from sim.fleet.model import GENERIC, Fleet
from sim.fleet.problems import FleetError, Problem, did_you_mean
from sim.world import tables
from sim.world.speed import PPM, SpeedChange, SpeedModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Slow:
    """Servers that work at `factor_ppm` millionths of their speed from `at_ms` on, until `until_ms` if it is given.

    The servers are those named, those of the pool, and those of the domain. Of several changes of one server the last counts.
    """

    at_ms: int
    factor_ppm: int
    until_ms: int | None = None
    servers: tuple[str, ...] = ()
    pool: str | None = None
    domain: str | None = None

    def changes(self, topology: Topology, path: str) -> list[SpeedChange]:
        """The change, and the change back. Raises `FleetError` at `path` for a name that the fleet does not have."""
        problems = list(self._problems(topology))
        if problems:
            raise FleetError([problem.under(path) for problem in problems], source="scenario")
        nodes = bitset.from_members(
            number
            for number, node in enumerate(topology.nodes)
            if node.name in self.servers or node.pool == self.pool or self.domain in node.domains
        )
        found = [SpeedChange(self.at_ms, nodes, self.factor_ppm)]
        return found if self.until_ms is None else [*found, SpeedChange(self.until_ms, nodes, PPM)]

    def _problems(self, topology: Topology) -> Iterator[Problem]:
        if self.until_ms is not None and self.until_ms <= self.at_ms:
            yield Problem("until", f"must be later than at ({self.at_ms} ms), got {self.until_ms} ms")
        if not (self.servers or self.pool or self.domain):
            yield Problem("", "must name servers, a pool or a domain")
        names = {node.name for node in topology.nodes}
        for place, name in enumerate(self.servers):
            if name not in names:
                yield Problem(f"servers[{place}]", f"no server is called {name!r}{did_you_mean(name, names)}")
        pools = {node.pool for node in topology.nodes}
        if self.pool is not None and self.pool not in pools:
            yield Problem("pool", f"no pool is called {self.pool!r}{did_you_mean(self.pool, pools)}")
        domains = {domain for node in topology.nodes for domain in node.domains}
        if self.domain is not None and self.domain not in domains:
            yield Problem("domain", f"no domain is called {self.domain!r}{did_you_mean(self.domain, domains)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Which models of the world are on. None decides by the fleet: see `decided`."""

    speed: bool | None = None
    """The accelerator changes a job's run time."""
    locality: bool | None = None
    """The width of a gang changes its run time."""
    speed_table: str | None = None
    """A file in the form of `sim/world/speeds.toml`; None is that file."""
    locality_table: str | None = None
    """A file in the form of `sim/world/locality.toml`; None is that file."""
    slow: tuple[Slow, ...] = ()

    def decided(self, fleet: Fleet) -> World:
        """Speeds are on by default where the fleet mixes accelerators, locality where it has levels.

        A flat fleet of one model is taken as the one on which the run times of the trace were measured.
        """
        models = set(fleet.devices_by_accelerator) - {GENERIC}
        speed = len(models) > 1 if self.speed is None else self.speed
        locality = bool(fleet.levels) if self.locality is None else self.locality
        return replace(self, speed=speed, locality=locality)

    def speed_model(self, topology: Topology) -> SpeedModel | None:
        """The speeds of a run, None where every job always works at full speed. Raises `FleetError`, OSError."""
        if not (self.speed or self.locality or self.slow):
            return None
        changes = [change for i, slow in enumerate(self.slow) for change in slow.changes(topology, f"slow[{i}]")]
        return SpeedModel(
            topology,
            card_ppm=self._card_ppm() if self.speed else None,
            locality_ppm=self._locality_ppm(len(topology.levels)) if self.locality else None,
            changes=changes,
        )

    def _card_ppm(self) -> Callable[[str | None, str], int]:
        if self.speed_table is None:
            return tables.card_ppm
        table = tables.read_speeds(_text(self.speed_table), source=self.speed_table)
        return cache(lambda family, card: table.relative_speed(family, card).ppm)

    def _locality_ppm(self, levels: int) -> Callable[[str | None], Sequence[int]]:
        if self.speed_table is None and self.locality_table is None:
            return lambda family: tables.locality_factors_ppm(family, levels)
        speeds, localities = tables.speed_table(), tables.locality_table()
        if self.speed_table is not None:
            speeds = tables.read_speeds(_text(self.speed_table), source=self.speed_table)
        if self.locality_table is not None:
            localities = tables.read_locality(_text(self.locality_table), source=self.locality_table)
        return cache(lambda family: localities.factors_ppm(speeds.family(family).locality, levels))

    def as_data(self) -> dict[str, Any]:
        """What the manifest says of it: the tables of the user with their SHA-256."""
        data = asdict(self)
        for key in ("speed_table", "locality_table"):
            path = data[key]
            data[key] = {"path": path, "sha256": _sha256(path)} if path is not None else "built-in"
        return data


def _text(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FleetError([Problem("", "is not UTF-8 text")], source=path) from error


def _sha256(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()
