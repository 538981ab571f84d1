"""What an answer to kube-scheduler costs: filter, then prioritize, of one pod on thousands of nodes.

In process: questions to the policy's extender, without HTTP or JSON. Over HTTP: the same through the server on loopback, in a
process of its own, on one connection that is kept, as kube-scheduler asks. JSON: what decoding and encoding alone take of it, on
the side of the server. Nodes are two thirds full, so that answers differ; pods ask for 1, 2, 4 or 8 devices in turn.

The machines that run this are shared: CPU time says what an idle one would do, the wall clock what this one did.

    python -m benchmarks.extender [--nodes 1000,5000] [--policy best-effort-priority] [--seconds 3]
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np
import orjson

from policies.catalogue import Parts, make_policy
from policies.serving import extender_wire as wire
from policies.serving.cluster import Cluster
from policies.serving.desk import Desk
from policies.serving.extender import PolicyExtender
from policies.serving.extender_app import ExtenderApp
from policies.serving.http import HttpServer, Limits, bind
from policies.serving.metrics import Metrics
from sim.fleet.kinds import device_kinds
from sim.streams import Streams

GPU = "nvidia.com/gpu"
SIZES = (1, 2, 4, 8)
FULL = 2 / 3


def node(number: int) -> dict[str, Any]:
    """A Node object of the size that API servers send: about 1.4 KB."""
    name = f"node-{number:05d}.example"
    capacity = {"cpu": "128", "memory": "1056Gi", "pods": "110", "ephemeral-storage": "3500Gi", GPU: "8"}
    labels = {f"example.com/label-{place}": f"value-{place}" for place in range(8)}
    conditions = [
        {"type": kind, "status": "False", "reason": "KubeletHas", "lastHeartbeatTime": "2026-11-23T12:39:28Z"}
        for kind in ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready")
    ]
    return {
        "kind": "Node",
        "metadata": {
            "name": name,
            "uid": f"00000000-0000-0000-0000-{number:012d}",
            "resourceVersion": "83",
            "labels": {**labels, "kubernetes.io/hostname": name, "nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"},
        },
        "spec": {},
        "status": {"capacity": capacity, "allocatable": capacity, "conditions": conditions},
    }


def pod(name: str, devices: int, on: str = "") -> dict[str, Any]:
    """A Pod object as kube-scheduler sends it."""
    requests = {"cpu": "4", "memory": "16Gi", GPU: str(devices)}
    container = {
        "name": "main",
        "image": "train:1",
        "env": [{"name": f"VARIABLE_{place}", "value": "x" * 20} for place in range(10)],
        "resources": {"requests": requests, "limits": requests},
        "terminationMessagePath": "/dev/termination-log",
    }
    spec: dict[str, Any] = {"containers": [container], "priority": 0, "schedulerName": "default-scheduler"}
    if on:
        spec["nodeName"] = on
    meta = {"name": name, "namespace": "team", "uid": f"uid-{name}", "resourceVersion": "7"}
    return {"kind": "Pod", "metadata": meta, "spec": spec, "status": {"phase": "Running" if on else "Pending"}}


class Bench:
    """A policy with nodes and pods, ready to answer."""

    def __init__(self, spec: str, nodes: int, *, usage: bool) -> None:
        self.items = [node(number) for number in range(nodes)]
        self.names = [item["metadata"]["name"] for item in self.items]
        policy = make_policy(spec, Parts(generator=Streams(0).generator))
        self.cluster = Cluster(device_kinds(), ours=lambda _: False)
        self.desk = Desk(self.cluster, policy, clock=lambda: time.time_ns() // 1_000_000)
        self.extender = PolicyExtender(self.cluster, policy, device_kinds())
        if usage:
            rng = np.random.default_rng(0)
            for item in self.items:
                self.desk.tell({"type": "ADDED", "object": item})
            for name in self.names:
                for place, devices in enumerate(rng.permutation([1, 1, 2, 4])):
                    if rng.random() < FULL:
                        self.desk.tell({"type": "ADDED", "object": pod(f"{name}-{place}", int(devices), name)})

    def app(self, *, usage: bool) -> ExtenderApp:
        """The same behind HTTP."""
        return ExtenderApp(self.desk, self.extender, limits=Limits(), metrics=Metrics(), usage=usage)


def in_process(spec: str, nodes: int, seconds: float) -> tuple[float, float]:
    """Pairs per second without HTTP and JSON, and the milliseconds of CPU of one."""
    bench = Bench(spec, nodes, usage=True)
    asks = [bench.extender.read(pod(f"p{size}", size)) for size in SIZES]

    def pair(number: int) -> None:
        asked = asks[number % len(asks)]
        bench.extender.prioritize(asked, bench.extender.filter(asked, bench.names).nodes)

    for number in range(4):
        pair(number)
    done, began, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds:
        pair(done)
        done += 1
    took, spent = time.perf_counter() - began, time.process_time() - cpu
    bench.desk.close()
    return done / took, 1000 * spent / done


def _serve(spec: str, nodes: int, usage: bool, pipe: Connection) -> None:
    bench = Bench(spec, nodes, usage=usage)
    app = bench.app(usage=usage)
    listener = bind("127.0.0.1", 0)

    def tell_cpu() -> None:
        while pipe.recv():
            pipe.send(time.process_time())

    async def run() -> None:
        threading.Thread(target=tell_cpu, daemon=True).start()
        server = HttpServer(app.asgi, listener, limits=Limits())
        server.stop_on_signals()
        pipe.send(listener.getsockname()[1])
        await server.serve()

    asyncio.run(run())
    bench.desk.close()


@contextmanager
def served(spec: str, nodes: int, *, usage: bool) -> Iterator[tuple[http.client.HTTPConnection, Callable[[], float]]]:
    """A connection to a server in a process of its own, and the seconds of CPU that it has taken so far."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(spec, nodes, usage, theirs))
    process.start()
    connection = http.client.HTTPConnection("127.0.0.1", ours.recv(), timeout=60)

    def cpu_s() -> float:
        ours.send(True)
        found: float = ours.recv()
        return found

    try:
        yield connection, cpu_s
    finally:
        connection.close()
        process.terminate()
        process.join()


class OverHttp(NamedTuple):
    """What a mode of the wire costs."""

    pairs_per_s: float
    filter_ms: float
    prioritize_ms: float
    filter_bytes: int
    prioritize_bytes: int
    cpu_ms: float
    """Of the server, for a pair."""
    json_share: float
    """Of that."""


def over_http(spec: str, nodes: int, *, cache_capable: bool, seconds: float) -> OverHttp:
    """Pairs per second through the server. The bodies are made before, so that the client costs little."""
    items = [node(number) for number in range(nodes)]
    names = [item["metadata"]["name"] for item in items]
    listed = {"metadata": {}, "items": items}
    asked = {"Nodes": None, "NodeNames": names} if cache_capable else {"Nodes": listed, "NodeNames": None}
    pods = [pod(f"p{size}", size) for size in SIZES]
    filters = [orjson.dumps({"Pod": each, **asked}) for each in pods]
    spent = {"filter": 0.0, "prioritize": 0.0}
    sizes = {"filter": 0, "prioritize": 0}
    replies: dict[str, bytes] = {}
    prioritizes: list[bytes | None] = [None] * len(pods)
    with served(spec, nodes, usage=cache_capable) as (connection, cpu_s):

        def post(verb: str, body: bytes) -> bytes:
            began = time.perf_counter()
            connection.request("POST", f"/{verb}", body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            data = response.read()
            spent[verb] += time.perf_counter() - began
            sizes[verb] = max(sizes[verb], len(body))
            replies[verb] = data
            assert response.status == 200, data
            return data

        def pair(number: int) -> None:
            number %= len(pods)
            reply = post("filter", filters[number])
            if prioritizes[number] is None:
                found = orjson.loads(reply)
                assert not found["Error"], found["Error"]
                kept = {"Pod": pods[number], "Nodes": found["Nodes"], "NodeNames": found["NodeNames"]}
                prioritizes[number] = orjson.dumps(kept)
            body = prioritizes[number]
            assert body is not None, "made just now"
            post("prioritize", body)

        for number in range(len(pods)):
            pair(number)
        spent.update(filter=0.0, prioritize=0.0)
        done, began, cpu = 0, time.perf_counter(), cpu_s()
        while time.perf_counter() - began < seconds:
            pair(done)
            done += 1
        took, cpu = time.perf_counter() - began, (cpu_s() - cpu) / done
    json_s = _json_of(filters[0], replies["filter"]) + _json_of(prioritizes[0] or b"{}", replies["prioritize"])
    return OverHttp(
        done / took,
        1000 * spent["filter"] / done,
        1000 * spent["prioritize"] / done,
        sizes["filter"],
        sizes["prioritize"],
        1000 * cpu,
        json_s / cpu,
    )


def _json_of(question: bytes, reply: bytes) -> float:
    """Seconds of CPU that decoding a question and encoding a reply take on the side of the server."""
    value = orjson.loads(reply)
    best = float("inf")
    for _ in range(5):
        began = time.process_time()
        for _ in range(4):
            wire.read_json(question)
            orjson.dumps(value)
        best = min(best, (time.process_time() - began) / 4)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nodes", default="1000,5000")
    parser.add_argument("--policy", default="best-effort-priority")
    parser.add_argument("--seconds", type=float, default=3.0)
    given = parser.parse_args()
    print(f"{given.policy}; filter + prioritize of one pod\n")
    print(
        "| nodes | way | pairs/s | filter ms | prioritize ms | CPU ms a pair | JSON of it | body filter | prioritize |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for nodes in map(int, given.nodes.split(",")):
        rate, cpu_ms = in_process(given.policy, nodes, given.seconds)
        print(f"| {nodes} | in process | {rate:.0f} | | | {cpu_ms:.2f} | | | |", flush=True)
        for cache_capable in (True, False):
            found = over_http(given.policy, nodes, cache_capable=cache_capable, seconds=given.seconds)
            print(
                f"| {nodes} | HTTP, nodeCacheCapable {str(cache_capable).lower()} | {found.pairs_per_s:.0f}"
                f" | {found.filter_ms:.1f} | {found.prioritize_ms:.1f} | {found.cpu_ms:.1f} | {found.json_share:.0%}"
                f" | {_size(found.filter_bytes)} | {_size(found.prioritize_bytes)} |",
                flush=True,
            )


def _size(count: int) -> str:
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.1f} KB"


if __name__ == "__main__":
    main()
