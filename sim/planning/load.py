"""How much of what servers can do is asked of them: of the pools that are searched, and of others that are full."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.fleet.model import Fleet
from sim.fleet.table import queues_of, topology_of
from sim.requests import RequestMaker
from sim.results import Run
from sim.rules import Split
from sim.stretches import stretches
from traces.job import DEVICE_MILLI

FULL: Final = 0.9
"""A pool with a load above this may be what jobs wait for."""


class Full(NamedTuple):
    """A pool that is not searched, and that is full."""

    pool: str
    load: float
    """As `load_of`, of this pool alone."""
    only_elsewhere: float | None
    """The part of the load with jobs that no server of the searched pools can take. None where no pool is searched."""


def load_of(run: Run, fleet: Fleet, pools: Collection[str]) -> float | None:
    """Device time that jobs held on the servers of these pools (of none: on all), over what those could give while jobs came.

    Above 1 a backlog grows as long as jobs come. None where all came at once, and without devices.
    """
    inside = np.array([not pools or server.pool in pools for server in fleet.servers], dtype=np.bool_)
    could = _could(run, fleet)[inside].sum()
    return float(_held(run, fleet)[inside].sum() / could) if could else None


def full_pools(run: Run, fleet: Fleet, searched: Collection[str], split: Split) -> tuple[Full, ...]:
    """The pools beside those that are searched (beside none: all) whose load is above `FULL`, the fullest first."""
    loads = {pool: load for pool, load in _loads(run, fleet).items() if pool not in searched and load > FULL}
    if not loads:
        return ()
    bound = _loads(run, fleet, _not_for(run, fleet, searched, split)) if searched else {}
    found = [Full(pool, load, bound.get(pool)) for pool, load in loads.items()]
    return tuple(sorted(found, key=lambda each: -each.load))


def _loads(run: Run, fleet: Fleet, jobs: NDArray[np.bool_] | None = None) -> dict[str, float]:
    """Of each pool that has a load."""
    place = {pool: number for number, pool in enumerate(fleet.pools)}
    of_server = np.array([place[server.pool] for server in fleet.servers], dtype=np.int64)
    held = np.bincount(of_server, _held(run, fleet, jobs), minlength=len(place)).tolist()
    could = np.bincount(of_server, _could(run, fleet), minlength=len(place)).tolist()
    return {pool: held[number] / could[number] for pool, number in place.items() if could[number]}


def _could(run: Run, fleet: Fleet) -> NDArray[np.float64]:
    """Milli-devices times ms that each server could give from the first submission to the last."""
    span_ms = int(run.jobs.submit_ms.max() - run.jobs.submit_ms.min())
    return np.array([server.devices * DEVICE_MILLI * span_ms for server in fleet.servers], dtype=np.float64)


def _held(run: Run, fleet: Fleet, jobs: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """Milli-devices times ms that the jobs (all, or those marked) held on each server."""
    line = run.timeline
    found = stretches(line, int(run.manifest["end_ms"]))
    milli = np.array([record.gpu_milli for record in run.records], dtype=np.float64)
    if jobs is not None:
        milli[~jobs] = 0
    by_device = np.zeros(len(line.at_ms))
    by_device[found.entry] = milli[found.job] * (found.end_ms - found.start_ms)
    by_share = np.bitwise_count(line.share_devices) * np.repeat(by_device, np.diff(line.share_start))
    return np.bincount(line.share_node, by_share, minlength=len(fleet.servers)).astype(np.float64)


def _not_for(run: Run, fleet: Fleet, searched: Collection[str], split: Split) -> NDArray[np.bool_]:
    """The jobs that no server of the searched pools can take. None of them where those pools have no server to tell by."""
    mask = sum(1 << number for number, server in enumerate(fleet.servers) if server.pool in searched)
    pools_of = {name: queue.pools for name, queue in queues_of(fleet).items()}
    maker = RequestMaker(topology_of(fleet), split, pools_of)
    found = (bool(mask) and not maker.request(record).eligible & mask for record in run.records)
    return np.fromiter(found, dtype=np.bool_, count=len(run.records))
