"""What a plan asks, and whether it can be answered."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Final

from sim.experiment.prepare import Prepared
from sim.experiment.shake import Shake
from sim.fleet.model import Fleet
from sim.fleet.problems import did_you_mean
from sim.gates.gate import Gate
from sim.planning.fleets import Quotas, compacted, cost_of, resized, server_count, without_one
from sim.planning.growth import How
from sim.planning.levels import LEFT_OUT, spelled_out
from sim.run import InputError

REPLICATIONS: Final = 11
"""As many seeds as Borg's study."""

MIXES_MAX: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is searched for."""

    policies: tuple[str, ...]
    gates: tuple[Gate, ...]
    """The levels."""
    pool: str | None = None
    """The pool whose number of servers is searched for; None removes random servers of the whole fleet."""
    least: int = 1
    most: int | None = None
    """None is as many as the fleet has."""
    pools: Mapping[str, range] = field(default_factory=dict)
    """Pools that are searched together for the cheapest mix, instead of `pool`, `least` and `most`."""
    replications: int = REPLICATIONS
    shake: Shake | None = None
    spare: str | None = None
    """A level (or `server`): the levels must hold with any one of its domains gone. None is without a spare."""
    growth: Fraction = Fraction(1)
    """How many times the load of the trace."""
    growth_as: How = "jobs"
    quotas: Quotas = "keep"
    warm_up_ms: int = 0
    drain_ms: int = 0
    left_out: float = LEFT_OUT
    """Share of the jobs that may never start; nothing under the rule that refuses what fits nowhere."""
    prices: Mapping[str, float] = field(default_factory=dict)
    """Accelerator -> what one device costs; `*` is any other."""
    budget: float | None = None
    """The most that the whole fleet may cost."""

    @property
    def searched(self) -> tuple[str, ...]:
        """The pools that are searched; none where servers of the whole fleet are."""
        return tuple(self.pools) or ((self.pool,) if self.pool else ())

    @property
    def counts(self) -> range:
        """The counts that are searched, of a question that was checked."""
        assert self.most is not None, "a checked question has a largest count"
        return range(self.least, self.most + 1)


def checked(prepared: Prepared, question: Question) -> Question:
    """The question with everything filled in. Raises `InputError` with all that is wrong with it."""
    problems: list[str] = []
    question = _levels_and_counts(prepared, question, problems)
    problems += _price_problems(prepared.loaded.fleet, question)
    if prepared.rules.fill:
        problems.append("fill: a static fill has no waits; a plan needs a clock")
    if prepared.world.slow:
        problems.append("slow: a plan adds and removes servers, so it cannot say which of them are slow")
    problems += _range_problems(prepared.loaded.fleet, question)
    if not problems:
        problems += _fleet_problems(prepared, question)
    if not problems and question.budget is not None and question.pool is not None:
        question, problem = _within_budget(prepared, question, question.budget)
        problems += problem
    if problems:
        raise InputError("\n".join(problems))
    return question


def fleet_of(fleet: Fleet, question: Question, servers: tuple[int, ...], seed: int) -> Fleet:
    """The fleet with these counts of what is searched. `seed` draws the order in which a compaction removes."""
    if question.pools:
        for pool, count in zip(question.pools, servers, strict=True):
            fleet = resized(fleet, pool, count, quotas=question.quotas)
        return fleet
    (count,) = servers
    if question.pool is None:
        return compacted(fleet, count, seed, quotas=question.quotas)
    return resized(fleet, question.pool, count, quotas=question.quotas)


def _levels_and_counts(prepared: Prepared, question: Question, problems: list[str]) -> Question:
    fleet = prepared.loaded.fleet
    try:
        gates = spelled_out(question.gates, prepared, warm_up_ms=question.warm_up_ms, drain_ms=question.drain_ms)
    except InputError as error:
        problems.append(str(error))
        gates = question.gates
    have = sum(server.pool == question.pool for server in fleet.servers) if question.pool else server_count(fleet)
    most = max(have, question.least) if question.most is None else question.most
    left_out = 0.0 if prepared.rules.impossible == "refuse" else question.left_out
    return replace(question, gates=gates, most=most, left_out=left_out)


def _range_problems(fleet: Fleet, question: Question) -> Iterator[str]:
    for pool in [*question.pools, *([question.pool] if question.pool else [])]:
        if pool not in fleet.pools:
            yield f"pool: there is no pool {pool!r}{did_you_mean(pool, fleet.pools)}"
    for pool, counts in question.pools.items():
        if not counts or counts[0] < 0:
            yield f"pool {pool}: there is no count from {counts.start} to {counts.stop - 1}"
    if not question.pools and not question.counts:
        yield f"from {question.least} to {question.most}: there is no count"
    if (
        question.pool is None
        and not question.pools
        and question.counts[-1:]
        and question.counts[-1] > len(fleet.servers)
    ):
        yield f"most: a compaction starts with {len(fleet.servers)} servers, got {question.most}"
    mixes = math.prod(len(counts) for counts in question.pools.values())
    if mixes > MIXES_MAX:
        yield f"pools: {mixes} mixes; at most {MIXES_MAX}"


def _price_problems(fleet: Fleet, question: Question) -> Iterator[str]:
    known = tuple(fleet.devices_by_accelerator)
    for name, price in question.prices.items():
        if name != "*" and name not in known:
            hint = did_you_mean(name, known) or f"; there are {', '.join(known)}"
            yield f"price: no server has {name!r}{hint}"
        if not (math.isfinite(price) and price >= 0):
            yield f"price: {name}: must be a number from 0 on, got {price:g}"
    if question.prices and "*" not in question.prices:
        missing = [name for name in known if name not in question.prices]
        if missing:
            yield f"price: none for {', '.join(missing)}; '*=0' leaves the others out"
    if not question.prices and question.pools:
        yield "price: the cheapest mix needs prices, such as '*=1' for the fewest devices"
    if question.budget is not None and not (question.prices and (question.pool or question.pools)):
        yield "budget: needs a price and a pool"


def _fleet_problems(prepared: Prepared, question: Question) -> Iterator[str]:
    """What is wrong with the smallest and the largest fleet."""
    counts = list(question.pools.values()) or [question.counts]
    for end in (0, -1):
        servers = tuple(each[end] for each in counts)
        try:
            fleet = fleet_of(prepared.loaded.fleet, question, servers, prepared.rules.seed)
            gone = list(without_one(fleet, question.spare)) if question.spare is not None else [()]
        except ValueError as error:
            yield str(error)
            return
        if end == -1 and not gone:
            yield f"spare: the whole fleet is one {question.spare}: nothing is left without it"


def _within_budget(prepared: Prepared, question: Question, budget: float) -> tuple[Question, list[str]]:
    """The question up to the largest count that the budget pays."""

    def cost(count: int) -> float:
        fleet = fleet_of(prepared.loaded.fleet, question, (count,), prepared.rules.seed)
        return cost_of(fleet, question.prices)

    counts = question.counts
    if cost(counts[0]) > budget:
        return question, [f"budget: {counts[0]} servers cost {cost(counts[0]):g} already, with the other pools"]
    low, high = counts[0], counts[-1]
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if cost(middle) <= budget else (low, middle - 1)
    return replace(question, most=low), []
