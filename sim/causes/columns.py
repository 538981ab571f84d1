"""The causes as columns of `jobs.parquet` and as totals of `summary.json`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sim.causes.cause import CAUSES

if TYPE_CHECKING:
    from sim.results import Run

Integers = NDArray[np.int64]

FIRST: Final = tuple(f"wait_{name}_ms" for name in CAUSES)
"""Columns that add up to `wait_ms`."""

AGAIN: Final = tuple(f"wait_again_{name}_ms" for name in CAUSES)
"""Columns of the waiting after preemptions."""

STARTUP: Final = "startup_ms"


class CauseColumns(NamedTuple):
    """Milliseconds of each job, in the order of the trace."""

    first: Integers
    """From the submission to the first start (to its end for a job that never started), by cause: shape (causes, n)."""
    again: Integers
    """Waiting after preemptions, by cause: shape (causes, n)."""
    startup_ms: Integers | None
    """On its devices before its work began: what restarts and thinking cost. No part of the waiting. None where the
    thinking was measured, which the run does not write down."""


def causes_arrow(columns: CauseColumns, started: NDArray[np.bool_]) -> dict[str, Any]:
    """Name -> column. As `wait_ms`, what a job waited for is null where it never started."""
    found = {name: pa.array(values, mask=~started) for name, values in zip(FIRST, columns.first, strict=True)}
    found.update((name, pa.array(values)) for name, values in zip(AGAIN, columns.again, strict=True))
    if columns.startup_ms is not None:
        found[STARTUP] = pa.array(columns.startup_ms)
    return found


def causes_from_arrow(jobs: Any) -> CauseColumns | None:
    """The columns of a table of jobs that `causes_arrow` made; None where the run was not asked for them."""
    if FIRST[0] not in jobs.column_names:
        return None

    def of(names: tuple[str, ...]) -> Integers:
        return np.array([jobs[name].fill_null(0).to_numpy() for name in names], dtype=np.int64)

    startup_ms = np.asarray(jobs[STARTUP].to_numpy(), dtype=np.int64) if STARTUP in jobs.column_names else None
    return CauseColumns(of(FIRST), of(AGAIN), startup_ms)


def totals(columns: CauseColumns, started: NDArray[np.bool_]) -> dict[str, Any]:
    """Sums over the jobs that started, by cause; the parts of `wait_ms` add up to the sum of their waits."""
    first = columns.first[:, started]
    return {
        "jobs": int(started.sum()),
        "jobs_that_waited": int((first.sum(axis=0) > 0).sum()),
        "wait_ms": dict(zip(CAUSES, first.sum(axis=1).tolist(), strict=True)),
        "wait_again_ms": dict(zip(CAUSES, columns.again.sum(axis=1).tolist(), strict=True)),
        "startup_ms": None if columns.startup_ms is None else int(columns.startup_ms.sum()),
    }


def totals_by_policy(runs: Mapping[str, Run]) -> dict[str, dict[str, Any]]:
    """The totals of the runs that were asked for them."""
    return {name: totals(run.causes, run.jobs.started) for name, run in runs.items() if run.causes is not None}
