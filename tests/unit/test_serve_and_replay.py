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
import pytest
from fake_api_server import FakeApiServer
from kube_objects import node_object, pod_object

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
