"""Who held devices when: the stretches of a timeline as columns, and how they overlap with given times."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from policies.topology import Topology
from policies.values import NodeSet
from sim.causes.kinds import Integers
from sim.timeline import RELEASES, Columns, Happened

_HOLDING: Final = (Happened.START, *RELEASES)


class Holding(NamedTuple):
    """Each time from a start to a release, job by job, in order."""

    row: Integers
    entry: Integers
    """The entry of the start in the timeline."""
    from_ms: Integers
    until_ms: Integers
    how: Integers
    """What ended it, as `Happened`; -1 where it still held its devices when the run ended."""
    is_first: Integers
    """1 for the first of its job."""


def holding_of(line: Columns, end_ms: int) -> Holding:
    """All stretches of a timeline that ends at `end_ms`."""
    entries = np.flatnonzero(np.isin(line.happened, _HOLDING))
    own = entries[np.argsort(line.job[entries], kind="stable")]
    row = line.job[own].astype(np.int64)
    starts = np.flatnonzero(line.happened[own] == Happened.START)
    behind = np.minimum(starts + 1, len(own) - 1)
    released = (row[behind] == row[starts]) & (behind > starts)
    return Holding(
        row=row[starts],
        entry=own[starts],
        from_ms=line.at_ms[own[starts]],
        until_ms=np.where(released, line.at_ms[own[behind]], end_ms),
        how=np.where(released, line.happened[own[behind]], -1).astype(np.int64),
        is_first=(np.diff(row, prepend=-1) != 0)[starts].astype(np.int64),
    )


def milli_inside(line: Columns, entry: Integers, gpu_milli: Integers, topology: Topology, nodes: NodeSet) -> Integers:
    """Milli-devices on the servers of `nodes` that the start at each of `entry` takes; `gpu_milli` of each of its devices."""
    inside = topology.as_array(nodes)[line.share_node]
    devices = np.where(inside, np.bitwise_count(line.share_devices), 0).astype(np.int64)
    sums = np.concatenate(([0], np.cumsum(devices)))
    found: Integers = (sums[line.share_start[entry + 1]] - sums[line.share_start[entry]]) * gpu_milli
    return found


def overlap(from_ms: Integers, until_ms: Integers, times: list[tuple[int, int]]) -> Integers:
    """How much of each stretch falls into `times`, which are in order and do not overlap."""
    if not times:
        return np.zeros(len(from_ms), dtype=np.int64)
    begin, end = np.array(times, dtype=np.int64).T
    before = np.concatenate(([0], np.cumsum(end - begin)))

    def until(at_ms: Integers) -> Integers:
        place = np.searchsorted(begin, at_ms, side="right")
        last = np.maximum(place - 1, 0)
        cut = np.where(place > 0, np.maximum(end[last] - np.maximum(at_ms, begin[last]), 0), 0)
        found: Integers = before[place] - cut
        return found

    return until(until_ms) - until(from_ms)
