"""Replaying the journal of an extender: a policy agrees with itself, and where another one differs is said rightly."""

from __future__ import annotations

import asyncio
import json
import random

import pytest
from builders import policy as make_policy
from kube_objects import added, deleted, modified, node_object, pod_object

from policies.api import QueueView
from policies.serving.api import ApiError
from policies.serving.cluster import Cluster
from policies.serving.desk import Desk
from policies.serving.extender import PolicyExtender
from policies.serving.extender_app import ExtenderApp
from policies.serving.http import Limits as HttpLimits
from policies.serving.journal import Journal, Limits
from policies.serving.metrics import Metrics
from sim.cli import main
from sim.fleet.kinds import device_kinds
from sim.replay.journal_reading import open_journal
from sim.replay.journal_replay import replay_journal


class Served:
    """An extender with its journal, asked and told by hand: everything but the sockets."""

    def __init__(self, folder, spec, *, queues=None, assume_ms=0, limits=None, seed=0, anonymise=None) -> None:
        self.now_ms = 1_000_000
        self.refused: set[str] = set()
        self.runner = asyncio.Runner()
        cluster = Cluster(device_kinds(), ours=lambda _: False, queues=queues)
        self.journal = Journal.open(
            folder,
            driver="extender",
            policy=spec,
            cluster=cluster,
            configuration={"assume_ms": assume_ms},
            limits=limits,
            anonymise=anonymise,
        )
        policy = make_policy(spec, seed)
        self.desk = Desk(cluster, policy, clock=lambda: self.now_ms, recorder=self.journal)
        self.extender = PolicyExtender(cluster, policy, device_kinds(), assume_ms=assume_ms)
        self.app = ExtenderApp(
            self.desk, self.extender, limits=HttpLimits(), metrics=Metrics(), binder=Binds(self.refused)
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.journal.close()
        self.desk.close()
        self.runner.close()

    def tell(self, event) -> None:
        self.now_ms += 1
        self.desk.cluster.now_ms = self.now_ms
        self.desk.tell(event)

    def ask(self, verb: str, request: dict):
        """The reply to a request."""
        self.now_ms += 1
        return self.runner.run(post(self.app.asgi, f"/{verb}", request))


class Binds:
    """An API server that refuses to bind some pods."""

    def __init__(self, refused: set[str]) -> None:
        self.refused = refused

    async def bind(self, namespace, name, uid, node, *, limit_s=0):
        if uid in self.refused:
            raise ApiError("POST binding", 409, "is bound")


async def post(app, path: str, value) -> object:
    """One request to an ASGI application, without a socket."""
    sent = []
    received = [{"type": "http.request", "body": json.dumps(value).encode(), "more_body": False}]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
        "server": ("127.0.0.1", 80),
        "scheme": "http",
    }

    async def receive():
        return received.pop() if received else await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    await app(scope, receive, send)
    return json.loads(b"".join(message.get("body", b"") for message in sent))


def play(served: Served, pods: int, *, nodes: int = 30, seed: int = 1) -> int:
    """A day of a cluster: pods come, are asked about, bound, preempted, end; nodes come and go. The number of questions."""
    rng = random.Random(seed)
    for number in range(nodes):
        served.tell(added(node_object(f"n{number:02}", rng.choice((4, 8)))))
    running: list[dict] = []
    asked = 0
    for number in range(pods):
        pod = pod_object(
            f"p{number}",
            rng.choice((1, 1, 2, 4, 8)),
            namespace=f"team-{rng.choice('ab')}",
            priority=rng.choice((0, 10)),
        )
        uid = pod["metadata"]["uid"]
        if rng.random() < 0.8:
            served.tell(added(pod))  # because: the question may come before the watch
        names = [f"n{number:02}" for number in range(nodes)]
        rng.shuffle(names)
        passed = served.ask("filter", {"Pod": pod, "Nodes": None, "NodeNames": names})["NodeNames"]
        asked += 1
        if not passed:
            victims = {
                node: {
                    "Pods": [{"UID": each["metadata"]["uid"]} for each in running if each["spec"]["nodeName"] == node]
                }
                for node in {each["spec"]["nodeName"] for each in running}
            }
            served.ask("preempt", {"Pod": pod, "NodeNameToVictims": None, "NodeNameToMetaVictims": victims})
            asked += 1
            served.tell(deleted(pod))
        else:
            best = passed[0]
            if len(passed) > 1:
                scores = served.ask("prioritize", {"Pod": pod, "Nodes": None, "NodeNames": passed})
                asked += 1
                best = max(scores, key=lambda each: each["Score"])["Host"]
            name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
            if rng.random() < 0.1:
                served.refused.add(uid)
            bind = {"PodName": name, "PodNamespace": namespace, "PodUID": uid, "Node": best}
            if not served.ask("bind", bind)["Error"]:
                pod["spec"]["nodeName"] = best
                pod["status"] = {"phase": "Running", "startTime": "2026-11-23T12:00:00Z"}
                served.tell(modified(pod))
                running.append(pod)
            else:
                served.tell(deleted(pod))
        if running and rng.random() < 0.5:
            served.tell(deleted(running.pop(rng.randrange(len(running)))))
        if rng.random() < 0.05:
            served.tell(modified(node_object(f"n{rng.randrange(nodes):02}", 8, labels={"changed": str(number)})))
        if rng.random() < 0.1:
            served.now_ms += 3_000
    return asked


def replayed(path, spec, seed=0, **more):
    return replay_journal(open_journal(path), lambda: make_policy(spec, seed), device_kinds(), **more)


def served_queues() -> dict[str, QueueView]:
    entitled = {"*": 40_000}
    return {name: QueueView(name, entitled, None, None, 1, None, {}) for name in ("team-a", "team-b")}


@pytest.mark.parametrize(
    ("spec", "more"),
    [
        ("best-effort-fifo:place=best-fit", {}),
        ("best-effort-fifo:place=spread", {"assume_ms": 2_000}),
        ("best-effort-fifo:place=consolidate,quota=keep", {"queues": served_queues()}),
        ("preempt-priority", {}),
        ("best-effort-fifo:place=best-fit", {"limits": Limits(file_ms=200)}),
    ],
    ids=["best-fit", "assumed", "quota", "preemption", "rotated"],
)
def test_a_policy_agrees_with_its_own_journal(tmp_path, spec, more):
    with Served(tmp_path, spec, **more) as served:
        asked = play(served, 60)
    assert served.journal.lost == 0
    found = replayed(tmp_path, spec)
    assert found.differ == 0, [*found.examples[:3]]
    assert found.compared == asked > 80
    assert not found.problems
    assert set(found.not_compared) == {"binds are no question to the policy"}
    assert sum(found.compared_by_tenant.values()) == asked


def test_under_hashed_names_only_ties_differ(tmp_path):
    """Equal nodes are taken by name, and the names are others: everything else is decided as before."""
    with Served(tmp_path, "best-effort-fifo:place=best-fit", anonymise="key") as served:
        asked = play(served, 40)
    found = replayed(tmp_path, "best-effort-fifo:place=best-fit")
    assert found.compared == asked
    assert set(found.by_kind) <= {"best node", "order"}
    assert any("hashed" in note for note in found.notes)


def test_the_last_file_of_a_journal_is_enough(tmp_path):
    """A snapshot holds all that the policy needs: replayed from the third file on, nothing differs either."""
    with Served(tmp_path, "best-effort-fifo:place=best-fit", limits=Limits(file_ms=250)) as served:
        play(served, 80)
    files = sorted(tmp_path.iterdir())
    assert len(files) > 4
    for path in files[:3]:
        path.unlink()
    found = replayed(tmp_path, "best-effort-fifo:place=best-fit")
    assert found.compared > 50
    assert found.differ == 0, [*found.examples[:3]]


def test_after_a_lost_line_nothing_is_compared_until_the_next_snapshot(tmp_path):
    with Served(tmp_path, "best-effort-fifo:place=best-fit", limits=Limits(file_ms=400)) as served:
        play(served, 80)
    first = min(tmp_path.iterdir())
    lines = first.read_bytes().splitlines(keepends=True)
    at = next(number for number, line in enumerate(lines) if b'"verb":"bind"' in line)
    first.write_bytes(b"".join([*lines[:at], b"?" * 9 + b"\n", *lines[at + 1 :]]))
    found = replayed(tmp_path, "best-effort-fifo:place=best-fit")
    assert found.differ == 0
    assert found.not_compared["a line before it is missing, so the state is not known"] > 5
    assert found.compared > 50
    assert found.problems == [f"{first.name}:{at + 1}: is not a JSON object"]


def test_another_policy_differs_where_it_does_by_hand(tmp_path):
    """n0 has 8 idle, n1 6: best-fit packs n1, spread goes to n0. The next pod is asked where the recorded one left it."""
    with Served(tmp_path, "best-effort-fifo:place=best-fit") as served:
        served.tell(added(node_object("n0", 8)))
        served.tell(added(node_object("n1", 8)))
        served.tell(added(pod_object("old", 2, node="n1")))
        for name in ("a", "b"):
            pod = pod_object(name, 3)
            served.tell(added(pod))
            passed = served.ask("filter", {"Pod": pod, "NodeNames": ["n0", "n1"]})["NodeNames"]
            scores = served.ask("prioritize", {"Pod": pod, "NodeNames": passed})
            assert {each["Host"]: each["Score"] for each in scores} == {"n1": 10, "n0": 9}
            served.tell(modified(pod_object(name, 3, node="n1")))
    found = replayed(tmp_path, "best-effort-fifo:place=spread")
    assert (found.compared, found.differ) == (4, 2)
    assert dict(found.by_kind) == {"best node": 2}
    first = found.examples[0]
    assert (first.subject, first.tenant, first.recorded, first.here) == ("team-a/a", "team-a", "n1", "n0")
    assert found.by_tenant["team-a"]["best node"] == 2


def test_a_refusal_for_quota_is_told_as_such(tmp_path):
    queues = {"team-a": QueueView("team-a", {"*": 2_000}, None, None, 1, None, {})}
    with Served(tmp_path, "best-effort-fifo:quota=keep", queues=queues) as served:
        served.tell(added(node_object("n0", 8)))
        assert not served.ask("filter", {"Pod": pod_object("a", 4), "NodeNames": ["n0"]})["NodeNames"]
    found = replayed(tmp_path, "best-effort-fifo")
    (difference,) = found.examples
    assert difference.kind == "quota"
    assert difference.recorded.startswith("nowhere: queue team-a has no headroom")
    assert difference.here == "1 of 1 nodes: n0"


def test_the_command_shows_and_says_by_its_status(tmp_path, capsys):
    with Served(tmp_path / "j", "best-effort-fifo:place=best-fit") as served:
        play(served, 40)

    def run(*words) -> tuple[int, str]:
        with pytest.raises(SystemExit) as exited:
            main(["replay", *map(str, words)])
        return exited.value.code or 0, capsys.readouterr().out

    status, out = run(tmp_path / "j")
    assert status == 0
    assert "recorded with best-effort-fifo:place=best-fit) and best-effort-fifo:place=best-fit" in out
    other = ("--policy", "best-effort-fifo:place=spread")
    status, out = run(served.journal.path, *other)
    assert status == 1
    assert "best node" in out
    assert "team-a" in out
    status, out = run(tmp_path / "j", *other, "--json", "--first", "2")
    data = json.loads(out)
    assert status == 1
    assert data["differ"] == sum(data["by_kind"].values()) > 0
    assert data["compared"] == sum(each["compared"] for each in data["by_tenant"].values())
    assert len(data["examples"]) <= 2 * len(data["by_kind"])
    status, out = run(tmp_path / "j", *other, "--markdown")
    assert status == 1
    assert "| best node |" in out
    for words in (
        [tmp_path / "absent"],
        [tmp_path / "j", "--policy", "nobody"],
        [tmp_path / "j", "--json", "--markdown"],
        [tmp_path / "j", "--scheduler-config", "x.yaml"],
        [tmp_path / "j", "--policy", "easy:x=y"],
    ):
        assert run(*words)[0] == 2


def test_placements_that_draw_need_the_seed_of_the_server(tmp_path):
    with Served(tmp_path, "best-effort-fifo:place=random", seed=3) as served:
        play(served, 60)
    assert replayed(tmp_path, "best-effort-fifo:place=random", seed=3).differ == 0
    assert replayed(tmp_path, "best-effort-fifo:place=random", seed=4).differ > 0
