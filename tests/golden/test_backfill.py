"""Backfilling, option by option: each changes one line of a schedule that one can follow by hand.

On the flat pools (`servers(n, 1)`, any split) a device is written n3[0].
"""

from __future__ import annotations

import re

import pytest
from builders import golden, job, policy, replay, servers

from policies.api import QueueView
from policies.catalogue import UnknownPolicyError


def told(jobs, topology, what, **more) -> list[str]:
    """The starts alone, as `time job server...`."""
    text = golden(replay(jobs, topology, what, split="free" if topology.widest == 1 else "whole", **more), topology)
    return [line.replace("start ", "", 1) for line in text.splitlines() if re.match(r"\d+ start ", line)]


def check(expected, jobs, topology, what, **more):
    assert told(jobs, topology, what, **more) == [part.strip() for part in re.split(r" / |\n", expected.strip())]


def known(job_id, submit_ms, run_ms, gpus=1, **more):
    """A job whose estimate is right."""
    return job(job_id, submit_ms, run_ms, gpus, **{"estimate_ms": run_ms, **more})


FOUR = servers(4, 1)

# a holds 3 of 4 until 100, the head needs all 4: shadow time 100, extra 4 - 4 = 0
FULL = [known("a", 0, 100, 3), known("head", 10, 50, 4)]


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("yes", "0 a n0[0] n1[0] n2[0] / 20 c n3[0] / 100 head n0[0] n1[0] n2[0] n3[0]"),
        ("no", "0 a n0[0] n1[0] n2[0] / 100 head n0[0] n1[0] n2[0] n3[0] / 150 c n0[0]"),
    ],
)
@pytest.mark.parametrize("reservation", ["feasible", "counting", "pinned"])
def test_shadow_equality(option, expected, reservation):
    """c would end at 20 + 80 = 100, exactly at the shadow time."""
    jobs = [*FULL, known("c", 20, 80)]
    check(expected, jobs, FOUR, f"easy:shadow-equality={option},reservation={reservation}")


def test_a_millisecond_too_long():
    """20 + 81 = 101 > 100, and nothing is extra."""
    check(
        "0 a n0[0] n1[0] n2[0] / 100 head n0[0] n1[0] n2[0] n3[0] / 150 c n0[0]",
        [*FULL, known("c", 20, 81)],
        FOUR,
        "easy",
    )


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("yes", "0 a n0[0] n1[0] n2[0] / 20 c n3[0] / 100 head n0[0] n1[0] n2[0]"),
        ("no", "0 a n0[0] n1[0] n2[0] / 100 head n0[0] n1[0] n2[0] / 100 c n3[0]"),
    ],
)
def test_extra(option, expected):
    """The head needs 3 of the 4 that are free at 100, so one is extra: c may keep it for 1,000 ms."""
    jobs = [known("a", 0, 100, 3), known("head", 10, 50, 3), known("c", 20, 1000)]
    check(expected, jobs, FOUR, f"easy:extra={option}")


def test_extra_is_used_up():
    """5 free at 100, the head needs 4: one extra. c1 takes it; c2, for which a device is idle, waits until 150."""
    jobs = [known("a", 0, 100, 3), known("head", 10, 50, 4), known("c1", 20, 1000), known("c2", 20, 1000)]
    check(
        "0 a n0[0] n1[0] n2[0] / 20 c1 n3[0] / 100 head n0[0] n1[0] n2[0] n4[0] / 150 c2 n0[0]",
        jobs,
        servers(5, 1),
        "easy",
    )


@pytest.mark.parametrize(
    ("policy_name", "expected"),
    [
        # x ends at 20 + 60 = 80; then y would end at 80 + 30 = 110 > 100
        (
            "easy:candidates=arrival",
            "0 a n0[0] n1[0] n2[0] / 20 x n3[0] / 100 head n0[0] n1[0] n2[0] n3[0] / 150 y n0[0]",
        ),
        # y ends at 20 + 30 = 50; then x would end at 50 + 60 = 110 > 100
        (
            "easy:candidates=shortest",
            "0 a n0[0] n1[0] n2[0] / 20 y n3[0] / 100 head n0[0] n1[0] n2[0] n3[0] / 150 x n0[0]",
        ),
        ("easy-sjbf", "0 a n0[0] n1[0] n2[0] / 20 y n3[0] / 100 head n0[0] n1[0] n2[0] n3[0] / 150 x n0[0]"),
    ],
)
def test_candidates(policy_name, expected):
    check(expected, [*FULL, known("x", 20, 60), known("y", 20, 30)], FOUR, policy_name)


# a holds 2 of 4 until 100; h1 (3) is promised 100 to 150, h2 (3) 150 to 160, h3 (4) 160 to 170. Beside h1 and h2 one
# device is left, so c may run past them; but h3 needs all
DEEP = [
    known("a", 0, 100, 2),
    known("h1", 10, 50, 3),
    known("h2", 11, 10, 3),
    known("h3", 12, 10, 4),
    known("c", 13, 200),
]
PASSES = "0 a n0[0] n1[0] / 13 c n2[0] / 100 h1 n0[0] n1[0] n3[0] / 150 h2 n0[0] n1[0] n3[0] / 213 h3 n0[0] n1[0] n2[0] n3[0]"
WAITS = "0 a n0[0] n1[0] / 100 h1 n0[0] n1[0] n2[0] / 150 h2 n0[0] n1[0] n2[0] / 160 h3 n0[0] n1[0] n2[0] n3[0] / 170 c n0[0]"


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("easy:depth=1", PASSES),
        ("easy:depth=2", PASSES),
        ("easy:depth=3", WAITS),
        ("easy:depth=all", WAITS),
        ("conservative", WAITS),
        ("conservative:reservation=counting", WAITS),
        ("conservative:replan=compression", WAITS),
    ],
)
def test_depth(what, expected):
    """With three promises c waits until 170, with fewer it starts at 13 and delays h3 from 160 to 213."""
    check(expected, DEEP, FOUR, what)


def test_depth_two_protects_the_second():
    """h2 (4) is promised 150 to 160: c (1 for 200) delays it under one promise, not under two."""
    jobs = [known("a", 0, 100, 2), known("h1", 10, 50, 3), known("h2", 11, 10, 4), known("c", 12, 200)]
    one = "0 a n0[0] n1[0] / 12 c n2[0] / 100 h1 n0[0] n1[0] n3[0] / 212 h2 n0[0] n1[0] n2[0] n3[0]"
    two = "0 a n0[0] n1[0] / 100 h1 n0[0] n1[0] n2[0] / 150 h2 n0[0] n1[0] n2[0] n3[0] / 160 c n0[0]"
    check(one, jobs, FOUR, "easy")
    check(two, jobs, FOUR, "easy:depth=2")


@pytest.mark.parametrize("depth", ["0", "-1", "two", "1.5"])
def test_depth_is_a_number_or_all(depth):
    with pytest.raises(UnknownPolicyError, match="must be a whole number from 1, or all"):
        policy(f"easy:depth={depth}")


# b holds one device of n0 until 60, a one of n1 and z one of n2 until 100; the head needs a whole server of 2
SPREAD = [known("b", 0, 60), known("a", 1, 99), known("z", 2, 98), known("head", 10, 10, 2)]
THREE_BY_TWO = servers(3, 2)


def test_feasible_the_promise_is_a_placement():
    """n0 is whole at 60: that is the shadow time. long would sit on n0[1] past it, so it waits; short ends at 50."""
    check(
        "0 b n0[0] / 1 a n1[0] / 2 z n2[0] / 20 short n0[1] / 60 head n0[0-1] / 60 long n1[1]",
        [*SPREAD, known("long", 20, 1000), known("short", 20, 30)],
        THREE_BY_TWO,
        "easy:place=spread",
    )


def test_counting_breaks_the_promise_on_servers():
    """3 devices are idle and the head needs 2: "now", with 1 extra. long takes it on n0, and the head waits until 100."""
    check(
        "0 b n0[0] / 1 a n1[0] / 2 z n2[0] / 20 long n0[1] / 100 head n1[0-1]",
        [*SPREAD, known("long", 20, 1000)],
        THREE_BY_TWO,
        "easy:place=spread,reservation=counting",
    )


def test_counting_turns_easy_into_fifo_on_servers():
    """One device is idle on each of two servers and the head needs both on one: "now", and nothing is extra. So short
    waits, although it would be gone (50) before the head can start (60)."""
    jobs = [known("b", 0, 60), known("a", 1, 99), known("head", 10, 10, 2), known("short", 20, 30)]
    two = servers(2, 2)
    fifo = "0 b n0[0] / 1 a n1[0] / 60 head n0[0-1] / 60 short n1[1]"
    check(fifo, jobs, two, "easy:place=spread,reservation=counting")
    check(fifo, jobs, two, "fifo:place=spread")
    check("0 b n0[0] / 1 a n1[0] / 20 short n0[1] / 60 head n0[0-1]", jobs, two, "easy:place=spread")


# x leaves n0 at 5; a holds n1 and n2 until 101, b n3 until 202. At 101 three are free for the head's two: one extra
PINNED = [
    known("x", 0, 5),
    known("a", 1, 100, 2),
    known("b", 2, 200),
    known("head", 10, 50, 2),
    known("c", 20, 1000),
]


@pytest.mark.parametrize("what", ["easy", "easy:depth=2", "conservative"])
def test_what_is_left_beside_the_promise_may_be_kept(what):
    """Any two of n0, n1, n2 will do for the head, so c gets n0."""
    check("0 x n0[0] / 1 a n1[0] n2[0] / 2 b n3[0] / 20 c n0[0] / 101 head n1[0] n2[0]", PINNED, FOUR, what)


@pytest.mark.parametrize(
    "what", ["easy:reservation=pinned", "easy:depth=2,reservation=pinned", "conservative:reservation=pinned"]
)
def test_pinned_the_promise_is_for_these_devices(what):
    """The head is promised n0 and n1, so c may not keep n0, and waits for n2."""
    check("0 x n0[0] / 1 a n1[0] n2[0] / 2 b n3[0] / 101 head n0[0] n1[0] / 101 c n2[0]", PINNED, FOUR, what)


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        # at 40 j1 moves from 100 to 60, and the plan made anew pushes j2 from 60 to 70
        ("conservative", "0 a n0[0] n1[0] / 0 b n2[0] n3[0] / 60 j1 n0[0] n1[0] n2[0] n3[0] / 70 j2 n0[0] n1[0]"),
        # at 40 j1 finds nothing earlier beside j2 (60 to 100); j2 moves to 40; at 60 j1 moves to 80
        (
            "conservative:replan=compression",
            "0 a n0[0] n1[0] / 0 b n2[0] n3[0] / 40 j2 n0[0] n1[0] / 80 j1 n0[0] n1[0] n2[0] n3[0]",
        ),
    ],
)
def test_replan(what, expected):
    """a says 100 and ends at 40. Before that j1 (all 4) has 100 to 110, and j2 (2 for 40) has 60 to 100."""
    jobs = [
        job("a", 0, 40, 2, estimate_ms=100),
        known("b", 0, 60, 2),
        known("j1", 10, 10, 4),
        known("j2", 11, 40, 2),
    ]
    check(expected, jobs, FOUR, what)


def test_an_overrun_ends_a_millisecond_from_now():
    """a said 50 and runs 200. At 60 the shadow time is 61: c (30) is too long. At 70 it is 71, and d (1) just fits."""
    check(
        "0 a n0[0] n1[0] n2[0] / 70 d n3[0] / 200 head n0[0] n1[0] n2[0] n3[0] / 210 c n0[0]",
        [job("a", 0, 200, 3, estimate_ms=50), known("head", 10, 10, 4), known("c", 60, 30), known("d", 70, 1)],
        FOUR,
        "easy",
    )


def test_no_promise_can_be_made_so_nobody_passes():
    """a gives no estimate and the head needs its devices: even c, of one millisecond, waits."""
    check(
        "0 a n0[0] n1[0] n2[0] / 100 head n0[0] n1[0] n2[0] n3[0] / 110 c n0[0]",
        [job("a", 0, 100, 3), known("head", 10, 10, 4), known("c", 20, 1)],
        FOUR,
        "easy",
    )


def test_a_candidate_without_estimate_has_the_extra_rule_alone():
    """One is extra beside the head (3): u may start, though nobody knows when it ends; beside a head of 4 it may not."""
    beside = [known("a", 0, 100, 3), known("head", 10, 10, 3), job("u", 20, 1)]
    check("0 a n0[0] n1[0] n2[0] / 20 u n3[0] / 100 head n0[0] n1[0] n2[0]", beside, FOUR, "easy")
    check(
        "0 a n0[0] n1[0] n2[0] / 100 head n0[0] n1[0] n2[0] n3[0] / 150 u n0[0]",
        [*FULL, job("u", 20, 1)],
        FOUR,
        "easy",
    )


def test_any_order_of_the_queue():
    """urgent overtakes head as the one that is promised (100): c, which ends at 110, may pass neither."""
    check(
        "0 a n0[0] n1[0] n2[0] / 100 urgent n0[0] n1[0] n2[0] n3[0] / 150 head n0[0] n1[0] n2[0] n3[0] / 200 c n0[0]",
        [*FULL, known("urgent", 15, 50, 4, priority=1), known("c", 20, 90)],
        FOUR,
        "easy:order=priority",
    )


@pytest.mark.parametrize("what", ["easy:quota=keep", "easy:depth=2,quota=keep", "conservative:quota=keep"])
def test_who_waits_for_an_entitlement_is_passed_over_without_a_promise(what):
    """red may hold 2, so r2 waits until r1 ends, and blocks nobody. b1 (4) is promised 100; b2 ends at 70, b3 would not."""
    jobs = [
        known("r1", 0, 100, 2, queue="red"),
        known("r2", 5, 10, 1, queue="red"),
        known("b1", 10, 50, 4, queue="blue"),
        known("b2", 20, 50, queue="blue"),
        known("b3", 20, 90, queue="blue"),
    ]
    entitled = {name: QueueView(name, {"*": nominal}, None, None, 1, None, {}) for name, nominal in NOMINAL.items()}
    check(
        "0 r1 n0[0] n1[0] / 20 b2 n2[0] / 100 r2 n0[0] / 110 b1 n0[0] n1[0] n2[0] n3[0] / 160 b3 n0[0]",
        jobs,
        FOUR,
        what,
        queues=entitled,
    )


NOMINAL = {"red": 2000, "blue": 4000}


def test_each_queue_keeps_its_own_promise():
    """x1 is the head of queue x and y1 of queue y: both are promised 100, and the cycles come in the order of the names."""
    check(
        "0 a n0[0] n1[0] n2[0] / 20 y2 n3[0] / 100 x1 n0[0] n1[0] n2[0] n3[0] / 150 y1 n0[0] n1[0] n2[0] n3[0]",
        [
            known("a", 0, 100, 3, queue="x"),
            known("x1", 10, 50, 4, queue="x"),
            known("y1", 11, 50, 4, queue="y"),
            known("y2", 20, 80, queue="y"),
        ],
        FOUR,
        "easy:per=queue",
    )
