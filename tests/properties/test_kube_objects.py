"""No JSON makes a reader of Kubernetes objects fail in another way than it says; and traces count as schedulers do."""

from __future__ import annotations

import contextlib
import copy
import json

from hypothesis import given, settings
from hypothesis import strategies as st

from policies.kube.hypernodes import levels_of
from policies.kube.nodes import notes_of, read_server
from policies.kube.objects import ObjectError
from policies.kube.pods import read_pod, read_terms
from policies.kube.quantity import INT64_MAX, milli_of
from policies.kube.registry import devices_held
from policies.kube.sharing import SHARING
from sim.fleet.kinds import device_kinds
from sim.fleet.kube_objects import Placed
from sim.fleet.kubernetes import import_cluster
from sim.fleet.model import FleetError
from sim.scheduling import read_scheduling
from traces.formats import k8s_amounts
from traces.formats.k8s_pod import read_pod as facts_of
from traces.formats.k8s_pod import scheduling_text, selector_keys

KINDS = device_kinds()

POD = {
    "kind": "Pod",
    "metadata": {
        "name": "p",
        "namespace": "ns",
        "uid": "u",
        "labels": {"app": "x", "kueue.x-k8s.io/queue-name": "q"},
        "annotations": {"gpu-fraction": "0.5", "rehearse/estimate-seconds": "60"},
        "creationTimestamp": "2026-03-02T10:00:00Z",
        "deletionTimestamp": None,
        "ownerReferences": [{"kind": "Job", "name": "j", "uid": "o"}],
    },
    "spec": {
        "containers": [
            {
                "name": "c",
                "image": "i",
                "resources": {
                    "requests": {"cpu": "1", "memory": "1Gi"},
                    "limits": {"nvidia.com/gpu": "1", "nvidia.com/gpumem": 5},
                },
                "ports": [{"hostPort": 80, "protocol": "TCP"}],
            }
        ],
        "initContainers": [{"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "1m"}}}],
        "overhead": {"cpu": "1m"},
        "resources": {"limits": {"cpu": "9"}},
        "nodeSelector": {"nvidia.com/gpu.product": "T4"},
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "k", "operator": "In", "values": ["v"]}]}]
                },
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "weight": 1,
                        "preference": {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["n"]}]},
                    }
                ],
            },
            "podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [
                    {"topologyKey": "h", "labelSelector": {"matchLabels": {"app": "x"}}, "matchLabelKeys": ["app"]}
                ],
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    {
                        "weight": 1,
                        "podAffinityTerm": {"topologyKey": "h", "namespaceSelector": {}, "labelSelector": {}},
                    }
                ],
            },
        },
        "tolerations": [{"key": "t", "operator": "Exists", "effect": "NoSchedule", "tolerationSeconds": 3}],
        "topologySpreadConstraints": [
            {
                "topologyKey": "z",
                "maxSkew": 1,
                "whenUnsatisfiable": "DoNotSchedule",
                "labelSelector": {"matchLabels": {"a": "b"}},
            }
        ],
        "priority": 5,
        "schedulingGates": [{"name": "g"}],
        "activeDeadlineSeconds": 60,
    },
    "status": {
        "phase": "Succeeded",
        "startTime": "2026-03-02T10:01:00Z",
        "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-03-02T10:01:00Z"}],
        "containerStatuses": [
            {
                "name": "c",
                "state": {"terminated": {"finishedAt": "2026-03-02T10:02:00Z"}},
                "resources": {"requests": {"cpu": "1"}},
                "allocatedResources": {"cpu": "1"},
            }
        ],
    },
}

NODE = {
    "kind": "Node",
    "metadata": {
        "name": "n",
        "labels": {
            "topology.kubernetes.io/zone": "z",
            "nvidia.com/gpu.product": "Tesla-T4",
            "nvidia.com/gpu.memory": "15360",
        },
        "annotations": {
            "hami.io/node-nvidia-register": '[{"id": "g", "count": 10, "devmem": 15360, "type": "T4", "health": true}]'
        },
    },
    "spec": {"taints": [{"key": "t", "value": "v", "effect": "NoSchedule"}], "unschedulable": True},
    "status": {"allocatable": {"cpu": "8", "memory": "64Gi", "pods": "110", "nvidia.com/gpu": "10"}},
}

CLUSTER = [
    NODE,
    {
        "kind": "Topology",
        "metadata": {"name": "t"},
        "spec": {"levels": [{"nodeLabel": "topology.kubernetes.io/zone"}]},
    },
    {
        "kind": "ResourceFlavor",
        "metadata": {"name": "f"},
        "spec": {"nodeLabels": {"topology.kubernetes.io/zone": "z"}},
    },
    {"kind": "Cohort", "metadata": {"name": "c"}, "spec": {"parentName": "d"}},
    {
        "kind": "ClusterQueue",
        "metadata": {"name": "q"},
        "spec": {
            "cohortName": "c",
            "fairSharing": {"weight": "0.5"},
            "resourceGroups": [
                {
                    "flavors": [
                        {
                            "name": "f",
                            "resources": [{"name": "nvidia.com/gpu", "nominalQuota": 8, "borrowingLimit": "2"}],
                        }
                    ]
                }
            ],
        },
    },
]

HYPERNODES = [
    {
        "metadata": {"name": "h"},
        "spec": {"tier": 1, "members": [{"type": "Node", "selector": {"exactMatch": {"name": "n"}}}]},
    },
    {
        "metadata": {"name": "i"},
        "spec": {"tier": 2, "members": [{"type": "HyperNode", "selector": {"regexMatch": {"pattern": "h"}}}]},
    },
]

words = st.sampled_from(
    ["", "1", "-1", "1e3", "0.5Gi", "x", "In", "Always", "nvidia.com/gpu", "2026-03-02T10:00:00Z", "[", "a,b:c"]
)
scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | words | st.text(max_size=3)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3), max_leaves=6
)


def places(value, path=()):
    """Every place in a JSON value."""
    yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places(value[key], (*path, key))


@st.composite
def mutated(draw, original):
    """The value with something else in one to three places."""
    value = copy.deepcopy(original)
    for path in draw(st.lists(st.sampled_from(list(places(original))[1:]), min_size=1, max_size=3)):
        inner = value
        with contextlib.suppress(
            KeyError, IndexError, TypeError
        ):  # because: an earlier change may have taken the place away
            for key in path[:-1]:
                inner = inner[key]
            if isinstance(inner, dict | list):
                inner[path[-1]] = draw(anything)
    return value


@given(mutated(POD))
@settings(max_examples=250, deadline=None)
def test_any_pod_is_read_or_refused(item):
    with contextlib.suppress(ObjectError):
        read_pod(item, KINDS)
    spec = item["spec"] if isinstance(item.get("spec"), dict) else {}
    with contextlib.suppress(ObjectError):
        read_terms(spec, labels={})


@given(mutated(NODE))
@settings(max_examples=120, deadline=None)
def test_any_node_is_read_or_refused(item):
    with contextlib.suppress(ObjectError):
        found = read_server(item, KINDS)
        notes_of(item)
        devices_held(found.node.labels, found.cards)


@given(mutated(HYPERNODES))
@settings(max_examples=120, deadline=None)
def test_any_hypernodes_are_read_or_refused(items):
    listed = [item for item in items if isinstance(item, dict)]
    with contextlib.suppress(ObjectError):
        levels_of(listed, {"n": {}})


@given(mutated(CLUSTER))
@settings(max_examples=120, deadline=None)
def test_any_cluster_is_imported_or_refused(items):
    placed = [
        Placed(f"items[{place}]", CLUSTER[place]["kind"], item)
        for place, item in enumerate(items[: len(CLUSTER)])
        if isinstance(item, dict)
    ]
    with contextlib.suppress(FleetError):
        import_cluster(placed, source="s")


@given(anything)
@settings(max_examples=200, deadline=None)
def test_any_json_object_is_read_or_refused(value):
    for read in (lambda item: read_pod(item, KINDS), lambda item: read_server(item, KINDS)):
        with contextlib.suppress(ObjectError):
            read({"metadata": value, "spec": value, "status": value})


# -- traces and schedulers agree ------------------------------------------------------------------------------------


@given(mutated(POD))
@settings(max_examples=250, deadline=None)
def test_any_pod_of_a_trace_is_told_with_its_problems(item):
    facts = facts_of(item, 1)
    written = scheduling_text(facts, frozenset(selector_keys(facts.spec)))
    assert isinstance(json.loads(written), dict)


def test_the_resources_that_count_devices_are_those_of_the_catalogue():
    assert set(KINDS.resources) <= k8s_amounts.DEVICES
    assert k8s_amounts.DEVICES - set(KINDS.resources) == {"iluvatar.ai/MR-V50-vgpu", "huawei.com/Ascend910B4-1"}


def test_the_rules_of_sharing_are_those_of_schedulers():
    said_of_traces = k8s_amounts.Sharing._fields
    rules = {name: tuple(getattr(rule, part) for part in said_of_traces) for name, rule in SHARING.items()}
    assert {name: tuple(rule) for name, rule in k8s_amounts.SHARING.items()} == rules
    in_bytes = {name for name, rule in SHARING.items() if rule.or_bytes}
    assert in_bytes == {name for name, rule in k8s_amounts.SHARING.items() if rule.memory_mib == 1024}


RESOURCES = sorted(
    {
        *("cpu", "memory", "koordinator.sh/gpu", "koordinator.sh/gpu-core", "koordinator.sh/gpu-memory-ratio"),
        *("koordinator.sh/gpu.shared", "koordinator.sh/gpu-memory"),
        *("nvidia.com/gpu", "nvidia.com/gpumem", "nvidia.com/gpumem-percentage", "nvidia.com/gpucores"),
        *("huawei.com/Ascend910B3", "huawei.com/Ascend910B3-memory", "huawei.com/Ascend910B3-core"),
        *("metax-tech.com/sgpu", "metax-tech.com/vmemory", "metax-tech.com/vcore"),
        *("mthreads.com/vgpu", "mthreads.com/sgpu-memory", "kunlunxin.com/vxpu", "kunlunxin.com/vxpu-memory"),
        *("cambricon.com/vmlu", "cambricon.com/mlu.smlu.vmemory", "enflame.com/vgcu", "enflame.com/vgcu-percentage"),
    }
)  # fmt: skip
whole_amounts = st.sampled_from(["0", "1", "2", "8", "100", "101", "1k", "20000", "16Gi", 3])
fine_amounts = st.sampled_from(["100m", "1.5", "0.1Gi", "1e3", "2000000000n", ".5", "3Mi"])


@st.composite
def lists(draw):
    names = draw(st.lists(st.sampled_from(RESOURCES), max_size=4, unique=True))
    return {name: draw(whole_amounts if "/" in name else whole_amounts | fine_amounts) for name in names}


@st.composite
def specs(draw):
    def container():
        found = {"resources": {"requests": draw(lists()), "limits": draw(lists())}}
        return found | draw(st.sampled_from([{}, {"restartPolicy": "Always"}]))

    spec = {"containers": [container() for _ in range(draw(st.integers(1, 2)))]}
    spec["initContainers"] = [container() for _ in range(draw(st.integers(0, 2)))]
    if draw(st.booleans()):
        spec["resources"] = {"limits": {"cpu": "7"}, "requests": draw(st.sampled_from([{}, {"memory": "9Gi"}]))}
    return spec | {"overhead": draw(st.sampled_from([{}, {"cpu": "1m"}]))}


annotations = st.sampled_from([{}, {"gpu-fraction": "0.25"}, {"gpu-memory": "5000", "gpu-fraction-num-devices": "2"}])


@given(specs(), annotations)
@settings(max_examples=250, deadline=None)
def test_a_trace_counts_what_a_scheduler_counts(spec, said):
    problems = []
    asked = k8s_amounts.asked(spec, said, lambda *problem: problems.append(problem))
    item = {"metadata": {"name": "p", "annotations": said}, "spec": spec}
    try:
        pod = read_pod(item, KINDS)
    except ObjectError as refused:
        reasons = [fault.reason for fault in refused.faults if "at most 100" not in fault.reason]
        pod = None
    if pod is None:
        assert bool(problems) == bool(reasons)
        return
    requests = dict(pod.terms.requests)
    assert (asked.cpu_milli, asked.memory_mib) == (requests.get("cpu", 0), -(-requests.get("memory", 0) >> 20))
    assert (asked.resource, asked.devices) == (pod.resource, pod.devices)
    for card_mib in (None, 16_384, 65_536):
        assert asked.share.milli_of(card_mib) == pod.share.milli_of(card_mib)
    facts = facts_of(item, 1)
    terms = read_scheduling(scheduling_text(facts, frozenset()))
    assert (terms.requests, terms.nonzero_cpu_milli) == (pod.terms.requests, pod.terms.nonzero_cpu_milli)
    assert terms.nonzero_memory_bytes == pod.terms.nonzero_memory_bytes


@given(
    st.from_regex(
        r"\+?([0-9]{1,15}|[0-9]{1,9}\.[0-9]{0,9}|\.[0-9]{1,9})([numkMGTP]|[KMGT]i|e-?[0-9])?", fullmatch=True
    )
)
def test_a_trace_reads_a_quantity_as_a_scheduler_does(text):
    assert min(k8s_amounts.milli(text), 1000 * INT64_MAX) == milli_of(text)
