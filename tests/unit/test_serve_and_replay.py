"""The true servers over loopback, their journals replayed, and what they asked of the API server."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import kube_builders
import pytest
from fake_api_server import FakeApiServer, Fault
from kube_objects import node_object, pod_object
from schedulers import play, scheduling

from policies.serving.leader import LeaseTerms
from policies.serving.needs import NEEDS
from sim.cli import main

ROOT = Path(__file__).parents[2]


@asynccontextmanager
async def serving(*words: str) -> AsyncIterator[str]:
    """The first line that `rehearse serve ...` prints. It is told to end by SIGTERM, and must end well."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "sim.cli",
        "serve",
        *words,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    errors = asyncio.create_task(process.stderr.read())
    try:
        async with asyncio.timeout(20):
            line = (await process.stdout.readline()).decode()
        yield line
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            status = await process.wait()
        said = (await errors).decode()
    assert status == 0, said


def rights(requests: dict[str, int]) -> set[tuple[str, str, str]]:
    """(group, resource, verb) of requests as the fake API server counts them; without discovery."""
    found = set()
    for request in requests:
        method, path = request.split(" ")
        match = re.fullmatch(
            r"/(?:api|apis/(?P<group>[^/]+))/[^/]+(?:/namespaces/[^/]+)?/(?P<plural>[^/]+)(?:/(?P<name>[^/]+)(?P<sub>/\w+)?)?",
            path,
        )
        if match is None:
            continue
        named = bool(match["name"])
        verb = {"WATCH": "watch", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}.get(
            method, "get" if named else "list"
        )
        found.add((match["group"] or "", match["plural"] + (match["sub"] or ""), verb))
    return found


def needed(command: str, *, conditional: bool = True) -> set[tuple[str, str, str]]:
    needs = [need for need in NEEDS[command] if conditional or not need.only_if]
    return {(need.group, need.resource, verb) for need in needs for verb in need.verbs}


def replay_status(*words: object) -> int:
    with pytest.raises(SystemExit) as exited:
        main(["replay", *map(str, words)])
    return exited.value.code or 0


async def _schedule_with_the_extender(folder: Path) -> dict[str, int]:
    """Pods come to a cluster of 20 nodes and are bound by the extender, one after the other. What it asked of the API server."""
    async with FakeApiServer() as api:
        for number in range(20):
            api.add(node_object(f"n{number:02}"))
        words = ["extender", "--policy", "best-effort-fifo:place=best-fit", "--port", "0", "--assume", "500"]
        words += ["--kubeconfig", str(api.kubeconfig(folder)), "--journal", str(folder / "journal")]
        async with serving(*words) as said, aiohttp.ClientSession() as session:
            url = re.search(r"http://\S+(?=:)", said)[0]

            async def ask(verb: str, value: object):
                async with session.post(f"{url}/{verb}", json=value) as response:
                    return await response.json(content_type=None)

            async with asyncio.timeout(10):
                while (await session.get(f"{url}/readyz")).status != 200:
                    await asyncio.sleep(0.02)
            for number in range(12):
                pod = pod_object(f"p{number}", 1 + number % 4)
                pod = api.add(pod)
                names = [f"n{each:02}" for each in range(20)]
                passed = (await ask("filter", {"Pod": pod, "Nodes": None, "NodeNames": names}))["NodeNames"]
                scores = await ask("prioritize", {"Pod": pod, "Nodes": None, "NodeNames": passed})
                best = max(scores, key=lambda each: each["Score"])["Host"]
                meta = pod["metadata"]
                bind = {
                    "PodName": meta["name"],
                    "PodNamespace": meta["namespace"],
                    "PodUID": meta["uid"],
                    "Node": best,
                }
                reply = await ask("bind", bind)
                assert reply == {"Error": ""}, reply
            counted = await (await session.get(f"{url}/metrics")).text()
            assert "rehearse_journal_lines_lost 0.0" in counted
        assert not api.violations
        return dict(api.requests)


def test_the_extender_agrees_with_its_own_journal(tmp_path, capsys):
    requests = asyncio.run(_schedule_with_the_extender(tmp_path))
    assert rights(requests) == needed("extender"), "policies/serving/needs.py says what is asked, no more and no less"
    assert replay_status(tmp_path / "journal", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["compared"], found["differ"]) == (24, 0)
    assert found["questions"] == {"bind": 12, "filter": 12, "prioritize": 12}
    assert found["problems"] == []
    assert replay_status(tmp_path / "journal", "--policy", "best-effort-fifo:place=spread") == 1


async def _schedule(folder: Path) -> dict[str, int]:
    """Gangs and single pods are bound by the scheduler of the command line."""
    async with FakeApiServer() as api:
        for number in range(4):
            api.add(node_object(f"n{number}"))
        words = ["scheduler", "--policy", "easy:place=best-fit", "--port", "0", "--lease", "rehearse/scheduler"]
        words += ["--kubeconfig", str(api.kubeconfig(folder)), "--journal", str(folder / "journal")]
        async with serving(*words) as said:
            assert "schedulerName rehearse" in said
            for number in range(6):
                gang = {"gang": (f"g{number}", 2)} if number % 2 else {}
                for member in range(1 + number % 2):
                    api.add(pod_object(f"p{number}-{member}", 2, scheduler="rehearse", **gang))
            async with asyncio.timeout(15):
                while len(api.bindings) < 9:
                    await asyncio.sleep(0.02)
        assert not api.violations
        return dict(api.requests)


def test_the_scheduler_agrees_with_its_own_journal(tmp_path, capsys):
    requests = asyncio.run(_schedule(tmp_path))
    assert rights(requests) <= needed("scheduler")
    assert replay_status(tmp_path / "journal", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["compared"] == found["questions"]["pass"] > 0
    assert (found["differ"], found["problems"]) == (0, [])
    assert replay_status(tmp_path / "journal", "--policy", "easy:place=spread", "--markdown") == 1
    assert "| placement |" in capsys.readouterr().out


def test_the_scheduler_asks_for_what_it_needs_and_no_more(tmp_path, monkeypatch):
    """One leads by a lease, binds, asks after a lost answer, preempts, and says why pods wait, more than once."""
    for name, value in {
        "unplaced.AGAIN_MS": 20,
        "unplaced.AGAIN_MAX_MS": 20,
        "unplaced.FAULT_MS": 10,
        "scheduler.REPORT_S": 0.05,
        "binder.RETRY_S": 0.05,
    }.items():
        monkeypatch.setattr(f"policies.serving.{name}", value)
    seen: list[dict[str, int]] = []
    lost: list[str] = []

    def faults(method: str, path: str) -> Fault | None:
        if path.endswith("/pods/low/binding") and not lost:
            lost.append(path)
            return Fault(drop=True)
        return None

    async def scene(server: FakeApiServer) -> None:
        server.faults = faults
        groups = ("scheduling.volcano.sh", "scheduling.k8s.io")
        server.kinds |= {(group, "v1", "podgroups"): "PodGroup" for group in groups}
        server.add(kube_builders.node("n", 4))
        terms = LeaseTerms(namespace="rehearse", name="one", lease_s=2.0, renew_s=0.8, retry_s=0.1)
        async with scheduling(server, tmp_path, "preempt-priority", lease=terms):
            server.add(kube_builders.pod("low", 4))
            await server.until(lambda: len(server.bindings) == 1)
            server.add(kube_builders.pod("high", 4, priority=10))
            await server.until(lambda: len(server.bindings) == 2)
            server.add(kube_builders.pod("large", 9))
            await server.until(
                lambda: any(each.get("series", {}).get("count", 0) > 1 for each in server.events_of("large"))
            )
        seen.append(dict(server.requests))

    play(tmp_path, scene)
    assert rights(seen[0]) == needed("scheduler"), "policies/serving/needs.py says what is asked, no more and no less"
