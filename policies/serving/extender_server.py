"""Runs the extender: the watch that tells it who holds what, the server that kube-scheduler asks, and the end of both."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from policies.kube.objects import mapping
from policies.serving.api import ApiClient
from policies.serving.clock import Clock, SystemClock
from policies.serving.desk import CLOSE_S, Desk, close_desk
from policies.serving.extender import PolicyExtender
from policies.serving.extender_app import NO_USAGE, ExtenderApp
from policies.serving.http import HttpServer, Limits, Tls, bind
from policies.serving.metrics import Metrics
from policies.serving.resources import LIVE_PODS, NODES
from policies.serving.watch import Event, Watcher

log = logging.getLogger(__name__)

LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtenderOptions:
    """How it is run. Neither `kubeconfig` nor `in_cluster` is without an API server."""

    host: str = "127.0.0.1"
    port: int = 0
    prefix: str = ""
    """What stands before the verb in the path, such as `/scheduler`; empty, or begins with a slash and does not end with one."""
    kubeconfig: Path | None = None
    context: str | None = None
    in_cluster: bool = False
    limits: Limits = field(default_factory=Limits)
    tls: Tls | None = None


async def run_extender(
    desk: Desk,
    extender: PolicyExtender,
    options: ExtenderOptions,
    *,
    announce: Callable[[str], None],
    detail: Callable[[], dict[str, Any]] = dict,
    clock: Clock | None = None,
) -> bool:
    """Serve until a signal says stop; True if all that was in work has ended. The desk is closed then.

    `announce` is told the address once it listens. Raises `ServerSetupError` and `ConnectionSetupError`, both before that.
    """
    clock = clock or SystemClock()
    try:
        tls = None if options.tls is None else options.tls.context()
        async with AsyncExitStack() as stack:
            api = await _api(stack, options, clock)
            await _serve(desk, extender, options, api=api, tls=tls, announce=announce, detail=detail, clock=clock)
    finally:
        ended = await _close(desk)
    return ended


async def _api(stack: AsyncExitStack, options: ExtenderOptions, clock: Clock) -> ApiClient | None:
    """The way to the API server, if there is to be one."""
    if options.kubeconfig is None and not options.in_cluster:
        return None
    client = ApiClient.connect(
        kubeconfig=options.kubeconfig, context=options.context, in_cluster=options.in_cluster, clock=clock
    )
    return await stack.enter_async_context(client)


async def _serve(
    desk: Desk,
    extender: PolicyExtender,
    options: ExtenderOptions,
    *,
    api: ApiClient | None,
    tls: ssl.SSLContext | None,
    announce: Callable[[str], None],
    detail: Callable[[], dict[str, Any]],
    clock: Clock,
) -> None:
    metrics = Metrics()
    watch = None if api is None else Watch(desk, api, clock)
    if watch is not None:
        metrics.watch_age(watch.age_s)
    app = ExtenderApp(
        desk,
        extender,
        limits=options.limits,
        metrics=metrics,
        prefix=options.prefix,
        binder=api,
        usage=watch is not None,
        unready=(lambda: "") if watch is None else watch.unready,
        detail=lambda: {**detail(), **({} if watch is None else watch.detail())},
    )
    listener = bind(options.host, options.port)
    server = HttpServer(
        app.asgi, listener, limits=options.limits, tls=tls, cut=lambda reason: metrics.cut_off.labels(reason).inc()
    )
    server.stop_on_signals()
    _warn(options, watched=watch is not None)
    announce(server.url + options.prefix)
    watching = None if watch is None else asyncio.create_task(watch.run())
    try:
        await server.serve()
        await app.finish()
    finally:
        if watching is not None:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)


def _warn(options: ExtenderOptions, *, watched: bool) -> None:
    """What somebody may not have meant."""
    if not watched:
        log.warning("%s; only requests with nodeCacheCapable: false can be answered", NO_USAGE)
    if (options.tls is None or options.tls.client_ca is None) and options.host not in LOOPBACK:
        log.warning("anybody who reaches %s may ask: client certificates are not asked for", options.host)


async def _close(desk: Desk) -> bool:
    """Close the desk; False if its policy still thinks after `CLOSE_S`."""
    if await close_desk(desk, CLOSE_S):
        return True
    log.error("%s still thinks; it is left alone", desk.policy.name)
    return False


class Watch:
    """Tells the desk of every node and pod, and says how that goes."""

    def __init__(self, desk: Desk, api: ApiClient, clock: Clock) -> None:
        self._desk = desk
        self._api = api
        self._clock = clock
        self._watcher = Watcher(api, (NODES, LIVE_PODS), self._tell, clock=clock)
        self._last_s = clock.monotonic_s()

    async def run(self) -> None:
        """Until cancelled."""
        await self._watcher.run()

    async def _tell(self, events: list[Event]) -> None:
        await self._desk.do(lambda: self._pass_on(events))
        self._last_s = self._clock.monotonic_s()

    def _pass_on(self, events: list[Event]) -> None:
        for event in events:
            try:
                self._desk.tell(event)
            except Exception:
                # because: one object that nobody foresaw must not end the knowledge of all others
                log.exception("an event could not be taken in", extra={"fields": {"event": _named(event)}})

    def unready(self) -> str:
        """Why nothing can be answered yet."""
        if self._watcher.is_synced:
            return ""
        said = "; ".join(f"{name}: {fault}" for name, fault in self._watcher.faults.items())
        return f"nodes and pods are not listed yet{f' ({said})' if said else ''}"

    def age_s(self) -> float:
        """Seconds since the last event."""
        return self._clock.monotonic_s() - self._last_s

    def detail(self) -> dict[str, Any]:
        """For /healthz."""
        return {
            "api_server": self._api.origin,
            "last_watch_event_age_s": round(self.age_s(), 1),
            "watch_faults": self._watcher.faults,
        }


def _named(event: Event) -> str:
    item = mapping(event.get("object"))
    meta = mapping(item.get("metadata"))
    return f"{event.get('type')} {item.get('kind')} {meta.get('namespace', '')}/{meta.get('name', '')}"
