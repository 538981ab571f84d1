"""Each filter of kube-scheduler: who passes, with which reason, and whether preemption could help."""

from __future__ import annotations

from dataclasses import replace

import pytest
from kube_cluster import GPU, matches, names, node, pod, scheduler

from policies.kube.configuration import FitArgs, Profile
from policies.kube.messages import unavailable
from policies.kube.terms import (
    HostPort,
    NodeTerm,
    PodAffinityTerm,
    Requirement,
    Selector,
    SpreadConstraint,
    Taint,
    Toleration,
)

HOST = "kubernetes.io/hostname"


def passing(made, wanted):
    return names(made, made.filter(wanted).feasible.nonzero()[0])


def reasons(made, wanted):
    return made.filter(wanted).counts()


def hopeless(made, wanted):
    """The nodes that preemption cannot help."""
    return names(made, made.filter(wanted).unresolvable.nonzero()[0])


def test_a_cordoned_node_takes_only_what_tolerates_it():
    made = scheduler([node("a", unschedulable=True), node("b")])
    assert reasons(made, pod("p")) == {"node(s) were unschedulable": 1}
    assert hopeless(made, pod("p")) == {"a"}
    tolerant = pod("p", tolerations=(Toleration("node.kubernetes.io/unschedulable", "Exists", "", "NoSchedule"),))
    assert passing(made, tolerant) == {"a", "b"}


def test_a_hard_taint_keeps_away_and_a_soft_one_does_not():
    gpu, soft = Taint("gpu", "yes", "NoSchedule"), Taint("busy", "", "PreferNoSchedule")
    made = scheduler([node("a", taints=(gpu,)), node("b", taints=(soft,))])
    assert reasons(made, pod("p")) == {"node(s) had untolerated taint(s)": 1}
    assert hopeless(made, pod("p")) == {"a"}
    assert passing(made, pod("p", tolerations=(Toleration("gpu", "Equal", "yes"),))) == {"a", "b"}
    assert passing(made, pod("p", tolerations=(Toleration("gpu", "Equal", "no"),))) == {"b"}


def test_selector_and_affinity_must_both_match():
    nodes = [node("a", labels={"model": "T4", "zone": "1"}), node("b", labels={"model": "T4"}), node("c")]
    made = scheduler(nodes)
    zone = NodeTerm((Requirement("zone", "Exists"),))
    selected = pod("p", node_selector=(("model", "T4"),))
    assert passing(made, selected) == {"a", "b"}
    assert passing(made, pod("p", node_selector=(("model", "T4"),), required=(zone,))) == {"a"}
    assert passing(made, pod("p", required=(zone, NodeTerm((Requirement("model", "DoesNotExist"),))))) == {"a", "c"}
    assert passing(made, pod("p", required=())) == set()
    assert reasons(made, selected) == {"node(s) didn't match Pod's node affinity/selector": 1}
    added = replace(Profile(), added_required=(zone,))
    enforced = scheduler(nodes, profile=added)
    assert reasons(enforced, pod("p")) == {"node(s) didn't match scheduler-enforced node affinity": 2}


def test_a_pod_that_names_its_nodes_is_tried_there_only():
    made = scheduler([node("a"), node("b", cpu=100), node("c")])
    fields = NodeTerm((), (Requirement("metadata.name", "In", ("b", "c")),))
    wanted = pod("p", cpu=500, required=(fields,))
    assert passing(made, wanted) == {"c"}
    assert reasons(made, wanted) == {"node(s) didn't satisfy plugin(s) [NodeAffinity]": 1, "Insufficient cpu": 1}
    either = pod("p", required=(fields, NodeTerm((Requirement(HOST, "In", ("a",)),))))
    assert passing(made, either) == {"a", "b", "c"}


def test_every_resource_that_is_short_is_a_reason():
    held = pod("x", cpu=6000, memory_gib=20, gpus=8)
    made = scheduler([node("a", gpus=8), node("b"), node("c", gpus=8)], (held, "a"))
    wanted = pod("p", cpu=4000, memory_gib=16, gpus=1)
    assert passing(made, wanted) == {"c"}
    assert reasons(made, wanted) == {"Insufficient cpu": 1, "Insufficient memory": 1, f"Insufficient {GPU}": 2}
    assert hopeless(made, wanted) == {"b"}  # it has no GPU even when empty
    assert unavailable(3, reasons(made, wanted)) == (
        f"0/3 nodes are available: 1 Insufficient cpu, 1 Insufficient memory, 2 Insufficient {GPU}."
    )


def test_pods_of_a_node_are_limited_and_what_is_not_asked_for_is_not_short():
    full = [(pod(f"x{i}", cpu=4000), "a") for i in range(2)]
    made = scheduler([node("a", pods=2), node("b", pods=3), node("c", pods=3)], *full, (pod("over", cpu=9000), "c"))
    assert reasons(made, pod("p")) == {"Too many pods": 1}
    assert passing(made, pod("p")) == {"b", "c"}  # c is over-full in CPU, which this pod does not want


def test_extended_resources_can_be_ignored():
    ignoring = replace(Profile(), fit=FitArgs(ignored_resources=frozenset({GPU})))
    assert passing(scheduler([node("a")], profile=ignoring), pod("p", gpus=3)) == {"a"}
    group = replace(Profile(), fit=FitArgs(ignored_groups=frozenset({"nvidia.com"})))
    assert passing(scheduler([node("a")], profile=group), pod("p", gpus=3)) == {"a"}
    native = replace(Profile(), fit=FitArgs(ignored_resources=frozenset({"cpu"})))
    assert passing(scheduler([node("a", cpu=10)], profile=native), pod("p", cpu=20)) == set()


@pytest.mark.parametrize(
    ("taken", "wanted", "conflict"),
    [
        (HostPort(80), HostPort(80), True),
        (HostPort(80), HostPort(81), False),
        (HostPort(80), HostPort(80, "UDP"), False),
        (HostPort(80, "TCP", "10.0.0.1"), HostPort(80), True),
        (HostPort(80), HostPort(80, "TCP", "10.0.0.1"), True),
        (HostPort(80, "TCP", "10.0.0.1"), HostPort(80, "TCP", "10.0.0.2"), False),
    ],
)
def test_host_ports(taken, wanted, conflict):
    made = scheduler([node("a")], (pod("x", host_ports=(taken,)), "a"))
    assert passing(made, pod("p", host_ports=(wanted,))) == (set() if conflict else {"a"})
    if conflict:
        assert reasons(made, pod("p", host_ports=(wanted,))) == {
            "node(s) didn't have free ports for the requested pod ports": 1
        }
        made.ledger.remove("x")
        assert passing(made, pod("p", host_ports=(wanted,))) == {"a"}


def test_the_first_plugin_that_turns_a_node_down_gives_the_reason():
    made = scheduler([node("a", cpu=1, taints=(Taint("gpu", "", "NoSchedule"),), unschedulable=True)])
    assert reasons(made, pod("p", cpu=5, node_selector=(("x", "y"),))) == {"node(s) were unschedulable": 1}
    few = replace(Profile(), filters=("NodeResourcesFit",))
    made = scheduler([node("a", taints=(Taint("gpu", "", "NoSchedule"),))], profile=few)
    assert passing(made, pod("p")) == {"a"}


# -- PodTopologySpread ---------------------------------------------------------------------------------------------


def hard(key="zone", skew=1, **more):
    return SpreadConstraint(key, skew, hard=True, selector=more.pop("selector", matches(app="x")), **more)


ZONES = [
    node("a", labels={"zone": "1"}),
    node("b", labels={"zone": "1"}),
    node("c", labels={"zone": "2"}),
    node("d"),
]


def test_skew_is_kept():
    made = scheduler(ZONES, (pod("x1", labels={"app": "x"}), "a"))
    wanted = pod("p", labels={"app": "x"}, spread=(hard(),))
    assert passing(made, wanted) == {"c"}  # zone 1 would have 2, zone 2 has 0
    assert reasons(made, wanted) == {
        "node(s) didn't match pod topology spread constraints (missing required label)": 1,
        "node(s) didn't match pod topology spread constraints": 2,
    }
    assert hopeless(made, wanted) == {"d"}
    assert passing(made, pod("p", labels={"app": "x"}, spread=(hard(skew=2),))) == {"a", "b", "c"}
    assert passing(made, pod("p", labels={"app": "y"}, spread=(hard(),))) == {
        "a",
        "b",
        "c",
    }  # it does not count itself


def test_domains_without_a_node_that_the_pod_may_use_do_not_count():
    made = scheduler(ZONES, (pod("x1", labels={"app": "x"}), "a"))
    only = (("zone", "1"),)
    wanted = pod("p", labels={"app": "x"}, node_selector=only, spread=(hard(),))
    assert passing(made, wanted) == {"a", "b"}
    ignoring = pod("p", labels={"app": "x"}, node_selector=only, spread=(hard(node_affinity_policy="Ignore"),))
    assert passing(made, ignoring) == set()
    tainted = [*ZONES[:2], node("c", labels={"zone": "2"}, taints=(Taint("k", "", "NoSchedule"),))]
    made = scheduler(tainted, (pod("x1", labels={"app": "x"}), "a"))
    assert passing(made, pod("p", labels={"app": "x"}, spread=(hard(),))) == set()
    honor = pod("p", labels={"app": "x"}, spread=(hard(node_taints_policy="Honor"),))
    assert passing(made, honor) == {"a", "b"}


def test_too_few_domains_count_as_one_that_is_empty():
    made = scheduler(ZONES[:2], (pod("x1", labels={"app": "x"}), "a"))
    assert passing(made, pod("p", labels={"app": "x"}, spread=(hard(),))) == {"a", "b"}
    assert passing(made, pod("p", labels={"app": "x"}, spread=(hard(min_domains=2),))) == set()


def test_keys_whose_own_value_is_meant():
    old = pod("x1", labels={"app": "x", "version": "1"})
    made = scheduler(ZONES, (old, "a"))
    constraint = hard(match_label_keys=("version", "absent"))
    assert passing(made, pod("p", labels={"app": "x", "version": "2"}, spread=(constraint,))) == {"a", "b", "c"}
    assert passing(made, pod("p", labels={"app": "x", "version": "1"}, spread=(constraint,))) == {"c"}


@pytest.mark.parametrize("selector", [None, Selector()])
def test_a_selector_that_counts_nobody(selector):
    made = scheduler(ZONES, (pod("x1", labels={"app": "x"}), "a"), (pod("x2", labels={"app": "x"}), "a"))
    wanted = pod("p", labels={"app": "x"}, spread=(hard(selector=selector),))
    assert passing(made, wanted) == {"a", "b", "c"}


# -- InterPodAffinity ------------------------------------------------------------------------------------------------


def near(key="zone", namespaces=(), namespace_selector=None, **labels):
    return PodAffinityTerm(key, matches(**labels), namespaces, namespace_selector)


def test_required_affinity_looks_for_company_in_its_domain():
    made = scheduler(ZONES, (pod("db", labels={"app": "db"}), "a"))
    wanted = pod("p", near=(near(app="db"),))
    assert passing(made, wanted) == {"a", "b"}
    assert reasons(made, wanted) == {"node(s) didn't match pod affinity rules": 2}
    assert hopeless(made, wanted) == {"c", "d"}
    both = pod("p", near=(near(app="db"), near(HOST, app="db")))
    assert passing(made, both) == {"a"}
    # a pod must match every term to count for any
    other = pod("p", near=(near(app="db"), near(app="web")))
    assert passing(made, other) == set()


def test_the_first_of_its_kind_may_start_where_it_likes():
    wanted = pod("p", labels={"app": "x"}, near=(near(app="x"),))
    made = scheduler(ZONES)
    assert passing(made, wanted) == {"a", "b", "c"}  # but needs the label
    made.ledger.add(pod("x1", labels={"app": "x"}), 2)
    assert passing(made, wanted) == {"c"}
    assert passing(scheduler(ZONES), pod("p", labels={"app": "y"}, near=(near(app="x"),))) == set()


def test_anti_affinity_works_in_both_directions():
    lonely = pod("l", labels={"app": "x"}, away=(near(app="x"),))
    made = scheduler(ZONES, (pod("x1", labels={"app": "x"}), "a"))
    assert passing(made, lonely) == {"c", "d"}  # d has no zone, so there is nobody in it
    assert reasons(made, lonely) == {"node(s) didn't match pod anti-affinity rules": 2}
    assert hopeless(made, lonely) == set()
    made = scheduler(ZONES, (lonely, "c"))
    plain = pod("p", labels={"app": "x"})
    assert passing(made, plain) == {"a", "b", "d"}
    assert reasons(made, plain) == {"node(s) didn't satisfy existing pods anti-affinity rules": 1}
    assert passing(made, pod("p", labels={"app": "y"})) == {"a", "b", "c", "d"}


@pytest.mark.parametrize(
    ("term", "found"),
    [
        (near(app="db"), set()),
        (near(app="db", namespaces=("data",)), {"a", "b"}),
        (near(app="db", namespace_selector=Selector()), {"a", "b"}),
        (near(app="db", namespace_selector=matches(**{"kubernetes.io/metadata.name": "data"})), {"a", "b"}),
        (near(app="db", namespace_selector=matches(team="x")), set()),
        (PodAffinityTerm("zone", None, ("data",)), set()),
    ],
)
def test_namespaces_of_affinity(term, found):
    made = scheduler(ZONES, (pod("db", labels={"app": "db"}, namespace="data"), "a"))
    assert passing(made, pod("p", near=(term,))) == found


# -- preferences between pods -----------------------------------------------------------------------------------------


def affinity_scores(made, wanted):
    import numpy as np

    found = made.score(wanted, np.arange(len(made.ledger)))
    return {part.name: part.scores.tolist() for part in found.parts}.get("InterPodAffinity")


def test_preferred_terms_are_summed_and_stretched():
    from policies.kube.terms import WeightedPodAffinity

    db, web = pod("db", labels={"app": "db"}), pod("web", labels={"app": "web"})
    made = scheduler(ZONES, (db, "a"), (web, "c"))
    likes = WeightedPodAffinity(10, near(app="db"))
    avoids = WeightedPodAffinity(-5, near(app="web"))
    # zone 1: +10, zone 2: -5, no zone: 0; stretched over -5..10
    assert affinity_scores(made, pod("p", preferred_pods=(likes, avoids))) == [100, 100, 0, 33]
    assert affinity_scores(made, pod("p")) is None


def test_what_existing_pods_prefer_counts_too():
    from policies.kube.terms import WeightedPodAffinity

    fan = pod("fan", preferred_pods=(WeightedPodAffinity(10, near(app="p")),))
    bound = pod("bound", near=(near(app="p"),))
    made = scheduler(ZONES, (fan, "a"), (bound, "c"))
    wanted = pod("p", labels={"app": "p"})
    # zone 1: 10 of the fan; zone 2: 1 for the required term of the other
    assert affinity_scores(made, wanted) == [100, 100, 10, 0]
    heavy = replace(Profile(), hard_pod_affinity_weight=20)
    made = scheduler(ZONES, (fan, "a"), (bound, "c"), profile=heavy)
    assert affinity_scores(made, wanted) == [50, 50, 100, 0]
    deaf = replace(Profile(), ignore_preferred_terms_of_existing=True)
    assert affinity_scores(scheduler(ZONES, (fan, "a"), profile=deaf), wanted) is None
