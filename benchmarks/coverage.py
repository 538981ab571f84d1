"""How often the paired comparison is right: coverage of its intervals, false claims, and the power that it promises.

Four experiments, each with the very code that `rehearse compare` runs. Drawn: waits from a known distribution, heavy-tailed,
a third of them zero, days that differ, so that the truth is known from a very large sample. Remembering: the same, where what
the policy does to one day reaches into the next. Replayed: one policy against itself with another stream of random placements,
on random traces: every claim is false. Powered: how often the blocks that an undecided comparison asks for decide.

    python -m benchmarks.coverage [--repeats 400] [--quick]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.experiment.asked import Asked, default_family
from sim.experiment.blocks import DAY_MS, BlockRule
from sim.experiment.effects import Effect, family_of
from sim.experiment.paired import family_for
from sim.experiment.plan import Labels, Plan, Subjects, blocks_of
from sim.experiment.quantities import KINDS, Selector, quantity
from sim.experiment.sampler import Observed, Sampler, observe
from sim.fleet.load import load_fleet
from sim.rules import Rules
from sim.run import replay
from sim.statistics.interval import Interval, interval
from sim.statistics.student import NORMAL
from traces.job import JobRecord
from traces.trace import Trace

Floats = NDArray[np.float64]

QUANTITIES: Final = ("wait.mean", "wait.median", "wait.p95", "wait.p99")
JOBS_A_DAY: Final = 50
SCALE_MS: Final = 600_000


class Drawn(NamedTuple):
    """Waits of the same jobs under a baseline `a` and a policy `b`, and the day of each."""

    a: Floats
    b: Floats
    day: NDArray[np.int64]


def drawn(rng: np.random.Generator, days: int, *, effect: float = 0.0, memory: float = 0.0) -> Drawn:
    """Lognormal waits. `effect` is the logarithm by which `b` is longer, and without it the two are equals; `memory` links
    what neighbouring days do to each.
    """
    jobs = 1 + rng.poisson(JOBS_A_DAY * rng.lognormal(-0.125, 0.5, days))
    day = np.repeat(np.arange(days), jobs)
    busy = rng.normal(0, 0.5, days)
    wait = SCALE_MS * np.exp(busy[day] + rng.normal(0, 1.3, len(day)))
    wait[rng.random(len(day)) < 0.3] = 0
    sides = []
    for shift in rng.normal(0, 0.15, (2, days)):
        for i in range(1, days):
            shift[i] = memory * shift[i - 1] + np.sqrt(1 - memory**2) * shift[i]
        sides.append(wait * np.exp(shift[day] + rng.normal(0, 0.25, len(day))))
    return Drawn(np.rint(sides[0]), np.rint(sides[1] * np.exp(effect)), day)


def sampler_of(sample: Drawn, seed: int, resamples: int = 2000, unit: str = "time") -> Sampler:
    """As a comparison would have it after its replays. Unit `trace` takes each day as a trace of its own."""
    count, days = len(sample.day), int(sample.day.max()) + 1
    zeros = np.zeros(count)
    run_ms = 3_600_000.0

    def observed(name: str, waits: Floats) -> list[list[Observed]]:
        slowdown = np.maximum(1, (waits + run_ms) / run_ms)
        columns = {"wait": waits, "completion": waits + run_ms, "bounded_slowdown": slowdown}
        columns |= dict.fromkeys(("preemptions", "not_finished", "not_started"), zeros)
        columns |= dict.fromkeys(
            ("quota_violation", "deadline_missed", "tardiness", "late_requests"), np.full(count, np.nan)
        )
        if unit == "trace":
            return [
                [Observed(f"{name}{i}", {k: v[sample.day == i] for k, v in columns.items()}, {})] for i in range(days)
            ]
        return [[Observed(name, columns, {})]]

    alone = [sample.day == i for i in range(days)] if unit == "trace" else [np.ones(count, dtype=bool)]
    subjects = Subjects(
        counted=[np.ones(int(each.sum()), dtype=bool) for each in alone],
        trace=sample.day if unit == "trace" else np.zeros(count, dtype=np.int64),
        submit_ms=sample.day * DAY_MS + np.arange(count) % 2 * (DAY_MS - 1),
        labels={kind: Labels(np.zeros(count, dtype=np.int64), ["-"]) for kind in KINDS},
        jobs=count,
    )
    rule = BlockRule("trace") if unit == "trace" else BlockRule("time", DAY_MS)
    plan = Plan(blocks=rule, resamples=resamples, seed=seed)
    return Sampler(
        subjects, blocks_of(subjects, plan), plan, {"a": observed("a", sample.a), "b": observed("b", sample.b)}
    )


def differences(sampler: Sampler) -> dict[str, Interval]:
    """The interval of each difference."""
    found = {}
    for name in QUANTITIES:
        selector = Selector(quantity(name), ())
        own, base = (sampler.measured(policy, *selector).estimate for policy in "ba")
        if own is not None and base is not None:
            ends = interval(sampler.honest(own - base, selector, ("b", "a")))
            if ends is not None:
                found[name] = ends
    return found


def truth(effect: float, days: int = 60_000) -> dict[str, float]:
    """Of a sample that is large enough to be the population."""
    found = drawn(np.random.default_rng(99), days, effect=effect)
    at = {"wait.mean": None, "wait.median": 0.5, "wait.p95": 0.95, "wait.p99": 0.99}
    return {
        name: float(
            found.b.mean() - found.a.mean() if q is None else np.quantile(found.b, q) - np.quantile(found.a, q)
        )
        for name, q in at.items()
    }


class Misses(NamedTuple):
    """Shares of intervals that lie above the truth, and below it."""

    above: float
    below: float

    @property
    def coverage(self) -> float:
        """Of the intervals that hold the truth."""
        return 1 - self.above - self.below


def coverage(
    days: int,
    repeats: int,
    *,
    memory: float = 0.0,
    unit: str = "trace",
    known: Mapping[str, float],
    effect: float,
    seed: int = 1,
) -> dict[str, Misses]:
    """How often the interval of each difference misses."""
    rng = np.random.default_rng(seed)
    above, below = Counter[str](), Counter[str]()
    for number in range(repeats):
        sample = drawn(rng, days, effect=effect, memory=memory)
        for name, ends in differences(sampler_of(sample, number, unit=unit)).items():
            above[name] += ends.low > known[name]
            below[name] += ends.high < known[name]
    return {name: Misses(above[name] / repeats, below[name] / repeats) for name in QUANTITIES}


def judged(sampler: Sampler, family: list[Asked] | None = None) -> list[Effect]:
    """The verdicts of `b` against `a`."""
    return family_of(sampler, "b", "a", family or family_for(sampler, "a"))


class Claims(NamedTuple):
    """Of so many comparisons of equals: how many said anything else of any metric, and how many of the mean wait."""

    comparisons: int
    any_metric: int
    mean_wait: int
    no_worse: int
    """How many called every metric no worse."""


def claims(samplers: Iterator[Sampler]) -> Claims:
    """Count them."""
    total = any_metric = mean_wait = no_worse = 0
    for sampler in samplers:
        found = judged(sampler)
        wrong = [each.quantity for each in found if each.verdict in ("better", "worse")]
        total += 1
        any_metric += bool(wrong)
        mean_wait += "wait.mean" in wrong
        no_worse += all(each.verdict == "no worse" for each in found)
    return Claims(total, any_metric, mean_wait, no_worse)


def equals(
    repeats: int, days: int, *, memory: float = 0.0, seed: int = 3, resamples: int = 2000
) -> Iterator[Sampler]:
    """Drawn comparisons without an effect."""
    rng = np.random.default_rng(seed)
    for number in range(repeats):
        yield sampler_of(drawn(rng, days, memory=memory), number, resamples)


def random_trace(seed: int, days: int, load: float, devices: int = 64, jobs_a_day: int = 40) -> Trace:
    """Gangs of 1 to 8 devices, lognormal run times, evenly submitted."""
    rng = np.random.default_rng(seed)
    count = days * jobs_a_day
    sizes = rng.choice([1, 2, 4, 8], count, p=[0.5, 0.2, 0.15, 0.15])
    runs = np.minimum(rng.lognormal(0, 1.3, count), 30)
    runs *= devices * days * DAY_MS * load / float((sizes * runs).sum())
    submits = np.sort(rng.integers(0, days * DAY_MS, count))
    rows = zip(submits.tolist(), runs.tolist(), sizes.tolist(), strict=True)
    records = [
        JobRecord(job_id=f"j{i}", submit_ms=submit, run_ms=int(run) + 1, gpu_count=size)
        for i, (submit, run, size) in enumerate(rows)
    ]
    return Trace("drawn", "canonical", "0" * 64, count, records, [])


def replayed_equals(repeats: int, days: int, load: float, policy: str) -> Iterator[Sampler]:
    """One policy under two streams of random placements, each time on another trace."""
    loaded = load_fleet("8x8")
    for number in range(repeats):
        trace = random_trace(number, days, load)
        runs = [
            replay(trace, loaded, policy, Rules(), policy_seed=2 * number + side, fragmentation=False)
            for side in (0, 1)
        ]
        count = len(trace.records)
        subjects = Subjects(
            counted=[np.ones(count, dtype=bool)],
            trace=np.zeros(count, dtype=np.int64),
            submit_ms=np.array([job.submit_ms for job in trace.records], dtype=np.int64),
            labels={kind: Labels(np.zeros(count, dtype=np.int64), ["-"]) for kind in KINDS},
            jobs=count,
        )
        plan = Plan(blocks=BlockRule("time", DAY_MS), seed=number)
        observed = {name: [[observe(run)]] for name, run in zip("ab", runs, strict=True)}
        yield Sampler(subjects, blocks_of(subjects, plan), plan, observed)


class Power(NamedTuple):
    """Pilots that stayed undecided, the blocks that they asked for in the median, and how many of those decided then."""

    pilots: int
    asked: float
    decided: float


def power(repeats: int, *, effect: float, pilot_days: int = 20, seed: int = 7) -> Power:
    """Of the mean wait alone. The pilot asks for blocks; the median of what pilots ask is then given to new comparisons."""
    rng = np.random.default_rng(seed)
    family = [each for each in default_family(whole_runs=False) if each.selector.quantity.name == "wait.mean"]
    asked = []
    for number in range(repeats):
        (found,) = judged(sampler_of(drawn(rng, pilot_days, effect=effect), number, unit="trace"), family)
        if found.blocks_needed:
            asked.append(found.blocks_needed)
    days = int(np.median(asked))
    said = Counter(
        judged(sampler_of(drawn(rng, days, effect=effect), number, unit="trace"), family)[0].verdict
        for number in range(repeats)
    )
    return Power(len(asked), days, (repeats - said["undecided"]) / repeats)


def needed(effect: float, days: int = 4000) -> float:
    """Blocks that a power of 80 % takes, from the true spread."""
    sample = drawn(np.random.default_rng(11), days, effect=effect)
    per_day = np.bincount(sample.day, sample.b - sample.a) / np.bincount(sample.day).mean()
    both = NORMAL.inv_cdf(0.975) + NORMAL.inv_cdf(0.8)
    return float((both * per_day.std() / per_day.mean()) ** 2)


def _table(title: str, found: Mapping[str, Misses]) -> None:
    told = "  ".join(
        f"{name} {each.coverage:.3f} ({each.above:.3f}, {each.below:.3f})" for name, each in found.items()
    )
    print(f"{title:34s} {told}", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--quick", action="store_true", help="a tenth of the repeats")
    options = parser.parse_args()
    repeats = options.repeats // 10 if options.quick else options.repeats
    began = time.process_time()
    print(f"Python {sys.version.split()[0]}, numpy {np.__version__}; {repeats} repeats; 2,000 resamples")
    effect = 0.05
    known = truth(effect)
    print(
        "coverage of 95 % intervals of the difference; in brackets the shares that lie above the truth, and below it"
    )
    for days in (8, 12, 20, 40, 60):
        _table(f"{days} independent blocks", coverage(days, repeats, known=known, effect=effect))
    for memory in (0.0, 0.3, 0.6):
        _table(
            f"40 days, memory {memory}", coverage(40, repeats, memory=memory, unit="time", known=known, effect=effect)
        )
    print("claims of better or worse between equals: all are false")
    for title, samplers in (
        ("drawn, 20 days", equals(repeats, 20)),
        ("drawn, 60 days", equals(repeats, 60)),
        ("drawn, 60 days, memory 0.6", equals(repeats, 60, memory=0.6)),
        ("replayed, load 0.7, 24 days", replayed_equals(repeats // 5, 24, 0.7, "best-effort-fifo:place=random")),
        ("replayed, load 0.9, 24 days", replayed_equals(repeats // 5, 24, 0.9, "best-effort-fifo:place=random")),
        ("replayed, fifo, load 0.9, 24 days", replayed_equals(repeats // 5, 24, 0.9, "fifo:place=random")),
    ):
        found = claims(samplers)
        print(
            f"{title:34s} {found.comparisons} comparisons  in any of 13 metrics {found.any_metric / found.comparisons:.3f}"
            f"  in the mean wait {found.mean_wait / found.comparisons:.3f}",
            flush=True,
        )
    print(
        "power: blocks asked for by 20 blocks (median), by the true spread, and how often they decide; promised is 0.80"
    )
    for size in (-0.05, -0.1):
        got = power(repeats, effect=size)
        print(
            f"effect {size:+.2f}  {got.asked:.0f} asked, {needed(size):.0f} true, {got.decided:.3f} decide",
            flush=True,
        )
    print(f"{time.process_time() - began:.0f} s of CPU time")


if __name__ == "__main__":
    main()
