"""The servers as they are, against a model of one number for each device."""

from __future__ import annotations

import numpy as np
import pytest
from builders import servers
from hypothesis import given, settings
from hypothesis import strategies as st

from policies import bitset
from policies.api import PodGroup, Request, Share
from policies.feasibility import why_not
from policies.nodes import UNLIMITED, NodeLedger, NodeTable
from policies.placement.best_fit import BestFit
from policies.placement.first_fit import FirstFit
from policies.placement.spread import Spread
from policies.topology import Node, Topology

FLEET = Topology(
    [
        Node(name="n0", devices=4, cpu_milli=4000, memory_mib=40),
        Node(name="n1", devices=8, islands=((0, 1, 2, 3), (4, 5, 6, 7)), max_pods=5),
        Node(name="n2", devices=2, accelerator="other"),
        Node(name="n3", devices=0, accelerator=None, cpu_milli=9000),
    ]
)

REQUESTS = [
    FLEET.request((PodGroup(1, 1),)),
    FLEET.request((PodGroup(2, 2),)),
    FLEET.request((PodGroup(1, 4), PodGroup(1, 1))),
    FLEET.request((PodGroup(1, 1),), device_milli=300),
    FLEET.request((PodGroup(2, 1),), device_milli=500),
    FLEET.request((PodGroup(1, 2),), device_milli=400),
    FLEET.request((PodGroup(1, 0, cpu_milli=1500),)),
    FLEET.request((PodGroup(1, 1, cpu_milli=1000, memory_mib=10),)),
    FLEET.request((PodGroup(1, 1),), accelerators=("other",)),
]
RULES = [FirstFit(), BestFit(), Spread()]


def recomputed(table: NodeTable, held: list[tuple[Request, tuple[Share, ...]]]) -> None:
    """Every index of the table from nothing but what is held."""
    left = [[1000] * node.devices for node in FLEET.nodes]
    side = [[0, 0, 0] for _ in FLEET.nodes]
    for request, placement in held:
        for share in placement:
            group = request.gang[share.group]
            for device in bitset.bits(share.device_mask):
                left[share.node][device] -= request.device_milli
            for i, amount in enumerate((group.cpu_milli, group.memory_mib, 1)):
                side[share.node][i] += share.pods * amount
    columns = table.columns()
    for number, node in enumerate(FLEET.nodes):
        idle = [device for device, milli in enumerate(left[number]) if milli == 1000]
        assert list(bitset.bits(table.idle_mask[number])) == idle
        assert table.idle[number] == columns.idle[number] == len(idle)
        assert [count for count, members in enumerate(table.by_idle) if members >> number & 1] == [len(idle)]
        assert columns.left_milli[number].tolist() == left[number] + [-1] * (FLEET.widest - node.devices)
        assert columns.free_milli[number] == sum(left[number])
        limits = (node.cpu_milli, node.memory_mib, node.max_pods)
        for i, (limit, column) in enumerate(zip(limits, columns[3:], strict=True)):
            assert column[number] == (UNLIMITED if limit is None else limit - side[number][i])
    assert table.idle_total == sum(table.idle)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 2), st.integers(0, 9)), max_size=40), st.booleans())
def test_a_ledger_is_what_one_number_for_each_device_is(steps, columns_early):
    ledger = NodeLedger(FLEET)
    held: list[tuple[Request, tuple[Share, ...]]] = []
    if columns_early:
        ledger.columns()
    for which, rule, leave in steps:
        request = REQUESTS[which]
        placement = RULES[rule].place(request, ledger)
        if placement is not None:
            assert why_not(request, placement, ledger) is None
            ledger.take(request, placement)
            held.append((request, placement))
        if held and leave < 4:
            ledger.release(*held.pop(leave % len(held)))
        if leave == 9:
            recomputed(ledger, held)
    recomputed(ledger, held)
    copy = ledger.what_if()
    for each in held:
        copy.release(*each)
    recomputed(copy, [])
    recomputed(ledger, held)


@settings(deadline=None, max_examples=80)
@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 2)), max_size=12), st.integers(0, 8))
def test_a_server_has_room_for_a_pod_exactly_if_devices_can_be_named(steps, which):
    ledger = NodeLedger(FLEET)
    for taken, rule in steps:
        placement = RULES[rule].place(REQUESTS[taken], ledger)
        if placement is not None:
            ledger.take(REQUESTS[taken], placement)
    request = REQUESTS[which]
    for number, group in enumerate(request.gang):
        single = FLEET.request(
            (group._replace(pods=1),), device_milli=request.device_milli, accelerators=request.accelerators
        )
        room = ledger.pods_everywhere(request, group)
        for node in range(len(FLEET)):
            mask = ledger.devices_for(node, request, group.devices) if group.devices else 0
            possible = why_not(single, (Share(node, mask),), ledger) is None
            assert possible == (room[node] > 0), (number, node)


def test_taking_what_is_taken_changes_nothing():
    ledger = NodeLedger(servers(2, 4))
    request = ledger.topology.request((PodGroup(2, 2),))
    before = ledger.what_if()
    hostile = [
        (Share(0, 0b11), Share(0, 0b110)),
        (Share(0, 0b11), Share(1, 0b110000)),
        (Share(0, 0b11), Share(7, 0b11)),
        (Share(0, 0b11), Share(-1, 0b11)),
        (Share(0, 0b11), Share(1, 0b111)),
        (Share(0, 0b11), Share(1, -4)),
        (Share(0, 0b11), Share(1, 0b11, 1, 5)),
        (Share(0, 0b11), Share(1, 0b11, 1, -1)),
        (Share(0, 0b11), Share(1, None)),
    ]
    for placement in hostile:
        assert ledger.take(request, placement) == -1, placement
        for name in ("idle_mask", "idle", "by_idle", "idle_total", "partial"):
            assert getattr(ledger, name) == getattr(before, name), (placement, name)


def test_changes_are_told_since_a_position():
    ledger = NodeLedger(servers(3, 2))
    request = ledger.topology.request((PodGroup(1, 1),))
    start = ledger.changes
    assert ledger.changed_since(start) == []
    ledger.take(request, (Share(2, 1),))
    middle = ledger.changes
    ledger.take(request, (Share(0, 1),))
    ledger.release(request, (Share(2, 1),))
    assert sorted(ledger.changed_since(start)) == [0, 2]
    assert sorted(ledger.changed_since(middle)) == [0, 2]
    assert ledger.changed_since(ledger.changes) == []


def test_columns_are_true_after_each_change():
    ledger = NodeLedger(servers(2, 2))
    request = ledger.topology.request((PodGroup(1, 2),))
    for _ in range(3):
        assert ledger.columns().idle.tolist() == [2, 2]
        ledger.take(request, (Share(1, 0b11),))
        assert ledger.columns().idle.tolist() == [2, 0]
        ledger.release(request, (Share(1, 0b11),))


def test_whole_pods_are_counted():
    ledger = NodeLedger(servers(3, 4))
    request = ledger.topology.request((PodGroup(1, 1),))
    ledger.take(request, (Share(0, 1),))
    everywhere = ledger.topology.everywhere
    assert [ledger.whole_pods(devices, everywhere) for devices in (1, 2, 3, 4)] == [11, 5, 3, 2]
    assert ledger.whole_pods(2, 0b001) == 1
    assert ledger.whole_pods(5, everywhere) == 0


@pytest.mark.parametrize("members", [[], [0], [3, 5, 64, 200]])
def test_sets_as_bits(members):
    as_set = bitset.from_members(members)
    assert list(bitset.bits(as_set)) == members
    assert bitset.from_array(bitset.to_array(as_set, 201)) == as_set
    assert bitset.to_array(as_set, 201).sum() == len(members)
    assert list(bitset.bits(bitset.lowest(as_set, len(members) // 2))) == members[: len(members) // 2]


def test_ranges_read_aloud():
    assert bitset.ranges(bitset.from_members([0, 1, 2, 3, 7, 9, 10])) == "0-3,7,9-10"
    assert bitset.ranges(0) == ""
    assert np.array_equal(bitset.to_array(0, 0), np.zeros(0, dtype=bool))


def test_a_pod_without_devices_leaves_no_trace_among_the_shares():
    ledger = NodeLedger(servers(1, 1))
    request = ledger.topology.request((PodGroup(1, 0),), device_milli=500)
    for _ in range(2):
        ledger.take(request, (Share(0, 0),))
    for _ in range(2):
        ledger.release(request, (Share(0, 0),))
    assert ledger.partial == {}


def test_an_empty_server_takes_two_pods_of_two_half_devices_each():
    ledger = NodeLedger(servers(1, 2))
    request = ledger.topology.request((PodGroup(2, 2),), device_milli=500)
    assert FirstFit().place(request, ledger) is not None
    assert ledger.pods_everywhere(request, request.gang[0]).tolist() == [2]
