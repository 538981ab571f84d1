"""Requests that a real kube-scheduler sent, replayed over HTTP: the replies have the form that it took."""

from __future__ import annotations

import json

import pytest
from builders import policy
from extenders import GPU, Served, added, node, pod
from shared import needs

NODES = [f"n{number:02d}" for number in range(10)]

pytestmark = pytest.mark.reference


def captured(name):
    return json.loads(needs(f"reference/extender_wire/{name}.json").read_text())


def same_form(ours, theirs, path=""):
    """Same keys, same types; what their server left out (a Go null) may be there, and lists may differ in length."""
    if isinstance(theirs, dict):
        assert isinstance(ours, dict), path
        if set(theirs) & {"Nodes", "NodeNameToMetaVictims", "Pods", "Host"}:
            assert set(theirs) <= set(ours) <= {*theirs, "FailedAndUnresolvableNodes"}, path
        for key in set(ours) & set(theirs):
            same_form(ours[key], theirs[key], f"{path}.{key}")
    elif isinstance(theirs, list):
        assert isinstance(ours, list), path
        for each in ours:
            same_form(each, theirs[0], f"{path}[]")
    else:
        assert type(ours) is type(theirs), f"{path}: {ours!r} for {theirs!r}"


def idle_nodes():
    """As those of the capture: eight devices each."""
    return added(*(node(name) for name in NODES))


@pytest.mark.parametrize("verb", ["filter", "prioritize"])
def test_names_alone(verb):
    case = captured(f"{verb}-cache-capable")
    assert case["verb"] == verb
    with Served(policy("best-effort-priority")) as served:
        served.tell(*idle_nodes(), *added(pod("x", 7, on="n01")))
        answered = served.post(verb, case["request"])
    assert answered.status == 200
    same_form(answered.json, case["response"])
    asked = case["request"]["NodeNames"]
    if verb == "filter":
        assert answered.json["NodeNames"] == [name for name in asked if name != "n01"]
        assert answered.json["FailedNodes"] == {"n01": f"2 {GPU} needed, 1 left"}
        assert (answered.json["Nodes"], answered.json["Error"]) == (None, "")
    else:
        scores = {each["Host"]: each["Score"] for each in answered.json}
        assert list(scores) == asked
        # n01 is full; of the idle ones best-fit takes the lowest number
        assert scores == {"n01": 0, **{name: 10 - place for place, name in enumerate(sorted({*asked} - {"n01"}))}}


@pytest.mark.parametrize("verb", ["filter", "prioritize"])
@pytest.mark.parametrize("usage", [True, False], ids=["watched", "bare"])
def test_whole_nodes(verb, usage):
    """With a watch the nodes are known by name; without one the request is all there is, and every node idle."""
    case = captured(f"{verb}-with-nodes")
    with Served(policy("best-effort-priority"), usage=usage) as served:
        if usage:
            served.tell(*idle_nodes())
        answered = served.post(verb, case["request"])
    assert answered.status == 200
    same_form(answered.json, case["response"])
    items = case["request"]["Nodes"]["items"]
    if verb == "filter":
        assert answered.json["Nodes"]["items"] == items  # whole, as they came
        assert answered.json["NodeNames"] is None
    else:
        assert [each["Host"] for each in answered.json] == [item["metadata"]["name"] for item in items]


@pytest.mark.parametrize("name", ["preempt-meta-victims", "preempt-victims"])
def test_victims_by_uid_and_whole(name):
    case = captured(name)
    request = case["request"]
    candidates = request["NodeNameToVictims"] or request["NodeNameToMetaVictims"]
    uids = {on: each["Pods"][0].get("UID") or each["Pods"][0]["metadata"]["uid"] for on, each in candidates.items()}
    low = []
    for on, uid in uids.items():
        each = pod(f"low-{on}", 8, on=on)
        each["metadata"]["uid"] = uid
        low.append(each)
    with Served(policy("preempt-priority")) as served:
        served.tell(*idle_nodes(), *added(*low))
        answered = served.post("preempt", request)
        assert answered.status == 200
        same_form(answered.json, case["response"])
        kept = answered.json["NodeNameToMetaVictims"]
        assert {on: [each["UID"] for each in victims["Pods"]] for on, victims in kept.items()} == {
            on: [uid] for on, uid in uids.items()
        }
    with Served(policy("best-effort-priority")) as served:
        served.tell(*idle_nodes(), *added(*low))
        assert served.post("preempt", request).json == {"NodeNameToMetaVictims": {}}


class Bound:
    """Stands for the API server: keeps what was bound."""

    def __init__(self):
        self.bound = []

    async def bind(self, namespace, name, uid, node, *, limit_s=0):
        self.bound.append((namespace, name, uid, node))


def test_bind():
    case = captured("bind")
    binder = Bound()
    with Served(policy("best-effort-priority"), binder=binder) as served:
        served.tell(*idle_nodes())
        answered = served.post("bind", case["request"])
    assert (answered.status, answered.json) == (200, case["response"])
    asked = case["request"]
    assert binder.bound == [(asked["PodNamespace"], asked["PodName"], asked["PodUID"], asked["Node"])]
