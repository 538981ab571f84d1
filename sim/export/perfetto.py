"""A run as a trace that Perfetto and Chrome open: a row for each device, a slice for each job on it, counters above.

The format is the JSON form of trace events: `ph: X` is a slice with `ts` and `dur` in microseconds, `C` a counter, `M` a name.
A job on many devices is a slice on each, so that what stands idle is seen.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from policies.bitset import bits
from sim.results import Run
from sim.stretches import stretches
from sim.timeline import ENDS, Happened

COUNTERS: Final = 1
"""The process that holds the counters; servers follow it."""


def write_perfetto(run: Run, path: Path, *, servers: Sequence[str] = ()) -> int:
    """Write the trace, packed if the name ends in `.gz`; gives the number of its events. `servers` are their names by number.

    Raises ValueError for a static fill, which has no clock.
    """
    if run.is_fill:
        raise ValueError("a static fill has no clock, so there is nothing to draw over time")
    lines = [json.dumps(event, separators=(",", ":")) for event in _events(run, servers)]
    text = '{"displayTimeUnit":"ms","traceEvents":[\n' + ",\n".join(lines) + "\n]}\n"
    data = text.encode()
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    return len(lines)


def _events(run: Run, servers: Sequence[str]) -> Iterator[dict[str, Any]]:
    yield {"ph": "M", "pid": COUNTERS, "tid": 0, "name": "process_name", "args": {"name": f"fleet under {run.name}"}}
    yield from _counters(run)
    yield from _slices(run, servers)


def _counters(run: Run) -> Iterator[dict[str, Any]]:
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
    lasts = (
        np.flatnonzero(np.append(np.diff(line.at_ms) > 0, True)) if len(line.at_ms) else np.zeros(0, dtype=np.int64)
    )
    for last in lasts.tolist():
        for name, column in (("devices in use", used), ("devices waited for", waited)):
            told = {"devices": int(column[last]) / 1000}
            yield {
                "ph": "C",
                "pid": COUNTERS,
                "tid": 0,
                "ts": int(line.at_ms[last]) * 1000,
                "name": name,
                "args": told,
            }


def _slices(run: Run, servers: Sequence[str]) -> Iterator[dict[str, Any]]:
    line = run.timeline
    names = run.jobs.text("job_id").to_pylist()
    queues = run.jobs.text("queue").to_pylist()
    submits = run.jobs.submit_ms
    named: set[tuple[int, int]] = set()
    found = stretches(line, int(run.manifest["end_ms"]))
    for entry, job, start, end in zip(*(column.tolist() for column in found), strict=True):
        told = {"queue": queues[job] or "", "waited_s": (start - int(submits[job])) / 1000}
        told["devices"] = int(run.jobs.demand_milli[job]) / 1000
        for share in range(int(line.share_start[entry]), int(line.share_start[entry + 1])):
            node = int(line.share_node[share])
            for device in bits(int(line.share_devices[share])):
                yield from _names(node, device, servers, named)
                yield {
                    "ph": "X",
                    "pid": node + COUNTERS + 1,
                    "tid": device,
                    "ts": start * 1000,
                    "dur": (end - start) * 1000,
                    "name": names[job],
                    "cat": queues[job] or "job",
                    "args": told,
                }


def _names(node: int, device: int, servers: Sequence[str], named: set[tuple[int, int]]) -> Iterator[dict[str, Any]]:
    if (node, device) in named:
        return
    pid = node + COUNTERS + 1
    if (node, -1) not in named:
        named.add((node, -1))
        name = servers[node] if node < len(servers) else f"server {node}"
        yield {"ph": "M", "pid": pid, "tid": 0, "name": "process_name", "args": {"name": name}}
    named.add((node, device))
    yield {"ph": "M", "pid": pid, "tid": device, "name": "thread_name", "args": {"name": f"device {device}"}}
