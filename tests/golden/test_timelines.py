"""Timelines that can be read aloud. A changed text is a changed behaviour, and the change says why."""

from __future__ import annotations

import re

import pytest
from audited import audited
from builders import golden, job, servers

from policies.api import QueueView
from sim.world.speed import SpeedChange, SpeedModel


def told(jobs, topology, what, **more) -> list[str]:
    return golden(audited(jobs, topology, what, **more), topology).splitlines()


def lines(text: str) -> list[str]:
    return [part.strip() for part in re.split(r" / |\n", text.strip())]


def check(expected: str, jobs, topology, what, **more) -> None:
    assert told(jobs, topology, what, **more) == lines(expected)


# -- the order inside an instant ---------------------------------------------------------------------------------


def test_finish_arrive_control_decide_in_one_instant():
    """At 100 ms a ends, b arrives, both servers fall to half speed, and only then the pass starts b, at half speed."""
    topology = servers(2, 2)
    speed = SpeedModel(topology, changes=[SpeedChange(100, 0b11, 500_000)])
    check(
        """
        0 arrive a / 0 arrive c / 0 start a n0[0-1] / 0 start c n1[0-1]
        100 finish a / 100 arrive b / 100 speed c 500000 / 100 start b n0[0-1]
        200 finish b
        500 finish c
        """,  # b: 50 at 0.5 is 100 ms; c: 200 left at 0.5 are 400 ms
        [job("a", 0, 100, 2), job("b", 100, 50, 2), job("c", 0, 300, 2)],
        topology,
        "fifo",
        speed=speed,
    )


def test_the_end_of_a_lifetime_beside_finish_arrive_control_and_decide():
    """At 100 ms r and w are taken away, one from its devices and one from the queue, and f ends; then b arrives, all servers fall
    to half speed, and the one pass starts x and b: x had waited behind w for nothing else."""
    topology = servers(3, 2)
    speed = SpeedModel(topology, changes=[SpeedChange(100, 0b111, 500_000)])
    check(
        """
        0 arrive c / 0 arrive f / 0 arrive r / 0 start c n0[0-1] / 0 start f n1[0-1] / 0 start r n2[0-1]
        10 arrive w / 10 arrive x
        100 expire r / 100 finish f / 100 withdraw w / 100 arrive b / 100 speed c 500000
        100 start x n1[0-1] / 100 start b n2[0-1]
        200 finish x / 200 finish b
        500 finish c
        """,
        [
            job("c", 0, 300, 2),
            job("f", 0, 100, 2),
            job("r", 0, 900, 2, lifetime_ms=100),
            job("w", 10, 50, 6, lifetime_ms=90),
            job("x", 10, 50, 2),
            job("b", 100, 50, 2),
        ],
        topology,
        "fifo",
        speed=speed,
    )


def test_a_pass_after_each_event_comes_between_the_ends_of_two_lifetimes():
    """Both end at 50 ms. That of r is a pass, which starts w; then w is taken away too, from the devices that it just got."""
    check(
        """
        0 arrive r / 0 start r n0[0-1]
        10 arrive w
        20 arrive x
        50 expire r / 50 start w n0[0-1] / 50 expire w / 50 start x n0[0]
        55 finish x
        """,
        [job("r", 0, 9, 2, lifetime_ms=50), job("w", 10, 9, 2, lifetime_ms=40), job("x", 20, 5)],
        servers(1, 2),
        "fifo",
        decide="event",
    )


def test_all_that_ends_in_an_instant_is_free_for_the_one_pass_of_it():
    """b and c end together; one pass after both, so that d finds a whole server."""
    check(
        """
        0 arrive b / 0 arrive c / 0 start b n0[0] / 0 start c n0[1]
        5 arrive d
        10 finish b / 10 finish c / 10 start d n0[0-1]
        11 finish d
        """,
        [job("b", 0, 10), job("c", 0, 10), job("d", 5, 1, 2)],
        servers(1, 2),
        "best-effort-fifo",
    )


def test_a_run_time_of_zero_ends_in_the_instant_of_its_start():
    check(
        """
        5 arrive a / 5 arrive b / 5 start a n0[0] / 5 finish a / 5 start b n0[0] / 5 finish b
        """,
        [job("a", 5, 0), job("b", 5, 0)],
        servers(1, 1),
        "fifo",
    )


ONE_INSTANT = [job("a", 0, 100, estimate_ms=100), job("b", 0, 10, estimate_ms=10)]


def test_one_pass_for_each_instant():
    check(
        """
        0 arrive a / 0 arrive b / 0 start b n0[0]
        10 finish b / 10 start a n0[0]
        110 finish a
        """,
        ONE_INSTANT,
        servers(1, 1),
        "sjf",
    )


def test_a_pass_after_each_event():
    check(
        """
        0 arrive a / 0 start a n0[0] / 0 arrive b
        100 finish a / 100 start b n0[0]
        110 finish b
        """,
        ONE_INSTANT,
        servers(1, 1),
        "sjf",
        decide="event",
    )


def test_a_pass_after_each_of_two_ends_of_one_instant():
    """Between the ends of a and b there is room for the small job only; with one pass for both the large one goes first."""
    jobs = [job("a", 0, 10), job("b", 0, 10), job("large", 5, 10, 2, priority=1), job("small", 5, 10)]
    check(
        """
        0 arrive a / 0 start a n0[0] / 0 arrive b / 0 start b n0[1]
        5 arrive large / 5 arrive small
        10 finish a / 10 start small n0[0] / 10 finish b
        20 finish small / 20 start large n0[0-1]
        30 finish large
        """,
        jobs,
        servers(1, 2),
        "best-effort-priority",
        decide="event",
    )
    check(
        """
        0 arrive a / 0 arrive b / 0 start a n0[0] / 0 start b n0[1]
        5 arrive large / 5 arrive small
        10 finish a / 10 finish b / 10 start large n0[0-1]
        20 finish large / 20 start small n0[0]
        30 finish small
        """,
        jobs,
        servers(1, 2),
        "best-effort-priority",
    )


def test_passes_at_multiples_of_a_cycle():
    """a waits for the pass at 50; b finds a free device at 70 and waits for the pass at 100; c arrives just in time for it."""
    check(
        """
        10 arrive a
        50 start a n0[0]
        60 arrive b
        70 finish a
        100 arrive c / 100 start b n0[0]
        110 finish b
        150 start c n0[0]
        160 finish c
        """,
        [job("a", 10, 20), job("b", 60, 10), job("c", 100, 10)],
        servers(1, 1),
        "fifo",
        cycle_ms=50,
    )


# -- the order of ties -------------------------------------------------------------------------------------------

TIES = [job("job10", 0, 1), job("job9", 0, 1), job("job1", 0, 1)]


def started(**rules) -> list[str]:
    return [line.split()[2] for line in told(TIES, servers(1, 1), "fifo", **rules) if " start " in line]


def test_ties_by_job_id_count_numbers_as_numbers():
    assert started() == ["job1", "job9", "job10"]


def test_ties_by_file():
    assert started(ties="file") == ["job10", "job9", "job1"]


def test_ties_by_chance_depend_on_the_seed_alone():
    orders = {seed: started(ties="random", seed=seed) for seed in range(40)}
    assert all(sorted(order) == ["job1", "job10", "job9"] for order in orders.values())
    assert len({tuple(order) for order in orders.values()}) == 6, "forty seeds show all six orders"
    assert orders == {seed: started(ties="random", seed=seed) for seed in range(40)}


# -- who blocks whom ---------------------------------------------------------------------------------------------

BLOCKED = [
    job("a", 0, 100, 3, queue="x"),
    job("big", 10, 10, 2, queue="x"),
    job("small", 20, 10, queue="y"),
    job("tail", 20, 10, queue="x"),
]


def test_strict_the_head_blocks_all():
    check(
        """
        0 arrive a / 0 start a n0[0-2]
        10 arrive big
        20 arrive small / 20 arrive tail
        100 finish a / 100 start big n0[0-1] / 100 start small n0[2] / 100 start tail n0[3]
        110 finish big / 110 finish small / 110 finish tail
        """,
        BLOCKED,
        servers(1, 4),
        "fifo",
    )


def test_best_effort_skips_what_does_not_fit():
    check(
        """
        0 arrive a / 0 start a n0[0-2]
        10 arrive big
        20 arrive small / 20 arrive tail / 20 start small n0[3]
        30 finish small / 30 start tail n0[3]
        40 finish tail
        100 finish a / 100 start big n0[0-1]
        110 finish big
        """,
        BLOCKED,
        servers(1, 4),
        "best-effort-fifo",
    )


def test_per_queue_a_head_blocks_its_own_queue_only():
    check(
        """
        0 arrive a / 0 start a n0[0-2]
        10 arrive big
        20 arrive small / 20 arrive tail / 20 start small n0[3]
        30 finish small
        100 finish a / 100 start big n0[0-1] / 100 start tail n0[2]
        110 finish big / 110 finish tail
        """,
        BLOCKED,
        servers(1, 4),
        "fifo:per=queue",
    )


def queue(name: str, nominal: int, limit: int | None, cohort: str | None = "all") -> QueueView:
    borrowing = None if limit is None else {"*": limit}
    return QueueView(name, {"*": nominal}, borrowing, cohort, 1, None, {})


def test_quota_borrowing_up_to_the_limit_and_no_reclaim():
    """red may hold 2 and borrow 1: r3 waits beside an idle device. b1 gets it; b2 waits, because nothing is taken back."""
    jobs = [
        job("r1", 0, 100, 2, queue="red"),
        job("r2", 0, 100, queue="red"),
        job("r3", 0, 100, queue="red"),
        job("b1", 10, 200, queue="blue"),
        job("b2", 20, 100, queue="blue"),
    ]
    check(
        """
        0 arrive r1 / 0 arrive r2 / 0 arrive r3 / 0 start r1 n0[0-1] / 0 start r2 n0[2]
        10 arrive b1 / 10 start b1 n0[3]
        20 arrive b2
        100 finish r1 / 100 finish r2 / 100 start r3 n0[0] / 100 start b2 n0[1]
        200 finish r3 / 200 finish b2
        210 finish b1
        """,
        jobs,
        servers(1, 4),
        "best-effort-fifo:quota=keep",
        queues={"red": queue("red", 2000, 1000), "blue": queue("blue", 2000, None)},
    )


def test_quota_without_a_cohort_is_a_wall():
    jobs = [job("r1", 0, 10, 2, queue="red"), job("r2", 0, 10, queue="red"), job("free", 0, 10)]
    check(
        """
        0 arrive free / 0 arrive r1 / 0 arrive r2 / 0 start free n0[0] / 0 start r1 n0[1-2]
        10 finish free / 10 finish r1 / 10 start r2 n0[0]
        20 finish r2
        """,  # r2 would fit at 0; a job whose queue the fleet does not know has no entitlement to keep
        jobs,
        servers(1, 4),
        "best-effort-fifo:quota=keep",
        queues={"red": queue("red", 2000, None, cohort=None)},
    )


# -- limits, ends and preemption ----------------------------------------------------------------------------------

OVERRUN = [job("a", 0, 80, estimate_ms=50), job("b", 0, 50, estimate_ms=50)]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({"overrun": "extend"}, "50 finish b / 80 finish a"),
        # a job whose run time equals its limit is complete, not killed
        ({"overrun": "kill"}, "50 kill a / 50 finish b"),
        # asks for 100 now, 50 are done: 30 left
        ({"overrun": "requeue"}, "50 preempt a / 50 finish b / 50 start a n0[0] / 80 finish a"),
        # all 80 again, inside the 100 that it now asks for
        (
            {"overrun": "requeue", "progress": "lose"},
            "50 preempt a / 50 finish b / 50 start a n0[0] / 130 finish a",
        ),
        # 5 for the restart, then 30
        (
            {"overrun": "requeue", "restart_ms": 5},
            "50 preempt a / 50 finish b / 50 start a n0[0] / 85 finish a",
        ),
    ],
    ids=["extend", "kill", "requeue", "requeue, lose", "requeue, restart"],
)
def test_outrunning_the_estimate(rules, expected):
    head = "0 arrive a / 0 arrive b / 0 start a n0[0] / 0 start b n0[1] / "
    check(head + expected, OVERRUN, servers(1, 2), "fifo", **rules)


PREEMPTED = [job("low", 0, 100), job("high", 30, 20, priority=1)]


@pytest.mark.parametrize(
    ("rules", "end_ms"),
    [
        ({}, 50 + 70),
        ({"progress": "lose"}, 50 + 100),
        ({"checkpoint_ms": 20}, 50 + 100 - 20),  # at 30 the last checkpoint was at 20
        ({"checkpoint_ms": 30}, 50 + 70),  # taken in the very instant
        ({"checkpoint_ms": 31}, 50 + 100),
        ({"restart_ms": 5}, 50 + 5 + 70),
        ({"restart_ms": 5, "progress": "lose"}, 50 + 5 + 100),
    ],
)
def test_what_a_preempted_job_keeps_and_pays(rules, end_ms):
    check(
        f"""
        0 arrive low / 0 start low n0[0]
        30 arrive high / 30 preempt low / 30 start high n0[0]
        50 finish high / 50 start low n0[0]
        {end_ms} finish low
        """,
        PREEMPTED,
        servers(1, 1),
        "preempt-priority",
        **rules,
    )


def test_a_restart_that_is_preempted_is_paid_again():
    """low starts anew at 50 and would work from 55; taken off at 52 it has lost nothing but the 2 ms that it paid."""
    check(
        """
        0 arrive low / 0 start low n0[0]
        30 arrive high / 30 preempt low / 30 start high n0[0]
        50 finish high / 50 start low n0[0]
        52 arrive next / 52 preempt low / 52 start next n0[0]
        62 finish next / 62 start low n0[0]
        137 finish low
        """,  # 62 + 5 + 70
        [*PREEMPTED, job("next", 52, 10, priority=1)],
        servers(1, 1),
        "preempt-priority",
        restart_ms=5,
    )


def test_a_job_larger_than_the_fleet_is_rejected_and_blocks_nobody():
    check(
        "0 arrive huge / 0 reject huge / 1 arrive a / 1 start a n0[0] / 2 finish a",
        [job("huge", 0, 10, 3), job("a", 1, 1)],
        servers(1, 2),
        "fifo",
    )


def test_static_fill_file_order_no_departures_no_retry():
    """Time is the place in the file. b finds one device of two and is dropped for good; c still fits."""
    check(
        "0 arrive a / 0 start a n0[0-2] / 1 arrive b / 1 drop b / 2 arrive c / 2 start c n0[3]",
        [job("a", 900, 1, 3), job("b", 5, 1, 2), job("c", 7, 1)],
        servers(1, 4),
        "fifo",
        fill=True,
    )


def test_a_job_of_six_on_servers_of_four_split_whole_or_free():
    jobs = [job("a", 0, 100), job("b", 0, 100), job("six", 10, 5, 6)]
    check(
        """
        0 arrive a / 0 arrive b / 0 start a n0[0] / 0 start b n1[0]
        10 arrive six
        100 finish a / 100 finish b / 100 start six n0[0-3] n1[0-1]
        105 finish six
        """,
        jobs,
        servers(2, 4),
        "fifo:place=spread",
    )
    free = told(jobs, servers(2, 4), "fifo:place=spread", split="free")
    assert "10 start six n0[1] n1[1] n0[2] n1[2] n0[3] n1[3]" in free
