"""A small Kubernetes API server over real HTTP on loopback, for tests: lists, watches, bindings, evictions, leases, failures.

Faithful where schedulers are concerned: one resource version for everything, 409 for what changed meanwhile and for pods that
are bound, uid preconditions, paged lists, watches with bookmarks and 410, pods that stay until their grace is over. It also looks
on: every binding is checked against what the node has (`violations`).
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from aiohttp import web
from fake_api_store import CLUSTER_WIDE, FakeApiStore, Item, Refused, merged


@dataclass
class Fault:
    """What happens to a request instead of, or besides, what it asks for."""

    status: int = 0
    """Answer with this."""
    delay_s: float = 0
    drop: bool = False
    """Carry it out, and break the connection instead of answering."""
    lose: bool = False
    """Break the connection, and carry nothing out."""
    body: Item | None = None
    hold: asyncio.Event | None = None
    """Not before this."""


@dataclass
class FakeApiServer(FakeApiStore):
    """`async with FakeApiServer() as server:`, then `server.kubeconfig(folder)`."""

    faults: Callable[[str, str], Fault | None] = lambda _method, _path: None
    """Asked for each request (method, path)."""
    protected: set[str] = field(default_factory=set)
    """Names of pods that a disruption budget keeps."""
    requests: Counter[str] = field(default_factory=Counter)
    cut_off: set[str] = field(default_factory=set)
    """User agents whose requests never arrive."""
    deaf: set[str] = field(default_factory=set)
    """User agents to whose watches nothing comes, as on a slow line."""
    token: str = ""
    """If set, whoever does not know it gets 401."""
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    """By which faults delay: that of the clock that the others go by."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._runner: web.AppRunner | None = None
        self._port = 0
        self._writers: set[asyncio.Transport] = set()

    # -- coming and going --------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.come()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.go()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def come(self) -> None:
        """Listen, at the same place each time."""
        app = web.Application(client_max_size=1 << 26)
        app.router.add_route("*", "/{tail:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=0.01, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port, reuse_address=True)
        await site.start()
        self._port = self._runner.addresses[0][1]

    async def go(self) -> None:
        """Be away: nobody listens, and every connection breaks."""
        if self._runner is not None:
            for transport in list(self._writers):
                transport.abort()
            await self._runner.cleanup()
            self._runner = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def kubeconfig(self, folder: Path) -> Path:
        """A kubeconfig that leads here."""
        path = folder / "kubeconfig"
        named = {"cluster": {"server": self.url}, "name": "fake"}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [named],
            "users": [{"name": "me", "user": {"token": self.token} if self.token else {}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "me"}}],
            "current-context": "fake",
        }
        path.write_text(json.dumps(config))
        return path

    def break_watches(self) -> None:
        """Every connection breaks; new ones are welcome."""
        for transport in list(self._writers):
            transport.abort()

    # -- requests ----------------------------------------------------------------------------------------------

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        self._writers.add(request.transport)  # type: ignore[arg-type]  # because: aiohttp says only that it is some transport
        method = "WATCH" if request.query.get("watch") in ("true", "1") else request.method
        self.requests[f"{method} {request.path}"] += 1
        if request.headers.get("User-Agent") in self.cut_off:
            request.transport.abort()
            return web.Response()
        fault = self.faults(method, request.path) or Fault()
        await request.read()  # because: from here on it is carried out, whether or not the client still waits
        limit_s = float(request.query.get("timeout", "60s").removesuffix("s"))
        if fault.hold is not None:
            await fault.hold.wait()
        await self.sleep(min(fault.delay_s, limit_s))
        if fault.delay_s > limit_s:
            return _status(504, "Timeout", "the request was dropped after its time limit")
        if fault.lose:
            request.transport.abort()
            return web.Response()
        if fault.status:
            return _status(fault.status, "Injected", "injected", fault.body)
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return _status(401, "Unauthorized", "Unauthorized")
        try:
            answer = await self._answer(request)
        except Refused as refused:
            answer = _status(refused.status, refused.reason, str(refused), refused.details)
        if fault.drop:
            request.transport.abort()
        return answer

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        parts = [part for part in request.path.split("/") if part]
        if parts == ["version"]:
            return web.json_response({"gitVersion": "v1.36.0", "major": "1", "minor": "36"})
        if parts[0] == "api":
            group, rest = "", parts[1:]
        else:
            group, rest = parts[1] if len(parts) > 1 else "", parts[2:]
        if not rest:
            return self._group(group)
        version, rest = rest[0], rest[1:]
        if not rest:
            return self._resources(group, version)
        namespace = ""
        if rest[0] == "namespaces" and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        if (group, version, rest[0]) not in self.kinds:
            raise Refused(404, "NotFound", "the server could not find the requested resource")
        plural, name, subresource = (*rest, "", "")[:3]
        key = name if plural in CLUSTER_WIDE else f"{namespace}/{name}"
        if not name:
            return await self._collection(request, plural, namespace)
        return await self._one(request, plural, key, subresource)

    def _group(self, group: str) -> web.Response:
        versions = sorted({version for known, version, _ in self.kinds if known == group})
        if not versions:
            raise Refused(404, "NotFound", "the server could not find the requested resource")
        found = [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]
        return web.json_response({"kind": "APIGroup", "name": group, "versions": found, "preferredVersion": found[0]})

    def _resources(self, group: str, version: str) -> web.Response:
        found = [
            {"name": plural, "kind": kind, "namespaced": plural not in CLUSTER_WIDE}
            for (known, known_version, plural), kind in self.kinds.items()
            if (known, known_version) == (group, version)
        ]
        if not group:
            its_group, its_version = self.eviction.split("/")
            found.append({"name": "pods/eviction", "kind": "Eviction", "group": its_group, "version": its_version})
        return web.json_response({"kind": "APIResourceList", "resources": found})

    async def _collection(self, request: web.Request, plural: str, namespace: str) -> web.StreamResponse:
        if request.method == "POST":
            item = await request.json()
            if namespace:
                item["metadata"]["namespace"] = namespace
            return web.json_response(self._create(plural, item), status=201)
        if request.query.get("watch"):
            return await self._watch(request, plural)
        shown = _selector(request.query.get("fieldSelector", ""))
        limit = int(request.query.get("limit", 0))
        at = 0
        version = self._now
        if token := request.query.get("continue"):
            version, at = (int(part) for part in token.split("."))
            if version < self._oldest:
                raise Refused(410, "Expired", "The provided continue parameter is too old")
        found = [item for _, item in sorted(self._objects[plural].items()) if shown(item)]
        page = found[at : at + limit] if limit else found[at:]
        metadata: Item = {"resourceVersion": str(version)}
        if limit and at + limit < len(found):
            metadata["continue"] = f"{version}.{at + limit}"
        bare = [{key: value for key, value in item.items() if key not in ("kind", "apiVersion")} for item in page]
        return web.json_response({"kind": "List", "metadata": metadata, "items": bare})

    async def _watch(self, request: web.Request, plural: str) -> web.StreamResponse:
        since = int(request.query["resourceVersion"])
        shown = _selector(request.query.get("fieldSelector", ""))
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        ends = asyncio.get_running_loop().time() + float(request.query.get("timeoutSeconds", "300"))
        if since < self._oldest:
            await _line(response, "ERROR", {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old"})
            return response
        at = 0
        with contextlib.suppress(ConnectionError):
            async for version, kind, item in self._news_of(plural, since, ends):
                while request.headers.get("User-Agent") in self.deaf:
                    await asyncio.sleep(0.01)
                at = version
                if kind == "BOOKMARK":
                    await _line(response, kind, {"kind": "Pod", "metadata": {"resourceVersion": str(at)}})
                elif kind != "DELETED" and not shown(item):
                    await _line(response, "DELETED", item)
                else:
                    await _line(response, kind, item)
        return response

    async def _news_of(self, plural: str, since: int, ends: float) -> AsyncIterator[tuple[int, str, Item]]:
        """Events after `since` as they come; a bookmark when others had news."""
        loop = asyncio.get_running_loop()
        told = since
        while True:
            news = [entry for entry in self._log if entry[0] > since]
            for version, whose, kind, item in news:
                since = version
                if whose == plural:
                    told = version
                    yield version, kind, item
            if since > told:
                told = since
                yield since, "BOOKMARK", {}
            left = ends - loop.time()
            if left <= 0:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left), self._news:
                    if not any(entry[0] > since for entry in self._log):
                        await self._news.wait()

    async def _one(self, request: web.Request, plural: str, key: str, subresource: str) -> web.Response:
        if subresource == "binding":
            self._bind(key, await request.json())
            return _status(201, "", "")
        item = self._objects[plural].get(key)
        if item is None:
            raise Refused(404, "NotFound", f'{plural} "{key}" not found')
        if subresource == "eviction":
            return self._evict(key, item, await request.json())
        if request.method == "PUT":
            item = self._put(plural, await request.json())
        elif request.method == "PATCH":
            changed = merged(copy.deepcopy(item), await request.json())
            changed["metadata"].pop("resourceVersion")
            if changed != {**item, "metadata": {k: v for k, v in item["metadata"].items() if k != "resourceVersion"}}:
                item = self._put(plural, changed)
        elif request.method == "DELETE":
            if plural == "pods":
                self._ask_to_leave(key)
            else:
                self._delete(plural, key)
        return web.json_response(item)

    def _evict(self, key: str, item: Item, eviction: Item) -> web.Response:
        if eviction["apiVersion"] != self.eviction:
            raise Refused(400, "BadRequest", f"no kind Eviction is registered for {eviction['apiVersion']}")
        wanted = eviction.get("deleteOptions", {}).get("preconditions", {}).get("uid")
        if wanted and wanted != item["metadata"]["uid"]:
            raise Refused(409, "Conflict", "Precondition failed: UID")
        if item["metadata"]["name"] in self.protected:
            details = {
                "causes": [{"reason": "DisruptionBudget", "message": "needs 2 healthy pods and has 2 currently"}]
            }
            message = "Cannot evict pod as it would violate the pod's disruption budget."
            raise Refused(429, "TooManyRequests", message, {"details": details})
        self._ask_to_leave(key)
        return _status(201, "", "")


def _status(status: int, reason: str, message: str, more: Item | None = None) -> web.Response:
    said = {"kind": "Status", "status": "Success" if status < 300 else "Failure", "code": status}
    return web.json_response({**said, "reason": reason, "message": message, **(more or {})}, status=status)


async def _line(response: web.StreamResponse, kind: str, item: Item) -> None:
    await response.write(json.dumps({"type": kind, "object": item}).encode() + b"\n")


def _selector(text: str) -> Callable[[Item], bool]:
    """`status.phase!=Failed,...`, the one kind of field selector that is needed."""
    hidden = {part.partition("!=")[2] for part in text.split(",") if part.startswith("status.phase!=")}
    return lambda item: item.get("status", {}).get("phase") not in hidden
