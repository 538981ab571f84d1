"""The Kubernetes API as a scheduler needs it: plain JSON in and out, a time limit on everything, and retries where they are safe.

Independent of any scheduler: `serve extender` watches usage through it too.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiohttp
import orjson

from policies.kube.objects import Json, items, mapping, text, whole
from policies.serving.clock import Clock, SystemClock
from policies.serving.connection import Connection, ConnectionSetupError, connect
from policies.serving.keepalive import keep_alive
from policies.serving.resources import PODS, Resource

__all__ = ["ApiClient", "ApiError", "ConnectionSetupError", "Listing"]

JSON_BODY: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"
STRATEGIC_PATCH: Final = "application/strategic-merge-patch+json"

LIMIT_S: Final = 10.0
"""The time limit of a request."""
LIST_LIMIT_S: Final = 60.0
"""The time limit of one page of a list."""
PAGE: Final = 500
"""Objects of one page of a list."""
WATCH_S: Final = 300
"""After this the API server ends a watch, and it is begun again where it stopped."""
WATCH_GRACE_S: Final = 15.0
"""How much later than promised a watch may end before it is taken for dead."""
ATTEMPTS: Final = 5
BACKOFF_S: Final = 0.1
BACKOFF_MAX_S: Final = 5.0

GONE: Final = 410
CONFLICT: Final = 409
NOT_FOUND: Final = 404
FORBIDDEN: Final = 403
TOO_MANY: Final = 429
PASSING: Final = (TOO_MANY, 500, 502, 503, 504)
"""Answers after which the same question may get another one."""


class ApiError(Exception):
    """The API server refused, or gave no answer (`status` 0): then the request may or may not have been carried out."""

    def __init__(
        self,
        what: str,
        status: int,
        message: str,
        *,
        reason: str = "",
        causes: tuple[str, ...] = (),
        wait_s: float = 0,
    ) -> None:
        self.status = status
        self.reason = reason
        self.message = message
        self.causes = causes
        """The `reason` of each cause that the answer names."""
        self.wait_s = wait_s
        """How long the API server asks to wait."""
        super().__init__(f"{what}: {f'{status} ' if status else ''}{reason}{': ' if reason else ''}{message}")

    @property
    def no_answer(self) -> bool:
        """Whether nobody knows if it was carried out."""
        return self.status == 0


class _Call(NamedTuple):
    """A request as it is sent."""

    method: str
    path: str
    query: Mapping[str, str] | None = None
    data: bytes | None = None
    content_type: str = JSON_BODY

    @property
    def what(self) -> str:
        """It, in words."""
        return f"{self.method} {self.path}"


class Listing(NamedTuple):
    """All objects of a resource at one moment. Each has its `kind`."""

    items: list[dict[str, Any]]
    resource_version: str


class ApiClient:
    """See the module. `async with ApiClient.connect(kubeconfig=...) as api: ...`"""

    def __init__(
        self, connection: Connection, *, clock: Clock, rng: random.Random, user_agent: str = "rehearse"
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._rng = rng
        self._user_agent = user_agent
        self._eviction = ""

    @staticmethod
    def connect(
        *,
        kubeconfig: str | Path | None = None,
        context: str | None = None,
        in_cluster: bool | None = None,
        clock: Clock | None = None,
        rng: random.Random | None = None,
        user_agent: str = "rehearse",
    ) -> AbstractAsyncContextManager[ApiClient]:
        """A client that is closed at the end. Entering raises `ConnectionSetupError`; it asks the API server nothing yet."""
        clock = clock or SystemClock()
        where = connect(kubeconfig=kubeconfig, context=context, in_cluster=in_cluster, clock=clock)
        return _connected(where, clock, rng or random.Random(), user_agent)

    @property
    def origin(self) -> str:
        """Which API server, and who says so."""
        return f"{self._connection.host} ({self._connection.origin})"

    # -- any request -----------------------------------------------------------------------------------------

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = JSON_BODY,
        limit_s: float = LIMIT_S,
        retry: bool | None = None,
    ) -> dict[str, Any]:
        """The answer as JSON. Raises `ApiError`.

        `retry` says whether to ask again when there was no answer or a passing fault; only reads are by default. A refusal for
        overload was not carried out, so it is asked again in any case.
        """
        again = method == "GET" if retry is None else retry
        call = _Call(method, path, query, None if body is None else orjson.dumps(body), content_type)
        for attempt in range(ATTEMPTS):
            try:
                return await self._once(call, limit_s)
            except ApiError as error:
                overload = error.status == TOO_MANY and not error.causes
                last = attempt == ATTEMPTS - 1
                if last or not (overload or (again and (error.no_answer or error.status in PASSING))):
                    raise
                await self._clock.sleep(max(self.backoff_s(attempt), min(error.wait_s, BACKOFF_MAX_S)))
        raise AssertionError("the last attempt answers or raises")

    def backoff_s(self, attempt: int, *, first_s: float = BACKOFF_S, max_s: float = BACKOFF_MAX_S) -> float:
        """How long to wait after failure number `attempt` (from 0): doubling, and never the same for two that failed together."""
        return float(min(first_s * 2 ** min(attempt, 16), max_s) * self._rng.uniform(0.5, 1.0))

    async def _once(self, call: _Call, limit_s: float) -> dict[str, Any]:
        async with self._sent(call, aiohttp.ClientTimeout(total=limit_s)) as response:
            data = await response.read()
            if response.status >= 300:
                raise _refusal(call.what, response, data)
            found = _decoded(call.what, data)
            if not isinstance(found, dict):
                raise ApiError(call.what, 0, "the answer is not a JSON object")
            return found

    @asynccontextmanager
    async def _sent(self, call: _Call, timeout: aiohttp.ClientTimeout) -> AsyncIterator[aiohttp.ClientResponse]:
        """The response to a request; once more with a new token where the first is not believed."""
        headers = {"Accept": JSON_BODY, "User-Agent": self._user_agent}
        if call.data is not None:
            headers["Content-Type"] = call.content_type
        try:
            for anew in (False, True):
                async with self._connection.session.request(
                    call.method,
                    self._connection.host + call.path,
                    params=call.query,
                    data=call.data,
                    headers=headers | await self._connection.headers(anew=anew),
                    timeout=timeout,
                    allow_redirects=False,
                    **self._connection.options,
                ) as response:
                    if response.status == 401 and not anew:
                        continue
                    yield response
                    return
        except TimeoutError as error:
            raise ApiError(call.what, 0, "no answer in time") from error
        except (aiohttp.ClientError, OSError, ConnectionSetupError) as error:
            raise ApiError(call.what, 0, str(error) or type(error).__name__) from error

    # -- reading ---------------------------------------------------------------------------------------------

    async def get(self, resource: Resource, namespace: str, name: str, *, limit_s: float = LIMIT_S) -> dict[str, Any]:
        """One object. Raises `ApiError`."""
        return await self.request("GET", resource.path(namespace, name), limit_s=limit_s)

    async def list_all(self, resource: Resource, *, page: int = PAGE) -> Listing:
        """Every object of a resource as of now, page by page. Raises `ApiError`."""
        while True:
            try:
                return await self._pages(resource, page)
            except ApiError as error:
                if error.status != GONE or not page:
                    raise
                page = 0  # because: the pages took longer than the server keeps the past; whole lists cannot

    async def _pages(self, resource: Resource, page: int) -> Listing:
        found: list[dict[str, Any]] = []
        query = {"fieldSelector": resource.field_selector} if resource.field_selector else {}
        if page:
            query["limit"] = str(page)
        while True:
            answer = await self.request("GET", resource.path(), query=query, limit_s=LIST_LIMIT_S)
            # because: the objects of a list do not say of which kind they are
            found += [{**resource.type_meta, **item} for item in items(answer.get("items"))]
            metadata = mapping(answer.get("metadata"))
            if not metadata.get("continue"):
                return Listing(found, text(metadata.get("resourceVersion")))
            query["continue"] = text(metadata.get("continue"))

    async def watch(
        self, resource: Resource, resource_version: str, *, watch_s: int = WATCH_S
    ) -> AsyncGenerator[list[dict[str, Any]]]:
        """The events after `resource_version`, bookmarks too, as they come, until the server ends the watch.

        Raises `ApiError`; with status 410 the past is forgotten, and only a new list helps.
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(watch_s),
        }
        if resource.field_selector:
            query["fieldSelector"] = resource.field_selector
        timeout = aiohttp.ClientTimeout(total=watch_s + WATCH_GRACE_S, sock_connect=LIMIT_S)
        call = _Call("GET", resource.path(), query)
        async with self._sent(call, timeout) as response:
            if response.status >= 300:
                raise _refusal(call.what, response, await response.read())
            keep_alive(response)
            async for lines in _lines(response.content):
                yield [_event(call.what, line) for line in lines]

    async def find(self, resource: Resource) -> Resource | None:
        """The resource with the version that the server prefers, or None if it has no such thing. Raises `ApiError`."""
        if resource.version:
            return resource
        try:
            group = await self.request("GET", f"/apis/{resource.group}")
            preferred = text(mapping(group.get("preferredVersion")).get("version"))
            versions = [text(each.get("version")) for each in items(group.get("versions"))]
            for version in sorted(versions, key=lambda each: each != preferred):
                known = await self.request("GET", f"/apis/{resource.group}/{version}")
                if any(each.get("name") == resource.plural for each in items(known.get("resources"))):
                    return resource._replace(version=version)
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise
        return None

    async def server_version(self) -> str:
        """`v1.36.2`. Raises `ApiError`."""
        return text((await self.request("GET", "/version")).get("gitVersion"))

    # -- pods ------------------------------------------------------------------------------------------------

    async def bind(self, namespace: str, name: str, uid: str, node: str, *, limit_s: float = LIMIT_S) -> None:
        """Bind a pod to a node. Raises `ApiError`: 409 if it is bound, or another pod has its name now; 404 if it is gone."""
        body = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"namespace": namespace, "name": name, "uid": uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": node},
        }
        # because: the server too shall drop it when nobody waits for it any more
        query = {"timeout": f"{max(int(limit_s), 1)}s"}
        path = PODS.path(namespace, name, "binding")
        await self.request("POST", path, query=query, body=body, limit_s=limit_s)

    async def evict(self, namespace: str, name: str, uid: str) -> None:
        """Ask a pod to leave, disruption budgets kept. Raises `ApiError`: 429 if a budget says not now, 404 if it is gone."""
        body = {
            "apiVersion": await self._eviction_version(),
            "kind": "Eviction",
            "metadata": {"namespace": namespace, "name": name},
            "deleteOptions": {"preconditions": {"uid": uid}},
        }
        await self.request("POST", PODS.path(namespace, name, "eviction"), body=body)

    async def _eviction_version(self) -> str:
        if not self._eviction:
            core = await self.request("GET", "/api/v1")
            for each in items(core.get("resources")):
                if each.get("name") == "pods/eviction":
                    self._eviction = f"{text(each.get('group'))}/{text(each.get('version'))}"
        return self._eviction or "policy/v1"

    async def patch_pod_status(self, namespace: str, name: str, resource_version: str, status: Json) -> None:
        """Merge into a pod's status; conditions are merged by their type. Raises `ApiError`: 409 if the pod has changed since."""
        path = PODS.path(namespace, name, "status")
        body = {"metadata": {"resourceVersion": resource_version}, "status": status}
        await self.request("PATCH", path, body=body, content_type=STRATEGIC_PATCH)

    # -- other objects ---------------------------------------------------------------------------------------

    async def create(
        self, resource: Resource, namespace: str, item: Json, *, limit_s: float = LIMIT_S
    ) -> dict[str, Any]:
        """A new object, as the server keeps it. Raises `ApiError`: 409 if there is one."""
        return await self.request("POST", resource.path(namespace), body=item, limit_s=limit_s)

    async def replace(
        self, resource: Resource, namespace: str, name: str, item: Json, *, limit_s: float = LIMIT_S
    ) -> dict[str, Any]:
        """The changed object. Raises `ApiError`: 409 if somebody else changed it since `item` was read."""
        return await self.request("PUT", resource.path(namespace, name), body=item, limit_s=limit_s)

    async def patch(self, resource: Resource, namespace: str, name: str, change: Json) -> dict[str, Any]:
        """The object after merging `change` into it. Raises `ApiError`."""
        path = resource.path(namespace, name)
        return await self.request("PATCH", path, body=change, content_type=MERGE_PATCH, retry=True)


@asynccontextmanager
async def _connected(
    where: Coroutine[Any, Any, Connection], clock: Clock, rng: random.Random, user_agent: str
) -> AsyncIterator[ApiClient]:
    connection = await where
    try:
        yield ApiClient(connection, clock=clock, rng=rng, user_agent=user_agent)
    finally:
        await connection.close()


async def _lines(stream: aiohttp.StreamReader) -> AsyncIterator[list[bytes]]:
    """The lines of a stream, of any length, as many as come together. What the server did not finish is dropped."""
    rest: list[bytes] = []
    async for chunk in stream.iter_any():
        *ends, tail = chunk.split(b"\n")
        if ends:
            lines = [b"".join([*rest, ends[0]]), *ends[1:]]
            rest = []
            yield [line for line in lines if line.strip()]
        if tail:
            rest.append(tail)


def _event(what: str, line: bytes) -> dict[str, Any]:
    event = _decoded(what, line)
    if not isinstance(event, dict):
        raise ApiError(what, 0, "an event is not a JSON object")
    if event.get("type") == "ERROR":
        raise _error_of(what, mapping(event.get("object")), 0)
    return event


def _decoded(what: str, data: bytes) -> object:
    try:
        found: object = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise ApiError(what, 0, f"the answer is not JSON: {error}") from error
    return found


def _refusal(what: str, response: aiohttp.ClientResponse, data: bytes) -> ApiError:
    said = response.headers.get("Retry-After", "")
    wait_s = float(said) if said.isascii() and said.isdigit() and len(said) < 6 else 0.0
    try:
        answer = orjson.loads(data)
    except orjson.JSONDecodeError:
        answer = {"message": data[:200].decode(errors="replace").strip()}
    return _error_of(what, mapping(answer), wait_s, status=response.status)


def _error_of(what: str, answer: Json, wait_s: float, status: int = 0) -> ApiError:
    details = mapping(answer.get("details"))
    return ApiError(
        what,
        status or whole(answer.get("code"), 500),
        text(answer.get("message")),
        reason=text(answer.get("reason")),
        causes=tuple(text(each.get("reason")) for each in items(details.get("causes"))),
        wait_s=wait_s or float(whole(details.get("retryAfterSeconds"), 0)),
    )
