"""`--scheduler-config`: a run, and a comparison, under an unmodified KubeSchedulerConfiguration, with an extender over HTTP."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from sim.cli import main

HEAD = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n"
PACK = (
    "profiles: [{pluginConfig: [{name: NodeResourcesFit, args: {scoringStrategy: {type: MostAllocated, resources:"
    " [{name: cpu}, {name: memory}]}}}]}]\n"
)
TRACE = "job_id,submit_ms,run_ms,gpus,cpu_milli\na,0,5000,1,1000\nb,0,5000,1,1000\nc,9000,5000,1,1000\n"


class OnlyTheLast(BaseHTTPRequestHandler):
    """An extender that lets only the last node pass, and notes who asks."""

    asked: ClassVar[list[str]] = []

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(body["Pod"]["metadata"]["name"])
        answer = json.dumps({"NodeNames": body["NodeNames"][-1:], "FailedNodes": {}, "Error": ""}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


@pytest.fixture
def extender():
    OnlyTheLast.asked.clear()
    server = ThreadingHTTPServer(("127.0.0.1", 0), OnlyTheLast)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def files(tmp_path):
    (tmp_path / "t.csv").write_text(TRACE)
    (tmp_path / "c.yaml").write_text(HEAD + PACK)
    return tmp_path


def run(files, *args, command="run", policy=("--policy", "kube-default:ties=first")) -> int:
    shown = ("--trace", files / "t.csv", "--cluster", "2x4", *policy, "--out", files / "out", *args)
    with pytest.raises(SystemExit) as stop:
        main([command, *map(str, shown)])
    return stop.value.code


def test_a_run_follows_the_configuration(files, capsys):
    assert run(files, "--scheduler-config", files / "c.yaml") == 0
    manifest = json.loads((files / "out" / "manifest.json").read_text())
    config = manifest["inputs"]["scheduler_config"]
    assert config["path"].endswith("c.yaml")
    assert len(config["sha256"]) == 64
    assert "not modelled" in config["notes"][0]
    assert "MostAllocated of cpu x1, memory x1" in json.dumps(manifest["semantics"])
    capsys.readouterr()


def test_a_scenario_names_it_beside_itself(files, capsys):
    scenario = "rehearse_scenario: 1\ntrace: t.csv\ncluster: 2x4\npolicy: kube-default\nscheduler_config: c.yaml\n"
    (files / "s.yaml").write_text(scenario)
    with pytest.raises(SystemExit) as stop:
        main(["run", str(files / "s.yaml"), "--out", str(files / "out")])
    assert stop.value.code == 0
    assert "MostAllocated" in (files / "out" / "manifest.json").read_text()
    capsys.readouterr()


def test_an_extender_is_called(files, extender, capsys):
    (files / "c.yaml").write_text(
        f"{HEAD}extenders: [{{urlPrefix: '{extender}', filterVerb: filter, nodeCacheCapable: true}}]\n"
    )
    assert run(files, "--scheduler-config", files / "c.yaml") == 0
    assert OnlyTheLast.asked == ["a", "b", "c"]
    assert extender in (files / "out" / "manifest.json").read_text()
    capsys.readouterr()


@pytest.mark.parametrize(
    ("text", "policy", "why"),
    [
        (HEAD, "fifo", "--scheduler-config goes with the policy kube-default"),
        (HEAD, "kube-default:profile=x", "profile=x: the configuration has default-scheduler"),
        (f"{HEAD}x: 1\n", "kube-default", "c.yaml: x: is not known here"),
        (
            f"{HEAD}extenders: [{{urlPrefix: 'https://127.0.0.1:1', enableHTTPS: true, tlsConfig: {{caFile: no.pem}}}}]\n",
            "kube-default",
            "c.yaml: extenders: ",
        ),
    ],
)
def test_what_cannot_be(files, capsys, text, policy, why):
    (files / "c.yaml").write_text(text)
    assert run(files, "--scheduler-config", files / "c.yaml", policy=("--policy", policy)) == 2
    assert why in capsys.readouterr().err
