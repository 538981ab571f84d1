"""The two ways to ask the filters agree: all nodes at once and node by node, counted anew and kept up to date in a what-if."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from kube_cluster import matches, node, pod, scheduler

from policies.kube.terms import HostPort, PodAffinityTerm, SpreadConstraint

ZONE = "zone"
HOST = "kubernetes.io/hostname"

apps = st.sampled_from(["x", "y"])
keys = st.sampled_from([ZONE, HOST])
affinity = st.builds(
    lambda key, app, everywhere: PodAffinityTerm(key, matches(app=app), ("default", "other") if everywhere else ()),
    keys,
    apps,
    st.booleans(),
)
spreading = st.builds(
    lambda key, skew, app: SpreadConstraint(key, skew, hard=True, selector=matches(app=app)),
    keys,
    st.integers(1, 2),
    apps,
)
ports = st.lists(st.sampled_from([HostPort(80), HostPort(80, "TCP", "10.0.0.1"), HostPort(81)]), max_size=1)


@st.composite
def pods(draw, name):
    return pod(
        name,
        cpu=draw(st.integers(0, 4)) * 1000,
        priority=draw(st.integers(0, 2)),
        namespace=draw(st.sampled_from(["default", "default", "other"])),
        labels={"app": draw(apps)},
        near=tuple(draw(st.lists(affinity, max_size=1))),
        away=tuple(draw(st.lists(affinity, max_size=1))),
        spread=tuple(draw(st.lists(spreading, max_size=2))),
        host_ports=tuple(draw(ports)),
        leaving=draw(st.integers(0, 5)) == 0,
    )


@st.composite
def clusters(draw):
    """Nodes, some without a zone, with pods that need not have been allowed there."""
    count = draw(st.integers(1, 4))
    nodes = []
    for number in range(count):
        zone = draw(st.sampled_from([None, "1", "2"]))
        nodes.append(node(f"n{number}", labels={} if zone is None else {ZONE: zone}, pods=4))
    held = [
        (draw(pods(f"p{number}-{k}")), f"n{number}")
        for number in range(count)
        for k in range(draw(st.integers(0, 3)))
    ]
    return scheduler(nodes, *held), draw(pods("new"))


def all_at_once(made, wanted):
    """Node -> its reasons, for those that are not ruled out for good."""
    verdict = made.check(wanted).verdict()
    numbers = range(len(made.ledger))
    return {number: sorted(verdict.reasons_at(number)) for number in numbers if not verdict.unresolvable[number]}


@settings(max_examples=120, deadline=None)
@given(clusters(), st.data())
def test_one_node_at_a_time_and_with_pods_taken_out(case, data):
    made, wanted = case
    check = made.check(wanted)
    for number, reasons in all_at_once(made, wanted).items():
        assert sorted(check.faults_at(number)) == reasons
    there = list(made.ledger.pods())
    if not there:
        return
    gone = data.draw(st.lists(st.sampled_from(there), unique_by=lambda each: each[0].uid))
    for each, where in gone:
        check.remove(each, where)
    for number, reasons in all_at_once(made, wanted).items():
        assert sorted(check.faults_at(number)) == reasons
    for each, where in gone:
        check.add(each, where)
    for number, reasons in all_at_once(made, wanted).items():
        assert sorted(check.faults_at(number)) == reasons


@settings(max_examples=60, deadline=None)
@given(clusters())
def test_a_preemption_makes_room_and_leaves_everything_as_it_was(case):
    made, wanted = case
    before = dict(made.ledger.node_of)
    attempt = made.attempt(wanted)
    assert made.ledger.node_of == before
    for candidate in attempt.preemptions:
        check = made.check(wanted)
        for victim in candidate.victims:
            assert victim.priority < wanted.priority
            check.remove(victim, candidate.node)
        assert check.faults_at(candidate.node) == []
        assert made.filter(wanted).feasible[candidate.node]
        for victim in candidate.victims:  # and each of them must go: with it alone back, the pod does not fit
            check.add(victim, candidate.node)
            assert check.faults_at(candidate.node) != []
            check.remove(victim, candidate.node)
        for victim in candidate.victims:
            check.add(victim, candidate.node)
