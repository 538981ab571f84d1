"""What kube-scheduler would choose by filter and prioritize over HTTP is what the policy chooses in process, tie for tie."""

from __future__ import annotations

import os

import pytest
from extenders import Served, added, by_name, node, pod, whole
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.api import Start
from policies.bitset import from_members
from policies.catalogue import PLACEMENTS, Parts, make_policy
from policies.placement.fragmentation import TypicalPod
from policies.serving.cluster import Cluster
from sim.fleet.kinds import device_kinds
from sim.streams import Streams

LONG = os.environ.get("REHEARSE_FUZZ") == "long"
MIX = (TypicalPod(0.5, 1000, 500, 1, ()), TypicalPod(0.3, 2000, 1000, 2, ()), TypicalPod(0.2, 100, 0, 0, ()))
DRAWS = ("random", "openb-random")
SHARES = ({}, {}, {"nvidia.com/gpucores": "50", "nvidia.com/gpumem-percentage": "50"})

few = settings(deadline=None, max_examples=400 if LONG else 10)  # because: each example is a dozen requests


def make(placement, **more):
    parts = Parts(generator=Streams(0).generator, typical_pods=MIX)
    given_ = ",".join(f"{key}={value}" for key, value in {"place": placement, **more}.items())
    return make_policy(f"best-effort-priority:{given_}", parts)


@st.composite
def clusters(draw):
    """Up to eight nodes with limits here and there, and what runs on them."""
    nodes = [
        node(
            f"n{number}",
            draw(st.sampled_from([0, 1, 2, 4, 8])),
            cpu=draw(st.sampled_from([4, 64])),
            pods=draw(st.sampled_from([3, 110])),
            labels={"disk": draw(st.sampled_from(["ssd", "hdd"]))},
            unschedulable=draw(st.sampled_from([False, False, False, True])),
        )
        for number in range(draw(st.integers(1, 8)))
    ]
    running = [
        pod(f"r{number}", draw(st.integers(0, 3)), on=draw(st.sampled_from(nodes))["metadata"]["name"])
        for number in range(draw(st.integers(0, 6)))
    ]
    return nodes, running


@st.composite
def queues(draw):
    """Up to six pods that wait."""
    return [
        pod(
            f"q{number}",
            devices,
            cpu=draw(st.sampled_from(["100m", "1", "3"])),
            priority=draw(st.sampled_from([0, 0, 5])),
            asks=draw(st.sampled_from(SHARES)) if devices == 1 else {},
            spec={"nodeSelector": {"disk": "ssd"}} if draw(st.sampled_from([False, False, True])) else {},
        )
        for number in range(draw(st.integers(1, 6)))
        for devices in [draw(st.sampled_from([0, 1, 1, 2, 4, 8]))]
    ]


@pytest.fixture(scope="module", params=[name for name in PLACEMENTS if name not in DRAWS])
def served(request):
    with Served(make(request.param)) as found:
        found.placement = request.param
        yield found


@few
@given(cluster=clusters(), queue=queues(), by_names=st.booleans())
def test_the_best_is_what_the_policy_takes(served, cluster, queue, by_names):
    nodes, running = cluster
    policy = make(served.placement)
    here = Cluster(device_kinds())
    served.tell(*({"type": "DELETED", "object": each} for each in served.told))
    served.told = [*nodes, *running, *queue]
    served.tell(*added(*nodes, *running, *queue))
    for item in nodes:
        here.set_node(item)
    for item in (*running, *queue):
        here.set_pod(item)
    waiting = {item["metadata"]["name"]: item for item in queue}
    names = [item["metadata"]["name"] for item in nodes]

    def ask(verb, item, among):
        listed = [each for each in nodes if each["metadata"]["name"] in among]
        answered = served.post(verb, by_name(item, among) if by_names else whole(item, listed))
        assert answered.status == 200
        return answered.json

    def passing(item):
        found = ask("filter", item, names)
        assert found["Error"] == ""
        kept = found["NodeNames"] if by_names else [each["metadata"]["name"] for each in found["Nodes"]["items"]]
        told = {*found["FailedNodes"], *found["FailedAndUnresolvableNodes"]}
        assert told == set(names) - set(kept)
        return kept

    while True:
        here.settle()
        start = next((action for action in policy.decide(here) if isinstance(action, Start)), None)
        if start is None:
            break
        table = here.nodes
        chosen = table.topology.nodes[start.placement[0].node].name
        item = waiting.pop(start.job_id.partition("/")[2])
        kept = passing(item)
        scores = {each["Host"]: each["Score"] for each in ask("prioritize", item, kept)}
        assert max(scores, key=scores.__getitem__) == chosen
        assert list(scores.values()).count(scores[chosen]) == 1

        # the others too stand in the order in which the policy would take them
        request, within, order = here.pending.get(start.job_id).request, from_members(here.numbers_of(kept)), []
        while within and (found := policy.placer.place(request, table.what_if(), within)) is not None:
            order.append(table.topology.nodes[found[0].node].name)
            within ^= 1 << found[0].node
        assert order == sorted(kept, key=lambda name: -scores[name])
        assert sorted(scores.values(), reverse=True) == list(range(10, 10 - len(kept), -1))

        bound = {**item, "spec": {**item["spec"], "nodeName": chosen}}
        here.set_pod(bound)
        served.tell({"type": "MODIFIED", "object": bound})
    assert all(passing(item) == [] for item in waiting.values())


@pytest.mark.parametrize("placement", DRAWS)
def test_placements_that_draw_give_an_order_of_all_that_pass(placement):
    """They choose among all nodes: over twenty questions each of three is the best once."""
    with Served(make(placement)) as served:
        served.tell(*added(*map(node, "abc"), node("full"), pod("x", 8, on="full")))
        best = set()
        for number in range(20):
            found = served.post("prioritize", by_name(pod(f"p{number}", 1), ["full", "c", "b", "a"])).json
            scores = {each["Host"]: each["Score"] for each in found}
            assert scores["full"] == 0
            assert sorted(scores.values()) == [0, 8, 9, 10]
            best.add(max(scores, key=scores.__getitem__))
    assert best == set("abc")
