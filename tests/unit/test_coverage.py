"""The short version of `benchmarks/coverage.py`: equals are not told apart, effects are found, dependence is seen."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.coverage import Drawn, claims, coverage, drawn, equals, judged, power, sampler_of, truth
from sim.experiment.quantities import Selector, quantity

WAIT = Selector(quantity("wait.mean"), ())


def test_the_same_policy_under_two_names_is_no_worse():
    rng = np.random.default_rng(1)
    for number in range(20):
        sample = drawn(rng, 4 + number)
        found = judged(sampler_of(Drawn(sample.a, sample.a, sample.day), number, resamples=200))
        assert {each.verdict for each in found} == {"no worse"}, "even of too few blocks: no job differs"


def test_two_hundred_comparisons_of_equals():
    """Nothing differs but noise of three percent: no worse within the margin, and no claim of a difference."""
    rng = np.random.default_rng(2)
    verdicts = []
    for number in range(200):
        sample = drawn(rng, 20)
        noisy = np.rint(sample.a * np.exp(rng.normal(0, 0.03, len(sample.a))))
        found = judged(sampler_of(Drawn(sample.a, noisy, sample.day), number, resamples=200))
        verdicts.append({each.quantity: each.verdict for each in found})
    no_worse = [each["wait.mean"] == "no worse" and each["completion.mean"] == "no worse" for each in verdicts]
    claimed = [bool({"better", "worse"} & set(each.values())) for each in verdicts]
    assert np.mean(no_worse) >= 0.94
    assert np.mean(claimed) <= 0.05


def test_equals_with_large_noise_and_memory_are_not_told_apart():
    for memory in (0.0, 0.6):
        found = claims(equals(100, 30, memory=memory, resamples=200))
        assert found.any_metric <= 0.05 * found.comparisons


def test_days_that_reach_into_the_next_are_worth_fewer_where_they_follow_each_other():
    day = np.repeat(np.arange(40), 10)
    waits = np.full(400, 60_000.0)
    sample = Drawn(waits, waits * (1 + day // 8 % 2), day)  # eight days as before, eight days twice as long, ...
    worth = {}
    for unit in ("time", "trace"):
        sampler = sampler_of(sample, 0, resamples=200, unit=unit)
        own, base = (sampler.measured(policy, *WAIT).estimate for policy in "ba")
        worth[unit] = sampler.honest(own - base, WAIT, ("b", "a")).blocks
    assert worth["trace"] == 40
    assert worth["time"] < 8, "five stretches"


@pytest.mark.parametrize("days", [8, 20])
def test_intervals_cover_the_truth(days):
    known = truth(0.1, days=20_000)
    for name, found in coverage(days, 150, known=known, effect=0.1).items():
        assert found.coverage > 0.9, (name, found)


def test_a_known_effect_is_found_with_the_blocks_that_were_asked_for():
    found = power(60, effect=-0.1)
    assert found.pilots > 10, "20 blocks leave it undecided often enough to ask"
    assert found.decided >= 0.75
