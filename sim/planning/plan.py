"""The smallest fleet that keeps the service levels, for each policy, and how sure that is.

Each replication (the trace as it is, then shaken copies of it, and for a compaction another order of removal) is searched alone;
the answer is the 90th percentile of their answers, as in Borg's cell compaction (Verma et al., EuroSys 2015), with the smallest
and the largest beside it. The replications are the same for every policy, so "B needs N fewer" is a paired difference.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeVar

from sim.experiment.prepare import Prepared
from sim.planning.looks import Look, Looker, copy_of, replay_on
from sim.planning.question import Question, checked
from sim.planning.search import Found, smallest
from sim.run import InputError, Progress
from sim.workers import worker_processes

__all__ = [
    "DIED",
    "QUANTILE",
    "STEPS",
    "Answer",
    "Question",
    "Search",
    "copy_of",
    "differences",
    "plan",
    "rank_of",
    "replay_on",
]

QUANTILE: Final = 0.9
"""Of the replications' answers: what an administrator can be reasonably sure of."""

STEPS: Final = 24
"""What a search counts for in a progress bar: about as many fleets as one tries."""

DIED: Final = "a worker process died, perhaps for want of memory: try fewer --workers"

_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True, slots=True)
class Search:
    """What one replication found."""

    found: Found
    looks: tuple[Look, ...]
    """In the order in which they were tried."""

    @property
    def count(self) -> int | None:
        """The smallest count that is enough; None if not even the largest is."""
        return self.found.count

    def look_at(self, count: int) -> Look | None:
        """What came of this count, if it was tried."""
        return next((look for look in self.looks if look.servers == (count,)), None)

    @property
    def best(self) -> Look | None:
        """What came of the answer."""
        return None if self.count is None else self.look_at(self.count)


class Answer(NamedTuple):
    """What one policy needs."""

    policy: str
    searches: list[Search]
    """One for each replication."""
    servers: int | None
    """Of the pool, or of the whole fleet: the 90th percentile over the replications. None if it is beyond the largest count."""
    devices: int | None
    """Of the whole fleet: the 90th percentile, as for servers."""
    cost: float | None
    """Of the whole fleet, likewise; None without prices."""

    @property
    def counts(self) -> list[int | None]:
        """What each replication needs."""
        return [search.count for search in self.searches]

    @property
    def range(self) -> tuple[int | None, int | None]:
        """The smallest and the largest answer of the replications; None is beyond the largest count."""
        known = sorted(count for count in self.counts if count is not None)
        return (known[0] if known else None, known[-1] if len(known) == len(self.counts) else None)

    @property
    def decided_by(self) -> int:
        """The replication whose answer is the policy's, or the first that has none where the policy has none."""
        return self.counts.index(self.servers)

    @property
    def at_answer(self) -> Look | None:
        """What that replication saw on its answer."""
        return self.searches[self.decided_by].best

    @property
    def below(self) -> Look | None:
        """What it saw with one server less, or on the largest fleet where there is no answer. None at the smallest count."""
        search = self.searches[self.decided_by]
        if self.servers is not None:
            return search.look_at(self.servers - 1)
        return max(search.looks, key=lambda look: look.servers)

    @property
    def monotone(self) -> bool:
        """Whether every search saw a monotone answer."""
        return all(search.found.monotone for search in self.searches)


def plan(
    prepared: Prepared, question: Question, *, workers: int = 1, progress: Progress | None = None
) -> list[Answer]:
    """The answers, one for each policy. `progress` is told of `STEPS` for each search. Raises `InputError`."""
    question = checked(prepared, question)
    found: dict[tuple[str, int], Search] = {}
    searches = _searches_here if workers == 1 else _searches_elsewhere
    for policy, number, search in searches(prepared, question, workers, progress):
        found[policy, number] = search
    return [
        _answer(policy, [found[policy, number] for number in range(question.replications)])
        for policy in question.policies
    ]


def rank_of(replications: int) -> int:
    """Which of the sorted answers, from 1, is the 90th percentile: the smallest that at least 90 % do not exceed."""
    return -(-9 * replications // 10)


def differences(one: Answer, other: Answer) -> list[int] | None:
    """Devices that `other` needs less than `one`, replication by replication; None where one of them has no answer."""
    pairs = [(a.best, b.best) for a, b in zip(one.searches, other.searches, strict=True)]
    gains = [a.devices - b.devices for a, b in pairs if a is not None and b is not None]
    return gains if len(gains) == len(pairs) else None


def _answer(policy: str, searches: list[Search]) -> Answer:
    looks = [search.best for search in searches]
    costs = [None if look is None else look.cost for look in looks]
    return Answer(
        policy,
        searches,
        _percentile([search.count for search in searches]),
        _percentile([None if look is None else look.devices for look in looks]),
        _percentile(costs),
    )


def _percentile(values: Sequence[_Number | None]) -> _Number | None:
    """The 90th, where None is more than any number."""
    known = sorted(value for value in values if value is not None)
    rank = rank_of(len(values))
    return known[rank - 1] if rank <= len(known) else None


def _search(looker: Looker, counts: range, hint: int | None, looked: Callable[[], None] = lambda: None) -> Search:
    looks: list[Look] = []

    def enough(count: int) -> bool:
        looks.append(looker.look((count,)))
        looked()
        return looks[-1].enough

    return Search(smallest(counts[0], counts[-1], enough, hint=hint), tuple(looks))


def _hint(question: Question, search: Search) -> int:
    """Where the other replications begin: they find about the same."""
    return question.counts[-1] if search.count is None else search.count


Searches = Iterator[tuple[str, int, Search]]


def _searches_here(prepared: Prepared, question: Question, workers: int, progress: Progress | None) -> Searches:
    assert workers == 1, "in this process"
    done = 0
    for policy in question.policies:
        hint = None
        for number in range(question.replications):
            looks = iter(range(done * STEPS + 1, (done + 1) * STEPS))

            def looked(looks: Iterator[int] = looks) -> None:
                step = next(looks, None)
                if progress is not None and step is not None:
                    progress(step)

            looker = Looker(prepared, question, policy, number)
            search = _search(looker, question.counts, hint, looked)
            hint = _hint(question, search) if number == 0 else hint
            done += 1
            if progress is not None:
                progress(done * STEPS)
            yield policy, number, search


def _searches_elsewhere(prepared: Prepared, question: Question, workers: int, progress: Progress | None) -> Searches:
    flying: dict[Future[Search], tuple[str, int]] = {}
    done = 0
    tasks = len(question.policies) * question.replications
    try:
        with worker_processes(min(workers, tasks), _begin, prepared, question) as pool:
            flying = {pool.submit(_in_worker, policy, 0, None): (policy, 0) for policy in question.policies}
            while flying:
                ready, _ = wait(flying, return_when=FIRST_COMPLETED)
                for future in ready:
                    policy, number = flying.pop(future)
                    search = future.result()
                    if number == 0:
                        hint = _hint(question, search)
                        for other in range(1, question.replications):
                            flying[pool.submit(_in_worker, policy, other, hint)] = (policy, other)
                    done += 1
                    if progress is not None:
                        progress(done * STEPS)
                    yield policy, number, search
    except BrokenProcessPool as error:
        raise InputError(DIED) from error


_shared: list[tuple[Prepared, Question]] = []
"""What a worker process looks into; filled once when it begins."""


def _begin(prepared: Prepared, question: Question) -> None:
    _shared[:] = [(prepared, question)]


def _in_worker(policy: str, number: int, hint: int | None) -> Search:
    prepared, question = _shared[0]
    return _search(Looker(prepared, question, policy, number), question.counts, hint)
