"""Nodes whose plugin offers each card several times: cards are counted, by the registry; and which of them a pod holds."""

from __future__ import annotations

import json

import pytest

from policies.kube.devices import DeviceKind, DeviceKinds
from policies.kube.nodes import notes_of, read_node, read_server
from policies.kube.objects import ObjectError
from policies.kube.registry import devices_held
from policies.kube.terms import Taint
from sim.fleet.kinds import device_kinds


def node(annotations=None, labels=None, spec=None, **allocatable):
    resources = {name.replace("__", "/").replace("_", "."): amount for name, amount in allocatable.items()}
    metadata = {"name": "n1", "annotations": annotations, "labels": labels}
    return {"metadata": metadata, "spec": spec, "status": {"allocatable": resources}}


def server(*words, **more):
    return read_server(node(*words, **more), device_kinds())


def faults(item):
    with pytest.raises(ObjectError) as caught:
        read_node(item, device_kinds())
    return [str(fault) for fault in caught.value.faults]


A100 = "NVIDIA-NVIDIA A100-SXM4-80GB"
NINE = f"GPU-a,10,81920,100,{A100},0,true,1,hami-core:GPU-b,10,81920,100,{A100},1,true,0,hami-core:"
SEVEN = f"GPU-b,10,81920,100,{A100},1,true:GPU-a,10,81920,100,{A100},0,true:"
JSON = json.dumps(
    [
        {"id": "GPU-a", "index": 1, "count": 10, "devmem": 81920, "devcore": 100, "type": A100, "health": True},
        {"id": "GPU-b", "count": 10, "devmem": 81920, "devcore": 100, "type": A100, "numa": 1, "health": True},
        {"id": "GPU-c", "index": 2, "count": 10, "devmem": 81920, "devcore": 100, "type": A100},
    ]
)


@pytest.mark.parametrize(
    "written", [NINE, SEVEN, JSON], ids=["nine fields", "seven fields", "JSON, one is not healthy"]
)
def test_cards_are_counted_and_not_offers(written):
    found = server({"hami.io/node-nvidia-register": written}, nvidia_com__gpu=20)
    assert (found.node.devices, found.node.resource) == (2, "nvidia.com/gpu")
    assert (found.node.accelerator, found.node.device_memory_mib) == ("nvidia-a100-sxm-80gb", 81_920)
    assert [(card.uuid, card.numa, card.offers) for card in found.cards] == [("GPU-b", 1, 10), ("GPU-a", 0, 10)]
    assert dict(found.node.allocatable) == {"nvidia.com/gpu": 20}, "as Kubernetes counts"


@pytest.mark.parametrize(
    ("resource", "annotation", "written", "model", "memory_mib"),
    [
        (
            "hygon.com/dcunum",
            "hami.io/node-dcu-register",
            "d0,4,65536,100,DCU-K100_AI,0,true:",
            "hygon-k100-ai",
            65_536,
        ),
        (
            "volcano.sh/vgpu-number",
            "volcano.sh/node-vgpu-register",
            "g0,10,16384,Tesla T4,true,hami-core:",
            "nvidia-t4",
            16_384,
        ),
        (
            "huawei.com/Ascend910B3",
            "hami.io/node-register-Ascend910B3",
            '[{"id":"x","count":4,"devmem":65536,"devcore":20,"type":"Ascend910B3","health":true}]',
            "ascend-910b3",
            65_536,
        ),
        (
            "metax-tech.com/sgpu",
            "metax-tech.com/node-gpu-devices",
            '[{"uuid":"m0","totalDevCount":16,"totalCompute":100,"totalVRam":65536,"model":"MXC500","healthy":true}]',
            "metax-c500",
            65_536,
        ),
        (
            "iluvatar.ai/BI-V150-vgpu",
            "hami.io/node-BI-V150-register",
            "i0,100,65536,100,BI-V150,0,true:",
            "iluvatar-bi-v150",
            65_536,
        ),
    ],
)
def test_the_registries_of_other_vendors(resource, annotation, written, model, memory_mib):
    item = node({annotation: written})
    item["status"]["allocatable"] = {resource: "100"}
    found = read_node(item, device_kinds())
    assert (found.devices, found.accelerator, found.device_memory_mib) == (1, model, memory_mib)


def test_cards_that_are_counted_by_their_cores():
    item = node()
    item["status"]["allocatable"] = {
        "cambricon.com/vmlu": 16,
        "cambricon.com/mlu.smlu.vcore": 800,
        "cambricon.com/mlu.smlu.vmemory": 8 * 192,
    }
    found = read_server(item, device_kinds())
    assert (found.node.devices, found.node.device_memory_mib) == (8, 192 * 256)
    assert devices_held(
        {"hami.io/cambricon-mlu-devices-allocated": "n1-cambricon-mlu-3,MLU,4096,10:;"}, found.cards
    ) == {3: 100}


def test_the_label_names_the_model_before_the_registry_and_an_unknown_name_is_kept():
    registry = {"hami.io/node-nvidia-register": "g,10,24576,100,NVIDIA-NVIDIA Some Card,0,true:"}
    label = {"nvidia.com/gpu.product": "NVIDIA-L20"}
    assert server(registry, label, nvidia_com__gpu=10).node.accelerator == "nvidia-l20"
    assert server(registry, nvidia_com__gpu=10).node.accelerator == "Some Card"
    assert server(registry, {"nvidia.com/gpu.product": "Other"}, nvidia_com__gpu=10).node.accelerator == "Other"
    assert server(registry, nvidia_com__gpu=0).node.devices == 0, "a registry that outlived its plugin"


def test_what_a_pod_holds():
    cards = server({"hami.io/node-nvidia-register": NINE}, nvidia_com__gpu=20).cards  # 0 is GPU-b, 1 is GPU-a
    held = {
        "hami.io/vgpu-devices-allocated": "GPU-a,NVIDIA,8192,30:;GPU-a,NVIDIA,8192,0:GPU-b,NVIDIA,0,0:GPU-z,NVIDIA,1,1:;",
        "hami.io/vgpu-devices-to-allocate": "GPU-b,NVIDIA,81920,100:;",
        "hami.io/other-devices-allocated": "nonsense;;GPU-a;GPU-a,x,many,1",
    }
    assert devices_held(held, cards) == {0: 1, 1: 300}  # GPU-a: max(16384 of 81920, 30 %)
    assert devices_held({"volcano.sh/vgpu-ids-new": "GPU-b,NVIDIA,90000,0:"}, cards) == {0: 1000}
    assert devices_held({}, cards) == {}


@pytest.mark.parametrize(
    "written",
    [
        "x",
        ":",
        "a,b,c,d,e,f,g:",
        "g,10,-5,100,T4,0,true:",
        '[{"id": "g", "count": "ten"}]',
        "[1]",
        "[",
        '{"id": 1}',
        "[" * 9999,
    ],
)
def test_a_registry_that_cannot_be_read(written):
    assert faults(node({"hami.io/node-nvidia-register": written}, nvidia_com__gpu=10))[0].startswith(
        "metadata.annotations.hami.io/node-nvidia-register: is no registry of devices: "
    )


def test_resources_that_count_the_same_cards():
    both = node()
    both["status"]["allocatable"] = {"kunlunxin.com/vxpu": 32, "kunlunxin.com/xpu": 8}
    found = read_node(both, device_kinds())
    assert (found.resource, found.devices) == ("kunlunxin.com/xpu", 8)
    kinds = DeviceKinds([DeviceKind("a", ("x/a", "x/b")), DeviceKind("c", ("x/c",))], lambda _: None)
    assert (kinds.same_cards(["x/b", "x/a"]), kinds.same_cards(["x/a", "x/c"])) == ("x/a", None)


def test_amounts_are_those_of_kube_scheduler():
    found = server(cpu="95.5005", memory="1048577500m", pods="110", nvidia_com__gpu="2").node
    # the API server keeps 95501 milli-cores; 1048577.5 bytes count as 1048578
    assert (found.cpu_milli, found.memory_mib, found.max_pods) == (95_501, 1, 110)
    assert dict(found.allocatable)["memory"] == 1_048_578


def test_taints_and_cordons():
    spec = {"taints": [{"key": "gpu", "effect": "NoSchedule"}, None], "unschedulable": True}
    found = server(spec=spec).node
    assert (found.taints, found.unschedulable) == ((Taint("gpu", "", "NoSchedule"),), True)


def test_parts_of_cards_that_are_not_modelled_are_noted_and_not_counted():
    item = node(nvidia_com__gpu=0)
    item["status"]["allocatable"] |= {"nvidia.com/mig-1g.10gb": 7, "nvidia.com/mig-2g.20gb": 0}
    assert notes_of(item) == ("nvidia.com/mig-1g.10gb is not modelled: its devices are not counted",)
    found = read_node(item, device_kinds())
    assert (found.devices, found.accelerator, found.pool) == (0, None, "cpu")


def test_refusals():
    assert faults(node({"a": 1}, [], {"taints": [{"key": 1}]})) == [
        "metadata.labels: must be an object, got []",
        "metadata.annotations.a: must be text, got 1",
        "spec.taints[0].key: must be text, got 1",
    ]
    assert faults({"status": {"allocatable": {"cpu": "-1", "nvidia.com/gpu": "1.5"}}}) == [
        "metadata.name: is required",
        "status.allocatable.cpu: must not be negative, got '-1'",
        "status.allocatable.nvidia.com/gpu: must be a whole number, got '1.5'",
    ]
