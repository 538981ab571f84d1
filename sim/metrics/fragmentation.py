"""Fragmentation over time and the fill curve, computed from the timeline and never from live state.

Fragmented milli-devices of the fleet are the sum of F over its servers, F as in `policies.placement.fragmentation`;
lower is better. Only the servers that an entry changes are measured anew, all of them in columns, so that a replay
of a million jobs costs seconds. Assumes that no server comes, goes or breaks during the run, and that a running job
keeps its placement.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import chain
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.api import DEVICE_MILLI
from policies.nodes import UNLIMITED
from policies.placement.fragmentation import UNIT, Fragmentation, PodKind, TypicalPod, typical_of
from policies.topology import Topology
from sim.timeline import RELEASES, Columns, Happened
from traces.job import JobRecord

CHUNK: Final = 1 << 14
"""Changes that are measured at once: their arrays stay in the processor's cache."""

Ints = NDArray[np.int64]


class FillCurve(NamedTuple):
    """One entry for each pod that arrived, dropped ones too; cumulative, after the pod."""

    arrived_gpu_milli: Ints
    allocated_gpu_milli: Ints
    fragmented_gpu_milli: NDArray[np.float64]


class FragmentationOverTime(NamedTuple):
    """What was fragmented from `at_ms` until the next entry; the first entry is the start of the timeline."""

    at_ms: Ints
    fragmented_gpu_milli: NDArray[np.float64]


def fill_curve(
    records: Sequence[JobRecord], timeline: Columns, topology: Topology, mix: Sequence[TypicalPod] | None = None
) -> FillCurve:
    """The curve of a static fill. Without a `mix` the trace's own is taken."""
    if not len(timeline.at_ms):
        return FillCurve(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), np.zeros(0))
    demand = _demand(records)
    started = np.where(timeline.happened == Happened.START, demand[timeline.job], 0)
    fragmented = _after_each_entry(records, timeline, topology, mix)
    arrivals = np.flatnonzero(timeline.happened == Happened.ARRIVE)
    last = np.append(arrivals[1:], len(timeline.at_ms)) - 1
    return FillCurve(
        arrived_gpu_milli=np.cumsum(demand[timeline.job[arrivals]]),
        allocated_gpu_milli=np.cumsum(started)[last],
        fragmented_gpu_milli=fragmented[last],
    )


def fragmentation_over_time(
    records: Sequence[JobRecord], timeline: Columns, topology: Topology, mix: Sequence[TypicalPod] | None = None
) -> FragmentationOverTime:
    """One entry for each instant in which it moved. Without a `mix` the trace's own is taken."""
    if not len(timeline.at_ms):
        return FragmentationOverTime(np.zeros(0, dtype=np.int64), np.zeros(0))
    fragmented = _after_each_entry(records, timeline, topology, mix)
    shown = np.flatnonzero(np.append(timeline.at_ms[1:] != timeline.at_ms[:-1], [True]))
    values = fragmented[shown]
    moved = np.append([True], values[1:] != values[:-1])
    return FragmentationOverTime(timeline.at_ms[shown][moved], values[moved])


def mean_over_time(course: FragmentationOverTime, end_ms: int) -> float | None:
    """Fragmented milli-devices, mean over the time from the first entry to `end_ms`; None where no time passed."""
    if not len(course.at_ms) or end_ms <= course.at_ms[0]:
        return None
    spans = np.diff(np.append(course.at_ms, end_ms))
    return float(spans @ course.fragmented_gpu_milli / spans.sum())


def own_mix(records: Sequence[JobRecord], topology: Topology) -> tuple[TypicalPod, ...]:
    """The commonest pods of a trace. A job that gives only a total is cut into as few servers as it takes."""
    shapes = Counter((job.gpu_count, job.gpu_milli, job.pods, job.cpu_milli, job.accelerators) for job in records)
    kinds: Counter[PodKind] = Counter()
    for (devices, milli, pods, cpu, accelerators), jobs in shapes.items():
        models = "|".join(accelerators)
        for count, each in _cut(devices, pods, topology.widest):
            part = -(-cpu * each // devices) if devices else -(-cpu // count)
            kinds[PodKind(part, milli if each else 0, each, models)] += jobs * count
    return typical_of(kinds)


def _cut(devices: int, pods: int | None, widest: int) -> list[tuple[int, int]]:
    """(pods, devices of each)."""
    if pods is not None:
        return [(pods, devices // pods)]
    if devices <= max(widest, 1):
        return [(1, devices)]
    whole, rest = divmod(devices, max(widest, 1))
    return [(whole, max(widest, 1))] + [(1, rest)] * (rest > 0)


def _demand(records: Sequence[JobRecord]) -> Ints:
    return np.fromiter((job.gpu_count * job.gpu_milli for job in records), dtype=np.int64, count=len(records))


def _after_each_entry(
    records: Sequence[JobRecord], timeline: Columns, topology: Topology, mix: Sequence[TypicalPod] | None
) -> NDArray[np.float64]:
    """Fragmented milli-devices of the fleet after each entry of the timeline."""
    measure = Fragmentation(own_mix(records, topology) if mix is None else mix, topology)
    empty = _empty_fleet(topology)
    at_first = measure.of(*empty, np.arange(len(topology)))
    moves = _gains(_Changes(records, timeline), measure, empty, at_first)
    moves[:1] += at_first.sum()
    after: NDArray[np.float64] = np.cumsum(moves, out=moves) / UNIT
    return after


class _Fleet(NamedTuple):
    left_milli: Ints
    cpu_milli: Ints


def _empty_fleet(topology: Topology) -> _Fleet:
    devices = np.array([node.devices for node in topology.nodes], dtype=np.int64)
    exists = np.arange(max(topology.widest, 1)) < devices[:, None]
    cpu = [UNLIMITED if node.cpu_milli is None else node.cpu_milli for node in topology.nodes]
    return _Fleet(np.where(exists, DEVICE_MILLI, 0), np.array(cpu, dtype=np.int64))


class _Part(NamedTuple):
    """Some changes, one entry a share."""

    entry: NDArray[np.int32]
    server: Ints
    devices: NDArray[np.uint64]
    milli: Ints
    """Of each device; negative where it is taken."""
    cpu_milli: Ints
    """Negative where it is taken."""


class _Changes:
    """What shares take from servers and give back, by server and then in order of time; read part by part."""

    def __init__(self, records: Sequence[JobRecord], timeline: Columns) -> None:
        self._timeline = timeline
        self.entries = len(timeline.at_ms)
        """Of the timeline, those that change nothing too."""
        entries, starts = _with_their_starts(timeline)
        first = timeline.share_start[starts]
        counts = timeline.share_start[starts + 1] - first
        share = np.repeat((first - (np.cumsum(counts) - counts)).astype(np.int32), counts)
        share += np.arange(len(share), dtype=np.int32)
        by_server = np.argsort(timeline.share_node[share], kind="stable")
        self._entry = np.repeat(entries.astype(np.int32), counts)[by_server]
        self._share = share[by_server]
        self._milli = np.fromiter((job.gpu_milli for job in records), dtype=np.int64, count=len(records))
        limits = ((job.cpu_milli, job.gpu_count, job.pods or 1) for job in records)
        self._cpu = np.fromiter(chain.from_iterable(limits), dtype=np.int64, count=3 * len(records)).reshape(-1, 3)

    def __len__(self) -> int:
        return len(self._entry)

    def part(self, begin: int, end: int) -> _Part:
        """The changes from `begin` to before `end`."""
        line, entry, share = self._timeline, self._entry[begin:end], self._share[begin:end]
        sign = np.where(line.happened[entry] == Happened.START, -1, 1)
        job = line.job[entry]
        return _Part(
            entry=entry,
            server=line.share_node[share].astype(np.int64),
            devices=line.share_devices[share],
            milli=sign * self._milli[job],
            cpu_milli=sign * _cpu_of_shares(self._cpu[job], line.share_devices[share], line.share_pods[share]),
        )


def _with_their_starts(timeline: Columns) -> tuple[Ints, Ints]:
    """The entries that take or give back, in order, and for each the entry of the start whose placement that is."""
    kinds = (Happened.START, *RELEASES)
    entries = np.flatnonzero(np.isin(timeline.happened, kinds))
    by_job = np.argsort(timeline.job[entries], kind="stable")
    own = entries[by_job]
    takes = timeline.happened[own] == Happened.START
    own_starts = np.where(takes, own, np.append(own[:1], own[:-1]))
    is_its_start = timeline.happened[own_starts] == Happened.START
    is_its_start &= timeline.job[own_starts] == timeline.job[own]
    if not is_its_start.all():
        raise ValueError("the timeline contradicts itself: a job gives back what it did not take")
    starts = np.empty_like(entries)
    starts[by_job] = own_starts
    return entries, starts


def _cpu_of_shares(jobs: Ints, devices: NDArray[np.uint64], pods: NDArray[np.int32]) -> Ints:
    """What each share's pods take of the CPU of their server: by their devices, rounded up for each pod.

    `jobs`, shape (n, 3), has the CPU, the devices and the pods of the whole job.
    """
    cpu, devices_in_all, pods_in_all = jobs.T
    each = np.bitwise_count(devices).astype(np.int64) // pods
    by_device = -(-cpu * each // np.maximum(devices_in_all, 1))
    found: Ints = pods * np.where(devices_in_all > 0, by_device, -(-cpu // pods_in_all))
    return found


def _gains(changes: _Changes, measure: Fragmentation, empty: _Fleet, at_first: Ints) -> Ints:
    """By how much each entry of the timeline raises the sum of F over the servers."""
    gains = np.zeros(changes.entries, dtype=np.int64)
    last_server = -1
    left, cpu, value = empty.left_milli[:0], empty.cpu_milli[:0], at_first[:0]
    for begin in range(0, len(changes), CHUNK):
        part = changes.part(begin, begin + CHUNK)
        servers = part.server
        # the state before the first change of each server in this part: empty, or where the last part left it
        heads = np.flatnonzero(np.append([True], servers[1:] != servers[:-1]))
        base = _Fleet(empty.left_milli[servers[heads]], empty.cpu_milli[servers[heads]])
        before = at_first[servers[heads]]
        if servers[0] == last_server:
            base.left_milli[0], base.cpu_milli[0], before[0] = left[-1], cpu[-1], value[-1]
        left = _running(_device_changes(part, base.left_milli.shape[1]), base.left_milli, heads)
        cpu = _running(part.cpu_milli, base.cpu_milli, heads)
        value = measure.of(left, cpu, servers)
        previous = np.append(value[:1], value[:-1])
        previous[heads] = before
        np.add.at(gains, part.entry, value - previous)
        last_server = int(servers[-1])
    return gains


def _device_changes(part: _Part, width: int) -> Ints:
    """Shape (n, D): how much of each device comes back, negative where it is taken."""
    bits = part.devices[:, None] >> np.arange(width, dtype=np.uint64) & np.uint64(1)
    found: Ints = bits.astype(np.int64) * part.milli[:, None]
    return found


def _running(steps: Ints, base: Ints, heads: Ints) -> Ints:
    """Running sums of `steps` that begin anew from `base` at each of `heads`."""
    sums = np.cumsum(steps, axis=0)
    behind = sums[heads] - steps[heads]
    lengths = np.diff(np.append(heads, len(steps)))
    found: Ints = sums + np.repeat(base - behind, lengths, axis=0)
    return found
