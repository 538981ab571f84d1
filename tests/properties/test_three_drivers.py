"""One policy, three drivers, one decision: simulator, HTTP extender and second scheduler put the same pods on the same nodes.

Each driver is given the same JSON of Nodes and Pods in its own way: the simulator a dump of nodes and a dump of finished pods,
the extender filter and prioritize over HTTP, the scheduler the list and watch of an API server, over HTTP too.
"""

from __future__ import annotations

import asyncio
import json
import os

import pytest
from builders import policy
from extenders import Served, added, by_name
from fake_api_server import FakeApiServer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kube_builders import node, pod
from schedulers import play, scheduling

from policies.serving.cluster import Cluster
from sim.engine import Engine, PolicyError
from sim.fleet.kinds import device_kinds
from sim.fleet.kubernetes import read_kubernetes_nodes
from sim.fleet.table import topology_of
from sim.rules import Rules
from sim.timeline import Happened
from traces.registry import read_trace

LONG = os.environ.get("REHEARSE_FUZZ") == "long"
PLACEMENTS = ("best-fit", "first-fit", "spread", "consolidate", "gpu-packing", "dot-product")
PRODUCT = {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}
TOLERATES = {"tolerations": [{"key": "team", "operator": "Exists"}]}


@st.composite
def nodes(draw):
    return [
        node(
            f"n{number}",
            draw(st.sampled_from([0, 2, 4, 8])),
            cpu=draw(st.sampled_from(["8", "64"])),
            labels={**PRODUCT, "disk": draw(st.sampled_from(["ssd", "hdd"]))},
            taints=[{"key": "team", "effect": "NoSchedule"}] if draw(st.sampled_from([False, False, True])) else [],
            unschedulable=draw(st.sampled_from([False, False, False, True])),
        )
        for number in range(draw(st.integers(1, 5)))
    ]


@st.composite
def pods(draw):
    return [
        pod(
            f"p{number:02}",
            draw(st.sampled_from([0, 1, 1, 2, 4, 8])),
            uid=f"uid-{number:02}",
            cpu=draw(st.sampled_from(["100m", "2", "7"])),
            priority=draw(st.sampled_from([0, 0, 5])),
            spec=draw(st.sampled_from([{}, {}, {"nodeSelector": {"disk": "ssd"}}, TOLERATES])),
        )
        for number in range(draw(st.integers(1, 8)))
    ]


def by_simulator(spec, nodes, pods, folder):
    """What starts in the first instant of a replay."""
    fleet = read_kubernetes_nodes(json.dumps({"kind": "List", "items": nodes}), source="nodes")
    ended = {
        "phase": "Succeeded",
        "startTime": "2026-01-01T00:00:00Z",
        "containerStatuses": [{"state": {"terminated": {"finishedAt": "2026-01-02T00:00:00Z"}}}],
    }
    dump = {
        "kind": "List",
        "items": [{**item, "status": ended, "spec": {**item["spec"], "nodeName": "then"}} for item in pods],
    }
    (folder / "pods.json").write_text(json.dumps(dump))
    trace = read_trace(folder / "pods.json", "k8s-pods")
    assert not trace.rejections
    topology = topology_of(fleet)
    engine = Engine(trace.records, topology, policy(spec), rules=Rules())
    try:
        outcome = engine.run()
    except PolicyError as error:  # some pods may fit nowhere for ever
        outcome = error.outcome
    line = outcome.timeline
    found = {}
    for entry in range(len(line.at_ms)):
        if line.happened[entry] == Happened.START and line.at_ms[entry] == line.at_ms[0]:
            name = trace.records[int(line.job[entry])].job_id.rpartition("/")[2]
            found[name] = topology.nodes[int(line.share_node[line.share_start[entry]])].name
    return found


def in_process(spec, nodes, pods):
    """What the policy starts in a pass over a cluster that holds all of them."""
    cluster, chosen = Cluster(device_kinds()), policy(spec)
    for item in nodes:
        cluster.set_node(item)
    for item in pods:
        cluster.set_pod(item)
    cluster.settle()
    found = {}
    for start in chosen.decide(cluster):
        found.update((each.pod.name, each.node) for each in cluster.assume(start.job_id, start.placement))
    return found


def by_extender(served, nodes, pods):
    """Pod by pod as kube-scheduler does: priority first, then age; the best of those that pass."""
    served.tell(*({"type": "DELETED", "object": each} for each in served.told))
    served.told = [*nodes, *pods]
    served.tell(*added(*nodes, *pods))
    names = [item["metadata"]["name"] for item in nodes]
    found = {}
    for item in sorted(pods, key=lambda each: (-each["spec"]["priority"], each["metadata"]["name"])):
        kept = served.post("filter", by_name(item, names)).json["NodeNames"]
        if not kept:
            continue
        scores = {each["Host"]: each["Score"] for each in served.post("prioritize", by_name(item, kept)).json}
        best = max(scores, key=scores.__getitem__)
        found[item["metadata"]["name"]] = best
        bound = {**item, "spec": {**item["spec"], "nodeName": best}, "status": {"phase": "Running"}}
        served.tell({"type": "MODIFIED", "object": bound})
    return found


def by_scheduler(spec, nodes, pods, folder, expected):
    """What the second scheduler binds at an API server that has all of them."""
    found = {}

    async def scene(server: FakeApiServer):
        for item in (*nodes, *pods):
            server.add(item)
        async with scheduling(server, folder, spec):
            if expected:
                await server.until(lambda: len(server.placements()) >= expected)
            else:
                await asyncio.sleep(0.2)
        found.update(server.placements())

    play(folder, scene)
    return found


@pytest.fixture(scope="module", params=PLACEMENTS)
def served(request):
    spec = f"best-effort-priority:place={request.param}"
    with Served(policy(spec)) as found:
        found.spec = spec
        yield found


@settings(
    max_examples=100 if LONG else 5,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(nodes=nodes(), pods=pods())
def test_one_policy_three_drivers_one_decision(served, tmp_path, nodes, pods):
    expected = in_process(served.spec, nodes, pods)
    assert by_simulator(served.spec, nodes, pods, tmp_path) == expected
    assert by_extender(served, nodes, pods) == expected
    assert by_scheduler(served.spec, nodes, pods, tmp_path, len(expected)) == expected
