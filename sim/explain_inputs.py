"""What a story needs beside a run directory: the trace and the fleet of the run, found again and known to be the same."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from sim.fleet.load import load_fleet
from sim.fleet.model import Fleet
from sim.fleet.problems import FleetError
from sim.results import Run
from sim.run import InputError
from sim.services.expansion import with_replicas
from sim.services.service import service_from
from traces.job import JobRecord
from traces.registry import read_trace
from traces.trace import TraceError


class Inputs(NamedTuple):
    """What a run was made from."""

    records: list[JobRecord]
    fleet: Fleet


def inputs_of(run: Run, *, trace: Path | None = None, cluster: str | None = None) -> Inputs:
    """The trace and the fleet that the manifest names, or that are given instead; with the same SHA-256 in either case.

    Raises `InputError` with everything that is missing or has changed.
    """
    said = run.manifest["inputs"]
    problems: list[str] = []
    fleet = _fleet(said["cluster"], cluster, problems)
    records = _records(run, said["trace"], trace, problems)
    if fleet is None or records is None or problems:
        raise InputError("\n".join(problems))
    return Inputs(records, fleet)


def _fleet(said: dict[str, Any], given: str | None, problems: list[str]) -> Fleet | None:
    source = said["source"] if given is None else given
    hint = "" if given else "; --cluster names it, where it has moved"
    try:
        loaded = load_fleet(source)
    except FleetError as error:
        problems.append(f"the fleet of the run cannot be read: {error}{hint}")
        return None
    if loaded.sha256 != said["sha256"]:
        problems.append(f"{source}: {_changed(loaded.sha256, said['sha256'])}{hint}")
    elif len(loaded.fleet.servers) != said["servers"] or loaded.fleet.devices != said["devices"]:
        problems.append(f"{source}: is not the fleet of the run, which had {said['servers']} servers{hint}")
    return loaded.fleet


def _records(run: Run, said: dict[str, Any], given: Path | None, problems: list[str]) -> list[JobRecord] | None:
    path = Path(said["path"]) if given is None else given
    hint = "" if given else "; --trace names it, where it has moved"
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != said["sha256"]:
            problems.append(f"{path}: {_changed(found, said['sha256'])}{hint}")
            return None
        trace = read_trace(path, said["format"])
        services = [service_from(each) for each in run.manifest["inputs"].get("services", [])]
        records = with_replicas(trace, services).records
    except OSError as error:
        problems.append(f"{path}: the trace of the run cannot be read: {error.strerror or error}{hint}")
        return None
    except TraceError as error:
        problems.append(f"{error}{hint}")
        return None
    if not _are_of(run, records):
        problems.append(f"{path}: its jobs are not those of the run, which changed them before it replayed them")
    return records


def _changed(found: str | None, expected: str | None) -> str:
    return f"has changed since the run: its SHA-256 is {_short(found)}, the run read {_short(expected)}"


def _short(sha256: str | None) -> str:
    return "none" if sha256 is None else f"{sha256[:12]}..."


def _are_of(run: Run, records: list[JobRecord]) -> bool:
    if len(records) != len(run.jobs):
        return False
    submits = np.fromiter((record.submit_ms for record in records), dtype=np.int64, count=len(records))
    works = np.fromiter((record.run_ms for record in records), dtype=np.int64, count=len(records))
    return (
        np.array_equal(submits, run.jobs.submit_ms)
        and np.array_equal(works, run.jobs.work_ms)
        and run.jobs.text("job_id").to_pylist() == [record.job_id for record in records]
    )
