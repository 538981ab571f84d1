"""A run as a trace that Perfetto and Chrome open: a row for each device, a slice for each job on it, counters above.

The format is the JSON form of trace events (Trace Event Format, "JSON Object Format"): `X` is a slice with `ts` and `dur` in
microseconds, `C` a counter, `M` a name. Slices of one row must not overlap, so jobs that share a device have rows of their own.
A job on many devices is a slice on each, so that what stands idle is seen; one without a device has none.
"""

from __future__ import annotations

import errno
import gzip
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from policies.bitset import bits
from sim.results import Run
from sim.stretches import STILL_RUNS, Stretches, stretches
from sim.timeline import ENDS, Happened
from traces.job import DEVICE_MILLI
from traces.whole_file import whole_file

COUNTERS: Final = 1
"""The process that holds the counters; servers follow it."""

LANES: Final = DEVICE_MILLI
"""Rows that a device can have: as many jobs may share it."""

EVENTS_MAX: Final = 3_000_000
"""About 400 MB; the pages that open traces hold little more."""

_ENDED: Final = {
    int(Happened.FINISH): "finished",
    int(Happened.KILL): "killed",
    int(Happened.PREEMPT): "preempted",
    int(Happened.EXPIRE): "expired",
    STILL_RUNS: "runs on",
}


def write_perfetto(
    run: Run, path: Path, *, servers: Sequence[str] = (), from_ms: int | None = None, to_ms: int | None = None
) -> int:
    """Write the trace, packed if the name ends in `.gz`; gives the number of its events.

    `servers` are the names of servers by number, where the run does not hold them. With `from_ms` or `to_ms`, counted from the
    first submission, only what touches that time. Raises ValueError for a static fill, which has no clock, and for a
    trace that is too large to be opened; OSError.
    """
    if run.is_fill:
        raise ValueError("a static fill has no clock, so there is nothing to draw over time")
    first = int(run.jobs.submit_ms.min()) if len(run.jobs) else 0
    begin = None if from_ms is None else first + from_ms
    end = None if to_ms is None else first + to_ms
    found = _within(stretches(run.timeline, int(run.manifest["end_ms"])), begin, end)
    expected = _slice_count(run, found) + 2 * len(_lasts(run.timeline.at_ms, begin, end))
    if expected > EVENTS_MAX:
        raise ValueError(
            f"the trace would have {expected:,} events, of which no viewer opens more than about {EVENTS_MAX:,}: give a part"
            " of the time with --from and --to"
        )
    names = list(servers) or (run.servers.name if run.servers is not None else [])
    count = 0
    with _opened(path) as file:
        file.write(b'{"displayTimeUnit":"ms","traceEvents":[')
        for event in chain(_head(run), _counters(run, begin, end), _slices(run, found, names)):
            file.write((",\n" if count else "\n").encode() + event.encode())
            count += 1
        file.write(b"\n]}\n")
    return count


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The file, packed if its name ends in `.gz`. Raises OSError with that name."""
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    try:
        with whole_file(path) as made, made.open("wb") as plain:
            if path.suffix == ".gz":
                with gzip.GzipFile("", "wb", compresslevel=5, fileobj=plain, mtime=0) as packed:
                    yield packed  # type: ignore[misc]  # because: its type says less than it can
            else:
                yield plain
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


def _within(found: Stretches, begin: int | None, end: int | None) -> Stretches:
    """Those that touch the time."""
    kept = np.ones(len(found.job), dtype=np.bool_)
    if begin is not None:
        kept &= found.end_ms >= begin
    if end is not None:
        kept &= found.start_ms <= end
    return Stretches._make(column[kept] for column in found)


def _slice_count(run: Run, found: Stretches) -> int:
    line = run.timeline
    devices = np.concatenate(([0], np.cumsum(np.bitwise_count(line.share_devices).astype(np.int64))))
    total = devices[line.share_start[found.entry + 1]] - devices[line.share_start[found.entry]]
    return int(total.sum())


def _lasts(at_ms: NDArray[np.int64], begin: int | None, end: int | None) -> NDArray[np.int64]:
    """Rows of the last entry of each instant, and of the last one before `begin`: what holds there."""
    if not len(at_ms):
        return np.zeros(0, dtype=np.int64)
    last = np.append(np.diff(at_ms) > 0, True)
    if begin is not None:
        holds = int(np.searchsorted(at_ms, begin, side="right")) - 1
        last[: max(holds, 0)] = False
    if end is not None:
        last &= at_ms <= end
    return np.flatnonzero(last)


def _head(run: Run) -> Iterator[str]:
    name = f"fleet under {run.name}"
    yield _json({"ph": "M", "pid": COUNTERS, "tid": 0, "name": "process_name", "args": {"name": name}})


def _counters(run: Run, begin: int | None, end: int | None) -> Iterator[str]:
    """Devices in use and devices waited for, whenever they change."""
    line, demand = run.timeline, run.jobs.demand_milli
    waited = np.zeros(len(line.at_ms), dtype=np.int64)
    used = np.zeros(len(line.at_ms), dtype=np.int64)
    running = np.zeros(len(run.jobs), dtype=np.bool_)
    for row, (happened, job) in enumerate(zip(line.happened.tolist(), line.job.tolist(), strict=True)):
        amount = int(demand[job])
        if happened == Happened.ARRIVE:
            waited[row] = amount
        elif happened == Happened.START:
            waited[row], used[row] = -amount, amount
            running[job] = True
        elif happened == Happened.PREEMPT:
            waited[row], used[row] = amount, -amount
            running[job] = False
        elif happened in ENDS:
            (used if running[job] else waited)[row] = -amount
            running[job] = False
    used, waited = np.cumsum(used), np.cumsum(waited)
    lasts = _lasts(line.at_ms, begin, end)
    times, columns = (
        np.maximum(line.at_ms[lasts], begin or 0).tolist(),
        (used[lasts].tolist(), waited[lasts].tolist()),
    )
    for at_ms, *amounts in zip(times, *columns, strict=True):
        for name, milli in zip(("devices in use", "devices waited for"), amounts, strict=True):
            yield (
                f'{{"ph":"C","pid":{COUNTERS},"tid":0,"ts":{at_ms * 1000},"name":"{name}",'
                f'"args":{{"devices":{milli / DEVICE_MILLI}}}}}'
            )


@dataclass(slots=True)
class _Rows:
    """The rows that were named so far, and until when each is taken."""

    servers: Sequence[str]
    taken: dict[tuple[int, int], list[int]] = field(default_factory=dict)
    """(server, device) -> for each of its rows, when its last slice ends."""
    named: set[int] = field(default_factory=set)

    def row(self, node: int, device: int, start: int, end: int) -> tuple[int, list[str]]:
        """The number of a row of the device that is free from `start` on, and the events that name what is new."""
        lanes = self.taken.setdefault((node, device), [])
        lane = next((place for place, until in enumerate(lanes) if until <= start), len(lanes))
        number = device * LANES + lane + 1  # because: viewers take thread 0 for the idle one
        if lane < len(lanes):
            lanes[lane] = end
            return number, []
        lanes.append(end)
        pid = node + COUNTERS + 1
        new = [] if node in self.named else list(self._server(node, pid))
        told = f"device {device}" if not lane else f"device {device}, shared ({lane + 1})"
        return number, [*new, *_named("thread", pid, number, told, number)]

    def _server(self, node: int, pid: int) -> Iterator[str]:
        self.named.add(node)
        name = self.servers[node] if node < len(self.servers) else f"server {node}"
        return _named("process", pid, 0, name, pid)


def _named(what: str, pid: int, tid: int, name: str, place: int) -> Iterator[str]:
    yield _json({"ph": "M", "pid": pid, "tid": tid, "name": f"{what}_name", "args": {"name": name}})
    yield _json({"ph": "M", "pid": pid, "tid": tid, "name": f"{what}_sort_index", "args": {"sort_index": place}})


def _slices(run: Run, found: Stretches, servers: Sequence[str]) -> Iterator[str]:
    line, jobs = run.timeline, run.jobs
    names, queues = jobs.text("job_id").to_pylist(), jobs.text("queue").to_pylist()
    rows = _Rows(servers)
    for entry, job, start, end, ended in zip(*(column.tolist() for column in found), strict=True):
        told = {
            "queue": queues[job] or "",
            "devices": int(jobs.demand_milli[job]) / DEVICE_MILLI,
            "submitted_s": int(jobs.submit_ms[job]) / 1000,
            "since_submission_s": (start - int(jobs.submit_ms[job])) / 1000,
            "ended": _ENDED[ended],
        }
        event = {"ts": start * 1000, "dur": (end - start) * 1000, "name": names[job], "cat": queues[job] or "job"}
        rest = _json({**event, "args": told})
        for share in range(int(line.share_start[entry]), int(line.share_start[entry + 1])):
            node = int(line.share_node[share])
            for device in bits(int(line.share_devices[share])):
                row, new = rows.row(node, device, start, end)
                yield from new
                yield f'{{"ph":"X","pid":{node + COUNTERS + 1},"tid":{row},{rest[1:]}'


def _json(event: dict[str, Any]) -> str:
    return json.dumps(event, separators=(",", ":"))
