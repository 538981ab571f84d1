"""Service levels: limits on metrics of some jobs, in the words of gates (`wait.p95{queue=research} <= 30m`), asked of one run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.experiment.measurable import measurable
from sim.experiment.plan import Plan, Subjects, subjects_of
from sim.experiment.prepare import Prepared
from sim.experiment.quantities import Quantity, Where, expand, serving
from sim.gates.gate import Gate, parse_gate
from sim.jobs_table import ABSENT
from sim.metrics.latency import figure
from sim.metrics.metric import Sample, taken_away
from sim.results import Run
from sim.run import InputError
from sim.services.of_run import requests_of

LEFT_OUT: Final = 0.002
"""Share of the jobs that may stay without a start, as for Borg's cell compaction: picky ones that fit nowhere."""

NOT_OF_SIZE: Final = {
    "allocated_share": "it falls when servers are added, so it cannot say how many are enough",
    "fragmented_share": "it rises when servers are added, so it cannot say how many are enough",
}
"""Metrics that no level may name."""

Mask = NDArray[np.bool_]


class Figures(NamedTuple):
    """What one run gave."""

    values: tuple[float, ...]
    """Of each level. Jobs that never start have waited for ever: infinity. NaN where no job counts."""
    never: float
    """Share of the jobs that count that never start, without the replicas of services on whose requests there is a level."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """What must hold on a fleet that is large enough."""

    gates: tuple[Gate, ...]
    counted: Mask
    """The jobs that are looked at: those between warm-up and drain."""
    rows: tuple[Mask, ...]
    """Those of each level."""
    left_out: float = LEFT_OUT

    def figures(self, run: Run) -> Figures:
        """The figures of a run."""
        idle = ~run.jobs.started[self._must_start()]
        never = float(idle.mean()) if len(idle) else 0.0
        pairs = zip(self.gates, self.rows, strict=True)
        return Figures(tuple(_value(gate, Sample(run, rows, self.counted)) for gate, rows in pairs), never)

    def _must_start(self) -> Mask:
        """Not the replicas of a service whose requests are looked at: those say what it costs if one never runs."""
        found = self.counted.copy()
        for gate, rows in zip(self.gates, self.rows, strict=True):
            if gate.selector.quantity.of_requests is not None:
                found &= ~rows
        return found

    def kept(self, figures: Figures) -> bool:
        """Whether they keep every level."""
        return not self.broken(figures) and figures.never <= self.left_out

    def broken(self, figures: Figures) -> list[int]:
        """The numbers of the levels that are not kept. One of which no job counts is kept."""
        return [number for number, value in enumerate(figures.values) if not _holds(self.gates[number], value)]

    def worst(self, figures: Sequence[Figures]) -> Figures:
        """The worst figure of each level over several runs."""
        columns = zip(*(each.values for each in figures), strict=True)
        values = tuple(
            max(column) if gate.worse > 0 else min(column) for gate, column in zip(self.gates, columns, strict=True)
        )
        return Figures(values, max(each.never for each in figures))


def levels_of(
    gates: Sequence[Gate],
    prepared: Prepared,
    *,
    warm_up_ms: int = 0,
    drain_ms: int = 0,
    left_out: float = LEFT_OUT,
) -> Levels:
    """The levels, asked of the jobs of a trace. Raises `InputError` where warm-up and drain leave no job."""
    subjects = _subjects(prepared, warm_up_ms, drain_ms)
    counted = subjects.counted[0]
    rows = []
    for gate in gates:
        if gate.selector.quantity.of_requests is not None:
            rows.append(_replicas(subjects, prepared, gate.selector.where))
            continue
        mine = counted.copy()
        mine[counted] = subjects.labelled(gate.selector.where)
        rows.append(mine)
    return Levels(gates=tuple(gates), counted=counted, rows=tuple(rows), left_out=left_out)


def spelled_out(
    gates: Sequence[Gate], prepared: Prepared, *, warm_up_ms: int = 0, drain_ms: int = 0
) -> tuple[Gate, ...]:
    """The levels with one for each name where `*` stands.

    Raises `InputError` where warm-up and drain leave no job, for a name that no job that counts has, for names that none has
    together, and for a level about what none of them has, such as a deadline.
    """
    subjects = _subjects(prepared, warm_up_ms, drain_ms)
    names, having = subjects.names(), subjects.names_having()
    found, problems = [], []
    for gate in gates:
        try:
            selectors = measurable(expand(gate.selector, names, having), subjects)
        except ValueError as error:
            problems.append(f"level {gate.text!r}: {error}")
            continue
        tail = gate.text.removeprefix(str(gate.selector))
        found += [replace(gate, selector=each, text=f"{each}{tail}") for each in selectors]
    if problems:
        raise InputError("\n".join(problems))
    return tuple(found)


def _replicas(subjects: Subjects, prepared: Prepared, where: Where) -> Mask:
    """The replicas of services that have all the labels, those of the warm-up too: they answer requests that count."""
    names = set(serving(where, subjects.services))
    records = prepared.trace.records
    return np.fromiter((job.service in names for job in records), dtype=np.bool_, count=len(records))


def _subjects(prepared: Prepared, warm_up_ms: int, drain_ms: int) -> Subjects:
    if not prepared.trace.records:
        raise InputError(f"{prepared.trace.path}: has no jobs")
    return subjects_of([prepared], Plan(warm_up_ms=warm_up_ms, drain_ms=drain_ms))


def parse_levels(texts: Sequence[str]) -> tuple[Gate, ...]:
    """The levels of these sentences. Raises `InputError` with everything that is wrong."""
    gates, problems = [], []
    for number, text in enumerate(texts):
        try:
            gate = parse_gate(text)
        except ValueError as error:
            problems.append(f"levels[{number}]: {error}")
            continue
        problems += [f"levels[{number}]: {why}" for why in _no_level(gate)]
        gates.append(gate)
    if not texts:
        problems.append("levels: at least one is needed, such as 'wait.p95 <= 30m'")
    if problems:
        raise InputError("\n".join(problems))
    return tuple(gates)


def limits_of(gates: Iterable[Gate]) -> tuple[Gate, ...]:
    """Those gates of a scenario that are levels: limits that more servers help to keep."""
    return tuple(gate for gate in gates if not list(_no_level(gate)))


def _no_level(gate: Gate) -> Iterable[str]:
    """Why a gate cannot be a level."""
    what = gate.selector.quantity
    if gate.limit is None:
        yield f"must be a limit such as 'wait.p95 <= 30m', got {gate.text!r}"
    elif what.metric.name in NOT_OF_SIZE:
        yield f"{what.name}: {NOT_OF_SIZE[what.metric.name]}"
    elif gate.worse != what.worse:
        sign = "<=" if what.worse > 0 else ">="
        yield f"{gate.text!r} asks that it be bad; of {what.name}, a level is a limit with {sign}"


def _holds(gate: Gate, value: float) -> bool:
    assert gate.limit is not None, "a level is a limit"
    return math.isnan(value) or (value <= gate.limit if gate.worse > 0 else value >= gate.limit)


def _value(gate: Gate, sample: Sample) -> float:
    what: Quantity = gate.selector.quantity
    never = math.inf if gate.worse > 0 else -math.inf
    per_job = what.per_job
    if what.of_requests is not None:
        return figure(what.of_requests, requests_of(sample))
    if per_job is None:
        value = what.metric.of(sample)
        return never if value is None else value
    rows = sample.rows
    if per_job.having is not None:
        rows = rows & np.not_equal(getattr(sample.run.jobs, per_job.having), ABSENT)
    if not per_job.of_taken:
        rows = rows & ~taken_away(sample.run)
    values = per_job.values(sample.run)[rows]
    if per_job.statistic == "sum":
        return float(np.nansum(values))
    values = np.where(np.isnan(values), never, values)
    if not len(values):
        return math.nan
    if per_job.statistic == "mean":
        # because: those that never start are limited by `left_out`, or miss their deadline, and have no mean
        finite = np.isfinite(values)
        return float(values[finite].mean()) if finite.any() else never
    assert per_job.q is not None, "a quantile has a q"
    return float(np.quantile(values, per_job.q, method="higher" if np.isinf(values).any() else "linear"))
