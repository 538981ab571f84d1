"""How long requests take: against textbook formulas, integers worked out by hand, and a simulation of single requests."""

from __future__ import annotations

import heapq
import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.services.arrivals import Arrivals, together
from sim.services.latency import all_busy, arrivals
from sim.services.service import Steps

HOUR = 3_600_000


def steps(*pairs: tuple[int, float]) -> Steps:
    at, values = zip(*pairs, strict=True)
    return Steps(np.array(at, dtype=np.int64), np.array(values, dtype=np.float64))


def queue(rate, end_ms, slots, each_per_s=1.0) -> Arrivals:
    """All slots answer equally many requests in a second."""
    return arrivals(steps(*rate), end_ms, steps(*slots), steps(*((at, n * each_per_s) for at, n in slots)))


def erlang_c(offered: Fraction, slots: int) -> Fraction:
    """Erlang's delay formula as textbooks print it, with exact fractions."""
    below = sum((offered**k / math.factorial(k) for k in range(slots)), Fraction(0))
    top = offered**slots / math.factorial(slots) * slots / (slots - offered)
    return top / (below + top)


@pytest.mark.parametrize(
    ("offered", "slots"), [("1/2", 1), ("9/10", 1), ("3", 4), ("1/100", 3), ("39/2", 20), ("95", 100)]
)
def test_the_probability_to_wait_is_erlangs(offered, slots):
    load = Fraction(offered)
    found = all_busy(np.array([float(load)]), np.array([float(slots)]), np.array([float(1 - load / slots)]))
    assert found[0] == pytest.approx(float(erlang_c(load, slots)), rel=1e-12)


def test_thousands_of_slots_against_the_recursion():
    for offered, slots in ((4900.0, 5000), (49_990.0, 50_000), (100.0, 5000)):
        blocked = 1.0
        for k in range(1, slots + 1):
            blocked = offered * blocked / (k + offered * blocked)
        expected = blocked / (1 - offered / slots * (1 - blocked))
        found = all_busy(np.array([offered]), np.array([float(slots)]), np.array([1 - offered / slots]))
        assert found[0] == pytest.approx(expected, rel=1e-9, abs=1e-29)


def test_one_slot_is_the_mm1_queue():
    """The time in an M/M/1 queue is exponential with rate mu - lambda, here 0.25 a second."""
    found = queue([(0, 0.75)], HOUR, [(0, 1)])
    assert found.total == pytest.approx(2700)
    assert found.mean_ms() == pytest.approx(4000)
    for q in (0.01, 0.5, 0.95, 0.999):
        assert found.quantile_ms(q) == pytest.approx(-4000 * math.log(1 - q), rel=2e-9)
        assert found.share_above(-4000 * math.log(1 - q)) == pytest.approx(1 - q)


@pytest.mark.parametrize(("rate", "slots"), [(2.5, 4), (3.0, 4), (2.999999999, 4), (0.2, 3)])
def test_a_stationary_piece_is_erlangs_wait_and_a_time_in_a_slot(rate, slots):
    """At 3 of 4 the wait and the time in the slot have the same rate: the formula with a quotient of differences has none."""
    delay, relief = float(erlang_c(Fraction(rate), slots)), slots - rate
    found = queue([(0, rate)], HOUR, [(0, slots)])
    assert found.mean_ms() == pytest.approx(1000 * (1 + delay / relief))
    for seconds in (0.0, 0.3, 1.0, 4.0):
        grid = np.linspace(0, seconds, 20_001)
        middle = (grid[1:] + grid[:-1]) / 2
        answered = (1 - delay * np.exp(-relief * (seconds - middle))) * np.exp(
            -middle
        )  # time in the slot, then the wait
        share = answered.sum() * (grid[1] - grid[0])
        assert found.share_above(seconds * 1000) == pytest.approx(1 - share, abs=1e-8)


def test_overload_by_hand():
    """10 requests a second for 10 s, and 5 are answered: 50 are left, and are gone 10 s later. Who comes at t waits t seconds,
    and for 5 / (10 - 5) = 1 request more, which was not answered while the line was empty by chance: 0.2 s.
    """
    found = queue([(0, 10), (10_000, 0)], 60_000, [(0, 5)])
    assert (found.total, found.unanswered) == (100, 0)
    assert found.mean_ms() == pytest.approx(5000 + 200 + 1000)
    # exponentials of 0.2 s and 1 s are together above s with (5 e^-s - e^-5s) / 4; its mean over s from 0 to 10
    assert found.share_above(10_000) == pytest.approx((5 * (1 - math.exp(-10)) - (1 - math.exp(-50)) / 5) / 40)
    assert found.share_above(0) == 1


def test_more_slots_help_those_who_wait_already():
    """From 10 s on 20 are answered a second: the 50 that are left are gone at 12.5 s. Rank 75, from 7.5 s, starts at 11.25 s."""
    found = queue([(0, 10), (10_000, 0)], 60_000, [(0, 5), (10_000, 20)])
    rows = found.cut(np.array([5000.0, 7500.0]))
    assert rows.until_ms.tolist() == [5000, 7500, 10_000]
    assert rows.requests.tolist() == [50, 25, 25]
    assert rows.first_wait_ms.tolist() == [0, 5000, 3750]
    assert rows.last_wait_ms.tolist() == [5000, 3750, 2500]
    # 1 request more is 0.2 s before the change, and 0.05 s after it
    assert found.mean_ms() == pytest.approx(1000 + (50 * (2500 + 200) + 25 * (4375 + 50) + 25 * (3125 + 50)) / 100)


def test_a_time_without_any_replica():
    """Nothing answers from 10 to 20 s; 2 come a second, 4 are answered. Who comes in it waits until 20 s and for the line."""
    found = queue([(0, 2)], 60_000, [(0, 4), (10_000, 0), (20_000, 4)])
    held = found.rows(found.waits == 0)
    assert (held.from_ms.min(), held.until_ms.max(), held.requests.sum()) == (10_000, 30_000, 40)
    assert held.first_wait_ms.tolist() == [10_000, 5000]  # at 10 s; at 20 s there are 20 in line, for 5 s
    assert held.last_wait_ms.tolist() == [5000, 0]
    assert found.total == 120


def test_what_waits_when_nothing_answers_skips_the_gap():
    """4 come a second, 2 are answered until 10 s, none until 30 s, 8 after it."""
    found = queue([(0, 4), (10_000, 0)], 60_000, [(0, 2), (10_000, 0), (30_000, 8)])
    assert found.first_wait_ms.tolist() == [0, 25_000]  # rank 20, from 5 s, is the first behind the gap
    assert found.last_wait_ms.tolist() == [5000, 22_500]  # rank 40, from 10 s: 20 / 8 s behind it
    assert found.requests.tolist() == [20, 20]


def test_what_is_left_at_the_end_is_never_answered():
    found = queue([(0, 10)], 10_000, [(0, 5)])
    assert (found.total, found.unanswered) == (100, 50)
    assert found.mean_ms() == math.inf
    assert (found.quantile_ms(0.5), found.quantile_ms(0.9)) == (math.inf, math.inf)
    assert found.quantile_ms(0.4999) < 60_000
    assert found.share_above(1e9) == 0.5
    alone = queue([(0, 1)], 10_000, [(0, 0)])
    assert (alone.total, alone.unanswered, alone.quantile_ms(0.01)) == (10, 10, math.inf)


@pytest.mark.parametrize(
    ("over", "calm", "answered", "lasts_ms"),
    [(0.5, 0.05, 0.1, 202), (3 * 0.1, 0.0, 0.1, 656_313), (1.5, 0.0, 0.3, 1)],
)
def test_a_backlog_that_is_gone_exactly_at_the_end(over, calm, answered, lasts_ms):
    """What came too much is answered in the rest of the time, but for the rounding of floating point."""
    end_ms = lasts_ms + round(lasts_ms * (over - answered) / (answered - calm))
    found = queue([(0, over), (lasts_ms, calm)], end_ms, [(0, 1)], answered)
    assert found.unanswered == 0
    assert found.total == pytest.approx((over * lasts_ms + calm * (end_ms - lasts_ms)) / 1000)
    assert math.isfinite(found.mean_ms())


def test_what_comes_too_much_by_rounding_alone_is_no_backlog():
    """3 x 1.1 is a little more than 3.3; without the rounding the line is as at saturation, and all are answered."""
    found, exact = (queue([(0, come)], HOUR, [(0, 1)], 3.3) for come in (3 * 1.1, 3.3))
    assert found.unanswered == 0
    assert found.mean_ms() == pytest.approx(exact.mean_ms())


def test_at_saturation_the_line_grows_with_the_root_of_time():
    """Its mean square is 2 x 18,000 requests after an hour: of an exponential with mean 134, of which 5 are answered a second."""
    found = queue([(0, 5)], HOUR, [(0, 5)])
    assert (found.first_wait_ms, found.last_wait_ms) == ([0], [0])
    assert found.mean_ms() == pytest.approx(1000 + 1000 * math.sqrt(18_000) / 5)


@pytest.mark.parametrize("come", [6.0, 6.0001, 6.01, 9.0])
def test_a_wait_in_line_and_two_exponentials(come):
    """At 6 a second that come and 5 that are answered, the wait for 5 more requests has the rate of the time in a slot."""
    found = queue([(0, come), (10_000, 0)], HOUR, [(0, 5)])
    more = come - 5  # one over its mean in seconds: 5 answered a second / (5 / (come - 5)) requests
    last = more * 10 / 5
    for limit in (0.1, 1.0, last, 7.0):
        wait = (np.arange(1000) + 0.5) / 1000 * last
        left = np.maximum(limit - wait, 0)[:, None]
        middle = (np.arange(2000) + 0.5) / 2000 * left
        within = (more * np.exp(-more * middle) * (1 - np.exp(-(left - middle)))).mean(axis=1) * left[:, 0]
        assert found.share_above(1000 * limit) == pytest.approx(1 - within.mean(), abs=1e-5)


def test_slots_of_unlike_speed_count_as_of_their_mean_speed():
    """A slot of 1 and one of 3 requests a second are two of 2; 400 requests wait behind them."""
    found = arrivals(steps((0, 8), (100_000, 0)), 300_000, steps((0, 2)), steps((0, 4.0)))
    assert set(found.answer_per_ms.tolist()) == {0.002}
    assert found.mean_ms() == pytest.approx(50_000 + 250 + 500)  # one request more, of 4 a second


def test_nothing_asked_has_no_value():
    found = queue([(0, 0)], HOUR, [(0, 3)])
    assert found.total == 0
    assert [math.isnan(each) for each in (found.mean_ms(), found.quantile_ms(0.5), found.share_above(1))] == [
        True
    ] * 3


def test_services_together_are_a_mixture():
    fast, slow = queue([(0, 3)], HOUR, [(0, 10)], 2.0), queue([(0, 1)], HOUR, [(0, 10)], 0.5)
    both = together([fast, slow])
    assert both.share_above(1500) == pytest.approx((3 * fast.share_above(1500) + slow.share_above(1500)) / 4)
    assert both.mean_ms() == pytest.approx((3 * fast.mean_ms() + slow.mean_ms()) / 4)


# -- single requests ---------------------------------------------------------------------------------------------------


def simulated(rate, end_s: float, slots: int, rng: np.random.Generator) -> np.ndarray:
    """The times of the requests of one M(t)/M/c queue, event by event; `rate` is a list of (from second, requests a second)."""
    came: list[float] = []
    for (begin, per_s), after in zip(rate, [*(at for at, _ in rate[1:]), end_s], strict=True):
        came += sorted(rng.uniform(begin, after, rng.poisson(per_s * (after - begin))))
    free = [0.0] * slots
    found = []
    for at, length in zip(came, rng.exponential(1.0, len(came)), strict=True):
        done = max(heapq.heappop(free), at) + length
        heapq.heappush(free, done)
        found.append(done - at)
    return np.array(found)


def within_its_interval(of_runs: list[float], expected: float, *, allowed: float = 0.0) -> None:
    """The mean of runs is as expected, give or take its 99.9 % interval and, where the model is an approximation, so much."""
    mean, half = np.mean(of_runs), 3.3 * np.std(of_runs, ddof=1) / math.sqrt(len(of_runs))
    assert abs(mean - expected) <= half + allowed * expected, (mean, half, expected)


def test_a_stationary_queue_is_what_single_requests_see():
    rng = np.random.default_rng(5)
    runs = [simulated([(0, 4.0)], 4000, 5, rng)[2000:] for _ in range(12)]
    found = queue([(0, 4.0)], 4_000_000, [(0, 5)])
    within_its_interval([run.mean() for run in runs], found.mean_ms() / 1000)
    limit = found.quantile_ms(0.95) / 1000
    within_its_interval([(run > limit).mean() for run in runs], 0.05)


def test_a_long_overload_is_what_single_requests_see():
    """300 slots, 400 requests a second for ten minutes, then 150 until nothing is left: the noise of a fluid is 2 % at most."""
    rng = np.random.default_rng(6)
    rate = [(0, 150.0), (60, 400.0), (360, 150.0)]
    runs = [simulated(rate, 900, 300, rng) for _ in range(6)]
    found = queue([(int(at * 1000), per_s) for at, per_s in rate], 900_000, [(0, 300)])
    assert found.unanswered == 0
    assert found.mean_ms() > 30_000
    within_its_interval([run.mean() for run in runs], found.mean_ms() / 1000, allowed=0.02)
    for q in (0.5, 0.95):
        within_its_interval([float(np.quantile(run, q)) for run in runs], found.quantile_ms(q) / 1000, allowed=0.02)


@pytest.mark.parametrize("rate", [9.9, 9.999, 10.0, 10.1])
def test_a_line_close_to_saturation_has_no_time_to_become_long(rate):
    """Ten slots for five minutes. Stationary means are 11 s and 1001 s, those of a fluid 1 s and 2.5 s: the model
    is above the truth, less than twice it.
    """
    rng = np.random.default_rng(7)
    runs = [simulated([(0, rate)], 300, 10, rng).mean() for _ in range(150)]
    found = queue([(0, rate), (300_000, 0)], HOUR, [(0, 10)]).mean_ms() / 1000
    mean, half = np.mean(runs), 3.3 * np.std(runs, ddof=1) / math.sqrt(len(runs))
    assert mean + half < found < 2 * mean


def test_the_line_goes_on_growing_where_the_rate_changes_a_little():
    """Cut into minutes it is the same line: each minute is bounded by all that has come since there was none."""
    rate = [(minute * 60_000, 9.99 + 0.001 * (minute % 2)) for minute in range(5)]
    found = queue(rate, 300_000, [(0, 10)])
    assert (np.diff(found.relief_per_ms) < 0).all()
    whole = queue([(0, 9.99)], 300_000, [(0, 10)])
    assert found.relief_per_ms[-1] == pytest.approx(whole.relief_per_ms[0], rel=1e-3)
    # 2 x 2997 requests are the mean square of a line of exponential length with mean 54.7, of which 10 are answered a second
    assert 1 / whole.relief_per_ms[0] == pytest.approx(1000 * math.sqrt(2997) / 10)


# -- what holds for all ------------------------------------------------------------------------------------------------

TIMES = st.lists(st.integers(1, 100_000), min_size=1, max_size=5, unique=True).map(sorted)


@st.composite
def queues(draw) -> tuple[list[tuple[int, float]], int, list[tuple[int, int]]]:
    """Rate, end and slots."""
    times = [0, *draw(TIMES)]
    rate = [(at, draw(st.integers(0, 40)) / 4) for at in times]
    slots = [(at, draw(st.integers(0, 10))) for at in [0, *draw(TIMES)]]
    return rate, times[-1] + draw(st.integers(1, 50_000)), slots


@given(queues())
def test_every_request_is_there_once_and_none_before_its_time(given_queue):
    rate, end_ms, slots = given_queue
    found = queue(rate, end_ms, slots)
    until = [at for at, _ in rate[1:]] + [end_ms]
    expected = sum(per_s * (after - at) / 1000 for (at, per_s), after in zip(rate, until, strict=True))
    assert found.total == pytest.approx(expected)
    assert (found.first_wait_ms >= 0).all()
    assert (found.last_wait_ms >= 0).all()
    assert (found.from_ms <= found.until_ms).all()
    assert found.within(-np.inf, np.inf).total == pytest.approx(expected)
    half = end_ms / 2
    assert found.within(-np.inf, half).total + found.within(half, np.inf).total == pytest.approx(expected)


@given(queues(), st.lists(st.floats(0, 1e6), min_size=2, max_size=6))
def test_shares_fall_and_quantiles_are_their_inverse(given_queue, limits):
    found = queue(*given_queue)
    if not found.total:
        return
    shares = [found.share_above(limit) for limit in sorted(limits)]
    assert all(a >= b - 1e-12 for a, b in pairwise(shares))
    assert all(-1e-12 <= each <= 1 + 1e-12 for each in shares)
    for q in (0.1, 0.5, 0.99):
        at = found.quantile_ms(q)
        if math.isinf(at):
            assert found.unanswered / found.total >= 1 - q - 1e-12
        else:
            assert found.share_above(at) == pytest.approx(1 - q, abs=1e-7)


@given(queues(), st.lists(st.floats(0, 150_000), min_size=1, max_size=5, unique=True))
def test_cutting_changes_nothing(given_queue, times):
    found = queue(*given_queue)
    cut = found.cut(np.array(sorted(times)))
    for limit in (0.0, 700.0, 20_000.0):
        assert cut.above(limit).sum() == pytest.approx(found.above(limit).sum(), abs=1e-9)


@given(queues(), st.integers(-(10**12), 10**12))
def test_time_may_begin_anywhere(given_queue, by):
    rate, end_ms, slots = given_queue
    here = queue(rate, end_ms, slots)
    there = queue([(at + by, n) for at, n in rate], end_ms + by, [(at + by, n) for at, n in slots])
    assert all(np.array_equal(a, b) for a, b in zip(here, there, strict=True))


@given(queues(), st.integers(1, 5))
def test_more_slots_answer_no_backlog_later(given_queue, more):
    """Of the fluid alone, in pieces that are kept in backlog by so much work that no slot is free, before and after."""
    rate, end_ms, slots = given_queue
    rate = [(0, 20.0 + 10 * len(slots)), *((at, per_s + 20) for at, per_s in rate[1:])]
    few, many = (queue(rate, end_ms, [(at, n + extra) for at, n in slots]) for extra in (0, more))
    few, many = (each._replace(waits=np.zeros(len(each.waits))) for each in (few, many))
    for limit in (0.0, 1500.0, 30_000.0):
        assert many.above(limit).sum() <= few.above(limit).sum() + 1e-6


@given(st.lists(st.tuples(st.integers(1, 399), st.integers(1, 20)), min_size=1, max_size=5), st.integers(1, 5))
def test_more_slots_answer_no_request_later_below_saturation(pieces, more):
    rate = [(number * 1000, load / 400 * slots) for number, (load, slots) in enumerate(pieces)]
    counts = [(number * 1000, slots) for number, (_, slots) in enumerate(pieces)]
    end_ms = 1000 * len(pieces)
    few, many = (queue(rate, end_ms, [(at, n + extra) for at, n in counts]) for extra in (0, more))
    for limit in (0.0, 500.0, 3000.0):
        assert many.above(limit).sum() <= few.above(limit).sum() + 1e-9
    assert many.mean_ms() <= few.mean_ms() + 1e-6
