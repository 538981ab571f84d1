"""When which job held which devices: one row for each start, from the timeline. What Gantt pictures and traces are drawn from."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.timeline import RELEASES, Columns, Happened

STILL_RUNS: Final = -1
"""How a stretch ended that did not end before the run did."""


class Stretches(NamedTuple):
    """One row for each time that a job ran, in the order of the starts."""

    entry: NDArray[np.int64]
    """Row of the START in the timeline: its shares are those of this stretch."""
    job: NDArray[np.int32]
    start_ms: NDArray[np.int64]
    end_ms: NDArray[np.int64]
    """When it finished, was killed or preempted; the end of the run for those that still ran."""
    ended: NDArray[np.int8]
    """How: a member of `Happened`, or `STILL_RUNS`."""


def stretches(timeline: Columns, end_ms: int) -> Stretches:
    """All stretches of a run that ended at `end_ms`."""
    matters = (timeline.happened == Happened.START) | np.isin(timeline.happened, RELEASES)
    rows = np.flatnonzero(matters)
    order = rows[np.argsort(timeline.job[rows], kind="stable")]
    starts = np.flatnonzero(timeline.happened[order] == Happened.START)
    ends = np.full(len(starts), end_ms, dtype=np.int64)
    ended = np.full(len(starts), STILL_RUNS, dtype=np.int8)
    behind = starts + 1
    closed = behind < len(order)
    closed[closed] = timeline.job[order[behind[closed]]] == timeline.job[order[starts[closed]]]
    ends[closed] = timeline.at_ms[order[behind[closed]]]
    ended[closed] = timeline.happened[order[behind[closed]]]
    entry = order[starts]
    back = np.argsort(entry, kind="stable")
    entry = entry[back]
    return Stretches(entry, timeline.job[entry], timeline.at_ms[entry], ends[back], ended[back])
