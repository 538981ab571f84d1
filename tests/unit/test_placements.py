"""First-fit, best-fit, spread, random and consolidate, by hand."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from builders import rng, servers

from policies.api import PodGroup, Share
from policies.nodes import NodeLedger
from policies.placement.best_fit import BestFit
from policies.placement.consolidate import Consolidate
from policies.placement.first_fit import FirstFit
from policies.placement.random_fit import RandomFit
from policies.placement.spread import Spread
from policies.topology import Node, Topology

ALL = (FirstFit, BestFit, Spread, Consolidate, lambda: RandomFit(rng=rng()))


def pods(topology, count, devices, milli=1000, **more):
    return topology.request((PodGroup(count, devices),), device_milli=milli, **more)


def with_idle(*idle, levels=(), domains=None, devices=8, **more):
    """Servers n0, n1, ... of which the first devices are taken, so that this many are idle."""
    nodes = [
        Node(name=f"n{i}", devices=devices, domains=domains[i] if domains else (), **more) for i in range(len(idle))
    ]
    ledger = NodeLedger(Topology(nodes, levels))
    for node, count in enumerate(idle):
        if count < devices:
            mask = (1 << devices - count) - 1
            ledger.take(pods(ledger.topology, 1, devices - count), (Share(node, mask),))
    return ledger


def counts(rule, ledger, request, within=None):
    """Devices on each server, or None."""
    placement = rule.place(request, ledger, within)
    if placement is None:
        return None
    found = Counter()
    for share in placement:
        found[share.node] += share.device_mask.bit_count()
    return dict(found)


# -- one pod -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rule", "node"), [(FirstFit, 1), (BestFit, 2), (Spread, 3), (Consolidate, 2)])
def test_one_pod(rule, node):
    # four devices: n0 has two, the others 5, 4, 8, 8 and 4
    assert counts(rule(), with_idle(2, 5, 4, 8, 8, 4), pods(servers(6), 1, 4)) == {node: 4}


@pytest.mark.parametrize(("rule", "node"), [(FirstFit, 0), (BestFit, 1), (Spread, 2), (Consolidate, 1)])
def test_a_share_of_a_device(rule, node):
    ledger = with_idle(4, 4, 5)
    ledger.take(pods(ledger.topology, 1, 1, 700), (Share(1, 1 << 6),))
    # n0 has 4000 left, n1 3300, n2 5000; on n1 the device with 300 left, where that suffices
    ask = pods(ledger.topology, 1, 1, 300)
    assert counts(rule(), ledger, ask) == {node: 1}
    if node == 1:
        assert rule().place(ask, ledger) == (Share(1, 1 << 6),)


@pytest.mark.parametrize("make", ALL)
def test_no_room_is_none(make):
    ledger = with_idle(3, 3, 3)
    assert make().place(pods(ledger.topology, 1, 4), ledger) is None
    assert make().place(pods(ledger.topology, 4, 3), ledger) is None
    assert make().place(pods(ledger.topology, 1, 2, accelerators=("x",)), ledger) is None


@pytest.mark.parametrize("make", ALL)
def test_only_servers_that_are_allowed(make):
    ledger = with_idle(8, 8, 8)
    assert counts(make(), ledger, pods(ledger.topology, 1, 3), within=0b010) == {1: 3}
    assert counts(make(), ledger, pods(ledger.topology, 2, 8), within=0b110) == {1: 8, 2: 8}
    assert counts(make(), ledger, pods(ledger.topology, 3, 8), within=0b110) is None
    assert counts(make(), ledger, pods(ledger.topology, 1, 1), within=0) is None


@pytest.mark.parametrize("make", ALL)
def test_a_placement_changes_nothing(make):
    ledger = with_idle(8, 3, 5)
    before = (ledger.idle_mask.copy(), ledger.by_idle.copy(), ledger.idle_total)
    for ask in (pods(ledger.topology, 5, 2), pods(ledger.topology, 2, 1, 300), pods(ledger.topology, 1, 8)):
        make().place(ask, ledger)
    assert (ledger.idle_mask, ledger.by_idle, ledger.idle_total) == before


# -- gangs ---------------------------------------------------------------------------------------------------------


def test_first_fit_fills_from_the_first():
    assert counts(FirstFit(), with_idle(3, 8, 5), pods(servers(3), 5, 2)) == {0: 2, 1: 8}


def test_best_fit_fills_the_tightest():
    assert counts(BestFit(), with_idle(3, 8, 5), pods(servers(3), 5, 2)) == {0: 2, 2: 4, 1: 4}


def test_spread_takes_the_emptiest_each_time():
    # 3, 8, 5 idle: n1 (6 left), n1 (4 left), n2 (3 left), n1 (2 left), n0: five pods of two
    assert counts(Spread(), with_idle(3, 8, 5), pods(servers(3), 5, 2)) == {1: 6, 2: 2, 0: 2}


def test_groups_of_different_size():
    ledger = with_idle(8, 8, 5)
    ask = ledger.topology.request((PodGroup(1, 8), PodGroup(1, 4)))
    assert BestFit().place(ask, ledger) == (Share(0, 0xFF, 1, 0), Share(2, 0b01111000, 1, 1))
    assert counts(FirstFit(), ledger, ask) == {0: 8, 1: 4}


def test_random_reaches_everything_that_fits():
    ledger = with_idle(1, 2, 3, 8)
    rule = RandomFit(rng=rng())
    for ask, plain in [(pods(ledger.topology, 1, 2), True), (pods(ledger.topology, 1, 2), False)]:
        chosen = Counter(rule.place(replace(ask, plain=plain), ledger)[0].node for _ in range(600))
        assert set(chosen) == {1, 2, 3}
        assert all(150 < count < 250 for count in chosen.values())  # four standard deviations of 200 are 46
    gangs = {tuple(sorted(counts(rule, ledger, pods(ledger.topology, 2, 2)).items())) for _ in range(200)}
    assert gangs == {((3, 4),), ((1, 2), (2, 2)), ((1, 2), (3, 2)), ((2, 2), (3, 2))}


def test_random_is_of_its_stream_alone():
    ledger = with_idle(*[8] * 9)
    ask = pods(ledger.topology, 3, 4)

    def drawn(seed):
        rule = RandomFit(rng=rng(seed))
        return [rule.place(ask, ledger) for _ in range(5)]

    assert drawn(1) == drawn(1) != drawn(2)


# -- consolidate ---------------------------------------------------------------------------------------------------


def test_the_fewest_servers_and_the_tightest_for_the_rest():
    # twelve pods of one: a whole server, then n2 is the tightest that takes the last four
    assert counts(Consolidate(), with_idle(8, 5, 4, 8), pods(servers(4), 12, 1)) == {0: 8, 2: 4}
    # four pods of three: two fit on a server, so two servers
    assert counts(Consolidate(), with_idle(3, 8, 3, 8), pods(servers(4), 4, 3)) == {1: 6, 3: 6}


LEAVES = (("a",), ("a",), ("a",), ("b",), ("b",))


def test_one_domain_before_the_lowest_number():
    # two whole servers: leaf a has one, leaf b has two
    ledger = with_idle(8, 7, 7, 8, 8, levels=("leaf",), domains=LEAVES)
    assert counts(Consolidate(), ledger, pods(ledger.topology, 2, 8)) == {3: 8, 4: 8}


def test_the_domain_with_the_least_left_over():
    # leaf a has 24 idle, leaf b has 16
    ledger = with_idle(8, 8, 8, 8, 8, levels=("leaf",), domains=LEAVES)
    assert counts(Consolidate(), ledger, pods(ledger.topology, 2, 8)) == {3: 8, 4: 8}


def test_domains_that_are_equal_go_by_their_order():
    ledger = with_idle(4, 8, 8, 8, 8, levels=("leaf",), domains=(("c",), ("a",), ("a",), ("b",), ("b",)))
    assert counts(Consolidate(), ledger, pods(ledger.topology, 2, 8)) == {1: 8, 2: 8}


def test_a_wider_domain_rather_than_more_servers():
    # two pods of four fit on one server of leaf b; inside leaf a they would take two
    ledger = with_idle(4, 4, 4, 8, 0, levels=("leaf",), domains=LEAVES)
    assert counts(Consolidate(), ledger, pods(ledger.topology, 2, 4)) == {3: 8}


def test_fewest_servers_before_one_domain():
    # 16 devices in pods of one: n0 and n3 are two servers in two leaves; leaf b alone would need three
    domains = (("a",), ("a",), ("a",), ("b",), ("b",), ("b",))
    ledger = with_idle(8, 0, 0, 8, 4, 4, levels=("leaf",), domains=domains)
    assert counts(Consolidate(), ledger, pods(ledger.topology, 16, 1)) == {0: 8, 3: 8}


def test_level_after_level():
    # three whole servers fit in no leaf of two. spine s has 24 idle, spine t 32: s is the fuller
    domains = (("w", "t"), ("w", "t"), ("x", "t"), ("x", "t"), ("y", "s"), ("y", "s"), ("z", "s"), ("z", "s"))
    ledger = with_idle(8, 8, 8, 8, 0, 8, 8, 8, levels=("leaf", "spine"), domains=domains)
    assert counts(Consolidate(), ledger, pods(ledger.topology, 3, 8)) == {5: 8, 6: 8, 7: 8}
    # five fit in no spine: lowest numbers of the fleet
    assert counts(Consolidate(), ledger, pods(ledger.topology, 5, 8)) == {0: 8, 1: 8, 2: 8, 3: 8, 5: 8}
    # a leaf outside `within` does not count
    assert counts(Consolidate(), ledger, pods(ledger.topology, 2, 8), within=0b11110101) == {6: 8, 7: 8}


ISLANDS = ((0, 1, 2, 3), (4, 5, 6, 7))


@pytest.mark.parametrize("rule", [FirstFit, BestFit, Spread, Consolidate])
def test_devices_of_a_server_are_close_together(rule):
    ledger = NodeLedger(Topology([Node(name="n0", islands=ISLANDS)]))
    ledger.take(pods(ledger.topology, 1, 1), (Share(0, 0b1),))
    # idle are 1-3 and 4-7: the island with the fewest that suffices; five take the fuller island first
    for devices, mask in [(1, 0b10), (3, 0b1110), (4, 0b11110000), (5, 0b11110010), (7, 0b11111110)]:
        assert rule().place(pods(ledger.topology, 1, devices), ledger) == (Share(0, mask),)


@pytest.mark.parametrize(
    "more", [{"cpu_milli": 64_000}, {"memory_mib": 64_000}, {"max_pods": 100}], ids=["cpu", "memory", "pods"]
)
def test_limits_that_are_not_in_the_way_change_nothing(more):
    ledger = with_idle(8, 5, 4, 8, **more)
    request = ledger.topology.request((PodGroup(12, 1, 10, 10),))
    assert not request.plain
    assert counts(Consolidate(), ledger, request) == {0: 8, 2: 4}
