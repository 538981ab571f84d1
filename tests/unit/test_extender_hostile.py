"""Whatever comes in over HTTP, and whatever the policy does: an answer in the form that is expected, a log line that names the
pod, and the next request is answered as if nothing had been."""

from __future__ import annotations

import contextlib
import http.client
import json
import logging
import resource
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from builders import policy
from extenders import Served, added, by_name, node, pod, whole

from policies.framework.cycle import BestEffortCycle
from policies.ordering.priority import Priority
from policies.placement.best_fit import BestFit
from policies.serving.http import Limits

QUICK = Limits(request_s=0.3, body_s=0.4, head_s=0.4, idle_s=30, waiting=2, connections=50)
GOOD = by_name(pod("good"), ["a"])


@pytest.fixture(scope="module")
def served():
    with Served(policy("best-effort-priority")) as found:
        found.tell(*added(node("a"), node("b"), pod("x", 6, on="b")))
        yield found


def is_well(served):
    """The next request is answered."""
    assert served.post("filter", GOOD).json["NodeNames"] == ["a"]


def lines(caplog):
    return [record.fields for record in caplog.records if getattr(record, "fields", {}).get("verb")]


P = pod("p")
WRONG = {
    "a number": (5, "the request must be a JSON object"),
    "null": (None, "the request must be a JSON object"),
    "a list": ([], "the request must be a JSON object"),
    "no pod": ({"NodeNames": ["a"]}, "Pod: is required, an object"),
    "a null pod": ({"Pod": None, "NodeNames": ["a"]}, "Pod: is required, an object"),
    "a pod of text": ({"Pod": "p", "NodeNames": ["a"]}, "Pod: is required, an object"),
    "an empty pod": ({"Pod": {}, "NodeNames": ["a"]}, "pod default/?: "),
    "containers of text": (
        {"Pod": {**P, "spec": {"containers": "x"}}, "NodeNames": ["a"]},
        "pod team/p: spec.containers",
    ),
    "no nodes": ({"Pod": P}, "neither Nodes nor NodeNames is given"),
    "null nodes": ({"Pod": P, "Nodes": None, "NodeNames": None}, "neither Nodes nor NodeNames is given"),
    "a number of nodes": ({"Pod": P, "NodeNames": 5}, "NodeNames: must be a list of texts"),
    "numbers as nodes": ({"Pod": P, "NodeNames": ["a", 5]}, "NodeNames: must be a list of texts"),
    "nodes of text": ({"Pod": P, "Nodes": "a"}, "Nodes: must be a list of nodes"),
    "items of text": ({"Pod": P, "Nodes": {"items": "a"}}, "Nodes: must be a list of nodes"),
    "a null node": ({"Pod": P, "Nodes": {"items": [None]}}, "Nodes.items[0]: must be a Node with a name"),
    "a nameless node": (
        {"Pod": P, "Nodes": {"items": [node("a"), {}]}},
        "Nodes.items[1]: must be a Node with a name",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_requests_of_another_form(served, caplog, case):
    value, said = WRONG[case]
    with caplog.at_level(logging.INFO):
        filtered, prioritized = served.post("filter", value), served.post("prioritize", value)
    assert filtered.status == 200
    assert filtered.json["Error"].startswith(said)
    assert filtered.json["NodeNames"] is None
    assert prioritized.status in (400, 500)
    assert prioritized.json["error"].startswith(said)
    assert [line["error"][: len(said)] for line in lines(caplog)] == [said, said]
    if value and isinstance(value, dict) and isinstance(value.get("Pod"), dict) and value["Pod"]:
        assert {(line["pod"], line["uid"]) for line in lines(caplog)} == {("team/p", "uid-p")}
    is_well(served)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe{}", b'{"Pod": NaN}', b'{"Pod": Infinity}', b"[" * 100_000, b'"\xed\xa0\x80"', b"{} {}"],
)
@pytest.mark.parametrize("verb", ["filter", "prioritize", "preempt", "bind"])
def test_what_is_not_json(served, verb, body):
    answered = served.post(verb, body)
    assert answered.status == 400
    assert answered.json["error"].startswith("the body is not JSON: ")
    is_well(served)


def test_letters_that_are_none(served):
    """Half of a surrogate pair, and a name that JSON must escape: both come back as they went, or are refused."""
    for name in (b'"\\ud800"', b'"\\u0000\\n"'):
        body = b'{"Pod": %s, "Nodes": null, "NodeNames": [%s]}' % (json.dumps(P).encode(), name)
        answered = served.post("filter", body)
        assert answered.status in (200, 400)
        is_well(served)


def test_numbers_beyond_all_bounds(served):
    vast = {**P, "spec": {**P["spec"], "priority": 10**40}, "metadata": {**P["metadata"], "resourceVersion": 5}}
    assert served.post("filter", by_name(vast, ["a"])).status == 200
    is_well(served)


def test_nodes_that_are_unknown_or_come_twice(served):
    found = served.post("filter", by_name(P, ["zz", "a", "a", "b", "zz"])).json
    assert (found["NodeNames"], found["Error"]) == (["a", "b"], "")
    assert found["FailedAndUnresolvableNodes"] == {"zz": "the node is not known here (yet)"}
    scores = served.post("prioritize", by_name(P, ["zz", "a", "a", "b"])).json
    assert scores == [{"Host": "zz", "Score": 0}, {"Host": "a", "Score": 9}, {"Host": "b", "Score": 10}]
    found = served.post("filter", whole(P, [node("a"), node("a"), node("q")])).json
    assert [item["metadata"]["name"] for item in found["Nodes"]["items"]] == ["a"]


def test_nothing_to_choose_from(served):
    assert served.post("filter", by_name(P, [])).json["NodeNames"] == []
    assert served.post("filter", {"Pod": P, "Nodes": {"metadata": {}, "items": None}}).json["Nodes"]["items"] == []
    assert served.post("prioritize", by_name(P, [])).json == []
    for key in ("NodeNameToVictims", "NodeNameToMetaVictims"):
        assert served.post("preempt", {"Pod": P, key: {}}).json == {"NodeNameToMetaVictims": {}}


def test_keys_in_any_case(served):
    found = served.post("filter", {"pod": P, "NODENAMES": ["a"], "nodes": None}).json
    assert (found["NodeNames"], found["Error"]) == (["a"], "")


@pytest.mark.parametrize(
    ("victims", "said"),
    [
        ({"NodeNameToMetaVictims": None}, "NodeNameToMetaVictims: must be an object"),
        ({"NodeNameToVictims": []}, "NodeNameToVictims: must be an object"),
        ({"NodeNameToMetaVictims": {"a": None}}, "NodeNameToMetaVictims.a.Pods: must be a list"),
        ({"NodeNameToMetaVictims": {"a": {"Pods": [{}]}}}, "NodeNameToMetaVictims.a.Pods: a pod has no uid"),
        ({"NodeNameToMetaVictims": {"a": {"Pods": [], "NumPDBViolations": "x"}}}, "NodeNameToMetaVictims.a.Num"),
    ],
)
def test_victims_of_another_form(served, victims, said):
    answered = served.post("preempt", {"Pod": P, **victims})
    assert answered.status == 400
    assert answered.json["error"].startswith(said)


def test_bind_without_an_api_server_or_a_name(served, caplog):
    asked = {"PodName": "p", "PodNamespace": "team", "PodUID": "u", "Node": "a"}
    assert "no API server to bind with" in served.post("bind", asked).json["Error"]
    assert lines(caplog)[-1]["pod"] == "team/p"
    found = served.post("bind", {"PodName": "p", "Node": 5})
    assert (found.status, found.json["Error"]) == (
        200,
        "PodNamespace, PodUID, Node: must be a text that is not empty",
    )


def test_other_ways_and_methods(served):
    assert served.get("/filter").status == 405
    assert served.post("bid", {}).status == 404
    assert served.get("/").status == 404
    is_well(served)


# -- the policy ---------------------------------------------------------------------------------------------------------


class Wayward(BestFit):
    """Does by the number of devices what nobody should."""

    name = "wayward"

    def __init__(self):
        self.go_on = threading.Event()

    def place(self, request, nodes, within=None):
        devices = request.gang[0].devices
        if devices == 3:
            raise ZeroDivisionError("3 devices")
        if devices == 4:
            raise SystemExit(3)
        if devices == 5:
            raise StopIteration
        if devices == 6:
            self.go_on.wait(20)
        if devices == 7:
            return super().place(request, nodes)  # forgets what it was given
        return super().place(request, nodes, within)


def wayward(**more):
    placer = Wayward()
    cycle = BestEffortCycle(name="mine", order=Priority(), placer=placer)
    return placer, Served(cycle, limits=QUICK, **more)


def test_a_policy_that_fails(caplog):
    _, server = wayward()
    with server as served, caplog.at_level(logging.INFO):
        served.tell(*added(node("a"), node("b")))
        for devices, said in ((3, "ZeroDivisionError: 3 devices"), (4, "SystemExit: 3"), (5, "StopIteration: ")):
            caplog.clear()
            found = served.post("prioritize", by_name(pod(f"p{devices}", devices), ["a", "b"]))
            assert found.status == 500
            assert found.json == {"error": f"policy mine failed: {said}"}
            line = lines(caplog)[-1]
            assert (line["pod"], line["status"], line["error"]) == (f"team/p{devices}", 500, found.json["error"])
            # kube-scheduler goes on without the scores and says nothing: this is the only place where it can be seen
            assert [r.levelname for r in caplog.records if r.message.startswith("scores are lost")] == ["ERROR"]
            is_well(served)
        served.tell(*added(pod("x", 1, on="b")))
        found = served.post("prioritize", by_name(pod("p7", 7), ["a"]))
        assert found.json["error"].startswith("policy mine failed: RankingError: wayward placed one pod as ")
        is_well(served)


def test_a_policy_that_thinks_for_long(caplog):
    placer, server = wayward()
    with server as served, ThreadPoolExecutor(4) as pool:
        served.tell(*added(node("a")))
        is_well(served)
        slow = by_name(pod("slow", 6), ["a"])
        began = time.monotonic()
        found = served.post("prioritize", slow)
        assert 0.25 < time.monotonic() - began < 5
        assert (found.status, found.json) == (500, {"error": "the policy has not answered in 0.3 s"})
        assert lines(caplog)[-1]["pod"] == "team/slow"

        # who comes meanwhile hears it in the form of its verb; two may wait, the third is turned away
        waiting = pool.submit(one_shot, served.port, "filter", GOOD)
        wait_for(lambda: served.app.waiting == 2)
        status, turned_away = one_shot(served.port, "filter", GOOD)
        assert (status, turned_away["error"]) == (503, "2 requests wait already")
        assert waiting.result(10) == (200, {**waiting.result()[1], "Error": "the policy has not answered in 0.3 s"})

        # health and metrics do not wait for it
        assert served.get("/healthz").status == 200
        assert b"rehearse_requests_waiting 2.0" in served.get("/metrics").data
        placer.go_on.set()
        wait_for(lambda: served.app.waiting == 0)
        is_well(served)


def wait_for(holds):
    """Until it holds."""
    end = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < end, "it never came to hold"
        time.sleep(0.005)


def one_shot(port, verb, value):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request("POST", f"/{verb}", json.dumps(value))
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def test_what_is_in_flight_is_finished_when_it_is_told_to_stop():
    placer, server = wayward()
    with ThreadPoolExecutor(1) as pool, server as served:
        served.tell(*added(node("a")))
        slow = pool.submit(one_shot, served.port, "prioritize", by_name(pod("slow", 6), ["a"]))
        wait_for(lambda: served.app.waiting == 1)
        served.loop.call_soon_threadsafe(served.server.stop)
        wait_for(lambda: not accepts(served.port))
        placer.go_on.set()
        assert slow.result(10) == (200, [{"Host": "a", "Score": 10}])


def accepts(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


# -- the wire -------------------------------------------------------------------------------------------------------------


def test_a_hundred_megabytes(served):
    """With its length said, and in chunks without; refused, and the same connection or the next goes on."""
    block = b" " * (1 << 20)

    def endless():
        for _ in range(100):
            yield block

    for headers in ({"Content-Length": str(100 << 20)}, {"Transfer-Encoding": "chunked"}):
        connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
        connection.request("POST", "/filter", endless(), headers, encode_chunked="Transfer-Encoding" in headers)
        response = connection.getresponse()
        assert response.status == 413
        assert json.loads(response.read()) == {"error": f"the body has more than {64 << 20} bytes"}
        connection.close()
        is_well(served)


def raw(port, data):
    """A connection that has said this."""
    found = socket.create_connection(("127.0.0.1", port), timeout=10)
    found.sendall(data)
    return found


def heard(connection):
    """Everything that still comes, until the other side ends it."""
    chunks = []
    with contextlib.suppress(ConnectionError):
        while chunk := connection.recv(1 << 16):
            chunks.append(chunk)
    connection.close()
    return b"".join(chunks)


HEAD = b"POST /filter HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"


def test_clients_that_are_slow():
    """To say what they want, to say it all, to begin anew, and to listen: each is cut off; the others do not notice."""
    with Served(policy("best-effort-priority"), limits=replace(QUICK, request_s=4.5)) as served:
        served.tell(*added(node("a")))
        began = time.monotonic()
        half_head, no_body = raw(served.port, HEAD), raw(served.port, HEAD + b"\r\n{")
        deaf = raw(served.port, _large_question())
        trickle = raw(served.port, b"")
        with contextlib.suppress(ConnectionError):
            for letter in b"POST /filter HTTP/1.1\r\n":
                trickle.sendall(bytes([letter]))
                is_well(served)
                time.sleep(0.05)
        assert heard(half_head) == b""
        assert b"408 Request Timeout" in heard(no_body)
        assert heard(trickle) == b""
        wait_for(lambda: served.metrics.cut_off.labels("reads too slowly")._value.get() == 1)
        deaf.close()
        assert time.monotonic() - began < 8
        assert served.metrics.cut_off.labels("no request in time")._value.get() == 2
        is_well(served)


def _large_question():
    """Asks for the scores of 150,000 nodes that nobody knows, which is more than socket buffers hold."""
    names = [f"node-{number:08d}.of-a-very-long-domain" for number in range(150_000)]
    body = json.dumps(by_name(P, names)).encode()
    return b"POST /prioritize HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
        b"POST /filter HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /filter HTTP/1.1\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
        b"POST http:// HTTP/1.1\r\n\r\n",
        b"POST /\xff\xfe HTTP/1.1\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /filter HTTP/1.1\r\nX: " + b"x" * 200_000,
        b"GET /" + b"x" * 200_000,
        b"POST /filter HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_what_is_no_http(served, data):
    with contextlib.suppress(ConnectionError):
        answered = heard(raw(served.port, data))
        assert answered == b"" or answered.startswith((b"HTTP/1.1 400", b"HTTP/1.1 404"))
    is_well(served)


def test_requests_that_come_in_a_row_are_answered_in_their_order(served):
    body = json.dumps(GOOD).encode()
    one = b"POST /filter HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    last = one.replace(b"Host: x", b"Host: x\r\nConnection: close")
    answered = heard(raw(served.port, one * 4 + last))
    assert answered.count(b"HTTP/1.1 200 OK") == 5
    assert answered.count(b'"NodeNames":["a"]') == 5


def test_thousands_of_connections():
    """More than are allowed make those go that have never asked; who has, keeps its connection and is answered."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = min(3000, soft // 2 - 200)
    with Served(policy("best-effort-priority"), limits=QUICK) as served:
        served.tell(*added(node("a")))
        idle = []
        for number in range(count):
            idle.append(socket.create_connection(("127.0.0.1", served.port), timeout=10))
            if number % 500 == 0:
                is_well(served)
        is_well(served)
        wait_for(lambda: served.metrics.cut_off.labels("too many connections")._value.get() > count - 100)
        assert served.server.connections <= QUICK.connections + 1
        for connection in idle:
            connection.close()
        is_well(served)


def test_questions_of_many_at_once():
    """Four clients, a hundred questions each: every one is answered, and all alike."""
    with Served(policy("best-effort-priority")) as served, ThreadPoolExecutor(4) as pool:
        served.tell(*added(*(node(f"n{number}") for number in range(50))))
        asked = by_name(P, [f"n{number}" for number in range(50)])

        def client(_):
            connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
            found = set()
            for _ in range(50):
                for verb in ("filter", "prioritize"):
                    connection.request("POST", f"/{verb}", json.dumps(asked))
                    response = connection.getresponse()
                    assert response.status == 200
                    found.add(response.read())
            connection.close()
            return found

        answers = set.union(*pool.map(client, range(4)))
    assert len(answers) == 2
