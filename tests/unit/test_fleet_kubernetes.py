"""`kubectl get nodes -o json`: cards by label or resource, levels as paths, refusals at their path."""

from __future__ import annotations

import json

import pytest

from sim.fleet.load import fleet_of_text
from sim.fleet.model import FleetError


def node(name="a", labels=None, spec=None, **allocatable):
    resources = {key.replace("__", "/").replace("_", "."): value for key, value in allocatable.items()}
    metadata = {"name": name, "labels": labels or {}}
    return {"metadata": metadata, "spec": spec or {}, "status": {"allocatable": resources}}


def read(*items):
    return fleet_of_text(json.dumps({"kind": "List", "items": items}), source="nodes", name="nodes.json")


def problems(*items):
    with pytest.raises(FleetError) as caught:
        read(*items)
    return [str(problem) for problem in caught.value.problems]


def test_a_node_with_cards():
    labels = {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB", "topology.kubernetes.io/zone": "z1"}
    fleet = read(node("n1", labels, cpu="95500m", memory="1056270972Ki", pods="110", nvidia_com__gpu="8"))
    (server,) = fleet.servers
    assert (server.name, server.accelerator, server.devices) == ("n1", "nvidia-a100-sxm-80gb", 8)
    assert (server.cpu_milli, server.memory_mib, server.max_pods) == (95500, 1031514, 110)
    assert server.device_memory_mib == 81920
    assert (fleet.levels, server.domains, server.labels) == (("zone",), ("z1",), labels)
    assert fleet.name == "nodes.json"


def test_the_model_by_label_then_by_resource_then_generic():
    servers = read(
        node("a", {"nvidia.com/gpu.product": "Tesla-T4", "nvidia.com/gpu.memory": "15360"}, nvidia_com__gpu="4"),
        node("b", {"nvidia.com/gpu.product": "Some-Card"}, nvidia_com__gpu=1),
        node("c", huawei_com__Ascend910B3="8"),
        node("d", nvidia_com__gpu="2"),
        node("e", nvidia_com__gpu="0", spec={"unschedulable": True}),
    ).servers
    assert [(server.accelerator, server.devices, server.device_memory_mib) for server in servers] == [
        ("nvidia-t4", 4, 15360),
        ("Some-Card", 1, None),
        ("ascend-910b3", 8, 65536),
        ("generic", 2, None),
        (None, 0, None),
    ]
    assert [server.unschedulable for server in servers] == [False, False, False, False, True]
    assert servers[4].labels == {}
    assert [server.pool for server in servers] == ["nvidia-t4", "Some-Card", "ascend-910b3", "generic", "cpu"]


def test_zone_and_region_are_paths():
    zone, region = "topology.kubernetes.io/zone", "topology.kubernetes.io/region"
    fleet = read(node("a", {zone: "z1", region: "r1"}), node("b", {zone: "z1", region: "r2"}), node("c"))
    assert fleet.levels == ("zone", "region")
    assert [server.domains for server in fleet.servers] == [
        ("r1/z1", "r1"),
        ("r2/z1", "r2"),
        ("unlabelled/unlabelled", "unlabelled"),
    ]


MULTIPLIED = "a sharing plugin may multiply what it counts"


def test_refusals_come_together_at_their_paths():
    assert problems(
        node("a", cpu="many"),
        node("b", nvidia_com__gpu="80"),
        node("c", nvidia_com__gpu="1", amd_com__gpu="1"),
        node("", memory="9" * 20 + "Gi"),
        {"metadata": {"name": ""}},
    ) == [
        "items[0].status.allocatable.cpu: must be a quantity such as 96, 95500m or 1.5Gi, got 'many'",
        f"items[1].status.allocatable.nvidia.com/gpu: must be at most 64, got 80; {MULTIPLIED}",
        "items[2].status.allocatable: has several kinds of devices: nvidia.com/gpu, amd.com/gpu",
        "items[3].metadata.name: is required",
        "items[3].status.allocatable.memory: is too large: 9223372036854775807",
        "items[4].metadata.name: is required",
    ]


@pytest.mark.parametrize(
    "text", ['{"items": [', '{"items": 3}', '{"items": []}', '{"items": [1]}', '{"items": ' + "[" * 9999]
)
def test_hostile_json(text):
    with pytest.raises(FleetError):
        fleet_of_text(text, source="nodes")


def test_two_nodes_of_one_name():
    assert problems(node("a"), node("a")) == ["servers[1]: the name 'a' is already that of servers[0]"]
