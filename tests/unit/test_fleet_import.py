"""`rehearse fleet import`: the same servers as in production, levels of Kueue and Volcano, queues of Kueue, refusals."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from policies.kube.hypernodes import levels_of
from policies.kube.nodes import read_node
from policies.nodes import NodeTable
from policies.topology import Topology
from sim.fleet.kinds import device_kinds
from sim.fleet.kube_objects import read_objects
from sim.fleet.kubernetes import import_cluster
from sim.fleet.model import FleetError
from sim.fleet.table import topology_of
from sim.fleet.yaml_dump import fleet_to_yaml
from sim.fleet.yaml_file import read_fleet_yaml
from sim.fleet_commands import fleet as command

ZONE, RACK, BLOCK = "topology.kubernetes.io/zone", "example.com/rack", "example.com/block"
REGISTRY = "".join(f"g{i},10,16384,100,NVIDIA-Tesla T4,{i % 2},true,{i},hami-core:" for i in range(4))


def node(name, labels=None, annotations=None, spec=None, **allocatable):
    resources = {key.replace("__", "/").replace("_", "."): value for key, value in allocatable.items()}
    metadata = {"name": name, "labels": {"kubernetes.io/hostname": name} | (labels or {}), "annotations": annotations}
    return {"kind": "Node", "metadata": metadata, "spec": spec or {}, "status": {"allocatable": resources}}


A100 = {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}
NODES = [
    node("a", A100 | {ZONE: "z1", RACK: "r1", BLOCK: "b1"}, cpu="95500m", memory="1056270972Ki", pods=110, nvidia_com__gpu=8),
    node("b", A100 | {ZONE: "z1", RACK: "r2", BLOCK: "b1"}, cpu="95500m", memory="1056270968Ki", pods=110, nvidia_com__gpu=8),
    node("c", {ZONE: "z2", RACK: "r1"}, {"hami.io/node-nvidia-register": REGISTRY}, cpu="8", nvidia_com__gpu=40),
    node(
        "d",
        {ZONE: "z2"},
        spec={"unschedulable": True, "taints": [{"key": "npu", "value": "no", "effect": "NoExecute"}]},
        huawei_com__Ascend910B3=8,
        memory="1.5Gi",
    ),
    node("e", cpu=4, ephemeral_storage="10G"),
]  # fmt: skip
TOPOLOGY = {
    "kind": "Topology",
    "metadata": {"name": "t"},
    "spec": {"levels": [{"nodeLabel": BLOCK}, {"nodeLabel": RACK}, {"nodeLabel": "kubernetes.io/hostname"}]},
}
HYPERNODES = [
    {
        "kind": "HyperNode",
        "metadata": {"name": "h"},
        "spec": {"tier": 1, "members": [{"type": "Node", "selector": {"regexMatch": {"pattern": "[ab]"}}}]},
    }
]


def imported(*items):
    return import_cluster(read_objects(json.dumps({"kind": "List", "items": items}), source="s"), source="s")


def problems(*items):
    with pytest.raises(FleetError) as caught:
        imported(*items)
    return [str(problem) for problem in caught.value.problems]


# -- one reading for simulator and production -----------------------------------------------------------------------


def same_tables(first: Topology, second: Topology):
    assert (first.nodes, first.levels) == (second.nodes, second.levels)
    for one, two in zip(first.nodes, second.nodes, strict=True):
        for field in one._fields:
            assert (field, getattr(one, field)) == (field, getattr(two, field))
    ours, theirs = NodeTable(first), NodeTable(second)
    for field in ("idle_mask", "idle", "by_idle", "cpu_left", "memory_left", "pods_left", "limits_side_resources"):
        assert getattr(ours, field) == getattr(theirs, field), field
    assert (first.domains, first.domain_names) == (second.domains, second.domain_names)


@pytest.mark.parametrize(
    ("more", "levels"),
    [([], {"zone": ZONE}), ([TOPOLOGY], {"rack": RACK, "block": BLOCK})],
    ids=["zones", "a topology of Kueue"],
)
def test_simulator_and_production_see_the_same_servers(more, levels):
    production = Topology([read_node(item, device_kinds(), levels) for item in NODES], tuple(levels))
    fleet = imported(*NODES, *more).fleet
    same_tables(topology_of(fleet), production)
    again = read_fleet_yaml(fleet_to_yaml(fleet), source="s")
    assert again == fleet
    same_tables(topology_of(again), production)


def test_the_same_with_hypernodes():
    levels = levels_of(HYPERNODES, {item["metadata"]["name"]: item["metadata"]["labels"] for item in NODES})
    read = [read_node(item, device_kinds(), {}) for item in NODES]
    production = Topology([each._replace(domains=levels.domains[each.name]) for each in read], levels.names)
    fleet = imported(*NODES, *HYPERNODES).fleet
    same_tables(topology_of(fleet), production)
    same_tables(topology_of(read_fleet_yaml(fleet_to_yaml(fleet), source="s")), production)


def test_neighbours_that_differ_in_labels_and_amounts_are_one_pool():
    text = fleet_to_yaml(imported(*NODES).fleet)
    assert text.count("- name: nvidia-a100") == 1
    assert "memory: [1081621475328, 1081621471232]" in text


def test_sockets_come_from_the_registry_of_the_plugin():
    c = next(server for server in imported(*NODES).fleet.servers if server.name == "c")
    assert (c.devices, c.numa, c.accelerator) == (4, ((0, 2), (1, 3)), "nvidia-t4")


# -- queues -----------------------------------------------------------------------------------------------------------


def flavor(name, **labels):
    return {"kind": "ResourceFlavor", "metadata": {"name": name}, "spec": {"nodeLabels": labels.get("labels", {})}}


def queue(name, *flavors, cohort=None, weight=None, **more):
    groups = [
        {"flavors": [{"name": each, "resources": [{"name": resource, **quota}]} for each, resource, quota in flavors]}
    ]
    spec = {"cohortName": cohort, "resourceGroups": groups, **more}
    if weight is not None:
        spec["fairSharing"] = {"weight": weight}
    return {"kind": "ClusterQueue", "metadata": {"name": name}, "spec": spec}


GPU, NPU = "nvidia.com/gpu", "huawei.com/Ascend910B3"
FLAVORS = [flavor("a100", labels=A100), flavor("npu", labels={ZONE: "z2"}), flavor("any")]


def test_quotas_by_the_models_that_a_flavor_selects():
    found = imported(
        *NODES,
        *FLAVORS,
        queue("x", ("a100", GPU, {"nominalQuota": 12, "borrowingLimit": "4"}), ("npu", NPU, {"nominalQuota": 8}), cohort="k"),
        queue("w", ("a100", GPU, {"nominalQuota": "4"}), ("a100", "cpu", {"nominalQuota": "96"}), cohort="k", weight="1.5"),
        queue("v", ("npu", "cpu", {"nominalQuota": 9})),
    )  # fmt: skip
    v, w, x = found.fleet.queues
    assert (x.name, dict(x.nominal), dict(x.borrowing_limit)) == (
        "x",
        {"nvidia-a100-sxm-80gb": 12, "ascend-910b3": 8},
        {"nvidia-a100-sxm-80gb": 4},
    )
    assert (w.nominal, w.borrowing_limit, w.cohort, x.weight, w.weight) == (
        {"nvidia-a100-sxm-80gb": 4},
        None,
        "k",
        2,
        3,
    )
    assert w.pools == ("nvidia-a100-sxm-80gb",)
    assert v.nominal == {"*": 0}, "a queue that covers no device may hold none"


def test_a_flavor_of_several_models_counts_its_cohort_together():
    found = imported(
        *NODES,
        *FLAVORS,
        queue("x", ("any", GPU, {"nominalQuota": 12}), cohort="inner"),
        queue("y", ("a100", GPU, {"nominalQuota": 4, "borrowingLimit": 1}), cohort="outer"),
        queue("z", ("a100", GPU, {"nominalQuota": 4})),
        {"kind": "Cohort", "metadata": {"name": "inner"}, "spec": {"parentName": "outer", "resourceGroups": [{}]}},
    )
    assert [dict(each.nominal) for each in found.fleet.queues] == [{"*": 12}, {"*": 4}, {"nvidia-a100-sxm-80gb": 4}]
    assert {each.cohort for each in found.fleet.queues} == {"outer", None}
    assert [note for note in found.notes if note.startswith("Cohort")] == [
        "Cohort inner: quota of a cohort itself is not modelled",
        "Cohort inner lies in outer: cohorts of a tree lend to each other as one",
    ]


def test_what_a_queue_cannot_say_is_noted():
    found = imported(
        *NODES,
        queue(
            "x", ("gone", GPU, {"nominalQuota": 1, "lendingLimit": 1}), ("gone", "amd.com/gpu", {"nominalQuota": 1})
        ),
        {"kind": "Pod", "metadata": {"name": "p"}},
    )
    assert set(found.notes) == {
        "ResourceFlavor gone of x is not in the files: it is taken to cover every node",
        "ClusterQueue x: lendingLimit is not modelled",
        "ClusterQueue x: no node of flavor gone has amd.com/gpu",
        "ClusterQueue x: a flavor of its cohort covers several models, so its devices are counted together",
        "nvidia.com/gpu counts offers of shared cards; quotas of it are taken as cards",
        "1 of kind Pod left out: they are no part of a fleet",
    }


# -- refusals ---------------------------------------------------------------------------------------------------------


def test_problems_come_together_at_their_places():
    assert problems(
        node("a", cpu="many"),
        {"kind": "Node", "metadata": 5},
        TOPOLOGY | {"spec": {"levels": [{}]}},
    ) == [
        "items[2].spec.levels: must be a list of levels, each with its nodeLabel",
        "items[0].status.allocatable.cpu: must be a quantity such as 96, 95500m or 1.5Gi, got 'many'",
        "items[1].metadata: must be an object, got 5",
    ]
    assert problems(
        *NODES,
        queue("x", ("any", GPU, {"nominalQuota": "-1"}), weight="heavy"),
        {"kind": "ClusterQueue", "metadata": {}, "spec": {"resourceGroups": 1}},
    ) == [
        "items[5].spec.resourceGroups[0].flavors[0].resources[0].nominalQuota: must be from 0 to 9007199254740992, got -1",
        "items[5].spec.fairSharing.weight: must be a quantity such as 96, 95500m or 1.5Gi, got 'heavy'",
        "items[6].spec.resourceGroups: must be a list, got 1",
    ]


def test_levels_that_contradict_each_other():
    assert "leave out one of them" in problems(*NODES, TOPOLOGY, *HYPERNODES)[0]
    other = TOPOLOGY | {"spec": {"levels": [{"nodeLabel": ZONE}]}}
    assert "several Topologies with different levels" in problems(*NODES, TOPOLOGY, other)[0]
    bad = {"kind": "HyperNode", "metadata": {"name": "x"}, "spec": {"tier": 1, "members": [{"type": "Node"}]}}
    assert problems(*NODES, bad) == [
        "items[5].spec.members[0]: HyperNode x: needs a selector: exactMatch, regexMatch, or for nodes labelMatch"
    ]
    assert problems({"kind": "Pod"}) == ["holds no Node object"]


# -- the command -----------------------------------------------------------------------------------------------------


def run(*words):
    return CliRunner().invoke(command, ["import", *map(str, words)], catch_exceptions=False)


def test_the_command_reads_json_and_yaml_of_several_documents(tmp_path):
    nodes, topology = tmp_path / "nodes.json", tmp_path / "topology.yaml"
    nodes.write_text(json.dumps({"kind": "NodeList", "items": [item | {"kind": None} for item in NODES]}))
    topology.write_text(
        "# levels\n---\nkind: Topology\nmetadata: {name: t}\nspec:\n  levels:\n"
        f"  - nodeLabel: {BLOCK}\n  - nodeLabel: {RACK}\n---\nkind: Pod\nmetadata: {{name: p}}\n"
    )
    out = tmp_path / "fleet.yaml"
    result = run(nodes, "--topology", topology, "--out", out, "--name", "mine")
    assert (result.exit_code, result.stdout) == (0, f"{out}: 5 servers, 28 devices, 0 queues\n")
    assert result.stderr == "note: 1 of kind Pod left out: they are no part of a fleet\n"
    fleet = read_fleet_yaml(out.read_text(), source="s")
    assert (fleet.name, fleet.levels) == ("mine", ("rack", "block"))
    assert run(nodes).stdout.startswith("rehearse_fleet: 1\nname: nodes.json\n")


def test_the_command_refuses_with_every_problem_and_status_2(tmp_path):
    bad, worse = tmp_path / "bad.json", tmp_path / "worse.yaml"
    bad.write_text('{"items": [')
    worse.write_text("- a list\n")
    result = run(bad, "--queues", worse, tmp_path / "gone.json")
    assert result.exit_code == 2
    assert [
        part in result.stderr for part in ("bad.json: is not JSON", "worse.yaml: must be", "there is no such file")
    ] == [
        True,
        True,
        True,
    ]
    nodes = tmp_path / "nodes.json"
    nodes.write_text(json.dumps({"items": NODES}))
    refused = run(nodes, "--out", tmp_path / "no" / "fleet.yaml")
    assert (refused.exit_code, "cannot be written" in refused.stderr) == (2, True)
