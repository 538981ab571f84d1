"""A scheduler in the same process as a fake API server, over real HTTP on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from builders import policy
from fake_api_server import FakeApiServer
from kube_builders import KINDS, MINE

from policies.api import Policy, QueueView, Semantics, Start
from policies.placement.first_fit import FirstFit
from policies.serving.api import ApiClient
from policies.serving.clock import Clock, SystemClock
from policies.serving.cluster import Cluster
from policies.serving.desk import Desk, Recorder
from policies.serving.leader import Alone, Leader, Leadership, LeaseTerms
from policies.serving.scheduler import Scheduler, SchedulerOptions
from policies.serving.scheduler_cluster import cluster_for


class Book:
    """A recorder that keeps everything."""

    def __init__(self) -> None:
        self.decisions: list[Any] = []
        self.lost = 0

    def event(self, at_ms: int, event: Any) -> None:
        pass

    def decision(self, at_ms: int, decision: Any) -> None:
        self.decisions.append(decision)

    @property
    def passes(self) -> list[Any]:
        return [each for each in self.decisions if each["kind"] == "pass"]

    @property
    def actions(self) -> list[Any]:
        return [action for each in self.passes for action in each["actions"]]


class Running:
    """A scheduler at work."""

    def __init__(self, scheduler: Scheduler, desk: Desk, api: ApiClient, book: Book, leader: Leader | None) -> None:
        self.scheduler = scheduler
        self.desk = desk
        self.api = api
        self.book = book
        self.leader = leader


@contextlib.asynccontextmanager
async def scheduling(
    server: FakeApiServer,
    folder: Path,
    what: str | Policy = "fifo",
    *,
    queues: dict[str, QueueView] | None = None,
    lease: LeaseTerms | None = None,
    identity: str = "one",
    clock: Clock | None = None,
    ready: bool = True,
    recorder: Callable[[Cluster], Recorder] | None = None,
    **options: Any,
) -> AsyncIterator[Running]:
    """A scheduler that works until the end of the block, which then ends as a process does on SIGTERM."""
    clock = clock or SystemClock()
    chosen = policy(what) if isinstance(what, str) else what
    book = Book()
    cluster = cluster_for(chosen, MINE, KINDS, queues=queues)
    desk = Desk(cluster, chosen, clock=clock.now_ms, recorder=recorder(cluster) if recorder else book)
    config = server.kubeconfig(folder)
    rng = random.Random(identity)
    async with ApiClient.connect(kubeconfig=config, rng=rng, clock=clock, user_agent=identity) as api:
        leader = None if lease is None else Leader(api, lease, identity, clock=clock)
        leadership: Leadership = Alone() if leader is None else leader
        scheduler = Scheduler(
            api,
            desk,
            SchedulerOptions(**{"name": MINE, "debounce_ms": 1, **options}),
            clock=clock,
            leadership=leadership,
            identity=identity,
        )
        work = [asyncio.create_task(scheduler.run())]
        if leader is not None:
            leader.changed = scheduler.leadership_changed
            work.append(asyncio.create_task(leader.run()))
        running = Running(scheduler, desk, api, book, leader)
        try:
            if ready:
                await server.until(lambda: scheduler.detail()["decides"] or any(task.done() for task in work))
            yield running
        finally:
            for task in work:
                task.cancel()
            ended = await asyncio.gather(*work, return_exceptions=True)
            await scheduler.stop()
            if leader is not None:
                await leader.release()
            await asyncio.to_thread(desk.close)
            for error in ended:
                if not isinstance(error, asyncio.CancelledError):
                    raise error


def play(tmp_path: Path, scene: Callable[[FakeApiServer], Any], **options: Any) -> FakeApiServer:
    """Play a scene against a fake API server; whatever happened, no node ever held more than it has."""

    async def run() -> FakeApiServer:
        async with FakeApiServer(**options) as server:
            await scene(server)
            return server

    server = asyncio.run(run())
    assert server.violations == []
    bound = [name for name, _ in server.bindings]
    assert len(bound) == len(set(bound)), "no pod is bound twice"
    return server


SEMANTICS = Semantics(order="any", blocking="none", placement="first-fit")


class Scripted(Policy):
    """Does what a function says, first come first served where it says nothing."""

    name = "scripted"

    def __init__(self, script=None, *, empty=False):
        self.script = script or (lambda view: ())
        self.runs_on_empty_queue = empty
        self.passes = 0

    def decide(self, view):
        self.passes += 1
        yield from self.script(view)
        for job in list(view.pending):
            placement = FirstFit().place(job.request, view.nodes)
            if placement is not None:
                yield Start(job.job_id, placement)

    def semantics(self):
        return SEMANTICS


QUICK = {
    "retries.FIRST_S": 0.05,
    "binder.RETRY_S": 0.05,
    "evictor.RETRY_S": 0.02,
    "scheduler.REPORT_S": 0.05,
    "scheduler.POLICY_RETRY_S": 0.05,
    "unplaced.FAULT_MS": 10,
    "watch.RETRY_S": 0.05,
}
"""What takes seconds in production takes a tenth of it in tests: name under `policies.serving` -> value."""
