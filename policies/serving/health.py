"""Health, readiness and metrics of a served policy: they answer while the policy thinks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from time import perf_counter
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from policies.serving.desk import Desk
from policies.serving.http import json_response
from policies.serving.metrics import CONTENT_TYPE, Figures, Metrics

STUCK_S: Final = 60.0
"""A policy that thinks for longer makes the server count as dead."""

FIGURES_S: Final = 0.3
"""How long health and metrics wait for figures of the cluster; then they give the last ones."""


class Health:
    """See the module. `unready` says why it is too early to answer, or nothing; `detail` is shown by /healthz."""

    def __init__(
        self, desk: Desk, metrics: Metrics, *, unready: Callable[[], str], detail: Callable[[], dict[str, Any]]
    ) -> None:
        self.busy_since_s: float | None = None
        """Set by the desk while it is at work for somebody, by `perf_counter`."""
        self.routes = [
            Route("/healthz", self._healthz),
            Route("/readyz", self._readyz),
            Route("/metrics", self._show_metrics),
        ]
        recorder = desk.recorder
        if recorder is not None:
            metrics.journal(lambda: recorder.lost)
        self._desk = desk
        self._metrics = metrics
        self._unready = unready
        self._detail = detail
        self._figures = Figures()
        self._measuring = False

    async def _healthz(self, _: Request) -> Response:
        since_s = self.busy_since_s
        busy_s = 0.0 if since_s is None else perf_counter() - since_s
        stuck = busy_s >= STUCK_S
        found = {
            "status": f"the policy has been thinking for {busy_s:.0f} s" if stuck else "ok",
            "policy": self._desk.policy.name,
            "ready": self._unready() or "yes",
            **(await self._measure())._asdict(),
            **self._detail(),
        }
        return json_response(found, 503 if stuck else 200)

    async def _readyz(self, _: Request) -> Response:
        reason = self._unready()
        return json_response({"ready": not reason, "reason": reason}, 503 if reason else 200)

    async def _show_metrics(self, _: Request) -> Response:
        self._metrics.show(await self._measure())
        return Response(self._metrics.text(), 200, {"content-type": CONTENT_TYPE})

    async def _measure(self) -> Figures:
        """Figures of the cluster: the last ones if the desk is busy."""
        if not self._measuring:
            self._measuring = True
            with contextlib.suppress(TimeoutError, RuntimeError):
                await self._desk.do(self._look, limit_s=FIGURES_S)
        return self._figures

    def _look(self) -> None:
        cluster = self._desk.cluster
        held = sum(len(unit.holds) for unit in cluster.units())
        self._figures = Figures(len(cluster.nodes), held, len(cluster.faults))
        self._measuring = False
