"""The cheapest mix of several pools: how many servers of each, within a budget.

Taken for granted is that more servers of a pool never hurt. Then what the last pool must have falls as the others grow, and the
search walks down that staircase: it tries about two mixes for each combination of the other pools, not every mix.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import product
from math import prod
from typing import Final, NamedTuple

from sim.experiment.prepare import Prepared
from sim.planning.fleets import cost_of
from sim.planning.looks import Look, Looker
from sim.planning.plan import DIED, rank_of
from sim.planning.question import Question, checked, fleet_of
from sim.planning.search import smallest
from sim.run import InputError, Progress
from sim.workers import worker_processes

Counts = tuple[int, ...]

RECORDS_KEPT: Final = 1_000_000
"""Jobs of all copies of the trace that one process keeps."""


class Mix(NamedTuple):
    """Servers of each pool, and what the whole fleet then has and costs."""

    servers: dict[str, int]
    devices: int
    cost: float


class MixAnswer(NamedTuple):
    """What one policy needs."""

    policy: str
    frontier: list[Mix]
    """The mixes that are enough and of which no pool can have one server less, cheapest first."""
    looks: list[tuple[int, Look]]
    """(replication, what came of it) of everything that was tried."""

    @property
    def best(self) -> Mix | None:
        """The cheapest; None if none within the ranges and the budget is enough."""
        return self.frontier[0] if self.frontier else None

    @property
    def dearest_failed(self) -> Look | None:
        """What came of the dearest mix that broke a level, or lacked its spare. None if none did, or none was affordable."""
        failed = [look for _, look in self.looks if not look.enough]
        return max(failed, key=lambda look: (look.cost or 0.0, look.devices), default=None)


def outer_combinations(question: Question) -> int:
    """What `progress` is told of for each policy."""
    ranges = list(question.pools.values())
    return prod(map(len, ranges)) // max(map(len, ranges))


def plan_mix(
    prepared: Prepared, question: Question, *, workers: int = 1, progress: Progress | None = None
) -> list[MixAnswer]:
    """The answers, one for each policy. A mix is enough if it is in at least 90 % of the replications. Raises `InputError`."""
    question = checked(prepared, question)
    fleet = prepared.loaded.fleet

    def cost(counts: Counts) -> float:
        return cost_of(fleet_of(fleet, question, counts, 0), question.prices)

    def affordable(counts: Counts) -> bool:
        return question.budget is None or cost(counts) <= question.budget

    answers = []
    workers = min(workers, question.replications)
    with _replications(prepared, question, workers) as looks_of:
        for place, policy in enumerate(question.policies):
            seen: list[tuple[int, Look]] = []
            told = None if progress is None else _behind(progress, place * outer_combinations(question))
            enough = _enough(question, policy, looks_of, workers, seen)
            found = frontier(list(question.pools.values()), enough, affordable, progress=told)
            mixes = [
                Mix(
                    dict(zip(question.pools, each, strict=True)),
                    fleet_of(fleet, question, each, 0).devices,
                    cost(each),
                )
                for each in found
            ]
            answers.append(MixAnswer(policy, sorted(mixes, key=lambda mix: (mix.cost, mix.devices)), seen))
    return answers


def _behind(progress: Progress, before: int) -> Progress:
    return lambda done: progress(before + done)


def frontier(
    ranges: Sequence[range],
    enough: Callable[[Counts], bool],
    affordable: Callable[[Counts], bool] = lambda _: True,
    *,
    progress: Progress | None = None,
) -> list[Counts]:
    """The mixes in `ranges` that are enough and affordable and have no other such mix below them.

    Exact where a mix with more is never worse, and cheaper is never more: else a mix that is taken to fail may not.
    """
    widest = max(range(len(ranges)), key=lambda place: len(ranges[place]))
    others = [each for place, each in enumerate(ranges) if place != widest]
    inner = ranges[widest]
    at_least: dict[Counts, int] = {}
    found: dict[Counts, int] = {}
    for done, outer in enumerate(product(*(each[::-1] for each in others)), start=1):
        low = max((need for other, need in at_least.items() if _below(outer, other)), default=inner[0])
        need = _least_of_last(range(low, inner[-1] + 1), _with(outer, widest), enough, affordable)
        if need.servers is not None:
            found[outer] = need.servers
        at_least[outer] = max(need.at_least, low)
        if progress is not None:
            progress(done)
    return [
        _with(outer, widest)(need)
        for outer, need in found.items()
        if not any(other != outer and _below(other, outer) and less <= need for other, less in found.items())
    ]


class _Need(NamedTuple):
    """What the last pool must have beside the others."""

    servers: int | None
    """None if no count that is affordable is enough."""
    at_least: int
    """Less than this is not enough."""


def _least_of_last(
    counts: range,
    whole: Callable[[int], Counts],
    enough: Callable[[Counts], bool],
    affordable: Callable[[Counts], bool],
) -> _Need:
    high = _last_affordable(counts, lambda count: affordable(whole(count)))
    if high is None:
        return _Need(None, counts.start)
    found = smallest(counts[0], high, lambda count: enough(whole(count)), around=0, hint=counts[0]).count
    return _Need(found, high + 1 if found is None else found)


def _last_affordable(counts: range, affordable: Callable[[int], bool]) -> int | None:
    if not counts or not affordable(counts[0]):
        return None
    low, high = counts[0], counts[-1]
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if affordable(middle) else (low, middle - 1)
    return low


def _with(outer: Counts, place: int) -> Callable[[int], Counts]:
    return lambda count: (*outer[:place], count, *outer[place:])


def _below(one: Counts, other: Counts) -> bool:
    """Whether no pool has more in `one` than in `other`."""
    return all(a <= b for a, b in zip(one, other, strict=True))


LooksOf = Callable[[str, Sequence[int], Counts], Iterable[Look]]
"""Policy, replications, counts -> what came of each replication."""


def _enough(
    question: Question, policy: str, looks_of: LooksOf, at_once: int, seen: list[tuple[int, Look]]
) -> Callable[[Counts], bool]:
    """Whether a mix is enough in at least 90 % of the replications; no more of them are told of than decide that."""
    needed = rank_of(question.replications)

    def enough(counts: Counts) -> bool:
        tally = [0, 0]
        while tally[True] < needed and tally[False] <= question.replications - needed:
            begun = sum(tally)
            batch = range(begun, min(begun + at_once, question.replications))
            for number, look in zip(batch, looks_of(policy, batch, counts), strict=True):
                if tally[True] < needed and tally[False] <= question.replications - needed:
                    seen.append((number, look))
                    tally[look.enough] += 1
        return tally[True] >= needed

    return enough


@contextmanager
def _replications(prepared: Prepared, question: Question, workers: int) -> Iterator[LooksOf]:
    if workers == 1:
        lookers = _Lookers(prepared, question)
        yield lambda policy, numbers, counts: (lookers.look(policy, number, counts) for number in numbers)
        return
    with worker_processes(workers, _begin, prepared, question) as pool:

        def looks_of(policy: str, numbers: Sequence[int], counts: Counts) -> Iterable[Look]:
            try:
                return list(pool.map(_in_worker, [policy] * len(numbers), numbers, [counts] * len(numbers)))
            except BrokenProcessPool as error:
                raise InputError(DIED) from error

        yield looks_of


class _Lookers:
    """Those that were used last: a copy of the trace is not made again for each mix."""

    def __init__(self, prepared: Prepared, question: Question) -> None:
        self._prepared, self._question = prepared, question
        self._most = max(1, RECORDS_KEPT // len(prepared.trace.records))
        self._kept: dict[tuple[str, int], Looker] = {}

    def look(self, policy: str, number: int, counts: Counts) -> Look:
        """What came of trying the counts."""
        looker = self._kept.pop((policy, number), None) or Looker(self._prepared, self._question, policy, number)
        self._kept[policy, number] = looker
        while len(self._kept) > self._most:
            del self._kept[next(iter(self._kept))]
        return looker.look(counts)


_shared: list[_Lookers] = []
"""What a worker process looks with; filled once when it begins."""


def _begin(prepared: Prepared, question: Question) -> None:
    _shared[:] = [_Lookers(prepared, question)]


def _in_worker(policy: str, number: int, counts: Counts) -> Look:
    return _shared[0].look(policy, number, counts)
