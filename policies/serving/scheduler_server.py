"""Runs a scheduler as a process: the way to the API server, leader election, health and metrics over HTTP, and a graceful end."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.applications import Starlette

from policies.serving.api import ApiClient
from policies.serving.clock import Clock, SystemClock
from policies.serving.desk import Desk, close_desk
from policies.serving.health import Health
from policies.serving.http import HttpServer, Limits, bind
from policies.serving.leader import Alone, Leader, Leadership, LeaseTerms
from policies.serving.metrics import Metrics
from policies.serving.scheduler import Scheduler, SchedulerOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """How it is run."""

    host: str = "127.0.0.1"
    port: int = 0
    kubeconfig: Path | None = None
    context: str | None = None
    in_cluster: bool | None = None
    lease: LeaseTerms | None = field(default_factory=LeaseTerms)
    """None is without leader election: then there must be no other."""
    scheduler: SchedulerOptions = field(default_factory=SchedulerOptions)


async def run_scheduler(
    desk: Desk,
    options: ServeOptions,
    *,
    announce: Callable[[str, str], None],
    detail: Callable[[], dict[str, Any]] = dict,
    clock: Clock | None = None,
) -> bool:
    """Schedule until a signal says stop; True if the policy has ended what it thought about. The desk is closed then.

    `announce` is told the address of health and metrics, and the API server. Raises `ServerSetupError` and
    `ConnectionSetupError`, both before that.
    """
    clock = clock or SystemClock()
    try:
        async with ApiClient.connect(
            kubeconfig=options.kubeconfig, context=options.context, in_cluster=options.in_cluster, clock=clock
        ) as api:
            await _serve(desk, options, api, announce=announce, detail=detail, clock=clock)
    finally:
        ended = await close_desk(desk)
    return ended


async def _serve(
    desk: Desk,
    options: ServeOptions,
    api: ApiClient,
    *,
    announce: Callable[[str, str], None],
    detail: Callable[[], dict[str, Any]],
    clock: Clock,
) -> None:
    identity = f"{socket.gethostname()}_{os.getpid()}_{random.Random().getrandbits(32):08x}"
    metrics = Metrics()
    leader = None
    leadership: Leadership = Alone()
    if options.lease is not None:
        leadership = leader = Leader(api, options.lease, identity, clock=clock)
    scheduler = Scheduler(
        api, desk, options.scheduler, clock=clock, leadership=leadership, identity=identity, metrics=metrics
    )
    health = Health(
        desk,
        metrics,
        unready=scheduler.unready,
        detail=lambda: {**detail(), **scheduler.detail(), "leader": identity if leader is None else leader.holder},
    )
    scheduler.busy = lambda since_s: setattr(health, "busy_since_s", since_s)
    server = HttpServer(Starlette(routes=health.routes), bind(options.host, options.port), limits=Limits())
    server.stop_on_signals()
    announce(server.url, api.origin)
    work = [asyncio.create_task(scheduler.run())]
    if leader is not None:
        leader.changed = scheduler.leadership_changed
        work.append(asyncio.create_task(leader.run()))
    serving = asyncio.create_task(server.serve())
    try:
        # because: whatever ends first, by a signal or by a fault, ends the process; who restarts it sees it in the logs
        await asyncio.wait((serving, *work), return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _end(scheduler, leader, work)
        server.stop()
        await serving
    for task in work:
        if not task.cancelled():
            task.result()


async def _end(scheduler: Scheduler, leader: Leader | None, work: list[asyncio.Task[None]]) -> None:
    """Stop deciding, end what is under way, and only then let somebody else lead."""
    scheduling, *leading = work
    scheduling.cancel()
    await asyncio.gather(scheduling, return_exceptions=True)
    await scheduler.stop()
    for task in leading:
        task.cancel()
    await asyncio.gather(*leading, return_exceptions=True)
    if leader is not None:
        await leader.release()
