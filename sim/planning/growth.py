"""More load: more jobs in the same days, or the same jobs in fewer days.

The next year brings more users, not shorter days. `jobs` keeps the rhythm of day and week: each job comes again in the same
hour of other days, as often as the factor says, and a part of a time is drawn. `density` divides every interval by the factor: it
needs no luck, but a busy day then lasts 16 hours instead of 24 and leaves less behind, so that it asks for fewer devices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sim.services.expansion import in_less_time, more_requests
from sim.services.service import Service
from traces.job import JobRecord
from traces.transform import DAY_MS, scale_load

How = Literal["jobs", "density"]

Times = NDArray[np.int64]


def grown(records: Sequence[JobRecord], factor: Fraction, how: How, rng: np.random.Generator) -> list[JobRecord]:
    """The records of a load that is `factor` times as high. Recorded starts are dropped: they belong to the load that was.

    Estimates, queues and users stay with the job and go with its copies. A factor below 1 leaves out a random part under
    `jobs`. Raises ValueError unless the factor is positive.
    """
    if factor <= 0:
        raise ValueError(f"the factor of growth must be positive, got {factor}")
    if factor == 1:
        return list(records)
    return scale_load(records, factor) if how == "density" else _more_jobs(records, factor, rng)


def grown_services(
    services: Sequence[Service], factor: Fraction, how: How, records: Sequence[JobRecord]
) -> tuple[Service, ...]:
    """The services with a rate that is `factor` times as high; under `density` in step with `records`, the grown ones."""
    more = more_requests(services, factor)
    return in_less_time(more, factor, records) if how == "density" and more else more


def _more_jobs(records: Sequence[JobRecord], factor: Fraction, rng: np.random.Generator) -> list[JobRecord]:
    if factor < 1:
        stays = rng.random(len(records)) < float(factor)
        return [replace(job, recorded_start_ms=None) for job, kept in zip(records, stays, strict=True) if kept]
    submits = np.array([job.submit_ms for job in records], dtype=np.int64)
    found = [replace(job, recorded_start_ms=None) for job in records]
    taken = {job.job_id for job in records}
    whole, part = divmod(factor - 1, 1)
    shares = [1.0] * whole + ([float(part)] if part else [])
    for number, (share, moved) in enumerate(zip(shares, _copies(submits, rng), strict=False), start=1):
        comes = np.flatnonzero(rng.random(len(records)) < share)
        mark = f"+{number}"
        while any(f"{name}{mark}" in taken for name in taken):
            mark = f"+{mark}"
        found += [
            replace(job, job_id=f"{job.job_id}{mark}", submit_ms=int(moved[row]), recorded_start_ms=None)
            for row in comes.tolist()
            for job in (records[row],)
        ]
    return found


def _copies(submits: Times, rng: np.random.Generator) -> Iterator[Times]:
    """The same submissions moved in a circle, each copy by another amount, without end.

    By whole weeks where the trace has two, else by whole days where it has two, else by any time.
    """
    first, last = (int(submits.min()), int(submits.max())) if len(submits) else (0, 0)
    span = last - first
    unit = next((unit for unit in (7 * DAY_MS, DAY_MS) if span >= 2 * unit), 0)
    period = span // unit * unit if unit else span + 1
    while True:
        shifts = rng.permutation(np.arange(1, span // unit)) * unit if unit else rng.integers(0, period, size=1)
        for shift in shifts.tolist():
            later = submits + shift
            yield np.where(later > last, later - period, later)
