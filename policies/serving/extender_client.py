"""An external extender over HTTP, called as kube-scheduler calls it. A `policies.kube.extender.Extender`.

Wire shapes are those of `k8s.io/kube-scheduler/extender/v1`: capitalised keys written, any case read, as Go's decoder does. An
answer that is not HTTP 200 with JSON of the right types is an `ExtenderError`. Connections are kept; nothing is tried twice.
"""

from __future__ import annotations

import base64
import binascii
import ssl
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import Any, Final, Self

import orjson
import urllib3

from policies.kube.configuration import ExtenderConfig, TlsConfig
from policies.kube.extender import ExtenderError, FilterAnswer, Victims
from policies.kube.pods import Pod
from policies.kube.write import JsonObject, write_node, write_pod
from policies.topology import Node

INT64: Final = 2**63

ANSWER_BYTES_MAX: Final = 256 << 20
"""Answers above this are refused."""


class HttpExtender:
    """See the module. `folder` is where relative file names of the configuration start.

    Raises ValueError if its TLS files cannot be read. Close it after use, or use it as a context manager.
    """

    def __init__(self, config: ExtenderConfig, *, folder: Path | None = None) -> None:
        self.config = config
        self.name = config.url_prefix
        self.weight = config.weight
        self.ignorable = config.ignorable
        self.filters = bool(config.filter_verb)
        self.prioritizes = bool(config.prioritize_verb)
        self.preempts = bool(config.preempt_verb)
        self.binds = bool(config.bind_verb)
        self.forgets_pods = self.filters and not config.node_cache_capable
        self.calls = 0
        self.errors = 0
        """Calls that gave an `ExtenderError`."""
        self.waited_ms = 0.0
        """Time spent in calls."""
        self._managed = frozenset(each.name for each in config.managed_resources)
        self._nodes: dict[str, JsonObject] = {}
        self._pods: Mapping[str, Pod] = {}
        tls = ssl_context(config, folder or Path()) if config.enable_https else None
        self.verified = tls is None or tls.verify_mode != ssl.CERT_NONE
        """False if it is reached over TLS and anybody could answer, as kube-scheduler does without a CA."""
        if not self.verified:
            urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)  # because: `verified` tells it once
        options: dict[str, Any] = {} if tls is None else {"ssl_context": tls}
        if tls is not None and config.tls is not None and config.tls.server_name:
            options["server_hostname"] = options["assert_hostname"] = config.tls.server_name
        self._pool = urllib3.PoolManager(
            num_pools=2, maxsize=1, timeout=urllib3.Timeout(total=config.http_timeout_ms / 1000), **options
        )

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- what the scheduling core asks ---------------------------------------------------------------------------

    def know(self, nodes: Iterable[Node], pods: Mapping[str, Pod]) -> None:
        """The nodes of the cluster, and its pods by uid (live): for those requests that carry whole objects."""
        if not self.config.node_cache_capable:
            self._nodes = {node.name: write_node(node) for node in nodes}
        self._pods = pods

    def is_interested(self, pod: Pod) -> bool:
        """Whether it is called for this pod."""
        return not self._managed or any(name in self._managed for name, _ in pod.terms.requests)

    def filter(self, pod: Pod, nodes: Sequence[str]) -> FilterAnswer:
        """Which of the nodes suit the pod. Raises `ExtenderError`."""
        found = self._call(self.config.filter_verb, self._args(pod, nodes))
        error = found.get("error")
        if error:
            raise ExtenderError(f"extender {self.name}: filter: {error}")
        return FilterAnswer(
            self._names(found),
            self._reasons(found, "failednodes"),
            self._reasons(found, "failedandunresolvablenodes"),
        )

    def prioritize(self, pod: Pod, nodes: Sequence[str]) -> Mapping[str, int]:
        """Points for the nodes. Raises `ExtenderError`."""
        verb = self.config.prioritize_verb
        found = self._post(verb, self._args(pod, nodes))
        if not isinstance(found, list):
            raise self._bad(verb, "the answer is not a list")
        scores: dict[str, int] = {}
        for entry in found:
            if not isinstance(entry, dict):
                raise self._bad(verb, "an entry of the answer is not an object")
            each = _any_case(entry)
            host, score = each.get("host") or "", each.get("score") or 0
            if not isinstance(host, str) or not isinstance(score, int) or not -INT64 <= score < INT64:
                raise self._bad(verb, f"host {host!r} has score {score!r}: a score is a whole number")
            scores[host] = scores.get(host, 0) + score
        return scores

    def preempt(self, pod: Pod, candidates: Mapping[str, Victims]) -> Mapping[str, Victims]:
        """The candidates that it agrees with. Raises `ExtenderError`."""
        verb = self.config.preempt_verb
        found = self._call(verb, self._preemption(pod, candidates))
        answer = found.get("nodenametometavictims")
        if answer is not None and not isinstance(answer, dict):
            raise self._bad(verb, "NodeNameToMetaVictims is not an object")
        agreed: dict[str, Victims] = {}
        for node, value in (answer or {}).items():
            victims = _any_case(value) if isinstance(value, dict) else {}
            pods = victims.get("pods") or []
            if not isinstance(pods, list) or not all(isinstance(each, dict) for each in pods):
                raise self._bad(verb, f"the pods of {node} are not a list of objects")
            uids = tuple(str(_any_case(each).get("uid") or "") for each in pods)
            violations = victims.get("numpdbviolations") or 0
            if not isinstance(violations, int):
                raise self._bad(verb, f"NumPDBViolations of {node} is {violations!r}")
            agreed[node] = Victims(uids, violations)
        return agreed

    def bind(self, pod: Pod, node: str) -> None:
        """Bind the pod. Raises `ExtenderError`."""
        args = {"PodName": pod.name, "PodNamespace": pod.namespace, "PodUID": pod.uid, "Node": node}
        error = self._call(self.config.bind_verb, args).get("error")
        if error:
            raise ExtenderError(f"extender {self.name}: bind: {error}")

    # -- the wire --------------------------------------------------------------------------------------------------

    def _args(self, pod: Pod, nodes: Sequence[str]) -> JsonObject:
        if self.config.node_cache_capable:
            return {"Pod": write_pod(pod), "Nodes": None, "NodeNames": list(nodes)}
        items = [self._nodes[name] for name in nodes]
        return {"Pod": write_pod(pod), "Nodes": {"metadata": {}, "items": items}, "NodeNames": None}

    def _preemption(self, pod: Pod, candidates: Mapping[str, Victims]) -> JsonObject:
        if self.config.node_cache_capable:
            by_uid = {
                node: {"Pods": [{"UID": uid} for uid in each.uids], "NumPDBViolations": each.pdb_violations}
                for node, each in candidates.items()
            }
            return {"Pod": write_pod(pod), "NodeNameToVictims": None, "NodeNameToMetaVictims": by_uid}
        whole = {
            node: {
                "Pods": [write_pod(self._pods[uid]) for uid in each.uids],
                "NumPDBViolations": each.pdb_violations,
            }
            for node, each in candidates.items()
        }
        return {"Pod": write_pod(pod), "NodeNameToVictims": whole, "NodeNameToMetaVictims": None}

    def _names(self, found: Mapping[str, Any]) -> list[str]:
        """The nodes that pass: by name from an extender that caches nodes, else by object. Null is none at all."""
        verb = self.config.filter_verb
        names, nodes = found.get("nodenames"), found.get("nodes")
        if self.config.node_cache_capable and names is not None:
            if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
                raise self._bad(verb, "NodeNames is not a list of names")
            return names
        if nodes is None:
            return []
        items = _any_case(nodes).get("items") if isinstance(nodes, dict) else None
        if items is None:
            return []
        try:
            return [str(item["metadata"]["name"]) for item in items]
        except (TypeError, KeyError) as error:
            raise self._bad(verb, "Nodes is not a list of nodes") from error

    def _reasons(self, found: Mapping[str, Any], key: str) -> dict[str, str]:
        reasons = found.get(key)
        if reasons is None:
            return {}
        if not isinstance(reasons, dict) or not all(isinstance(each, str) for each in reasons.values()):
            raise self._bad(self.config.filter_verb, f"{key} is not an object of texts")
        return reasons

    def _call(self, verb: str, args: JsonObject) -> dict[str, Any]:
        found = self._post(verb, args)
        if found is None:
            return {}
        if not isinstance(found, dict):
            raise self._bad(verb, "the answer is not an object")
        return _any_case(found)

    def _post(self, verb: str, args: JsonObject) -> Any:
        url = f"{self.config.url_prefix.rstrip('/')}/{verb}"
        begun = perf_counter()
        self.calls += 1
        try:
            answer = self._pool.request(
                "POST",
                url,
                body=orjson.dumps(args),
                headers={"Content-Type": "application/json"},
                retries=False,
                redirect=False,
                preload_content=False,
            )
            try:
                body = self._body(verb, answer, begun)
            except BaseException:
                answer.close()  # because: what is left of the answer must not meet the next question
                raise
            finally:
                answer.release_conn()
        except urllib3.exceptions.HTTPError as error:
            self.errors += 1
            raise ExtenderError(f"extender {self.name}: {verb}: {_story(error)}") from error
        finally:
            self.waited_ms += (perf_counter() - begun) * 1000
        if answer.status != 200:
            raise self._bad(verb, f"the answer has status {answer.status}")
        try:
            return orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise self._bad(verb, f"the answer is not JSON: {error}") from error

    def _body(self, verb: str, answer: urllib3.BaseHTTPResponse, begun: float) -> bytes:
        """The whole answer, if it comes in time: the time limit is for all of it, not for each part."""
        parts: list[bytes] = []
        size = 0
        while part := answer.read1(1 << 20):
            parts.append(part)
            size += len(part)
            if size > ANSWER_BYTES_MAX:
                raise self._bad(verb, f"the answer has more than {ANSWER_BYTES_MAX} bytes")
            if (perf_counter() - begun) * 1000 > self.config.http_timeout_ms:
                raise self._bad(verb, "no answer in time")
        return b"".join(parts)

    def _bad(self, verb: str, why: str) -> ExtenderError:
        self.errors += 1
        return ExtenderError(f"extender {self.name}: {verb}: {why}")


def _any_case(item: Mapping[str, Any]) -> dict[str, Any]:
    return {key.lower(): value for key, value in item.items()}


def _story(error: urllib3.exceptions.HTTPError) -> str:
    if isinstance(error, urllib3.exceptions.TimeoutError):
        return "no answer in time"
    return f"{type(error).__name__}: {error}"


def ssl_context(config: ExtenderConfig, folder: Path) -> ssl.SSLContext:
    """How kube-scheduler would trust this extender: without a CA it trusts everybody. Raises ValueError."""
    tls = config.tls or TlsConfig()
    context = ssl.create_default_context()
    try:
        if tls.insecure or not (tls.ca_file or tls.ca_data):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        else:
            context = ssl.create_default_context(cadata=_pem(tls.ca_data, tls.ca_file, folder).decode())
        if tls.cert_file or tls.cert_data:
            _load_chain(context, tls, folder)
    except (OSError, ValueError, binascii.Error) as error:
        raise ValueError(f"extender {config.url_prefix}: tlsConfig cannot be used: {error}") from error
    return context


def _pem(data: str, file: str, folder: Path) -> bytes:
    return base64.b64decode(data, validate=True) if data else (folder / file).read_bytes()


def _load_chain(context: ssl.SSLContext, tls: TlsConfig, folder: Path) -> None:
    # because: OpenSSL reads a chain from files only; the folder is private to this user, and gone at once
    with tempfile.TemporaryDirectory() as place:
        cert, key = Path(place) / "cert.pem", Path(place) / "key.pem"
        cert.write_bytes(_pem(tls.cert_data, tls.cert_file, folder))
        key.write_bytes(_pem(tls.key_data, tls.key_file, folder))
        context.load_cert_chain(cert, key)
