"""Corners of the engine where two rules meet."""

from __future__ import annotations

import pytest
from audited import audited, refused
from builders import golden, job, policy, replay, servers

from policies.api import Policy, Share, Start, WakeAt
from sim.engine import Engine, PolicyError
from sim.rules import Rules
from sim.world.speed import SpeedChange, SpeedModel


class Told(Policy):
    """Starts each job on the device of its rank, and does what it is told at each pass."""

    name = "told"

    def __init__(self, at_each_pass=lambda view: ()) -> None:
        self.at_each_pass = at_each_pass

    def decide(self, view):
        for waiting in list(view.pending):
            yield Start(waiting.job_id, (Share(0, 1 << waiting.arrival),))
        yield from self.at_each_pass(view)


def test_a_wake_in_an_instant_with_other_events_is_one_pass():
    """At 10 ms b arrives and the policy asked to be woken: one pass does for both."""
    passes = []

    def wake(view):
        passes.append(view.now_ms)
        if view.now_ms == 0:
            yield WakeAt(10)
            yield WakeAt(10)
            yield WakeAt(7)

    audited([job("a", 0, 20), job("b", 10, 1)], servers(1, 2), Told(wake))
    assert passes == [0, 7, 10]


def test_an_idle_queue_costs_no_pass_unless_the_policy_asks_for_it():
    jobs = [job("a", 0, 5), job("b", 0, 9)]
    assert audited(jobs, servers(1, 2), Told()).passes == 1
    restless = Told()
    restless.runs_on_empty_queue = True
    assert audited(jobs, servers(1, 2), restless).passes == 3


def test_the_oracle_is_granted_or_the_true_run_time_is_not_there():
    seen = []

    def look(view):
        seen.extend((running.job.oracle_run_ms, running.job.estimate_ms) for running in view.running)
        return ()

    jobs = [job("a", 0, 5), job("b", 0, 9, estimate_ms=4)]
    audited(jobs, servers(1, 2), Told(look))
    audited(jobs, servers(1, 2), Told(look), oracle=True)
    assert seen == [(None, None), (None, 4), (5, 5), (9, 4)]


def test_an_oracle_without_the_grant_says_how_to_get_it():
    message = str(refused([job("a", 0, 5)], servers(1, 2), policy("sjf-oracle")))
    assert "the scenario grants no oracle (--oracle)" in message


def test_work_done_is_told_in_whole_milliseconds():
    seen = []

    def look(view):
        if view.now_ms:
            seen.append(view.running.attained_ms("a"))
        return ()

    topology = servers(1, 3)
    speed = SpeedModel(topology, changes=[SpeedChange(10, 1, 333_333)])
    audited([job("a", 0, 100), job("b", 10, 1), job("c", 20, 1)], topology, Told(look), speed=speed)
    assert seen == [10, 13]  # 10 and 10 x 0.333333


def test_progress_is_told_and_a_long_timeline_settles_between():
    """Several chunks of the timeline: nothing is lost where one ends and the next begins."""
    told = []
    jobs = [job(f"j{i}", 2 * i, 1) for i in range(4000)]
    outcome = Engine(jobs, servers(1, 1), policy("fifo")).run(told.append)
    assert told
    assert told == sorted(told)
    assert len(outcome.timeline.at_ms) == 3 * 4000
    assert golden(outcome, servers(1, 1)).splitlines()[-1] == "7999 finish j3999"


def test_speeds_may_change_during_a_static_fill():
    topology = servers(1, 2)
    speed = SpeedModel(topology, changes=[SpeedChange(1, 1, 500_000)])
    assert golden(audited([job("a", 0, 10)], topology, "fifo", fill=True, speed=speed), topology)


def test_preempting_during_a_static_fill_is_refused():
    jobs = [job("a", 0, 10, 2), job("b", 0, 10, 2, priority=1)]
    with pytest.raises(PolicyError, match="cannot preempt 'a': a static fill has no departures"):
        replay(jobs, servers(1, 2), "preempt-priority", fill=True)


def test_a_pass_after_each_event_and_a_cycle_do_not_go_together():
    with pytest.raises(ValueError, match="cycle_ms"):
        Rules(decide="event", cycle_ms=50)


def test_the_expected_end_of_a_job_that_outran_its_estimate_is_in_the_past():
    seen = []

    def look(view):
        seen.extend(running.expected_end_ms for running in view.running if view.now_ms == 50)
        return ()

    audited([job("a", 0, 100, estimate_ms=10), job("b", 50, 1)], servers(1, 2), Told(look))
    assert seen[0] == 10


@pytest.mark.parametrize("wrong", [{"ties": "jobid"}, {"overrun": "Kill"}, {"split": ""}, {"decide": None}])
def test_a_rule_that_does_not_exist_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Rules(**wrong)


def test_a_policy_that_only_asks_to_be_woken_is_stopped():
    class Sleeper(Policy):
        name = "sleeper"

        def decide(self, view):
            yield WakeAt(view.now_ms + 1)

    assert "sleeper at" in str(refused([job("a", 0, 5)], servers(1, 1), Sleeper()))
