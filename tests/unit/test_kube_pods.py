"""Pods: what they take of a node, by hand; which devices and how much of each; what is refused, with its path."""

from __future__ import annotations

import pytest

from policies.kube.objects import ObjectError
from policies.kube.pods import read_pod, read_terms
from policies.kube.sharing import SHARING, WHOLE, SharedDevice
from policies.kube.terms import HostPort, PodTerms, Requirement, Selector, Taint
from sim.fleet.kinds import device_kinds

GIB = 1 << 30


def wants(requests=None, limits=None, **more):
    return {"resources": {"requests": requests or {}, "limits": limits or {}}, **more}


def pod(*containers, annotations=None, labels=None, status=None, **spec):
    metadata = {"name": "p", "namespace": "ns", "annotations": annotations, "labels": labels}
    return {"metadata": metadata, "spec": {"containers": list(containers) or [{}], **spec}, "status": status}


def read(*containers, **more):
    return read_pod(pod(*containers, **more), device_kinds())


def faults(item):
    with pytest.raises(ObjectError) as caught:
        read_pod(item, device_kinds())
    return [str(fault) for fault in caught.value.faults]


def requests(*containers, **more):
    return dict(read(*containers, **more).terms.requests)


# -- amounts ----------------------------------------------------------------------------------------------------------


def test_containers_are_summed_in_thousandths_and_rounded_up_once():
    # 100.5m -> 101m at the API server, twice; memory 0.4 + 0.4 bytes -> 400m + 400m -> 1 byte
    found = requests(wants({"cpu": "100.5m", "memory": "400m"}), wants({"cpu": "0.1005", "memory": "0.4"}))
    assert found == {"cpu": 202, "memory": 1}


def test_limits_stand_for_requests_that_are_not_said():
    assert requests(wants({"cpu": "1"}, {"cpu": "2", "memory": "1Gi"})) == {"cpu": 1000, "memory": GIB}


def test_init_containers_run_alone_and_sidecars_stay():
    found = requests(
        wants({"cpu": "1"}),
        initContainers=[
            wants({"cpu": "3"}),  # alone: 3
            wants({"cpu": "2", "memory": "1Gi"}, restartPolicy="Always"),  # from here on beside all others
            wants({"cpu": "2"}),  # with the sidecar: 4
        ],
        overhead={"cpu": "250m"},
    )
    # max(1 + 2 running, 3, 2, 4) + 0.25
    assert found == {"cpu": 4250, "memory": GIB}


def test_what_the_pod_states_as_a_whole_counts_for_cpu_and_memory():
    both = {"requests": {"cpu": "8"}, "limits": {"cpu": "9", "memory": "2Gi"}}
    found = requests(wants({"cpu": "1", "memory": "1Gi", "nvidia.com/gpu": "1"}), resources=both)
    assert found == {"cpu": 8000, "memory": GIB, "nvidia.com/gpu": 1}, "a limit alone: what the containers ask for"
    assert requests({}, resources={"limits": {"memory": "2Gi"}}) == {"memory": 2 * GIB}


def test_scores_count_something_for_containers_that_ask_for_nothing():
    terms = read({}, wants({"cpu": "1"})).terms
    assert (terms.nonzero_cpu_milli, terms.nonzero_memory_bytes) == (1100, 2 * 200 * 2**20)
    assert terms.requests == (("cpu", 1000),)


@pytest.mark.parametrize(
    ("conditions", "cpu"),
    [([], 4000), ([{"type": "PodResizePending", "reason": "Infeasible"}], 3000)],
)
def test_a_container_that_is_being_resized(conditions, cpu):
    status = {
        "containerStatuses": [
            {"name": "c", "resources": {"requests": {"cpu": "2"}}, "allocatedResources": {"cpu": "3"}}
        ],
        "conditions": conditions,
    }
    assert requests(wants({"cpu": "4"}, name="c"), status=status)["cpu"] == cpu
    assert requests(wants({"cpu": "1"}, name="c"), status=status)["cpu"] == 3000


# -- devices ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "card_mib", "milli"),
    [
        ({"nvidia.com/gpu": 1}, 81_920, 1000),
        ({"nvidia.com/gpu": 1, "nvidia.com/gpumem": 8192}, 81_920, 100),
        ({"nvidia.com/gpu": 1, "nvidia.com/gpumem": 8193}, 81_920, 101),
        ({"nvidia.com/gpu": 1, "nvidia.com/gpumem": 8192}, None, 1000),
        ({"nvidia.com/gpu": 1, "nvidia.com/gpumem": 8192, "nvidia.com/gpucores": 30}, 81_920, 300),
        ({"nvidia.com/gpu": 1, "nvidia.com/gpumem-percentage": 25}, None, 250),
        ({"nvidia.com/gpu": 1, "nvidia.com/gpumem": 8192, "nvidia.com/gpumem-percentage": 90}, 81_920, 100),
        ({"nvidia.com/gpu": 1, "nvidia.com/gpucores": 30}, 81_920, 1000),
        ({"nvidia.com/gpumem": 8192}, 81_920, 100),
        ({"volcano.sh/vgpu-number": 2, "volcano.sh/vgpu-memory": 3000, "volcano.sh/vgpu-cores": 50}, 30_000, 500),
        ({"huawei.com/Ascend910B3": 1, "huawei.com/Ascend910B3-memory": 10_000}, 65_536, 250),
        ({"huawei.com/Ascend910B3": 1, "huawei.com/Ascend910B3-memory": 16_385}, 65_536, 500),
        ({"huawei.com/Ascend910B3": 1, "huawei.com/Ascend910B3-memory": 32_769}, 65_536, 1000),
        ({"huawei.com/Ascend910B3": 2, "huawei.com/Ascend910B3-memory": 10_000}, 65_536, 1000),
        (
            {"huawei.com/Ascend910B3": 1, "huawei.com/Ascend910B3-memory": 6554, "huawei.com/Ascend910B3-core": 40},
            65_536,
            400,
        ),
        ({"hygon.com/dcunum": 1, "hygon.com/dcumem": 32_768, "hygon.com/dcucores": 60}, 65_536, 600),
        ({"cambricon.com/vmlu": 1, "cambricon.com/mlu.smlu.vmemory": 40}, 40_960, 1000),
        (
            {"cambricon.com/vmlu": 1, "cambricon.com/mlu.smlu.vmemory": 40, "cambricon.com/mlu.smlu.vcore": 10},
            40_960,
            250,
        ),
        ({"metax-tech.com/sgpu": 1, "metax-tech.com/vmemory": 16, "metax-tech.com/vcore": 5}, 65_536, 250),
        ({"metax-tech.com/sgpu": 1, "metax-tech.com/vmemory": "16Gi", "metax-tech.com/vcore": 5}, 65_536, 250),
        ({"mthreads.com/vgpu": 1, "mthreads.com/sgpu-memory": 32, "mthreads.com/sgpu-core": 8}, 49_152, 500),
        (
            {"iluvatar.ai/BI-V150-vgpu": 1, "iluvatar.ai/BI-V150.vMem": 64, "iluvatar.ai/BI-V150.vCore": 50},
            65_536,
            500,
        ),
        ({"kunlunxin.com/vxpu": 6, "kunlunxin.com/vxpu-memory": 20_000}, 98_304, 250),
        ({"amd.com/gpu": 1, "amd.com/gpumem": 49_152, "amd.com/gpucores": 25}, 196_608, 250),
        ({"enflame.com/vgcu": 1, "enflame.com/vgcu-percentage": 25}, None, 250),
    ],
)
def test_parts_of_a_device(limits, card_mib, milli):
    found = read(wants(limits=limits))
    assert found.share.milli_of(card_mib) == milli
    assert found.devices == next((int(n) for name, n in limits.items() if name in SHARING), 1)


def test_the_table_of_shared_resources_names_resources_that_count_devices():
    unknown = [name for name in SHARING if not device_kinds().counts_devices(name)]
    assert unknown == ["iluvatar.ai/MR-V50-vgpu", "huawei.com/Ascend910B4-1"], "no card of the catalogue has them"


def test_containers_that_share_cards_of_their_own():
    one = {"nvidia.com/gpu": 1, "nvidia.com/gpumem": 1000}
    two = {"nvidia.com/gpu": 2, "nvidia.com/gpumem": 500, "nvidia.com/gpucores": 20}
    found = read(wants(limits=one), wants(limits=two), wants({"cpu": 1}))
    assert (found.devices, found.share) == (3, SharedDevice(memory_mib=1000, cores_percent=20))
    assert read(wants(limits=one), wants(limits={"nvidia.com/gpu": 1})).share == WHOLE


@pytest.mark.parametrize(
    ("annotations", "devices", "milli"),
    [
        ({"gpu-fraction": "0.125"}, 1, 125),
        ({"gpu-fraction": ".3333"}, 1, 334),
        ({"gpu-fraction": "0.5", "gpu-fraction-num-devices": "2"}, 2, 500),
        ({"gpu-memory": "20480"}, 1, 250),
        ({"gpu-fraction": "many"}, 0, 1000),
        ({"gpu-fraction": "0.0"}, 0, 1000),
    ],
)
def test_the_annotations_of_kai(annotations, devices, milli):
    found = read(annotations=annotations)
    assert (found.devices, found.share.milli_of(81_920)) == (devices, milli)
    assert found.resource == ("nvidia.com/gpu" if devices else "")


@pytest.mark.parametrize(
    ("limits", "devices", "milli"),
    [
        ({"gpu-core": 50, "gpu-memory-ratio": 25}, 1, 500),
        ({"gpu.shared": 2, "gpu-core": 100, "gpu-memory-ratio": 100}, 2, 500),
        ({"gpu": 200}, 2, 1000),
        ({"gpu-core": 200, "gpu-memory-ratio": 200}, 2, 1000),
        ({"gpu.shared": 1, "gpu-memory": "8Gi", "gpu-core": 5}, 1, 100),
    ],
)
def test_the_resources_of_koordinator(limits, devices, milli):
    found = read(wants(limits={f"koordinator.sh/{name}": amount for name, amount in limits.items()}))
    assert (found.resource, found.devices, found.share.milli_of(81_920)) == ("nvidia.com/gpu", devices, milli)


def test_what_is_not_modelled_is_said_and_not_counted():
    found = read(wants(limits={"nvidia.com/mig-1g.10gb": 2}), resourceClaims=[{"name": "gpu"}])
    assert (found.devices, found.resource) == (0, "")
    assert found.notes == (
        "nvidia.com/mig-1g.10gb is not modelled: its devices are not counted",
        "resourceClaims are not modelled: devices that they claim are not counted",
    )
    assert dict(found.terms.requests) == {"nvidia.com/mig-1g.10gb": 2}, "a scheduler still counts it"


# -- terms ------------------------------------------------------------------------------------------------------------


def test_selectors_affinities_and_tolerations():
    terms = read_terms(
        {
            "nodeSelector": {"b": "2", "a": "1"},
            "affinity": {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [{"matchExpressions": [{"key": "n", "operator": "Gt", "values": ["5"]}]}]
                    }
                },
                "podAntiAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": [
                        {
                            "topologyKey": "host",
                            "labelSelector": {"matchLabels": {"app": "x"}},
                            "matchLabelKeys": ["rev", "absent"],
                        }
                    ],
                    "preferredDuringSchedulingIgnoredDuringExecution": [
                        {"weight": 7, "podAffinityTerm": {"topologyKey": "zone", "labelSelector": {}}}
                    ],
                },
            },
            "tolerations": [{"key": "gpu", "operator": "Exists"}, None],
            "topologySpreadConstraints": [
                {"topologyKey": "zone", "maxSkew": 2, "whenUnsatisfiable": "ScheduleAnyway"}
            ],
        },
        labels={"rev": "3"},
    )
    assert terms.allows({"a": "1", "b": "2", "n": "6"}, "x", (Taint("gpu", "yes", "NoSchedule"),))
    assert not terms.allows({"a": "1", "b": "2", "n": "5"}, "x", ())
    assert not terms.allows({"a": "1", "b": "2", "n": "6"}, "x", (Taint("cpu", "", "NoExecute"),))
    (away,) = terms.away
    assert away.selector == Selector((Requirement("app", "In", ("x",)), Requirement("rev", "In", ("3",))))
    assert terms.preferred_pods[0].weight == -7
    assert (terms.spread[0].hard, terms.spread[0].max_skew, terms.spread[0].selector) == (False, 2, None)


def test_host_ports_of_containers_and_sidecars_and_the_network_of_the_host():
    ports = [{"hostPort": 80}, {"containerPort": 90, "protocol": "UDP", "hostIP": "10.0.0.1"}]
    sidecar = {"ports": [{"hostPort": 81}], "restartPolicy": "Always"}
    starter = {"ports": [{"hostPort": 82}]}
    found = read({"ports": ports}, initContainers=[sidecar, starter]).terms.host_ports
    assert found == (HostPort(80), HostPort(81))
    assert HostPort(90, "UDP", "10.0.0.1") in read({"ports": ports}, hostNetwork=True).terms.host_ports


def test_null_is_absent_everywhere():
    bare = pod()
    nulls = pod({"resources": None, "ports": None}, None)
    nulls["spec"] |= dict.fromkeys(
        ("nodeSelector", "affinity", "tolerations", "overhead", "initContainers", "priority")
    )
    nulls["metadata"] |= dict.fromkeys(("uid", "labels", "annotations", "creationTimestamp", "deletionTimestamp"))
    assert read_pod(nulls, device_kinds()) == read_pod(bare, device_kinds())
    assert requests(wants({"cpu": None})) == {}, "null is the quantity of nothing"


@pytest.mark.parametrize(
    ("spec", "gang"),
    [
        ({"schedulingGroup": {"podGroupName": "g"}}, "g"),
        ({"workloadRef": {"name": "w", "podGroup": "g", "podGroupReplicaKey": "1"}}, "w/g/1"),
        ({}, None),
    ],
)
def test_gangs_in_the_words_of_kubernetes(spec, gang):
    found = read(**spec).gang
    assert (found and found.name) == gang


# -- refusals ---------------------------------------------------------------------------------------------------------


def test_amounts_that_the_api_server_refuses():
    bad = {"cpu": "-1", "memory": "1K", "nvidia.com/gpu": "0.5", "ephemeral-storage": True, "hugepages-2Mi": "1Ei"}
    assert faults(pod(wants(bad), overhead={"cpu": [1]})) == [
        "spec.containers[0].resources.requests.cpu: must not be negative, got '-1'",
        "spec.containers[0].resources.requests.memory: must be a quantity such as 96, 95500m or 1.5Gi, got '1K'",
        "spec.containers[0].resources.requests.nvidia.com/gpu: must be a whole number, got '0.5'",
        "spec.containers[0].resources.requests.ephemeral-storage: must be a quantity such as 96, 95500m or 1.5Gi, got True",
        "spec.containers[0].resources.requests.hugepages-2Mi: is too large: 1152921504606846976",
        "spec.overhead.cpu: must be a quantity such as 96, 95500m or 1.5Gi, got [1]",
    ]


REQUIRED = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
OPERATORS = "DoesNotExist, Exists, Gt, In, Lt, NotIn"


def test_forms_that_kubernetes_does_not_give():
    item = pod(
        {"resources": []},
        "c",
        nodeSelector={"a": 1},
        priority=2**31,
        tolerations={},
        topologySpreadConstraints=[{"whenUnsatisfiable": "Maybe"}],
        affinity={
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [{"key": "a", "operator": "Is"}]}]
                }
            }
        },
    )
    item["metadata"]["name"] = 7
    assert faults(item) == [
        "metadata.name: must be text, got 7",
        "spec.containers[0].resources: must be an object, got []",
        "spec.containers[1]: must be an object, got 'c'",
        "spec.nodeSelector.a: must be text, got 1",
        f"{REQUIRED}.nodeSelectorTerms[0].matchExpressions[0].operator: must be one of {OPERATORS}, got 'Is'",
        "spec.tolerations: must be a list, got {}",
        "spec.topologySpreadConstraints[0].whenUnsatisfiable: must be one of DoNotSchedule, ScheduleAnyway, got 'Maybe'",
        "spec.priority: must be a whole number from -2147483648 to 2147483647, got 2147483648",
    ]


def test_a_pod_without_name_and_spec_and_one_of_two_minds():
    assert faults({}) == ["metadata.name: is required", "spec: is required"]
    both = wants(limits={"nvidia.com/gpu": 1, "amd.com/gpu": 1})
    assert faults(pod(both)) == ["spec.containers: ask for several kinds of devices: nvidia.com/gpu, amd.com/gpu"]
    much = wants(limits={"nvidia.com/gpu": 1, "nvidia.com/gpumem-percentage": 120})
    assert faults(pod(much)) == ["spec.containers: nvidia.com/gpumem-percentage: must be at most 100, got 120"]


def test_terms_alone_raise_with_their_faults_or_collect_them():
    with pytest.raises(ObjectError, match=r"pod: spec.tolerations\[0\].key: must be text, got 5"):
        read_terms({"tolerations": [{"key": 5}]}, labels={})
    found = []
    assert read_terms({"tolerations": 5}, labels={}, faults=found) == PodTerms(labels=())
    assert [str(fault) for fault in found] == ["spec.tolerations: must be a list, got 5"]
