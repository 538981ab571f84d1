"""Rates that change while a job runs: every end computed by hand, the arithmetic beside it."""

from __future__ import annotations

import pytest
from audited import audited
from builders import golden, job, policy, servers

from policies.topology import Node, Topology
from sim.timeline import Happened
from sim.world.speed import SpeedChange, SpeedModel

HALF, QUARTER, FULL, DOUBLE = 500_000, 250_000, 1_000_000, 2_000_000


def after(jobs, topology, changes, what="fifo", **more) -> str:
    speed = SpeedModel(topology, changes=[SpeedChange(*change) for change in changes])
    text = golden(audited(jobs, topology, what, speed=speed, **more), topology)
    return " / ".join(line for line in text.splitlines() if " arrive " not in line)


ONE = [job("a", 0, 100)]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # 40 done, 60 left at 1/2 take 120
        pytest.param([(40, 1, HALF)], "40 speed a 500000 / 160 finish a", id="slower in the middle"),
        # 50 done, 50 left at 2 take 25
        pytest.param([(50, 1, DOUBLE)], "50 speed a 2000000 / 75 finish a", id="faster in the middle"),
        # 50 left at 3 take 16 2/3: the first whole millisecond is 17 later
        pytest.param([(50, 1, 3 * FULL)], "50 speed a 3000000 / 67 finish a", id="an end between milliseconds"),
        # 60 left at 0.333333 take 60 / 0.333333 = 180.00018: 181, not 180
        pytest.param([(40, 1, 333_333)], "40 speed a 333333 / 221 finish a", id="a third is not a third"),
        # 40 done, then (70 - 40) / 2 = 15: 45 left
        pytest.param(
            [(40, 1, HALF), (70, 1, FULL)],
            "40 speed a 500000 / 70 speed a 1000000 / 115 finish a",
            id="slow for a while",
        ),
        pytest.param([(100, 1, HALF)], "100 finish a", id="in the instant of the end"),
        # 99 done, 1 left at 1/2 takes 2
        pytest.param([(99, 1, HALF)], "99 speed a 500000 / 101 finish a", id="in the last millisecond"),
        # before it starts to work: 100 at 1/2
        pytest.param([(0, 1, HALF)], "200 finish a", id="in the instant of the start"),
        # another server, and no change at all
        pytest.param([(40, 2, HALF), (50, 1, FULL)], "100 finish a", id="not this job"),
        # in one instant 1/2 and 1/4 for the same server, sorted: the larger is said last and holds
        pytest.param([(40, 1, HALF), (40, 1, QUARTER)], None, id="two in one instant"),
    ],
)
def test_one_job(changes, expected):
    text = after(ONE, servers(2, 1), changes)
    if expected is None:
        expected = "40 speed a 250000 / 40 speed a 500000 / 160 finish a"
    assert text == f"0 start a n0[0] / {expected}"


def test_overlapping_changes_the_slowest_member_counts():
    """A gang of two servers.

    0..20 at 1: 20 done. 20..60 n0 at 1/2: 20 more, 40. 60..100 n1 at 1/4: 10 more, 50. At 100 n0 is well again, n1 is not:
    no change; 100..140: 10 more, 60. At 140 n1 is well again: 40 left, 180.
    """
    changes = [(20, 0b01, HALF), (60, 0b10, QUARTER), (100, 0b01, FULL), (140, 0b10, FULL)]
    assert after([job("a", 0, 100, 2)], servers(2, 1), changes) == (
        "0 start a n0[0] n1[0] / 20 speed a 500000 / 60 speed a 250000 / 140 speed a 1000000 / 180 finish a"
    )


PREEMPTED = [job("low", 0, 100), job("high", 30, 20, priority=1)]


def test_a_change_while_a_restart_is_paid():
    """30 done; starts anew at 50 and pays until 60; at 55 the server falls to 1/2: 70 left from 60 on take 140."""
    text = after(PREEMPTED, servers(1, 1), [(55, 1, HALF)], "preempt-priority", restart_ms=10)
    assert text == (
        "0 start low n0[0] / 30 preempt low / 30 start high n0[0] / 50 finish high / 50 start low n0[0]"
        " / 55 speed low 500000 / 200 finish low"
    )


@pytest.mark.parametrize(
    ("rules", "end_ms"),
    [
        # low: 20 at 1 and 10 at 1/2 are 25 done; high: 20 at 1/2 take 40, until 70; 75 left at 1/2 take 150
        ({}, 70 + 150),
        ({"progress": "lose"}, 70 + 200),
        # of 25 done the last checkpoint was at 20: 80 left take 160
        ({"checkpoint_ms": 10}, 70 + 160),
        ({"restart_ms": 7}, 70 + 7 + 150),
    ],
)
def test_a_change_then_a_preemption(rules, end_ms):
    text = after(PREEMPTED, servers(1, 1), [(20, 1, HALF)], "preempt-priority", **rules)
    assert text == (
        "0 start low n0[0] / 20 speed low 500000 / 30 preempt low / 30 start high n0[0] / 70 finish high"
        f" / 70 start low n0[0] / {end_ms} finish low"
    )


def test_a_fraction_of_a_millisecond_of_work_is_kept():
    """At 1/3 (333,333 millionths) 10 ms are 3.33333 done: 96.66667 left from 10 on, at 1, end at 107 and not at 106."""
    assert after(ONE, servers(1, 1), [(0, 1, 333_333), (10, 1, FULL)]).endswith("10 speed a 1000000 / 107 finish a")


def test_a_slow_job_outruns_its_estimate_and_one_made_faster_does_not():
    late = [job("a", 0, 100, estimate_ms=100)]
    # 50 left at 1/2: would end at 150, is killed at its limit
    killed = "0 start a n0[0] / 50 speed a 500000 / 100 kill a"
    assert after(late, servers(1, 1), [(50, 1, HALF)], overrun="kill") == killed
    # asks for 120 and would have been killed; at 100 100 are done, 100 left at 5 take 20: complete at its limit
    long = [job("a", 0, 200, estimate_ms=120)]
    rescued = "0 start a n0[0] / 100 speed a 5000000 / 120 finish a"
    assert after(long, servers(1, 1), [(100, 1, 5 * FULL)], overrun="kill") == rescued


def test_the_card_and_the_width_of_the_gang_count_and_the_smallest_card_sets_the_pace():
    """b works at 3/4 on one card; on a and b, over two leaves, at 3/4 x 1/2 = 3/8: 100 take 266 2/3, so 267."""
    nodes = [
        Node(name="n0", accelerator="a", devices=1, domains=("x",)),
        Node(name="n1", accelerator="b", devices=1, domains=("y",)),
    ]
    topology = Topology(nodes, ("leaf",))
    speed = SpeedModel(
        topology,
        card_ppm=lambda _, card: {"a": FULL, "b": 750_000}[card],
        locality_ppm=lambda _: (FULL, 900_000, HALF),
    )
    one = audited([job("a", 0, 500), job("b", 0, 300)], topology, "fifo", speed=speed)
    assert "400 finish b" in golden(one, topology)
    named = audited([job("b", 0, 300, accelerators=("b",))], topology, "fifo", speed=speed)
    assert golden(named, topology).endswith("300 finish b"), "it was recorded on b"
    both = audited([job("a", 0, 100, 2)], topology, "fifo", speed=speed)
    assert golden(both, topology).endswith("267 finish a")


PLACES = ("first-fit", "best-fit", "spread", "consolidate", "random")


def fleet() -> Topology:
    return Topology([Node(name=f"n{i}", devices=4, domains=(f"leaf{i // 2}",)) for i in range(6)], ("leaf",))


def run_times(place: str, speed: SpeedModel | None) -> dict[str, int]:
    jobs = [job(f"j{i}", 7 * i, 50 + i % 9, 1 + i % 7) for i in range(60)]
    outcome = audited(jobs, fleet(), f"best-effort-fifo:place={place}", speed=speed)
    began, ran = {}, {}
    line = outcome.timeline
    for at_ms, happened, row in zip(line.at_ms.tolist(), line.happened.tolist(), line.job.tolist(), strict=True):
        if happened == Happened.START:
            began[row] = at_ms
        elif happened == Happened.FINISH:
            ran[outcome.records[row].job_id] = at_ms - began[row]
    return ran


def test_with_the_factors_off_no_run_time_depends_on_the_placement():
    recorded = {f"j{i}": 50 + i % 9 for i in range(60)}
    for place in PLACES:
        assert run_times(place, None) == recorded
        assert run_times(place, SpeedModel(fleet())) == recorded
        # tables that say "full speed" everywhere are no different from none
        flat = SpeedModel(fleet(), card_ppm=lambda *_: FULL, locality_ppm=lambda _: (FULL, FULL, FULL))
        assert run_times(place, flat) == recorded


def test_with_the_factors_on_consolidate_beats_spread():
    speed = SpeedModel(fleet(), locality_ppm=lambda _: (FULL, 900_000, HALF))
    assert sum(run_times("consolidate", speed).values()) < sum(run_times("spread", speed).values())


class Looks:
    """Decides as another policy, and looks at the running jobs before."""

    name = "looks"

    def __init__(self, inner) -> None:
        self.inner = inner

    def decide(self, view):
        assert len(view.running) == 0
        return self.inner.decide(view)


def test_the_order_of_changes_does_not_depend_on_who_looked_at_the_running_jobs():
    """b starts before a, both at 0; at 10 both change."""
    jobs = [job("a", 0, 100, estimate_ms=9), job("b", 0, 50, estimate_ms=5)]
    for what in ("sjf", Looks(policy("sjf"))):
        assert after(jobs, servers(2, 1), [(10, 3, HALF)], what) == (
            "0 start b n0[0] / 0 start a n1[0] / 10 speed a 500000 / 10 speed b 500000 / 90 finish b / 190 finish a"
        )
