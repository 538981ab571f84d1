"""Any placement on any servers can be applied, is found where there is one, and does what its rule says."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import replace

import pytest
from builders import job, replay, starts
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.api import PodGroup
from policies.catalogue import PLACEMENTS, Parts, make_policy
from policies.feasibility import why_not
from policies.framework.scoring import place_by_score
from policies.nodes import NodeLedger
from policies.placement.best_fit import BestFit
from policies.placement.consolidate import Consolidate
from policies.placement.first_fit import FirstFit
from policies.placement.fragmentation import Fragmentation, TypicalPod
from policies.placement.spread import Spread
from policies.topology import Node, Topology
from sim.streams import Streams

LONG = os.environ.get("REHEARSE_FUZZ") == "long"

MIX = (
    TypicalPod(0.5, 1000, 300, 1, ("a",)),
    TypicalPod(0.25, 2000, 1000, 2, ()),
    TypicalPod(0.25, 100, 0, 0, ()),
)
CPU_MILLI, MEMORY_MIB = 4000, 3000

common = settings(deadline=None, max_examples=3000 if LONG else 60)  # because: the first example imports and builds


def placer(name, seed=0):
    return PLACEMENTS[name](Parts(generator=Streams(seed).generator, typical_pods=MIX))


@st.composite
def fleets(draw, *, limits=True):
    """Up to six servers of up to six devices, in leaves; with islands, models and limits here and there."""
    levels = draw(st.sampled_from([(), ("leaf",), ("leaf", "spine")]))
    nodes = []
    for number in range(draw(st.integers(1, 6))):
        devices = draw(st.integers(0, 6))
        leaf = draw(st.sampled_from("xyz"))
        half = devices // 2
        nodes.append(
            Node(
                name=f"n{number}",
                accelerator=draw(st.sampled_from("ab")) if devices else None,
                devices=devices,
                islands=draw(st.sampled_from([(), (tuple(range(half)), tuple(range(half, devices)))]))
                if half
                else (),
                cpu_milli=draw(st.sampled_from([None, CPU_MILLI])) if limits else None,
                memory_mib=draw(st.sampled_from([None, MEMORY_MIB])) if limits else None,
                max_pods=draw(st.sampled_from([None, None, 3])) if limits else None,
                domains=(leaf, "east" if leaf == "x" else "west")[: len(levels)],
            )
        )
    return Topology(nodes, levels)


@st.composite
def asks(draw, topology, *, whole=False):
    """A request that at least one server's kind allows in principle, or not."""
    groups = [
        PodGroup(
            draw(st.integers(1, 5)),
            draw(st.integers(1 if whole else 0, 4)),
            0 if whole else draw(st.sampled_from([0, 0, 500, 2000])),
            0 if whole else draw(st.sampled_from([0, 0, 700])),
        )
        for _ in range(draw(st.sampled_from([1, 1, 1, 2])))
    ]
    groups.sort(key=lambda group: -group.devices)
    return topology.request(
        tuple(groups),
        device_milli=1000 if whole else draw(st.sampled_from([1000, 1000, 700, 300])),
        accelerators=draw(st.sampled_from([(), ("a",), ("a", "b")])),
    )


@st.composite
def used(draw, topology, *, whole=False):
    """A table on which a few gangs run already."""
    ledger = NodeLedger(topology)
    for _ in range(draw(st.integers(0, 5))):
        request = draw(asks(topology, whole=whole))
        placement = draw(st.sampled_from([FirstFit(), BestFit(), Spread()])).place(request, ledger)
        if placement is not None:
            ledger.take(request, placement)
    return ledger


@pytest.mark.parametrize("name", PLACEMENTS)
@common
@given(data=st.data())
def test_a_placement_can_be_applied_and_one_pod_finds_its_place(name, data):
    topology = data.draw(fleets())
    ledger, request = data.draw(used(topology)), data.draw(asks(topology))
    within = data.draw(st.none() | st.integers(0, topology.everywhere))
    placement = placer(name).place(request, ledger, within)
    allowed = topology.everywhere if within is None else within
    if placement is not None:
        assert why_not(request, placement, ledger) is None
        assert all(allowed >> share.node & 1 for share in placement)
    elif len(request.gang) == 1:
        # pods of one size do not get in each other's way: if every one has a place, all have
        room = ledger.pods_everywhere(request, request.gang[0])
        assert sum(int(room[node]) for node in range(len(topology)) if allowed >> node & 1) < request.gang[0].pods


def by_server(placement):
    """Server and group -> devices, as one set."""
    found = defaultdict(int)
    for share in placement or ():
        found[share.node, share.group] |= share.device_mask
    return dict(found)


@pytest.mark.parametrize("rule", [FirstFit(), BestFit(), Spread()], ids=lambda rule: rule.name)
@common
@given(data=st.data())
def test_the_shortcut_gives_what_the_score_gives(rule, data):
    topology = data.draw(fleets(limits=False))
    topology = Topology([node._replace(islands=()) for node in topology.nodes], topology.levels)
    ledger, request = data.draw(used(topology)), data.draw(asks(topology, whole=True))
    assert request.plain
    shortcut = rule.place(request, ledger)
    by_score = place_by_score(rule, request, ledger, request.eligible)
    assert (shortcut is None) == (by_score is None)
    assert by_server(shortcut) == by_server(by_score)


@common
@given(data=st.data())
def test_one_pod_is_consolidated_alike_by_index_and_by_score(data):
    topology = data.draw(fleets(limits=False))
    request = topology.request((PodGroup(1, data.draw(st.integers(1, 4))),))
    ledger = data.draw(used(topology))
    rule = Consolidate()
    assert rule.place(request, ledger) == rule.place(replace(request, plain=False), ledger)


@common
@given(data=st.data())
def test_consolidate_takes_the_fewest_servers_in_the_narrowest_domain(data):
    topology = data.draw(fleets(limits=False))
    ledger = data.draw(used(topology))
    request = topology.request((PodGroup(data.draw(st.integers(1, 5)), data.draw(st.integers(1, 4))),))
    placement = Consolidate().place(request, ledger)
    [group] = request.gang

    def servers_needed(members):
        room = sorted(ledger.idle[node] // group.devices for node in range(len(topology)) if members >> node & 1)
        left, needed = group.pods, 0
        while left > 0 and room and room[-1]:
            left, needed = left - room.pop(), needed + 1
        return needed if left <= 0 else 1 << 30

    fewest = servers_needed(topology.everywhere)
    assert (placement is None) == (fewest > len(topology))
    if placement is not None:
        chosen = {share.node for share in placement}
        assert len(chosen) == fewest
        tight = [level + 1 for level, ds in enumerate(topology.domains) if min(map(servers_needed, ds)) == fewest]
        assert topology.span(chosen) <= min([0 if fewest == 1 else len(topology.levels) + 1, *tight])


@common
@given(data=st.data())
def test_fgd_takes_the_least_fragmenting_place_by_trying_every_one(data):
    """Against the definition: take each device of each server in turn, and measure the whole fleet anew."""
    import math

    topology = data.draw(fleets())
    ledger = data.draw(used(topology))
    request = topology.request((PodGroup(1, 1, 500),), device_milli=data.draw(st.sampled_from([300, 700])))
    measure = Fragmentation(MIX, topology)
    now = ledger.columns()
    best = None
    for node in range(len(topology)):
        for device in range(topology.nodes[node].devices):
            left, cpu = now.left_milli[[node]].copy(), now.cpu_milli[[node]].copy()
            if left[0, device] < request.device_milli or not ledger.pods_everywhere(request, request.gang[0])[node]:
                continue
            before = measure.of(left, cpu, [node])[0]
            left[0, device] -= request.device_milli
            gain = (before - measure.of(left, cpu - 500, [node])[0]) / 2**32 / 1000
            score = int(100 / (1 + math.exp(-gain)))
            if best is None or score > best[0]:
                best = (score, node, 1 << device)
    placement = placer("fgd").place(request, ledger)
    assert (best and best[1:]) == (placement and placement[0][:2])


@st.composite
def job_lists(draw):
    jobs = []
    for number in range(draw(st.integers(1, 14))):
        shared = draw(st.booleans())
        gpus = 1 if shared else draw(st.integers(0, 9))
        jobs.append(
            job(
                f"j{number}",
                draw(st.integers(0, 40)),
                draw(st.integers(0, 30)),
                gpus,
                gpu_milli=draw(st.sampled_from([100, 300, 550, 1000])) if shared else 1000,
                pods=gpus if gpus and draw(st.booleans()) else None,
                cpu_milli=draw(st.sampled_from([0, 100, 2500, 4000])),
                memory_mib=draw(st.sampled_from([0, 10, 2900])),
                accelerators=draw(st.sampled_from([(), (), ("a",)])),
            )
        )
    return jobs


@pytest.mark.parametrize("name", PLACEMENTS)
@settings(deadline=None, max_examples=1500 if LONG else 25)
@given(topology=fleets(), jobs=job_lists(), order=st.sampled_from(["fifo", "best-effort-fifo"]), fill=st.booleans())
def test_invariants_hold_in_every_replay(name, topology, jobs, order, fill):
    """`replay` validates the state at every instant: nothing over-committed, gangs whole, sums agree."""
    policy = make_policy(f"{order}:place={name}", Parts(generator=Streams(1).generator, typical_pods=MIX))
    outcome = replay(jobs, topology, policy, fill=fill)
    if not fill:
        assert len(starts(outcome)) + len(outcome.rejections) == len(jobs)


def test_the_same_seed_repeats_and_another_does_not():
    topology = Topology([Node(name=f"n{i}") for i in range(9)])
    request = topology.request((PodGroup(3, 2),))
    for name in ("random", "openb-random"):
        drawn = [[placer(name, seed).place(request, NodeLedger(topology)) for _ in range(4)] for seed in (1, 1, 2)]
        assert drawn[0] == drawn[1] != drawn[2]
