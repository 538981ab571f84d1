"""The smallest fleet that keeps the service levels, for each policy, and how sure that is.

Each replication (the trace as it is, then shaken copies of it, and for a compaction another order of removal) is searched alone;
the answer is the 90th percentile of their answers, as in Borg's cell compaction (Verma et al., EuroSys 2015), with the smallest
and the largest beside it. The replications are the same for every policy, so "B needs N fewer" is a paired difference.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from fractions import Fraction
from multiprocessing import get_context
from typing import Any, Final, NamedTuple

import numpy as np

from sim.experiment.plan import replicated
from sim.experiment.prepare import Prepared
from sim.experiment.shake import Shake
from sim.fleet.load import LoadedFleet
from sim.fleet.model import Fleet
from sim.gates.gate import Gate
from sim.planning.fleets import compacted, devices_of, resized, without_one
from sim.planning.levels import LEFT_OUT, Levels
from sim.planning.search import Found, smallest
from sim.results import Run
from sim.run import InputError, replay
from traces.transform import scale_load

REPLICATIONS: Final = 11
"""As many seeds as Borg's study."""

QUANTILE: Final = 0.9
"""Of the replications' answers: what an administrator can be reasonably sure of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is searched for."""

    policies: tuple[str, ...]
    gates: tuple[Gate, ...]
    pool: str | None = None
    """The pool whose number of servers is searched for; None removes random servers of the whole fleet."""
    least: int = 1
    most: int
    replications: int = REPLICATIONS
    shake: Shake | None = None
    spare: str | None = None
    """A level (or `server`): the levels must hold with any one of its domains gone. None is without a spare."""
    growth: Fraction = Fraction(1)
    """How many times as dense the submissions are."""
    warm_up_ms: int = 0
    drain_ms: int = 0
    left_out: float = LEFT_OUT
    prices: Mapping[str, float] = field(default_factory=dict)


class Answer(NamedTuple):
    """What one policy needs."""

    policy: str
    searches: list[Found]
    """One for each replication."""
    servers: int | None
    """Of the pool, or of the whole fleet: the 90th percentile over the replications. None where one of them finds no count."""
    devices: int | None
    """Of the whole fleet with that many servers."""
    cost: float | None
    failing: list[str]
    """Which levels fail one server below the answer, or on the largest fleet where there is no answer."""

    @property
    def range(self) -> tuple[int, int] | None:
        """The smallest and the largest answer of the replications."""
        counts = [found.count for found in self.searches if found.count is not None]
        return (min(counts), max(counts)) if counts else None

    @property
    def monotone(self) -> bool:
        """Whether every search saw a monotone answer."""
        return all(found.monotone for found in self.searches)


def plan(
    prepared: Prepared, question: Question, *, workers: int = 1, said: Callable[[str], None] = lambda _: None
) -> list[Answer]:
    """The answers, one for each policy. `said` is told of each search that is done. Raises `InputError`."""
    _check(prepared, question)
    tasks = [(policy, number) for policy in question.policies for number in range(question.replications)]
    if workers == 1 or len(tasks) == 1:
        searches = []
        for policy, number in tasks:
            searches.append(_search(prepared, question, policy, number))
            said(f"{policy}, replication {number + 1}: {searches[-1].count}")
    else:
        # because: a spawned process is the same on every system, and a fork of a process with threads may hang
        with ProcessPoolExecutor(
            min(workers, len(tasks)), get_context("spawn"), _begin, (prepared, question)
        ) as pool:
            searches = list(pool.map(_in_worker, tasks))
    per = question.replications
    return [
        _answer(prepared, question, policy, searches[place * per : (place + 1) * per])
        for place, policy in enumerate(question.policies)
    ]


def fleet_of(fleet: Fleet, question: Question, count: int, number: int) -> Fleet:
    """The fleet with `count` servers, in replication `number`."""
    if question.pool is None:
        return compacted(fleet, count, seed=number)
    return resized(fleet, question.pool, count)


def _check(prepared: Prepared, question: Question) -> None:
    problems = []
    fleet = prepared.loaded.fleet
    if question.pool is None and question.most > len(fleet.servers):
        problems.append(f"most: a compaction starts with {len(fleet.servers)} servers, got {question.most}")
    if question.least > question.most:
        problems.append(f"from {question.least} to {question.most}: there is no count")
    if prepared.rules.fill:
        problems.append("fill: a static fill has no waits; a plan needs a clock")
    try:
        fleet_of(fleet, question, question.most, 0)
        if question.spare is not None:
            list(without_one(fleet, question.spare))
    except ValueError as error:
        problems.append(str(error))
    counted = _levels(prepared, question)
    if not counted.counted.any():
        problems.append("warm-up and drain leave no job")
    if problems:
        raise InputError("\n".join(problems))


def _levels(prepared: Prepared, question: Question) -> Levels:
    submits = np.array([job.submit_ms for job in prepared.trace.records], dtype=np.int64)
    if not len(submits):
        raise InputError(f"{prepared.trace.path}: has no jobs")
    counted = (submits >= submits.min() + question.warm_up_ms) & (submits <= submits.max() - question.drain_ms)
    return Levels(gates=question.gates, counted=counted, left_out=question.left_out)


def _grown(prepared: Prepared, question: Question, number: int) -> Prepared:
    """What replication `number` replays. Without shaking and without random parts every replication would be the same."""
    copy = replicated(prepared, question.shake, number)
    if question.growth != 1:
        copy = replace(copy, trace=replace(copy.trace, records=scale_load(copy.trace.records, question.growth)))
    return copy


def _search(prepared: Prepared, question: Question, policy: str, number: int) -> Found:
    copy = _grown(prepared, question, number)
    levels = _levels(copy, question)

    def enough(count: int) -> bool:
        return not failing(copy, question, policy, levels, fleet_of(copy.loaded.fleet, question, count, number))

    return smallest(question.least, question.most, enough)


def failing(prepared: Prepared, question: Question, policy: str, levels: Levels, fleet: Fleet) -> list[str]:
    """The levels that fail on a fleet, or on it without any one domain of the spare level."""
    records = prepared.trace.records
    fleets = [("", fleet)]
    if question.spare is not None:
        fleets += [(f" without {name}", left) for name, left in without_one(fleet, question.spare)]
        if len(fleets) == 1:
            return [f"nothing is left without a {question.spare}"]
    for without, left in fleets:
        found = levels.failing(replay_on(prepared, policy, left), records)
        if found:
            return [f"{each}{without}" for each in found]
    return []


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
    return run


def _answer(prepared: Prepared, question: Question, policy: str, searches: list[Found]) -> Answer:
    counts = [found.count for found in searches]
    known = sorted(count for count in counts if count is not None)
    fleet = prepared.loaded.fleet
    copy, levels = _grown(prepared, question, 0), _levels(prepared, question)
    if len(known) < len(counts):
        largest = fleet_of(fleet, question, question.most, 0)
        return Answer(policy, searches, None, None, None, failing(copy, question, policy, levels, largest))
    count = known[max(math.ceil(QUANTILE * len(known)) - 1, 0)]
    chosen = fleet_of(fleet, question, count, 0)
    below = None if count <= question.least else fleet_of(fleet, question, count - 1, 0)
    why = [] if below is None else failing(copy, question, policy, levels, below)
    cost = devices_of(chosen, dict(question.prices)) if question.prices else None
    return Answer(policy, searches, count, chosen.devices, cost, why)


def differences(one: Answer, other: Answer) -> list[int] | None:
    """Servers that `other` needs less than `one`, replication by replication; None where one has no answer."""
    pairs = [(a.count, b.count) for a, b in zip(one.searches, other.searches, strict=True)]
    if any(a is None or b is None for a, b in pairs):
        return None
    return [a - b for a, b in pairs if a is not None and b is not None]


_shared: list[tuple[Prepared, Question]] = []


def _begin(prepared: Prepared, question: Question) -> None:
    _shared[:] = [(prepared, question)]


def _in_worker(task: tuple[str, int]) -> Found:
    prepared, question = _shared[0]
    return _search(prepared, question, *task)


def as_data(answers: Sequence[Answer], question: Question) -> dict[str, Any]:
    """Plain data for JSON."""
    return {
        "pool": question.pool,
        "levels": [gate.text for gate in question.gates],
        "replications": question.replications,
        "quantile": QUANTILE,
        "spare": question.spare,
        "growth": str(question.growth),
        "answers": [
            {
                "policy": answer.policy,
                "servers": answer.servers,
                "devices": answer.devices,
                "cost": answer.cost,
                "range": answer.range,
                "by_replication": [found.count for found in answer.searches],
                "monotone": answer.monotone,
                "enough_by_luck": [found.exceptions for found in answer.searches],
                "tried": [{str(count): met for count, met in found.tried.items()} for found in answer.searches],
                "failing_below": answer.failing,
            }
            for answer in answers
        ],
    }
