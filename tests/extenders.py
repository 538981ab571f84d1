"""An extender over real HTTP on loopback, and the objects that kube-scheduler would send it."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import pytest

from policies.api import Policy, QueueView
from policies.serving.cluster import Cluster
from policies.serving.desk import Desk, Recorder
from policies.serving.extender import PolicyExtender
from policies.serving.extender_app import ExtenderApp
from policies.serving.http import HttpServer, Limits, Tls, bind
from policies.serving.metrics import Metrics
from sim.fleet.kinds import device_kinds

GPU = "nvidia.com/gpu"
LABELS = {"nvidia.com/gpu.product": "NVIDIA-A100-SXM4-80GB"}


def node(name: str, gpus: int = 8, **more: Any) -> dict[str, Any]:
    """A Node object. `cpu`, `memory`, `pods` and `more` are what it has; `labels`, `taints`, `unschedulable` are as usual."""
    allocatable = {
        "cpu": str(more.get("cpu", 64)),
        "memory": str(more.get("memory", "512Gi")),
        "pods": str(more.get("pods", 110)),
        **more.get("more", {}),
    }
    if gpus:
        allocatable[GPU] = str(gpus)
    return {
        "kind": "Node",
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "resourceVersion": "1",
            "labels": LABELS | more.get("labels", {}),
        },
        "spec": {key: more[key] for key in ("taints", "unschedulable") if key in more},
        "status": {"allocatable": allocatable},
    }


def pod(name: str, gpus: int = 1, **more: Any) -> dict[str, Any]:
    """A Pod object: `on` is the node that it is bound to; `asks` are further requests, `priority` and `queue` as named."""
    requests = {"cpu": str(more.get("cpu", "1")), "memory": str(more.get("memory", "1Gi")), **more.get("asks", {})}
    if gpus:
        requests[GPU] = str(gpus)
    spec: dict[str, Any] = {
        "containers": [{"name": "main", "image": "x", "resources": {"requests": requests, "limits": requests}}],
        "priority": more.get("priority", 0),
        "schedulerName": "default-scheduler",
        **more.get("spec", {}),
    }
    if more.get("on"):
        spec["nodeName"] = more["on"]
    meta = {"name": name, "namespace": "team", "uid": f"uid-{name}", "resourceVersion": "7"}
    if more.get("queue"):
        meta["labels"] = {"kueue.x-k8s.io/queue-name": more["queue"]}
    return {
        "kind": "Pod",
        "metadata": meta,
        "spec": spec,
        "status": {"phase": "Running" if more.get("on") else "Pending"},
    }


def added(*objects: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Watch events of new objects."""
    return [{"type": "ADDED", "object": each} for each in objects]


class Answered:
    """A response."""

    def __init__(self, status: int, data: bytes, headers: Mapping[str, str]) -> None:
        self.status = status
        self.data = data
        self.headers = headers

    @property
    def json(self) -> Any:
        return json.loads(self.data)


class Served:
    """A policy behind HTTP, in a thread of its own. A context manager."""

    def __init__(
        self,
        policy: Policy,
        *,
        usage: bool = True,
        assume_ms: int = 0,
        queues: Mapping[str, QueueView] | None = None,
        binder: Any = None,
        recorder: Recorder | None = None,
        limits: Limits | None = None,
        tls: Tls | None = None,
        prefix: str = "",
        unready: Callable[[], str] = lambda: "",
    ) -> None:
        self.now_ms = 1_000
        self.told: list[dict[str, Any]] = []
        self.metrics = Metrics()
        self.cluster = Cluster(device_kinds(), ours=lambda _: False, queues=queues)
        self.desk = Desk(self.cluster, policy, clock=lambda: self.now_ms, recorder=recorder)
        self.extender = PolicyExtender(self.cluster, policy, device_kinds(), assume_ms=assume_ms)
        self.app = ExtenderApp(
            self.desk,
            self.extender,
            limits=limits or Limits(),
            metrics=self.metrics,
            prefix=prefix,
            binder=binder,
            usage=usage,
            unready=unready,
        )
        listener = bind("127.0.0.1", 0)
        self.port: int = listener.getsockname()[1]
        self.server = HttpServer(
            self.app.asgi,
            listener,
            limits=limits or Limits(),
            tls=None if tls is None else tls.context(),
            cut=lambda reason: self.metrics.cut_off.labels(reason).inc(),
        )
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="server")
        self._client: http.client.HTTPConnection | None = None

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(self.server.serve())
            self.loop.run_until_complete(self.app.finish())
        finally:
            self.loop.close()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.forget_connection()
        # because: a test may have told it to stop, and its loop is closed then
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self.server.stop)
        self._thread.join(20)
        assert not self._thread.is_alive(), "the server has not ended"
        self.desk.close()

    def on_desk(self, work: Callable[[], Any]) -> Any:
        """Run something on the desk's thread."""
        return asyncio.run_coroutine_threadsafe(self.desk.do(work), self.loop).result(30)

    def tell(self, *events: Mapping[str, Any]) -> None:
        """Watch events."""
        self.on_desk(lambda: [self.desk.tell(event) for event in events])

    def post(self, verb: str, body: Any, **headers: str) -> Answered:
        """A request on the connection that is kept; bytes go as they are."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.ask("POST", f"/{verb}", data, **headers)

    def get(self, path: str) -> Answered:
        return self.ask("GET", path)

    def ask(self, method: str, path: str, data: bytes | None = None, **headers: str) -> Answered:
        if self._client is None:
            self._client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            self._client.request(method, path, data, {"Content-Type": "application/json", **headers})
            response = self._client.getresponse()
            answered = Answered(response.status, response.read(), dict(response.headers))
        except BaseException:
            self.forget_connection()
            raise
        if answered.headers.get("connection") == "close":
            self.forget_connection()
        return answered

    def forget_connection(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None


def by_name(pod_: Mapping[str, Any], names: list[str]) -> dict[str, Any]:
    """ExtenderArgs with nodeCacheCapable: true."""
    return {"Pod": dict(pod_), "Nodes": None, "NodeNames": names}


def whole(pod_: Mapping[str, Any], nodes: list[dict[str, Any]]) -> dict[str, Any]:
    """ExtenderArgs with nodeCacheCapable: false."""
    return {"Pod": dict(pod_), "Nodes": {"metadata": {}, "items": nodes}, "NodeNames": None}


def certificate(folder: Path, name: str, *, issuer: str | None = None) -> tuple[Path, Path]:
    """A certificate and its key for loopback: of an authority of its own, or by `issuer`, which was made in the same folder."""
    key, cert = folder / f"{name}.key", folder / f"{name}.crt"
    words = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    words += [
        "-subj",
        f"/CN={name}",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        str(key),
        "-out",
        str(cert),
    ]
    if issuer is not None:
        words += ["-CA", str(folder / f"{issuer}.crt"), "-CAkey", str(folder / f"{issuer}.key")]
    if shutil.which("openssl") is None:
        pytest.skip("needs the program openssl, to make certificates")
    subprocess.run(["openssl", *words], check=True, capture_output=True)
    return cert, key
