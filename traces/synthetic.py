"""Seeded synthetic traces with a target load, drawn from a profile of `traces.profiles`.

Gangs, run times and users come first; the time axis comes last, just long enough for the load that was asked
for: span = device-milliseconds of all jobs / (load x capacity). So the load is met to the rounding of a
millisecond, whatever the heavy tail drew. Run times are stratified: the jobs of a family take equally spaced
quantiles, in an order that is drawn, so that even a short trace has its tail.
"""

from __future__ import annotations

import difflib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from traces.job import COUNT_MAX, DEVICE_MILLI, TIME_MS_MAX, JobRecord
from traces.profiles import PROFILES, Family, Floats, Profile
from traces.trace import TraceError

Integers = npt.NDArray[np.int64]

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
JOBS_MAX = 20_000_000
SPAN_MS_MIN = 1000
"""Below it, the rounding to ms would be felt in the load."""

_PILOT_JOBS = 20_000
_BATCH_GAP_S = 10.0
_BATCH_MAX = 1000

_LIMITS_S = (900, 1800, 3600, 7200, 14_400, 28_800, 43_200, 86_400, 172_800, 259_200, 604_800)
"""The limits that users ask for: 15 min to 7 days; a longer run is rounded up to whole days."""

_LEAST_ACCURACY = 0.05
"""A user's limit is up to 20 times the run time: the accuracy is uniform (Mu'alem and Feitelson 2001)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What to generate: the number of jobs, or about so many days; for so many devices, at this load.

    `load` is devices x run time of all jobs / (capacity x span); the span is from the first submission to the last.
    """

    profile: Profile
    seed: int = 0
    jobs: int | None = None
    days: float | None = None
    capacity: int
    load: float = 0.9
    gpus_max: int | None = None
    """Largest gang; the capacity if None. Larger gangs of the profile, and families of none else, are not drawn."""

    def __post_init__(self) -> None:
        problems = list(self._problems())
        if problems:
            raise TraceError("cannot generate a trace: " + "; ".join(problems))

    def _problems(self) -> list[str]:
        largest = self.capacity if self.gpus_max is None else self.gpus_max
        smallest = min(milli for family in self.profile.families for milli, _ in family.gangs) / DEVICE_MILLI
        return [
            text
            for wrong, text in (
                ((self.jobs is None) == (self.days is None), "give either jobs or days"),
                (self.jobs is not None and not 2 <= self.jobs <= JOBS_MAX, f"jobs must be from 2 to {JOBS_MAX}"),
                (self.days is not None and not 0 < self.days <= 36_500, "days must be above 0, at most 36500"),
                (not 1 <= self.capacity <= COUNT_MAX, f"capacity must be from 1 to {COUNT_MAX} devices"),
                (not 0 < self.load <= 100, "load must be above 0, at most 100 (1 fills the capacity)"),
                (self.seed < 0, "seed must not be negative"),
                (not smallest <= largest <= self.capacity, f"gpus_max must be from {smallest:g} to the capacity"),
            )
            if wrong
        ]


@dataclass(frozen=True, slots=True)
class Columns:
    """The drawn jobs, one array a field, in the order of submission. -1 in `estimate_ms` is no estimate."""

    submit_ms: Integers
    run_ms: Integers
    demand_milli: Integers
    family: Integers
    user: Integers
    queue: Integers
    outcome: Integers
    estimate_ms: Integers


def profile_named(name: str) -> Profile:
    """The profile of that name. Raises `TraceError` that suggests the nearest name."""
    if name in PROFILES:
        return PROFILES[name]
    near = difflib.get_close_matches(name, PROFILES, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise TraceError(f"unknown profile {name!r}: {hint}known are {', '.join(PROFILES)}")


def stream(seed: int, purpose: str) -> np.random.Generator:
    """The random numbers of one purpose: a new purpose shifts no other."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(zlib.crc32(purpose.encode()),)))


def generate(spec: Spec) -> list[JobRecord]:
    """The records of a synthetic trace, in the order of submission. Same spec, same records."""
    return to_records(generate_columns(spec), spec.profile)


def generate_columns(spec: Spec) -> Columns:
    """The same as arrays, for those who need no records. Raises `TraceError` if no span fits the load."""
    jobs = spec.jobs if spec.jobs is not None else _jobs_for_days(spec)
    batch = _batches(spec, jobs)
    family, demand_milli = _kinds(spec, batch)
    run_ms = _run_times(spec, family, demand_milli)
    user, queue = _users(spec, batch)
    span_ms = round(float(np.dot(demand_milli, run_ms.astype(np.float64))) / DEVICE_MILLI / spec.load / spec.capacity)
    if span_ms > TIME_MS_MAX:
        raise TraceError("cannot generate a trace: its span would be too long; ask for more load or fewer jobs")
    if span_ms < SPAN_MS_MIN:
        raise TraceError("cannot generate a trace: its span would be below 1 s; ask for less load or more jobs")
    submit_ms = _arrivals(spec, batch, span_ms)
    order = np.argsort(submit_ms, kind="stable")
    return Columns(
        submit_ms=submit_ms[order],
        run_ms=run_ms[order],
        demand_milli=demand_milli[order],
        family=family[order],
        user=user[order],
        queue=queue[order],
        outcome=_outcomes(spec, jobs)[order],
        estimate_ms=_estimates(spec, run_ms)[order],
    )


def to_records(columns: Columns, profile: Profile) -> list[JobRecord]:
    """The columns as records: ids count in the order of submission."""
    width = len(str(len(columns.submit_ms)))
    families = [family.name for family in profile.families]
    outcomes = [outcome for outcome, _ in profile.outcomes]
    users = [f"user-{number:03d}" for number in range(profile.users)]
    queues = [f"queue-{number:02d}" for number in range(profile.queues)]
    rows = zip(
        *(
            array.tolist()
            for array in (
                *(columns.submit_ms, columns.run_ms, columns.demand_milli, columns.family),
                *(columns.user, columns.queue, columns.outcome, columns.estimate_ms),
            )
        ),
        strict=True,
    )
    return [
        JobRecord(
            job_id=f"j{number:0{width}d}",
            submit_ms=submit,
            run_ms=run,
            gpu_count=max(1, demand // DEVICE_MILLI),
            gpu_milli=min(demand, DEVICE_MILLI),
            user=users[user],
            queue=queues[queue],
            outcome=outcomes[outcome],
            family=families[family],
            estimate_ms=None if estimate < 0 else estimate,
        )
        for number, (submit, run, demand, family, user, queue, outcome, estimate) in enumerate(rows)
    ]


def offered_load(records: Sequence[JobRecord], capacity: int) -> float:
    """Device-milliseconds of all jobs / (capacity x span of the submissions). Raises `ValueError` without a span."""
    submits = [job.submit_ms for job in records]
    span_ms = max(submits, default=0) - min(submits, default=0)
    if span_ms == 0:
        raise ValueError("a load needs a span: all jobs are submitted in one instant")
    return sum(job.demand_milli * job.run_ms for job in records) / DEVICE_MILLI / capacity / span_ms


def _jobs_for_days(spec: Spec) -> int:
    """As many jobs as fill the days on average, by a pilot that has the profile's own mean."""
    assert spec.days is not None
    pilot = Spec(profile=spec.profile, jobs=_PILOT_JOBS, capacity=spec.capacity, gpus_max=spec.gpus_max)
    family, demand_milli = _kinds(pilot, np.arange(_PILOT_JOBS))
    mean_ms = float(np.mean(demand_milli * _run_times(pilot, family, demand_milli).astype(np.float64))) / DEVICE_MILLI
    jobs = round(spec.days * DAY_MS * spec.capacity * spec.load / mean_ms)
    if not 2 <= jobs <= JOBS_MAX:
        raise TraceError(f"cannot generate a trace: {spec.days:g} days at this load are about {jobs} jobs")
    return jobs


def _batches(spec: Spec, jobs: int) -> Integers:
    """For each job the number of its batch: geometric sizes, so most batches are one job."""
    if spec.profile.batch_mean <= 1:
        return np.arange(jobs, dtype=np.int64)
    draws = stream(spec.seed, "batches").random(jobs)
    stay = 1 - 1 / spec.profile.batch_mean
    sizes = np.minimum(1 + np.floor(np.log1p(-draws) / np.log(stay)), _BATCH_MAX).astype(np.int64)
    return np.repeat(np.arange(jobs, dtype=np.int64), sizes)[:jobs]


def _kinds(spec: Spec, batch: npt.NDArray[np.int64]) -> tuple[Integers, Integers]:
    """Family and demand of each job; one batch is of one kind."""
    batches = int(batch[-1]) + 1
    families = spec.profile.families
    draws = stream(spec.seed, "gangs").random(batches)
    demand_milli = np.zeros(batches, dtype=np.int64)
    limit_milli = (spec.capacity if spec.gpus_max is None else spec.gpus_max) * DEVICE_MILLI
    shares = [kind.share if min(kind.gangs)[0] <= limit_milli else 0.0 for kind in families]
    family = _choice(stream(spec.seed, "families").random(batches), shares)
    for number, kind in enumerate(families):
        mine = family == number
        if mine.any():
            demand_milli[mine] = _gangs(kind, draws[mine], limit_milli)
    return family[batch], demand_milli[batch]


def _gangs(kind: Family, draws: Floats, limit_milli: int) -> Integers:
    allowed = [(milli, weight) for milli, weight in kind.gangs if milli <= limit_milli]
    sizes = np.array([milli for milli, _ in allowed], dtype=np.int64)
    return sizes[_choice(draws, [weight for _, weight in allowed])]


def _run_times(spec: Spec, family: Integers, demand_milli: Integers) -> Integers:
    """Whole seconds, in ms: each family's own distribution, the long ones more often to the large gangs."""
    jitter = stream(spec.seed, "run-time jitter").random(len(family))
    odds = stream(spec.seed, "run-time order").random(len(family))
    score = np.log(np.maximum(odds, 1e-12)) - np.log1p(-odds)
    score += spec.profile.size_tilt * np.log2(demand_milli / DEVICE_MILLI)
    run_s = np.zeros(len(family))
    for number, kind in enumerate(spec.profile.families):
        mine = np.flatnonzero(family == number)
        rank = np.empty(len(mine))
        rank[np.argsort(score[mine], kind="stable")] = np.arange(len(mine))
        run_s[mine] = kind.run_s.quantile((rank + jitter[mine]) / max(len(mine), 1))
    return np.maximum(np.rint(run_s), 1).astype(np.int64) * 1000


def _users(spec: Spec, batch: Integers) -> tuple[Integers, Integers]:
    """User of each job by Zipf's law, and the user's own queue; queues differ in weight as users do."""
    profile = spec.profile
    batches = int(batch[-1]) + 1
    zipf = [rank**-profile.user_skew for rank in range(1, profile.users + 1)]
    user = _choice(stream(spec.seed, "users").random(batches), zipf)
    queue_weights = [1 / rank for rank in range(1, profile.queues + 1)]
    home = _choice(stream(spec.seed, "queues").random(profile.users), queue_weights)
    return user[batch], home[user][batch]


def _arrivals(spec: Spec, batch: Integers, span_ms: int) -> Integers:
    """Submissions from 0 to `span_ms`: a rate that follows the day, the week and chance; batches; seconds within.

    Given their number, the arrivals of such a (doubly stochastic) Poisson process are independent draws from its
    rate, so the inverse of the cumulated rate gives them at once. The first is moved to 0, the last to the span.
    """
    edges_ms, cumulated = _cumulated_rate(spec, span_ms)
    draws = stream(spec.seed, "arrivals").random(int(batch[-1]) + 1)
    begin_ms = np.interp(draws * cumulated[-1], cumulated, edges_ms)
    gaps_ms = -_BATCH_GAP_S * 1000 * np.log1p(-stream(spec.seed, "gaps").random(len(batch)))
    first_of_batch = np.flatnonzero(np.diff(batch, prepend=-1))
    gaps_ms[first_of_batch] = 0
    within_ms = np.cumsum(gaps_ms)
    times_ms = begin_ms[batch] + within_ms - np.maximum.accumulate(_held(within_ms, first_of_batch))
    first, last = float(times_ms.min()), float(times_ms.max())
    scale = span_ms / (last - first) if last > first else 0.0
    submit_ms: Integers = np.rint((times_ms - first) * scale).astype(np.int64)
    submit_ms[np.argmax(times_ms)] = span_ms
    return submit_ms


def _held(within_ms: Floats, first_of_batch: Integers) -> Floats:
    """At the first job of each batch the sum of all gaps so far, 0 elsewhere."""
    held = np.zeros(len(within_ms))
    held[first_of_batch] = within_ms[first_of_batch]
    return held


def _cumulated_rate(spec: Spec, span_ms: int) -> tuple[Floats, Floats]:
    """Edges of the hours, and the expected arrivals up to each."""
    profile = spec.profile
    hours = max(1, -(-span_ms // HOUR_MS))
    hour = np.arange(hours)
    rate = np.array(profile.by_hour)[hour % 24] * np.array(profile.by_weekday)[hour // 24 % 7]
    if profile.burst_shape is not None:
        rate = rate * stream(spec.seed, "bursts").gamma(profile.burst_shape, 1 / profile.burst_shape, hours)
    edges_ms = np.minimum(np.arange(hours + 1, dtype=np.float64) * HOUR_MS, span_ms)
    return edges_ms, np.concatenate(([0.0], np.cumsum(rate * np.diff(edges_ms))))


def _outcomes(spec: Spec, jobs: int) -> Integers:
    weights = [weight for _, weight in spec.profile.outcomes]
    return _choice(stream(spec.seed, "outcomes").random(jobs), weights)


def _estimates(spec: Spec, run_ms: Integers) -> Integers:
    """Limits that users give: the run time over an accuracy, rounded up to a common limit; -1 where there is none."""
    accuracy = _LEAST_ACCURACY + (1 - _LEAST_ACCURACY) * stream(spec.seed, "estimates").random(len(run_ms))
    wished_ms = np.ceil(run_ms / accuracy).astype(np.int64)
    limits_ms = np.array(_LIMITS_S, dtype=np.int64) * 1000
    at = np.searchsorted(limits_ms, wished_ms)
    days_ms = -(-np.maximum(run_ms, limits_ms[-1]) // DAY_MS) * DAY_MS
    rounded = np.where(at < len(limits_ms), limits_ms[np.minimum(at, len(limits_ms) - 1)], days_ms)
    given = stream(spec.seed, "estimates given").random(len(run_ms)) < spec.profile.estimate_share
    estimates: Integers = np.where(given, rounded, -1)
    return estimates


def _choice(draws: Floats, weights: Sequence[float]) -> Integers:
    """The index that each uniform draw picks by the weights."""
    cumulated = np.cumsum(weights, dtype=np.float64)
    picked = np.searchsorted(cumulated / cumulated[-1], draws, side="right")
    return np.minimum(picked, len(weights) - 1).astype(np.int64)
