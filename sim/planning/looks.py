"""One fleet, tried: a replay of it, and of it without each domain that must be spare."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

import numpy as np

from sim.experiment.plan import replicated
from sim.experiment.prepare import Prepared, with_services
from sim.fleet.load import LoadedFleet
from sim.fleet.model import Fleet
from sim.planning.fleets import cost_of, without_one
from sim.planning.growth import grown, grown_services
from sim.planning.levels import Figures, levels_of
from sim.planning.question import Question, fleet_of
from sim.results import Run
from sim.run import InputError, replay
from sim.streams import Streams
from sim.stretches import stretches
from traces.job import DEVICE_MILLI


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
        self._pools = tuple(question.pools) or ((question.pool,) if question.pool else ())
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
                return Look(servers, fleet.devices, cost, False, figures, without, load)
            seen.append(figures)
            load = load if without else load_of(run, left, self._pools)
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
    run = replay(
        prepared.trace,
        loaded,
        policy,
        prepared.rules,
        world=prepared.world,
        typical_pods=prepared.typical_pods,
        scheduler_config=prepared.scheduler_config,
        fragmentation=False,
    )
    if not run.complete:
        raise InputError(str(run.manifest["message"]))
    return with_services(run, prepared)


def load_of(run: Run, fleet: Fleet, pools: Collection[str]) -> float | None:
    """Device time that jobs held on the servers of these pools (of none: on all), over what those could give while jobs came.

    Above 1 a backlog grows as long as jobs come. None where all came at once, and without devices.
    """
    inside = np.array([not pools or server.pool in pools for server in fleet.servers], dtype=np.bool_)
    devices = sum(server.devices for server, counts in zip(fleet.servers, inside.tolist(), strict=True) if counts)
    could = devices * DEVICE_MILLI * int(run.jobs.submit_ms.max() - run.jobs.submit_ms.min())
    if not could:
        return None
    line = run.timeline
    found = stretches(line, int(run.manifest["end_ms"]))
    owner = np.repeat(np.arange(len(line.at_ms)), np.diff(line.share_start))
    taken = np.bitwise_count(line.share_devices).astype(np.float64) * inside[line.share_node]
    by_entry = np.bincount(owner, taken, minlength=len(line.at_ms))[found.entry]
    milli = np.array([record.gpu_milli for record in run.records], dtype=np.float64)[found.job]
    return float((by_entry * milli * (found.end_ms - found.start_ms)).sum() / could)
