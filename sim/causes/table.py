"""What each job waited for: the result of the replay, job by job, as columns and as intervals."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from policies.api import QueueView, Request
from policies.framework.points import Admission
from policies.topology import Topology
from sim.causes.cause import CAUSES, Cause
from sim.causes.columns import CauseColumns
from sim.causes.holding import holding_of
from sim.causes.kinds import History, Integers
from sim.causes.replay import CauseReplay, Replayed, Stretches
from sim.rules import Rules
from sim.timeline import Columns
from traces.job import JobRecord

ORDER, CYCLE = int(Cause.ORDER), int(Cause.CYCLE)


class Interval(NamedTuple):
    """Some of a job's waiting, under one cause."""

    from_ms: int
    until_ms: int
    cause: Cause
    again: bool
    """True for waiting after a preemption."""


class WaitCauses:
    """Why each job of one run waited. Sums are exact: the causes of a job add up to its waiting, to the millisecond."""

    def __init__(self, replayed: Replayed, jobs: int, startup_ms: Integers | None) -> None:
        self._replayed = replayed
        self._histories: dict[int, History] = {}
        first = np.zeros((len(CAUSES), jobs), dtype=np.int64)
        again = np.zeros((len(CAUSES), jobs), dtype=np.int64)
        waits = replayed.stretches
        by_kind = np.argsort(replayed.kind_of[waits.row], kind="stable")
        kinds = replayed.kind_of[waits.row[by_kind]]
        bounds = [*np.flatnonzero(np.diff(kinds, prepend=-1)).tolist(), len(kinds)]
        for begin, end in itertools.pairwise(bounds):
            stretches = by_kind[begin:end]
            sums = self._by_cause(int(kinds[begin]), waits.from_ms[stretches], waits.until_ms[stretches])
            for target, of in ((first, 0), (again, 1)):
                chosen = waits.again[stretches] == of
                np.add.at(target.T, waits.row[stretches[chosen]], sums[:, chosen].T)
        self.columns = CauseColumns(first, again, startup_ms)

    @property
    def stretches(self) -> Stretches:
        """The times in which jobs waited, those of no length left out."""
        return self._replayed.stretches

    def request_of(self, row: int) -> Request:
        """What the job in a row asks for, cut into pods."""
        return self._replayed.kinds[int(self._replayed.kind_of[row])].request

    def _history(self, kind: int) -> History:
        known = self._histories.get(kind)
        if known is None:
            known = self._histories[kind] = self._replayed.kinds[kind].history()
        return known

    def _by_cause(self, kind: int, from_ms: Integers, until_ms: Integers) -> Integers:
        """Time of stretches of one kind under each cause, shape (causes, n)."""
        history, passes = self._history(kind), self._replayed.passes
        at_first = history.until(from_ms)
        found = history.until(until_ms) - at_first
        if not passes.always:
            # what counts as order for the kind is no order yet for a job that no pass has seen
            seen = np.minimum(passes.first_from(from_ms), until_ms)
            unseen = history.until(seen)[ORDER] - at_first[ORDER]
            found[ORDER] -= unseen
            found[CYCLE] += unseen
        return found

    def intervals(self, row: int) -> list[Interval]:
        """The waiting of one job in order; neighbours differ in cause, or are divided by a run."""
        waits = self._replayed.stretches
        kind = int(self._replayed.kind_of[row])
        found: list[Interval] = []
        for number in np.flatnonzero(waits.row == row).tolist():
            found += self._parts(
                kind, int(waits.from_ms[number]), int(waits.until_ms[number]), bool(waits.again[number])
            )
        return found

    def _parts(self, kind: int, from_ms: int, until_ms: int, again: bool) -> list[Interval]:
        history = self._history(kind)
        seen_ms = int(self._replayed.passes.first_from(np.array([from_ms]))[0])
        inside = history.at_ms[(history.at_ms > from_ms) & (history.at_ms < until_ms)].tolist()
        cuts = sorted({from_ms, until_ms, *inside, *([seen_ms] if from_ms < seen_ms < until_ms else [])})
        parts: list[Interval] = []
        for begin, end in itertools.pairwise(cuts):
            step = int(np.searchsorted(history.at_ms, begin, side="right")) - 1
            cause = Cause(int(history.causes[step]))
            if cause is Cause.ORDER and begin < seen_ms:
                cause = Cause.CYCLE
            if parts and parts[-1].cause is cause:
                parts[-1] = parts[-1]._replace(until_ms=end)
            else:
                parts.append(Interval(begin, end, cause, again))
        return parts


def causes_of(
    records: Sequence[JobRecord],
    timeline: Columns,
    topology: Topology,
    *,
    rules: Rules,
    end_ms: int,
    queues: Mapping[str, QueueView] | None = None,
    admission: Admission | None = None,
) -> WaitCauses:
    """Why each job waited in a finished run, or in one that was stopped at `end_ms`.

    `admission` is the rule by which the run kept entitlements, None where it kept none. Raises ValueError for a static fill.
    """
    if rules.fill:
        raise ValueError("a static fill has no clock: nothing waits")
    replayed = CauseReplay(records, topology, rules, queues or {}, admission).run(timeline, end_ms)
    startup_ms = None if rules.thinking == "measured" else startup(timeline, len(records), rules, end_ms)
    return WaitCauses(replayed, len(records), startup_ms)


def startup(line: Columns, jobs: int, rules: Rules, end_ms: int) -> Integers:
    """What each job paid on its devices before it worked: for each start the thinking, for each but the first a restart."""
    held = holding_of(line, end_ms)
    costs = rules.thinking_ms + np.where(held.is_first == 1, 0, rules.restart_ms)
    found = np.zeros(jobs, dtype=np.int64)
    np.add.at(found, held.row, np.minimum(costs, held.until_ms - held.from_ms))
    return found
