"""What the fleet can still do: the largest gang that starts in time, and what one more server of each kind is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from sim.experiment.prepare import Prepared
from sim.planning.fleets import cost_of, resized
from sim.planning.levels import levels_of
from sim.planning.looks import replay_on
from sim.planning.question import Question
from sim.planning.search import Found, smallest
from traces.job import JobRecord

PROBES: Final = 10
"""Times at which a gang is tried, one replay each."""

PROBE: Final = "rehearse-probe"


class Gang(NamedTuple):
    """The largest gang that starts in time."""

    devices: int
    """0 if not even one device does."""
    waits_ms: list[int | None]
    """Of a gang of that size, by time of the probe; None where it does not start in time."""


def largest_gang(
    prepared: Prepared,
    policy: str,
    *,
    within_ms: int,
    priority: int = 0,
    probes: int = PROBES,
    queue: str | None = None,
) -> Gang:
    """The most devices of a gang of which at least 90 % of the probes start within `within_ms`.

    A probe is one more job of a millisecond, submitted at a time of the trace; each is replayed alone, so that probes do
    not stand in each other's way. Under a policy whose head blocks, the probe delays what is behind it, as the real gang would.
    Larger gangs are taken to start no sooner.
    """
    records = prepared.trace.records
    times = np.quantile([job.submit_ms for job in records], (np.arange(probes) + 0.5) / probes, method="nearest")
    name = PROBE
    while any(job.job_id == name for job in records):
        name += "-"
    known: dict[int, list[int | None]] = {}

    def waits(devices: int) -> list[int | None]:
        if devices not in known:
            probe = JobRecord(
                job_id=name, submit_ms=0, run_ms=1, gpu_count=devices, estimate_ms=1, priority=priority, queue=queue
            )
            known[devices] = [
                _wait(prepared, policy, replace(probe, submit_ms=int(at)), within_ms=within_ms) for at in times
            ]
        return known[devices]

    def late(devices: int) -> bool:
        return sum(wait is not None for wait in waits(devices)) * 10 < 9 * probes

    first_late: Found = smallest(1, prepared.loaded.fleet.devices + 1, late, around=0)
    devices = (first_late.count or 1) - 1
    return Gang(devices, waits(devices) if devices else [])


def _wait(prepared: Prepared, policy: str, probe: JobRecord, *, within_ms: int) -> int | None:
    """How long the probe waits; None if it is longer than `within_ms`. What is submitted later cannot matter."""
    if probe.gpu_count > prepared.loaded.fleet.devices:
        return None
    end_ms = probe.submit_ms + within_ms
    records = [*(job for job in prepared.trace.records if job.submit_ms <= end_ms), probe]
    trace = prepared.trace.with_own(records)
    jobs = replay_on(replace(prepared, trace=trace), policy, prepared.loaded.fleet).jobs
    wait = int(jobs.wait_ms[-1])
    return wait if jobs.started[-1] and wait <= within_ms else None


class Worth(NamedTuple):
    """What one more server of a pool changes."""

    pool: str
    accelerator: str
    devices: int
    before: Sequence[float]
    """The figure of each level on the fleet as it is."""
    after: Sequence[float]
    cost: float | None


def worth_of_one_more(prepared: Prepared, policy: str, question: Question) -> list[Worth]:
    """For each pool with devices: the figures of the levels with one more server of it, on the trace as it is."""
    fleet, prices = prepared.loaded.fleet, question.prices
    levels = levels_of(question.gates, prepared, warm_up_ms=question.warm_up_ms, drain_ms=question.drain_ms)
    before = levels.figures(replay_on(prepared, policy, fleet)).values
    found = []
    for pool in fleet.pools:
        servers = [server for server in fleet.servers if server.pool == pool]
        larger = resized(fleet, pool, len(servers) + 1, quotas=question.quotas)
        more = larger.devices - fleet.devices
        if not more:
            continue
        after = levels.figures(replay_on(prepared, policy, larger)).values
        cost = cost_of(larger, prices) - cost_of(fleet, prices) if prices else None
        found.append(Worth(pool, servers[0].accelerator or "", more, before, after, cost))
    return found
