"""`kube-default` in the simulator: its queue, gangs, preemption, devices, and that its ledger is true."""

from __future__ import annotations

import numpy as np
import pytest
from audited import audited
from builders import golden, job, policy, replay, servers, starts
from kube_cluster import GPU, Stub, matches, node, terms

from policies.api import JobView, PodGroup, QueueView, Semantics, Start
from policies.catalogue import Parts, UnknownPolicyError, make_policy
from policies.conformance import play
from policies.conformance_cluster import Case, Cluster, random_case
from policies.kube.cluster import RunningPods
from policies.kube.configuration import Configuration, Profile
from policies.kube.default import KubeDefault
from policies.kube.extender import ExtenderError
from policies.kube.jobs import DEVICES, JobPods
from policies.kube.settings import settings_of
from policies.kube.terms import PodAffinityTerm, SpreadConstraint, Taint
from policies.topology import Node, Topology
from sim.streams import Streams

FIRST = "kube-default:ties=first"


def timeline(jobs, topology, spec=FIRST, **rules):
    return golden(audited(jobs, topology, spec, **rules), topology)


# -- the queue -----------------------------------------------------------------------------------------------------


def test_priority_then_arrival_and_who_does_not_fit_is_passed():
    jobs = [
        job("a", 0, 5000, 4),
        job("b", 0, 5000, 4, priority=1),
        job("c", 0, 5000, 8, priority=2),
        job("d", 0, 5000, 2),
    ]
    assert timeline(jobs, servers(1), "kube-default:ties=first,preemption=off") == "\n".join(
        [
            "0 arrive a", "0 arrive b", "0 arrive c", "0 arrive d",
            "0 start c n0[0-7]",
            "5000 finish c",
            "5000 start b n0[0-3]", "5000 start a n0[4-7]",
            "10000 finish b", "10000 finish a",
            "10000 start d n0[0-1]",
            "15000 finish d",
        ]
    )  # fmt: skip


def test_an_event_does_not_shorten_the_backoff():
    jobs = [job("a", 0, 300, 8), job("b", 0, 1000, 8)]
    assert starts(replay(jobs, servers(1), FIRST)) == {"a": 0, "b": 1000}
    assert starts(replay(jobs, servers(1), f"{FIRST},backoff=pop")) == {"a": 0, "b": 300}
    assert starts(replay(jobs, servers(1), f"{FIRST},backoff=off")) == {"a": 0, "b": 300}


def test_the_backoff_doubles_with_each_attempt_up_to_the_longest():
    # b fails at 0 (until 1000), at 1500 (until 3500, seen at 4000), and has room from 2000
    jobs = [job("a", 0, 2000, 7), job("c", 0, 1500, 1), job("b", 0, 1000, 8)]
    assert starts(replay(jobs, servers(1), FIRST)) == {"a": 0, "c": 0, "b": 4000}
    # an event every 20 s, each a failed attempt: after five the backoff is 10 s, not 16 s
    jobs = [job(f"s{i}", 0, 20_000 * (i + 1), 1) for i in range(7)] + [job("t", 0, 1000, 8), job("z", 0, 145_000, 1)]
    assert starts(replay(jobs, servers(1), FIRST))["t"] == 150_000


def test_attempts_between_two_events_count_although_nobody_makes_them():
    # moved by the event at 300, b is tried again at 1000 and fails: until 3000, although there is room from 2000
    jobs = [job("a", 0, 2000, 7), job("c", 0, 300, 1), job("b", 0, 1000, 8)]
    assert starts(replay(jobs, servers(1), FIRST))["b"] == 3000


def test_the_backoff_of_a_configuration_counts():
    configuration = Configuration(backoff_initial_ms=5000, backoff_max_ms=7000)
    made = make_policy(FIRST, Parts(generator=Streams(0).generator, kube_configuration=configuration))
    jobs = [job("a", 0, 300, 8), job("b", 0, 1000, 8)]
    assert starts(replay(jobs, servers(1), made)) == {"a": 0, "b": 5000}


def test_long_queues_of_equal_jobs():
    jobs = [job(f"j{i}", 0, 10_000, 8) for i in range(90)]  # more than the columns begin with
    found = starts(replay(jobs, servers(3), FIRST))
    assert [sum(at == 10_000 * batch for at in found.values()) for batch in range(30)] == [3] * 30
    assert found["j0"] == 0
    assert found["j89"] == 290_000


# -- scores in a fleet that is not of Kubernetes ---------------------------------------------------------------------


def test_devices_count_in_the_score_only_under_a_strategy_of_the_parameters():
    jobs = [job("a", 0, 5000, 2), job("b", 0, 5000, 2), job("c", 0, 5000, 2)]

    def places(spec):
        return [line.split()[3] for line in timeline(jobs, servers(2), spec).splitlines() if " start " in line]

    assert places(FIRST) == [
        "n0[0-1]",
        "n0[2-3]",
        "n0[4-5]",
    ]  # CPU and memory alone count by default, and nothing is known of them
    assert places(f"{FIRST},strategy=least-allocated") == ["n0[0-1]", "n1[0-1]", "n0[2-3]"]
    assert places(f"{FIRST},strategy=most-allocated") == ["n0[0-1]", "n0[2-3]", "n0[4-5]"]
    assert places(f"{FIRST},strategy=requested-to-capacity-ratio") == ["n0[0-1]", "n0[2-3]", "n0[4-5]"]
    assert places(f"{FIRST},strategy=least-allocated,device-weight=0") == places(FIRST)


def test_cpu_and_memory_count_by_default():
    fleet = servers(2, cpu_milli=8000, memory_mib=32 << 10)
    jobs = [
        job("a", 0, 5000, 1, cpu_milli=4000, memory_mib=1024),
        job("b", 0, 5000, 1, cpu_milli=4000, memory_mib=1024),
    ]
    assert timeline(jobs, fleet).splitlines()[2:4] == ["0 start a n0[0]", "0 start b n1[0]"]
    full = [
        job("a", 0, 5000, 1, cpu_milli=8000),
        job("b", 0, 5000, 1, cpu_milli=1),
        job("c", 0, 5000, 1, cpu_milli=8000),
    ]
    assert starts(replay(full, fleet, FIRST)) == {"a": 0, "b": 0, "c": 5000}


def test_shares_of_a_device():
    jobs = [job(f"s{i}", 0, 5000, 1, gpu_milli=600) for i in range(3)] + [job("t", 0, 5000, 1, gpu_milli=400)]
    # 2 x 1000 milli: two of 600 fit, one on each device; 800 are left in sum, but no device has 600; the 400 fits
    assert starts(replay(jobs, servers(1, 2), FIRST)) == {"s0": 0, "s1": 0, "t": 0, "s2": 5000}


def test_ties_are_drawn_from_the_seed():
    jobs = [job(f"j{i}", 0, 5000, 1) for i in range(12)]

    def line(seed):
        return golden(replay(jobs, servers(8), "kube-default", seed=seed), servers(8))

    assert line(1) == line(1)
    assert line(1) != line(2)


# -- gangs ---------------------------------------------------------------------------------------------------------


def test_a_gang_starts_whole_or_not_at_all():
    jobs = [job("a", 0, 3000, 5), job("g", 0, 5000, 16), job("b", 0, 3000, 8), job("h", 0, 2000, 3)]
    fleet = servers(2)
    assert timeline(jobs, fleet) == "\n".join(
        [
            "0 arrive a", "0 arrive b", "0 arrive g", "0 arrive h",
            "0 start a n0[0-4]", "0 start b n1[0-7]", "0 start h n0[5-7]",
            "2000 finish h",
            "3000 finish a", "3000 finish b",
            "4000 start g n0[0-7] n1[0-7]",
            "9000 finish g",
        ]
    )  # fmt: skip
    # g failed at 0 and at 2000, so that its backoff ends at 4000


def test_pods_of_a_gang_see_each_other():
    jobs = [job("g", 0, 5000, 6, pods=3)]
    assert (
        timeline(jobs, servers(2, 4), f"{FIRST},strategy=least-allocated").splitlines()[1]
        == "0 start g n0[0-3] n1[0-1]"
    )
    assert "0 start g n0[0-3] n1[0-1]" in timeline(jobs, servers(2, 4), f"{FIRST},strategy=most-allocated")
    shares = [job("g", 0, 5000, 4, pods=4, gpu_milli=500), job("h", 0, 5000, 4, pods=4, gpu_milli=500)]
    assert starts(replay(shares, servers(1, 4), FIRST)) == {"g": 0, "h": 0}  # two pods on each device


def test_a_gang_preempts_only_if_it_then_starts_whole():
    jobs = [
        job("low0", 0, 50_000, 8),
        job("low1", 0, 50_000, 8),
        job("high", 0, 9000, 8, priority=9),
        job("gang", 1000, 5000, 16, priority=5),
        job("small", 9000, 5000, 16, priority=5),
    ]
    assert timeline(jobs, servers(3)) == "\n".join(
        [
            "0 arrive high", "0 arrive low0", "0 arrive low1",
            "0 start high n0[0-7]", "0 start low0 n1[0-7]", "0 start low1 n2[0-7]",
            "1000 arrive gang",
            "1000 preempt low0", "1000 preempt low1", "1000 start gang n1[0-7] n2[0-7]",
            "6000 finish gang",
            "6000 start low0 n1[0-7]", "6000 start low1 n2[0-7]",
            "9000 finish high", "9000 arrive small",
            "9000 preempt low0", "9000 start small n0[0-7] n1[0-7]",
            "14000 finish small",
            "14000 start low0 n0[0-7]",
            "55000 finish low1",
            "60000 finish low0",
        ]
    )  # fmt: skip
    big = [*jobs[:2], job("high", 0, 60_000, 8, priority=9), job("big", 1000, 5000, 24, priority=5)]
    assert "preempt" not in timeline(big, servers(3))  # high cannot go, so nobody does


# -- preemption ------------------------------------------------------------------------------------------------------


def test_a_pod_preempts_the_cheapest_node_and_a_whole_job():
    jobs = [
        job("gang", 0, 50_000, 8, pods=2, priority=1),
        job("one", 0, 50_000, 4, priority=2),
        job("two", 0, 50_000, 4, priority=2),
        job("vip", 2000, 1000, 4, priority=9),
    ]
    line = timeline(jobs, servers(2), f"{FIRST},strategy=least-allocated")
    assert "2000 preempt gang" in line
    assert starts(replay(jobs, servers(2), FIRST))["vip"] == 2000
    off = timeline(jobs, servers(2), "kube-default:ties=first,preemption=off")
    assert "preempt" not in off


def test_a_victim_waits_as_a_new_pod():
    jobs = [job("low", 0, 10_000, 8), job("vip", 5000, 1000, 8, priority=1)]
    assert timeline(jobs, servers(1)) == "\n".join(
        [
            "0 arrive low", "0 start low n0[0-7]",
            "5000 arrive vip", "5000 preempt low", "5000 start vip n0[0-7]",
            "6000 finish vip", "6000 start low n0[0-7]",
            "11000 finish low",
        ]
    )  # fmt: skip


# -- pods with terms -------------------------------------------------------------------------------------------------


def kube_cluster(nodes, *jobs, **more):
    """A cluster of the kit with jobs of one pod each: (name, submit_ms, run_ms, terms, priority)."""
    topology = Topology(nodes)
    views = []
    for arrival, (name, submit_ms, run_ms, asked, priority) in enumerate(jobs):
        gpus = dict(asked.requests).get(GPU, 0)
        group = PodGroup(1, gpus, dict(asked.requests).get("cpu", 0), dict(asked.requests).get("memory", 0) >> 20)
        request = topology.request((group,), terms=asked)
        views.append(JobView(name, arrival, submit_ms, request, priority=priority, oracle_run_ms=run_ms))
    return Cluster(Case("kube", topology, more.get("queues", ()), tuple(views)))


def played(cluster, made=None):
    """Job -> (when, node) of its last start."""
    done = play(made or policy(FIRST), cluster)
    assert done.broken is None, done.broken
    nodes = cluster.nodes.topology.nodes
    return {
        action.job_id: (at_ms, nodes[action.placement[0].node].name)
        for at_ms, action in done.actions
        if hasattr(action, "placement")
    }


def kube_node(name, gpus=8, **more):
    return node(name, gpus=gpus, **more)._replace(devices=gpus, resource=GPU, cpu_milli=8000, memory_mib=32 << 10)


def test_exact_requests_selectors_and_taints():
    nodes = [
        kube_node("a", labels={"zone": "1"}),
        kube_node("b", taints=(Taint("k", "", "NoSchedule"),)),
        kube_node("c"),
    ]
    cluster = kube_cluster(
        nodes,
        ("plain", 0, 10, terms(cpu=1000, gpus=2), 0),
        ("zone", 0, 10, terms(cpu=1000, gpus=2, node_selector=(("zone", "1"),)), 0),
    )
    assert played(cluster) == {"plain": (0, "a"), "zone": (0, "a")}


def test_a_start_may_give_others_room():
    near = PodAffinityTerm("kubernetes.io/hostname", matches(app="db"), ())
    follower = terms(gpus=1, near=(near,))
    cluster = kube_cluster(
        [kube_node("a"), kube_node("b")],
        ("follower", 0, 10, follower, 5),
        ("db", 2000, 50, terms(gpus=1, labels={"app": "db"}), 0),
    )
    made = policy(FIRST)
    begun = {}
    while cluster.advance():
        for action in made.decide(cluster):
            assert cluster.fault(action) is None
            cluster.apply(action)
            if isinstance(action, Start):
                begun[action.job_id] = (cluster.now_ms, action.placement[0].node)
    assert begun == {"db": (2000, 0), "follower": (2000, 0)}


def test_spreading_waits_for_the_other_domain():
    spread = SpreadConstraint("kubernetes.io/hostname", 1, hard=True, selector=matches(app="x"))
    asked = terms(gpus=4, labels={"app": "x"}, spread=(spread,))
    nodes = [kube_node("a"), kube_node("b", gpus=4)]
    jobs = [(f"x{i}", 0, 5000, asked, 0) for i in range(4)]
    # a and b take one each, then a a second: 2 against 1; the fourth would make it 3 against 1, and b is full
    assert played(kube_cluster(nodes, *jobs)) == {"x0": (0, "a"), "x1": (0, "b"), "x2": (0, "a"), "x3": (5000, "a")}


def test_a_fleet_of_both_kinds_counts_devices_once():
    nodes = (kube_node("a"),)
    pods = JobPods()
    topology = Topology(nodes)
    plain = topology.request((PodGroup(1, 2),))
    exact = topology.request((PodGroup(1, 2),), terms=terms(gpus=2))
    assert dict(pods.held(plain, 0, nodes[0]).requests) == {DEVICES: 2000, GPU: 2}
    assert dict(pods.held(exact, 0, nodes[0]).requests) == {DEVICES: 2000, GPU: 2}
    assert dict(pods.asked(exact, 0).requests) == {GPU: 2}
    assert dict(pods.held(plain, 0, Node("b")).requests) == {DEVICES: 2000}


# -- extenders, quota, several cycles ----------------------------------------------------------------------------------


def with_extender(stub, **own):
    return KubeDefault(
        name="kube-default",
        settings=settings_of({"ties": "first", **own}),
        generator=lambda: np.random.default_rng(0),
        extenders=(stub,),
    )


def test_an_extender_that_has_no_room_is_asked_again_after_five_minutes():
    class Late(Stub):
        def filter(self, pod, nodes):
            self.passes = None if sum(call[0] == "filter" for call in self.calls) > 1 else []
            return super().filter(pod, nodes)

    assert starts(replay([job("a", 0, 1000, 8)], servers(2), with_extender(Late()))) == {"a": 600_000}


def test_an_extender_that_fails_is_asked_again_after_the_backoff():
    class Shaky(Stub):
        def filter(self, pod, nodes):
            self.passes = None if sum(call[0] == "filter" for call in self.calls) > 1 else ExtenderError("busy")
            return super().filter(pod, nodes)

    assert starts(replay([job("a", 0, 1000, 8)], servers(2), with_extender(Shaky()))) == {"a": 3000}


def test_an_extender_binds_and_sees_whole_devices_under_their_name():
    seen = []

    class Binder(Stub):
        def bind(self, pod, node):
            seen.append((dict(pod.terms.requests), pod.devices, pod.resource, node))
            if len(seen) < 2:
                raise ExtenderError("not now")

    fleet = Topology([Node(f"n{i}", devices=8, resource=GPU) for i in range(2)])
    stub = Binder(binds=True)
    found = starts(replay([job("a", 0, 1000, 1, gpu_milli=500)], fleet, with_extender(stub)))
    assert found == {"a": 1000}
    assert seen == [({GPU: 1}, 1, GPU, "n0")] * 2
    assert stub.calls[0] == ("know", 2)


def test_entitlements_are_kept_on_demand():
    queue = QueueView("q", {"*": 8000}, None, None, 1, None, {})
    jobs = [job("a", 0, 1000, 8, queue="q"), job("b", 0, 1000, 8, queue="q"), job("c", 0, 1000, 8)]
    found = starts(replay(jobs, servers(3), f"{FIRST},quota=keep", queues={"q": queue}))
    assert found == {"a": 0, "b": 1000, "c": 0}


def test_two_instances_on_one_cluster():
    jobs = [job(f"j{i}", i % 3 * 100, 5000, 4, queue=f"q{i % 2}") for i in range(12)]
    found = starts(replay(jobs, servers(2), f"{FIRST},per=queue"))
    assert sorted(found) == sorted(f"j{i}" for i in range(12))


class Watchful(KubeDefault):
    """Compares its ledger with one that is made anew, before and after each pass."""

    def decide(self, view):
        yield from super().decide(view)
        mine = self._cycle.running
        fresh = RunningPods(view, JobPods())
        assert mine.jobs.keys() == fresh.jobs.keys()
        assert mine.ledger.node_of == fresh.ledger.node_of
        for name, column in fresh.ledger.requested.items():
            assert np.array_equal(column, mine.ledger.requested[name]), name
        assert mine.room.shares == fresh.room.shares
        assert set(self._cycle.queue.slot_of) == set(view.pending.jobs)


@pytest.mark.parametrize("seed", range(40))
def test_the_ledger_is_always_that_of_the_running_jobs(seed):
    made = Watchful(
        name="watchful",
        settings=settings_of({"strategy": "most-allocated"}),
        generator=lambda: np.random.default_rng(seed),
    )
    done = play(made, Cluster(random_case(seed, jobs_max=30)))
    assert done.broken is None, done.broken


def test_somebody_else_may_act_too():
    """Jobs that another starts and ends are seen, as are those that vanish or come back."""
    cluster = Cluster(random_case(3))
    made = Watchful(name="w", settings=settings_of({"ties": "first"}), generator=lambda: np.random.default_rng(0))
    other = policy("best-effort-fifo")
    turn = 0
    while cluster.advance():
        for action in (made, other)[turn % 2].decide(cluster):
            assert cluster.fault(action) is None
            cluster.apply(action)
        turn += 1
    list(made.decide(cluster))
    assert len(cluster.ended) == len(random_case(3).jobs)


# -- parameters ----------------------------------------------------------------------------------------------------


def test_what_it_says_of_itself():
    said = policy("kube-default:strategy=most-allocated,preemption=off").semantics()
    assert isinstance(said, Semantics)
    assert said.preemption == "never"
    assert "MostAllocated of cpu x1, memory x1, devices x1" in said.placement
    assert "adaptive" in said.placement
    assert policy("kube-default").semantics().preemption != "never"


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("kube-default:place=spread", "places by its own rule"),
        ("kube-default:strategy=least", "known are profile, least-allocated, "),
        ("kube-default:percentage=101", "percentage=101: must be a whole number from 0 to 100"),
        ("kube-default:percentage=x", "percentage=x: must be a whole number from 0 to 100"),
        ("kube-default:device-weight=2", "device-weight goes with strategy"),
        ("kube-default:profile=x", "the configuration has default-scheduler"),
        ("kube-default:profile=x,percentage=x", "; percentage=x"),
    ],
)
def test_wrong_parameters(spec, why):
    with pytest.raises(UnknownPolicyError) as error:
        policy(spec)
    assert why in str(error.value)


def test_a_profile_is_chosen_by_its_name():
    other = Profile(scheduler_name="other", post_filters=(), percentage=7)
    configuration = Configuration(profiles=(Profile(), other), percentage=50)
    assert settings_of({"profile": "other"}, configuration).preempts is False
    assert settings_of({"profile": "other"}, configuration).percentage == 7
    assert settings_of({}, configuration).percentage == 50
    assert settings_of({"percentage": "100"}, configuration).percentage == 100
