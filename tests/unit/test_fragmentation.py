"""Fragmentation against hand-computed values, and its course over time against a walk through the timeline."""

from __future__ import annotations

import numpy as np
import pytest
from builders import job, replay, servers
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.api import Policy, Preempt, Semantics, Share, Start
from policies.nodes import NodeLedger
from policies.placement.best_fit import BestFit
from policies.placement.fragmentation import UNIT, Fragmentation, PodKind, TypicalPod, typical_pods
from policies.topology import Node, Topology
from sim.metrics import fragmentation as metric
from sim.metrics.fragmentation import fill_curve, fragmentation_over_time, mean_over_time, own_mix
from sim.requests import RequestMaker
from sim.timeline import Happened

QUARTERS = (
    TypicalPod(0.5, 4000, 600, 1, ()),  # a share of one device
    TypicalPod(0.25, 100, 0, 0, ()),  # no device
    TypicalPod(0.25, 8000, 1000, 2, ("a",)),  # two whole devices of model a
)


def f(left, cpu=64_000, model="a", mix=QUARTERS):
    topology = Topology([Node(name="n0", accelerator=model, devices=len(left), cpu_milli=64_000)])
    measured = Fragmentation(mix, topology).of(np.array([left]), np.array([cpu]), np.array([0]))
    return int(measured[0]) / UNIT


# -- the mix -----------------------------------------------------------------------------------------------------


def test_kinds_are_counted_and_renormalised():
    one, two, cpu = PodKind(4000, 500, 1, ""), PodKind(4000, 1000, 2, "a|b|a"), PodKind(0, 0, 0, "")
    mix = typical_pods([one] * 60 + [cpu] * 35 + [two] * 5)
    # 60 + 35 of 100 pods are the 95 % that are asked for: the third kind is left out, the shares are of 95
    assert mix == (TypicalPod(60 / 95, 4000, 500, 1, ()), TypicalPod(35 / 95, 100, 0, 0, ()))
    assert typical_pods([two], coverage=1.0) == (TypicalPod(1.0, 4000, 1000, 2, ("a", "b")),)


def test_no_cpu_and_100_milli_cores_are_one_kind():
    assert len(typical_pods([PodKind(0, 500, 1, ""), PodKind(100, 500, 1, "")])) == 1


def test_kinds_of_the_same_count_stand_in_descending_order():
    kinds = [PodKind(200, 500, 1, ""), PodKind(300, 100, 1, ""), PodKind(200, 500, 1, "a")]
    mix = typical_pods(kinds, coverage=1.0)
    assert [(pod.cpu_milli, pod.accelerators) for pod in mix] == [(300, ()), (200, ("a",)), (200, ())]


def test_no_pods_give_no_mix_and_no_mix_cannot_be_measured():
    assert typical_pods([]) == ()
    with pytest.raises(ValueError, match="at least one kind"):
        Fragmentation((), servers(1))


# -- F of one server ---------------------------------------------------------------------------------------------


def test_an_idle_server_is_useless_to_pods_without_devices_only():
    assert f([1000, 1000]) == 0.25 * 2000


def test_what_is_left_of_a_device_is_useless_to_those_who_need_more():
    # 600: the device with 300 is useless; no device: all 1300; two whole: only one is whole, so all 1300
    assert f([1000, 300]) == 0.5 * 300 + 0.25 * 1300 + 0.25 * 1300


def test_a_kind_that_can_run_finds_the_broken_devices_useless():
    # 600: 300 + 500 useless; no device: 2800; two whole: possible, so only the broken ones, 300 + 500
    assert f([1000, 1000, 300, 500]) == 0.5 * 800 + 0.25 * 2800 + 0.25 * 800


def test_another_model_is_useless():
    assert f([1000, 1000], model="b") == 0.25 * 2000 + 0.25 * 2000


def test_devices_without_cpu_are_useless():
    # 7999 milli-cores: enough for the share, not for the two devices
    assert f([1000, 1000], cpu=7999) == 0.25 * 2000 + 0.25 * 2000
    assert f([1000, 1000], cpu=8000) == 0.25 * 2000
    assert f([1000, 1000], cpu=3999) == 2000


def test_a_full_server_has_nothing_to_waste():
    assert f([0, 0]) == 0


def test_a_mix_without_devices_wastes_everything():
    assert f([1000, 700], mix=(TypicalPod(1.0, 100, 0, 0, ()),)) == 1700


pods = st.builds(
    TypicalPod,
    share=st.sampled_from([1 / 8, 1 / 4, 1 / 2]),
    cpu_milli=st.sampled_from([0, 100, 4000]),
    device_milli=st.sampled_from([100, 500, 700, 1000]),
    devices=st.integers(0, 3),
    accelerators=st.sampled_from([(), ("a",), ("b", "c")]),
)


@settings(deadline=None)
@given(
    mix=st.lists(pods, min_size=1, max_size=4),
    left=st.lists(st.sampled_from([0, 100, 300, 500, 999, 1000]), min_size=1, max_size=4),
    cpu=st.integers(0, 5000),
)
def test_columns_agree_with_the_definition(mix, left, cpu):
    expected = 0.0
    for pod in mix:
        fits = sum(milli >= pod.device_milli for milli in left) >= pod.devices > 0
        fits = fits and cpu >= pod.cpu_milli and (not pod.accelerators or "a" in pod.accelerators)
        expected += pod.share * (sum(milli for milli in left if milli < pod.device_milli) if fits else sum(left))
    assert f(left, cpu, mix=mix) == expected


# -- the course of a run -------------------------------------------------------------------------------------------

HALF = (TypicalPod(1.0, 100, 500, 1, ()),)


def test_course_by_hand():
    jobs = [
        job("a", 0, 100, 1, gpu_milli=700),  # leaves 300, useless to the half
        job("b", 10, 30, 1, gpu_milli=300),  # best fit: fills that device until 40
        job("c", 20, 60, 1, gpu_milli=600),  # the other device until 80: 400 useless
    ]
    fleet = servers(1, devices=2)
    outcome = replay(jobs, fleet, "fifo")
    course = fragmentation_over_time(outcome.records, outcome.timeline, fleet, HALF)
    assert course.at_ms.tolist() == [0, 10, 20, 40, 80, 100]
    assert course.fragmented_gpu_milli.tolist() == [300, 0, 400, 700, 300, 0]
    # 10 x 300 + 10 x 0 + 20 x 400 + 40 x 700 + 20 x 300 = 45,000 over 100 ms
    assert mean_over_time(course, 100) == 450.0
    assert mean_over_time(course, 0) is None


def test_fill_curve_by_hand():
    jobs = [
        job("a", 0, 0, 1, gpu_milli=700),
        job("b", 0, 0, 2),  # dropped: one device is idle
        job("c", 0, 0, 9),  # rejected: larger than the fleet
        job("d", 0, 0, 1, gpu_milli=300),
        job("e", 0, 0, 0, cpu_milli=100),
    ]
    fleet = servers(1, devices=2)
    outcome = replay(jobs, fleet, "best-effort-fifo", fill=True)
    curve = fill_curve(outcome.records, outcome.timeline, fleet, HALF)
    assert curve.arrived_gpu_milli.tolist() == [700, 2700, 11700, 12000, 12000]
    assert curve.allocated_gpu_milli.tolist() == [700, 700, 700, 1000, 1000]
    assert curve.fragmented_gpu_milli.tolist() == [300, 300, 300, 0, 0]


def test_nothing_happened():
    fleet = servers(1)
    outcome = replay([], fleet, "fifo")
    assert len(fragmentation_over_time([], outcome.timeline, fleet).at_ms) == 0
    assert [len(column) for column in fill_curve([], outcome.timeline, fleet)] == [0, 0, 0]
    assert mean_over_time(fragmentation_over_time([], outcome.timeline, fleet), 10) is None


def test_a_fleet_without_devices():
    fleet = Topology([Node(name="n0", accelerator=None, devices=0, cpu_milli=1000)])
    outcome = replay([job("a", 0, 5, 0, cpu_milli=600)], fleet, "fifo")
    assert fragmentation_over_time(outcome.records, outcome.timeline, fleet).fragmented_gpu_milli.tolist() == [0]


def test_a_timeline_that_contradicts_itself():
    fleet = servers(1)
    outcome = replay([job("a", 0, 5)], fleet, "fifo")
    line = outcome.timeline
    broken = line._replace(happened=np.where(line.happened == Happened.START, Happened.SPEED, line.happened))
    with pytest.raises(ValueError, match="gives back what it did not take"):
        fragmentation_over_time(outcome.records, broken, fleet)


def test_own_mix_cuts_a_total_into_servers():
    jobs = [job("a", 0, 1, 20, cpu_milli=2000), job("b", 0, 1, 4, pods=4, cpu_milli=401), job("c", 0, 1, 0, pods=2)]
    kinds = {(pod.devices, pod.device_milli): (pod.share, pod.cpu_milli) for pod in own_mix(jobs, servers(9))}
    # 20 devices are two pods of 8 and one of 4, with 100 milli-cores a device; 401 among four pods is 101 each;
    # 2 + 1 + 4 + 2 = 9 pods
    assert kinds == {(8, 1000): (2 / 9, 800), (4, 1000): (1 / 9, 400), (1, 1000): (4 / 9, 101), (0, 0): (2 / 9, 100)}


def test_cpu_goes_with_the_devices_and_is_rounded_up_for_each_pod():
    fleet = servers(2, cpu_milli=64_000)
    jobs = [job("a", 0, 5, 9, cpu_milli=100), job("b", 0, 5, 0, pods=2, cpu_milli=7)]
    outcome = replay(jobs, fleet, "fifo:place=first-fit")
    changes = metric._Changes(outcome.records, outcome.timeline).part(0, 99)
    # a: 8 and 1 devices of 9 are 88.9 and 11.1 of 100 milli-cores; b: 3.5 each; taken and given back
    taken = sorted(-changes.cpu_milli[changes.cpu_milli < 0])
    assert taken == sorted(changes.cpu_milli[changes.cpu_milli > 0]) == [4, 4, 12, 89]


class TakesTurns(Policy):
    """Preempts the job that runs longest whenever something happens and others wait."""

    name = "takes-turns"

    def decide(self, view):
        if view.pending and len(view.running):
            yield Preempt(next(iter(view.running)).job.job_id)
        for waiting in list(view.pending):
            placement = BestFit().place(waiting.request, view.nodes)
            if placement is not None:
                yield Start(waiting.job_id, placement)

    def semantics(self):
        return Semantics(order="arrival", blocking="skips", placement="best-fit", preemption="by turns")


def walked(outcome, topology, mix):
    """Fragmented milli-devices after each entry: the same by taking and releasing on a ledger."""
    ledger, make = NodeLedger(topology), RequestMaker(topology, "whole", {})
    line, measure, held, found = outcome.timeline, Fragmentation(mix, topology), {}, []
    for i, happened in enumerate(line.happened):
        row = int(line.job[i])
        request = make.request(outcome.records[row])
        if happened == Happened.START:
            columns = zip(line.share_node, line.share_devices, line.share_pods, line.share_group, strict=True)
            shares = list(columns)[line.share_start[i] : line.share_start[i + 1]]
            held[row] = tuple(Share(*map(int, share)) for share in shares)
            ledger.take(request, held[row])
        elif row in held and happened in (Happened.FINISH, Happened.PREEMPT):
            ledger.release(request, held.pop(row))
        now = ledger.columns()
        found.append(int(measure.of(now.left_milli, now.cpu_milli, np.arange(len(topology))).sum()) / UNIT)
    return found


@pytest.mark.parametrize("chunk", [1, 3, 1 << 14])
@pytest.mark.parametrize("seed", range(3))
def test_columns_agree_with_a_walk(monkeypatch, seed, chunk):
    monkeypatch.setattr(metric, "CHUNK", chunk)
    rng = np.random.default_rng(seed)
    fleet = Topology([Node(name=f"n{i}", devices=(4, 2, 8)[i % 3], cpu_milli=32_000) for i in range(5)])
    jobs = [
        job(
            f"j{i}",
            int(rng.integers(200)),
            int(rng.integers(1, 60)),
            gpus,
            gpu_milli=milli,
            cpu_milli=gpus * 1500 + 7,
        )
        for i, (gpus, milli) in enumerate(
            (int(rng.choice([0, 1, 2, 6, 9])), 1000) if rng.random() < 0.5 else (1, int(rng.choice([200, 500])))
            for _ in range(60)
        )
    ]
    outcome = replay(jobs, fleet, TakesTurns())
    assert (outcome.timeline.happened == Happened.PREEMPT).any()
    mix = own_mix(jobs, fleet)
    assert metric._after_each_entry(jobs, outcome.timeline, fleet, mix).tolist() == walked(outcome, fleet, mix)
