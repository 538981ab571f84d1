"""Families of fleets."""

import itertools

import pytest

from sim.fleet.load import builtin_fleet
from sim.fleet.model import Fleet, FleetError, Queue, Server
from sim.fleet.shorthand import parse_shorthand
from sim.planning.fleets import compacted, devices_of, resized, without_one


def test_a_pool_shrinks_from_its_end_and_grows_by_copies_in_racks_of_their_own():
    fleet = builtin_fleet()
    a100 = [server for server in fleet.servers if server.pool == "a100"]
    smaller = resized(fleet, "a100", 5)
    assert [server.name for server in smaller.servers if server.pool == "a100"] == [each.name for each in a100[:5]]
    assert [s for s in smaller.servers if s.pool != "a100"] == [s for s in fleet.servers if s.pool != "a100"]
    larger = resized(fleet, "a100", 24 + 3)
    assert larger.servers[: len(fleet.servers)] == fleet.servers
    copies = larger.servers[len(fleet.servers) :]
    assert [copy.name for copy in copies] == [f"{each.name}+1" for each in a100[:3]]
    assert copies[0].domains == tuple(f"{domain}+1" for domain in a100[0].domains)
    assert resized(fleet, "a100", 24) == fleet
    with pytest.raises(FleetError, match="did you mean 'a100'"):
        resized(fleet, "a10", 3)
    with pytest.raises(FleetError):
        resized(parse_shorthand("4x8"), "default", 0)


def test_compaction_takes_nested_random_parts_of_the_same_fleet():
    fleet = builtin_fleet()
    parts = [compacted(fleet, count, seed=3) for count in (1, 7, 20, 40)]
    for small, large in itertools.pairwise(parts):
        assert set(small.servers) < set(large.servers)
    assert parts[-1].servers == fleet.servers
    assert compacted(fleet, 7, seed=3) == parts[1]
    assert compacted(fleet, 7, seed=4) != parts[1]


def test_a_queue_whose_pool_is_gone_may_use_nothing():
    servers = tuple(
        Server(name=f"{pool}{i}", pool=pool, accelerator="x", devices=2) for pool in "ab" for i in range(2)
    )
    queues = (
        Queue(name="q", nominal={"*": 4}, pools=("b",)),
        Queue(name="r", nominal={"*": 4}, pools=("a", "b")),
    )
    fleet = resized(Fleet(name="f", servers=servers, queues=queues), "b", 0)
    assert (fleet.queues[0].pools, dict(fleet.queues[0].nominal)) == (None, {"*": 0})
    assert fleet.queues[1].pools == ("a",)


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


def test_a_price_by_accelerator():
    fleet = builtin_fleet()
    assert devices_of(fleet, {"*": 1.0}) == fleet.devices
    assert devices_of(fleet, {"nvidia-t4": 2.0}) == 2.0 * fleet.devices_by_accelerator["nvidia-t4"]
