"""The six placements of the openb study, against scores computed by hand."""

from __future__ import annotations

import gc

import numpy as np
import pytest
from builders import job, policy, replay, rng, servers, starts

from policies.api import PodGroup, Share
from policies.catalogue import PLACEMENTS, Parts, UnknownPolicyError, make_policy
from policies.nodes import NodeLedger
from policies.placement import openb_fgd
from policies.placement.fragmentation import TypicalPod
from policies.placement.openb_best_fit import OpenbBestFit
from policies.placement.openb_dot_product import DotProduct
from policies.placement.openb_fgd import Fgd
from policies.placement.openb_gpu_clustering import GpuClustering
from policies.placement.openb_gpu_packing import GpuPacking
from policies.placement.openb_random import OpenbRandom
from policies.topology import Node, Topology
from sim.streams import Streams

MIX = (TypicalPod(0.5, 1000, 500, 1, ()), TypicalPod(0.5, 1000, 1000, 2, ()))


def fleet(*devices, cpu_milli=64_000):
    return Topology([Node(name=f"n{i}", devices=count, cpu_milli=cpu_milli) for i, count in enumerate(devices)])


def pod(topology, devices=1, milli=1000, cpu=0, pods=1, **more):
    return topology.request((PodGroup(pods, devices, cpu),), device_milli=milli, **more)


def take(ledger, node, devices, milli=1000, cpu=0):
    """Another pod's: these devices of one server, the same share of each."""
    mask = sum(1 << device for device in devices)
    ledger.take(pod(ledger.topology, len(devices), milli, cpu), (Share(node, mask),))


def scores(rule, request, ledger):
    return rule.scores(request, request.gang[0], ledger).tolist()


def test_dot_product():
    topology = fleet(8, 4, cpu_milli=64_000)
    ledger = NodeLedger(topology)
    take(ledger, 0, [0, 1, 2, 3, 4, 5], cpu=32_000)
    # n0: 32 of 128 cores and 2 of 8 devices left, the pod asks for 16 and 2: 1 - (.25 x .125 + .25 x .25) / 2 = .953
    # n1: 64 cores, 4 devices: 1 - (.5 x .125 + .5 x .25) / 2 = .906
    assert scores(DotProduct(), pod(topology, 2, cpu=16_000), ledger) == [95, 90]
    # no CPU counts as 100 milli-cores, and with CPU alone devices do not count: 1 - .5 x 100 / 128,000 / 2 > .99
    assert scores(DotProduct(), pod(topology, 0), ledger) == [99, 99]


def test_openb_best_fit():
    topology = fleet(8, 4, cpu_milli=64_000)
    ledger = NodeLedger(topology)
    take(ledger, 0, [0, 1, 2, 3, 4, 5], cpu=32_000)
    # n0: left over are 16 of 128 cores and 0 of 8 devices: 1 - (.125 + 0) / 2 = .9375
    # n1: 48 of 128 cores and 2 of 8 devices: 1 - (.375 + .25) / 2 = .6875
    assert scores(OpenbBestFit(), pod(topology, 2, cpu=16_000), ledger) == [93, 68]


def test_cpu_that_is_not_modelled_does_not_count():
    topology = servers(2)
    ledger = NodeLedger(topology)
    take(ledger, 1, [0, 1])
    # 0 - 500 of 128,000 and 6 and 4 of 8 devices left over: 1 - (-.004 + .75) / 2 = .627 and 1 - (-.004 + .5) / 2 = .752
    assert scores(OpenbBestFit(), pod(topology, 2, cpu=500), ledger) == [62, 75]
    assert OpenbBestFit().place(pod(topology, 2, cpu=500), ledger) == (Share(1, 0b1100),)
    assert DotProduct().place(pod(topology, 2, cpu=500), ledger) == (Share(1, 0b1100),)


def test_gpu_packing():
    topology = fleet(8, 8, 2, 4)
    ledger = NodeLedger(topology)
    take(ledger, 1, [0], milli=700)
    take(ledger, 1, [1], milli=300)
    take(ledger, 2, [0])
    # a share of 300 takes the device of n1 with 300 left: 100 - 30 // 10 = 97; one idle device of n2: 50 - 1;
    # untouched servers: max(33 - 8, 8) = 25 and max(33 - 4, 4) = 29
    assert scores(GpuPacking(), pod(topology, milli=300), ledger) == [25, 97, 49, 29]
    # 301 needs the one with 700 left: 100 - 70 // 10 = 93
    assert scores(GpuPacking(), pod(topology, milli=301), ledger)[1] == 93
    # three whole devices of n1: 50 - 3
    assert scores(GpuPacking(), pod(topology, 3), ledger)[:2] == [25, 47]
    assert scores(GpuPacking(), pod(topology, 0), ledger) == [0, 0, 0, 0]
    assert GpuPacking().place(pod(topology, milli=300), ledger) == (Share(1, 0b01),)


def test_gpu_packing_of_a_server_with_many_devices():
    # untouched: the larger of 33 - 20 and 20
    assert scores(GpuPacking(), pod(fleet(20), 2), NodeLedger(fleet(20))) == [20]


def test_gpu_packing_of_shares_of_several_devices():
    ledger = NodeLedger(fleet(4))
    take(ledger, 0, [0], milli=800)
    take(ledger, 0, [1], milli=500)
    # 200 of each of two devices: those with 200 and 500 left, 100 - 70 // 10; of three: one idle
    assert scores(GpuPacking(), pod(ledger.topology, 2, 200), ledger) == [93]
    assert scores(GpuPacking(), pod(ledger.topology, 3, 200), ledger) == [49]


def test_gpu_clustering():
    topology = fleet(8, 8, 8)
    ledger, rule = NodeLedger(topology), GpuClustering()

    def place(devices, milli=1000):
        request = pod(topology, devices, milli)
        placement = rule.place(request, ledger)
        assert ledger.take(request, placement)
        return placement[0].node

    # all are new: 25 + 0; the lowest number
    assert place(2) == 0
    # n0 holds this class alone: 75 + 25 x 2 // 8 = 81, the others 25
    assert scores(rule, pod(topology, 2), ledger) == [
        25 + 6,
        25,
        25,
    ]  # not told yet: the answer counts at the next place
    assert place(2) == 0
    # a share: n0 has another class, 25 x 4 // 8 = 12; new servers 25
    assert place(1, 500) == 1
    # n1 holds shares alone
    assert place(1, 500) == 1
    # one whole device: n0 12, n1 25 x 1 // 8 = 3 (two shares of a half), n2 25
    assert place(1) == 2
    # six devices: n0 has four left and n2 seven; n1 has seven: 3, n2: 25 x 1 // 8 = 3: the lowest number
    assert place(6) == 1
    # shares on n1, not alone now: 50 + 25 x 7 // 8 = 71; n0 12; n2 3
    rule.place(pod(topology, 0), ledger)
    assert scores(rule, pod(topology, milli=500), ledger) == [12, 50 + 21, 3]
    assert scores(rule, pod(topology, 0), ledger) == [0, 0, 0]


def held(rule):
    return {kind: np.flatnonzero(nodes).tolist() for kind, nodes in rule._held.items()}


def test_gpu_clustering_remembers_what_was_there():
    topology = fleet(8, 8)
    ledger, rule = NodeLedger(topology), GpuClustering()
    request = pod(topology, 2)
    placement = rule.place(request, ledger)
    ledger.take(request, placement)
    ledger.release(request, placement)
    rule.place(pod(topology, 0), ledger)
    assert held(rule) == {2: [0]}


def test_gpu_clustering_forgets_answers_that_were_not_used():
    topology = fleet(8, 8)
    ledger, rule = NodeLedger(topology), GpuClustering()
    rule.place(pod(topology, 2), ledger)
    rule.place(pod(topology, 2), ledger)
    assert held(rule) == {}


def test_gpu_clustering_adds_nothing_from_a_what_if():
    topology = fleet(8, 8)
    ledger, rule = NodeLedger(topology), GpuClustering()
    request = pod(topology, 2)
    ledger.take(request, rule.place(request, ledger))
    trial = ledger.what_if()
    share = pod(topology, milli=500)
    assert rule.place(request, trial) == (Share(0, 0b1100),)  # it sees the past of the live table
    trial.take(share, rule.place(share, trial))
    rule.place(share, trial)
    rule.place(share, ledger)
    assert held(rule) == {2: [0]}


def test_gpu_clustering_begins_anew_with_another_table():
    topology = fleet(8, 8)
    ledger, rule = NodeLedger(topology), GpuClustering()
    request = pod(topology, 2)
    ledger.take(request, rule.place(request, ledger))
    rule.place(request, ledger)
    assert held(rule) == {2: [0]}
    del ledger
    gc.collect()
    rule.place(request, NodeLedger(topology))
    assert held(rule) == {}


def test_gpu_clustering_begins_anew_on_other_servers():
    ledger, other, rule = NodeLedger(fleet(8, 8)), NodeLedger(fleet(8, 8, 8)), GpuClustering()
    request = pod(ledger.topology, 2)
    ledger.take(request, rule.place(request, ledger))
    rule.place(request, ledger)
    rule.place(pod(other.topology, 2), other)
    assert held(rule) == {}


def test_fgd_by_hand():
    topology = fleet(2, 2)
    ledger, rule = NodeLedger(topology), Fgd(typical_pods=MIX)
    take(ledger, 0, [0], milli=600)
    # F before, n0 [400, 1000]: the half finds 400 useless, two whole find all 1400: (400 + 1400) / 2 = 900; n1: 0.
    # 400 on n0: device 0 leaves [0, 1000]: (0 + 1000) / 2 = 500, gain 400: 100 / (1 + e^-.4) = 59.9
    #            device 1 leaves [400, 600]: (400 + 1000) / 2 = 700, gain 200: 54.98
    # 400 on n1: [600, 1000]: (0 + 1600) / 2 = 800, gain -800: 100 / (1 + e^.8) = 31.0
    request = pod(topology, milli=400)
    assert scores(rule, request, ledger) == [59, 31]
    assert rule.place(request, ledger) == (Share(0, 0b01),)
    # one whole device: n0 device 1 leaves [400, 0]: 400, gain 500: 62.2; n1 leaves [0, 1000]: 500, gain -500: 37.8
    assert scores(rule, pod(topology, 1), ledger) == [62, 37]
    # no device: F stays, 50
    assert scores(rule, pod(topology, 0, cpu=100), ledger) == [50, 50]


def test_fgd_takes_the_first_of_the_best_devices_not_the_fullest():
    topology = fleet(3)
    ledger = NodeLedger(topology)
    take(ledger, 0, [2], milli=600)
    mix = (TypicalPod(1.0, 100, 0, 0, ()),)  # by this mix every device is as good as any other
    assert Fgd(typical_pods=mix).place(pod(topology, milli=300), ledger) == (Share(0, 0b001),)
    assert DotProduct().place(pod(topology, milli=300), ledger) == (Share(0, 0b100),)


def test_fgd_counts_no_cpu_as_100_milli_cores():
    topology = fleet(2, cpu_milli=1099)
    mix = (TypicalPod(1.0, 1000, 500, 1, ()),)
    # 1099 - 100 is too little for the mix: F goes from 0 to 2000, 100 / (1 + e^2) = 11.9
    assert scores(Fgd(typical_pods=mix), pod(topology, 0), NodeLedger(topology)) == [11]


def test_fgd_on_shares_of_several_devices_and_on_gangs():
    topology = fleet(4, 4)
    ledger, rule = NodeLedger(topology), Fgd(typical_pods=MIX)
    take(ledger, 1, [1, 3], milli=500)
    request = pod(topology, 2, 500)
    # the two half devices of n1: F before (0 + 0) / 2, after 0; on n0 [500, 500, 1000, 1000]: F after (0 + 1000) / 2
    assert rule.place(request, ledger) == (Share(1, 0b1010),)
    gang = pod(topology, 2, pods=3)
    placement = rule.place(gang, ledger)
    assert sorted((share.node, share.device_mask) for share in placement) == [(0, 0b0011), (0, 0b1100), (1, 0b0101)]


def test_fgd_sees_that_cpu_alone_was_taken():
    topology = fleet(2, 2, cpu_milli=1500)
    ledger, rule = NodeLedger(topology), Fgd(typical_pods=MIX)
    request = pod(topology, 0, cpu=100)
    assert scores(rule, request, ledger) == [50, 50]
    ledger.take(pod(topology, 0, cpu=500), (Share(0, 0),))
    # 1000 milli-cores are left on n0, 900 are too little for the mix: F goes from 0 to 2000, 100 / (1 + e^2) = 11.9
    assert scores(rule, request, ledger) == [11, 50]


def test_fgd_forgets_other_servers():
    rule = Fgd(typical_pods=MIX)
    rule.place(pod(fleet(2, 2)), NodeLedger(fleet(2, 2)))
    topology = fleet(1, 2, 3)
    assert rule.place(pod(topology, 3), NodeLedger(topology)) == (Share(2, 0b111),)


@pytest.mark.parametrize("kinds_max", [2, 256])
def test_fgd_is_the_same_with_and_without_what_it_remembers(monkeypatch, kinds_max):
    monkeypatch.setattr(openb_fgd, "KINDS_MAX", kinds_max)
    topology = Topology(
        [Node(name=f"n{i}", accelerator="ab"[i % 2], devices=(2, 4, 8)[i % 3], cpu_milli=3000) for i in range(9)]
    )
    mix = (
        TypicalPod(0.4, 1000, 300, 1, ("a",)),
        TypicalPod(0.3, 500, 1000, 1, ()),
        TypicalPod(0.3, 2000, 1000, 4, ()),
    )
    ledger, remembers, draw = NodeLedger(topology), Fgd(typical_pods=mix), rng(7)
    held = []
    for step in range(150):
        devices = int(draw.choice([0, 1, 2, 4]))
        milli = int(draw.choice([200, 500])) if devices == 1 and step % 2 else 1000
        request = pod(topology, devices, milli, cpu=int(draw.choice([0, 700])))
        if step % 5 == 0:
            remembers.place(pod(topology, 1, 250, pods=2), ledger.what_if())  # a what-if comes between
        placement = remembers.place(request, ledger)
        assert placement == Fgd(typical_pods=mix).place(request, ledger)
        if placement is not None:
            ledger.take(request, placement)
            held.append((request, placement))
        if placement is None or (step > 30 and draw.random() < 0.8):
            ledger.release(*held.pop(int(draw.integers(len(held)))))
    assert len(held) > 20
    assert len(remembers._memo._known) == min(kinds_max, 13)  # 2 x (no device, 1, 2, 4, 200, 500) and 250


def test_fgd_needs_a_mix():
    with pytest.raises(UnknownPolicyError, match="give --typical-pods FILE"):
        policy("fifo:place=fgd")
    with pytest.raises(ValueError, match="give --typical-pods FILE"):
        Fgd(typical_pods=())
    parts = Parts(generator=Streams(0).generator, typical_pods=MIX)
    assert make_policy("fifo:place=fgd", parts).semantics().placement == "fgd"


def test_random_reaches_every_server_that_fits_and_no_other():
    topology = fleet(8, 1, 8, 8)
    rule, ledger = OpenbRandom(rng=rng()), NodeLedger(topology)
    take(ledger, 3, range(7))
    chosen = [rule.place(pod(topology, 2), ledger)[0].node for _ in range(400)]
    assert set(chosen) == {0, 2}
    assert 160 < chosen.count(0) < 240  # within four standard deviations of 200
    again = OpenbRandom(rng=rng())
    assert [again.place(pod(topology, 2), ledger)[0].node for _ in range(400)] == chosen


OPENB = ("openb-random", "dot-product", "gpu-clustering", "gpu-packing", "openb-best-fit", "fgd")


@pytest.mark.parametrize("name", OPENB)
def test_all_of_them(name):
    """Kinds of servers, limits and the servers that are allowed hold for each; the name is that of the catalogue."""
    topology = Topology(
        [
            Node(name="n0", accelerator="b"),
            Node(name="n1", accelerator="a", cpu_milli=900),
            Node(name="n2", accelerator="a", memory_mib=900),
            Node(name="n3", accelerator="a", max_pods=0),
            Node(name="n4", accelerator="a", devices=1),
            Node(name="n5", accelerator="a"),
            Node(name="n6", accelerator="a"),
        ]
    )
    placer = PLACEMENTS[name](Parts(generator=Streams(0).generator, typical_pods=MIX))
    assert placer.name == name
    ledger = NodeLedger(topology)
    request = topology.request((PodGroup(1, 2, 1000, 1000),), accelerators=("a",))
    assert placer.place(request, ledger, within=~(1 << 6) & topology.everywhere) == (Share(5, 0b11),)
    assert placer.place(request, ledger, within=0b11111) is None
    assert placer.place(topology.request((PodGroup(1, 2),), accelerators=("c",)), ledger) is None


@pytest.mark.parametrize("name", OPENB)
def test_all_of_them_in_a_timed_replay(name):
    jobs = [
        job("a", 0, 50, 2),
        job("b", 0, 70, 1, gpu_milli=500),
        job("c", 10, 10, 2),
        job("d", 10, 5, 1, gpu_milli=500),
    ]
    built = make_policy(f"fifo:place={name}", Parts(generator=Streams(0).generator, typical_pods=MIX))
    # one server of three devices: a takes two, b half of one; c waits for a, and d behind c although it fits
    assert starts(replay(jobs, servers(1, devices=3), built)) == {"a": 0, "b": 0, "c": 50, "d": 50}
