"""Asks preempted pods to leave through the Eviction API, so that disruption budgets are kept, and goes on asking for a while."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Final

from policies.kube.pods import Pod
from policies.serving.api import CONFLICT, NOT_FOUND, TOO_MANY, ApiClient, ApiError
from policies.serving.clock import Clock
from policies.serving.leader import Leadership

log = logging.getLogger(__name__)

RETRY_S: Final = 1.0
RETRY_MAX_S: Final = 10.0


class Evictor:
    """See the module. `wanted(pod)` says whether it is still to leave.

    `refused(pod, why)` is told when it is given up after `patience_s`, or at once where it can never be.
    """

    def __init__(
        self,
        api: ApiClient,
        leadership: Leadership,
        *,
        clock: Clock,
        patience_s: float,
        wanted: Callable[[Pod], Awaitable[bool]],
        refused: Callable[[Pod, str], Awaitable[None]],
        counted: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._api = api
        self._leadership = leadership
        self._clock = clock
        self._patience_s = patience_s
        self._wanted = wanted
        self._refused = refused
        self._counted = counted
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def evict(self, pod: Pod, after: asyncio.Task[Any] | None = None) -> None:
        """Ask a pod to leave, once `after` has ended and if it is still to."""
        if pod.uid not in self._tasks:
            self._start(pod.uid, self._run(pod, after))

    def _start(self, uid: str, work: Coroutine[Any, Any, None]) -> None:
        task = self._tasks[uid] = asyncio.ensure_future(work)
        task.add_done_callback(lambda _: self._tasks.pop(uid, None))

    def cancel(self, uid: str) -> None:
        """Do not ask it any more."""
        task = self._tasks.get(uid)
        if task is not None:
            task.cancel()

    async def stop(self) -> None:
        """Ask nobody any more."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, pod: Pod, after: asyncio.Task[Any] | None) -> None:
        try:
            if after is not None:
                await asyncio.wait({after})
                if not await self._wanted(pod):
                    return
            why = await self._ask(pod)
            if why:
                await self._refused(pod, why)
        except Exception:
            log.exception("evicting %s failed", pod.key)

    async def _ask(self, pod: Pod) -> str:
        """Why the pod stays, or nothing."""
        began_s = self._clock.monotonic_s()
        for attempt in range(1_000_000):
            if not self._leadership.leads:
                return ""
            try:
                await self._api.evict(pod.namespace, pod.name, pod.uid)
            except ApiError as error:
                if error.status in (NOT_FOUND, CONFLICT):
                    return ""  # because: it is gone, or another pod has its name: the watch tells
                again = error.no_answer or error.status == TOO_MANY or error.status >= 500
                self._counted("not now" if again else "refused")
                if not again or self._clock.monotonic_s() - began_s >= self._patience_s:
                    return str(error)
            else:
                self._counted("accepted")
                return ""
            await self._clock.sleep(self._api.backoff_s(attempt, first_s=RETRY_S, max_s=RETRY_MAX_S))
        raise AssertionError("nobody waits that long")
