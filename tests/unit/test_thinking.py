"""Thinking time charged to simulated time: every time computed by hand."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from audited import audited, refused
from builders import golden, job, policy, replay, servers

from policies.api import Policy, Share, Start, WakeAt
from sim.rules import Rules
from sim.state import State
from sim.thinking import Thinking

FIFTY = {"thinking": "fixed", "thinking_ms": 50}


def lines(text: str) -> list[str]:
    return [part.strip() for line in text.strip().splitlines() for part in line.split("/")]


def timeline(jobs, topology, spec, **rules) -> list[str]:
    return golden(audited(jobs, topology, spec, **rules), topology).splitlines()


JOBS = [job("a", 0, 100), job("b", 10, 100), job("c", 20, 100, 2)]


def test_a_pass_of_fifty_ms():
    """The pass at 0 starts a, which works from 50 to 150. b and c come while it thinks: the pass at 50 starts b, which works from
    100 to 200. The pass of a's end, at 150, has no room for c and is over at 200, when b ends: c works from 250."""
    assert timeline(JOBS, servers(1, 2), "fifo", **FIFTY) == lines("""
        0 arrive a / 0 start a n0[0] / 10 arrive b / 20 arrive c
        50 start b n0[1]
        150 finish a / 200 finish b / 200 start c n0[0-1] / 350 finish c
    """)


def test_thinking_that_is_free_changes_nothing():
    assert timeline(JOBS, servers(1, 2), "fifo") == lines("""
        0 arrive a / 0 start a n0[0] / 10 arrive b / 10 start b n0[1] / 20 arrive c
        100 finish a / 110 finish b / 110 start c n0[0-1] / 210 finish c
    """)


def test_passes_on_a_clock_that_think():
    """The pass at 0 is over at 50; b and c wait for the clock, until 60. Over at 110; a ends at 150, so the next is at 150;
    over at 200, and b ended at 60 + 50 + 100 = 210: the last is at 210, and c works from 260."""
    assert timeline(JOBS, servers(1, 2), "fifo", cycle_ms=30, **FIFTY) == lines("""
        0 arrive a / 0 start a n0[0] / 10 arrive b / 20 arrive c
        60 start b n0[1]
        150 finish a / 210 finish b / 210 start c n0[0-1] / 360 finish c
    """)


def test_a_job_that_is_preempted_while_its_pass_thinks_has_done_nothing():
    """high comes at 30 and is decided at 50: low, which would work from 50, has lost nothing. high works from 100 to 120. low
    starts anew then and pays 50 of thinking and 5 of restart."""
    jobs = [job("low", 0, 100), job("high", 30, 20, priority=1)]
    assert timeline(jobs, servers(1, 1), "preempt-priority", restart_ms=5, **FIFTY) == lines("""
        0 arrive low / 0 start low n0[0] / 30 arrive high
        50 preempt low / 50 start high n0[0]
        120 finish high / 120 start low n0[0]
        275 finish low
    """)


def test_the_expected_end_and_the_limit_begin_when_the_work_does():
    jobs = [job("a", 0, 100, estimate_ms=70), job("b", 0, 10, estimate_ms=10)]
    assert timeline(jobs, servers(1, 2), "fifo", overrun="kill", **FIFTY)[-2:] == ["60 finish b", "120 kill a"]


class Wakes(Policy):
    """Starts what waits on the device of its rank, and asks to be woken as it is told."""

    name = "wakes"

    def __init__(self, **wakes: list[int]) -> None:
        self.wakes = {int(at.removeprefix("at_")): times for at, times in wakes.items()}
        self.passes: list[int] = []

    def decide(self, view):
        self.passes.append(view.now_ms)
        for waiting in list(view.pending):
            yield Start(waiting.job_id, (Share(0, 1 << waiting.arrival),))
        for at_ms in self.wakes.get(view.now_ms, ()):
            yield WakeAt(at_ms)


def test_a_wake_waits_for_the_thinking_and_is_one_pass_with_what_else_waits():
    """At 0 it asks for 10, 20 and 50. All come at 50, when the pass is over. That pass asks for 70 and 100: one pass at 100. It
    asks for 110, which comes at 150, with b, which arrived at 120."""
    told = Wakes(at_0=[10, 20, 50], at_50=[70, 100], at_100=[110])
    audited([job("a", 0, 500), job("b", 120, 1)], servers(1, 2), told, **FIFTY)
    assert told.passes == [0, 50, 100, 150]
    told = Wakes(at_0=[60], at_60=[70])
    audited([job("a", 0, 500), job("b", 65, 1)], servers(1, 2), told, **FIFTY)
    assert told.passes == [0, 60, 110]


def test_a_policy_that_wakes_for_ever_is_found_while_it_thinks():
    class Restless(Wakes):
        def decide(self, view):
            yield WakeAt(view.now_ms + 1)

    error = refused([job("a", 0, 1)], servers(1, 1), Restless(), **FIFTY)
    assert "nothing runs and nothing will" in str(error)


def test_measured_each_start_pays_what_was_thought_until_then():
    """A clock that is read by hand: 3 ms until the first action, 2 while the driver applies it, which nobody pays, 4.5 until the
    second, 1 until the end."""
    rules = Rules(thinking="measured", restart_ms=10)
    state = State(servers(1, 2), {}, rules)
    first, second = (state.arrive(row, job(name, 0, 100)) for row, name in enumerate("ab"))
    state.view.now_ms = 1000
    reads = iter([0, 3_000_000, 5_000_000, 9_500_000, 10_000_000, 11_000_000])
    thinking = Thinking(Wakes(), rules, state, clock=lambda: next(reads))
    decisions = iter(thinking.decide(state.view))
    assert state.start(first, next(decisions)[1], 1_000_000) == 1000 + 3 + 100
    assert thinking.until_ms == 1003
    assert state.start(second, next(decisions)[1], 1_000_000) == 1000 + 8 + 100, "7.5 ms are over in the eighth"
    assert list(decisions) == []
    assert (thinking.since_ms, thinking.until_ms) == (1000, 1009)
    assert next(reads, None) is None


def test_measured_for_real():
    """A policy that sleeps for 20 ms: its job begins its work at least so much later, and no pass begins while it thinks."""

    class Sleeps(Wakes):
        def decide(self, view):
            time.sleep(0.02)
            yield from super().decide(view)

    slow = Sleeps()
    outcome = audited([job("a", 0, 100), job("b", 5, 100)], servers(1, 2), slow, thinking="measured")
    assert outcome.end_ms >= 20 + 20 + 100
    assert slow.passes[0] == 0
    assert all(later - before >= 20 for before, later in pairwise(slow.passes))


def test_measured_tells_none_from_the_end_of_a_pass():
    class YieldsNone(Wakes):
        def decide(self, view):
            yield None

    assert "cannot apply None" in str(refused([job("a", 0, 1)], servers(1, 1), YieldsNone(), thinking="measured"))


@pytest.mark.parametrize("spec", ["fifo", "easy", "srtf-oracle"])
def test_thinking_of_one_ms_is_a_restart_cost_of_one_ms_for_jobs_that_come_far_apart(spec):
    """Where no pass waits for another, each job just ends one millisecond later."""
    jobs = [job(f"j{i}", 1000 * i, 10 + i) for i in range(5)]
    plain = replay(jobs, servers(1, 2), policy(spec), oracle=True)
    later = replay(jobs, servers(1, 2), policy(spec), oracle=True, thinking="fixed", thinking_ms=1)
    ends = [outcome.timeline.at_ms[outcome.timeline.happened == 2].tolist() for outcome in (plain, later)]
    assert ends[1] == [end + 1 for end in ends[0]]
