"""The jobs that are interchangeable while they wait: same request, and same queue where entitlements are kept."""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from policies.api import JobView, QueueView, Request
from policies.topology import Topology
from policies.values import NodeSet
from sim.causes.cause import CAUSES, Cause
from sim.causes.counting import amounts_of
from sim.requests import RequestMaker
from sim.rules import Split
from sim.views import job_view
from traces.job import JobRecord

Integers = NDArray[np.int64]


class Kind:
    """What the jobs of one kind wait for, over the whole run: a step function of time."""

    __slots__ = ("allowed", "amounts", "at_ms", "cause", "causes", "example", "quota_as_of", "request", "waiting")

    def __init__(self, request: Request, example: JobView) -> None:
        self.request = request
        self.amounts = amounts_of(request)
        self.example = example
        """One of the jobs, to ask the quota about."""
        self.waiting = 0
        self.allowed: NodeSet = request.eligible
        """The servers for which the queue has entitlement left, as of `quota_as_of`."""
        self.quota_as_of = -1
        self.cause = -1
        """The cause now; -1 while nobody waits, or nobody has looked."""
        self.at_ms = array("q")
        self.causes = array("b")

    def set(self, at_ms: int, cause: int) -> None:
        """From `at_ms` on this is the cause. A later call for the same time replaces it."""
        self.cause = cause
        if self.at_ms and self.at_ms[-1] == at_ms:
            self.causes[-1] = cause
        elif not self.causes or self.causes[-1] != cause:
            self.at_ms.append(at_ms)
            self.causes.append(cause)

    def history(self) -> History:
        """The steps as columns."""
        return History(np.array(self.at_ms, dtype=np.int64), np.array(self.causes, dtype=np.int8))


class History:
    """From `at_ms[i]` to the next, `causes[i]` holds. True wherever a job of the kind waits, meaningless elsewhere."""

    __slots__ = ("_sums", "at_ms", "causes")

    def __init__(self, at_ms: Integers, causes: NDArray[np.int8]) -> None:
        self.at_ms = at_ms
        self.causes = causes
        lengths = np.diff(at_ms)
        self._sums = np.zeros((len(CAUSES), len(at_ms)), dtype=np.int64)
        """Time under each cause from the first step to each step."""
        for cause in Cause:
            np.cumsum(np.where(causes[:-1] == cause, lengths, 0), out=self._sums[cause, 1:])

    def until(self, at_ms: Integers) -> Integers:
        """Time under each cause from the first step to each time given, which is not before it; shape (causes, n)."""
        step = np.searchsorted(self.at_ms, at_ms, side="right") - 1
        sums: Integers = self._sums[:, step]
        sums[self.causes[step], np.arange(len(step))] += at_ms - self.at_ms[step]
        return sums


def kinds_of(
    records: Sequence[JobRecord],
    topology: Topology,
    split: Split,
    queues: Mapping[str, QueueView],
    *,
    by_queue: bool,
) -> tuple[list[Kind], list[int], set[Request]]:
    """All kinds, the kind of each record, and the requests that do not fit the empty fleet."""
    maker = RequestMaker(topology, split, {name: queue.pools for name, queue in queues.items()})
    numbers: dict[tuple[Request, str], int] = {}
    kinds: list[Kind] = []
    of_record: list[int] = []
    for record in records:
        request = maker.request(record)
        key = (request, (record.queue or "") if by_queue else "")
        number = numbers.get(key)
        if number is None:
            number = numbers[key] = len(kinds)
            kinds.append(Kind(request, job_view(record, 0, request, oracle=False)))
        of_record.append(number)
    return kinds, of_record, maker.impossible
