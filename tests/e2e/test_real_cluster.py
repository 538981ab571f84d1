"""A served policy on a real control plane: as a second scheduler, with gangs and preemption, and behind kube-scheduler.

Needs binaries, see `real_cluster`. Two hundred pods each; every pod is bound, nothing is overbooked, and the placements are the
policy's.
"""

from __future__ import annotations

import contextlib
import json
import urllib.request
from collections import Counter
from typing import Any

import pytest
from builders import policy
from kube_builders import GPU, MINE, gpus_of, node, pod, pod_group
from real_cluster import free_ports, missing, real_cluster

from policies.serving.scheduler_cluster import cluster_for
from sim.fleet.kinds import device_kinds

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(missing()), reason=f"needs a real control plane: {missing()}"),
]

PODS = 200
NODES = 80
LABELS = {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}
BOUND_S = 90.0


@pytest.fixture(scope="module")
def control_plane(tmp_path_factory):
    with real_cluster(tmp_path_factory.mktemp("control-plane")) as cluster:
        yield cluster


@pytest.fixture
def cluster(control_plane):
    """Without pods and nodes, and with nobody who schedules."""
    control_plane.processes.check()
    yield control_plane
    for name in ("rehearse", "kube-scheduler"):
        with contextlib.suppress(KeyError):
            control_plane.processes.end(name)
    control_plane.clear()


def nodes_of(count: int, gpus: int = 8):
    return [node(f"n{number:03}", gpus, cpu="64", memory="256Gi", labels=LABELS) for number in range(count)]


def singles(count: int, scheduler: str = MINE):
    """Of 1, 2 and 4 devices."""
    return [pod(f"p{number:03}", (1, 2, 1, 4)[number % 4], cpu="2", scheduler=scheduler) for number in range(count)]


def in_process(spec: str, nodes, pods) -> dict[str, str]:
    """Where the policy puts the pods, one after the other."""
    chosen = policy(spec)
    cluster = cluster_for(chosen, MINE, device_kinds())
    found = {}
    for item in nodes:
        cluster.set_node(item)
    for number, item in enumerate(pods):
        spec_of = {**item["spec"], "schedulerName": MINE}
        cluster.set_pod({**item, "spec": spec_of, "metadata": {**item["metadata"], "uid": str(number)}})
        cluster.settle()
        for action in chosen.decide(cluster):
            found.update((each.pod.name, each.node) for each in cluster.assume(action.job_id, action.placement))
    return found


def check_room(cluster, nodes) -> None:
    """No node holds more than it has: devices, CPU and pods."""
    devices: Counter[str] = Counter()
    cores: Counter[str] = Counter()
    for item in cluster.pods():
        place = item["spec"].get("nodeName")
        if place:
            devices[place] += gpus_of(item)
            cores[place] += int(item["spec"]["containers"][0]["resources"]["requests"].get("cpu", "0"))
    for item in nodes:
        has = item["status"]["allocatable"]
        name = item["metadata"]["name"]
        assert devices[name] <= int(has.get(GPU, 0)), (name, devices[name])
        assert cores[name] <= int(has["cpu"]), (name, cores[name])


def serve(cluster, command: str, *words: str) -> str:
    """Start `rehearse serve`, wait until it is ready; its address."""
    (port,) = free_ports(1)
    cluster.start_rehearse("rehearse", command, *words, "--port", str(port))
    url = f"http://127.0.0.1:{port}"

    def ready() -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
            return answer.status == 200
        return False

    cluster.wait("rehearse", ready)
    return url


def health_of(url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{url}/healthz", timeout=5) as answer:
        return json.loads(answer.read())


def warm_up(cluster, url: str) -> None:
    """Until kube-scheduler schedules. What waits when it begins comes into its queue in any order."""
    cluster.add_pod(pod("warm-up", 1, cpu="1", scheduler="default-scheduler"))
    all_bound(cluster, 1)
    cluster.ask("DELETE", "/api/v1/namespaces/default/pods/warm-up", {"gracePeriodSeconds": 0})
    cluster.wait("the extender to know it", lambda: health_of(url)["pods_held"] == 0)


def all_bound(cluster, count: int) -> None:
    cluster.wait(f"{count} bound pods", lambda: len(cluster.placements()) == count, BOUND_S)


@pytest.mark.parametrize("spec", ["fifo:place=best-fit", "easy:place=spread"])
def test_second_scheduler(cluster, spec):
    nodes, pods = nodes_of(NODES), singles(PODS)
    for item in nodes:
        cluster.add_node(item)
    expected = in_process(spec, nodes, pods)
    assert len(expected) == PODS
    url = serve(cluster, "scheduler", "--policy", spec)
    for item in pods:
        cluster.add_pod(item)
    all_bound(cluster, len(expected))
    check_room(cluster, nodes)
    assert cluster.placements() == expected
    health = health_of(url)
    assert (health["status"], health["leads"], health["pods_held"]) == ("ok", True, PODS)
    with urllib.request.urlopen(f"{url}/metrics", timeout=5) as answer:
        assert f'rehearse_bindings_total{{result="bound"}} {PODS}.0' in answer.read().decode()
    cluster.wait("events", lambda: len(cluster.events("Scheduled")) == PODS)
    assert cluster.processes.end("rehearse") == 0
    lease = cluster.get("/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/rehearse-scheduler")
    assert lease["spec"]["holderIdentity"] == ""


def test_gangs_in_the_second_scheduler(cluster):
    """Fifty gangs of four; twenty have a PodGroup, the others say their size themselves. One lacks a pod, and waits."""
    nodes = nodes_of(25)
    for item in nodes:
        cluster.add_node(item)
    cluster.ask("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", POD_GROUPS)
    groups = "/apis/scheduling.x-k8s.io/v1alpha1/namespaces/default/podgroups"
    cluster.wait("the kind PodGroup", lambda: cluster._ask("GET", groups)[0] == 200)
    for number in range(20):
        cluster.ask("POST", groups, pod_group(f"g{number:02}", 4))
    serve(cluster, "scheduler", "--policy", "fifo:place=consolidate")
    gangs = [f"g{number:02}" for number in range(PODS // 4)]
    for number, gang in enumerate(gangs):
        said = gang if number < 20 else (gang, 4)
        for part in range(4):
            if (gang, part) != (gangs[-1], 3):
                cluster.add_pod(pod(f"{gang}-{part}", 1, cpu="1", gang=said))
    all_bound(cluster, PODS - 4)
    check_room(cluster, nodes)
    placed = cluster.placements()
    assert not [name for name in placed if name.startswith(gangs[-1])]
    for gang in gangs[:-1]:
        assert len({placed[f"{gang}-{part}"] for part in range(4)}) == 1, "four of eight devices fit on one node"
    cluster.wait("an event", lambda: bool(cluster.events("FailedScheduling")))
    assert {each["message"] for each in cluster.events("FailedScheduling")} == {"its gang has 3 of 4 pods"}
    cluster.add_pod(pod(f"{gangs[-1]}-3", 1, cpu="1", gang=(gangs[-1], 4)))
    all_bound(cluster, PODS)


def test_preemption_in_the_second_scheduler(cluster):
    nodes = nodes_of(2)
    for item in nodes:
        cluster.add_node(item)
    for name, value in (("high", 1000), ("low", 10)):
        body = {"metadata": {"name": name}, "value": value, "description": name}
        cluster.ask("POST", "/apis/scheduling.k8s.io/v1/priorityclasses", body)
    serve(cluster, "scheduler", "--policy", "preempt-priority")
    for number in range(4):
        cluster.add_pod(pod(f"low{number}", 4, spec={"priorityClassName": "low"}))
    all_bound(cluster, 4)
    cluster.add_pod(pod("high", 8, spec={"priorityClassName": "high"}))

    def leaving() -> list[str]:
        return [each["metadata"]["name"] for each in cluster.pods() if each["metadata"].get("deletionTimestamp")]

    cluster.wait("two victims", lambda: len(leaving()) == 2)
    assert "high" not in cluster.placements()
    nominated = cluster.get("/api/v1/namespaces/default/pods/high")["status"].get("nominatedNodeName")
    cluster.wait("events", lambda: len(cluster.events("Preempted")) == 2)
    cluster.reap()
    cluster.wait("the pod of high priority", lambda: "high" in cluster.placements())
    assert nominated in (None, cluster.placements()["high"])
    check_room(cluster, nodes)


def test_the_api_server_goes_away_and_comes_back(cluster):
    nodes, pods = nodes_of(20), singles(60)
    for item in nodes:
        cluster.add_node(item)
    url = serve(cluster, "scheduler", "--policy", "fifo:place=best-fit")
    for item in pods[:30]:
        cluster.add_pod(item)
    all_bound(cluster, 30)
    cluster.end_api_server()
    cluster.wait("it to be missed", lambda: health_of(url)["watch_faults"] != {})
    cluster.start_api_server()
    for item in pods[30:]:
        cluster.add_pod(item)
    all_bound(cluster, 60)
    check_room(cluster, nodes)
    assert cluster.placements() == in_process("fifo:place=best-fit", nodes, pods)
    cluster.wait("it to be well", lambda: health_of(url)["watch_faults"] == {})


@pytest.mark.parametrize("cached", [True, False], ids=["nodeCacheCapable", "whole nodes"])
def test_extender_behind_kube_scheduler(cluster, cached):
    """Its best node gets 10, and the weight drowns what kube-scheduler itself would like."""
    spec = "best-effort-fifo:place=best-fit"
    nodes, pods = nodes_of(NODES), singles(PODS, "default-scheduler")
    for item in nodes:
        cluster.add_node(item)
    url = serve(cluster, "extender", "--policy", spec, "--assume", "5000")
    extender = {
        "urlPrefix": url,
        "filterVerb": "filter",
        "prioritizeVerb": "prioritize",
        "weight": 100,
        "nodeCacheCapable": cached,
        "httpTimeout": "5s",
    }
    cluster.start_kube_scheduler([extender])
    warm_up(cluster, url)
    for item in pods:
        cluster.add_pod(item)
    all_bound(cluster, PODS)
    check_room(cluster, nodes)
    assert cluster.placements() == in_process(spec, nodes, pods)


POD_GROUPS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {
        "name": "podgroups.scheduling.x-k8s.io",
        "annotations": {"api-approved.kubernetes.io": "unapproved, for a test"},
    },
    "spec": {
        "group": "scheduling.x-k8s.io",
        "names": {"kind": "PodGroup", "plural": "podgroups", "singular": "podgroup"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {"type": "object", "properties": {"minMember": {"type": "integer"}}},
                        },
                    }
                },
            }
        ],
    },
}
