"""`serve scheduler` over real HTTP: it places as the policy does, whatever the API server and the pods do meanwhile."""

from __future__ import annotations

import pytest
from builders import policy
from fake_api_server import Fault
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kube_builders import KINDS, MINE, node, pod, pod_group
from schedulers import QUICK, Scripted, play, scheduling

from policies.api import Preempt
from policies.serving.scheduler_cluster import cluster_for


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    for name, value in QUICK.items():
        monkeypatch.setattr(f"policies.serving.{name}", value)


# -- the same as in process ------------------------------------------------------------------------------------------


def in_process(spec: str, nodes, pods) -> dict[str, str]:
    """Where the policy puts the pods if it is asked after each arrival."""
    chosen = policy(spec)
    cluster = cluster_for(chosen, MINE, KINDS)
    found = {}
    for item in nodes:
        cluster.set_node(item)
    for number, item in enumerate(pods):
        cluster.set_pod({**item, "metadata": {**item["metadata"], "uid": str(number)}})
    cluster.settle()
    changes = -1
    while changes != cluster.changes:
        changes = cluster.changes
        for action in chosen.decide(cluster):
            found.update((each.pod.name, each.node) for each in cluster.assume(action.job_id, action.placement))
    return found


POLICIES = ("fifo:place=best-fit", "fifo:place=spread", "best-effort-fifo:place=consolidate", "best-effort-priority")


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    spec=st.sampled_from(POLICIES),
    sizes=st.lists(st.sampled_from([4, 8]), min_size=1, max_size=5),
    jobs=st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from([1, 1, 1, 2, 4]), st.integers(0, 2)), min_size=1, max_size=12
    ),
)
def test_it_places_as_the_policy_does_in_process(tmp_path, spec, sizes, jobs):
    nodes = [node(f"n{number}", gpus) for number, gpus in enumerate(sizes)]
    pods = []
    for number, (gpus, count, priority) in enumerate(jobs):
        gang = {"gang": (f"g{number:02}", count)} if count > 1 else {}
        names = [f"p{number:02}-{part}" for part in range(count)]
        pods += [pod(name, gpus, priority=priority, cpu="2", **gang) for name in names]
    expected = in_process(spec, nodes, pods)

    async def scene(server):
        for item in (*nodes, *pods):
            server.add(item)
        async with scheduling(server, tmp_path, spec):
            await server.until(lambda: len(server.placements()) == len(expected))
        assert server.placements() == expected

    play(tmp_path, scene)


def test_two_hundred_pods_on_a_hundred_nodes(tmp_path):
    async def scene(server):
        for number in range(100):
            server.add(node(f"n{number:03}", 4))
        async with scheduling(server, tmp_path, "fifo:place=best-fit") as running:
            for number in range(200):
                server.add(pod(f"p{number:03}", 2))
            await server.until(lambda: len(server.placements()) == 200)
        assert running.book.actions[0]["placement"] == [{"node": "n000", "devices": 3, "count": 1, "group": 0}]
        assert sorted(server.placements().values()) == sorted([f"n{number:03}" for number in range(100)] * 2)

    play(tmp_path, scene)


def test_only_its_own_pods_are_its_business(tmp_path):
    def script(view):
        """Would preempt what runs there, if it saw it."""
        return [Preempt(each.job.job_id) for each in list(view.running) if each.job.job_id != "default/a"]

    async def scene(server):
        server.add(node("n", 2))
        server.add(pod("theirs", 1, scheduler="default-scheduler"))
        server.add(pod("running", 1, scheduler="default-scheduler", node="n"))
        async with scheduling(server, tmp_path, Scripted(script)):
            for name in "ab":
                server.add(pod(name))
            await server.until(lambda: "a" in server.placements())
            await server.until(lambda: bool(server.events_of("b")))
        assert server.placements() == {"running": "n", "a": "n"}
        assert not server.events_of("theirs")

    play(tmp_path, scene)


# -- gangs -------------------------------------------------------------------------------------------------------------


def test_a_gang_starts_whole_and_when_it_is_complete(tmp_path):
    async def scene(server):
        for name in "xy":
            server.add(node(name, 4))
        server.add(pod_group("g", 3))
        async with scheduling(server, tmp_path):
            for number in range(2):
                server.add(pod(f"g{number}", 2, gang="g"))
            await server.until(lambda: bool(server.events_of("g0")))
            assert server.events_of("g0")[0]["note"] == "its gang has 2 of 3 pods"
            assert server.placements() == {}
            server.add(pod("g2", 2, gang="g"))
            await server.until(lambda: len(server.placements()) == 3)
            server.add(pod("g3", 2, gang="g"))  # because: more than it needs, so it starts by itself
            await server.until(lambda: len(server.placements()) == 4)

    server = play(tmp_path, scene)
    assert server.bindings[-1][0] == "g3"


def test_two_gangs_of_which_one_fits_do_not_share_what_is_there(tmp_path):
    async def scene(server):
        for number in range(3):
            server.add(node(f"n{number}", 2))
        async with scheduling(server, tmp_path, "best-effort-fifo"):
            for gang in "ab":
                for number in range(2):
                    server.add(pod(f"{gang}{number}", 2, gang=(gang, 2)))
            await server.until(lambda: len(server.placements()) == 2)
            await server.until(lambda: bool(server.events_of("b1")))
            assert "there is room for 1 of its 2 pods" in server.events_of("b1")[0]["note"]
            for name in ("a0", "a1"):
                server.remove("Pod", name)
            await server.until(lambda: len(server.placements()) == 2)
        assert sorted(server.placements()) == ["b0", "b1"]

    play(tmp_path, scene)


# -- an API server that fails ----------------------------------------------------------------------------------------


def test_the_api_server_goes_away_and_comes_back(tmp_path):
    async def scene(server):
        server.add(node("n", 4))
        async with scheduling(server, tmp_path) as running:
            server.add(pod("a"))
            await server.until(lambda: len(server.placements()) == 1)
            await server.go()
            await server.until(lambda: bool(running.scheduler.detail()["watch_faults"]))
            server.remove("Pod", "a")
            for name in "bcde":
                server.add(pod(name))
            server.forget_past()
            await server.come()
            await server.until(lambda: len(server.placements()) == 4)

    play(tmp_path, scene)


def failing(path_end, *faults):
    """The first requests that end so meet these."""
    left = list(faults)
    return lambda method, path: left.pop(0) if left and method == "POST" and path.endswith(path_end) else None


def test_a_gang_of_which_one_pod_is_refused_is_completed_later(tmp_path):
    async def scene(server):
        for number in range(2):
            server.add(node(f"n{number}", 2))
        server.faults = failing("g1/binding", *[Fault(status=403)])
        async with scheduling(server, tmp_path) as running:
            for number in range(2):
                server.add(pod(f"g{number}", 2, gang=("g", 2)))
            await server.until(lambda: len(server.placements()) == 2)
            await server.until(lambda: any("binding failed" in each["note"] for each in server.events_of("g1")))
        starts = [action for action in running.book.actions if action["action"] == "start"]
        assert [each["job"] for each in starts] == ["default/g#gang", "default/g#gang#rest"]

    play(tmp_path, scene)


@pytest.mark.parametrize(
    "faults",
    [
        [Fault(status=500)] * 3,
        [Fault(lose=True)] * 2,
        [Fault(drop=True)],
        [Fault(status=409)],
        [Fault(status=503), Fault(drop=True)],
    ],
    ids=["500", "no answer, not bound", "no answer, bound", "409 that is none", "503, then bound without an answer"],
)
def test_whatever_a_binding_answers_the_pod_is_bound_once(tmp_path, faults):
    async def scene(server):
        server.add(node("n0", 1))
        server.add(node("n1", 1))
        server.faults = failing("binding", *faults)
        async with scheduling(server, tmp_path):
            for name in "ab":
                server.add(pod(name))
            await server.until(lambda: len(server.placements()) == 2)
        assert sorted(server.placements().values()) == ["n0", "n1"]

    play(tmp_path, scene)


def test_a_binding_that_is_lost_on_its_way_keeps_its_place(tmp_path):
    """As long as nobody knows whether it happened, nobody else gets the node."""

    async def scene(server):
        server.add(node("n", 1))
        server.faults = lambda method, path: Fault(lose=True) if "/pods/a" in path else None
        async with scheduling(server, tmp_path, "best-effort-fifo"):
            server.add(pod("a"))
            await server.until(lambda: server.requests["POST /api/v1/namespaces/default/pods/a/binding"] >= 2)
            server.add(pod("b"))
            await server.until(lambda: bool(server.events_of("b")))
            assert server.placements() == {}
            server.faults = lambda *_: None
            await server.until(lambda: server.placements() == {"a": "n"})

    play(tmp_path, scene)


def test_a_pod_that_is_deleted_while_it_is_bound_frees_its_place(tmp_path):
    async def scene(server):
        server.add(node("n", 1))
        slow = [Fault(delay_s=0.2)]
        server.faults = lambda method, path: slow[0] if slow and path.endswith("a/binding") else None
        async with scheduling(server, tmp_path, "best-effort-fifo"):
            server.add(pod("a"))
            await server.until(lambda: bool(server.requests["POST /api/v1/namespaces/default/pods/a/binding"]))
            server.remove("Pod", "a")
            server.add(pod("a"))  # because: of the same name, as a StatefulSet would make it
            slow.clear()
            await server.until(lambda: len(server.placements()) == 1)
            assert server.pod("a")["metadata"]["uid"] == "uid-3"

    play(tmp_path, scene)


def test_somebody_else_is_quicker(tmp_path):
    async def scene(server):
        server.add(node("n0", 1))
        server.add(node("n1", 1))
        server.faults = failing("a/binding", Fault(delay_s=0.1))
        async with scheduling(server, tmp_path) as running:
            server.add(pod("a"))
            await server.until(lambda: bool(server.requests["POST /api/v1/namespaces/default/pods/a/binding"]))
            await running.api.bind("default", "a", "", "n1")
            server.add(pod("b"))
            await server.until(lambda: len(server.placements()) == 2)
        assert server.placements() == {"a": "n1", "b": "n0"}

    play(tmp_path, scene)


# -- preemption --------------------------------------------------------------------------------------------------------


def test_preemption_waits_for_a_slow_victim_and_nobody_takes_its_place(tmp_path):
    async def scene(server):
        server.add(node("n", 2))
        async with scheduling(server, tmp_path, "preempt-priority"):
            server.add(pod("low", 2))
            await server.until(lambda: "low" in server.placements())
            server.add(pod("high", 2, priority=9))
            await server.until(lambda: server.pod("low")["metadata"].get("deletionTimestamp") is not None)
            await server.until(lambda: server.pod("high")["status"].get("nominatedNodeName") == "n")
            server.add(pod("quick", 1, priority=5))
            await server.until(lambda: bool(server.events_of("quick")))
            assert server.placements() == {"low": "n"}
            server.reap("low")
            await server.until(lambda: server.placements() == {"high": "n"})
            assert [each["reason"] for each in server.events_of("low")] == ["Scheduled", "Preempted"]
            assert server.requests["POST /api/v1/namespaces/default/pods/low/eviction"] == 1

    play(tmp_path, scene, grace_s=None)


def test_a_gang_waits_for_the_last_of_its_victims(tmp_path):
    async def scene(server):
        for name in "xy":
            server.add(node(name, 2))
        async with scheduling(server, tmp_path, "preempt-priority") as running:
            uids = [server.add(pod(name, 2))["metadata"]["uid"] for name in ("low0", "low1")]
            await server.until(lambda: len(server.placements()) == 2)
            for number in range(2):
                server.add(pod(f"high{number}", 2, gang=("g", 2), priority=9))
            await server.until(
                lambda: all(item["metadata"].get("deletionTimestamp") for item in server.all("pods")[:2])
            )
            server.reap("low0")
            await server.until(lambda: running.desk.cluster.known(uids[0]) is None)
            await running.desk.do(lambda: None)  # because: what the desk does about it, it has done then
            assert server.placements() == {"low1": "y"}
            server.reap("low1")
            await server.until(lambda: sorted(server.placements()) == ["high0", "high1"])

    play(tmp_path, scene, grace_s=None)


def test_a_disruption_budget_delays_preemption(tmp_path):
    async def scene(server):
        server.add(node("n", 2))
        server.protected.add("low")
        async with scheduling(server, tmp_path, "preempt-priority") as running:
            server.add(pod("low", 2))
            await server.until(lambda: "low" in server.placements())
            server.add(pod("high", 2, priority=9))
            await server.until(lambda: server.requests["POST /api/v1/namespaces/default/pods/low/eviction"] >= 3)
            assert "deletionTimestamp" not in server.pod("low")["metadata"]
            server.protected.clear()
            await server.until(lambda: server.placements() == {"high": "n"})
        # because: a start is bound while its pass goes on, and the pass is written down when it has ended
        assert [each["action"] for each in running.book.actions] == ["start", "preempt", "start"]

    play(tmp_path, scene)


def test_a_victim_that_never_leaves_keeps_its_place_and_others_go_on(tmp_path):
    async def scene(server):
        server.add(node("n", 2))
        server.add(node("o", 1))
        server.protected.add("low")
        async with scheduling(server, tmp_path, "preempt-priority", patience_ms=100) as running:
            server.add(pod("low", 2))
            await server.until(lambda: "low" in server.placements())
            server.add(pod("high", 2, priority=9))
            await server.until(lambda: any(each["kind"] == "stay" for each in running.book.decisions))
            server.add(pod("small", 1))
            await server.until(lambda: "small" in server.placements())
            await server.until(lambda: sum(each["kind"] == "unpark" for each in running.book.decisions) > 1)
            await server.until(lambda: "nominatedNodeName" not in server.pod("high")["status"])
        assert server.placements() == {"low": "n", "small": "o"}

    play(tmp_path, scene)


def test_a_new_leader_does_not_preempt_again_for_what_is_nominated(tmp_path):
    """It finds a victim that leaves and a pod that is nominated for its node, and waits."""

    async def scene(server):
        server.add(node("n", 2))
        server.add(node("o", 2))
        server.add(pod("going", 2, node="n", leaving=True))
        server.add(pod("staying", 2, node="o"))
        high = pod("high", 2, priority=9)
        high["status"]["nominatedNodeName"] = "n"
        server.add(high)
        async with scheduling(server, tmp_path, "preempt-priority"):
            await server.until(lambda: bool(server.events_of("high")))
            assert "leaving the nodes for which it was nominated" in server.events_of("high")[0]["note"]
            server.reap("going")
            await server.until(lambda: "high" in server.placements())
        assert server.placements() == {"staying": "o", "high": "n"}

    play(tmp_path, scene, grace_s=None)
