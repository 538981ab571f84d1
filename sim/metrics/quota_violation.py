"""Quota violation: device time that queues asked for, were entitled to, and did not get.

Of a queue with nominal quota, the integral over time of max(0, min(demand, nominal) - held), where demand is what its jobs
hold and wait for: what others hold of it, and what stood idle although its jobs waited. Shared among the waiting jobs of the
queue by their demand, so that groups of jobs, and blocks of them, add up. The quota is that of all accelerators together:
`*`, else the sum.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sim.metrics.metric import Metric, PerJob, Sample
from sim.timeline import LEAVES, RELEASES, Happened

if TYPE_CHECKING:
    from sim.results import Run

ANY = "*"


def violations(run: Run) -> NDArray[np.float64]:
    """Device-milliseconds of each job; NaN for those of queues without a quota, and in a static fill."""
    found = np.full(len(run.jobs), np.nan)
    quotas = {name: quota.get(ANY, sum(quota.values())) for name, quota in _nominal(run).items() if quota}
    if run.is_fill or not quotas:
        return found
    codes, names = run.jobs.groups("queue")
    for code, name in enumerate(names):
        if name in quotas:
            rows = np.flatnonzero(codes == code)
            found[rows] = _of_queue(run, rows, quotas[name])
    return found


def _nominal(run: Run) -> dict[str, dict[str, int]]:
    """Milli-devices by queue and accelerator; nothing in the directory of an older version."""
    found: dict[str, dict[str, int]] = run.manifest["inputs"]["cluster"].get("nominal_milli", {})
    return found


def _of_queue(run: Run, rows: NDArray[np.int64], quota_milli: int) -> NDArray[np.float64]:
    line, demand = run.timeline, run.jobs.demand_milli
    inside = np.zeros(len(run.jobs), dtype=bool)
    inside[rows] = True
    entries = np.flatnonzero(inside[line.job])
    at, happened, job = line.at_ms[entries], line.happened[entries], line.job[entries]
    comes = np.isin(happened, (Happened.ARRIVE, Happened.PREEMPT)).astype(np.int64)
    waits = demand[job] * (comes - np.isin(happened, LEAVES))
    holds = demand[job] * ((happened == Happened.START).astype(np.int64) - np.isin(happened, RELEASES))
    waiting, held = np.cumsum(waits), np.cumsum(holds)
    owed = np.clip(np.minimum(waiting, quota_milli - held), 0, None)
    part = np.divide(owed, waiting, out=np.zeros(len(owed)), where=waiting > 0)
    lengths = np.diff(np.append(at, int(run.manifest["end_ms"])))
    until = np.concatenate(([0.0], np.cumsum(part * lengths)))
    # because: what a job was owed is demand x (integral when it left - integral when it came)
    found = np.zeros(len(run.jobs))
    np.subtract.at(found, job, waits * until[:-1])
    left = np.zeros(len(run.jobs), dtype=np.int64)
    np.add.at(left, job, waits)
    owed_ms: NDArray[np.float64] = (found[rows] + left[rows] * until[-1]) / 1000
    return owed_ms


def quota_violation_ms(sample: Sample) -> float | None:
    """None where no job's queue has a quota."""
    values = violations(sample.run)[sample.rows]
    known = values[~np.isnan(values)]
    return float(known.sum()) if len(known) else None


METRICS = (
    Metric(
        name="quota_violation_ms",
        title="quota violation, device time",
        unit="ms",
        better="lower",
        of=quota_violation_ms,
        per_job=PerJob("quota_violation", violations, "sum"),
    ),
)
