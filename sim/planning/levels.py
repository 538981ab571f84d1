"""Service levels: limits on metrics of some jobs, in the words of gates (`wait.p95{queue=research} <= 30m`), asked of one run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sim.experiment.quantities import Where
from sim.gates.gate import Gate, parse_gate
from sim.metrics.metric import Sample
from sim.metrics.registry import SIZE_CLASSES
from sim.results import Run
from sim.run import InputError
from traces.job import JobRecord

LEFT_OUT: Final = 0.002
"""Share of the jobs that may stay without a start, as for Borg's cell compaction: picky ones that fit nowhere."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """What must hold on a fleet that is large enough."""

    gates: tuple[Gate, ...]
    counted: Mask
    """The jobs that are looked at: those between warm-up and drain."""
    left_out: float = LEFT_OUT

    def values(self, run: Run, records: Sequence[JobRecord]) -> list[float]:
        """The figure of each level; a job that never started has waited for ever."""
        return [_value(gate, run, self.counted & _has(gate.selector.where, records)) for gate in self.gates]

    def failing(self, run: Run, records: Sequence[JobRecord]) -> list[str]:
        """The levels that this run does not keep, with their figures; nothing if it keeps all."""
        never = float((~run.jobs.started)[self.counted].mean())
        found = [f"{never:.2%} of the jobs never start"] if never > self.left_out else []
        for gate, value in zip(self.gates, self.values(run, records), strict=True):
            assert gate.limit is not None, "a level is a limit"
            if not (value <= gate.limit if gate.worse > 0 else value >= gate.limit):
                found.append(f"{gate.text}: {value:g}")
        return found


def parse_levels(texts: Sequence[str]) -> tuple[Gate, ...]:
    """The levels of these sentences. Raises `InputError` with everything that is wrong."""
    gates, problems = [], []
    for number, text in enumerate(texts):
        try:
            gate = parse_gate(text)
        except ValueError as error:
            problems.append(f"levels[{number}]: {error}")
            continue
        if gate.limit is None:
            problems.append(f"levels[{number}]: must be a limit such as 'wait.p95 <= 30m', got {text!r}")
        gates.append(gate)
    if not texts:
        problems.append("levels: at least one is needed, such as 'wait.p95 <= 30m'")
    if problems:
        raise InputError("\n".join(problems))
    return tuple(gates)


def _value(gate: Gate, run: Run, rows: Mask) -> float:
    what = gate.selector.quantity
    per_job = what.per_job
    if per_job is None:
        value = what.metric.of(Sample(run, rows))
        return math.nan if value is None else value
    values = per_job.values(run)[rows]
    never = math.inf if gate.worse > 0 else -math.inf
    if per_job.statistic == "sum":
        return float(np.nansum(values))
    values = np.where(np.isnan(values), never, values)
    if not len(values):
        return math.nan
    if per_job.statistic == "mean":
        finite = np.isfinite(values)  # because: those that never start are limited by `left_out`, and have no mean
        return float(values[finite].mean()) if finite.any() else never
    assert per_job.q is not None, "a quantile has a q"
    return float(np.quantile(values, per_job.q, method="higher" if np.isinf(values).any() else "linear"))


def _has(where: Where, records: Sequence[JobRecord]) -> Mask:
    found: Mask = np.ones(len(records), dtype=np.bool_)
    for kind, name in where:
        found &= np.array([_label(record, kind) == name for record in records], dtype=np.bool_)
    return found


def _label(record: JobRecord, kind: str) -> str:
    if kind == "size":
        demand = record.demand_milli
        return next(name for name, least in reversed(SIZE_CLASSES) if demand >= least)
    if kind == "accelerator":
        return "|".join(record.accelerators) or "any"
    return (record.queue if kind == "queue" else record.user) or "-"
