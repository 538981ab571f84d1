"""The served cluster against a naive model: after every step, what policies see is what a recomputation from scratch gives."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from kube_builders import GPU, KINDS, MINE, node, pod

from policies import bitset
from policies.api import QueueView
from policies.feasibility import why_not
from policies.nodes import NodeLedger
from policies.placement.first_fit import FirstFit
from policies.serving.cluster import Cluster, PlacementError
from policies.serving.units import REST

NAMES = ("n0", "n1", "n2", "n3")
PODS = tuple(f"p{number}" for number in range(9))
GANGS = (None, None, "g", "h")
QUEUES = {name: QueueView(name, {}, None, None, 1, None, {}) for name in ("red", "blue")}

PICK = st.integers(0, 99)
"""Which of several, whatever their number."""


def pick(several: Iterable[str], at: int) -> str | None:
    there = sorted(several)
    return there[at % len(there)] if there else None


class ClusterMachine(RuleBasedStateMachine):
    """`said` is what the API server says; `places` is who was given which node here and is not said to be there yet."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = Cluster(KINDS, ours=lambda pod: pod.scheduler == MINE, queues=QUEUES)
        self.nodes: dict[str, dict] = {}
        self.said: dict[str, dict] = {}
        self.places: dict[str, str] = {}
        self.leaving: dict[str, str] = {}
        self.parked: set[str] = set()
        self.sizes: dict[str, int] = {}
        self.away = 0
        """Steps for which nobody looks: then the cluster is told of more before it must take stock."""
        self.seen: dict[str, tuple[str, int, int]] = {}
        """Uid -> node, devices of the node, and devices held, as they were last seen."""

    @initialize()
    def nodes_are_there(self):
        for name in NAMES[:3]:
            self.node_comes_or_changes(name=name, gpus=4, zone="a")

    @rule(steps=st.integers(1, 4))
    def nobody_looks(self, steps):
        self.away = steps

    # -- the naive model -----------------------------------------------------------------------------------------

    def where(self, uid: str) -> str | None:
        """The node on which a pod counts for policies."""
        if uid in self.leaving or uid not in self.said:
            return None
        return self.said[uid]["spec"].get("nodeName") or self.places.get(uid)

    def unit(self, uid: str) -> str:
        gang = self.said[uid]["metadata"]["labels"].get("scheduling.x-k8s.io/pod-group")
        return f"default/{gang}#gang" if gang else f"default/{self.said[uid]['metadata']['name']}"

    def units(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for uid in self.said:
            found.setdefault(self.unit(uid), []).append(uid)
        return found

    def size(self, unit: str, uids: list[str]) -> int | None:
        if not unit.endswith("#gang"):
            return 1
        own = [int(a) for uid in uids if (a := self.said[uid]["metadata"]["annotations"].get("rehearse/gang-size"))]
        return self.sizes.get(unit) or max(own, default=None)

    def waiting(self) -> dict[str, set[str]]:
        """Job id -> uids."""
        found = {}
        for unit, uids in self.units().items():
            held = [uid for uid in uids if self.where(uid)]
            wait = {
                uid
                for uid in uids
                if not self.where(uid)
                and uid not in self.leaving
                and not self.is_leaving(uid)
                and self.said[uid]["spec"]["schedulerName"] == MINE
            }
            staying = sum(not self.is_leaving(uid) for uid in held)
            size = self.size(unit, uids)
            if wait and unit not in self.parked and size is not None and staying + len(wait) >= size:
                found[unit + REST if held else unit] = set(sorted(wait)[: max(size - staying, 1)])
        return found

    def may_go(self, uids, name: str) -> bool:
        """Not cordoned, and with devices if they ask for some."""
        node = self.nodes[name]
        return not node["spec"].get("unschedulable") and (
            GPU in node["status"]["allocatable"] or not any(map(self.gpus, uids))
        )

    def is_leaving(self, uid: str) -> bool:
        return "deletionTimestamp" in self.said[uid]["metadata"]

    def gpus(self, uid: str) -> int:
        return int(self.said[uid]["spec"]["containers"][0]["resources"]["requests"].get(GPU, 0))

    def changed(self, uid: str) -> None:
        self.parked.discard(self.unit(uid))

    # -- what happens --------------------------------------------------------------------------------------------

    @rule(
        name=st.sampled_from(NAMES),
        gpus=st.sampled_from([0, 3, 4, 4]),
        zone=st.sampled_from("ab"),
        cordon=st.booleans(),
    )
    def node_comes_or_changes(self, name, gpus, zone, cordon=False):
        item = node(
            name, gpus, cpu="16", pods="6", labels={"topology.kubernetes.io/zone": zone}, unschedulable=cordon
        )
        self.nodes[name] = item
        self.cluster.set_node(item)

    @rule(at=PICK, label=st.sampled_from("xy"))
    def node_is_labelled_or_cordoned(self, at, label):
        name = pick(self.nodes, at)
        if name is not None:
            item = self.nodes[name]
            metadata = {**item["metadata"], "labels": {**item["metadata"]["labels"], "label": label}}
            self.nodes[name] = {**item, "metadata": metadata, "spec": {"unschedulable": label == "y"}}
            self.cluster.set_node(self.nodes[name])

    @rule(name=st.sampled_from(NAMES))
    def node_goes(self, name):
        self.nodes.pop(name, None)
        self.cluster.delete_node(name)

    @rule(
        name=st.sampled_from(PODS),
        gpus=st.sampled_from([0, 1, 1, 2]),
        gang=st.sampled_from(GANGS),
        size=st.sampled_from([None, 1, 2, 2]),
        queue=st.sampled_from(sorted(QUEUES)),
        bound=st.sampled_from([*[None] * 16, *NAMES]),
        scheduler=st.sampled_from([*[MINE] * 8, "other"]),
    )
    def pod_comes(self, name, gpus, gang, size, queue, bound, scheduler):
        if name in self.said:
            return
        group = {} if gang is None else {"gang": gang if size is None else (gang, size)}
        item = pod(name, gpus, uid=name, queue=queue, node=bound, scheduler=scheduler, cpu="1", **group)
        self.said[name] = item
        self.changed(name)
        self.cluster.set_pod(item)

    @rule(at=PICK)
    def pod_is_deleted(self, at):
        uid = pick(self.said, at)
        if uid is None:
            return
        self.forget_about(uid)
        self.cluster.delete_pod(uid)

    @rule(at=PICK)
    def pod_ends(self, at):
        uid = pick(self.said, at)
        if uid is None:
            return
        item = self.said[uid]
        self.forget_about(uid)
        self.cluster.set_pod({**item, "status": {"phase": "Succeeded"}})

    def forget_about(self, uid: str) -> None:
        self.changed(uid)
        del self.said[uid]
        self.places.pop(uid, None)
        self.leaving.pop(uid, None)

    @rule(at=PICK)
    def pod_is_asked_to_leave(self, at):
        uid = pick(self.said, at)
        if uid is None:
            return
        if not self.is_leaving(uid):
            self.changed(uid)
        item = self.said[uid]
        metadata = {**item["metadata"], "deletionTimestamp": "2026-01-01T01:00:00Z"}
        self.said[uid] = {**item, "metadata": metadata}
        self.cluster.set_pod(self.said[uid])

    @rule(at=PICK)
    def pod_is_told_again(self, at):
        uid = pick(self.said, at)
        if uid is None:
            return
        changes = self.cluster.changes
        self.cluster.set_pod({**self.said[uid], "status": {"phase": "Running", "podIP": "10.0.0.1"}})
        assert self.cluster.changes == changes, "nothing changed that a decision depends on"

    @rule(at=PICK, elsewhere=st.sampled_from([None, None, None, *NAMES]))
    def pod_is_bound(self, at, elsewhere):
        """The API server confirms what was assumed, or somebody else was quicker."""
        uid = pick(self.places, at)
        if uid is None:
            return
        place = self.places.pop(uid)
        if uid in self.leaving:
            elsewhere = None  # because: it is bound to one node only, and that is where it leaves from
        item = self.said[uid]
        self.said[uid] = {**item, "spec": {**item["spec"], "nodeName": elsewhere or place}}
        self.cluster.set_pod(self.said[uid])

    @rule(gang=st.sampled_from(["g", "h"]), size=st.sampled_from([None, 1, 2, 4]))
    def group_says_its_size(self, gang, size):
        unit = f"default/{gang}#gang"
        uids = self.units().get(unit, [])
        before = self.size(unit, uids)
        if size is None:
            self.sizes.pop(unit, None)
            self.cluster.delete_group("default", gang)
        else:
            self.sizes[unit] = size
            self.cluster.set_group("default", gang, size)
        if self.size(unit, uids) != before:
            self.parked.discard(unit)

    @rule(at=PICK)
    def job_starts(self, at):
        self.cluster.settle()
        job_id = pick(self.cluster.pending.jobs, at)
        if job_id is None:
            return
        job = self.cluster.pending.get(job_id)
        placement = FirstFit().place(job.request, self.cluster.nodes)
        if placement is None:
            return
        names = self.cluster.nodes.topology.nodes
        given = self.cluster.assume(job.job_id, placement)
        assert sorted(a.node for a in given) == sorted(names[s.node].name for s in placement for _ in range(s.pods))
        assert {a.pod.uid for a in given} == self.waiting()[job.job_id]
        self.places.update((each.pod.uid, each.node) for each in given)

    @rule()
    def everything_starts(self):
        """Twice as likely as anything else."""
        self.cluster.settle()
        for job in list(self.cluster.pending):
            placement = FirstFit().place(job.request, self.cluster.nodes)
            if placement is not None:
                self.places.update((each.pod.uid, each.node) for each in self.cluster.assume(job.job_id, placement))

    @rule(at=PICK)
    def binding_fails(self, at):
        uid = pick(self.places, at)
        if uid is None:
            return
        del self.places[uid]
        self.leaving.pop(uid, None)
        self.cluster.forget(uid)

    @rule(at=PICK)
    def job_is_preempted(self, at):
        self.cluster.settle()
        job_id = pick(self.cluster.running.jobs, at)
        if job_id is None:
            return
        self.leaving.update((each.pod.uid, each.node) for each in self.cluster.leave(job_id))

    @rule(at=PICK)
    def pod_stays_after_all(self, at):
        uid = pick(self.leaving, at)
        if uid is None:
            return
        del self.leaving[uid]
        self.cluster.stay(uid)

    @rule(at=PICK, park=st.booleans())
    def job_is_parked(self, at, park):
        unit = pick(self.units(), at)
        if unit is None:
            return
        if park:
            self.parked.add(unit)
            self.cluster.park(unit, "for a while")
        else:
            self.parked.discard(unit)
            self.cluster.unpark(unit, "something else")
            self.cluster.unpark(unit, "for a while")

    # -- what must be so -----------------------------------------------------------------------------------------

    def nodes_have_what_is_left(self):
        table = self.cluster.nodes
        assert [each.name for each in table.topology.nodes] == sorted(self.nodes)
        for number, server in enumerate(table.topology.nodes):
            here = [uid for uid in self.said if self.where(uid) == server.name]
            used = sum(self.gpus(uid) for uid in here)
            assert table.idle[number] == max(server.devices - used, 0), (server.name, here)
            assert table.cpu_left[number] == 16_000 - 1000 * len(here)
            assert table.pods_left[number] == 6 - len(here)

    def nobody_shares_a_device(self):
        table = self.cluster.nodes
        for number, server in enumerate(table.topology.nodes):
            holds = [
                hold for unit in self.cluster.units() for hold in unit.holds.values() if hold.node == server.name
            ]
            taken = Counter(device for hold in holds for device in bitset.bits(hold.devices))
            assert set(taken.values()) <= {1}
            assert sum(1 << device for device in taken) == (1 << server.devices) - 1 & ~table.idle_mask[number]

    def the_ledger_is_that_of_the_running_jobs(self):
        table = self.cluster.nodes
        fresh = NodeLedger(table.topology)
        for running in self.cluster.running:
            for share in running.placement:
                assert fresh.take(running.job.request, (share,)) >= 0
        for column in (
            "idle_mask",
            "idle",
            "by_idle",
            "idle_total",
            "partial",
            "cpu_left",
            "memory_left",
            "pods_left",
        ):
            assert getattr(table, column) == getattr(fresh, column), column

    def those_wait_that_should(self):
        waiting = self.waiting()
        assert {job.job_id for job in self.cluster.pending} == set(waiting)
        for job_id, uids in waiting.items():
            assert {each.uid for each in self.cluster.pods_of(job_id)} == uids
            request = self.cluster.pending.get(job_id).request
            open_ = [n for n, s in enumerate(self.cluster.nodes.topology.nodes) if self.may_go(uids, s.name)]
            assert request.eligible == sum(1 << number for number in open_)
            assert request.devices == sum(map(self.gpus, uids))

    def every_running_pod_is_in_one_job(self):
        known = [uid for uid in self.said if self.where(uid) in self.nodes]
        pods = [each.uid for job_id in self.cluster.running.jobs for each in self.cluster.pods_of(job_id)]
        assert sorted(pods) == sorted(known)

    def queues_count_what_their_jobs_hold(self):
        held: Counter[str] = Counter()
        for running in self.cluster.running:
            held[running.job.queue] += 1000 * sum(share.device_mask.bit_count() for share in running.placement)
        assert {name: queue.held_milli.get("*", 0) for name, queue in self.cluster.queues.items()} == {
            name: held[name] for name in QUEUES
        }

    def what_leaves_blocks_who_has_its_place(self):
        """By device, by CPU (one core each of sixteen) and by number (six of a node)."""
        for uid, place in self.places.items():
            hold = self.cluster.hold_of(uid)
            if uid in self.leaving or hold is None or place not in self.nodes:
                continue
            here = [other for other in self.said if self.where(other) == place]
            gone = {other for other, where in self.leaving.items() if where == place}
            crowded = len(here) + len(gone) > 6
            masks = {other: self.cluster.unit_of(other).leaving[other].devices for other in gone}
            blocked = {other for other, mask in masks.items() if crowded or mask & hold.devices}
            assert self.cluster.blockers(uid) == blocked

    def devices_stay_as_they_are(self):
        """Which devices a pod has does not change while its node stays, has enough, and nobody new is there."""
        table = self.cluster.nodes
        now = {}
        for unit in self.cluster.units():
            for uid, hold in unit.holds.items():
                number = self.cluster.number_of(hold.node)
                if number is not None and hold.devices.bit_count() == self.gpus(uid):
                    now[uid] = (hold.node, table.topology.nodes[number].devices, hold.devices)
        for uid, (place, devices, mask) in self.seen.items():
            here = [other for other in self.said if self.where(other) == place]
            calm = all(other in self.seen for other in here) and sum(map(self.gpus, here)) <= devices
            if calm and uid in now and now[uid][:2] == (place, devices):
                assert now[uid][2] == mask
        self.seen = now

    @invariant()
    def what_policies_see_is_so(self):
        if self.away:
            self.away -= 1
            self.seen = {}
            return
        self.cluster.settle()
        self.nodes_have_what_is_left()
        self.nobody_shares_a_device()
        self.the_ledger_is_that_of_the_running_jobs()
        self.those_wait_that_should()
        self.every_running_pod_is_in_one_job()
        self.queues_count_what_their_jobs_hold()
        self.what_leaves_blocks_who_has_its_place()
        self.devices_stay_as_they_are()

    def teardown(self):
        for name in list(self.nodes):
            self.node_goes(name)
        assert len(self.cluster.nodes) == 0
        for uid in list(self.said):
            self.cluster.delete_pod(uid)
        assert not list(self.cluster.units())
        assert not len(self.cluster.pending)
        assert not len(self.cluster.running)
        assert not self.cluster.faults


def of(*values):
    return lambda rng: rng.choice(values)


ANY = {"at": lambda rng: rng.randrange(100)}
COMES = {
    "name": of(*PODS),
    "gpus": of(0, 1, 1, 2),
    "gang": of(*GANGS),
    "size": of(None, 1, 2, 2),
    "queue": of(*QUEUES),
}
STEPS = [
    *[("pod_comes", {**COMES, "bound": of(*[None] * 12, *NAMES), "scheduler": of(*[MINE] * 8, "other")})] * 6,
    ("node_comes_or_changes", {"name": of(*NAMES), "gpus": of(0, 3, 4, 4), "zone": of("a", "b")}),
    ("node_goes", {"name": of(*NAMES)}),
    ("node_is_labelled_or_cordoned", {**ANY, "label": of("x", "y")}),
    *[("everything_starts", {}), ("job_starts", ANY), ("binding_fails", ANY), ("job_is_preempted", ANY)] * 2,
    *[("pod_is_bound", {**ANY, "elsewhere": of(*[None] * 12, *NAMES)})] * 2,
    *[(name, ANY) for name in ("pod_is_deleted", "pod_ends", "pod_is_asked_to_leave", "pod_is_told_again")],
    ("pod_stays_after_all", ANY),
    ("job_is_parked", {**ANY, "park": of(True, False)}),
    ("group_says_its_size", {"gang": of("g", "h"), "size": of(None, 1, 2, 4)}),
    ("nobody_looks", {"steps": of(1, 2, 3)}),
]

LONG = os.environ.get("REHEARSE_FUZZ") == "long"
TestClusterMachine = ClusterMachine.TestCase
TestClusterMachine.settings = settings(
    max_examples=1000 if LONG else 60,
    stateful_step_count=60 if LONG else 50,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def test_a_long_walk():
    """Longer lives than hypothesis leads: the same steps, drawn evenly."""
    rng = random.Random(7)
    for _ in range(300 if LONG else 8):
        machine = ClusterMachine()
        machine.nodes_are_there()
        for _ in range(250):
            step, draws = rng.choice(STEPS)
            getattr(machine, step)(**{name: draw(rng) for name, draw in draws.items()})
            machine.what_policies_see_is_so()
        machine.teardown()


def test_a_job_that_does_not_fit_changes_nothing():
    cluster = Cluster(KINDS)
    cluster.set_node(node("n0", 2))
    cluster.set_pod(pod("a", 2, uid="a"))
    cluster.settle()
    placement = FirstFit().place(cluster.pending.get("default/a").request, cluster.nodes)
    assert placement is not None
    before = cluster.changes
    for job_id, where, said in (
        ("default/b", placement, "does not wait"),
        ("default/a", (), "lacks"),
        ("default/a", "n0", "not a placement"),
    ):
        with pytest.raises(PlacementError, match=said):
            cluster.assume(job_id, where)
    assert cluster.changes == before
    assert why_not(cluster.pending.get("default/a").request, placement, cluster.nodes) is None
