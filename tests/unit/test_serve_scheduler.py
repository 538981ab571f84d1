"""`rehearse serve scheduler`: what it refuses, and the true program with a journal and its health."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from kube_builders import node, pod
from schedulers import play

from sim.cli import main

ROOT = Path(__file__).parents[2]


def refused(capsys, *words):
    with pytest.raises(SystemExit) as stop:
        main(["serve", "scheduler", *words])
    assert stop.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--policy", "sjf-oracle"], "--policy sjf-oracle: it reads true run times, which no scheduler has"),
        (["--policy", "fifoo"], "did you mean 'fifo'?"),
        (["--policy", "fifo:quota=keep"], "it keeps entitlements, and --queues says which there are"),
        (["--policy", "fifo", "--cycle", "1"], "--cycle 1: must be a length of time"),
        (["--policy", "fifo", "--lease", "x"], "--lease x: must be NAMESPACE/NAME"),
        (["--policy", "fifo", "--renew-deadline", "15s"], "the lease must be longer than 1 s and the renewal limit"),
        (["--policy", "fifo", "--patience", "0"], "--patience 0: must be longer than nothing"),
        (["--policy", "fifo", "--kubeconfig", "none"], "kubeconfig none: no such file"),
        (
            ["--policy", "fifo", "--kubeconfig", "none", "--in-cluster"],
            "--kubeconfig and --in-cluster: give one of them",
        ),
        (["--policy", "fifo", "--in-cluster"], "account of the pod"),
        (["--policy", "fifo", "--journal-compress"], "need --journal"),
    ],
)
def test_what_cannot_be_served_is_refused_in_a_line(capsys, monkeypatch, words, said):
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    error = refused(capsys, *words)
    assert said in error
    assert "Traceback" not in error


def test_everything_that_is_wrong_is_said_at_once(capsys):
    error = refused(capsys, "--policy", "fifo", "--cycle", "1", "--lease", "x", "--context", "c", "--in-cluster")
    assert len(error.strip().splitlines()) == 3


def test_a_policy_of_the_users_own_schedules_and_ends_on_a_signal(tmp_path):
    """The true program: a policy from a file, a journal, health, metrics, and status 0 when it is told to stop."""
    (tmp_path / "mine.py").write_text(
        "from policies.api import Policy, Semantics, Start\n"
        "from policies.placement.first_fit import FirstFit\n"
        "class Last(Policy):\n"
        "    name = 'last come first served'\n"
        "    def decide(self, view):\n"
        "        for job in sorted(view.pending, key=lambda job: -job.arrival):\n"
        "            placement = FirstFit().place(job.request, view.nodes)\n"
        "            if placement is not None:\n"
        "                yield Start(job.job_id, placement)\n"
        "    def semantics(self):\n"
        "        return Semantics(order='last come', blocking='skips', placement='first fit')\n"
    )
    words = [
        "--policy",
        "mine:Last",
        "--kubeconfig",
        "kubeconfig",
        "--port",
        "0",
        "--journal",
        "journal",
        "--name",
        "mine",
    ]
    command = [sys.executable, "-c", "from sim.cli import main; main()", "serve", "scheduler", *words]

    async def scene(server):
        server.kubeconfig(tmp_path)
        server.add(node("n", 1))
        for name in "abc":
            server.add(pod(name, scheduler="mine"))
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        with subprocess.Popen(
            command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        ) as process:
            try:
                await server.until(lambda: bool(server.placements()))
                assert process.stdout.readline().startswith(
                    "mine:Last schedules pods with schedulerName mine of http://"
                )
                url = process.stderr.readline().split()[-1]
                health = await asyncio.to_thread(asked, f"{url}/healthz")
                assert (health["ready"], health["leads"], health["pods_held"]) == ("yes", True, 1)
                metrics = await asyncio.to_thread(asked, f"{url}/metrics")
                assert 'rehearse_bindings_total{result="bound"} 1.0' in metrics
            finally:
                process.send_signal(signal.SIGTERM)
                _, errors = await asyncio.to_thread(process.communicate, None, 10)
            assert process.returncode == 0, errors
        assert server.placements() == {"c": "n"}
        assert server.all("leases")[0]["spec"]["holderIdentity"] == ""
        assert all(isinstance(json.loads(line), dict) for line in errors.splitlines()), errors

    play(tmp_path, scene)
    (journal,) = (tmp_path / "journal").iterdir()
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    starts = [line["decision"]["actions"] for line in lines if line.get("decision", {}).get("actions")]
    assert [action["job"] for action in starts[0]] == ["default/c"]


def asked(url: str):
    with urllib.request.urlopen(url, timeout=5) as answer:
        text = answer.read().decode()
    return json.loads(text) if text.startswith("{") else text
