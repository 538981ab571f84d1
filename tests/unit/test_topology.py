"""The servers as they never change."""

from __future__ import annotations

import pytest
from builders import servers

from policies import bitset
from policies.api import PodGroup
from policies.topology import Node, Topology

LEVELS = ("leaf", "spine")


def tree() -> Topology:
    return Topology([Node(name=f"n{i}", devices=2, domains=(f"l{i // 2}", f"s{i // 4}")) for i in range(8)], LEVELS)


@pytest.mark.parametrize(
    ("nodes", "width"),
    [([3], 0), ([3, 3], 0), ([0, 1], 1), ([1, 2], 2), ([0, 1, 3], 2), ([3, 4], 3), ([0, 7, 0], 3)],
)
def test_how_wide_a_set_of_servers_is(nodes, width):
    assert tree().span(nodes) == width


def test_without_levels_two_servers_span_the_fleet():
    assert servers(2).span([0]) == 0
    assert servers(2).span([0, 1]) == 1


def test_domains_hold_each_server_once():
    topology = tree()
    for level in range(2):
        assert sum(domain.bit_count() for domain in topology.domains[level]) == 8
        for number, domain in enumerate(topology.domains[level]):
            for node in bitset.bits(domain):
                assert topology.domain_of[level][node] == number
                assert topology.nodes[node].domains[level] == topology.domain_names[level][number]


@pytest.mark.parametrize(
    ("available", "count", "expected"),
    [
        ("0-7", 2, "0-1"),
        ("0-7", 4, "0-3"),
        ("0-7", 5, "0-4"),
        ("1-3,4-7", 4, "4-7"),  # one island has them all
        ("0-3,6-7", 2, "6-7"),  # the island with the fewest that suffices
        ("0,2,4-6", 3, "4-6"),
        ("0,4-6", 4, "0,4-6"),
        ("0-1,4-6", 4, "0,4-6"),  # across islands: the fuller island first
        ("3", 1, "3"),
    ],
)
def test_devices_close_together(available, count, expected):
    topology = Topology([Node(name="n", islands=((0, 1, 2, 3), (4, 5, 6, 7)))])
    members = []
    for part in available.split(","):
        first, _, last = part.partition("-")
        members += range(int(first), int(last or first) + 1)
    assert bitset.ranges(topology.pick(0, bitset.from_members(members), count)) == expected


@pytest.mark.parametrize(
    ("node", "why"),
    [
        (Node(name="n", devices=65), "devices must be from 0 to 64, got 65"),
        (Node(name="n", devices=-1), "devices must be from 0 to 64, got -1"),
        (Node(name="n", domains=("x",)), "1 domains for 0 levels"),
        (Node(name="n", devices=2, islands=((0,),)), "each of its 2 devices once"),
        (Node(name="n", devices=2, islands=((0, 1), (1,))), "each of its 2 devices once"),
    ],
)
def test_a_server_that_cannot_be(node, why):
    with pytest.raises(ValueError, match=why):
        Topology([node])


def test_who_may_host_what():
    topology = Topology(
        [
            Node(name="a", accelerator="x", device_memory_mib=40, pool="p"),
            Node(name="b", accelerator="y", device_memory_mib=80, pool="p"),
            Node(name="c", accelerator="y", pool="q"),
            Node(name="d", accelerator=None, devices=0, pool="q"),
        ]
    )

    def hosts(devices: int = 1, **kind) -> str:
        request = topology.request((PodGroup(1, devices),), **kind)
        return "".join(topology.nodes[node].name for node in bitset.bits(request.eligible))

    assert hosts() == "abcd", "a server without devices is found out by its devices, not by its kind"
    assert hosts(accelerators=("y",)) == "bc"
    assert hosts(accelerators=("x", "z")) == "a"
    assert hosts(device_memory_mib=50) == "bcd", "memory that is not modelled is not checked"
    assert hosts(pools=("q",)) == "cd"
    assert hosts(devices=0, accelerators=("y",)) == "abcd", "without devices the accelerator does not matter"


def test_plain_is_where_whole_devices_are_all_that_can_stand_in_the_way():
    plain = (PodGroup(1, 1),)
    with_cpu = (PodGroup(1, 1, cpu_milli=1),)
    assert servers(1).request(plain).plain
    assert servers(1).request(with_cpu).plain, "CPU is not modelled there"
    assert not servers(1, cpu_milli=10).request(with_cpu).plain
    assert servers(1, cpu_milli=10).request(plain).plain
    assert not servers(1, max_pods=10).request(plain).plain
    assert not servers(1).request(plain, device_milli=500).plain
    assert not servers(1).request((PodGroup(1, 0),)).plain


def test_an_empty_fleet_is_a_fleet():
    topology = Topology([])
    assert (len(topology), topology.widest, topology.device_count) == (0, 0, 0)
