"""Keeps somebody informed of all objects of some resources: each change once, in order, and never a gap.

Lists once, then watches. A watch that breaks goes on where it stopped; if the API server has forgotten that past, everything is
listed anew and the difference is reported, so what vanished meanwhile is DELETED like anything else.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, Final, NamedTuple

from policies.kube.objects import Json, mapping, text
from policies.serving.api import FORBIDDEN, GONE, NOT_FOUND, ApiClient, ApiError
from policies.serving.clock import Clock
from policies.serving.resources import Resource

log = logging.getLogger(__name__)

Event = dict[str, Any]
"""`{"type": "ADDED" | "MODIFIED" | "DELETED", "object": {...}}`, with the object's `kind`. Of an object that vanished while
nobody watched, only `metadata` is left: name, namespace and uid."""

Sink = Callable[[list[Event]], Awaitable[None]]
"""Told of events in their order, several at once. The watch goes on when it returns."""

RETRY_S: Final = 0.2
RETRY_MAX_S: Final = 30.0
ABSENT_S: Final = 60.0
"""How often to look whether an optional resource has come."""
BATCH: Final = 500
"""Events of a list that are passed on together."""


class _Known(NamedTuple):
    uid: str
    resource_version: str


class Watcher:
    """See the module. One task a resource; `run` ends when it is cancelled, or when the sink fails."""

    def __init__(self, api: ApiClient, resources: Sequence[Resource], sink: Sink, *, clock: Clock) -> None:
        self._api = api
        self._clock = clock
        self._books = [_Book(api, resource, sink, clock) for resource in resources]

    async def run(self) -> None:
        """Keep the sink informed until cancelled. Raises what the sink raises."""
        async with asyncio.TaskGroup() as group:
            for book in self._books:
                group.create_task(book.run(), name=f"watch {book.resource.name}")

    async def synced(self) -> None:
        """Wait until the first list of every resource has been passed on."""
        for book in self._books:
            await book.listed.wait()

    @property
    def is_synced(self) -> bool:
        """Whether the first list of every resource has been passed on."""
        return all(book.listed.is_set() for book in self._books)

    async def resync(self) -> None:
        """List everything anew, as of now, and wait until the difference has been passed on."""
        rounds = [book.ask() for book in self._books]
        for book, round_ in zip(self._books, rounds, strict=True):
            await book.reached(round_)

    @property
    def faults(self) -> dict[str, str]:
        """Resource -> why it cannot be watched now. Empty while all is well."""
        return {book.resource.name: book.fault for book in self._books if book.fault}

    @property
    def silent_s(self) -> float:
        """How long the API server has not answered, for the resource that it has not answered for longest; 0 while it does."""
        now = self._clock.monotonic_s()
        return max((now - book.heard_s for book in self._books if book.fault), default=0.0)


class _Book:
    """What is known of one resource."""

    def __init__(self, api: ApiClient, resource: Resource, sink: Sink, clock: Clock) -> None:
        self.resource = resource
        self.listed = asyncio.Event()
        self.fault = ""
        self.heard_s = clock.monotonic_s()
        self._api = api
        self._sink = sink
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._version = ""
        self._asked = 1
        self._done = asyncio.Condition()
        self._lists = 0
        self._poked = asyncio.Event()

    # -- lists on demand -------------------------------------------------------------------------------------

    def ask(self) -> int:
        """Ask for a new list; the number of the round that is at least as new."""
        self._asked += 1
        self._poked.set()
        return self._asked

    async def reached(self, round_: int) -> None:
        """Wait for a round."""
        async with self._done:
            await self._done.wait_for(lambda: self._lists >= round_)

    # -- the loop --------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """List, watch, and again."""
        failures = 0
        while True:
            began_s = self._clock.monotonic_s()
            try:
                found = await self._api.find(self.resource)
                if found is None:
                    await self._absent()
                    continue
                if not self._version or self._lists < self._asked:
                    await self._list(found)
                await self._watch(found)
                self._heard()
                if self._clock.monotonic_s() - began_s >= 1.0:
                    failures = 0
                    continue  # because: that a watch ends after its time is its normal end
            except ApiError as error:
                self._failed(error)
                if self.resource.optional and error.status == FORBIDDEN:
                    await self._absent()
            failures += 1
            await self._wait(self._api.backoff_s(failures - 1, first_s=RETRY_S, max_s=RETRY_MAX_S))

    def _failed(self, error: ApiError) -> None:
        if error.status in (GONE, NOT_FOUND):
            self._version = ""
        if error.status != GONE:
            log.warning("cannot watch %s: %s", self.resource.name, error)
            self.fault = str(error)

    def _heard(self) -> None:
        self.heard_s = self._clock.monotonic_s()
        self.fault = ""

    async def _wait(self, seconds: float) -> None:
        """Sleep, but not while a new list is asked for."""
        if self._lists < self._asked and self._poked.is_set():
            self._poked.clear()
            return
        sleeping = asyncio.ensure_future(self._clock.sleep(seconds))
        poked = asyncio.ensure_future(self._poked.wait())
        try:
            await asyncio.wait((sleeping, poked), return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleeping.cancel()
            poked.cancel()
            await asyncio.gather(sleeping, poked, return_exceptions=True)
        self._poked.clear()

    async def _absent(self) -> None:
        """The server does not have this kind of object: nothing of it exists."""
        await self._report([], "")
        await self._wait(ABSENT_S)

    async def _list(self, resource: Resource) -> None:
        self._poked.clear()
        round_ = self._asked
        listing = await self._api.list_all(resource)
        await self._report(listing.items, listing.resource_version, round_)

    async def _report(self, found: list[dict[str, Any]], version: str, round_: int = 0) -> None:
        """Pass on how `found` differs from what is known."""
        self._heard()
        names = {_name(item) for item in found}
        events = [_deleted(self.resource, name, known) for name, known in self._known.items() if name not in names]
        for item in found:
            events += self._change("ADDED", item)
        for name in self._known.keys() - names:
            del self._known[name]
        for start in range(0, len(events), BATCH):
            await self._sink(events[start : start + BATCH])
        self._version = version
        self.listed.set()
        async with self._done:
            self._lists = round_ or self._asked
            self._done.notify_all()

    async def _watch(self, resource: Resource) -> None:
        """Pass events on until the watch ends, or a new list is asked for."""
        async with aclosing(self._api.watch(resource, self._version)) as events:
            poked = asyncio.ensure_future(self._poked.wait())
            coming: asyncio.Task[list[Event]] | None = None
            try:
                while True:
                    coming = asyncio.ensure_future(anext(events))
                    await asyncio.wait((coming, poked), return_when=asyncio.FIRST_COMPLETED)
                    if not coming.done():
                        return
                    try:
                        found = coming.result()
                    except StopAsyncIteration:
                        return
                    await self._pass_on(found)
            finally:
                for task in (poked, coming):
                    if task is not None:
                        task.cancel()
                        await asyncio.gather(task, return_exceptions=True)

    async def _pass_on(self, found: list[Event]) -> None:
        self._heard()
        changes: list[Event] = []
        version = self._version
        for event in found:
            item = mapping(event.get("object"))
            kind = text(event.get("type"))
            if kind == "DELETED":
                self._known.pop(_name(item), None)
                changes.append(event)
            elif kind in ("ADDED", "MODIFIED"):
                changes += self._change(kind, item)
            version = text(mapping(item.get("metadata")).get("resourceVersion")) or version
        if changes:
            await self._sink(changes)
        self._version = version  # because: what the sink was not told of is to be asked for again

    def _change(self, kind: str, item: Json) -> list[Event]:
        """An object that is there, as events. Nothing if it is known so."""
        name = _name(item)
        metadata = mapping(item.get("metadata"))
        now = _Known(text(metadata.get("uid")), text(metadata.get("resourceVersion")))
        before = self._known.get(name)
        self._known[name] = now
        if before is None:
            return [{"type": "ADDED", "object": item}]
        if before.uid != now.uid:
            return [_deleted(self.resource, name, before), {"type": "ADDED", "object": item}]
        if before == now and kind == "ADDED":
            return []
        return [{"type": "MODIFIED", "object": item}]


def _name(item: Json) -> str:
    metadata = mapping(item.get("metadata"))
    return f"{text(metadata.get('namespace'))}/{text(metadata.get('name'))}"


def _deleted(resource: Resource, full_name: str, known: _Known) -> Event:
    namespace, _, name = full_name.rpartition("/")
    metadata = {"name": name, "uid": known.uid, "resourceVersion": known.resource_version}
    if namespace:
        metadata["namespace"] = namespace
    return {"type": "DELETED", "object": {**resource.type_meta, "metadata": metadata}}
