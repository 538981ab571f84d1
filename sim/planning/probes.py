"""What the fleet can still do: the largest gang that starts in time, and what one more server of each kind is worth."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from sim.experiment.prepare import Prepared
from sim.gates.gate import Gate
from sim.planning.fleets import devices_of, resized
from sim.planning.levels import Levels
from sim.planning.plan import Question, replay_on
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
    """Of a gang of that size, by time of the probe; None where it never starts."""


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
    """
    records = prepared.trace.records
    times = np.quantile([job.submit_ms for job in records], (np.arange(probes) + 0.5) / probes, method="nearest")
    fleet = prepared.loaded.fleet
    known: dict[int, list[int | None]] = {}

    def waits(devices: int) -> list[int | None]:
        if devices not in known:
            known[devices] = [
                _probe(prepared, policy, devices, int(at), priority=priority, queue=queue) for at in times
            ]
        return known[devices]

    def late(devices: int) -> bool:
        in_time = sum(wait is not None and wait <= within_ms for wait in waits(devices))
        return in_time < 0.9 * probes

    first_late: Found = smallest(1, fleet.devices + 1, late, around=0)
    devices = (first_late.count or 1) - 1
    return Gang(devices, waits(devices) if devices else [])


def _probe(
    prepared: Prepared, policy: str, devices: int, at_ms: int, *, priority: int, queue: str | None
) -> int | None:
    if devices > prepared.loaded.fleet.devices:
        return None
    probe = JobRecord(
        job_id=PROBE, submit_ms=at_ms, run_ms=1, gpu_count=devices, estimate_ms=1, priority=priority, queue=queue
    )
    records = [*prepared.trace.records, probe]
    trace = replace(prepared.trace, records=records, rows=prepared.trace.rows + 1)
    jobs = replay_on(replace(prepared, trace=trace), policy, prepared.loaded.fleet).jobs
    return int(jobs.wait_ms[-1]) if jobs.started[-1] else None


class Worth(NamedTuple):
    """What one more server of a pool changes."""

    pool: str
    accelerator: str
    devices: int
    before: list[float]
    """The figure of each level on the fleet as it is."""
    after: list[float]
    cost: float | None


def worth_of_one_more(prepared: Prepared, policy: str, gates: tuple[Gate, ...], question: Question) -> list[Worth]:
    """For each pool with devices: the figures of the levels with one more server of it."""
    fleet = prepared.loaded.fleet
    levels = Levels(gates=gates, counted=np.ones(len(prepared.trace.records), dtype=np.bool_))
    before = levels.values(replay_on(prepared, policy, fleet), prepared.trace.records)
    found = []
    for pool in fleet.pools:
        servers = [server for server in fleet.servers if server.pool == pool]
        if not servers[0].devices:
            continue
        larger = resized(fleet, pool, len(servers) + 1)
        after = levels.values(replay_on(prepared, policy, larger), prepared.trace.records)
        prices = dict(question.prices)
        cost = devices_of(larger, prices) - devices_of(fleet, prices) if prices else None
        found.append(Worth(pool, servers[0].accelerator or "", servers[0].devices, before, after, cost))
    return found
