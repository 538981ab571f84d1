"""Whole runs for tests, from records in memory."""

from __future__ import annotations

from collections.abc import Sequence

from builders import job

from sim.fleet.load import load_fleet
from sim.results import Run
from sim.rules import Rules
from sim.run import replay
from sim.world.choice import World
from traces.job import JobRecord
from traces.trace import Rejection, Trace

GOLDEN = [
    job("a", 0, 10_000, 8, user="ann", queue="q1"),
    job("b", 2000, 20_000, 4, user="bob", queue="q2", estimate_ms=30_000),
    job("c", 2000, 4000, 1, user="ann", queue="q1"),
    job("d", 12_000, 5000, 8, queue="q2"),
    job("e", 13_000, 5000, 9),
]
"""Five jobs for one server of eight devices; the last is too large."""


def trace_of(records: Sequence[JobRecord], rejections: Sequence[Rejection] = ()) -> Trace:
    return Trace(
        path="memory",
        format="canonical",
        sha256="0" * 64,
        rows=len(records) + len(rejections),
        records=list(records),
        rejections=list(rejections),
    )


def run_of(
    records: Sequence[JobRecord], cluster: str, policy: str, *, world: World | None = None, **rules: object
) -> Run:
    return replay(trace_of(records), load_fleet(cluster), policy, Rules(**rules), world=world)
