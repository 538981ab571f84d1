"""Queues whose every start is known from a recursion of a few lines: equal to the millisecond, no tolerance."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from audited import audited
from builders import job, servers, starts

from policies.api import Action, ClusterView, JobView, Policy, Preempt, Semantics, Share, Start
from sim.engine import Outcome
from sim.timeline import Happened

JOBS = 1500


def ends(outcome: Outcome) -> dict[str, int]:
    line = outcome.timeline
    done = line.happened == Happened.FINISH
    return {
        outcome.records[row].job_id: at
        for row, at in zip(line.job[done].tolist(), line.at_ms[done].tolist(), strict=True)
    }


def poisson(rng: np.random.Generator, mean_ms: float, count: int) -> list[int]:
    """Arrivals of a Poisson process, each rounded to the millisecond."""
    return np.rint(np.cumsum(rng.exponential(mean_ms, count))).astype(int).tolist()


def kiefer_wolfowitz(arrivals: list[int], works: list[int], servers: int) -> list[int]:
    """Start times of G/G/c in order of arrival: each job takes the server that is free first."""
    free_at = [0] * servers
    begun = []
    for arrival, work in zip(arrivals, works, strict=True):
        start = max(arrival, heapq.heappop(free_at))
        heapq.heappush(free_at, start + work)
        begun.append(start)
    return begun


@pytest.mark.parametrize("load", [0.5, 0.95])
@pytest.mark.parametrize("count", [1, 3, 20])
def test_mmc_equals_kiefer_wolfowitz(count, load):
    rng = np.random.default_rng(count)
    works = np.rint(rng.exponential(1000, JOBS)).astype(int).tolist()
    arrivals = poisson(rng, 1000 / (count * load), JOBS)
    records = [job(f"j{i}", at, work) for i, (at, work) in enumerate(zip(arrivals, works, strict=True))]
    expected = {f"j{i}": start for i, start in enumerate(kiefer_wolfowitz(arrivals, works, count))}
    # because: devices of one server and servers of one device are the same queue, by different paths
    for topology in (servers(count, 1), servers(1, count)):
        for what in ("fifo", "best-effort-fifo", "fifo:place=random", "fifo:place=spread", "fifo:place=consolidate"):
            outcome = audited(records, topology, what, validate=False)
            assert starts(outcome) == expected, what


def lindley(arrivals: list[int], work: int) -> list[int]:
    """Waits of G/D/1: W' = max(0, W + work - gap)."""
    waits = [0]
    for before, arrival in itertools.pairwise(arrivals):
        waits.append(max(0, waits[-1] + work - (arrival - before)))
    return waits


@pytest.mark.parametrize("load", [0.3, 0.9, 1.1])
def test_md1_equals_lindley(load):
    arrivals = poisson(np.random.default_rng(7), 100 / load, JOBS)
    outcome = audited([job(f"j{i}", at, 100) for i, at in enumerate(arrivals)], servers(1, 1), "fifo", validate=False)
    waits = [start - arrivals[int(job_id[1:])] for job_id, start in starts(outcome).items()]
    assert waits == lindley(arrivals, 100)


# -- one server with preemption ------------------------------------------------------------------------------------


class OneServer(Policy):
    """The best job runs; a running job that is no longer the best is preempted."""

    name = "one-server"

    def __init__(self, by: str) -> None:
        self.by = by

    def rank(self, waiting: JobView, done_ms: int) -> tuple[int, int]:
        remaining = (waiting.oracle_run_ms or 0) - done_ms
        return (remaining if self.by == "remaining" else -waiting.priority, waiting.arrival)

    def decide(self, view: ClusterView) -> Iterator[Action]:
        best = min(view.pending, key=lambda each: self.rank(each, each.attained_ms))
        for running in list(view.running):
            now = self.rank(running.job, view.running.attained_ms(running.job.job_id))
            if now < self.rank(best, best.attained_ms):
                return
            yield Preempt(running.job.job_id)
        yield Start(best.job_id, (Share(0, 1),))

    def semantics(self) -> Semantics:
        return Semantics(order=self.by, blocking="none", placement="the one device", preemption="resume", peeks=True)


def millisecond_by_millisecond(
    arrivals: list[int], works: list[int], ranks: list[int] | None, restart_ms: int, keep: bool
) -> dict[str, int]:
    """The end of each job on one server. `ranks` None is by the least that remains."""
    left, owed, stopped = works.copy(), [0] * len(works), [False] * len(works)
    current, now, done = None, 0, {}
    while len(done) < len(works):
        here = [i for i, at in enumerate(arrivals) if at <= now and f"j{i}" not in done]
        best = min(here, key=lambda i: (left[i] if ranks is None else ranks[i], i), default=None)
        if best != current and current is not None and f"j{current}" not in done:
            stopped[current] = True
            left[current] = left[current] if keep else works[current]
            best = min(here, key=lambda i: (left[i] if ranks is None else ranks[i], i))
        if best != current and best is not None and stopped[best]:
            owed[best] = restart_ms
        current, now = best, now + 1
        if current is not None and owed[current]:
            owed[current] -= 1
        elif current is not None:
            left[current] -= 1
            if not left[current]:
                done[f"j{current}"] = now
    return done


@pytest.mark.parametrize("restart_ms", [0, 1, 13])
@pytest.mark.parametrize(("by", "keep"), [("remaining", True), ("priority", True), ("priority", False)])
@pytest.mark.parametrize("own", [True, False], ids=["a policy of ten lines", "the catalogue's"])
def test_preemption_equals_a_simulation_millisecond_by_millisecond(by, keep, restart_ms, own):
    what = OneServer(by) if own else {"remaining": "srtf-oracle", "priority": "preempt-priority"}[by]
    seed = restart_ms + keep
    rng = np.random.default_rng(seed)
    works = (1 + np.rint(rng.exponential(30, 150))).astype(int).tolist()
    arrivals = poisson(rng, 45, 150)
    priorities = rng.integers(0, 4, 150).tolist()
    records = [job(f"j{i}", arrivals[i], works[i], priority=priorities[i]) for i in range(150)]
    rules = {"oracle": True, "restart_ms": restart_ms, "progress": "keep" if keep else "lose"}
    outcome = audited(records, servers(1, 1), what, **rules)
    ranks = None if by == "remaining" else [-priority for priority in priorities]
    assert ends(outcome) == millisecond_by_millisecond(arrivals, works, ranks, restart_ms, keep)
    assert (outcome.timeline.happened == Happened.PREEMPT).sum() > 10, "the case must preempt to show anything"
