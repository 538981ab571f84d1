"""What a policy answers kube-scheduler: room, reasons, scores, victims, and what counts as held between two events."""

from __future__ import annotations

import pytest
from builders import policy
from extenders import GPU, added, node, pod

from policies.api import QueueView
from policies.kube.extender import Victims
from policies.kube.objects import ObjectError
from policies.serving.cluster import Cluster
from policies.serving.desk import Desk
from policies.serving.extender import NotServableError, PolicyExtender
from sim.fleet.kinds import device_kinds

CARD = "nvidia-a100-sxm4-80gb"


class Asked:
    """A policy and its cluster, asked in process."""

    def __init__(self, spec="best-effort-priority", *objects, assume_ms=0, queues=None):
        self.cluster = Cluster(device_kinds(), ours=lambda _: False, queues=queues)
        self.desk = Desk(self.cluster, policy(spec), clock=lambda: self.now_ms)
        self.extender = PolicyExtender(self.cluster, self.desk.policy, device_kinds(), assume_ms=assume_ms)
        self.at(1_000)
        self.tell(*added(*objects))

    def tell(self, *events):
        for event in events:
            self.desk.tell(event)

    def at(self, now_ms):
        self.now_ms = self.cluster.now_ms = now_ms

    def filter(self, item, *names):
        return self.extender.filter(self.extender.read(item), names)

    def scores(self, item, *names):
        return self.extender.prioritize(self.extender.read(item), names)

    def preempt(self, item, **candidates):
        asked = {name: Victims(tuple(f"uid-{each}" for each in who), 2) for name, who in candidates.items()}
        kept = self.extender.preempt(self.extender.read(item), asked)
        return {name: [uid.removeprefix("uid-") for uid in victims.uids] for name, victims in kept.items()}


def test_room_and_what_is_short():
    asked = Asked(
        "best-effort-priority",
        *(node("idle"), node("busy"), node("small", cpu=2), node("narrow", memory="2Gi"), node("few", pods=1)),
        *(pod("x", 7, on="busy"), pod("y", 0, on="few")),
    )
    found = asked.filter(pod("p", 2, cpu="3", memory="4Gi"), "few", "narrow", "small", "busy", "idle")
    assert found.nodes == ["idle"]
    assert found.failed == {
        "busy": f"2 {GPU} needed, 1 left",
        "small": "3000 milli-cores of CPU needed, 2000 left",
        "narrow": "4096 MiB of memory needed, 2048 left",
        "few": "1 pods needed, 0 left",
    }
    assert found.failed_and_unresolvable == {}


def test_what_preemption_cannot_cure():
    taint = {"key": "reserved", "value": "x", "effect": "NoSchedule"}
    broken = node("broken")
    broken["status"]["allocatable"][GPU] = "many"
    asked = Asked(
        "best-effort-priority",
        *(node("cordoned", unschedulable=True), node("tainted", taints=[taint]), node("cpu", 0), broken),
        *(node("other", labels={"disk": "hdd"}), node("good", labels={"disk": "ssd"})),
    )
    wanted = pod("p", spec={"nodeSelector": {"disk": "ssd"}})
    found = asked.filter(wanted, "cordoned", "tainted", "other", "good", "broken", "unheard")
    assert (found.nodes, found.failed) == (["good"], {})
    assert found.failed_and_unresolvable == {
        "cordoned": "the node is cordoned",
        "tainted": "the pod does not tolerate the taint reserved",
        "other": "the pod's node selector or affinity does not match",
        "broken": asked.cluster.faults["node broken"],
        "unheard": "the node is not known here (yet)",
    }
    nic = asked.filter(pod("n", asks={"example.com/nic": "2"}), "good")
    assert nic.failed_and_unresolvable == {"good": "the pod needs 2 example.com/nic, the node has 0 at best"}
    assert asked.filter(pod("q"), "cpu").failed_and_unresolvable == {"cpu": f"the pod needs {GPU}, the node has none"}


def test_entitlements():
    """16 devices of 2 x 8; the queue may have 3 and holds 2. A pod of another queue is not held back."""
    queue = QueueView("risk", {"*": 3000}, None, None, 1, None, {})
    asked = Asked(
        "best-effort-priority:quota=keep",
        *(node("a"), node("b"), pod("x", 2, on="a", queue="risk")),
        queues={"risk": queue},
    )
    assert asked.filter(pod("p", 1, queue="risk"), "a", "b").nodes == ["a", "b"]
    found = asked.filter(pod("p", 2, queue="risk"), "a", "b")
    assert (found.nodes, found.failed) == ([], {})
    assert set(found.failed_and_unresolvable) == {"a", "b"}
    assert found.failed_and_unresolvable["a"].startswith("queue risk has no headroom here (nominal quota")
    assert set(asked.scores(pod("p", 2, queue="risk"), "a", "b").values()) == {0}
    assert asked.filter(pod("p", 2, queue="other"), "a", "b").nodes == ["a", "b"]


def test_the_ten_best_keep_the_order_of_the_policy():
    """Best fit: the fewest idle devices first, then the name. Of 12 nodes two get nothing, and the full one."""
    names = [f"n{number:02d}" for number in range(13)]
    full = [pod(f"x{name}", 8 - number % 8, on=name) for number, name in enumerate(names) if number % 8]
    asked = Asked("best-effort-priority", *map(node, names), *full)
    ranked = sorted((number % 8 or 8, name) for number, name in enumerate(names) if number % 8 >= 2 or not number % 8)
    scores = asked.scores(pod("p", 2), *names)
    assert {name: score for name, score in scores.items() if score} == {
        name: 10 - place for place, (_, name) in enumerate(ranked[:10])
    }
    assert list(scores) == names
    assert len(ranked) == 11


def test_a_pod_does_not_stand_in_its_own_way():
    """A pod that was assumed on a node is asked about again: the attempt failed, so it holds nothing."""
    asked = Asked("best-effort-priority", node("a"), assume_ms=5_000)
    p = pod("p", 8)
    assert asked.filter(p, "a").nodes == ["a"]
    assert asked.filter(pod("q", 1), "a").nodes == []
    assert asked.filter(p, "a").nodes == ["a"]


def test_the_best_counts_as_taken_for_as_long_as_configured():
    asked = Asked("best-effort-priority", node("a"), node("b"), assume_ms=5_000)
    assert asked.scores(pod("p", 8), "a", "b") == {"a": 10, "b": 9}
    assert asked.filter(pod("q", 8), "a", "b").nodes == ["b"]
    asked.at(5_999)
    assert asked.scores(pod("q", 1), "a", "b") == {"a": 0, "b": 10}
    asked.at(6_000)
    assert asked.scores(pod("r", 8), "a", "b") == {"a": 10, "b": 0}
    assert asked.cluster.known("uid-p") is None  # what the watch never told of is forgotten too


def test_without_that_nothing_is_assumed():
    asked = Asked("best-effort-priority", node("a"), node("b"))
    asked.scores(pod("p", 8), "a", "b")
    assert asked.filter(pod("q", 8), "a", "b").nodes == ["a", "b"]


def test_the_watch_has_the_last_word():
    """It was bound elsewhere: what was assumed goes, and what is true stays when the time is over."""
    asked = Asked("best-effort-priority", node("a"), node("b"), pod("p", 8), assume_ms=5_000)
    asked.scores(pod("p", 8), "a", "b")
    asked.tell({"type": "MODIFIED", "object": pod("p", 8, on="b")})
    assert asked.filter(pod("q", 8), "a", "b").nodes == ["a"]
    asked.at(20_000)
    assert asked.filter(pod("r", 8), "a", "b").nodes == ["a"]


def test_what_is_bound_here_holds_at_once_and_until_the_watch_says_otherwise():
    asked = Asked("best-effort-priority", node("a"), pod("p", 8))
    asked.filter(pod("p", 8), "a")
    asked.extender.binds("uid-p", "a")
    assert asked.filter(pod("q", 1), "a").nodes == []
    # an event from before the binding takes nothing back
    asked.tell({"type": "MODIFIED", "object": {**pod("p", 8), "status": {"phase": "Pending", "conditions": []}}})
    assert asked.filter(pod("q", 1), "a").nodes == []
    asked.extender.unbound("uid-p")
    assert asked.filter(pod("q", 1), "a").nodes == ["a"]


def test_a_pod_that_the_watch_has_not_told_of_can_be_bound():
    asked = Asked("best-effort-priority", node("a"))
    asked.filter(pod("p", 8), "a")
    asked.extender.binds("uid-p", "a")
    assert asked.filter(pod("q", 1), "a").nodes == []
    asked.tell(*added(pod("p", 8, on="a")))
    asked.at(1_000_000)
    assert asked.filter(pod("q", 1), "a").nodes == []
    asked.extender.binds("uid-nobody", "a")  # nothing is known of it, so nothing is held
    assert asked.cluster.known("uid-nobody") is None


RUNNING = (pod("low", 4, on="a", priority=1), pod("mid", 4, on="a", priority=5), pod("high", 8, on="b", priority=9))


@pytest.mark.parametrize(
    ("devices", "candidates", "kept"),
    [
        (8, {"a": ["mid", "low"]}, {"a": ["mid", "low"]}),
        (4, {"a": ["mid", "low"]}, {"a": ["low"]}),  # one is enough: the least important goes
        (4, {"a": ["mid"]}, {"a": ["mid"]}),  # never one that was not proposed
        (8, {"a": ["mid"]}, {}),  # it does not fit even so
        (8, {"a": ["mid", "low"], "b": ["high"]}, {"a": ["mid", "low"]}),  # equal priority is no victim
        (4, {"a": ["low", "unheard"], "c": ["low"], "zz": ["low"]}, {}),  # nobody knows what they hold there
        (4, {"a": []}, {}),
        (1, {"c": []}, {}),  # it fits there as it is
    ],
)
def test_victims_are_those_of_the_policy_and_never_others(devices, candidates, kept):
    asked = Asked("preempt-priority", *map(node, "abc"), *RUNNING)
    assert asked.preempt(pod("p", devices, priority=9), **candidates) == kept


def test_violations_are_never_more_than_victims():
    asked = Asked("preempt-priority", node("a"), *RUNNING[:2])
    found = asked.extender.preempt(
        asked.extender.read(pod("p", 4, priority=9)), {"a": Victims(("uid-mid", "uid-low"), 2)}
    )
    assert found == {"a": Victims(("uid-low",), 1)}


def test_where_something_is_not_counted_here_the_proposal_stays_whole():
    asked = Asked("preempt-priority", node("a", more={"example.com/nic": "2"}), *RUNNING[:2])
    p = pod("p", 4, priority=9, asks={"example.com/nic": "1"})
    assert asked.preempt(p, a=["mid", "low"]) == {"a": ["mid", "low"]}
    q = pod("q", 4, priority=3, asks={"example.com/nic": "1"})
    assert asked.preempt(q, a=["mid", "low"]) == {}


def test_an_entitlement_that_is_used_up_keeps_victims_alive():
    queue = QueueView("risk", {"*": 4000}, None, None, 1, None, {})
    asked = Asked(
        "preempt-priority:quota=keep",
        *(node("a"), pod("x", 4, on="a", queue="risk"), pod("y", 4, on="a")),
        queues={"risk": queue},
    )
    assert asked.preempt(pod("p", 4, priority=9, queue="risk"), a=["y"]) == {}
    assert asked.preempt(pod("p", 4, priority=9, queue="else"), a=["y"]) == {"a": ["y"]}


def test_a_pod_of_a_gang_is_judged_by_what_it_holds_itself():
    def member(name, on):
        found = pod(name, 4, on=on)
        found["metadata"]["labels"] = {"scheduling.x-k8s.io/pod-group": "ring"}
        return found

    asked = Asked("preempt-priority", node("a"), node("b"), member("g1", "a"), member("g2", "b"), pod("x", 4, on="a"))
    assert asked.preempt(pod("p", 4, priority=9), a=["g1"], b=["g2"]) == {"a": ["g1"]}  # b has room already


def test_each_queue_has_a_cycle_of_its_own():
    asked = Asked("best-effort-priority:per=queue,place=spread", node("a"), node("b"), pod("x", 1, on="a"))
    assert asked.scores(pod("p", 1, queue="q"), "a", "b") == {"a": 9, "b": 10}


def test_shared_devices():
    """A quarter of a card on one that is used by half; then there is no half left on any."""
    half, three = {"nvidia.com/gpucores": "50", "nvidia.com/gpumem-percentage": "50"}, {"nvidia.com/gpucores": "75"}
    three["nvidia.com/gpumem-percentage"] = "75"
    asked = Asked("best-effort-priority", node("a", 1), node("b", 1), pod("x", 1, on="a", asks=half))
    assert asked.filter(pod("p", 1, asks=half), "a", "b").nodes == ["a", "b"]
    found = asked.filter(pod("q", 1, asks=three), "a", "b")
    assert found.nodes == ["b"]
    assert found.failed == {"a": f"1 {GPU} with 75 % left needed, 0 left"}


def test_bare_nodes_are_told_once_and_forgotten_when_nobody_asks():
    asked = Asked()
    told = []

    def tell(event):
        told.append((event["type"], event["object"]["metadata"]["name"]))
        asked.tell(event)

    nodes = {name: {key: each[key] for key in ("metadata", "status")} for name in "ab" for each in [node(name)]}
    for _ in range(2):
        asked.extender.learn(nodes, tell)
    assert told == [("MODIFIED", "a"), ("MODIFIED", "b")]
    assert asked.filter(pod("p", 8), "a", "b").nodes == ["a", "b"]
    for start in range(0, 4000, 500):
        asked.extender.learn({f"m{n}": node(f"m{n}") for n in range(start, start + 500)}, tell)
    assert ("DELETED", "a") in told
    assert len(asked.cluster.nodes) <= 5 * 500 + 1024


def test_pods_that_cannot_be_read_are_refused_with_every_reason():
    with pytest.raises(ObjectError, match=r"metadata\.name: is required"):
        Asked().extender.read({"metadata": {}, "spec": {}})


def test_a_policy_without_extension_points_is_refused():
    with pytest.raises(NotServableError, match="not made of extension points"):
        PolicyExtender(Cluster(device_kinds()), policy("kube-default"), device_kinds())
