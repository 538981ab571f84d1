"""What users are told of their pods: events, and the condition `PodScheduled`, as kube-scheduler writes them.

Told in the background, a bounded number a second: what is said again soon counts up the event that there is, and what there is
no time for is dropped. The condition is what cluster autoscalers look at.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from policies.kube.pods import Pod
from policies.serving.api import CONFLICT, NOT_FOUND, ApiClient, ApiError
from policies.serving.clock import Clock
from policies.serving.resources import EVENTS

log = logging.getLogger(__name__)

PER_SECOND: Final = 50
"""Requests on average; ten seconds' worth may come at once."""
BURST: Final = 10 * PER_SECOND
WAITING_MAX: Final = 10_000
"""What is still to be told; the oldest is dropped."""
KNOWN_MAX: Final = 4096
"""Events that are remembered to be counted up."""
NOTE_MAX: Final = 1024
"""Characters of a note that the API server takes."""
NAME_MAX: Final = 200
SENDERS: Final = 4
PATCHES: Final = 4
"""Attempts to change the status of a pod that changes meanwhile."""


class _Known(NamedTuple):
    name: str
    times: int


@dataclass(frozen=True, slots=True)
class Report:
    """One thing to tell of one pod."""

    pod: Pod
    reason: str
    note: str
    action: str
    warning: bool = True
    unschedulable: bool = False
    """Whether the condition says so too."""
    nominated: str | None = None
    """The node that the status is to name; empty takes the name away, None leaves it."""


class Reporter:
    """See the module. `versions` has the resource version of each pod that waits: who is not in it is not patched."""

    def __init__(
        self,
        api: ApiClient,
        *,
        controller: str,
        instance: str,
        clock: Clock,
        versions: Mapping[str, str],
        dropped: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._api = api
        self._controller = controller
        self._instance = instance[:128]
        self._clock = clock
        self._versions = versions
        self._dropped = dropped
        self._waiting: deque[Report] = deque()
        self._news = asyncio.Event()
        self._known: OrderedDict[tuple[str, str, str], _Known] = OrderedDict()
        self._since: OrderedDict[str, str] = OrderedDict()
        """Uid -> when it was first said that the pod cannot be scheduled."""
        self._number = itertools.count()
        self._tokens = float(BURST)
        self._filled_s = clock.monotonic_s()
        self._forbidden: set[str] = set()

    def tell(self, reports: Sequence[Report]) -> None:
        """Tell these when there is time."""
        self._waiting.extend(reports)
        surplus = len(self._waiting) - WAITING_MAX
        for _ in range(surplus):
            self._waiting.popleft()
        if surplus > 0:
            self._dropped(surplus)
        self._news.set()

    async def run(self) -> None:
        """Tell what there is to tell, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(SENDERS):
                group.create_task(self._send_all())

    async def _send_all(self) -> None:
        while True:
            while self._waiting:
                report = self._waiting.popleft()
                await self._permission()
                await self._send(report)
            self._news.clear()
            await self._news.wait()

    async def _permission(self) -> None:
        while True:
            now_s = self._clock.monotonic_s()
            self._tokens = min(self._tokens + (now_s - self._filled_s) * PER_SECOND, BURST)
            self._filled_s = now_s
            if self._tokens >= 1:
                self._tokens -= 1
                return
            await self._clock.sleep(1 / PER_SECOND)

    async def _send(self, report: Report) -> None:
        what = f"events of {report.pod.namespace}"
        try:
            await self._event(report)
            what = f"status of pods of {report.pod.namespace}"
            await self._status(report)
        except ApiError as error:
            if error.status not in (CONFLICT, NOT_FOUND) and what not in self._forbidden:
                self._forbidden.add(what)
                log.warning("%s cannot be written (said once): %s", what, error)

    async def _event(self, report: Report) -> None:
        pod, note = report.pod, report.note[:NOTE_MAX]
        now = self._now()
        key = (pod.uid, report.reason, note)
        known = self._known.get(key)
        if known is not None:
            series = {"count": known.times + 1, "lastObservedTime": now}
            self._known[key] = known._replace(times=known.times + 1)
            try:
                await self._api.patch(EVENTS, pod.namespace, known.name, {"series": series})
            except ApiError as error:
                if error.status != NOT_FOUND:
                    raise
                del self._known[key]  # because: events are kept for an hour only
            else:
                return
        name = f"{pod.name[:NAME_MAX]}.{self._clock.now_ms():x}{next(self._number):x}"
        await self._api.create(EVENTS, pod.namespace, self._written(report, name, note, now))
        self._known[key] = _Known(name, 1)
        if len(self._known) > KNOWN_MAX:
            self._known.popitem(last=False)

    def _written(self, report: Report, name: str, note: str, now: str) -> dict[str, Any]:
        pod = report.pod
        regarding = {"apiVersion": "v1", "kind": "Pod", "namespace": pod.namespace, "name": pod.name, "uid": pod.uid}
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": pod.namespace},
            "eventTime": now,
            "type": "Warning" if report.warning else "Normal",
            "reason": report.reason,
            "action": report.action,
            "note": note,
            "reportingController": self._controller,
            "reportingInstance": self._instance,
            "regarding": regarding,
        }

    async def _status(self, report: Report) -> None:
        if report.unschedulable or report.nominated is not None:
            status = self._wanted_status(report)
            for attempt in range(PATCHES):
                version = self._versions.get(report.pod.uid)
                if version is None:
                    return  # because: it does not wait any more
                try:
                    await self._api.patch_pod_status(report.pod.namespace, report.pod.name, version, status)
                except ApiError as error:
                    if error.status != CONFLICT:
                        raise
                    await self._clock.sleep(self._api.backoff_s(attempt))
                else:
                    return

    def _wanted_status(self, report: Report) -> dict[str, Any]:
        status: dict[str, Any] = {}
        if report.unschedulable:
            since = self._since.setdefault(report.pod.uid, self._now())
            if len(self._since) > WAITING_MAX:
                self._since.popitem(last=False)
            condition = {
                "type": "PodScheduled",
                "status": "False",
                "reason": "Unschedulable",
                "message": report.note[:NOTE_MAX],
                "lastTransitionTime": f"{since[:19]}Z",
            }
            status["conditions"] = [condition]
        if report.nominated is not None:
            status["nominatedNodeName"] = report.nominated or None
        return status

    def _now(self) -> str:
        return datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
