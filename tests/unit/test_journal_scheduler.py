"""Replaying the journal of a scheduler that the true one wrote, over loopback HTTP, with what may go wrong on the way."""

from __future__ import annotations

import asyncio
import random

import pytest
from builders import policy as make_policy
from fake_api_server import FakeApiServer, Fault
from kube_builders import KINDS, MINE, node, pod
from kube_objects import added, deleted, modified, node_object, pod_object
from schedulers import play, scheduling

from policies.api import Policy, Preempt, QueueView, Reject, Semantics, Start
from policies.placement.first_fit import FirstFit
from policies.serving.cluster import Cluster
from policies.serving.desk import Desk
from policies.serving.journal import Journal, Limits
from policies.serving.passes import PassRunner
from policies.serving.rules import keeps_pod_rules
from policies.serving.scheduler_cluster import cluster_for
from sim.replay.journal_reading import open_journal
from sim.replay.journal_replay import replay_journal


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """What takes seconds in production takes a tenth of it here."""
    for name, value in {
        "retries.FIRST_S": 0.05,
        "binder.RETRY_S": 0.05,
        "evictor.RETRY_S": 0.02,
        "scheduler.REPORT_S": 0.05,
        "watch.RETRY_S": 0.05,
    }.items():
        monkeypatch.setattr(f"policies.serving.{name}", value)


def journal_of(folder, policy: Policy, cluster: Cluster, **more) -> Journal:
    return Journal.open(
        folder,
        driver="scheduler",
        policy=policy.name,
        cluster=cluster,
        configuration={"scheduler_name": MINE, "labels": keeps_pod_rules(policy)},
        **more,
    )


def replayed(path, policy, **more):
    return replay_journal(open_journal(path), policy, KINDS, **more)


class Unruly(Policy):
    """First fit in the order of arrival; now and then it preempts, turns away, or asks for what cannot be."""

    name = "unruly"
    runs_on_empty_queue = True

    def __init__(self):
        self.passes = 0
        """How often it was asked."""

    def decide(self, view):
        self.passes += 1
        running = list(view.running)
        if self.passes % 5 == 0 and running:
            yield Preempt(running[self.passes % len(running)].job.job_id, "its turn")
        for job in list(view.pending):
            if job.job_id.endswith("7"):
                yield Reject(job.job_id, "no sevens")
                continue
            placement = FirstFit().place(job.request, view.nodes)
            if placement is not None:
                yield Start(job.job_id, placement)

    def semantics(self):
        return Semantics(order="arrival", blocking="none", placement="first-fit")


async def busy(server: FakeApiServer, folder, journal, what, *, seed: int, queues=None) -> None:
    """Gangs and single pods come, some are refused, some end, some are deleted; nodes change."""
    rng = random.Random(seed)
    for number in range(6):
        server.add(node(f"n{number}", 8))
    refused = rng.sample(range(30), 4)

    def faults(method: str, path: str) -> Fault | None:
        if (
            method == "POST"
            and any(path.endswith(f"/p{number}/binding") for number in refused)
            and rng.random() < 0.5
        ):
            return Fault(status=rng.choice((409, 403)))
        return None

    server.faults = faults
    options = {"queues": queues, "recorder": journal, "patience_ms": 400}
    async with scheduling(server, folder, what, **options) as running:
        for number in range(30):
            size = rng.choice((1, 1, 1, 2, 3))
            for member in range(size):
                name = f"p{number}" if size == 1 else f"g{number}-{member}"
                more = {"gang": (f"g{number}", size)} if size > 1 else {}
                queue = f"team-{rng.choice('ab')}" if size == 1 else "team-a"
                server.add(pod(name, rng.choice((1, 2, 4)), priority=rng.choice((0, 0, 10)), queue=queue, **more))
            if rng.random() < 0.4:
                await asyncio.sleep(rng.choice((0.002, 0.01)))
            bound = [each for each in server.all("pods") if each["spec"].get("nodeName")]
            if bound and rng.random() < 0.6:
                server.remove("Pod", rng.choice(bound)["metadata"]["name"])
            if rng.random() < 0.1:
                server.change(node(f"n{rng.randrange(6)}", 8, labels={"round": str(number)}))
        await asyncio.sleep(0.3)
        assert running.scheduler.detail()["passes"] > 2


def scene(tmp_path, what, *, seed: int, queues=None, **more):
    opened: list[Journal] = []

    def recorder(cluster: Cluster) -> Journal:
        chosen = make_policy(what) if isinstance(what, str) else what
        opened.append(journal_of(tmp_path / "journal", chosen, cluster, **more))
        return opened[0]

    play(tmp_path, lambda server: busy(server, tmp_path, recorder, what, seed=seed, queues=queues))
    opened[0].close()
    assert opened[0].lost == 0
    return tmp_path / "journal"


def queues() -> dict[str, QueueView]:
    return {name: QueueView(name, {"*": 12_000}, None, None, 1, None, {}) for name in ("team-a", "team-b")}


@pytest.mark.parametrize(
    ("spec", "more"),
    [
        ("fifo", {}),
        ("easy:place=best-fit", {}),
        ("preempt-priority", {}),
        ("best-effort-fifo:quota=keep", {"queues": queues()}),
        ("preempt-priority", {"limits": Limits(file_ms=100)}),
    ],
    ids=["fifo", "easy", "preemption", "quota", "rotated"],
)
def test_a_policy_agrees_with_its_own_journal(tmp_path, spec, more):
    folder = scene(tmp_path, spec, seed=3, **more)
    found = replayed(folder, lambda: make_policy(spec))
    assert found.differ == 0, [*found.examples[:3]]
    assert found.problems == []
    assert found.compared == found.questions["pass"] > 2


def test_a_policy_that_does_all_it_may_agrees_too(tmp_path):
    folder = scene(tmp_path, Unruly(), seed=5)
    found = replayed(folder, Unruly)
    assert found.differ == 0, [*found.examples[:3]]
    assert found.problems == []
    told = [entry.decision for process in open_journal(folder).processes for entry in process.files[0].entries()]
    actions = {action["action"] for each in told if each for action in each.get("actions", ())}
    assert actions >= {"start", "preempt", "reject"}
    assert {each["kind"] for each in told if each} >= {"pass", "forget", "unpark"}


def test_another_policy_differs_and_the_journal_goes_on_as_it_was(tmp_path):
    folder = scene(tmp_path, "fifo", seed=3)
    found = replayed(folder, lambda: make_policy("best-effort-fifo:place=spread"))
    assert 0 < found.differ < found.compared
    assert {"placement"} <= set(found.by_kind) <= {"placement", "start", "gang start"}
    assert set(found.by_tenant) <= {"team-a", "team-b"}
    assert found.problems == [], "what was recorded can be done in each state"


def test_under_hashed_names_each_recorded_pass_can_be_done_again(tmp_path):
    found = replayed(
        scene(tmp_path, "preempt-priority", seed=3, anonymise="key"), lambda: make_policy("preempt-priority")
    )
    assert found.problems == []
    assert found.differ < found.compared
    assert any("hashed" in note for note in found.notes)


# -- by hand -------------------------------------------------------------------------------------------------------------


class Hand:
    """A desk with a journal, told and asked by hand."""

    def __init__(self, folder, policy: Policy) -> None:
        self.cluster = cluster_for(policy, MINE, KINDS)
        self.journal = journal_of(folder, policy, self.cluster)
        self.desk = Desk(self.cluster, policy, clock=lambda: 0, recorder=self.journal)
        self.runner = PassRunner(self.cluster, policy, going=lambda: True, cancel=lambda _: False)

    def tell(self, *events) -> None:
        self.cluster.now_ms += 1
        for event in events:
            self.desk.tell(event)

    def decide(self) -> list[str]:
        result = self.runner.run()
        self.journal.decision(self.cluster.now_ms, {"kind": "pass", "actions": result.actions})
        return [action["job"] for action in result.actions]


def mine(name: str, gpus: int = 1, **more):
    return pod_object(name, gpus, scheduler=MINE, **more)


def test_differences_by_hand(tmp_path):
    """Two nodes of 4. Head: a gang of 2 x 4 while one node is held by `old`: strict FIFO waits, best effort starts `small`.

    Then `old` ends: both start the gang, if `small` (which was not started) does not stand in the way.
    """
    hand = Hand(tmp_path, make_policy("fifo"))
    hand.tell(added(node_object("n0", 4)), added(node_object("n1", 4)))
    old = mine("old", 4, node="n0", queue="team-b")
    hand.tell(added(old))
    hand.tell(*(added(mine(f"big-{member}", 4, gang=("big", 2))) for member in range(2)))
    hand.tell(added(mine("small", 1, queue="team-b")))
    assert hand.decide() == []
    hand.tell(deleted(old))
    assert hand.decide() == ["team-a/big#gang"]
    hand.tell(*(modified(mine(f"big-{member}", 4, gang=("big", 2), node=f"n{member}")) for member in range(2)))
    hand.journal.close()
    hand.desk.close()

    assert replayed(tmp_path, lambda: make_policy("fifo")).differ == 0
    found = replayed(tmp_path, lambda: make_policy("best-effort-fifo"))
    (difference,) = found.examples
    assert (difference.kind, difference.tenant, difference.subject) == ("start", "team-b", "team-a/small")
    assert (difference.recorded, difference.here) == ("does not start", "starts on n1")
    assert found.compared == 2, "the second pass begins without `small`, as it was"


def test_a_gang_that_starts_elsewhere_and_a_victim_by_hand(tmp_path):
    """One node of 8 with a low job of 8, then a high one: preempt-priority makes room, best effort waits."""
    hand = Hand(tmp_path, make_policy("preempt-priority"))
    hand.tell(added(node_object("n0", 8)))
    hand.tell(added(mine("low", 8, node="n0", priority=0)), added(mine("high", 8, priority=10)))
    assert hand.decide() == ["team-a/low", "team-a/high"]
    hand.journal.close()
    hand.desk.close()
    assert replayed(tmp_path, lambda: make_policy("preempt-priority")).differ == 0
    found = replayed(tmp_path, lambda: make_policy("best-effort-priority"))
    assert dict(found.by_kind) == {"preemption": 1, "start": 1}
    assert {each.recorded for each in found.examples} == {"preempts it", "starts on n0"}
