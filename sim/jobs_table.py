"""One row for each record of a trace: what became of the job. Computed from the timeline alone, column by column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from policies.topology import Topology
from sim.engine import Outcome
from sim.timeline import RELEASES, Columns, Happened
from traces.job import DEVICE_MILLI, JobRecord

Integers = NDArray[np.int64]

STATES: Final = ("finished", "killed", "rejected", "dropped", "waiting", "running", "withdrawn")
"""Every job is in one of these at the end. `waiting` and `running` only where the run stopped early, or in a fill.
`withdrawn` is what waited when its lifetime was over; what ran then is `finished`."""

FINISHED, KILLED, REJECTED, DROPPED, WAITING, RUNNING, WITHDRAWN = range(len(STATES))

ABSENT: Final = -(1 << 62)
"""Stands for "no value" inside an integer column; becomes null in files. Compare with it, never calculate with it."""

_STATE_AFTER: Final = {
    Happened.FINISH: FINISHED,
    Happened.KILL: KILLED,
    Happened.REJECT: REJECTED,
    Happened.DROP: DROPPED,
    Happened.EXPIRE: FINISHED,
    Happened.WITHDRAW: WITHDRAWN,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsTable:
    """Columns of equal length, in the order of the trace file. Times are ms, shares are milli-devices."""

    submit_ms: Integers
    work_ms: Integers
    """The run time of the trace: how long the job takes at full speed."""
    demand_milli: Integers
    state: NDArray[np.int8]
    """Index into `STATES`."""
    first_start_ms: Integers
    end_ms: Integers
    """When it finished or was killed; `ABSENT` otherwise."""
    held_ms: Integers
    """How long it held its devices, over all its stretches, until the end of the run."""
    preemptions: Integers
    nodes: Integers
    """Servers of the last placement; `ABSENT` if it never started."""
    deadline_ms: Integers
    """The longest completion time that is in time; `ABSENT` without one, and in the directory of an older version."""
    span: Integers
    """How wide the last placement was: 0 one server, 1 one domain of the narrowest level, ..., the fleet."""
    text: Callable[[str], Any]
    """Name of a column of texts -> `pyarrow.Array` (job_id, user, queue, family, service, reason, accelerator)."""

    def __len__(self) -> int:
        return len(self.submit_ms)

    @property
    def started(self) -> NDArray[np.bool_]:
        """The jobs that started at least once."""
        return np.not_equal(self.first_start_ms, ABSENT)

    @property
    def ended(self) -> NDArray[np.bool_]:
        """The jobs that finished or were killed."""
        return np.not_equal(self.end_ms, ABSENT)

    @property
    def wait_ms(self) -> Integers:
        """First start - submit; `ABSENT` for those that never started."""
        return np.where(self.started, self.first_start_ms - self.submit_ms, ABSENT)

    @property
    def completion_ms(self) -> Integers:
        """End - submit; `ABSENT` for those that did not end."""
        return np.where(self.ended, self.end_ms - self.submit_ms, ABSENT)

    @property
    def run_ms(self) -> Integers:
        """Time on devices; `ABSENT` for those that did not end."""
        return np.where(self.ended, self.held_ms, ABSENT)

    def groups(self, name: str) -> tuple[NDArray[np.int64], list[str]]:
        """Each job's group by a column of texts, and the groups' names, sorted; a job without one is in `-`."""
        column = self.text(name).fill_null("-").dictionary_encode()
        names = column.dictionary.to_pylist()
        order = sorted(range(len(names)), key=lambda i: names[i])
        rank = np.empty(len(names), dtype=np.int64)
        rank[order] = np.arange(len(names))
        codes = column.indices.to_numpy(zero_copy_only=False)
        return rank[codes], sorted(names)

    def held_milli_ms(self) -> int:
        """Milli-device-milliseconds of all jobs, exact."""
        return exact_dot(self.held_ms, self.demand_milli)


def jobs_table(outcome: Outcome, topology: Topology, *, fill: bool = False) -> JobsTable:
    """The table of one replay. In a static fill, which has no clock, a job starts when it is submitted."""
    line, records = outcome.timeline, outcome.records
    count = len(records)
    submit_ms = _integers(records, "submit_ms")
    starts = np.flatnonzero(line.happened == Happened.START)
    first_start_ms = np.full(count, ABSENT, dtype=np.int64)
    rows = line.job[starts]
    # because: where a row repeats, the last assignment stays, so the reverse order keeps the first
    first_start_ms[rows[::-1]] = line.at_ms[starts[::-1]]
    last_start = np.full(count, ABSENT, dtype=np.int64)
    last_start[rows] = starts
    if fill:
        first_start_ms = np.where(first_start_ms == ABSENT, ABSENT, submit_ms)
    state, end_ms = _ends(line, count, last_start)
    nodes, span = _widths(line, last_start, topology)
    return JobsTable(
        submit_ms=submit_ms,
        work_ms=_integers(records, "run_ms"),
        demand_milli=_integers(records, "gpu_count") * _integers(records, "gpu_milli"),
        state=state,
        first_start_ms=first_start_ms,
        end_ms=end_ms,
        held_ms=_held(line, starts, state, outcome.end_ms),
        preemptions=np.bincount(line.job[line.happened == Happened.PREEMPT], minlength=count).astype(np.int64),
        nodes=nodes,
        deadline_ms=deadlines_of(records),
        span=span,
        text=_texts(outcome, topology, state, last_start),
    )


def deadlines_of(records: Sequence[JobRecord]) -> Integers:
    """The column `deadline_ms` of these jobs."""
    values = (ABSENT if job.deadline_ms is None else job.deadline_ms for job in records)
    return np.fromiter(values, dtype=np.int64, count=len(records))


def span_names(levels: Sequence[str]) -> tuple[str, ...]:
    """The names of the widths of a placement, narrow to wide."""
    return ("server", *levels, "fleet")


def exact_dot(left: Integers, right: Integers) -> int:
    """The sum of products as a Python integer, without overflow."""
    if float(np.dot(left.astype(np.float64), right.astype(np.float64))) < 2.0**62:
        return int(np.dot(left, right))
    return sum(a * b for a, b in zip(left.tolist(), right.tolist(), strict=True))


def _integers(records: Sequence[JobRecord], name: str) -> Integers:
    return np.fromiter(map(attrgetter(name), records), dtype=np.int64, count=len(records))


def _ends(line: Columns, count: int, last_start: Integers) -> tuple[NDArray[np.int8], Integers]:
    state = np.where(last_start == ABSENT, WAITING, RUNNING).astype(np.int8)
    preempted = np.flatnonzero(line.happened == Happened.PREEMPT)
    state[line.job[preempted][last_start[line.job[preempted]] < preempted]] = WAITING
    end_ms = np.full(count, ABSENT, dtype=np.int64)
    for happened, after in _STATE_AFTER.items():
        entries = np.flatnonzero(line.happened == happened)
        state[line.job[entries]] = after
        if after in {FINISHED, KILLED}:
            end_ms[line.job[entries]] = line.at_ms[entries]
    return state, end_ms


def _held(line: Columns, starts: Integers, state: NDArray[np.int8], end_ms: int) -> Integers:
    """Releases minus starts, job by job; what still runs is released at the end."""
    held = np.where(state == RUNNING, end_ms, 0).astype(np.int64)
    releases = np.flatnonzero(np.isin(line.happened, RELEASES))
    np.add.at(held, line.job[releases], line.at_ms[releases])
    np.subtract.at(held, line.job[starts], line.at_ms[starts])
    return held


def _widths(line: Columns, last_start: Integers, topology: Topology) -> tuple[Integers, Integers]:
    """Distinct servers and width of each job's last placement."""
    rows = np.flatnonzero(last_start != ABSENT)
    entries = last_start[rows]
    lengths = line.share_start[entries + 1] - line.share_start[entries]
    nodes = np.full(len(last_start), ABSENT, dtype=np.int64)
    span = np.full(len(last_start), ABSENT, dtype=np.int64)
    nodes[rows], span[rows] = 1, 0
    several = np.flatnonzero(lengths > 1)
    if len(several):
        rows, lengths = rows[several], lengths[several]
        owner = np.repeat(np.arange(len(rows)), lengths)
        first = np.concatenate(([0], np.cumsum(lengths)[:-1]))
        share = np.arange(len(owner)) - first[owner] + line.share_start[entries[several]][owner]
        node = line.share_node[share].astype(np.int64)
        nodes[rows] = _distinct(owner, node, lengths)
        width = np.full(len(rows), len(topology.levels) + 1, dtype=np.int64)
        for level in range(len(topology.levels) - 1, -1, -1):
            domain = np.asarray(topology.domain_of[level], dtype=np.int64)[node]
            width[np.minimum.reduceat(domain, first) == np.maximum.reduceat(domain, first)] = level + 1
        width[nodes[rows] == 1] = 0
        span[rows] = width
    return nodes, span


def _distinct(owner: Integers, node: Integers, lengths: Integers) -> Integers:
    """Distinct servers of each owner. Only the placements whose servers do not ascend are sorted."""
    descends = np.zeros(len(lengths), dtype=bool)
    descends[owner[1:][(owner[1:] == owner[:-1]) & (node[1:] <= node[:-1])]] = True
    counts = lengths.copy()
    if descends.any():
        doubtful = descends[owner]
        owner, node = owner[doubtful], node[doubtful]
        order = np.lexsort((node, owner))
        owner, node = owner[order], node[order]
        new = np.append([True], (owner[1:] != owner[:-1]) | (node[1:] != node[:-1]))
        counts[descends] = np.bincount(owner[new], minlength=len(lengths))[descends]
    return counts


def _texts(
    outcome: Outcome, topology: Topology, state: NDArray[np.int8], last_start: Integers
) -> Callable[[str], Any]:
    records = outcome.records

    @cache  # because: fingerprint, metrics and files ask for the same columns
    def text(name: str) -> Any:
        if name == "reason":
            return pa.array(_reasons(outcome, state), type=pa.string())
        if name == "accelerator":
            return _accelerators(outcome.timeline, topology, last_start)
        return pa.array(map(attrgetter(name), records), type=pa.string(), size=len(records))

    return text


def _reasons(outcome: Outcome, state: NDArray[np.int8]) -> list[str | None]:
    reasons: list[str | None] = [None] * len(state)
    for row in np.flatnonzero(state != FINISHED).tolist():
        reasons[row] = REASONS.get(int(state[row]), "")
    arrived = np.zeros(len(state), dtype=bool)
    arrived[outcome.timeline.job] = True
    for row in np.flatnonzero(~arrived).tolist():
        reasons[row] = "the run stopped before it was submitted"
    for row, reason in outcome.rejections.items():
        reasons[row] = reason
    return reasons


REASONS: Final = {
    KILLED: "it outran its estimate",
    DROPPED: "static fill: it fitted nowhere when it arrived",
    WAITING: "the run stopped while it waited",
    RUNNING: "it held its devices when the run ended",
    WITHDRAWN: "its lifetime was over while it waited",
}
"""Why a job is in a state, where nothing else says so."""


def _accelerators(line: Columns, topology: Topology, last_start: Integers) -> Any:
    """The model of the first server of each last placement."""
    names = sorted({name for name in topology.accelerator_of if name is not None})
    code = {name: number for number, name in enumerate(names)}
    of_node = np.array([-1 if name is None else code[name] for name in topology.accelerator_of], dtype=np.int32)
    placed = np.flatnonzero(last_start != ABSENT)
    codes = np.full(len(last_start), -1, dtype=np.int32)
    codes[placed] = of_node[line.share_node[line.share_start[last_start[placed]]]]
    indices = pa.array(codes, mask=codes < 0)
    return pa.DictionaryArray.from_arrays(indices, pa.array(names, type=pa.string())).cast(pa.string())


def records_arrow(records: Sequence[JobRecord]) -> dict[str, Any]:
    """The columns of a run's table that only say again what the trace says."""
    integer = pa.int64()
    columns = {
        name: pa.array(map(attrgetter(name), records), type=integer, size=len(records))
        for name in ("gpu_count", "gpu_milli", "pods", "priority", "estimate_ms", "recorded_start_ms")
    }
    columns["outcome"] = pa.array(map(attrgetter("outcome"), records), type=pa.string(), size=len(records))
    return columns


def jobs_arrow(jobs: JobsTable, levels: Sequence[str]) -> Any:
    """The table as a `pyarrow.Table`: absent is null, states and widths are words."""
    columns = {
        "job_id": jobs.text("job_id"),
        "submit_ms": pa.array(jobs.submit_ms),
        "first_start_ms": _nullable(jobs.first_start_ms),
        "end_ms": _nullable(jobs.end_ms),
        "wait_ms": _nullable(jobs.wait_ms),
        "run_ms": _nullable(jobs.run_ms),
        "completion_ms": _nullable(jobs.completion_ms),
        "state": _words(jobs.state, STATES),
        "reason": jobs.text("reason"),
        "gpus": pa.array(jobs.demand_milli / DEVICE_MILLI),
        "demand_milli": pa.array(jobs.demand_milli),
        "user": jobs.text("user"),
        "queue": jobs.text("queue"),
        "family": jobs.text("family"),
        "service": jobs.text("service"),
        "preemptions": pa.array(jobs.preemptions),
        "nodes": _nullable(jobs.nodes),
        "span": _words(jobs.span, span_names(levels)),
        "accelerator": jobs.text("accelerator"),
        "work_ms": pa.array(jobs.work_ms),
        "held_ms": pa.array(jobs.held_ms),
        "deadline_ms": _nullable(jobs.deadline_ms),
    }
    return pa.table(columns)


def from_arrow(table: Any, levels: Sequence[str]) -> JobsTable:
    """The table that `jobs_arrow` made."""

    def integers(name: str) -> Integers:
        return np.asarray(table[name].fill_null(ABSENT).to_numpy(), dtype=np.int64)

    def integers_if_known(name: str) -> Integers:
        if name in table.column_names:
            return integers(name)
        return np.full(len(table), ABSENT, dtype=np.int64)  # because: an older version did not know it

    def codes(name: str, words: Sequence[str]) -> Integers:
        rank = {word: number for number, word in enumerate(words)}
        column = table[name].combine_chunks().cast(pa.string()).dictionary_encode()
        known = np.array([*(rank[word] for word in column.dictionary.to_pylist()), ABSENT], dtype=np.int64)
        found: Integers = known[column.indices.fill_null(len(known) - 1).to_numpy(zero_copy_only=False)]
        return found

    return JobsTable(
        submit_ms=integers("submit_ms"),
        work_ms=integers("work_ms"),
        demand_milli=integers("demand_milli"),
        state=codes("state", STATES).astype(np.int8),
        first_start_ms=integers("first_start_ms"),
        end_ms=integers("end_ms"),
        held_ms=integers("held_ms"),
        preemptions=integers("preemptions"),
        nodes=integers("nodes"),
        deadline_ms=integers_if_known("deadline_ms"),
        span=codes("span", span_names(levels)),
        text=lambda name: _texts_of(table, name),
    )


def _texts_of(table: Any, name: str) -> Any:
    if name not in table.column_names:  # because: an older version did not know it
        return pa.nulls(len(table), pa.string())
    return table[name].combine_chunks().cast(pa.string())


def _nullable(values: Integers) -> Any:
    return pa.array(values, mask=values == ABSENT)


def _words(codes: NDArray[Any], words: Sequence[str]) -> Any:
    codes = codes.astype(np.int64)
    absent = codes == ABSENT
    indices = pa.array(np.where(absent, 0, codes).astype(np.int8), mask=absent)
    return pa.DictionaryArray.from_arrays(indices, pa.array(words, type=pa.string()))
