"""Default preemption: the victims on a node, the criteria among nodes one by one, disruption budgets, and who may not."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kube_cluster import GPU, matches, node, pod, scheduler

from policies.kube.configuration import PreemptionArgs, Profile
from policies.kube.preemption import Candidate, DisruptionBudget, best_of, violating
from policies.kube.terms import HostPort, PodAffinityTerm, SpreadConstraint


def gpus(name, count, priority, start_s=0, **more):
    return pod(name, gpus=count, priority=priority, start_s=start_s, **more)


def found(made, wanted):
    """Node and victims of the best candidates."""
    return {
        made.ledger.nodes[each.node].name: [victim.uid for victim in each.victims]
        for each in made.attempt(wanted).preemptions
    }


ONE = [node("a", gpus=8)]


def test_only_lower_priorities_go_and_no_more_than_must():
    held = [(gpus("low", 4, 0), "a"), (gpus("mid", 2, 5), "a"), (gpus("high", 2, 10), "a")]
    made = scheduler(ONE, *held)
    assert found(made, gpus("p", 1, 10)) == {"a": ["low"]}
    assert found(made, gpus("p", 6, 10)) == {"a": ["mid", "low"]}
    assert found(made, gpus("p", 1, 5)) == {"a": ["low"]}
    assert found(made, gpus("p", 7, 10)) == {}
    assert found(made, gpus("p", 1, 0)) == {}
    assert sorted(made.ledger.node_of) == ["high", "low", "mid"]  # nothing has changed
    assert int(made.ledger.requested[GPU][0]) == 8


def test_the_important_are_brought_back_first():
    # 3 of 8 are needed: without all there are 8 free; old (priority 1) comes back, then young (1, later), then none fits
    held = [(gpus("young", 3, 1, 20), "a"), (gpus("old", 3, 1, 10), "a"), (gpus("low", 2, 0, 5), "a")]
    assert found(scheduler(ONE, *held), gpus("p", 3, 2)) == {"a": ["young"]}
    # 5 are needed: old comes back (3 + 5 = 8), young and low do not
    assert found(scheduler(ONE, *held), gpus("p", 5, 2)) == {"a": ["young", "low"]}


def test_why_not():
    made = scheduler(
        [node("a", gpus=8), node("b", gpus=8), node("c"), node("d", gpus=8)],
        (gpus("x", 8, 9), "a"),
        (gpus("y", 7, 9), "b"),
        (gpus("z", 1, 0), "b"),
        (gpus("w", 8, 0), "d"),
    )
    attempt = made.attempt(gpus("p", 4, 5))
    assert attempt.message == ""
    assert attempt.preemption == Candidate(3, (made.ledger.pod_of["w"],), 0)
    attempt = made.attempt(replace(gpus("p", 4, 0), priority=0))
    assert attempt.message == (
        f"0/4 nodes are available: 4 Insufficient {GPU}. no new claims to deallocate, preemption: 0/4 nodes are available: "
        "1 Preemption is not helpful for scheduling, 3 No preemption victims found for incoming pod."
    )
    made.ledger.remove("w")
    made.ledger.add(gpus("w", 8, 9), 3)
    attempt = made.attempt(gpus("p", 4, 5))  # on b even without z only 1 is free
    assert attempt.message.endswith(
        f"1 Insufficient {GPU}, 1 Preemption is not helpful for scheduling, 2 No preemption victims found for incoming pod."
    )


def test_who_never_preempts():
    made = scheduler(ONE, (gpus("low", 8, 0), "a"))
    attempt = made.attempt(gpus("p", 4, 5, may_preempt=False))
    assert attempt.preemption is None
    assert attempt.message.endswith("preemption: not eligible due to preemptionPolicy=Never.")
    off = replace(Profile(), post_filters=())
    attempt = scheduler(ONE, (gpus("low", 8, 0), "a"), profile=off).attempt(gpus("p", 4, 5))
    assert attempt.preemption is None
    assert attempt.message == f"0/1 nodes are available: 1 Insufficient {GPU}."


def test_a_pod_whose_victims_are_leaving_waits_for_them():
    made = scheduler(ONE, (gpus("low", 8, 0, leaving=True), "a"))
    wanted = gpus("p", 4, 5)
    made.nominate(wanted, 0)
    attempt = made.attempt(wanted)
    assert attempt.preemption is None
    assert attempt.message.endswith("not eligible due to a terminating pod on the nominated node.")
    made.ledger.remove("low")
    assert made.attempt(wanted).node == 0


def test_others_than_resources_can_be_preempted_for():
    port = HostPort(80)
    made = scheduler(ONE, (pod("web", host_ports=(port,), priority=0), "a"), (pod("other", priority=0), "a"))
    assert found(made, pod("p", host_ports=(port,), priority=1)) == {"a": ["web"]}
    alone = PodAffinityTerm("kubernetes.io/hostname", matches(app="x"), ())
    made = scheduler(ONE, (pod("x", labels={"app": "x"}), "a"), (pod("y"), "a"))
    assert found(made, pod("p", away=(alone,), priority=1)) == {"a": ["x"]}
    made = scheduler(ONE, (pod("jealous", away=(alone,)), "a"), (pod("y"), "a"))
    assert found(made, pod("p", labels={"app": "x"}, priority=1)) == {"a": ["jealous"]}
    zones = [node("a", labels={"zone": "1"}), node("b", labels={"zone": "2"}, cpu=100)]
    spread = SpreadConstraint("zone", 1, hard=True, selector=matches(app="x"))
    made = scheduler(zones, (pod("x", labels={"app": "x"}, cpu=500), "a"), (pod("y", cpu=500), "a"))
    wanted = pod("p", labels={"app": "x"}, cpu=200, spread=(spread,), priority=1)
    assert found(made, wanted) == {"a": ["x"]}


# -- the choice among nodes ----------------------------------------------------------------------------------------


def candidate(number, *victims, violations=0):
    made = tuple(pod(f"v{number}-{i}", priority=each[0], start_s=each[1]) for i, each in enumerate(victims))
    return Candidate(number, made, violations)


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (candidate(0, (9, 0), (9, 0)), candidate(1, (0, 0), violations=1)),  # 1. fewer violations
        (candidate(0, (5, 0), (5, 0), (5, 0)), candidate(1, (6, 0))),  # 2. lower most important victim
        (candidate(0, (5, 0), (1, 0)), candidate(1, (5, 0), (2, 0))),  # 3. smaller sum
        (candidate(0, (-5, 0)), candidate(1, (-5, 0), (-5, 0))),  # 3. as each counts at least something
        (candidate(0, (5, 9)), candidate(1, (5, 8))),  # 5. later start
        (candidate(0, (5, 9), (1, 0)), candidate(1, (5, 8), (1, 7))),  # 5. of those of the highest priority
        (candidate(0, (5, 9), (5, 7)), candidate(1, (5, 20), (5, 6))),  # 5. the earliest of them
    ],
)
def test_the_criteria_in_their_order(better, worse):
    assert best_of([better, worse]) == best_of([worse, better]) == (better,)


def test_fewer_victims_of_the_same_sum():
    shift = 1 << 31  # each victim adds it, so that two can sum up to what three do
    few = candidate(0, (5, 0), (0, 0))
    many = candidate(1, (5, 0), (-shift // 2, 0), (-shift // 2, 0))
    assert best_of([few, many]) == (few,)


def test_what_is_equal_is_a_tie():
    one, other = candidate(0, (5, 9)), candidate(1, (5, 9))
    assert best_of([one, other]) == (one, other)
    assert best_of([]) == ()


# -- disruption budgets --------------------------------------------------------------------------------------------


def test_a_budget_is_used_up_in_order():
    pods = [pod(f"x{i}", labels={"app": "x"}) for i in range(3)]
    budget = DisruptionBudget("default", matches(app="x"), 1)
    assert violating(pods, [budget]) == (pods[1:], pods[:1])
    assert violating(pods, [budget._replace(namespace="other")]) == ([], pods)
    assert violating(pods, [budget._replace(selector=None)]) == ([], pods)


def test_those_under_a_used_up_budget_are_brought_back_first():
    safe = gpus("safe", 4, 0, 5, labels={"app": "x"})
    other = gpus("other", 4, 3, 1)
    made = scheduler(ONE, (safe, "a"), (other, "a"))
    assert found(made, gpus("p", 4, 5)) == {"a": ["safe"]}
    made.preemptor.budgets = (DisruptionBudget("default", matches(app="x"), 0),)
    assert found(made, gpus("p", 4, 5)) == {"a": ["other"]}
    assert made.attempt(gpus("p", 8, 5)).preemption.pdb_violations == 1


def test_a_node_without_violation_is_better():
    made = scheduler(
        [node("a", gpus=8), node("b", gpus=8)], (gpus("x", 8, 0, labels={"app": "x"}), "a"), (gpus("y", 8, 4), "b")
    )
    assert found(made, gpus("p", 4, 5)) == {"a": ["x"]}
    made.preemptor.budgets = (DisruptionBudget("default", matches(app="x"), 0),)
    assert found(made, gpus("p", 4, 5)) == {"b": ["y"]}


# -- the search ----------------------------------------------------------------------------------------------------


def test_the_search_stops_after_enough_candidates():
    nodes = [node(f"n{i}", gpus=1) for i in range(6)]
    held = [(gpus(f"x{i}", 1, i), f"n{i}") for i in range(6)]
    few = replace(Profile(), preemption=PreemptionArgs(min_candidate_percentage=0, min_candidates=2))
    made = scheduler(nodes, *held, profile=few, draw=lambda count: 3 if count == 6 else 0)
    assert found(made, gpus("p", 1, 9)) == {"n3": ["x3"]}  # it begins at the fourth, and looks at two
    assert found(scheduler(nodes, *held), gpus("p", 1, 9)) == {"n0": ["x0"]}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.integers(1, 8), st.integers(0, 3)), max_size=4), min_size=1, max_size=5), st.data()
)
def test_the_quick_look_prunes_only_what_is_none(fleet, data):
    nodes = [node(f"n{i}", gpus=8, pods=3) for i in range(len(fleet))]
    held = [
        (gpus(f"x{i}-{k}", size, priority, k), f"n{i}")
        for i, pods in enumerate(fleet)
        for k, (size, priority) in enumerate(pods)
    ]
    made = scheduler(nodes, *held)
    wanted = gpus("p", data.draw(st.integers(1, 8)), data.draw(st.integers(0, 4)))
    verdict = made.filter(wanted)
    if not verdict.feasible.any():
        quick = made.preemptor.search(made.check(wanted), verdict)
        full = made.preemptor.search(made.check(wanted), verdict, prune=False)
        assert set(quick.candidates) == set(full.candidates)
        assert {k: v for k, v in quick.reasons.items() if v} == {k: v for k, v in full.reasons.items() if v}
