"""How many devices any policy needs so that a share of the jobs waits no longer than promised: a lower bound.

A job that waits at most X has, at any later time t, been on its devices for at least min(run time, t - submission - X). What
was submitted since s must therefore have been given, until t, at least the sum of devices x that, and M devices give no more
than M x (t - s). Some jobs may wait longer: they are taken to be those that ask for most. Every window gives a bound; the
busiest are tried, each length of time halved from the whole trace down.

Holds for every policy that does not preempt, and for any policy if X limits all waiting of a job, that after preemptions
included. Devices are one pool: servers, models and quotas can only add. What has a lifetime, such as a replica of a
service, may be taken away before it starts, so it need never be given anything: it is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from policies.values import DEVICE_MILLI
from sim.bounds.flow import Integers
from sim.bounds.parts import least_run_ms
from sim.bounds.weights import areas
from sim.rules import Rules
from sim.world.speed import PPM
from traces.job import JobRecord

WINDOWS_OF_LENGTH: Final = 4
"""Windows of one length that are evaluated."""

HALVINGS: Final = 14
"""How often the length of the windows is halved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceBound:
    """The least number of devices, and why."""

    devices: int
    because: str
    from_ms: int | None
    """The window that asks for most; None where a single job does."""
    until_ms: int | None


def devices_needed(
    records: Sequence[JobRecord],
    *,
    wait_ms: int,
    quantile: float = 0.95,
    finish_by_ms: int | None = None,
    rules: Rules | None = None,
    fastest_ppm: int = PPM,
) -> DeviceBound:
    """Fewer devices cannot keep the `quantile` of the waits (linear between neighbours) at `wait_ms` or below.

    A quantile of 1 is every job. With `finish_by_ms` everything must also have ended by then, whoever waited longer too: without
    it the jobs that may wait may wait for ever. `fastest_ppm` is the highest speed of any job. Raises ValueError for a promise
    that no number of devices keeps.
    """
    if wait_ms < 0:
        raise ValueError(f"wait_ms: must be >= 0, got {wait_ms}")
    if not 0 <= quantile <= 1:
        raise ValueError(f"quantile: must be from 0 to 1, got {quantile}")
    rules = rules or Rules()
    jobs = [record for record in records if record.gpu_count and record.lifetime_ms is None]
    # because: with every job that starts more may wait longer, so that those with a lifetime are counted as if all did
    exempt = exempt_jobs(len(records), quantile)
    demand = np.fromiter((record.demand_milli for record in jobs), dtype=np.int64, count=len(jobs))
    if not jobs or (finish_by_ms is None and len(jobs) <= exempt):
        return DeviceBound(
            devices=0, because="so many jobs may wait longer that none need start", from_ms=None, until_ms=None
        )
    submit = np.fromiter((record.submit_ms for record in jobs), dtype=np.int64, count=len(jobs))
    run = np.fromiter((least_run_ms(record, rules, fastest_ppm) for record in jobs), dtype=np.int64, count=len(jobs))
    order = np.argsort(submit, kind="stable")
    load = _Load(submit[order], run[order], demand[order], wait_ms, exempt)
    best = _largest(demand, exempt if finish_by_ms is None else 0)
    if finish_by_ms is not None:
        best = max(best, load.until_the_end(finish_by_ms), key=lambda bound: bound.devices)
    for begin_ms, end_ms in load.windows():
        devices = load.least(begin_ms, end_ms)
        if devices > best.devices:
            because = f"what is submitted in this window and may wait {wait_ms} ms at most, {exempt:,} jobs left out"
            best = DeviceBound(devices=devices, because=because, from_ms=begin_ms, until_ms=end_ms)
    return best


def _largest(milli: Integers, exempt: int) -> DeviceBound:
    because = f"a job asks for as many, {exempt:,} larger ones left out" if exempt else "a job asks for as many"
    largest = int(np.sort(milli)[len(milli) - exempt - 1])
    return DeviceBound(devices=-(-largest // DEVICE_MILLI), because=because, from_ms=None, until_ms=None)


def exempt_jobs(jobs: int, quantile: float) -> int:
    """How many of so many jobs may wait longer although the quantile, linear between neighbours, does not."""
    # because: the quantile is at least the wait at this place of the sorted waits; the float may be a hair too large
    return max(jobs - 1 - int((jobs - 1) * quantile - 1e-9), 0) if jobs and quantile < 1 else 0


class _Load:
    """Jobs by submission, and what they must have been given when."""

    def __init__(self, submit_ms: Integers, run_ms: Integers, milli: Integers, wait_ms: int, exempt: int) -> None:
        self._submit_ms = submit_ms
        self._run_ms = run_ms
        self._milli = milli
        self._wait_ms = wait_ms
        self._exempt = exempt
        share = np.cumsum(np.sort(run_ms).astype(np.float64))
        quarters = np.searchsorted(share, share[-1] * np.array([0.25, 0.5, 0.75, 1.0])).clip(max=len(run_ms) - 1)
        self._typical_ms = sorted(set(np.sort(run_ms)[quarters].tolist()))
        """Run times: a quarter of all run time is in jobs that run no longer than the first; the last is the longest."""

    def least(self, begin_ms: int, end_ms: int) -> int:
        """Devices that the window needs."""
        first, behind = np.searchsorted(self._submit_ms, (begin_ms, end_ms - self._wait_ms))
        submit, run = self._submit_ms[first:behind], self._run_ms[first:behind]
        given = areas(self._milli[first:behind], np.minimum(run, end_ms - submit - self._wait_ms))
        if len(given) <= self._exempt:
            return 0
        if self._exempt:
            kept = len(given) - self._exempt
            given = np.partition(given, kept - 1)[:kept] if given.dtype != object else np.sort(given)[:kept]
        return -(-int(given.sum()) // ((end_ms - begin_ms) * DEVICE_MILLI))

    def until_the_end(self, end_ms: int) -> DeviceBound:
        """Devices that give everything that is submitted from some moment on its time until `end_ms`."""
        late = int((self._submit_ms + self._run_ms).max())
        if late > end_ms:
            raise ValueError(f"finish_by_ms: must be >= {late}, when a job ends that never waits, got {end_ms}")
        work = np.cumsum(areas(self._milli[::-1], self._run_ms[::-1]))[::-1]
        worked = self._run_ms[::-1].cumsum()[::-1] > 0
        begin, work = self._submit_ms[worked], work[worked]
        if not len(work):
            return DeviceBound(devices=0, because="no job runs", from_ms=None, until_ms=None)
        needed = -(-work // ((end_ms - begin).astype(work.dtype) * DEVICE_MILLI))
        place = int(np.argmax(needed))
        because = "what is submitted from then on must have ended by the end"
        return DeviceBound(devices=int(needed[place]), because=because, from_ms=int(begin[place]), until_ms=end_ms)

    def windows(self) -> Iterator[tuple[int, int]]:
        """For each length the windows that look busiest, until its own end and until later, when longer jobs have run."""
        first_ms, last_ms = int(self._submit_ms[0]), int(self._submit_ms[-1]) + 1
        span_ms = last_ms - first_ms
        for halving in range(HALVINGS):
            length_ms = max(span_ms >> halving, 1)
            begins = np.arange(first_ms, last_ms, max(length_ms // 2, 1))
            inside = np.searchsorted(self._submit_ms, np.stack((begins, begins + length_ms)))
            # because: a rough count is enough to choose by, and floats do not overflow
            rough = self._milli * np.minimum(self._run_ms, length_ms).astype(np.float64)
            sums = np.concatenate(([0.0], np.cumsum(rough)))
            load = sums[inside[1]] - sums[inside[0]]
            for begin_ms in begins[np.argsort(-load, kind="stable")[:WINDOWS_OF_LENGTH]].tolist():
                for later_ms in (0, length_ms, *self._typical_ms):
                    yield begin_ms, begin_ms + length_ms + self._wait_ms + later_ms
