"""Binds the jobs that were started, pod by pod, and says what became of each job. For the event loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import perf_counter

from policies.kube.pods import Pod
from policies.serving.binder import Binder, Outcome
from policies.serving.flights import Flight
from policies.serving.scheduler_metrics import SchedulerMetrics

log = logging.getLogger(__name__)

Landed = Callable[[Flight, list[tuple[Pod, str, Outcome]]], Awaitable[None]]
"""Told of a job and, for each of its pods, the node and what became of it."""


class Departures:
    """See the module."""

    def __init__(self, binder: Binder, metrics: SchedulerMetrics, landed: Landed) -> None:
        self._binder = binder
        self._metrics = metrics
        self._landed = landed
        self._tasks: dict[str, asyncio.Task[None]] = {}
        """Uid -> what binds the job of the pod."""

    def launch(self, flight: Flight) -> None:
        """Bind all pods of a job."""
        task = asyncio.ensure_future(self._run(flight))
        for pod, _ in flight.assignments:
            self._tasks[pod.uid] = task

    def of(self, uid: str) -> asyncio.Task[None] | None:
        """What binds a pod now, or None."""
        return self._tasks.get(uid)

    async def settled(self, limit_s: float | None = None) -> None:
        """Wait until nothing is under way; after `limit_s` it is broken off."""
        tasks = set(self._tasks.values())
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=limit_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _run(self, flight: Flight) -> None:
        began_s = perf_counter()
        try:
            outcomes = await asyncio.gather(*(self._binder.bind(pod, node) for pod, node in flight.assignments))
            found = [(*given, outcome) for given, outcome in zip(flight.assignments, outcomes, strict=True)]
            for pod, node, outcome in found:
                self._metrics.bindings.labels(outcome.fate.value).inc()
                if outcome.said:
                    log.warning("%s to %s: %s: %s", pod.key, node, outcome.fate.value, outcome.said)
            await self._landed(flight, found)
        except Exception:
            log.exception("binding %s failed", flight.job_id)
        finally:
            mine = asyncio.current_task()
            for pod, _ in flight.assignments:
                if self._tasks.get(pod.uid) is mine:
                    del self._tasks[pod.uid]
            self._metrics.bind_seconds.observe(perf_counter() - began_s)
