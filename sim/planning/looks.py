"""One fleet, tried: a replay of it, and of it without each domain that must be spare."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from sim.experiment.plan import replicated
from sim.experiment.prepare import Prepared, replay_prepared
from sim.fleet.load import LoadedFleet
from sim.fleet.model import Fleet
from sim.planning.fleets import cost_of, without_one
from sim.planning.growth import grown, grown_services
from sim.planning.levels import Figures, levels_of
from sim.planning.load import Full, full_pools, load_of
from sim.planning.question import Question, fleet_of
from sim.results import Run
from sim.run import InputError
from sim.streams import Streams


class Look(NamedTuple):
    """What came of trying a fleet."""

    servers: tuple[int, ...]
    """Of each pool that is searched, or of the whole fleet."""
    devices: int
    """Of the whole fleet."""
    cost: float | None
    """Of the whole fleet; None without prices."""
    enough: bool
    figures: Figures
    """Where it is enough, the worst over all domains that may be gone; else those that break a level."""
    without: str
    """The domain without which a level breaks; nothing where the whole fleet is not enough, and where it is."""
    load: float | None
    """Of the pools that are searched, or of the whole fleet: see `load_of`. None where the whole fleet was not tried."""
    full: tuple[Full, ...] = ()
    """Where a level breaks: the pools that are full and not searched, of the fleet that broke it."""


class Looker:
    """One policy on one copy of the trace: what replication `number` sees."""

    def __init__(self, prepared: Prepared, question: Question, policy: str, number: int) -> None:
        self._prepared = copy_of(prepared, question, number)
        self._question = question
        self._policy = policy
        self._levels = levels_of(
            question.gates,
            self._prepared,
            warm_up_ms=question.warm_up_ms,
            drain_ms=question.drain_ms,
            left_out=question.left_out,
        )
        self._broke = ""
        """The domain whose loss last broke a level: it is tried first, since it is likely to do so again."""

    def fleet(self, servers: tuple[int, ...]) -> Fleet:
        """The fleet with these counts."""
        return fleet_of(self._prepared.loaded.fleet, self._question, servers, self._prepared.rules.seed)

    def look(self, servers: tuple[int, ...]) -> Look:
        """Try these counts. Raises `InputError` if the policy breaks its contract."""
        fleet, prices = self.fleet(servers), self._question.prices
        cost = cost_of(fleet, prices) if prices else None
        seen: list[Figures] = []
        load = None
        for without, left in self._variants(fleet):
            run = replay_on(self._prepared, self._policy, left)
            figures = self._levels.figures(run)
            if not self._levels.kept(figures):
                self._broke = without
                full = full_pools(run, left, self._question.searched, self._prepared.rules.split)
                return Look(servers, fleet.devices, cost, False, figures, without, load, full)
            seen.append(figures)
            load = load if without else load_of(run, left, self._question.searched)
        if self._question.spare is not None and len(seen) == 1:
            return Look(servers, fleet.devices, cost, False, seen[0], f"its only {self._question.spare}", load)
        return Look(servers, fleet.devices, cost, True, self._levels.worst(seen), "", load)

    def _variants(self, fleet: Fleet) -> Iterator[tuple[str, Fleet]]:
        """The fleet, and it without each domain that must be spare, the likeliest to break a level first."""
        if self._question.spare is None:
            yield "", fleet
            return
        variants = {"": fleet, **dict(without_one(fleet, self._question.spare))}
        if self._broke in variants:
            yield self._broke, variants.pop(self._broke)
        yield from variants.items()


def copy_of(prepared: Prepared, question: Question, number: int) -> Prepared:
    """What replication `number` replays: the trace as it is or shaken, and then grown, with the services."""
    copy = replicated(prepared, question.shake, number)
    if question.growth == 1:
        return copy
    rng = Streams(copy.rules.seed).generator("growth")
    records = grown(copy.trace.own.records, question.growth, question.growth_as, rng)
    return copy.of_jobs(records, grown_services(copy.services, question.growth, question.growth_as, records))


def replay_on(prepared: Prepared, policy: str, fleet: Fleet) -> Run:
    """One replay on another fleet. Raises `InputError` if the policy breaks its contract."""
    loaded = LoadedFleet(fleet=fleet, source=prepared.loaded.source, sha256=None)
    run = replay_prepared(replace(prepared, loaded=loaded), policy, fragmentation=False)
    if not run.complete:
        raise InputError(str(run.manifest["message"]))
    return run
