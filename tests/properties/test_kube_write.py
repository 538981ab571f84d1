"""What is written of a pod or a node reads as the same again."""

import dataclasses

from hypothesis import given, settings
from hypothesis import strategies as st

from policies.kube.devices import DeviceKind, DeviceKinds
from policies.kube.nodes import read_node
from policies.kube.pods import Pod, read_pod
from policies.kube.terms import (
    HostPort,
    NodeTerm,
    PodAffinityTerm,
    PodTerms,
    PreferredNode,
    Requirement,
    Selector,
    SpreadConstraint,
    Taint,
    Toleration,
    WeightedPodAffinity,
)
from policies.kube.write import write_node, write_pod
from policies.topology import Node

GPU = "nvidia.com/gpu"
KINDS = DeviceKinds([DeviceKind("a100", (GPU,), 81920)], lambda _: None)

words = st.sampled_from(("zone", "model", "a", "b", "team/x"))
requirements = st.one_of(
    st.builds(Requirement, words, st.sampled_from(("In", "NotIn")), st.lists(words, min_size=1).map(tuple)),
    st.builds(Requirement, words, st.sampled_from(("Exists", "DoesNotExist"))),
    st.builds(Requirement, words, st.sampled_from(("Gt", "Lt")), st.just(("7",))),
)
of_labels = requirements.filter(lambda each: each.operator not in ("Gt", "Lt"))
selectors = st.builds(Selector, st.lists(of_labels, max_size=2).map(tuple))
node_terms = st.builds(
    NodeTerm,
    st.lists(requirements, min_size=1, max_size=2).map(tuple),
    st.sampled_from(((), (Requirement("metadata.name", "In", ("n0",)),))),
)
pod_terms = st.builds(
    PodAffinityTerm, words, st.none() | selectors, st.lists(words, max_size=2).map(tuple), st.none() | selectors
)
weights = st.integers(1, 100)
effects = st.sampled_from(("NoSchedule", "NoExecute", "PreferNoSchedule"))


def tuples(of, most=2):
    return st.lists(of, max_size=most).map(tuple)


labels = st.dictionaries(words, words, max_size=3).map(lambda found: tuple(sorted(found.items())))
terms = st.builds(
    PodTerms,
    namespace=st.sampled_from(("default", "prod")),
    labels=labels,
    requests=st.fixed_dictionaries(
        {"cpu": st.integers(1, 10**6), "memory": st.integers(1, 2**45), GPU: st.integers(1, 8)}
    ).map(lambda found: tuple(sorted(found.items()))),
    node_selector=labels,
    required=st.none() | st.lists(node_terms, min_size=1, max_size=2).map(tuple),
    preferred=tuples(st.builds(PreferredNode, weights, node_terms)),
    tolerations=tuples(
        st.builds(Toleration, words, st.just("Equal"), words, effects)
        | st.builds(Toleration, st.sampled_from(("", "a")), st.just("Exists"), st.just(""), effects | st.just(""))
    ),
    spread=tuples(
        st.builds(
            SpreadConstraint,
            words,
            st.integers(1, 5),
            st.booleans(),
            st.none() | selectors,
            st.none() | st.integers(1, 4),
            st.sampled_from(("Honor", "Ignore")),
            st.sampled_from(("Honor", "Ignore")),
            st.sampled_from(((), ("pod-template-hash",))),
        )
    ),
    near=tuples(pod_terms),
    away=tuples(pod_terms),
    host_ports=tuples(
        st.builds(HostPort, st.integers(1, 65535), st.sampled_from(("TCP", "UDP")), st.just("0.0.0.0"))
    ),
    may_preempt=st.booleans(),
)


@settings(max_examples=60)
@given(terms, st.lists(st.builds(WeightedPodAffinity, weights, pod_terms), max_size=2), st.integers(-5, 1000))
def test_a_pod_reads_as_it_was_written(found, preferred, priority):
    wanted = dict(found.requests)
    found = dataclasses.replace(
        found,
        preferred_pods=(*preferred, *(each._replace(weight=-each.weight) for each in preferred)),
        nonzero_cpu_milli=wanted["cpu"],
        nonzero_memory_bytes=wanted["memory"],
        images=("main",),
    )
    pod = Pod(
        name="j",
        namespace=found.namespace,
        uid="7",
        terms=found,
        devices=wanted[GPU],
        resource=GPU,
        priority=priority,
        created_ms=1_700_000_000_000,
        node="n1",
        phase="Running",
        queue=found.namespace,
    )
    assert read_pod(write_pod(pod), KINDS) == pod


@given(
    labels,
    tuples(st.builds(Taint, words, st.just("") | words, effects)),
    st.booleans(),
    st.integers(0, 8),
    st.integers(0, 2**45),
)
def test_a_node_reads_as_it_was_written(labels, taints, unschedulable, devices, memory):
    node = Node(
        "n1",
        pool="a100" if devices else "cpu",
        accelerator="a100" if devices else None,
        devices=devices,
        device_memory_mib=81920 if devices else None,
        cpu_milli=64_500,
        memory_mib=memory >> 20,
        max_pods=110,
        domains=(),
        resource=GPU if devices else "",
        labels=dict(labels),
        taints=taints,
        unschedulable=unschedulable,
        allocatable=tuple(sorted({"cpu": 64_500, "memory": memory, "pods": 110, GPU: devices}.items())),
    )
    assert read_node(write_node(node), KINDS, {}) == node
