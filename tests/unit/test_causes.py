"""Why jobs wait: cases by hand in which each cause is the only one, and what the sums are."""

from __future__ import annotations

import numpy as np
import pytest
from builders import job, policy, servers

from policies.api import PodGroup, QueueView
from policies.nodes import NodeLedger
from policies.quota.nominal import NominalQuota
from policies.topology import Node, Topology
from policies.values import Share
from sim.causes.cause import CAUSES, Cause
from sim.causes.passes import Passes
from sim.causes.room import Room
from sim.causes.table import Interval, WaitCauses, causes_of
from sim.engine import Engine
from sim.rules import Rules


def causes(jobs, topology, spec="fifo", queues=None, **rules) -> WaitCauses:
    live = {name: queue._replace(held_milli={}) for name, queue in (queues or {}).items()}
    outcome = Engine(jobs, topology, policy(spec), rules=Rules(**rules), queues=live).run()
    admission = NominalQuota() if "quota=keep" in spec else None
    return causes_of(
        jobs,
        outcome.timeline,
        topology,
        rules=Rules(**rules),
        end_ms=outcome.end_ms,
        queues=queues,
        admission=admission,
    )


def told(found: WaitCauses, row: int) -> list[tuple[int, int, str]]:
    return [(part.from_ms, part.until_ms, part.cause.name.lower()) for part in found.intervals(row)]


def first(found: WaitCauses, row: int) -> dict[str, int]:
    return {name: ms for name, ms in zip(CAUSES, found.columns.first[:, row].tolist(), strict=True) if ms}


def test_capacity():
    """a holds 6 of 8 devices until 10: 2 are free, b wants 4."""
    found = causes([job("a", 0, 10, 6), job("b", 3, 5, 4)], servers(1))
    assert told(found, 1) == [(3, 10, "capacity")]
    assert first(found, 0) == {}


def test_quota():
    """8 devices, red may hold 4: a has them until 10."""
    queues = {"red": QueueView("red", {"*": 4000}, None, None, 1, None, {})}
    jobs = [job("a", 0, 10, 4, queue="red"), job("b", 3, 5, 4, queue="red")]
    assert told(causes(jobs, servers(1), "fifo:quota=keep", queues), 1) == [(3, 10, "quota")]
    assert told(causes(jobs, servers(1), "fifo", queues), 1) == [], "a quota that nobody keeps is no cause"


def test_fragmentation():
    """Two servers of 4, each with 2 free until 10: 4 are free, b wants 4 on one server."""
    jobs = [job("a", 0, 10, 4, pods=2), job("b", 3, 5, 4, pods=1)]
    assert told(causes(jobs, servers(2, 4), "fifo:place=spread"), 1) == [(3, 10, "fragmentation")]


def test_order():
    """The head b wants 8 and blocks c, for which there is room all the time."""
    jobs = [job("a", 0, 10, 6), job("b", 1, 5, 8), job("c", 2, 5, 1)]
    found = causes(jobs, servers(1))
    assert told(found, 2) == [(2, 10, "order"), (10, 15, "capacity")]
    assert told(causes(jobs, servers(1), "best-effort-fifo"), 2) == []


def test_cycle():
    """Nothing is in the way of a but the clock: passes come at 0, 30, 60."""
    assert told(causes([job("a", 7, 5, 1)], servers(1), cycle_ms=30), 0) == [(7, 30, "cycle")]


def test_after_the_first_pass_it_is_order():
    """At 10 a ends and b has room, at 30 it starts. c has room from 12 on: no pass until 30, then b is first, and strict."""
    jobs = [job("a", 0, 10, 8), job("b", 5, 50, 4), job("c", 12, 5, 4), job("d", 12, 5, 8), job("e", 13, 5, 1)]
    found = causes(jobs, servers(1), cycle_ms=30)
    assert told(found, 1) == [(5, 10, "capacity"), (10, 30, "cycle")]
    assert told(found, 2) == [(12, 30, "cycle")]
    # d has no 8 until b ends at 80, and the pass after that comes at 90
    assert told(found, 3) == [(12, 30, "cycle"), (30, 80, "capacity"), (80, 90, "cycle")]
    # e is behind d: it has room when c ends at 35, is passed over at 60, and has none while d runs from 90 to 95
    assert told(found, 4) == [
        (13, 30, "cycle"),
        (30, 35, "capacity"),
        (35, 60, "cycle"),
        (60, 90, "order"),
        (90, 95, "capacity"),
        (95, 120, "cycle"),
    ]


def test_a_pass_that_thinks_keeps_the_next_one_waiting():
    """The pass at 0 thinks until 10: b, which arrives at 1, is seen then, and works from 20 on."""
    found = causes([job("a", 0, 5, 1), job("b", 1, 5, 1)], servers(1), thinking="fixed", thinking_ms=10)
    assert told(found, 1) == [(1, 10, "cycle")]
    assert found.columns.startup_ms.tolist() == [10, 10]


def test_waiting_after_a_preemption_is_told_apart():
    """low runs 0-5, waits for high until 15, pays 2 for its restart, and runs what is left."""
    jobs = [job("low", 0, 10, 8), job("high", 5, 10, 8, priority=1)]
    found = causes(jobs, servers(1), "preempt-priority", restart_ms=2)
    assert found.intervals(0) == [Interval(5, 15, Cause.CAPACITY, again=True)]
    assert first(found, 0) == {}
    assert found.columns.again[:, 0].tolist() == [10, 0, 0, 0, 0]
    assert found.columns.startup_ms.tolist() == [2, 0]


def test_what_is_withdrawn_after_a_preemption_waited_again():
    """low runs 0-5, and waits for high until it is taken away at 30."""
    jobs = [job("low", 0, 10, 8, lifetime_ms=30), job("high", 5, 40, 8, priority=1)]
    found = causes(jobs, servers(1), "preempt-priority", restart_ms=2)
    assert found.intervals(0) == [Interval(5, 30, Cause.CAPACITY, again=True)]
    assert first(found, 0) == {}
    assert found.columns.again[:, 0].tolist() == [25, 0, 0, 0, 0]
    assert found.columns.startup_ms.tolist() == [0, 0]


def test_a_withdrawn_job_waited_until_it_was_withdrawn():
    """a holds 6 of 8 until 10, x 1 until 30; b wants 8 and goes at 25, and c behind it wants 1, which is free."""
    jobs = [job("a", 0, 10, 6), job("x", 0, 30, 1), job("b", 3, 5, 8, lifetime_ms=22), job("c", 4, 5, 1)]
    found = causes(jobs, servers(1))
    assert told(found, 2) == [(3, 25, "capacity")]
    assert told(found, 3) == [(4, 25, "order")]
    assert first(found, 2) == {"capacity": 22}
    assert found.columns.startup_ms.tolist() == [0, 0, 0, 0]


def test_a_pass_that_was_due_for_a_withdrawn_job_comes_all_the_same():
    """At 20 x ends while w waits: a pass is due. w goes in the same millisecond, and the pass looks at nobody, until 24."""
    jobs = [job("x", 0, 16, 8), job("w", 5, 9, 8, lifetime_ms=15), job("y", 21, 5, 1)]
    found = causes(jobs, servers(1), thinking="fixed", thinking_ms=4)
    assert told(found, 1) == [(5, 20, "capacity")]
    assert told(found, 2) == [(21, 24, "cycle")]


def test_a_kind_that_comes_back_is_asked_anew():
    """b waits until 10; then nobody of its kind does until 21."""
    jobs = [job("a", 0, 10, 8), job("b", 2, 5, 8), job("c", 20, 10, 2), job("x", 21, 10, 8), job("d", 22, 5, 8)]
    found = causes(jobs, servers(1))
    assert told(found, 1) == [(2, 10, "capacity")]
    assert told(found, 3) == [(21, 30, "capacity")]
    assert told(found, 4) == [(22, 40, "capacity")]


def test_a_run_that_was_stopped():
    """The job that still waits at the end has waited until then."""
    jobs = [job("a", 0, 10, 8), job("b", 2, 5, 8)]
    outcome = Engine(jobs, servers(1), policy("fifo"), rules=Rules()).run()
    line = outcome.timeline
    kept = 3  # arrive a, start a, arrive b
    cut = line._replace(
        at_ms=line.at_ms[:kept],
        happened=line.happened[:kept],
        job=line.job[:kept],
        speed_ppm=line.speed_ppm[:kept],
        share_start=line.share_start[: kept + 1],
    )
    found = causes_of(jobs, cut, servers(1), rules=Rules(), end_ms=7)
    assert told(found, 1) == [(2, 7, "capacity")]
    assert found.columns.startup_ms.tolist() == [0, 0]


def test_a_static_fill_has_no_clock():
    with pytest.raises(ValueError, match="no clock"):
        causes_of(
            [], Engine([], servers(1), policy("fifo")).run().timeline, servers(1), rules=Rules(fill=True), end_ms=0
        )


def test_nobody_waits():
    found = causes([job("a", 0, 5), job("b", 0, 5)], servers(1))
    assert not found.columns.first.any()
    assert not found.columns.again.any()
    assert found.intervals(0) == []


# -- does a placement exist? ---------------------------------------------------------------------------------------


def room(topology: Topology, *taken: tuple[int, int, int]) -> tuple[Room, NodeLedger]:
    """(server, mask, milli) that somebody holds."""
    ledger = NodeLedger(topology)
    for node, mask, milli in taken:
        count = mask.bit_count()
        ledger.take(topology.request((PodGroup(1, count),), device_milli=milli), (Share(node, mask, 1, 0),))
    return Room(ledger), ledger


@pytest.mark.parametrize(
    ("gang", "fits"),
    [
        ((PodGroup(2, 2),), True),  # one on each of the two servers with 3 and 2 left
        ((PodGroup(3, 2),), False),
        ((PodGroup(1, 3), PodGroup(1, 2)), True),
        ((PodGroup(1, 3), PodGroup(1, 3)), False),
        ((PodGroup(2, 2), PodGroup(1, 1)), True),  # the one goes beside a pair on the server of 3
        ((PodGroup(1, 1), PodGroup(2, 2)), True),
        ((PodGroup(2, 2), PodGroup(2, 1)), False),  # found by trying
    ],
)
def test_whole_devices(gang, fits):
    topology = servers(2, 4)
    asked, _ = room(topology, (0, 0b1, 1000), (1, 0b11, 1000))
    assert asked.fits(topology.request(gang), topology.everywhere) is fits


@pytest.mark.parametrize(
    ("gang", "milli", "fits"),
    [
        ((PodGroup(5, 1),), 500, True),  # 400 and 500 are left on n0, two idle devices on n1: 0 + 1 + 2 x 2 places
        ((PodGroup(6, 1),), 500, False),
        ((PodGroup(1, 3),), 500, False),  # three devices of one server
        ((PodGroup(2, 2),), 500, True),  # both on n1
        ((PodGroup(1, 2), PodGroup(3, 1)), 500, True),
        ((PodGroup(1, 2), PodGroup(4, 1)), 500, False),  # 5 places, 6 wanted
    ],
)
def test_shared_devices(gang, milli, fits):
    topology = Topology([Node(name="n0", devices=2), Node(name="n1", devices=2)])
    asked, _ = room(topology, (0, 0b01, 600), (0, 0b10, 500))
    assert asked.fits(topology.request(gang, device_milli=milli), topology.everywhere) is fits


def test_three_pods_over_two_of_three_devices():
    """Places 1, 1 and 2: two pods of two devices fit if the first does not take both single places."""
    topology = servers(1, 3)
    asked, _ = room(topology, (0, 0b01, 500), (0, 0b10, 500))
    assert asked.fits(topology.request((PodGroup(2, 2),), device_milli=500), topology.everywhere)


def test_limits_of_cpu_count_and_follow_each_change():
    topology = Topology([Node(name="n0", devices=4, cpu_milli=4000), Node(name="n1", devices=4, cpu_milli=2000)])
    request = topology.request((PodGroup(3, 1, 2000),))
    asked, ledger = room(topology)
    assert asked.fits(request, topology.everywhere)
    assert not asked.fits(request, 1)
    placement = (Share(0, 1, 1, 0),)
    ledger.take(request, placement)
    asked.changed()
    assert not asked.fits(request, topology.everywhere)
    ledger.release(request, placement)
    asked.changed()
    assert asked.fits(request, topology.everywhere)


# -- when passes came ----------------------------------------------------------------------------------------------


def test_where_thinking_was_measured_only_starts_show_the_passes():
    passes = Passes(Rules(thinking="measured"))
    assert list(passes.before(5)) == []
    assert not passes.instant(5, event=True, acted=False)
    assert passes.instant(9, event=False, acted=True)
    assert passes.first_from(np.array([5, 9, 10])).tolist() == [9, 9, 1 << 62]


def test_a_pass_waits_for_the_thinking_and_then_for_the_clock():
    passes = Passes(Rules(cycle_ms=10, thinking="fixed", thinking_ms=12))
    assert passes.instant(0, event=True, acted=True)
    assert not passes.instant(3, event=True, acted=False)  # thought until 12: due at 20
    assert list(passes.before(20)) == []
    assert passes.instant(20, event=False, acted=False)
    assert not passes.instant(21, event=True, acted=False)  # thought until 32: due at 40
    assert list(passes.before(50)) == [40]
    assert passes.first_from(np.array([0, 1, 21])).tolist() == [0, 20, 40]
