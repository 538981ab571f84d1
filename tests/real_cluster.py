"""A Kubernetes control plane of real binaries on loopback: etcd, kube-apiserver, and kube-scheduler if it is asked for.

Which ones, the environment says: ETCD, KUBE_APISERVER and KUBE_SCHEDULER are paths of binaries, of v1.20, or of v1.25 to v1.37.
There is no kubelet: `reap` does what one would do with pods that were asked to leave.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

Item = dict[str, Any]
BINARIES = ("ETCD", "KUBE_APISERVER", "KUBE_SCHEDULER")
READY_S = 60.0
END_S = 10.0


def missing() -> str:
    """Why such a cluster cannot be started, or nothing."""
    unset = [name for name in BINARIES if not os.access(os.environ.get(name, ""), os.X_OK)]
    if unset:
        return f"{', '.join(unset)} must name binaries"
    return "" if shutil.which("openssl") else "openssl makes the key of the service accounts"


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Processes:
    """What was started, to be ended by its number and in reverse."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._running: list[tuple[str, subprocess.Popen[bytes]]] = []

    def start(self, name: str, words: Sequence[str], **environment: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                list(words), stdout=log, stderr=log, stdin=subprocess.DEVNULL, env={**os.environ, **environment}
            )
        self._running.append((name, process))
        return process

    def check(self) -> None:
        """Raises AssertionError with the log of whoever has ended."""
        for name, process in self._running:
            if process.poll() is not None:
                raise AssertionError(f"{name} ended with {process.returncode}:\n{self.log(name)}")

    def log(self, name: str, lines: int = 40) -> str:
        path = self.folder / f"{name}.log"
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else ""

    def logs(self) -> str:
        return "\n".join(f"--- {name}\n{self.log(name, 15)}" for name, _ in self._running)

    def end(self, name: str) -> int:
        """End one by its number; its status."""
        for each, process in self._running:
            if each == name:
                self._running.remove((each, process))
                return self._end(process)
        raise KeyError(name)

    def end_all(self) -> None:
        while self._running:
            self._end(self._running.pop()[1])

    @staticmethod
    def _end(process: subprocess.Popen[bytes]) -> int:
        process.terminate()
        try:
            return process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait(END_S)


class RealCluster:
    """See the module. Made by `real_cluster`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.processes = Processes(folder)
        self.kubeconfig = folder / "kubeconfig"
        self._etcd, self._peer, self._api = free_ports(3)
        self._token = secrets.token_hex(16)
        self._connection: http.client.HTTPSConnection | None = None

    # -- processes -----------------------------------------------------------------------------------------------

    def start(self) -> None:
        url, peer = f"http://127.0.0.1:{self._etcd}", f"http://127.0.0.1:{self._peer}"
        self.processes.start(
            "etcd",
            [
                os.environ["ETCD"],
                f"--data-dir={self.folder / 'etcd'}",
                f"--listen-client-urls={url}",
                f"--advertise-client-urls={url}",
                f"--listen-peer-urls={peer}",
                f"--initial-advertise-peer-urls={peer}",
                f"--initial-cluster=default={peer}",
            ],
        )
        key, tokens = self.folder / "sa.key", self.folder / "tokens.csv"
        subprocess.run(["openssl", "genrsa", "-out", str(key), "2048"], check=True, capture_output=True)
        tokens.touch(mode=0o600)
        tokens.write_text(f"{self._token},admin,admin,system:masters\n")
        self.start_api_server()
        self._write_kubeconfig()

    def start_api_server(self) -> None:
        """Also again, after `end_api_server`."""
        self.processes.start(
            "kube-apiserver",
            [
                os.environ["KUBE_APISERVER"],
                f"--etcd-servers=http://127.0.0.1:{self._etcd}",
                "--bind-address=127.0.0.1",
                "--advertise-address=127.0.0.1",
                f"--secure-port={self._api}",
                f"--cert-dir={self.folder / 'certs'}",
                "--service-cluster-ip-range=10.0.0.0/24",
                "--service-account-issuer=https://kubernetes.default.svc",
                f"--service-account-key-file={self.folder / 'sa.key'}",
                f"--service-account-signing-key-file={self.folder / 'sa.key'}",
                "--authorization-mode=RBAC",
                f"--token-auth-file={self.folder / 'tokens.csv'}",
                "--disable-admission-plugins=ServiceAccount",
                "--endpoint-reconciler-type=none",
            ],
        )
        self.wait("the API server", self._is_ready)

    def end_api_server(self) -> None:
        """It is away until it is started again."""
        self.processes.end("kube-apiserver")
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _is_ready(self) -> bool:
        if not (self.folder / "certs" / "apiserver.crt").exists():
            return False
        status, answer = self._ask("GET", "/readyz")
        namespaces, _ = self._ask("GET", "/api/v1/namespaces/kube-system")
        return (status, answer, namespaces) == (200, b"ok", 200)

    def _write_kubeconfig(self) -> None:
        certificate = str(self.folder / "certs" / "apiserver.crt")
        server = {"server": f"https://127.0.0.1:{self._api}", "certificate-authority": certificate}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "local", "cluster": server}],
            "users": [{"name": "admin", "user": {"token": self._token}}],
            "contexts": [{"name": "local", "context": {"cluster": "local", "user": "admin"}}],
            "current-context": "local",
        }
        self.kubeconfig.touch(mode=0o600)
        self.kubeconfig.write_text(yaml.safe_dump(config))

    @property
    def minor(self) -> int:
        """20 of v1.20.2."""
        return int("".join(filter(str.isdigit, self.get("/version")["minor"])))

    def start_kube_scheduler(self, extenders: Sequence[Item]) -> None:
        """kube-scheduler with these extenders, looking at all nodes."""
        version = "v1" if self.minor >= 25 else "v1beta1"
        config = {
            "apiVersion": f"kubescheduler.config.k8s.io/{version}",
            "kind": "KubeSchedulerConfiguration",
            "clientConnection": {"kubeconfig": str(self.kubeconfig)},
            "leaderElection": {"leaderElect": False},
            "percentageOfNodesToScore": 100,
            "extenders": list(extenders),
        }
        path = self.folder / "kube-scheduler.yaml"
        path.write_text(yaml.safe_dump(config))
        (port,) = free_ports(1)
        words = [
            os.environ["KUBE_SCHEDULER"],
            f"--config={path}",
            f"--authentication-kubeconfig={self.kubeconfig}",
            f"--authorization-kubeconfig={self.kubeconfig}",
            "--bind-address=127.0.0.1",
            f"--secure-port={port}",
            f"--cert-dir={self.folder / 'scheduler-certs'}",
        ]
        # because: the port without TLS is open on all addresses in old versions, and its flag is gone in new ones
        self.processes.start("kube-scheduler", words + (["--port=0"] if self.minor < 23 else []))

    def start_rehearse(self, name: str, *words: str) -> None:
        """`rehearse serve ...` on this cluster."""
        command = [sys.executable, "-c", "from sim.cli import main; main()", "serve", *words]
        self.processes.start(name, [*command, "--kubeconfig", str(self.kubeconfig)], PYTHONUNBUFFERED="1")

    def wait(self, what: str, true: Any, limit_s: float = READY_S) -> None:
        """Until something is so, while everybody lives."""
        ends = time.monotonic() + limit_s
        while True:
            self.processes.check()
            with contextlib.suppress(OSError, http.client.HTTPException):
                if true():
                    return
            if time.monotonic() > ends:
                raise AssertionError(f"{what}: not in {limit_s:g} s\n{self.processes.logs()}")
            time.sleep(0.05)

    # -- the API -------------------------------------------------------------------------------------------------

    def _ask(
        self, method: str, path: str, body: object = None, content_type: str = "application/json"
    ) -> tuple[int, bytes]:
        if self._connection is None:
            context = ssl.create_default_context(cafile=str(self.folder / "certs" / "apiserver.crt"))
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
            self._connection = http.client.HTTPSConnection("127.0.0.1", self._api, timeout=30, context=context)
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": content_type}
        try:
            self._connection.request(method, path, None if body is None else json.dumps(body), headers)
            response = self._connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            self._connection = None
            raise

    def ask(self, method: str, path: str, body: object = None, content_type: str = "application/json") -> Item:
        status, answer = self._ask(method, path, body, content_type)
        assert status < 300, f"{method} {path}: {status} {answer[:500]!r}"
        return json.loads(answer)

    def get(self, path: str) -> Item:
        return self.ask("GET", path)

    def add_node(self, item: Item) -> None:
        """A node that is ready. A new one gets a taint from admission, which nobody here would take away."""
        name = item["metadata"]["name"]
        self.ask("POST", "/api/v1/nodes", {key: item[key] for key in ("metadata", "spec")})
        conditions = [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "ready"}]
        merge = "application/merge-patch+json"
        self.ask(
            "PATCH", f"/api/v1/nodes/{name}/status", {"status": {**item["status"], "conditions": conditions}}, merge
        )
        self.ask("PATCH", f"/api/v1/nodes/{name}", {"spec": {"taints": item["spec"].get("taints")}}, merge)

    def add_pod(self, item: Item) -> None:
        spec = {key: value for key, value in item["spec"].items() if key != "priority"}
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": item["metadata"]["name"]}, "spec": spec}
        for key in ("labels", "annotations"):
            body["metadata"][key] = item["metadata"][key]
        self.ask("POST", "/api/v1/namespaces/default/pods", body)

    def pods(self) -> list[Item]:
        return self.get("/api/v1/namespaces/default/pods")["items"]

    def placements(self) -> dict[str, str]:
        """Pod -> node, of those that are bound."""
        return {
            each["metadata"]["name"]: each["spec"]["nodeName"] for each in self.pods() if each["spec"].get("nodeName")
        }

    def events(self, reason: str) -> list[Item]:
        found = self.get("/api/v1/namespaces/default/events")["items"]
        return [each for each in found if each["reason"] == reason]

    def clear(self) -> None:
        """No pods and no nodes."""
        now = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}
        self.ask("DELETE", "/api/v1/namespaces/default/pods", now)
        self.ask("DELETE", "/api/v1/namespaces/default/events", now)
        self.ask("DELETE", "/api/v1/nodes", now)

    def reap(self) -> None:
        """What kubelets do with pods that were asked to leave."""
        for each in self.pods():
            if each["metadata"].get("deletionTimestamp"):
                path = f"/api/v1/namespaces/default/pods/{each['metadata']['name']}"
                self.ask("DELETE", path, {"gracePeriodSeconds": 0})


@contextlib.contextmanager
def real_cluster(folder: Path) -> Iterator[RealCluster]:
    """A cluster with nothing in it."""
    cluster = RealCluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.processes.end_all()
        if cluster._connection is not None:
            cluster._connection.close()
