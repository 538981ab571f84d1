"""The simulator calls an extender as kube-scheduler does: over real HTTP, on loopback."""

import base64
import contextlib
import json
import shutil
import ssl
import subprocess
import threading
import time

import pytest
from extender_stub import server
from shared import needs

from policies.kube.configuration import ExtenderConfig, ManagedResource, TlsConfig
from policies.kube.extender import ExtenderError, Victims
from policies.kube.pods import Pod
from policies.kube.terms import PodTerms
from policies.serving import extender_client
from policies.serving.extender_client import HttpExtender
from policies.topology import Node


def pod(name="p", **requests):
    amounts = tuple(sorted({"cpu": 1000, "nvidia.com/gpu": 2, **requests}.items()))
    return Pod(name=name, namespace="default", uid=f"uid-{name}", terms=PodTerms(requests=amounts), devices=2)


def config(port, **more):
    verbs = {"filter_verb": "filter", "prioritize_verb": "prioritize", "preempt_verb": "preempt", "bind_verb": "bind"}
    defaults = {"url_prefix": f"http://127.0.0.1:{port}/", "node_cache_capable": True, "http_timeout_ms": 400}
    return ExtenderConfig(**{**verbs, **defaults, **more})


@contextlib.contextmanager
def client(answer, **more):
    with server(answer) as (port, seen), HttpExtender(config(port, **more)) as extender:
        extender.know([Node("n0"), Node("n1", devices=4)], {"u0": pod("low")})
        yield extender, seen


def test_filter_sends_names_and_reads_any_case_on_one_connection():
    replies = {"filter": {"nodenames": ["n1"], "FAILEDNODES": {"n0": "full"}, "Error": ""}}
    with client(lambda verb, _: replies[verb]) as (extender, seen):
        for _ in range(3):
            found = extender.filter(pod(), ["n0", "n1"])
            assert (list(found.nodes), dict(found.failed)) == (["n1"], {"n0": "full"})
    assert len({port for _, _, port in seen}) == 1, "the connection is kept"
    assert seen[0][1]["NodeNames"] == ["n0", "n1"]
    assert seen[0][1]["Nodes"] is None
    assert extender.calls == 3
    assert extender.waited_ms > 0


def test_null_names_of_a_caching_extender_are_no_node_at_all():
    with client(lambda *_: {"NodeNames": None}) as (extender, _):
        assert list(extender.filter(pod(), ["n0"]).nodes) == []


def test_whole_nodes_are_sent_and_read_without_a_cache():
    def keep_last(_, request):
        assert request["NodeNames"] is None
        return {"Nodes": {"items": request["Nodes"]["items"][-1:]}, "NodeNames": ["ignored"]}

    with client(keep_last, node_cache_capable=False) as (extender, seen):
        assert list(extender.filter(pod(), ["n0", "n1"]).nodes) == ["n1"]
        assert seen[0][1]["Nodes"]["items"][1]["status"]["allocatable"] == {"rehearse/device": "4"}
        assert extender.forgets_pods


def test_victims_are_sent_whole_without_a_cache():
    agreed = {"NodeNameToMetaVictims": {"n0": {"Pods": [{"UID": "u0"}]}}}
    with client(lambda *_: agreed, node_cache_capable=False) as (extender, seen):
        assert extender.preempt(pod(), {"n0": Victims(("u0",))}) == {"n0": Victims(("u0",))}
    assert seen[0][1]["NodeNameToVictims"]["n0"]["Pods"][0]["metadata"]["name"] == "low"
    assert seen[0][1]["NodeNameToMetaVictims"] is None


def test_scores_victims_and_binding():
    replies = {
        "prioritize": [{"Host": "n0", "Score": 3}, {"host": "n1", "score": 10}],
        "preempt": {"NodeNameToMetaVictims": {"n1": {"Pods": [{"UID": "u0"}], "NumPDBViolations": 1}}},
        "bind": {"Error": ""},
    }
    with client(lambda verb, _: replies[verb]) as (extender, seen):
        assert extender.prioritize(pod(), ["n0", "n1"]) == {"n0": 3, "n1": 10}
        asked = {"n0": Victims(("u0",)), "n1": Victims(("u0", "u1"), 1)}
        assert extender.preempt(pod(), asked) == {"n1": Victims(("u0",), 1)}
        extender.bind(pod(), "n1")
    assert seen[1][1]["NodeNameToMetaVictims"]["n1"] == {
        "Pods": [{"UID": "u0"}, {"UID": "u1"}],
        "NumPDBViolations": 1,
    }
    assert seen[2][1] == {"PodName": "p", "PodNamespace": "default", "PodUID": "uid-p", "Node": "n1"}


@pytest.mark.parametrize(
    ("verb", "answer", "why"),
    [
        ("filter", (500, b"{}"), "status 500"),
        ("filter", (200, b"{nonsense"), "not JSON"),
        ("filter", [1], "not an object"),
        ("filter", {"Error": "no such model"}, "no such model"),
        ("filter", {"NodeNames": [1]}, "not a list of names"),
        ("filter", {"NodeNames": ["n0"], "FailedNodes": ["n1"]}, "not an object of texts"),
        ("prioritize", {"Host": "n0"}, "not a list"),
        ("prioritize", [{"Host": "n0", "Score": 1.5}], "a score is a whole number"),
        ("prioritize", [{"Host": "n0", "Score": 2**63}], "a score is a whole number"),
        ("preempt", {"NodeNameToMetaVictims": []}, "not an object"),
        ("preempt", {"NodeNameToMetaVictims": {"n0": {"Pods": 3}}}, "not a list of objects"),
        ("bind", {"Error": "conflict"}, "conflict"),
    ],
)
def test_an_answer_that_cannot_be_used_says_why(verb, answer, why):
    with client(lambda *_: answer) as (extender, _):
        ask = {
            "filter": lambda: extender.filter(pod(), ["n0", "n1"]),
            "prioritize": lambda: extender.prioritize(pod(), ["n0", "n1"]),
            "preempt": lambda: extender.preempt(pod(), {"n0": Victims(("u0",))}),
            "bind": lambda: extender.bind(pod(), "n0"),
        }
        with pytest.raises(ExtenderError, match=why):
            ask[verb]()


def test_a_slow_extender_is_not_waited_for_and_the_next_call_works():
    slow = threading.Event()

    def answer(*_):
        if not slow.is_set():
            slow.set()
            time.sleep(0.7)
        return {"NodeNames": ["n0"]}

    with client(answer) as (extender, _):
        with pytest.raises(ExtenderError, match="no answer in time"):
            extender.filter(pod(), ["n0"])
        assert list(extender.filter(pod(), ["n0"]).nodes) == ["n0"]


def test_an_answer_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(extender_client, "ANSWER_BYTES_MAX", 1000)
    with (
        client(lambda *_: (200, b" " * 5000)) as (extender, _),
        pytest.raises(ExtenderError, match="more than 1000 bytes"),
    ):
        extender.filter(pod(), ["n0"])


def test_nobody_listens():
    with server(lambda *_: {}) as (port, _):
        pass
    with HttpExtender(config(port)) as extender, pytest.raises(ExtenderError, match="filter"):
        extender.filter(pod(), ["n0"])


def test_managed_resources_choose_the_pods():
    managed = (ManagedResource(name="huawei.com/Ascend910B3"),)
    with client(lambda *_: {}, managed_resources=managed) as (extender, _):
        assert not extender.is_interested(pod())
        assert extender.is_interested(pod(**{"huawei.com/Ascend910B3": 1}))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    if shutil.which("openssl") is None:
        pytest.skip("needs the program openssl, to make a certificate")
    make = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout key.pem -out cert.pem"
    )
    subprocess.run(
        [*make.split(), "-subj", "/CN=ext", "-addext", "subjectAltName=DNS:ext.example"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return folder


def tls_config(port, **tls):
    return config(
        port, url_prefix=f"https://127.0.0.1:{port}", enable_https=True, tls=TlsConfig(**tls), http_timeout_ms=3000
    )


def test_tls_with_a_client_certificate_from_data_and_files(certificate):
    serving = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=certificate / "cert.pem")
    serving.verify_mode = ssl.CERT_REQUIRED
    serving.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    pem = base64.b64encode((certificate / "cert.pem").read_bytes()).decode()
    with server(lambda *_: {"NodeNames": ["n0"]}, serving) as (port, _):
        own = {"cert_file": "cert.pem", "key_file": "key.pem"}
        for tls in ({**own, "ca_data": pem, "server_name": "ext.example"}, own):
            with HttpExtender(tls_config(port, **tls), folder=certificate) as extender:
                assert list(extender.filter(pod(), ["n0"]).nodes) == ["n0"]
                assert extender.verified == ("ca_data" in tls)
        with (
            HttpExtender(tls_config(port, ca_data=pem, **own), folder=certificate) as extender,
            pytest.raises(ExtenderError, match="filter"),
        ):
            extender.filter(pod(), ["n0"])  # the certificate is not of that name


def test_tls_files_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(ValueError, match="tlsConfig cannot be used"):
        HttpExtender(tls_config(1, ca_file="gone.pem"), folder=tmp_path)
    with pytest.raises(ValueError, match="tlsConfig cannot be used"):
        HttpExtender(tls_config(1, ca_data="%%%"), folder=tmp_path)


@pytest.mark.reference
@pytest.mark.parametrize("name", ["filter-cache-capable", "prioritize-cache-capable", "preempt-meta-victims", "bind"])
def test_what_is_sent_has_the_shape_of_a_real_kube_scheduler(name):
    captured = json.loads(needs(f"reference/extender_wire/{name}.json").read_text())
    verb = captured["verb"]
    with client(lambda *_: captured["response"]) as (extender, seen):
        names = captured["request"].get("NodeNames") or []
        if verb == "filter":
            assert list(extender.filter(pod(), names).nodes) == captured["response"]["NodeNames"]
        elif verb == "prioritize":
            assert extender.prioritize(pod(), names) == {each["Host"]: each["Score"] for each in captured["response"]}
        elif verb == "preempt":
            victims = {
                node: Victims(tuple(each["UID"] for each in found["Pods"]))
                for node, found in captured["request"]["NodeNameToMetaVictims"].items()
            }
            agreed = extender.preempt(pod(), victims)
            assert set(agreed) == set(captured["response"]["NodeNameToMetaVictims"])
        else:
            extender.bind(pod(), "n07")
    sent = seen[0][1]
    assert list(sent) == list(captured["request"])
    for key, value in captured["request"].items():
        assert type(sent[key]) is type(value), key
