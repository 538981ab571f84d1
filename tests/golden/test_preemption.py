"""Who goes when somebody more urgent comes, what that costs, and that nobody goes in vain."""

from __future__ import annotations

import os
import re

import pytest
from builders import golden, job, policy, replay, servers
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.api import Policy, Preempt

EXAMPLES = 2000 if os.environ.get("REHEARSE_FUZZ") == "long" else 150
FOUR = servers(4, 1)


def check(expected, jobs, topology, what, **more):
    """Everything but the arrivals."""
    text = golden(replay(jobs, topology, what, split="free" if topology.widest == 1 else "whole", **more), topology)
    found = [line for line in text.splitlines() if " arrive " not in line]
    assert found == [part.strip() for part in re.split(r" / |\n", expected.strip())]


# -- shortest remaining time first ---------------------------------------------------------------------------------

SHORT_COMES = [job("long", 0, 100, 4), job("short", 20, 10, 2)]


@pytest.mark.parametrize(
    ("rules", "end_ms"),
    [
        ({}, 30 + 80),
        ({"progress": "lose"}, 30 + 100),
        ({"restart_ms": 5}, 30 + 5 + 80),
        ({"restart_ms": 5, "progress": "lose"}, 30 + 5 + 100),
        ({"checkpoint_ms": 15}, 30 + 85),  # at 20 the last checkpoint was at 15
    ],
)
def test_srtf_takes_the_devices_of_who_has_more_left(rules, end_ms):
    """At 20 long has 80 left and short 10. long needs all four, so it waits beside two idle ones."""
    check(
        f"""
        0 start long n0[0] n1[0] n2[0] n3[0]
        20 preempt long / 20 start short n0[0] n1[0]
        30 finish short / 30 start long n0[0] n1[0] n2[0] n3[0]
        {end_ms} finish long
        """,
        SHORT_COMES,
        FOUR,
        "srtf-oracle",
        oracle=True,
        **rules,
    )


def test_srtf_leaves_who_is_chosen_where_it_is():
    """At 10: short 10, b 40, a 90. Four devices are enough for short and b: a goes, b runs on where it is."""
    check(
        """
        0 start b n0[0] n1[0] / 0 start a n2[0] n3[0]
        10 preempt a / 10 start short n2[0] n3[0]
        20 finish short / 20 start a n2[0] n3[0]
        50 finish b
        110 finish a
        """,
        [job("a", 0, 100, 2), job("b", 0, 50, 2), job("short", 10, 10, 2)],
        FOUR,
        "srtf-oracle",
        oracle=True,
    )


def test_srtf_skips_what_does_not_fit_and_nobody_goes_for_it():
    """At 5: a 5, wide 50, b 95. Beside a two devices are left: not enough for wide (3), enough for b, which runs on."""
    check(
        """
        0 start a n0[0] n1[0] / 0 start b n2[0] n3[0]
        10 finish a / 10 preempt b / 10 start wide n0[0] n1[0] n2[0]
        60 finish wide / 60 start b n0[0] n1[0]
        150 finish b
        """,  # at 10 wide (50) goes before b (90), and beside wide b does not fit; 60 + 90
        [job("a", 0, 10, 2), job("b", 0, 100, 2), job("wide", 5, 50, 3)],
        FOUR,
        "srtf-oracle",
        oracle=True,
    )


def test_srtf_equal_remaining_time_is_no_reason():
    """At 40 both have 60 left: a arrived first and runs on."""
    check(
        "0 start a n0[0] / 100 finish a / 100 start b n0[0] / 160 finish b",
        [job("a", 0, 100), job("b", 40, 60)],
        servers(1, 1),
        "srtf-oracle",
        oracle=True,
    )


class SeenPasses(Policy):
    """Passes everything on, and keeps what ran and waited before a pass, and who was preempted in it."""

    def __init__(self, inner):
        self.inner, self.name, self.passes = inner, inner.name, []

    def decide(self, view):
        left = {r.job.job_id: r.job.oracle_run_ms - view.running.attained_ms(r.job.job_id) for r in view.running}
        left.update((one.job_id, one.oracle_run_ms - one.attained_ms) for one in view.pending)
        rank = {one.job_id: one for one in [*(r.job for r in view.running), *view.pending]}
        order = sorted(left, key=lambda name: (left[name], rank[name].arrival))
        preempted = []
        for action in self.inner.decide(view):
            if isinstance(action, Preempt):
                preempted.append(action.job_id)
            yield action
        running = {r.job.job_id for r in view.running}
        self.passes.append(([(name, rank[name].request.devices) for name in order], preempted, running))


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 60), st.integers(1, 40), st.integers(1, 8)),
        min_size=1,
        max_size=25,
    ),
    st.sampled_from(["keep", "lose"]),
)
def test_srtf_on_a_flat_pool_is_the_greedy_choice_at_each_pass(drawn, progress):
    """After each pass exactly those run that fit beside those with less left; none of them was preempted in it."""
    jobs = [job(f"j{n}", at, run, gpus) for n, (at, run, gpus) in enumerate(drawn)]
    seen = SeenPasses(policy("srtf-oracle"))
    replay(jobs, servers(8, 1), seen, split="free", oracle=True, progress=progress)
    for order, preempted, running in seen.passes:
        free, chosen = 8, set()
        for name, devices in order:
            if devices <= free:
                free -= devices
                chosen.add(name)
        assert running == chosen
        assert not chosen.intersection(preempted)


# -- priorities ------------------------------------------------------------------------------------------------------


def running(*more):
    """low1 (2 devices) since 0, low2 (1) since 5, both of priority 0; mid (1) of priority 1 since 6: the pool is full."""
    return [
        job("low1", 0, 100, 2),
        job("low2", 5, 95),
        job("mid", 6, 94, priority=1),
        *more,
    ]


BEFORE = "0 start low1 n0[0] n1[0] / 5 start low2 n2[0] / 6 start mid n3[0] / "


def test_the_lowest_priority_goes_and_the_latest_started_of_it():
    check(
        BEFORE
        + """10 preempt low2 / 10 start high n2[0]
        20 finish high / 20 start low2 n2[0]
        100 finish low1 / 100 finish mid
        110 finish low2
        """,  # low2 did 5 of 95: 20 + 90
        running(job("high", 10, 10, priority=2)),
        FOUR,
        "preempt-priority",
    )


def test_as_few_as_possible_go():
    """low2 alone would not do for 2, with low1 there are 3: then low2 is spared."""
    check(
        BEFORE
        + """10 preempt low1 / 10 start high n0[0] n1[0]
        20 finish high / 20 start low1 n0[0] n1[0]
        100 finish low2 / 100 finish mid
        110 finish low1
        """,  # low1 did 10 of 100: 20 + 90
        running(job("high", 10, 10, 2, priority=2)),
        FOUR,
        "preempt-priority",
    )


def test_never_an_equal_and_nobody_in_vain():
    """even (priority 1, 4 devices) would need mid's, of its own priority: nobody goes for it. At 100 all have ended."""
    check(
        BEFORE
        + """100 finish low1 / 100 finish low2 / 100 finish mid / 100 start even n0[0] n1[0] n2[0] n3[0]
        110 finish even
        """,
        running(job("even", 10, 10, 4, priority=1)),
        FOUR,
        "preempt-priority",
    )


def test_what_cannot_be_helped_is_skipped():
    """At 11 even waits as before, and high, of priority 2, takes low2's device. At 100 mid is gone, and low2 goes for even."""
    check(
        BEFORE
        + """11 preempt low2 / 11 start high n2[0]
        21 finish high / 21 start low2 n2[0]
        100 finish low1 / 100 finish mid / 100 preempt low2 / 100 start even n0[0] n1[0] n2[0] n3[0]
        110 finish even / 110 start low2 n0[0]
        120 finish low2
        """,  # low2 did 6 and then, from 21 to 100, 79 of 95: 110 + 10
        running(job("even", 10, 10, 4, priority=1), job("high", 11, 10, priority=2)),
        FOUR,
        "preempt-priority",
    )


def test_the_rooms_are_on_servers_not_in_a_count():
    """Both servers have one idle device. The wide job needs two on one server: x goes, which started later than w."""
    check(
        """
        0 start w n0[0] / 1 start x n1[0]
        10 preempt x / 10 start wide n1[0-1] / 10 start x n0[1]
        20 finish wide
        100 finish w
        110 finish x
        """,  # x goes on at once beside w: 9 of 109 were done, 10 + 100
        [job("w", 0, 100), job("x", 1, 109), job("wide", 10, 10, 2, priority=1)],
        servers(2, 2),
        "preempt-priority:place=spread",
    )


@pytest.mark.parametrize(
    ("rules", "end_ms"),
    [
        ({"progress": "keep"}, 30 + 90),
        ({"progress": "lose"}, 30 + 100),
        ({"progress": "keep", "restart_ms": 7}, 30 + 7 + 90),
        ({"progress": "lose", "restart_ms": 7}, 30 + 7 + 100),
    ],
)
def test_the_rules_of_the_run_say_what_a_victim_loses(rules, end_ms):
    check(
        f"""
        0 start low n0[0]
        10 preempt low / 10 start high n0[0]
        30 finish high / 30 start low n0[0]
        {end_ms} finish low
        """,
        [job("low", 0, 100), job("high", 10, 20, priority=1)],
        servers(1, 1),
        "preempt-priority",
        **rules,
    )
