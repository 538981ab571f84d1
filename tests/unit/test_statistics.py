"""Resampling of blocks: against numpy on samples that are truly built, against tables, and by what must hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.statistics.dependence import added, allowing_for, lag_one
from sim.statistics.draws import draw
from sim.statistics.estimate import Estimate, estimate
from sim.statistics.holm import holm
from sim.statistics.interval import Interval, acceleration, interval, p_value
from sim.statistics.pool import Pool, ratio_of_sums
from sim.statistics.student import t_cdf, t_quantile
from sim.statistics.verdict import BLOCKS_MIN, decide, enough, in_blocks, judge

QS = (0.0, 0.5, 0.95, 0.99, 1.0)


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize(
    ("p", "freedom", "t"),
    [(0.975, 1, 12.7062), (0.975, 2, 4.30265), (0.975, 9, 2.26216), (0.975, 19, 2.09302), (0.995, 30, 2.75)],
)
def test_quantiles_of_students_t_are_those_of_the_tables(p, freedom, t):
    assert t_quantile(p, freedom) == pytest.approx(t, abs=5e-5)
    assert t_quantile(1 - p, freedom) == pytest.approx(-t, abs=5e-5)
    assert t_cdf(t_quantile(p, freedom), freedom) == pytest.approx(p, abs=1e-12)


def test_students_t_has_its_limits():
    assert t_quantile(0.975, 10_000) == pytest.approx(1.959964, abs=1e-6)
    with pytest.raises(ValueError, match="degrees of freedom"):
        t_cdf(1.0, 0)
    with pytest.raises(ValueError, match="between 0 and 1"):
        t_quantile(1.0, 3)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.integers(1, 9), st.integers(0, 2**32))
def test_every_weighting_equals_the_sample_that_it_stands_for(jobs, blocks, seed):
    """Means, sums and quantiles against numpy on the sample with every job repeated, ties and missing values too."""
    chance = rng(seed)
    values = np.round(chance.lognormal(2, 2, jobs), 1) * (chance.random(jobs) < 0.8)
    values[chance.random(jobs) < 0.1] = np.nan
    codes = chance.integers(0, blocks, jobs)
    weights = draw(blocks, chance, 20).weights
    pool = Pool(values, codes, blocks)
    quantiles, means, sums = pool.quantiles(weights, QS), pool.mean(weights), pool.sum(weights)
    for row, weight in enumerate(weights):
        built = np.repeat(values, weight[codes].astype(int))
        built = built[~np.isnan(built)]
        mean_of_blocks = built.sum() / weight.sum() if weight.any() else math.nan
        assert sums[row] == pytest.approx(blocks * mean_of_blocks, nan_ok=True)
        if len(built):
            assert quantiles[:, row].tolist() == np.quantile(built, QS).tolist()
            assert means[row] == pytest.approx(built.mean())
        else:
            assert np.isnan(quantiles[:, row]).all()
            assert np.isnan(means[row])


def test_draws_are_the_sample_its_resamples_and_the_sample_without_each_block():
    found = draw(5, rng(), 100)
    assert found.weights.shape == (106, 5)
    assert found.weights[0].tolist() == [1] * 5
    assert (found.weights[1:101].sum(axis=1) == 5).all()
    assert (found.weights[101:] == 1 - np.eye(5)).all()
    assert (draw(5, rng(), 100).weights == found.weights).all()
    assert not (draw(5, rng(1), 100).weights == found.weights).all()
    with pytest.raises(ValueError, match="at least one block"):
        draw(0, rng())


def test_a_share_of_nothing_is_no_share():
    assert np.isnan(ratio_of_sums(np.array([1.0, 0.0]), np.array([2.0, 0.0]), np.array([[0.0, 1.0]]))[0])


def mean_of(values, seed=0, blocks=12):
    codes = np.arange(len(values)) % blocks
    draws = draw(blocks, rng(seed), 2000)
    return estimate(Pool(np.asarray(values, dtype=float), codes, blocks).mean(draws.weights), draws)


VALUES = rng(3).lognormal(0, 1, 120)


def test_an_interval_moves_with_its_sample_and_mirrors_with_its_sign():
    base, moved = interval(mean_of(VALUES)), interval(mean_of(10 + 2 * VALUES))
    assert base is not None
    assert moved is not None
    assert moved == pytest.approx([10 + 2 * each for each in base])
    mirrored = interval(mean_of(-VALUES))
    assert mirrored is not None
    assert (-mirrored.high, -mirrored.low) == pytest.approx((base.low, base.high), rel=1e-9)
    assert base.low < base.value < base.high


def test_an_interval_of_a_normal_sample_is_that_of_the_textbook():
    """12 blocks of one value: value -+ t(11) s / sqrt(12), up to the noise of 2,000 resamples."""
    values = rng(8).normal(0, 1, 12)
    found = interval(mean_of(values))
    assert found is not None
    reach = t_quantile(0.975, 11) * values.std(ddof=1) / math.sqrt(12)
    assert found.high - found.low == pytest.approx(2 * reach, rel=0.15)
    assert found.high >= values.mean() + reach * 0.97
    assert found.low <= values.mean() - reach * 0.97


def test_the_p_value_and_the_interval_say_the_same():
    found = mean_of(VALUES)
    ends = interval(found)
    assert ends is not None
    for end in (ends.low, ends.high):
        assert p_value(found, end) == pytest.approx(0.05, abs=0.006)
    p_inside, p_outside = p_value(found, ends.value + 0.01), p_value(found, ends.high * 3)
    assert p_inside is not None
    assert p_inside > 0.5
    assert p_outside == pytest.approx(2 / 2001), "never below what the resamples can tell"


def test_where_there_is_no_interval():
    none = np.full(5, np.nan)
    assert interval(Estimate(1.0, np.ones(5), np.ones(1), blocks=1)) is None
    assert interval(Estimate(math.nan, np.ones(5), np.ones(5), blocks=5)) is None
    assert interval(Estimate(1.0, none, np.ones(5), blocks=5)) is None
    assert p_value(Estimate(1.0, none, np.ones(5), blocks=5)) is None


def test_a_constant_is_certain():
    found = mean_of(np.full(24, 3.0))
    assert interval(found) == Interval(3.0, 3.0, 3.0)
    assert p_value(found, 3.0) == 1.0
    assert p_value(found, 0.0) == pytest.approx(2 / 2001)
    assert acceleration(found.left_out) == 0.0


def test_arithmetic_keeps_pairs_together():
    base, other = mean_of(VALUES), mean_of(1.1 * VALUES)
    ratio = interval(other / base)
    assert ratio == pytest.approx((1.1, 1.1, 1.1)), "each resample holds the same blocks under both"
    over = other.excess(base, relative=0.05, absolute=0.0, worse=1)
    assert over.value == pytest.approx(0.05 * base.value)
    assert other.excess(base, relative=0.05, absolute=99.0, worse=1).value == pytest.approx(0.1 * base.value - 99)
    assert other.excess(base, relative=0.05, absolute=None, worse=-1).value == pytest.approx(-0.15 * base.value)
    assert other.beyond(1.0, -1).value == pytest.approx(1 - other.value)
    zero = mean_of(np.zeros(24))
    assert interval(zero / zero) is None, "no ratio to nothing"
    with pytest.raises(ValueError, match="a part or an amount"):
        other.excess(base, relative=None, absolute=None, worse=1)


def test_holm_by_hand():
    # sorted 0.005 x 4, 0.01 x 3, 0.03 x 2, 0.04 x 1 -> never below the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, None, 0.9]) == [1.0, None, 1.0]
    assert holm([]) == []


def of(low, value, high):
    return Interval(value, low, high)


@pytest.mark.parametrize(
    ("difference", "excess", "p", "said"),
    [
        (of(-9, -5, -1), of(-19, -15, -11), 0.01, "better"),
        (of(-9, -5, -1), of(-19, -15, -11), 0.20, "no worse"),
        (of(-3, 1, 5), of(-13, -9, -5), 0.60, "no worse"),
        (of(1, 3, 5), of(-9, -7, -5), 0.01, "no worse"),
        (of(1, 8, 15), of(-9, -2, 5), 0.01, "worse"),
        (of(-5, 8, 21), of(-15, -2, 11), 0.20, "undecided"),
        (None, None, None, "undecided"),
    ],
)
def test_the_word_for_a_metric(difference, excess, p, said):
    assert decide(difference, excess, p=p, blocks=20, same=False).said == said
    few = decide(difference, excess, p=p, blocks=BLOCKS_MIN - 1, same=False)
    assert few.said == "undecided"
    assert (few.blocks_needed or 0) >= BLOCKS_MIN
    assert few.why == "too few independent blocks: 7, and at least 8 are needed"
    assert decide(difference, excess, p=p, blocks=7, same=False, of=7).why == few.why
    together = decide(difference, excess, p=p, blocks=3, same=False, of=14)
    assert together.why == (
        "too few independent blocks: 3, and at least 8 are needed; the 14 blocks hang together, as where one backlog"
        " lasts over several of them"
    )
    assert decide(difference, excess, p=p, blocks=1, same=True).said == "no worse"


@pytest.mark.parametrize(
    ("excess", "outcome"),
    [(of(-3, -2, 0), "pass"), (of(0, 2, 3), "undecided"), (of(0.1, 2, 3), "fail"), (None, "undecided")],
)
def test_the_outcome_of_a_gate(excess, outcome):
    value = None if excess is None else excess.value
    assert judge(value, excess, blocks=20, same=False).outcome == outcome
    assert judge(value, excess, blocks=7, same=False).outcome == "undecided"


def test_a_gate_for_jobs_that_are_all_the_same():
    assert judge(0.0, None, blocks=1, same=True).outcome == "pass"
    assert judge(0.1, None, blocks=50, same=True).outcome == "fail", "an improvement was asked for"


def test_how_many_blocks_would_decide():
    # 20 blocks, +-2.093 wide: standard error 1 at an effect of 1; (1.96 + 0.8416)^2 x 20 = 157
    assert enough(of(-1.093024, 1, 3.093024), 20) == 157
    assert enough(of(-3.093024, -1, 1.093024), 20) == 157
    assert enough(of(-1, 0, 1), 20) is None
    assert enough(of(-1e6, 1, 1e6), 20) is None
    assert enough(of(0.5, 1, 1.5), 20) == 21, "what only the correction for many metrics leaves open needs one more"


def test_neighbours_that_move_together_are_noticed():
    one = np.zeros(24, dtype=np.int64)
    walk, noise = np.repeat(rng(1).normal(size=6), 4), rng(1).normal(size=24)
    assert lag_one(walk, one) > 0.5
    assert lag_one(noise, one) < 0.4
    assert lag_one(walk, np.arange(24)) <= 0.05, "blocks of different traces are no neighbours"
    assert lag_one(np.arange(3.0), one[:3]) == 0.0
    assert lag_one(np.ones(9), one[:9]) == 0.0
    # -19 / 20, and the correction (1 - 3 x 0.95) / 20
    assert lag_one(np.array([1.0, -1.0] * 10), one[:20]) == pytest.approx(-0.95 - 0.0925)


def test_what_a_block_adds():
    found = mean_of(np.arange(12.0))
    assert added(found.left_out).tolist() == pytest.approx(((np.arange(12) - 5.5) / 11).tolist())
    assert added(np.array([np.nan, 1.0, 3.0])).tolist() == [0.0, 1.0, -1.0]
    assert added(np.full(2, np.nan)).tolist() == [0.0, 0.0]
    assert added(np.array([0.1 + 0.2, 0.3, 0.3])).tolist() == [0.0, 0.0, 0.0], "rounding is no difference"


def test_dependent_blocks_are_worth_fewer():
    found = mean_of(VALUES)
    wider = allowing_for(found, 0.6)
    assert wider.value == found.value
    assert wider.resampled.std() == pytest.approx(2 * found.resampled.std()), "the root of 1.6 / 0.4"
    assert wider.blocks == 3
    assert allowing_for(found, -0.6) is found
    assert in_blocks(10, 12, 3) == 40
    assert in_blocks(None, 12, 3) is None


def test_of_a_series_that_remembers_the_interval_covers_the_mean():
    """300 series of 60 blocks with correlation 0.5: blocks taken as independent cover 75 %, allowed for about 95 %."""
    chance = rng(4)
    plain = honest = 0
    for _ in range(300):
        noise = chance.normal(size=80)
        for i in range(1, 80):
            noise[i] += 0.5 * noise[i - 1]
        draws = draw(60, chance, 400)
        found = estimate(Pool(noise[20:], np.arange(60), 60).mean(draws.weights), draws)
        allowed = allowing_for(found, lag_one(added(found.left_out), np.zeros(60, dtype=np.int64)))
        ends = [interval(each) for each in (found, allowed)]
        plain += ends[0].low <= 0 <= ends[0].high
        honest += ends[1].low <= 0 <= ends[1].high
    assert plain / 300 < 0.83
    assert honest / 300 > 0.91
