"""Families of fleets, entitlements that grow with them, and load that grows."""

import itertools
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from builders import job
from hypothesis import given
from hypothesis import strategies as st

from sim.fleet.load import builtin_fleet
from sim.fleet.model import Fleet, FleetError, Queue, Server
from sim.fleet.shorthand import parse_shorthand
from sim.planning.fleets import compacted, cost_of, is_stand_in, resized, server_count, without_one
from sim.planning.growth import grown
from traces.transform import DAY_MS, scale_load


def two_zones(racks=2, servers=2, levels=("leaf", "zone")):
    """Racks of servers in two zones; the first zone is written first."""
    made = [
        Server(
            name=f"{zone}{rack}-{number}",
            pool="p",
            accelerator="x",
            devices=8,
            domains=(f"{zone}{rack}", zone)[-len(levels) :],
        )
        for zone in "ab"
        for rack in range(racks)
        for number in range(servers)
    ]
    return Fleet(name="f", levels=levels, servers=tuple(made))


def names(fleet):
    return [server.name for server in fleet.servers]


def test_a_pool_shrinks_and_grows_evenly_over_zones_and_by_whole_racks():
    fleet = two_zones()
    assert names(fleet) == ["a0-0", "a0-1", "a1-0", "a1-1", "b0-0", "b0-1", "b1-0", "b1-1"]
    assert names(resized(fleet, "p", 4)) == ["a0-0", "a0-1", "b0-0", "b0-1"]
    assert names(resized(fleet, "p", 3)) == ["a0-0", "a0-1", "b0-0"]
    assert resized(fleet, "p", 8) == fleet
    larger = resized(fleet, "p", 11)
    assert larger.servers[:8] == fleet.servers
    assert [(each.name, each.domains) for each in larger.servers[8:]] == [
        ("a0-0+1", ("a0+1", "a")),
        ("b0-0+1", ("b0+1", "b")),
        ("a0-1+1", ("a0+1", "a")),
    ]
    for small, large in itertools.pairwise(resized(fleet, "p", count) for count in range(1, 20)):
        assert set(small.servers) < set(large.servers)


def test_a_zone_above_servers_is_no_rack_that_could_be_bought():
    larger = resized(two_zones(levels=("zone",)), "p", 12)
    assert [each.domains for each in larger.servers[8:]] == [("a",), ("b",), ("a",), ("b",)]


def test_other_pools_stay_and_what_is_not_there_is_refused():
    fleet = builtin_fleet()
    smaller = resized(fleet, "a100", 5)
    assert [s for s in smaller.servers if s.pool != "a100"] == [s for s in fleet.servers if s.pool != "a100"]
    with pytest.raises(FleetError, match="did you mean 'a100'"):
        resized(fleet, "a10", 3)
    with pytest.raises(FleetError):
        resized(parse_shorthand("4x8"), "default", 0)


def test_a_copy_has_its_own_host_label():
    server = Server(name="n", pool="p", accelerator="x", devices=1, labels={"kubernetes.io/hostname": "n", "a": "b"})
    copy = resized(Fleet(name="f", servers=(server,)), "p", 2).servers[1]
    assert copy.labels == {"kubernetes.io/hostname": "n+1", "a": "b"}


def test_compaction_takes_nested_random_parts_of_the_same_fleet():
    fleet = builtin_fleet()
    parts = [compacted(fleet, count, seed=3) for count in (1, 7, 20, 40)]
    for small, large in itertools.pairwise(parts):
        assert set(small.servers) < set(large.servers)
    assert parts[-1].servers == fleet.servers
    assert compacted(fleet, 7, seed=3) == parts[1]
    assert compacted(fleet, 7, seed=4) != parts[1]


def test_a_queue_whose_pools_are_gone_may_use_nothing():
    servers = tuple(
        Server(name=f"{pool}{i}", pool=pool, accelerator="x", devices=2) for pool in "ab" for i in range(2)
    )
    queues = (
        Queue(name="q", nominal={"*": 4}, pools=("b",), cohort="c"),
        Queue(name="r", nominal={"*": 4}, pools=("a", "b"), cohort="c"),
    )
    fleet = resized(Fleet(name="f", servers=servers, queues=queues), "b", 0)
    assert [queue.pools for queue in fleet.queues] == [("b",), ("a", "b")], "b is left, with nothing in it"
    (left,) = [server for server in fleet.servers if server.pool == "b"]
    assert (left.devices, left.max_pods, is_stand_in(left), server_count(fleet)) == (0, 0, True, 2)
    assert [name for name, _ in without_one(fleet, "server")] == ["a0"], "what is gone cannot fail"


def test_every_domain_can_be_lost_and_servers_alike_stand_for_each_other():
    fleet = builtin_fleet()
    zones = dict(without_one(fleet, "zone"))
    assert len(zones) == len({server.domains[2] for server in fleet.servers})
    for name, left in zones.items():
        assert all(server.domains[2] != name for server in left.servers)
    kinds = list(without_one(fleet, "server"))
    assert all(len(left.servers) == len(fleet.servers) - 1 for _, left in kinds)
    assert 3 <= len(kinds) < len(fleet.servers)
    assert len(list(without_one(parse_shorthand("9x8"), "server"))) == 1
    with pytest.raises(FleetError, match="known are server, leaf, spine, zone"):
        list(without_one(fleet, "rack"))


def test_servers_that_differ_in_a_label_are_not_alike():
    plain = [
        Server(name=f"n{i}", pool="p", accelerator="x", devices=8, labels={"disk": d}) for i, d in enumerate("aab")
    ]
    assert [name for name, _ in without_one(Fleet(name="f", servers=tuple(plain)), "server")] == ["n0", "n2"]


def test_a_price_by_accelerator():
    fleet = builtin_fleet()
    assert cost_of(fleet, {"*": 1.0}) == fleet.devices
    assert cost_of(fleet, {"nvidia-t4": 2.0}) == 2.0 * fleet.devices_by_accelerator["nvidia-t4"]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=5), st.integers(1, 40))
def test_scaled_quotas_hand_out_the_same_part_of_the_fleet(amounts, count):
    queues = tuple(
        Queue(name=f"q{i}", nominal={"x": nominal}, borrowing_limit={"x": limit}, cohort="c")
        for i, (nominal, limit) in enumerate(amounts)
    )
    servers = tuple(Server(name=f"n{i}", pool="p", accelerator="x", devices=8) for i in range(10))
    fleet = Fleet(name="f", servers=servers, queues=queues)
    scaled = resized(fleet, "p", count, quotas="scale").queues
    total = sum(nominal for nominal, _ in amounts)
    assert sum(queue.nominal["x"] for queue in scaled) == total * count // 10
    for queue, (nominal, limit) in zip(scaled, amounts, strict=True):
        assert abs(queue.nominal["x"] - nominal * count / 10) < 1
        assert queue.borrowing_limit == {"x": limit * count // 10}
    assert resized(fleet, "p", count).queues == queues, "quotas stay by default"


def days_of_jobs(days, per_day):
    rng = np.random.default_rng(1)
    at = np.sort(rng.integers(0, days * DAY_MS, days * per_day - 2))
    return [job(f"j{i}", int(t), 10, recorded_start_ms=int(t)) for i, t in enumerate([0, *at, days * DAY_MS])]


@pytest.mark.parametrize("factor", [Fraction(3, 2), Fraction(5, 2), Fraction(7)])
def test_more_jobs_come_in_the_same_hours_of_other_days(factor):
    records = days_of_jobs(5, 40)
    found = grown(records, factor, "jobs", np.random.default_rng(3))
    assert [replace(each, recorded_start_ms=None) for each in records] == found[: len(records)]
    assert len({each.job_id for each in found}) == len(found)
    assert abs(len(found) / len(records) - factor) < 0.1
    by_id = {each.job_id: each for each in records}
    for copy in found[len(records) :]:
        origin = by_id[copy.job_id.partition("+")[0]]
        moved = copy.submit_ms - origin.submit_ms
        assert moved % DAY_MS == 0
        assert moved != 0
        assert 0 <= copy.submit_ms <= 5 * DAY_MS
        assert replace(copy, job_id=origin.job_id, submit_ms=origin.submit_ms) == replace(
            origin, recorded_start_ms=None
        )
    assert found == grown(records, factor, "jobs", np.random.default_rng(3))
    assert found != grown(records, factor, "jobs", np.random.default_rng(4))


def test_weeks_stay_weeks_and_a_short_trace_is_moved_in_a_circle():
    weeks = grown(days_of_jobs(22, 5), Fraction(2), "jobs", np.random.default_rng(0))
    by_id = {each.job_id: each for each in weeks}
    assert {(each.submit_ms - by_id[each.job_id[:-2]].submit_ms) % (7 * DAY_MS) for each in weeks[110:]} == {0}
    short = grown(
        [job("a", 100, 1), job("a+1", 200, 1), job("b", 300, 1)], Fraction(3), "jobs", np.random.default_rng(0)
    )
    assert len({each.job_id for each in short}) == 9
    assert all(100 <= each.submit_ms <= 300 for each in short)


def test_less_load_and_denser_load():
    records = days_of_jobs(3, 50)
    fewer = grown(records, Fraction(1, 2), "jobs", np.random.default_rng(0))
    assert 50 < len(fewer) < 100
    assert set(fewer) <= {replace(each, recorded_start_ms=None) for each in records}
    assert grown(records, Fraction(2), "density", np.random.default_rng(0)) == scale_load(records, 2)
    assert grown(records, Fraction(1), "jobs", np.random.default_rng(0)) == records
    with pytest.raises(ValueError, match="positive"):
        grown(records, Fraction(0), "jobs", np.random.default_rng(0))
