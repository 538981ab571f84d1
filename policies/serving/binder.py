"""Binds a pod to its node, and does not rest before it is known whether that happened."""

from __future__ import annotations

import asyncio
import enum
from typing import Final, NamedTuple

from policies.kube.objects import mapping, text
from policies.kube.pods import Pod
from policies.serving.api import LIMIT_S, NOT_FOUND, ApiClient, ApiError
from policies.serving.clock import Clock
from policies.serving.leader import Leadership
from policies.serving.resources import PODS

AT_ONCE: Final = 32
"""Pods that are bound at the same time."""
ANSWERED_MAX: Final = 5
"""After so many answers that are no decision (5xx) it is given up, if the pod is not bound."""
RETRY_S: Final = 0.2
RETRY_MAX_S: Final = 5.0
SHORTEST_S: Final = 0.5
"""With less time than this left to lead, nothing is sent."""


class Fate(enum.Enum):
    """What became of a pod that was to be bound."""

    BOUND = "bound"
    """It is on its node."""
    TAKEN = "taken"
    """It is gone, or on another node: the watch will tell."""
    REFUSED = "refused"
    """It is not bound, and will not be by what was sent: it may wait again."""
    UNSENT = "unsent"
    """Nothing was sent, since this process does not lead any more."""
    UNKNOWN = "unknown"
    """It may be bound, and this process does not lead any more: only a new list tells."""


class Outcome(NamedTuple):
    """What became of it, and what the API server said."""

    fate: Fate
    said: str = ""


class Binder:
    """See the module."""

    def __init__(self, api: ApiClient, leadership: Leadership, *, clock: Clock) -> None:
        self._api = api
        self._leadership = leadership
        self._clock = clock
        self._at_once = asyncio.Semaphore(AT_ONCE)

    async def bind(self, pod: Pod, node: str) -> Outcome:
        """Bind it. Asks again, for the same node, until the API server has decided or this process does not lead."""
        unsure = False
        answered = 0
        said = ""
        for attempt in range(1_000_000):
            async with self._at_once:
                limit_s = min(LIMIT_S, self._leadership.left_s)
                if not self._leadership.leads or limit_s < SHORTEST_S:
                    return Outcome(Fate.UNKNOWN if unsure else Fate.UNSENT, said)
                try:
                    await self._api.bind(pod.namespace, pod.name, pod.uid, node, limit_s=limit_s)
                except ApiError as error:
                    said = str(error)
                    if error.status == NOT_FOUND:
                        return Outcome(Fate.TAKEN, said)
                    undecided = error.no_answer or error.status >= 500
                    unsure = unsure or undecided
                    answered += not error.no_answer
                    fate = await self._look(pod, node)
                    if fate is not None and (fate is not Fate.REFUSED or not undecided or answered >= ANSWERED_MAX):
                        return Outcome(fate, said)
                else:
                    return Outcome(Fate.BOUND)
            await self._clock.sleep(self._api.backoff_s(attempt, first_s=RETRY_S, max_s=RETRY_MAX_S))
        raise AssertionError("nobody waits that long")

    async def _look(self, pod: Pod, node: str) -> Fate | None:
        """What the API server says of the pod now; None if it does not say. `REFUSED` is that it is not bound."""
        try:
            found = await self._api.request("GET", PODS.path(pod.namespace, pod.name), retry=False)
        except ApiError as error:
            return Fate.TAKEN if error.status == NOT_FOUND else None
        if text(mapping(found.get("metadata")).get("uid")) != pod.uid:
            return Fate.TAKEN
        place = text(mapping(found.get("spec")).get("nodeName"))
        if place:
            return Fate.BOUND if place == node else Fate.TAKEN
        return Fate.REFUSED
