"""`serve scheduler` over real HTTP: policies that fail, are slow or say no, and what users are told of pods that wait."""

from __future__ import annotations

import asyncio
import threading

import pytest
from builders import policy
from kube_builders import MINE, node, pod
from schedulers import QUICK, Scripted, play, scheduling

from policies.api import Preempt, QueueView, Reject, Start, WakeAt


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    for name, value in QUICK.items():
        monkeypatch.setattr(f"policies.serving.{name}", value)


# -- policies that fail, are slow, or say no ---------------------------------------------------------------------------


def test_a_policy_that_fails_is_asked_again(tmp_path, caplog):
    calls = []

    def script(view):
        calls.append(view.now_ms)
        if len(calls) < 3:
            raise ZeroDivisionError("no")
        return ()

    async def scene(server):
        server.add(node("n"))
        async with scheduling(server, tmp_path, Scripted(script)) as running:
            server.add(pod("a"))
            await server.until(lambda: len(server.placements()) == 1)
        assert [each.get("error") for each in running.book.passes][:2] == [
            "scripted failed: ZeroDivisionError: no"
        ] * 2

    play(tmp_path, scene)
    assert "ZeroDivisionError" in caplog.text


@pytest.mark.parametrize(
    ("action", "said"),
    [
        (Start("default/none", ()), "no such job waits"),
        (Preempt("default/a"), "does not run"),
        (Reject("default/none", ""), "no such job waits"),
        (WakeAt(0), "not later than now"),
        ("start a", "cannot do 'start a'"),
    ],
)
def test_an_action_that_cannot_be_ends_the_pass_and_nothing_else(tmp_path, action, said):
    wrong = [action]

    async def scene(server):
        server.add(node("n"))
        async with scheduling(server, tmp_path, Scripted(lambda view: [wrong.pop()] if wrong else [])) as running:
            server.add(pod("a"))
            await server.until(lambda: len(server.placements()) == 1)
        assert said in running.book.passes[0]["error"]

    play(tmp_path, scene)


def test_a_job_that_is_placed_wrongly_does_not_hold_up_the_others(tmp_path):
    def script(view):
        first = view.pending.by(policy("fifo").order).first()
        return [Start(first.job_id, ())] if first and first.job_id == "default/a" else []

    async def scene(server):
        server.add(node("n"))
        async with scheduling(server, tmp_path, Scripted(script)):
            for name in "abc":
                server.add(pod(name))
            await server.until(lambda: len(server.placements()) == 2)
            await server.until(lambda: bool(server.events_of("a")))
        assert (
            "placed it where it cannot be: default/a: the gang lacks 1 of 1 pods" in server.events_of("a")[0]["note"]
        )

    play(tmp_path, scene)


def test_what_the_ledger_does_not_count_is_looked_at_before_binding(tmp_path):
    asks = {"resources": {"requests": {"nvidia.com/gpu": "1", "rdma/hca": "1"}}}
    spec = {"containers": [{"name": "main", "image": "main", **asks}]}

    async def scene(server):
        for name in ("has", "lacks"):
            server.add(node(name, 4))
        item = server.all("nodes")[0]
        item["status"]["allocatable"]["rdma/hca"] = "1"
        server.change(item)
        async with scheduling(server, tmp_path, "best-effort-fifo:place=spread"):
            for name in "abc":
                server.add(pod(name, spec=spec))
            server.add(pod("plain", 4))
            await server.until(lambda: len(server.placements()) == 2)
            await server.until(lambda: bool(server.events_of("b")) and bool(server.events_of("c")))
            assert server.placements() == {"a": "has", "plain": "lacks"}
            server.remove("Pod", "a")
            await server.until(lambda: len(server.placements()) == 2)

    play(tmp_path, scene)


def test_a_policy_that_thinks_long_stops_nothing_else(tmp_path):
    go_on = threading.Event()

    def script(view):
        assert go_on.wait(30), "nobody told it to go on"
        return ()

    async def scene(server):
        server.add(node("n"))
        async with scheduling(server, tmp_path, Scripted(script)) as running:
            thinks: list[float | None] = []
            running.scheduler.busy = thinks.append
            server.add(pod("a"))
            await server.until(lambda: bool(thinks))
            await running.api.list_all(running.scheduler._watcher._books[0].resource)
            assert thinks == [thinks[0]], "it still thinks"
            go_on.set()
            await server.until(lambda: len(server.placements()) == 1)

    play(tmp_path, scene)


def test_a_rejected_job_is_left_alone_until_it_changes(tmp_path):
    def script(view):
        return [Reject(job.job_id, "too dear") for job in list(view.pending) if job.priority == 0]

    async def scene(server):
        server.add(node("n"))
        async with scheduling(server, tmp_path, Scripted(script)) as running:
            item = server.add(pod("a"))
            await server.until(lambda: bool(server.events_of("a")))
            assert server.events_of("a")[0]["note"] == "scripted turns it away for good: too dear"
            server.add(pod("b", priority=1))
            await server.until(lambda: "b" in server.placements())
            server.change({**server.pod("a"), "spec": {**item["spec"], "priority": 1}})
            await server.until(lambda: "a" in server.placements())
        assert [each["action"] for each in running.book.actions] == ["reject", "start", "start"]

    play(tmp_path, scene)


def test_a_policy_is_woken_when_it_asks_for_it(tmp_path):
    """Nothing waits and nothing happens: nothing else would ask it a second time."""
    asked_ms = []

    def script(view):
        asked_ms.append(view.now_ms)
        return [WakeAt(view.now_ms + 100)] if len(asked_ms) == 1 else []

    async def scene(server):
        async with scheduling(server, tmp_path, Scripted(script, empty=True)):
            await server.until(lambda: len(asked_ms) == 2)

    play(tmp_path, scene)
    assert asked_ms[1] - asked_ms[0] >= 100


def test_passes_come_at_multiples_of_the_cycle_only(tmp_path):
    """Pods come much more often; however long that takes, no cycle has two passes."""
    asked_ms = []

    def script(view):
        asked_ms.append(view.now_ms)
        return ()

    async def scene(server):
        server.add(node("n"))
        async with scheduling(server, tmp_path, Scripted(script), cycle_ms=100):
            for number in range(8):
                server.add(pod(f"p{number}"))
                await asyncio.sleep(0.02)
            await server.until(lambda: len(server.placements()) == 8)

    play(tmp_path, scene)
    cycles = [at // 100 for at in asked_ms]
    assert len(cycles) == len(set(cycles))


# -- what is said of those that wait -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {
                "affinity": {
                    "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"topologyKey": "x"}]}
                }
            },
            "it uses required anti-affinity to other pods, which fifo does not keep",
        ),
        (
            {"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "x", "whenUnsatisfiable": "DoNotSchedule"}]},
            "it uses a hard topologySpreadConstraint, which fifo does not keep",
        ),
        ({"resourceClaims": [{"name": "gpu"}]}, "it has resourceClaims, which only kube-scheduler can allocate"),
        (
            {"nodeSelector": {"zone": "a"}},
            "0/2 nodes are available: 1 are cordoned, 1 do not match its node selector",
        ),
        (
            {"containers": [{"name": "main", "resources": {"requests": {"cpu": "100"}}}]},
            "0/2 nodes are available: 1 are cordoned, 1 have too little CPU",
        ),
    ],
)
def test_who_waits_is_told_why(tmp_path, more, said):
    async def scene(server):
        server.add(node("n"))
        server.add(node("o", unschedulable=True))
        async with scheduling(server, tmp_path):
            server.add(pod("a", spec=more))
            await server.until(lambda: bool(server.events_of("a")) and "conditions" in server.pod("a")["status"])
        (event,) = server.events_of("a")
        assert event["note"].startswith(said)
        assert (event["reason"], event["type"], event["reportingController"]) == ("FailedScheduling", "Warning", MINE)
        (condition,) = server.pod("a")["status"]["conditions"]
        assert (condition["status"], condition["reason"], condition["message"]) == (
            "False",
            "Unschedulable",
            event["note"],
        )
        assert server.placements() == {}

    play(tmp_path, scene)


def test_who_waits_for_others_is_told_so(tmp_path):
    async def scene(server):
        server.add(node("n", 4))
        queues = {"red": QueueView("red", {"*": 1000}, {"*": 0}, None, 1, None, {})}
        async with scheduling(server, tmp_path, "fifo:quota=keep", queues=queues):
            for name in "ab":
                server.add(pod(name, queue="red"))
            await server.until(lambda: bool(server.events_of("b")))
        assert "queue 'red' has no headroom for it" in server.events_of("b")[-1]["note"]
        assert server.events_of("b")[-1]["note"].endswith("it holds 1 devices)")

    play(tmp_path, scene)


def test_what_is_said_again_is_counted(tmp_path, monkeypatch):
    monkeypatch.setattr("policies.serving.unplaced.AGAIN_MS", 20)
    monkeypatch.setattr("policies.serving.unplaced.AGAIN_MAX_MS", 20)

    async def scene(server):
        server.add(node("n"))
        async with scheduling(server, tmp_path):
            server.add(pod("a", 9))
            await server.until(
                lambda: any(each.get("series", {}).get("count", 0) >= 3 for each in server.events_of("a"))
            )
        assert len(server.events_of("a")) == 1

    play(tmp_path, scene)


def test_pods_that_name_another_order_or_a_gate_wait_in_silence(tmp_path):
    async def scene(server):
        server.add(node("n"))
        async with scheduling(server, tmp_path):
            server.add(pod("gated", spec={"schedulingGates": [{"name": "quota"}]}))
            server.add(pod("a", 9))
            await server.until(lambda: bool(server.events_of("a")))
            assert not server.events_of("gated")
            item = server.pod("gated")
            server.change({**item, "spec": {**item["spec"], "schedulingGates": []}})
            await server.until(lambda: "gated" in server.placements())

    play(tmp_path, scene)


@pytest.mark.parametrize("name", ["easy", "conservative", "sjf:per=queue", "smallest-area"])
def test_policies_that_remember_what_they_saw_can_be_served(tmp_path, name):
    """A full cluster, a queue behind it, ends one after the other: in the end every pod was bound."""

    async def scene(server):
        for number in range(2):
            server.add(node(f"n{number}", 4))
        async with scheduling(server, tmp_path, name):
            for number in range(6):
                estimate = {"annotations": {"rehearse/estimate-seconds": str(60 * (number + 1))}}
                server.add(pod(f"p{number}", 4 - number % 3, priority=0, cpu="1", **estimate))
            for _ in range(6):
                await server.until(lambda: bool(server.placements()))
                server.remove("Pod", next(iter(server.placements())))

    assert len(play(tmp_path, scene).bindings) == 6


def test_kube_schedulers_own_rules_can_be_served(tmp_path):
    """It spreads by default, and has a clock of its own for those that do not fit."""

    async def scene(server):
        for number in range(2):
            server.add(node(f"n{number}", 4))
        async with scheduling(server, tmp_path, "kube-default"):
            for number in range(2):
                server.add(pod(f"p{number}", 1, cpu="8"))
            await server.until(lambda: len(server.placements()) == 2)
        assert sorted(server.placements().values()) == ["n0", "n1"]

    play(tmp_path, scene)
