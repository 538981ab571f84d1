"""What `summary.json` says of each service of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sim.services.of_run import Answered, answered
from sim.services.service import Steps

if TYPE_CHECKING:
    from sim.results import Run


def by_service(run: Run) -> dict[str, dict[str, Any]]:
    """Name -> its requests, and how many replicas were wanted and answered in the mean; None if it lasted no time."""
    return {name: _said(each) for name, each in answered(run).items()}


def _said(found: Answered) -> dict[str, Any]:
    held_ms = np.minimum(found.wanted_until_ms, found.lasts_ms) - np.minimum(found.wanted_from_ms, found.lasts_ms)
    return {
        "requests": found.requests.total,
        "unanswered_requests": found.requests.unanswered,
        "replicas_wanted_mean": float(held_ms.sum()) / found.lasts_ms if found.lasts_ms else None,
        "replicas_ready_mean": _mean(found.ready, found),
    }


def _mean(steps: Steps, found: Answered) -> float | None:
    """Over the time of the service."""
    if not found.lasts_ms:
        return None
    begin_ms = int(found.service.rate.at_ms[0])
    edges = np.clip(np.append(steps.at_ms, begin_ms + found.lasts_ms) - begin_ms, 0, found.lasts_ms)
    return float((np.diff(edges) * steps.value).sum() / found.lasts_ms)
