"""Everything that a page shows besides words: computed once, drawn from, and written beside the page as Parquet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from sim.experiment.comparison import Comparison
from sim.report.curves import Floats, Mask, OverTime, Waits, over_time, time_edges, wait_grid, waits
from sim.report.heat import COLUMNS, Rows, heat, rows_of
from sim.report.movers import Mover, Phase, movers, phases, rows_drawn
from sim.results import Run

FILL_POINTS: Final = 600

LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Told(NamedTuple):
    """Jobs of a policy whose story is drawn: under the baseline and under the policy."""

    mover: Mover
    before: list[Phase]
    now: list[Phase]


class Filled(NamedTuple):
    """A static fill: parts of the capacity, after so much has arrived."""

    arrived: Floats
    allocated: Floats
    fragmented: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """By policy, the baseline first. Empty where a thing means nothing: a fill has no clock, a single run no movers."""

    comparison: Comparison
    counted: Mask
    """The jobs of the trace that are measured: not those of the warm-up and the drain."""
    waits: dict[str, Waits]
    edges: Floats
    """Ends of the intervals of `over_time`."""
    over_time: dict[str, OverTime]
    rows: Rows | None
    """None where no run says what servers there are."""
    heat_edges: Floats
    heat: dict[str, Floats]
    movers: dict[str, list[Mover]]
    stories: dict[str, list[Told]]
    fill: dict[str, Filled]

    @property
    def names(self) -> list[str]:
        """The policies, the baseline first."""
        return self.comparison.names

    def letter(self, policy: str) -> str:
        """The letter by which pictures name a policy: A is the baseline."""
        number = self.names.index(policy)
        return LETTERS[number] if number < len(LETTERS) else str(number + 1)

    def series(self, policy: str) -> int:
        """The number of its colour and line style."""
        return self.names.index(policy)


def counted_jobs(comparison: Comparison) -> Mask:
    """The jobs of the first trace that the figures are of."""
    submit_ms = comparison.runs[comparison.baseline].jobs.submit_ms
    evidence = comparison.paired.evidence if comparison.paired is not None else None
    if evidence is None or not len(submit_ms):
        return np.ones(len(submit_ms), dtype=bool)
    first, last = submit_ms.min() + evidence.warm_up_ms, submit_ms.max() - evidence.drain_ms
    found: Mask = (submit_ms >= first) & (submit_ms <= last)
    return found


def shown(comparison: Comparison) -> Shown:
    """Compute it."""
    counted = counted_jobs(comparison)
    runs = comparison.runs
    is_fill = runs[comparison.baseline].is_fill
    timed = {} if is_fill else runs
    grid = wait_grid(list(timed.values()), counted)
    edges = time_edges(list(timed.values()))
    if not len(edges):
        timed = {}
    rows = _rows(comparison)
    heat_edges = np.linspace(edges[0], edges[-1], COLUMNS + 1) if len(edges) else edges
    found = (
        {}
        if is_fill
        else {name: movers(runs[name], runs[comparison.baseline], counted) for name in comparison.others}
    )
    return Shown(
        comparison=comparison,
        counted=counted,
        waits={} if is_fill else {name: waits(run, counted, grid) for name, run in runs.items()},
        edges=edges,
        over_time={name: over_time(run, edges) for name, run in timed.items()},
        rows=rows,
        heat_edges=heat_edges,
        heat={} if rows is None else {name: heat(run, rows, heat_edges) for name, run in timed.items()},
        movers=found,
        stories={name: _stories(runs[name], runs[comparison.baseline], each) for name, each in found.items()},
        fill={name: _filled(run) for name, run in runs.items() if run.fill is not None},
    )


def _rows(comparison: Comparison) -> Rows | None:
    """From any run: all are of the same fleet, and one that an older version wrote may not say."""
    for run in comparison.runs.values():
        if run.servers is not None and int(run.servers.devices.sum()) and not run.is_fill:
            return rows_of(run.servers, run.levels)
    return None


def _stories(run: Run, base: Run, found: list[Mover]) -> list[Told]:
    drawn = rows_drawn(found)
    rows = [each.row for each in drawn]
    before, now = phases(base, rows), phases(run, rows)
    return [Told(each, before[each.row], now[each.row]) for each in drawn]


def _filled(run: Run) -> Filled:
    assert run.fill is not None, "asked for fills only"
    count = len(run.fill.arrived_gpu_milli)
    keep = np.unique(np.linspace(0, count - 1, min(count, FILL_POINTS)).astype(np.int64)) if count else np.arange(0)
    capacity = max(run.capacity_milli, 1)
    return Filled(
        run.fill.arrived_gpu_milli[keep] / capacity,
        run.fill.allocated_gpu_milli[keep] / capacity,
        run.fill.fragmented_gpu_milli[keep] / capacity,
    )
