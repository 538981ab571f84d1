"""Leader election by a Lease, as client-go does it: of several schedulers one decides, and another when it is silent.

Nobody compares clocks: a lease counts as held for its duration after its last change was *seen*, by the clock of who looks. The
leader counts from the moment it *asked* to renew, and stops deciding well before anybody else may begin.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from policies.kube.objects import mapping, text, whole
from policies.serving.api import CONFLICT, NOT_FOUND, ApiClient, ApiError
from policies.serving.clock import Clock
from policies.serving.resources import LEASES

log = logging.getLogger(__name__)

MARGIN_S: Final = 1.0
"""What was asked of the API server must have ended so long before anybody else may lead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseTerms:
    """Name and lengths of a lease; kube-scheduler's by default."""

    namespace: str = "kube-system"
    name: str = "rehearse-scheduler"
    lease_s: float = 15.0
    """So long others wait after the last sign of life."""
    renew_s: float = 10.0
    """So long the leader goes on without having renewed."""
    retry_s: float = 2.0

    def __post_init__(self) -> None:
        if not self.retry_s < self.renew_s < self.lease_s - MARGIN_S:
            raise ValueError(
                f"the lease must be longer than {MARGIN_S:g} s and the renewal limit, and that longer than the retry period;"
                f" got {self.lease_s:g}, {self.renew_s:g} and {self.retry_s:g} s"
            )


class Leadership(Protocol):
    """Whether this process may decide and bind."""

    @property
    def leads(self) -> bool:
        """Whether it may now. Cheap, and for any thread."""
        ...

    @property
    def left_s(self) -> float:
        """How long a request that is sent now may take at most."""
        ...


class Alone:
    """There is nobody else."""

    leads = True
    left_s = float("inf")


class Leader:
    """See the module."""

    def __init__(self, api: ApiClient, terms: LeaseTerms, identity: str, *, clock: Clock) -> None:
        self.identity = identity
        self.changed: Callable[[bool], None] = lambda _: None
        """Called when leadership begins and when it ends. `leads` is exact; this may come a moment later."""
        self.holder = ""
        """Who leads, as far as is known."""
        self._api = api
        self._terms = terms
        self._clock = clock
        self._until_s: float | None = None
        """Until when this process leads, unless it renews; None while it does not."""
        self._lease: dict[str, Any] = {}
        """As it was last seen."""
        self._absent = True
        """Whether it was not there at the last look."""
        self._seen_s = 0.0
        self._said = False

    @property
    def leads(self) -> bool:
        """Whether this process may decide now."""
        return self._until_s is not None and self._clock.monotonic_s() < self._until_s

    @property
    def left_s(self) -> float:
        """How long a request that is sent now may take, so that it has ended when somebody else may lead."""
        if self._until_s is None:
            return 0.0
        reserve_s = self._terms.lease_s - self._terms.renew_s - MARGIN_S
        return max(self._until_s + reserve_s - self._clock.monotonic_s(), 0.0)

    async def run(self) -> None:
        """Try to lead, and to go on leading, until cancelled."""
        while True:
            await self._try()
            self._tell()
            await self._clock.sleep(self._terms.retry_s * (1 if self.leads else self._jitter()))

    def _jitter(self) -> float:
        """Between 1 and 1.2: two that wait for the same lease do not ask at the same moments for ever."""
        return 1 + self._api.backoff_s(0, first_s=0.2, max_s=0.2)

    async def release(self) -> None:
        """Give the lease back, so that nobody has to wait. To be called when nothing is under way any more."""
        held, self._until_s = self.leads, None
        self._tell()
        if not held:
            return
        spec = {**mapping(self._lease.get("spec")), "holderIdentity": "", "leaseDurationSeconds": 1}
        try:
            await self._put({**self._lease, "spec": {**spec, "renewTime": self._now()}})
        except ApiError as error:
            log.warning("the lease was not given back: %s", error)

    def _tell(self) -> None:
        if self.leads != self._said:
            self._said = self.leads
            log.info("%s leads" if self.leads else "%s does not lead any more", self.identity)
            self.changed(self.leads)

    async def _try(self) -> None:
        """Renew or take the lease if that is allowed. Ends in time to notice that it was not renewed."""
        asked_s = self._clock.monotonic_s()
        if self._until_s is not None and asked_s >= self._until_s:
            self._until_s = None
        limit_s = self._terms.renew_s if self._until_s is None else max(self._until_s - asked_s, 0.05)
        trying = asyncio.ensure_future(self._attempt(asked_s))
        sleeping = asyncio.ensure_future(self._clock.sleep(limit_s))
        try:
            await asyncio.wait((trying, sleeping), return_when=asyncio.FIRST_COMPLETED)
            if trying.done():
                trying.result()
        except ApiError as error:
            log.warning("cannot renew or take the lease: %s", error)
        finally:
            for task in (trying, sleeping):
                task.cancel()
            await asyncio.gather(trying, sleeping, return_exceptions=True)

    async def _attempt(self, asked_s: float) -> None:
        terms = self._terms
        try:
            if not self.leads:
                await self._look()
            # because: also of a lease that was deleted, its holder may believe for as long as it was to last
            if not self.leads and self._lease and not self._is_free():
                return
            if self._absent:
                new = self._claimed({"metadata": {"name": terms.name, "namespace": terms.namespace}})
                found = await self._api.create(LEASES, terms.namespace, new, limit_s=terms.renew_s)
            else:
                found = await self._put(self._claimed(self._lease))
        except ApiError as error:
            if error.status not in (CONFLICT, NOT_FOUND):
                raise
            # because: somebody else was quicker, or the lease was deleted; a look says what is so
            if self._until_s is not None:
                await self._lost_or_changed()
            return
        self._see(found)
        self._until_s = asked_s + terms.renew_s

    async def _lost_or_changed(self) -> None:
        """Our renewal was refused: we lead on only if the lease is still ours, and until the next renewal."""
        await self._look()
        if text(mapping(self._lease.get("spec")).get("holderIdentity")) != self.identity:
            self._until_s = None

    async def _look(self) -> None:
        try:
            found = await self._api.get(LEASES, self._terms.namespace, self._terms.name, limit_s=self._terms.renew_s)
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise
            self._absent = True
        else:
            self._see(found)

    def _see(self, lease: dict[str, Any]) -> None:
        self._absent = False
        if mapping(lease.get("spec")) != mapping(self._lease.get("spec")):
            self._seen_s = self._clock.monotonic_s()
        self._lease = lease
        self.holder = text(mapping(lease.get("spec")).get("holderIdentity"))

    def _is_free(self) -> bool:
        spec = mapping(self._lease.get("spec"))
        duration_s = whole(spec.get("leaseDurationSeconds"), 0)
        return self.holder in ("", self.identity) or self._clock.monotonic_s() >= self._seen_s + duration_s

    def _claimed(self, lease: dict[str, Any]) -> dict[str, Any]:
        """The lease as ours, renewed now."""
        spec = mapping(lease.get("spec"))
        now = self._now()
        ours = spec.get("holderIdentity") == self.identity
        claimed = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": math.ceil(self._terms.lease_s),
            "renewTime": now,
            "acquireTime": spec.get("acquireTime") if ours else now,
            "leaseTransitions": whole(spec.get("leaseTransitions"), 0) + (0 if ours or not spec else 1),
        }
        return {**lease, "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "spec": {**spec, **claimed}}

    async def _put(self, lease: dict[str, Any]) -> dict[str, Any]:
        terms = self._terms
        return await self._api.replace(LEASES, terms.namespace, terms.name, lease, limit_s=terms.renew_s)

    def _now(self) -> str:
        at = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC)
        return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
