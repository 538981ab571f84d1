"""Service levels: limits on metrics of some jobs, in the words of gates (`wait.p95{queue=research} <= 30m`), asked of one run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.experiment.plan import Plan, Subjects, subjects_of
from sim.experiment.prepare import Prepared
from sim.experiment.quantities import Quantity, expand
from sim.gates.gate import Gate, parse_gate
from sim.metrics.metric import Sample
from sim.results import Run
from sim.run import InputError

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
    """Share of the jobs that count that never start."""


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
        never = float((~run.jobs.started)[self.counted].mean())
        pairs = zip(self.gates, self.rows, strict=True)
        return Figures(tuple(_value(gate, run, rows) for gate, rows in pairs), never)

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
        mine = counted.copy()
        for kind, name in gate.selector.where:
            label = subjects.labels[kind]
            mine[counted] &= label.codes == (label.names.index(name) if name in label.names else -1)
        rows.append(mine)
    return Levels(gates=tuple(gates), counted=counted, rows=tuple(rows), left_out=left_out)


def spelled_out(
    gates: Sequence[Gate], prepared: Prepared, *, warm_up_ms: int = 0, drain_ms: int = 0
) -> tuple[Gate, ...]:
    """The levels with one for each name where `*` stands.

    Raises `InputError` where warm-up and drain leave no job, and for a name that no job that counts has.
    """
    names = _subjects(prepared, warm_up_ms, drain_ms).names()
    found, problems = [], []
    for gate in gates:
        try:
            selectors = expand(gate.selector, names)
        except ValueError as error:
            problems.append(f"level {gate.text!r}: {error}")
            continue
        tail = gate.text.removeprefix(str(gate.selector))
        found += [replace(gate, selector=each, text=f"{each}{tail}") for each in selectors]
    if problems:
        raise InputError("\n".join(problems))
    return tuple(found)


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


def _value(gate: Gate, run: Run, rows: Mask) -> float:
    what: Quantity = gate.selector.quantity
    never = math.inf if gate.worse > 0 else -math.inf
    per_job = what.per_job
    if per_job is None:
        value = what.metric.of(Sample(run, rows))
        return never if value is None else value
    values = per_job.values(run)[rows]
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
