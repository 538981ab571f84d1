"""The jobs of a trace as the bounds see them: the least that each can run, and the parts of the fleet that share no job."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from policies import bitset
from policies.api import QueueView, Request
from policies.topology import Topology
from policies.values import NodeSet
from sim.bounds.weights import Weights, servers_of, weights_of
from sim.requests import RequestMaker
from sim.rules import Rules
from sim.world.speed import PPM, SpeedModel
from traces.job import JobRecord

Integers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Part:
    """Servers, and all jobs that can run on any of them: these can run nowhere else."""

    rows: Integers
    request: Integers
    """Of each of these jobs, the number of its request."""
    weights: list[Weights]
    """Devices first, where any of the jobs wants one."""


@dataclass(frozen=True, slots=True)
class Counted:
    """The jobs that any schedule can end."""

    submit_ms: Integers
    """Of every record."""
    run_ms: Integers
    """The least time on devices, of every record; see `least_run_ms`."""
    rows: NDArray[np.bool_]
    """Those that fit the empty fleet and end with their work."""
    taken: NDArray[np.bool_]
    """Those with a lifetime: they are taken away, whatever a schedule does, and may never run."""
    parts: list[Part]
    fastest_ppm: int
    """The highest speed that any job may have."""


def counted_jobs(
    records: Sequence[JobRecord],
    topology: Topology,
    rules: Rules,
    queues: Mapping[str, QueueView],
    speed: SpeedModel | None,
) -> Counted:
    """What the bounds are made from."""
    maker = RequestMaker(topology, rules.split, {name: queue.pools for name, queue in queues.items()})
    numbers: dict[Request, int] = {}
    speeds: dict[tuple[str | None, int], int] = {}
    of_record = np.empty(len(records), dtype=np.int64)
    run_ms = np.empty(len(records), dtype=np.int64)
    for row, record in enumerate(records):
        request = maker.request(record)
        number = of_record[row] = numbers.setdefault(request, len(numbers))
        key = (record.family, int(number))
        ppm = speeds.get(key)
        if ppm is None:
            ppm = speeds[key] = PPM if speed is None else fastest_ppm(record.family, request, topology, speed)
        run_ms[row] = least_run_ms(record, rules, ppm)
    possible = np.array([request not in maker.impossible for request in numbers], dtype=bool)
    taken = np.fromiter((record.lifetime_ms is not None for record in records), dtype=np.bool_, count=len(records))
    rows = possible[of_record] & ~taken if len(records) else np.zeros(0, dtype=bool)
    requests = list(numbers)
    return Counted(
        submit_ms=np.fromiter((record.submit_ms for record in records), dtype=np.int64, count=len(records)),
        run_ms=run_ms,
        rows=rows,
        taken=taken,
        parts=_parts(requests, of_record, rows, topology),
        fastest_ppm=max(speeds.values(), default=PPM),
    )


def least_run_ms(record: JobRecord, rules: Rules, ppm: int) -> int:
    """The least time on devices after which a job can end, at speeds of at most `ppm` millionths."""
    if record.lifetime_ms is not None:
        return 0  # because: it may start a moment before it is taken away
    least = -(-record.run_ms * PPM // ppm)
    estimate_ms = record.estimate_ms
    if rules.overrun == "kill" and estimate_ms is not None:
        # because: it is killed when its time, not its work, reaches the limit, and keeps what it did before a preemption
        least = min(least, -(-estimate_ms * PPM // max(ppm, PPM)))
    return least


def fastest_ppm(family: str | None, request: Request, topology: Topology, speed: SpeedModel) -> int:
    """The highest speed that a job may have anywhere it may run."""
    cards = {topology.accelerator_of[node] for node in bitset.bits(request.eligible)} if request.devices else set()
    return speed.fastest_ppm(family, {card for card in cards if card is not None}, request.accelerators)


def _parts(
    requests: Sequence[Request], of_record: Integers, rows: NDArray[np.bool_], topology: Topology
) -> list[Part]:
    """The servers divided so that each request finds all of its servers in one part."""
    used = sorted(set(of_record[rows].tolist()))
    parts: list[NodeSet] = []
    for number in used:
        together = requests[number].eligible
        apart = []
        for nodes in parts:
            if nodes & together:
                together |= nodes
            else:
                apart.append(nodes)
        parts = [*apart, together]
    found = []
    for nodes in parts:
        inside = [number for number in used if requests[number].eligible & nodes]
        place = np.full(len(requests), -1, dtype=np.int64)
        place[inside] = np.arange(len(inside))
        own = np.flatnonzero(rows & (place[of_record] >= 0))
        servers = servers_of([topology.nodes[node].devices for node in bitset.bits(nodes)])
        found.append(Part(own, place[of_record[own]], weights_of([requests[i] for i in inside], servers)))
    return found
