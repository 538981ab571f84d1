"""Input shaking: the same trace with submissions and run times moved by a few percent.

One trace is one accident: a single long job, or two jobs a second apart, can move a mean by more than a policy does
(Tsafrir, Ouaknine and Feitelson, MASCOTS 2007). Replaying many slightly different copies shows how much of a difference is
such an accident. A copy depends on the seed alone, so every policy gets the same ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from traces.job import JobRecord

SHARE_MAX = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Shake:
    """How far: each gap between submissions, and each run time, times a factor drawn evenly from 1 -+ the share."""

    submit: float = 0.0
    run: float = 0.0

    def __post_init__(self) -> None:
        for name, share in (("submit", self.submit), ("run", self.run)):
            if not 0 <= share <= SHARE_MAX:
                raise ValueError(f"{name}: must be from 0 % to 50 %, got {share:.0%}")


def shaken(records: Sequence[JobRecord], shake: Shake, rng: np.random.Generator) -> list[JobRecord]:
    """The same jobs in the same order of arrival, between the same first and last submission.

    Jobs of one millisecond stay together. A job that kept its estimate still keeps it, and a job that ran at all still
    runs. Recorded starts are dropped: they belong to the trace that was.
    """
    submits = _submits(np.array([job.submit_ms for job in records], dtype=np.int64), shake.submit, rng)
    runs = _runs(records, shake.run, rng)
    return [
        replace(job, submit_ms=submit_ms, run_ms=run_ms, recorded_start_ms=None)
        for job, submit_ms, run_ms in zip(records, submits.tolist(), runs.tolist(), strict=True)
    ]


def _submits(submits: NDArray[np.int64], share: float, rng: np.random.Generator) -> NDArray[np.int64]:
    factors = rng.uniform(1 - share, 1 + share, max(len(submits) - 1, 0))
    order = np.argsort(submits, kind="stable")
    gaps = np.diff(submits[order])
    moved = np.concatenate(([0.0], np.cumsum(gaps * factors)))
    if len(submits) < 2 or moved[-1] <= 0:
        return submits
    found = np.empty_like(submits)
    found[order] = submits[order[0]] + np.rint(moved * (gaps.sum() / moved[-1])).astype(np.int64)
    return found


def _runs(records: Sequence[JobRecord], share: float, rng: np.random.Generator) -> NDArray[np.int64]:
    runs = np.array([job.run_ms for job in records], dtype=np.int64)
    moved = np.rint(runs * rng.uniform(1 - share, 1 + share, len(runs))).astype(np.int64)
    limits = [job.estimate_ms if job.estimate_ms is not None else -1 for job in records]
    limit = np.array(limits, dtype=np.int64)
    moved = np.where((limit >= 0) & (runs <= limit), np.minimum(moved, limit), moved)
    return np.where(runs > 0, np.maximum(moved, 1), runs)
