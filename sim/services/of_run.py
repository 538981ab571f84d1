"""What the services of a run gave: from its timeline the replicas that answered, and from those how long requests took.

A replica answers from `start_up_ms` after each of its starts until it gives its devices back, at the speed that its job had.
It is wanted from its submission until its lifetime is over, whether it runs or not.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from sim.services.arrivals import Arrivals
from sim.services.latency import arrivals
from sim.services.service import Service, Steps, service_from
from sim.stretches import stretches
from sim.timeline import EXPIRED, Happened
from sim.world.speed import PPM

if TYPE_CHECKING:
    from sim.metrics.metric import Sample
    from sim.results import Run

Ints = NDArray[np.int64]

US_PER_S: Final = 1_000_000


class Answered(NamedTuple):
    """A service as one run had it."""

    service: Service
    rows: Ints
    """The jobs that are its replicas."""
    wanted_from_ms: Ints
    """Of each replica, like `wanted_until_ms`; since the service began."""
    wanted_until_ms: Ints
    ready: Steps
    """Replicas that answer, by the clock of the run."""
    requests: Arrivals
    """Until the service ended, or the run where that stopped before."""
    lasts_ms: int
    """From its beginning to the end of what `requests` are of."""


class Requests(NamedTuple):
    """Requests of one service that are looked at."""

    objective_ms: int | None
    arrivals: Arrivals


def has_services(run: Run, *, objective: bool = False) -> bool:
    """Whether a run has services (with an objective). A static fill has no clock, so no requests come in it."""
    services = run.manifest["inputs"].get("services", [])
    able = not objective or any(each["objective_ms"] is not None for each in services)
    return bool(services) and able and not run.is_fill


def answered(run: Run) -> Mapping[str, Answered]:
    """By the name of the service. The last run that was asked about is remembered: every metric asks."""
    if not has_services(run):
        return {}
    said = (run.manifest["inputs"]["services"], run.manifest["end_ms"], run.manifest["complete"])
    for timeline, known, found in _REMEMBERED:
        if timeline() is run.timeline.at_ms and known == said:
            return found
    services = [service_from(data) for data in said[0]]
    names = run.jobs.text("service")
    found = {each.name: _answered(run, each, np.flatnonzero(_is(names, each.name))) for each in services}
    _REMEMBERED[:] = [(weakref.ref(run.timeline.at_ms), said, found)]
    return found


_REMEMBERED: Final[list[tuple[weakref.ref[NDArray[np.int64]], tuple[Any, ...], dict[str, Answered]]]] = []


def requests_of(sample: Sample) -> list[Requests]:
    """The requests of each service of which a replica is in the sample.

    Which of its replicas that are makes no difference: they answer together. Where the sample says which jobs count, the
    requests count that came from the first submission of such a job to the last; from the beginning where no job before
    is left out, and to the end where none behind is. So the requests of the warm-up and the drain are left out, while those
    are counted that a replica answers which was there before.
    """
    return [counted_requests(each, sample) for each in answered(sample.run).values() if sample.rows[each.rows].any()]


def counted_requests(found: Answered, sample: Sample) -> Requests:
    """Those requests of a service that came in the time that counts."""
    return Requests(found.service.objective_ms, _in_time(found, sample))


def _in_time(found: Answered, sample: Sample) -> Arrivals:
    submit_ms, counts = sample.run.jobs.submit_ms, sample.counted
    if counts is None or counts.all():
        return found.requests
    inside = submit_ms[counts]
    if not len(inside):
        return found.requests.within(0, 0)
    first, last, begin_ms = int(inside.min()), int(inside.max()), int(found.service.rate.at_ms[0])
    from_ms = first - begin_ms if (submit_ms < first).any() else -np.inf
    until_ms = last - begin_ms if (submit_ms > last).any() else np.inf
    return found.requests.within(from_ms, until_ms)


def late_by_replica(found: Answered) -> NDArray[np.float64]:
    """Requests that took longer than the objective, of each replica: an equal part of those that came while it was wanted.

    NaN where the service has no objective. What came while none was wanted is nobody's.
    """
    if found.service.objective_ms is None:
        return np.full(len(found.rows), np.nan)
    edges = np.unique(np.concatenate([found.wanted_from_ms, found.wanted_until_ms])).astype(np.float64)
    if len(edges) < 2:
        return np.zeros(len(found.rows))
    parts = found.requests.cut(edges)
    place = np.searchsorted(edges, (parts.from_ms + parts.until_ms) / 2, side="right") - 1
    inside = (place >= 0) & (place < len(edges) - 1)
    late = np.bincount(place[inside], parts.above(found.service.objective_ms)[inside], minlength=len(edges) - 1)
    changes = np.zeros(len(edges))
    begin, end = (np.searchsorted(edges, each) for each in (found.wanted_from_ms, found.wanted_until_ms))
    np.add.at(changes, begin, 1)
    np.subtract.at(changes, end, 1)
    wanted = np.cumsum(changes)[:-1]
    until = np.concatenate([[0.0], np.cumsum(np.divide(late, wanted, out=np.zeros(len(late)), where=wanted > 0))])
    each: NDArray[np.float64] = until[end] - until[begin]
    return each


def _is(names: Any, name: str) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = pc.equal(names, name).fill_null(False).to_numpy(zero_copy_only=False)
    return found


def _answered(run: Run, service: Service, rows: Ints) -> Answered:
    begin_ms = int(service.rate.at_ms[0])
    end_ms = service.end_ms if run.complete else min(service.end_ms, int(run.manifest["end_ms"]))
    from_ms, until_ms, speed = _answering(run, service, rows)
    ready, slots, slots_ppm = (
        _sums(from_ms, until_ms, each, begin_ms)
        for each in (np.ones(len(speed), dtype=np.int64), np.full(len(speed), service.slots), speed * service.slots)
    )
    per_s = Steps(slots_ppm.at_ms, slots_ppm.value / PPM * US_PER_S / service.service_us)
    wanted_from, wanted_until = _wanted(run, rows)
    return Answered(
        service,
        rows,
        wanted_from - begin_ms,
        wanted_until - begin_ms,
        ready,
        arrivals(service.rate, max(end_ms, begin_ms), slots, per_s),
        max(end_ms - begin_ms, 0),
    )


def _answering(run: Run, service: Service, rows: Ints) -> tuple[Ints, Ints, Ints]:
    """When a replica answered: from, until and its speed in millionths, one row for each speed of each of its stretches."""
    line = run.timeline
    mine = np.zeros(len(run.jobs), dtype=bool)
    mine[rows] = True
    found = stretches(line, int(run.manifest["end_ms"]))
    own = np.flatnonzero(mine[found.job])
    own = own[np.lexsort((found.entry[own], found.job[own]))]
    changes = np.flatnonzero((line.happened == Happened.SPEED) & mine[line.job])
    # because: the stretch in which a speed changed is the last of that job that began before
    keys = found.job[own].astype(np.int64) * len(line.at_ms) + found.entry[own]
    owner = np.searchsorted(keys, line.job[changes].astype(np.int64) * len(line.at_ms) + changes) - 1
    stretch = np.concatenate([own, own[owner]])
    entry = np.concatenate([found.entry[own], changes])
    order = np.lexsort((entry, found.job[stretch]))
    stretch, entry = stretch[order], entry[order]
    begin = np.maximum(line.at_ms[entry], found.start_ms[stretch] + service.start_up_ms)
    end = found.end_ms[stretch].copy()
    same = np.flatnonzero(stretch[1:] == stretch[:-1])
    end[same] = line.at_ms[entry[same + 1]]
    answers = begin < end
    return begin[answers], end[answers], line.speed_ppm[entry][answers].astype(np.int64)


def _sums(from_ms: Ints, until_ms: Ints, amount: Ints, begin_ms: int) -> Steps:
    """The sum of amounts over time, exact: 0 when all are gone."""
    at_ms, place = np.unique(np.concatenate([[begin_ms], from_ms, until_ms]), return_inverse=True)
    changes = np.zeros(len(at_ms), dtype=np.int64)
    np.add.at(changes, place[1:], np.concatenate([amount, -amount]))
    return Steps(at_ms, np.cumsum(changes).astype(np.float64))


def _wanted(run: Run, rows: Ints) -> tuple[Ints, Ints]:
    """From when to when each replica is wanted. One that was turned away or killed is wanted all the same: for its run time,
    which is that of its lifetime.
    """
    line = run.timeline
    begin = run.jobs.submit_ms[rows]
    until = run.jobs.submit_ms + run.jobs.work_ms
    gone = np.isin(line.happened, EXPIRED)
    until[line.job[gone]] = line.at_ms[gone]
    return begin, np.maximum(until[rows], begin)
