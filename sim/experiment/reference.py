"""A policy job by job against a table of starts that somebody else computed.

A reference folder holds a trace and a table `*starts.csv.gz` (or `.csv`): `job_id` and one column for each policy, the
start in seconds, as in the trace's own clock.
"""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from pathlib import Path
from typing import Final, NamedTuple

from policies.catalogue import UnknownPolicyError, parse
from sim.experiment.prepare import policies_of
from sim.fleet.load import LoadedFleet, load_fleet
from sim.fleet.problems import did_you_mean
from sim.jobs_table import ABSENT
from sim.rules import Rules, Split, Ties
from sim.run import InputError, replay
from sim.world.choice import World
from traces.registry import read_trace
from traces.trace import Trace, TraceError

COLUMN_OF: Final = {
    "fifo": "fcfs",
    "best-effort-fifo": "first-fit",
    "sjf": "sjf",
    "best-effort-sjf": "sjf-first-fit",
    "sjf-oracle": "sjf-actual",
    "easy": "easy",
    "easy-sjbf": "easy-sjbf",
    "conservative": "conservative",
}
"""What tables of batch scheduling call the names of the catalogue."""

FLAT_DEVICES: Final = 100
"""Processors of a flat pool whose trace does not say how many it has."""

SERVERS: Final = {"simple-seconds": "96x8"}
"""Fleets of reference traces that ran on servers and do not say so: the Venus slice is one of these."""


class Difference(NamedTuple):
    """A job that starts at another time here than there."""

    job_id: str
    here_ms: int | None
    there_ms: int


class Agreement(NamedTuple):
    """What a check against a table found."""

    table: str
    column: str
    cluster: str
    jobs: int
    agree: int
    differences: list[Difference]
    """In the order of the reference's starts."""


def compare_with_reference(
    policy: str,
    folder: Path,
    *,
    column: str | None = None,
    cluster: str | None = None,
    split: Split | None = None,
    ties: Ties | None = None,
    oracle: bool = False,
) -> Agreement:
    """Replay the folder's trace under a policy and compare every start. Raises `InputError` or `TraceError`."""
    trace_path, table_path = _files(folder)
    trace = read_trace(trace_path)
    if trace.rejections:
        raise InputError(f"{trace_path}: {len(trace.rejections)} rows are no jobs; a reference must be whole")
    flat = trace.format == "swf"
    loaded = load_fleet(cluster or _fleet_of(trace, trace_path))
    rules = Rules(
        split=split or ("free" if flat else "whole"), ties=ties or ("file" if flat else "job_id"), oracle=oracle
    )
    policies_of([policy], rules)
    chosen, starts = _table(table_path, policy, column)
    _same_jobs(trace, starts, table_path)
    differences = _differences(trace, loaded, policy, rules, starts=starts)
    agree = len(starts) - len(differences)
    return Agreement(str(table_path), chosen, loaded.source, len(starts), agree, differences)


def _differences(
    trace: Trace, loaded: LoadedFleet, policy: str, rules: Rules, *, starts: dict[str, int]
) -> list[Difference]:
    run = replay(trace, loaded, policy, rules, world=World(speed=False, locality=False), fragmentation=False)
    if not run.complete:
        raise InputError(str(run.manifest["message"]))
    differences = [
        Difference(job.job_id, None if here == ABSENT else here, starts[job.job_id])
        for job, here in zip(trace.records, run.jobs.first_start_ms.tolist(), strict=True)
        if here != starts[job.job_id]
    ]
    return sorted(differences, key=lambda each: (each.there_ms, each.job_id))


def _files(folder: Path) -> tuple[Path, Path]:
    if not folder.is_dir():
        raise InputError(f"--reference {folder}: there is no such folder")
    files = sorted(path for path in folder.iterdir() if path.is_file())
    tables = [path for path in files if re.search(r"starts\.csv(\.gz)?$", path.name)]
    traces = [path for path in files if path not in tables and re.search(r"\.(swf|csv|parquet)(\.gz)?$", path.name)]
    if len(tables) != 1 or len(traces) != 1:
        raise InputError(
            f"--reference {folder}: must hold one trace and one table *starts.csv[.gz],"
            f" found {len(traces)} and {len(tables)}"
        )
    return traces[0], tables[0]


def _fleet_of(trace: Trace, path: Path) -> str:
    """The pool that an SWF header names, or the fleet on which traces of this format were recorded."""
    if trace.format != "swf":
        if trace.format in SERVERS:
            return SERVERS[trace.format]
        raise InputError(f"{path}: does not say on how many devices it ran; give --cluster")
    found = re.search(r"^;\s*MaxProcs:\s*(\d+)", _text(path), re.MULTILINE)
    return f"{found[1] if found else FLAT_DEVICES}x1"


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        return (gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise TraceError(f"{path}: cannot be read: {error}") from error


def _table(path: Path, policy: str, column: str | None) -> tuple[str, dict[str, int]]:
    """The chosen column's name, and job -> start in ms."""
    rows = csv.DictReader(_text(path).splitlines())
    names = [name for name in rows.fieldnames or () if name != "job_id"]
    if "job_id" not in (rows.fieldnames or ()):
        raise InputError(f"{path}: must have a column job_id")
    chosen = column or _column_for(policy, names)
    if chosen is None or chosen not in names:
        hint = did_you_mean(chosen, names) if chosen else ""
        raise InputError(f"{path}: no column for {column or policy}{hint}; give --column, one of {', '.join(names)}")
    starts: dict[str, int] = {}
    for number, row in enumerate(rows, start=2):
        try:
            starts[row["job_id"]] = round(float(row[chosen]) * 1000)
        except (TypeError, ValueError, OverflowError):
            raise InputError(f"{path}:{number}: {chosen}: must be a number of seconds, got {row[chosen]!r}") from None
    return chosen, starts


def _column_for(policy: str, names: list[str]) -> str | None:
    """The policy's own spelling, the one with its default placement, or the name that tables use."""
    try:
        name, given = parse(policy)
    except UnknownPolicyError:
        return None
    place = given.get("place", "best-fit")
    wished = (policy, f"{name}:place={place}", COLUMN_OF.get(name), name)
    return next((each for each in wished if each in names), None)


def _same_jobs(trace: Trace, starts: dict[str, int], path: Path) -> None:
    ids = {job.job_id for job in trace.records}
    if ids != set(starts):
        raise InputError(
            f"{path}: {len(ids - set(starts))} jobs of the trace are not in it,"
            f" and {len(set(starts) - ids)} of its jobs are not in the trace"
        )
