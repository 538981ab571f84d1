"""The served cluster, exactly: shares of cards, what the ledger does not count, orders of events, and what is said of faults."""

from __future__ import annotations

import pytest
from kube_builders import GPU, KINDS, MINE, node, pod

from policies.api import Share
from policies.kube.devices import DeviceKind, DeviceKinds
from policies.placement.first_fit import FirstFit
from policies.serving.cluster import Cluster, PlacementError
from policies.serving.desk import Desk, group_size
from sim.fleet.kinds import device_kinds


def cluster_of(*items, **options) -> Cluster:
    cluster = Cluster(options.pop("kinds", KINDS), **options)
    for item in items:
        if item["kind"] == "Node":
            cluster.set_node(item)
        else:
            assert cluster.set_pod(item) is not None
    cluster.settle()
    return cluster


def start(cluster: Cluster, job_id: str):
    placement = FirstFit().place(cluster.pending.get(job_id).request, cluster.nodes)
    return [(each.pod.name, each.node) for each in cluster.assume(job_id, placement)]


def asking(name: str, requests: dict[str, str], **more):
    spec = {"containers": [{"name": "main", "resources": {"requests": requests, "limits": requests}}]}
    return pod(name, uid=name, spec=spec, **more)


def test_a_pod_that_is_assumed_holds_its_devices_until_it_is_forgotten():
    cluster = cluster_of(node("n", 4), pod("a", 3, uid="a"))
    assert start(cluster, "default/a") == [("a", "n")]
    assert (cluster.nodes.idle, cluster.hold_of("a").assumed, len(cluster.pending)) == ([1], True, 0)
    releases = cluster.releases
    cluster.forget("a")
    assert (cluster.nodes.idle, cluster.hold_of("a"), len(cluster.pending)) == ([4], None, 1)
    assert cluster.releases == releases + 1
    start(cluster, "default/a")
    cluster.set_pod(pod("a", 3, uid="a", node="n"))
    cluster.forget("a")
    assert cluster.nodes.idle == [1], "what the API server says is so"


def test_a_gang_and_a_pod_may_have_the_same_name():
    cluster = cluster_of(node("n", 8), pod("train", 1, uid="a"), pod("worker", 2, uid="b", gang=("train", 1)))
    assert sorted(job.job_id for job in cluster.pending) == ["default/train", "default/train#gang"]


def test_a_gang_of_which_some_are_on_their_way_out_is_not_complete_with_them():
    old = [pod(f"old{n}", 1, uid=f"old{n}", gang=("g", 2), node="n", leaving=True) for n in range(2)]
    cluster = cluster_of(node("n", 8), *old, pod("new0", 1, uid="new0", gang=("g", 2)))
    assert cluster.faults["job default/g#gang"] == "its gang has 1 of 2 pods"
    cluster.set_pod(pod("new1", 1, uid="new1", gang=("g", 2)))
    assert [pod.name for pod in cluster.pods_of("default/g#gang#rest")] == ["new0", "new1"]


def test_shares_of_one_card_fill_it_and_no_more():
    """Two thirds of the memory and a third: one card. HAMi counts them by these resources."""
    kinds = DeviceKinds([DeviceKind("a100", (GPU,), 81920)], lambda _: None)
    share = {GPU: "1", "nvidia.com/gpumem": "54612"}
    rest = {GPU: "1", "nvidia.com/gpumem": "27279"}
    cluster = cluster_of(node("n", 1), asking("a", share), asking("b", share), asking("c", rest), kinds=kinds)
    assert start(cluster, "default/a") == [("a", "n")]
    request = cluster.pending.get("default/b").request
    assert FirstFit().place(request, cluster.nodes) is None
    with pytest.raises(PlacementError, match="milli-devices left"):
        cluster.assume("default/b", (Share(0, 1),))
    assert start(cluster, "default/c") == [("c", "n")]
    assert cluster.nodes.partial == {0: {0: 1000 - 667 - 333}}
    cluster.set_node(node("n", 1, labels={"x": "y"}, cpu="32"))
    assert cluster.nodes.partial == {0: {0: 0}}
    assert cluster.faults == {}


def test_a_new_node_changes_nobodys_devices():
    """The one who was bound elsewhere meanwhile takes what the others leave."""
    cluster = cluster_of(node("n", 4), pod("a", 1, uid="a"), pod("b", 1, uid="b"))
    start(cluster, "default/a")
    start(cluster, "default/b")
    cluster.delete_pod("a")
    cluster.set_node(node("m", 4))
    cluster.set_pod(pod("0", 2, uid="0", node="n"))
    cluster.settle()
    assert (cluster.hold_of("b").devices, cluster.hold_of("0").devices) == (0b10, 0b101)


def test_devices_that_fall_out_come_back_to_who_lacks_them():
    cluster = cluster_of(node("n", 8), pod("a", 4, uid="a", node="n"), pod("b", 4, uid="b", node="n"))
    cluster.set_node(node("n", 7))
    cluster.settle()
    assert cluster.faults == {"pod default/b": "holds 4 devices of n, which has 3 left"}
    cluster.delete_pod("a")
    assert cluster.nodes.idle == [3]
    assert cluster.faults == {}


def test_what_the_ledger_does_not_count_limits_too():
    items = [node(name, 8) for name in "xy"]
    items[0]["status"]["allocatable"] |= {"rdma/hca": "2", "ephemeral-storage": "100Gi"}
    asks = {GPU: "1", "rdma/hca": "2", "ephemeral-storage": "1Gi"}
    cluster = cluster_of(*items, asking("a", asks), asking("b", asks))
    request = cluster.pending.get("default/a").request
    assert request.eligible == 0b01, "y has no such adapter"
    start(cluster, "default/a")
    with pytest.raises(PlacementError, match=r"default/b: x has 0 of rdma/hca left, 2 are needed"):
        start(cluster, "default/b")
    assert len(cluster.pending) == 1
    cluster.leave("default/a")
    start(cluster, "default/b")
    assert cluster.blockers("b") == {"a"}
    cluster.delete_pod("a")
    assert cluster.blockers("b") == set()


def test_two_pods_of_a_gang_do_not_share_one_adapter():
    item = node("x", 8)
    item["status"]["allocatable"]["rdma/hca"] = "1"
    asks = {GPU: "1", "rdma/hca": "1"}
    cluster = cluster_of(item, *(asking(name, asks, gang=("g", 2)) for name in "ab"))
    with pytest.raises(PlacementError, match="rdma/hca"):
        start(cluster, "default/g#gang")


def test_who_is_not_shown_is_not_seen_and_holds_its_place():
    cluster = cluster_of(
        node("n", 4),
        pod("theirs", 1, uid="a", node="n", scheduler="other"),
        pod("mine", 1, uid="b", node="n"),
        shown=lambda pod: pod.scheduler == MINE,
    )
    assert [running.job.job_id for running in cluster.running] == ["default/mine"]
    assert cluster.nodes.idle == [2]
    assert cluster.running_of("a") is not None
    with pytest.raises(PlacementError, match="does not run"):
        cluster.leave("default/theirs")


def test_who_stays_after_all_has_its_devices_again():
    cluster = cluster_of(node("n", 4), pod("a", 4, uid="a", node="n"))
    assert [each.node for each in cluster.leave("default/a")] == ["n"]
    assert (cluster.nodes.idle, len(cluster.running), len(cluster.pending)) == ([4], 0, 0)
    cluster.stay("a")
    assert (cluster.nodes.idle, len(cluster.running)) == ([0], 1)


def test_an_object_that_cannot_be_read_is_said_and_a_good_one_heals_it():
    cluster = Cluster(KINDS)
    bad_node, bad_pod = node("n", 4), pod("a", 1, uid="a")
    bad_node["status"]["allocatable"]["cpu"] = "many"
    bad_pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = "1 core"
    cluster.set_node(bad_node)
    assert cluster.set_pod(bad_pod) is None
    assert sorted(cluster.faults) == ["node n", "pod default/a"]
    assert "status.allocatable.cpu" in cluster.faults["node n"]
    cluster.set_node(node("n", 4))
    cluster.set_pod(pod("a", 1, uid="a"))
    assert (cluster.faults, len(cluster.nodes), len(cluster.pending)) == ({}, 1, 1)
    cluster.set_node(bad_node)
    cluster.delete_node("n")
    assert cluster.faults == {}


def test_queues_count_what_their_jobs_hold():
    from policies.api import QueueView

    queues = {"red": QueueView("red", {"*": 4000}, None, None, 1, None, {})}
    cluster = cluster_of(node("n", 4), pod("a", 2, uid="a", queue="red"), queues=queues)
    start(cluster, "default/a")
    assert cluster.queues["red"].held_milli == {"a100": 2000, "*": 2000}
    cluster.delete_pod("a")
    assert cluster.queues["red"].held_milli == {"a100": 0, "*": 0}
    assert queues["red"].held_milli == {}


@pytest.mark.parametrize(
    ("spec", "size"),
    [
        ({"minMember": 4}, 4),
        ({"schedulingPolicy": {"gang": {"minCount": 3}}}, 3),
        ({"schedulingPolicy": {"basic": {}}}, 1),
        ({}, None),
        (None, None),
        ({"minMember": "4"}, None),
    ],
)
def test_a_pod_group_says_its_size_in_the_words_of_its_maker(spec, size):
    assert group_size({"kind": "PodGroup", "spec": spec}) == size


def test_the_desk_tells_the_cluster_of_groups():
    cluster = cluster_of(pod("a", 1, uid="a", gang="g"), node("n"))
    desk = Desk(cluster, None, clock=lambda: 0)
    group = {"kind": "PodGroup", "metadata": {"name": "g", "namespace": "default"}, "spec": {"minMember": 1}}
    assert len(cluster.pending) == 0
    desk.tell({"type": "ADDED", "object": group})
    assert len(cluster.pending) == 1
    desk.tell({"type": "DELETED", "object": group})
    assert cluster.faults == {"job default/g#gang": "the size of its gang is not known: its PodGroup is missing"}
    desk.close()


def test_the_catalogue_gives_models_to_nodes():
    cluster = cluster_of(
        node("n", 8, labels={"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}),
        pod("a", uid="a"),
        kinds=device_kinds(),
    )
    assert cluster.nodes.topology.nodes[0].device_memory_mib == 81920
    assert cluster.pending.get("default/a").request.eligible == 1


def test_the_annotations_of_a_pod_say_which_devices_it_holds():
    cards = ":".join(f"GPU-{letter},10,81920,100,NVIDIA-A100,0,true" for letter in "abcd") + ":"
    item = node("n", 40)
    item["metadata"]["annotations"] = {"hami.io/node-nvidia-register": cards}
    cluster = Cluster(KINDS)
    cluster.set_node(item)
    told = {"hami.io/vgpu-devices-allocated": "GPU-c,NVIDIA,81920,100:;"}
    cluster.set_pod(pod("told", 1, node="n", uid="1", annotations=told))
    cluster.set_pod(pod("quiet", 1, node="n", uid="2"))
    assert cluster.nodes.idle_mask == [0b1010], "the third card, and the first of those that are left"
    cluster.delete_pod("1")
    assert cluster.nodes.idle_mask == [0b1110]
