"""Each score of kube-scheduler against a value worked out by hand, and against a plain loop over nodes."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kube_cluster import GIB, GPU, matches, node, pod, scheduler, terms

from policies.kube.configuration import FitArgs, Profile, ResourceWeight, ShapePoint
from policies.kube.ledger import Ledger
from policies.kube.resource_scores import balanced_scores, fit_scores, shape_table
from policies.kube.scoring import normalised
from policies.kube.terms import NodeTerm, PreferredNode, Requirement, SpreadConstraint, Taint, Toleration

LEAST = FitArgs()
MOST = FitArgs(strategy="MostAllocated", resources=(ResourceWeight("cpu"), ResourceWeight(GPU, 3)))
SHAPE = (ShapePoint(0, 0), ShapePoint(70, 8), ShapePoint(100, 10))


def parts_of(made, wanted, nodes=None):
    """Plugin -> its scores of all nodes, without weights."""
    everywhere = np.arange(len(made.ledger), dtype=np.int64) if nodes is None else np.array(nodes)
    return {part.name: part.scores.tolist() for part in made.score(wanted, everywhere).parts}


# -- NodeResourcesFit ------------------------------------------------------------------------------------------------


def test_least_allocated_is_the_mean_of_what_is_left():
    # cpu: (8000 - 2000) * 100 // 8000 = 75; memory: (32 - 8) * 100 // 32 = 75; then with 1 core and 1 GiB there already:
    # cpu: (8000 - 3000) * 100 // 8000 = 62; memory: (32 - 9) * 100 // 32 = 71; (62 + 71) // 2 = 66
    made = scheduler([node("a"), node("b")], (pod("there", cpu=1000, memory_gib=1), "b"))
    assert parts_of(made, pod("p", cpu=2000, memory_gib=8))["NodeResourcesFit"] == [75, 66]


def test_a_container_without_requests_counts_as_100_millicores_and_200_mib_in_the_fit_only():
    # cpu: (1000 - 100) * 100 // 1000 = 90; memory: (1024 - 200) * 100 // 1024 = 80; (90 + 80) // 2 = 85
    made = scheduler([node("a", cpu=1000, memory_gib=1)])
    parts = parts_of(made, pod("p"))
    assert parts["NodeResourcesFit"] == [85]
    assert "NodeResourcesBalancedAllocation" not in parts  # a best-effort pod is not balanced at all


def test_what_is_over_full_scores_nothing_under_least_allocated_and_everything_under_most_allocated():
    crowd = [(pod(f"p{i}"), "a") for i in range(12)]  # 12 x 100 counted millicores on a node of 1000
    made = scheduler([node("a", cpu=1000, memory_gib=1000)], *crowd)
    memory = 1000 * GIB
    left = (memory - 13 * (200 << 20)) * 100 // memory
    assert parts_of(made, pod("p"))["NodeResourcesFit"] == [(0 + left) // 2]
    most = replace(Profile(), fit=FitArgs(strategy="MostAllocated", resources=(ResourceWeight("cpu"),)))
    made = scheduler([node("a", cpu=1000, memory_gib=1000)], *crowd, profile=most)
    assert parts_of(made, pod("p"))["NodeResourcesFit"] == [100]


def test_an_extended_resource_counts_only_for_pods_that_ask_for_it_and_on_nodes_that_have_it():
    profile = replace(Profile(), fit=MOST)
    made = scheduler([node("a", gpus=8), node("b")], (pod("there", cpu=4000, gpus=4), "a"), profile=profile)
    # a without: cpu (4000 + 2000) * 100 // 8000 = 75; b without: 2000 * 100 // 8000 = 25
    assert parts_of(made, pod("p", cpu=2000))["NodeResourcesFit"] == [75, 25]
    # a with 2: gpu (4 + 2) * 100 // 8 = 75; (75 + 3 * 75) // 4 = 75; b: the node has none, so cpu alone
    assert parts_of(made, pod("p", cpu=2000, gpus=2))["NodeResourcesFit"] == [75, 25]
    # a with 1: (4 + 1) * 100 // 8 = 62; (75 + 3 * 62) // 4 = 65
    assert parts_of(made, pod("p", cpu=2000, gpus=1))["NodeResourcesFit"] == [65, 25]


def test_requested_to_capacity_ratio_leaves_out_what_scores_nothing_and_rounds_to_nearest():
    resources = (ResourceWeight(GPU, 3), ResourceWeight("cpu", 1))
    args = FitArgs(strategy="RequestedToCapacityRatio", resources=resources, shape=SHAPE)
    ledger = Ledger([node("a", cpu=8000, gpus=8), node("b", cpu=800_000, gpus=8)])
    found = fit_scores(terms(cpu=4000, gpus=2), args, ledger, np.arange(2))
    # a: gpu 25 % -> 80 * 25 // 70 = 28; cpu 50 % -> 80 * 50 // 70 = 57; (3 * 28 + 57) / 4 = 35.25 -> 35
    # b: gpu 28; cpu 0 % -> 0, left out; 28
    assert found.tolist() == [35, 28]
    halves = FitArgs(
        strategy="RequestedToCapacityRatio", resources=(*resources[1:], ResourceWeight("memory")), shape=SHAPE
    )
    # cpu 7 % -> 8; memory 8 % -> 9; 8.5 rounds up
    asked = replace(terms(), nonzero_cpu_milli=560, nonzero_memory_bytes=8 * GIB)
    found = fit_scores(asked, halves, Ledger([node("a", cpu=8000, memory_gib=100)]), np.arange(1))
    assert found.tolist() == [9]


def test_a_shape_is_straight_lines_truncated_towards_zero():
    assert [shape_table(SHAPE)[percent] for percent in (0, 1, 35, 70, 71, 85, 100)] == [0, 1, 40, 80, 80, 90, 100]
    falling = shape_table((ShapePoint(10, 10), ShapePoint(40, 0)))
    # from 100 at 10 % to 0 at 40 %: 100 - trunc(100 * 7 / 30) = 100 - 23
    assert [falling[percent] for percent in (0, 10, 17, 40, 100)] == [100, 100, 77, 0, 0]


# -- NodeResourcesBalancedAllocation -----------------------------------------------------------------------------------


def test_balanced_allocation_scores_the_improvement():
    # a, empty: before 100; after: cpu 50 %, memory 25 %, half the difference 0.125 -> 87; 50 + (50 + 87 - 100) // 2 = 68
    # b: cpu 50 % there: before 0.25 -> 75; after cpu 100 %, memory 25 % -> 0.375 -> 62; 50 + (50 + 62 - 75) // 2 = 68
    # c: memory 50 % there: before 75; after cpu 50 %, memory 75 %: 0.125 -> 87; 50 + (50 + 87 - 75) // 2 = 81
    made = scheduler([node("a"), node("b"), node("c")], (pod("x", cpu=4000), "b"), (pod("y", memory_gib=16), "c"))
    assert parts_of(made, pod("p", cpu=4000, memory_gib=8))["NodeResourcesBalancedAllocation"] == [68, 68, 81]


def test_three_resources_are_balanced_by_their_standard_deviation():
    resources = (ResourceWeight("cpu"), ResourceWeight("memory"), ResourceWeight(GPU))
    ledger = Ledger([node("a", gpus=4), node("b")])
    found = balanced_scores(terms(cpu=8000, memory_gib=16, gpus=1), resources, ledger, np.arange(2))
    # a: fractions 1, 0.5, 0.25: mean 0.5833, deviation sqrt((0.1736 + 0.0069 + 0.1111) / 3) = 0.3118 -> 68;
    #    50 + (50 + 68 - 100) // 2 = 59
    # b has no GPU: fractions 1, 0.5 -> 0.25 -> 75; 50 + (50 + 75 - 100) // 2 = 62
    assert found.tolist() == [59, 62]
    # a pod without GPU: it does not count on a either
    assert balanced_scores(terms(cpu=8000, memory_gib=16), resources, ledger, np.arange(2)).tolist() == [62, 62]
    assert balanced_scores(terms(), resources, ledger, np.arange(2)) is None


# -- a plain loop ------------------------------------------------------------------------------------------------------


def loop_fit(asked, args, ledger, number):
    """NodeResourcesFit of one node, written out."""
    total = weights = 0
    for name, weight in args.resources:
        amount = dict(asked.requests).get(name, 0)
        there = int(ledger.requested[name][number]) if name in ledger.requested else 0
        if name == "cpu":
            amount, there = asked.nonzero_cpu_milli, int(ledger.nonzero["cpu"][number])
        elif name == "memory":
            amount, there = asked.nonzero_memory_bytes, int(ledger.nonzero["memory"][number])
        elif amount == 0:
            continue
        capacity = dict(ledger.nodes[number].allocatable).get(name, 0)
        if capacity == 0:
            continue
        used = there + amount
        if args.strategy == "LeastAllocated":
            score = 0 if used > capacity else (capacity - used) * 100 // capacity
        elif args.strategy == "MostAllocated":
            score = min(used, capacity) * 100 // capacity
        else:
            score = broken_line(args.shape, 100 if used > capacity else used * 100 // capacity)
            if score == 0:
                continue
        total += weight * score
        weights += weight
    if not weights:
        return 0
    return math.floor(total / weights + 0.5) if args.strategy == "RequestedToCapacityRatio" else total // weights


def broken_line(shape, percent):
    if percent <= shape[0].utilization:
        return shape[0].score * 10
    for (x0, y0), (x1, y1) in pairwise(shape):
        if percent <= x1:
            return y0 * 10 + int((y1 - y0) * 10 * (percent - x0) / (x1 - x0))
    return shape[-1].score * 10


def loop_balanced(asked, resources, ledger, number):
    """NodeResourcesBalancedAllocation of one node, written out."""

    def balance(extra):
        fractions = []
        for name, _ in resources:
            amount = dict(asked.requests).get(name, 0)
            capacity = dict(ledger.nodes[number].allocatable).get(name, 0)
            if capacity == 0 or (name == GPU and amount == 0):
                continue
            fractions.append(min((int(ledger.requested[name][number]) + extra * amount) / capacity, 1.0))
        if len(fractions) == 2:
            deviation = abs((fractions[0] - fractions[1]) / 2)
        elif len(fractions) > 2:
            mean = sum(fractions) / len(fractions)
            deviation = math.sqrt(sum((each - mean) * (each - mean) for each in fractions) / len(fractions))
        else:
            deviation = 0.0
        return int((1 - deviation) * 100)

    return 50 + (50 + balance(1) - balance(0)) // 2


amounts = st.tuples(st.integers(0, 9000), st.integers(0, 40), st.integers(0, 8))
machines = st.tuples(st.integers(1, 9000), st.integers(1, 40), st.integers(0, 8))


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(machines, st.lists(amounts, max_size=3)), min_size=1, max_size=6),
    amounts,
    st.sampled_from(["LeastAllocated", "MostAllocated", "RequestedToCapacityRatio"]),
    st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 5)),
)
def test_the_columns_agree_with_the_loop(fleet, wanted, strategy, weights):
    nodes = [node(f"n{i}", cpu, memory, gpus) for i, ((cpu, memory, gpus), _) in enumerate(fleet)]
    ledger = Ledger(nodes)
    for i, (_, held) in enumerate(fleet):
        for k, (cpu, memory, gpus) in enumerate(held):
            ledger.add(pod(f"p{i}-{k}", cpu=cpu, memory_gib=memory, gpus=gpus), i)
    resources = tuple(ResourceWeight(name, each) for name, each in zip(("cpu", "memory", GPU), weights, strict=True))
    args = FitArgs(strategy=strategy, resources=resources, shape=SHAPE)
    asked = terms(cpu=wanted[0], memory_gib=wanted[1], gpus=wanted[2])
    everywhere = np.arange(len(nodes))
    assert fit_scores(asked, args, ledger, everywhere).tolist() == [
        loop_fit(asked, args, ledger, number) for number in range(len(nodes))
    ]
    found = balanced_scores(asked, resources, ledger, everywhere)
    if any(wanted):
        assert found.tolist() == [loop_balanced(asked, resources, ledger, number) for number in range(len(nodes))]
    else:
        assert found is None


# -- the other scores ----------------------------------------------------------------------------------------------------


def test_normalising():
    assert normalised(np.array([0, 1, 3])).tolist() == [0, 33, 100]
    assert normalised(np.array([0, 1, 3]), reverse=True).tolist() == [100, 67, 0]
    assert normalised(np.array([0, 0])).tolist() == [0, 0]
    assert normalised(np.array([0, 0]), reverse=True).tolist() == [100, 100]


def test_soft_taints_cost_by_their_number():
    busy, old = Taint("busy", "", "PreferNoSchedule"), Taint("old", "1", "PreferNoSchedule")
    made = scheduler([node("a"), node("b", taints=(busy,)), node("c", taints=(busy, old))])
    assert parts_of(made, pod("p"))["TaintToleration"] == [100, 50, 0]
    tolerant = pod("p", tolerations=(Toleration("busy", "Exists"),))
    assert parts_of(made, tolerant)["TaintToleration"] == [100, 100, 0]
    # a toleration of another effect does not help
    other = pod("p", tolerations=(Toleration("busy", "Exists", "", "NoSchedule"),))
    assert parts_of(made, other)["TaintToleration"] == [100, 50, 0]


def test_preferred_node_affinity_adds_weights_and_is_normalised():
    def near(zone, weight):
        return PreferredNode(weight, NodeTerm((Requirement("zone", "In", (zone,)),)))

    nodes = [node("a", labels={"zone": "1"}), node("b", labels={"zone": "2"}), node("c")]
    wanted = pod("p", preferred=(near("1", 50), near("2", 5), PreferredNode(7, NodeTerm())))
    made = scheduler(nodes)
    assert parts_of(made, wanted)["NodeAffinity"] == [100, 10, 0]
    assert parts_of(made, wanted, [1, 2])["NodeAffinity"] == [100, 0]  # over the candidates only
    assert "NodeAffinity" not in parts_of(made, pod("p"))
    added = replace(Profile(), added_preferred=(near("2", 1),))
    assert parts_of(scheduler(nodes, profile=added), pod("p"))["NodeAffinity"] == [0, 100, 0]


def test_weights_are_those_of_the_profile():
    nodes = [node("a"), node("b", taints=(Taint("busy", "", "PreferNoSchedule"),))]
    everywhere = np.arange(2)
    default = scheduler(nodes).score(pod("p"), everywhere).total
    assert (default[0] - default[1]) == 300  # TaintToleration weighs 3
    light = replace(Profile(), scores=(("TaintToleration", 1), ("NodeResourcesFit", 2)))
    found = scheduler(nodes, profile=light).score(pod("p", cpu=4000, memory_gib=16), everywhere)
    assert found.total.tolist() == [100 + 2 * 50, 2 * 50]


def test_images_that_are_there_attract_in_proportion_to_their_spread():
    nodes = [node("a"), node("b"), node("c")]
    images = {"a": {"big:1": 1000 << 20}, "b": {"big:1": 1000 << 20, "small:latest": 30 << 20}}
    made = scheduler(nodes, images=images)
    # big is on two of three nodes: 1000 MiB x 2/3 = 666 MiB; 100 x (666.67 - 23) / 977 = 65
    assert parts_of(made, pod("p", images=("big:1",)))["ImageLocality"] == [65, 65, 0]
    # small: 30 MiB / 3 = 10 MiB, below the least that counts
    assert parts_of(made, pod("p", images=("small",)))["ImageLocality"] == [0, 0, 0]
    assert "ImageLocality" not in parts_of(scheduler(nodes), pod("p", images=("big:1",)))


def test_soft_spreading_prefers_the_domain_with_fewer():
    def soft(key, skew=1):
        return SpreadConstraint(key, skew, hard=False, selector=matches(app="x"))

    nodes = [
        node("a", labels={"zone": "1"}),
        node("b", labels={"zone": "1"}),
        node("c", labels={"zone": "2"}),
        node("d"),
    ]
    held = [(pod(f"x{i}", labels={"app": "x"}), where) for i, where in enumerate(["a", "a", "b", "c"])]
    made = scheduler(nodes, *held, (pod("y", labels={"app": "y"}), "c"))
    found = parts_of(made, pod("p", labels={"app": "x"}, spread=(soft("zone"),)))["PodTopologySpread"]
    # zone 1 has 3, zone 2 has 1; times log(2 + 2): 4.16 -> 4 and 1.39 -> 1; 100 x (4 + 1 - s) / 4; d has no zone
    assert found == [25, 25, 100, 0]
    found = parts_of(made, pod("p", labels={"app": "x"}, spread=(soft("kubernetes.io/hostname", 3),)))[
        "PodTopologySpread"
    ]
    # 2, 1, 1, 0 x log(4 + 2) = 1.79, plus 2: 5.58 -> 6, 3.79 -> 4, 4, 2; 100 x (6 + 2 - s) / 6
    assert found == [33, 66, 66, 100]


@pytest.mark.parametrize(("namespace", "leaving"), [("other", False), ("default", True)])
def test_pods_of_other_namespaces_and_those_that_leave_do_not_count_in_spreading(namespace, leaving):
    soft = SpreadConstraint("zone", 1, hard=False, selector=matches(app="x"))
    nodes = [node("a", labels={"zone": "1"}), node("b", labels={"zone": "2"})]
    there = pod("x", labels={"app": "x"}, namespace=namespace, leaving=leaving)
    made = scheduler(nodes, (there, "a"))
    assert parts_of(made, pod("p", labels={"app": "x"}, spread=(soft,)))["PodTopologySpread"] == [100, 100]
