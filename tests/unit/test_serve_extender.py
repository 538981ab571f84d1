"""`rehearse serve extender`: what it refuses to serve, and the true server with TLS, an API server and a signal to stop."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import ssl
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
from builders import policy
from extenders import Served, added, by_name, certificate, node, pod, whole
from fake_api_server import FakeApiServer, Fault

from policies.serving import extender_server
from policies.serving.http import Tls
from sim.cli import main

ROOT = Path(__file__).parents[2]


def refused(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main(["serve", "extender", *words])
    assert stop.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--policy", "fifo"],
            "second scheduler only: it orders the queue by arrival and the head blocks it; --placement-only",
        ),
        (["--policy", "easy"], "--policy easy: second scheduler only: it orders the queue by arrival and reserves"),
        (["--policy", "best-effort-priority:per=queue"], "it takes queue after queue; --placement-only serves where"),
        (["--policy", "sjf-oracle", "--placement-only"], "simulator only: it reads true run times\n"),
        (
            ["--policy", "kube-default", "--placement-only"],
            "kube-scheduler: it is what a KubeSchedulerConfiguration says\n",
        ),
        (["--policy", "fifoo"], "did you mean 'fifo'?"),
        (["--policy", "best-effort-priority:quota=keep"], "it keeps entitlements, and --queues says which there are"),
        (["--policy", "best-effort-priority", "--queues", "4x8"], "this fleet has no queues"),
        (["--policy", "best-effort-priority:place=fgd"], "place=fgd needs the mix of pods: give --typical-pods FILE"),
        (["--policy", "best-effort-priority", "--tls-cert", "c"], "--tls-cert and --tls-key go together"),
        (["--policy", "best-effort-priority", "--client-ca", "c"], "--client-ca needs --tls-cert and --tls-key"),
        (["--policy", "best-effort-priority", "--context", "c"], "--context needs --kubeconfig"),
        (["--policy", "best-effort-priority", "--kubeconfig", "c", "--in-cluster"], "give one of them"),
        (
            ["--policy", "best-effort-priority", "--prefix", "/{x}"],
            "--prefix /{x}: letters, digits and ._~- between slashes",
        ),
        (["--policy", "best-effort-priority", "--kubeconfig", "nowhere"], "kubeconfig nowhere: no such file"),
        (["--policy", "best-effort-priority", "--tls-cert", "c", "--tls-key", "k"], "TLS files: "),
        (["--policy", "best-effort-priority", "--host", "256.1.1.1"], "256.1.1.1: "),
        ([], "Missing option '--policy'"),
    ],
)
def test_what_is_refused(capsys, words, said):
    assert said in refused(capsys, *words)


def test_a_port_that_is_taken(capsys):
    with Served(policy("best-effort-priority")) as served:
        said = refused(capsys, "--policy", "best-effort-priority", "--port", str(served.port))
    assert f"cannot listen on 127.0.0.1 port {served.port}: Address already in use" in said


@contextmanager
def serving(*words):
    """(url, process) of the true server; at the end it is told to stop, and must end with status 0. Its log is in `said`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "sim.cli", "serve", "extender", "--port", "0", *map(str, words)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    process.said = []
    reader = threading.Thread(target=lambda: process.said.extend(process.stderr))
    reader.start()
    try:
        line = process.stdout.readline()
        assert " at http" in line, (line, process.said)
        yield line.partition(" at ")[2].partition(": ")[0], process
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(20)
        reader.join()
        process.stdout.close()
        process.stderr.close()
    assert status == 0, process.said


def ask(url, value=None, context=None):
    data = None if value is None else json.dumps(value).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=20, context=context) as response:
            return response.status, json.loads(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def test_nodes_without_an_api_server_count_as_idle_and_it_says_so():
    """Placement only, of a policy that orders the queue; under a path of its own."""
    with serving("--policy", "fifo:place=spread", "--placement-only", "--prefix", "own/way/") as (url, process):
        assert url.endswith("/own/way")
        nodes = [node("a", 8), node("b", 4), node("c", 2)]
        _, found = ask(f"{url}/filter", whole(pod("p", 4), nodes))
        assert [item["metadata"]["name"] for item in found["Nodes"]["items"]] == ["a", "b"]
        assert found["FailedNodes"] == {"c": "4 nvidia.com/gpu needed, 2 left"}
        _, scores = ask(f"{url}/prioritize", whole(pod("p", 4), nodes[:2]))
        assert scores == [{"Host": "a", "Score": 10}, {"Host": "b", "Score": 9}]
        _, found = ask(f"{url}/filter", by_name(pod("p", 4), ["a"]))
        assert found["Error"].startswith(
            "the request names nodes, and nothing is known of them without an API server"
        )
        status, health = ask(url.replace("/own/way", "/healthz"))
        assert (status, health["status"], health["nodes"]) == (200, "ok", 3)
        assert health["usage"] == "no API server: pods are not known, each node counts as idle"
        assert health["deployment"].startswith("second scheduler only")
        with urllib.request.urlopen(url.replace("/own/way", "/metrics"), timeout=20) as response:
            metrics = response.read().decode()
        assert "rehearse_usage_known 0.0" in metrics
        assert 'rehearse_requests_total{result="error",verb="filter"} 1.0' in metrics
    said = [json.loads(line) for line in process.said if line.startswith("{")]
    assert said[0]["level"] == "warning"
    assert said[0]["message"].startswith("no API server: pods are not known")
    about = [{key: line.get(key) for key in ("verb", "pod", "uid", "nodes_in", "nodes_out")} for line in said[1:]]
    asked = {"pod": "team/p", "uid": "uid-p"}
    assert about == [
        {"verb": "filter", **asked, "nodes_in": 3, "nodes_out": 2},
        {"verb": "prioritize", **asked, "nodes_in": 2, "nodes_out": 2},
        {"verb": "filter", **asked, "nodes_in": 1, "nodes_out": 0},
    ]


def test_victims_cannot_be_judged_without_an_api_server():
    asked = {"Pod": pod("p", 8, priority=9), "NodeNameToVictims": {"a": {"Pods": [pod("x", 8, on="a")]}}}
    with Served(policy("preempt-priority"), usage=False) as served:
        found = served.post("preempt", asked)
        assert found.status == 500
        assert found.json["error"].startswith("no API server")
    with Served(policy("best-effort-priority"), usage=False) as served:
        assert served.post("preempt", asked).json == {"NodeNameToMetaVictims": {}}


# -- with an API server ---------------------------------------------------------------------------------------------------


class Permit:
    """Lets nobody list until told so, and loses the answers to bindings of pods named so."""

    def __init__(self):
        self.listed = False

    def __call__(self, method, path):
        if method == "GET" and not self.listed and path.endswith(("/nodes", "/pods")):
            return Fault(status=403)
        return Fault(drop=True) if path.endswith("/pods/lost/binding") else None


async def _with_an_api_server(folder):
    permit = Permit()
    async with FakeApiServer(faults=permit) as api:
        for item in (node("a"), node("b"), pod("x", 8, on="b"), pod("p", 8), pod("q", 1), pod("lost", 1)):
            item["metadata"].pop("resourceVersion")
            api.add(item)
        words = ("--policy", "best-effort-priority", "--kubeconfig", api.kubeconfig(folder))
        with serving(*words) as (url, _):

            async def there(path, value=None):
                return await asyncio.to_thread(ask, f"{url}/{path}", value)

            assert (await there("readyz"))[0] == 503
            status, found = await there("filter", by_name(pod("p", 8), ["a", "b"]))
            assert status == 200
            assert found["Error"].startswith("not ready: nodes and pods are not listed yet")
            permit.listed = True
            while (await there("readyz"))[0] != 200:
                await asyncio.sleep(0.05)
            assert (await there("filter", by_name(pod("p", 8), ["a", "b"])))[1]["NodeNames"] == ["a"]

            def bind(name):
                return {"PodName": name, "PodNamespace": "team", "PodUID": f"uid-{name}", "Node": "a"}

            # nobody with this name: nothing is held for it
            _, found = await there("bind", bind("nobody"))
            assert found["Error"].startswith("cannot bind: POST /api/v1/namespaces/team/pods/nobody/binding: 404")
            assert (await there("filter", by_name(pod("q", 8), ["a", "b"])))[1]["NodeNames"] == ["a"]
            # whose answer was lost may be bound: what it would hold is held
            _, found = await there("bind", bind("lost"))
            assert found["Error"].startswith("cannot bind: ")
            assert (await there("filter", by_name(pod("q", 8), ["a", "b"])))[1]["NodeNames"] == []
            assert (await there("bind", bind("q"))) == (200, {"Error": ""})
            assert ("q", "a") in api.bindings
            health = (await there("healthz"))[1]
            assert health["api_server"].startswith(api.url)
            assert health["watch_faults"] == {}
            assert (health["usage"], health["pods_held"]) == ("pods are watched", 3)


def test_with_an_api_server(tmp_path):
    asyncio.run(_with_an_api_server(tmp_path))


# -- TLS --------------------------------------------------------------------------------------------------------------------


def test_only_clients_with_a_certificate_of_the_authority_are_served(tmp_path):
    ca, _ = certificate(tmp_path, "authority")
    cert, key = certificate(tmp_path, "server", issuer="authority")
    ours = certificate(tmp_path, "client", issuer="authority")
    theirs = certificate(tmp_path, "stranger")
    with Served(policy("best-effort-priority"), tls=Tls(cert=cert, key=key, client_ca=ca)) as served:
        served.tell(*added(node("a")))
        url = f"https://127.0.0.1:{served.port}/filter"

        def context(pair):
            made = ssl.create_default_context(cafile=ca)
            if pair is not None:
                made.load_cert_chain(*pair)
            return made

        for pair in (theirs, None):
            with pytest.raises((ssl.SSLError, OSError)):
                ask(url, by_name(pod("p"), ["a"]), context(pair))
        assert ask(url, by_name(pod("p"), ["a"]), context(ours))[1]["NodeNames"] == ["a"]


# -- a policy that never ends -------------------------------------------------------------------------------------------------


def test_a_policy_that_never_ends_does_not_keep_the_server(monkeypatch):
    monkeypatch.setattr(extender_server, "CLOSE_S", 0.05)
    go_on = threading.Event()

    async def close_while_it_thinks(desk):
        task = asyncio.create_task(desk.do(lambda: go_on.wait(20)))
        await asyncio.sleep(0.01)
        ended = await extender_server._close(desk)
        go_on.set()
        await task
        return ended

    with Served(policy("best-effort-priority")) as served:
        desk = served.desk
    assert asyncio.run(extender_server._close(desk))
    with Served(policy("best-effort-priority")) as served:
        busy = asyncio.run_coroutine_threadsafe(close_while_it_thinks(served.desk), served.loop)
        assert busy.result(10) is False
