"""A run directory: what one replay gave, written, read back, and identified by its fingerprint.

`docs/reference/run-directory.md` says what stands in each file. The directory is written beside its place and then
renamed, so that it is whole or not there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sim.causes.columns import CauseColumns, causes_arrow, causes_from_arrow
from sim.jobs_table import JobsTable, from_arrow, jobs_arrow, records_arrow
from sim.metrics.fragmentation import FillCurve, FragmentationOverTime
from sim.servers_table import ServersTable, servers_arrow, servers_from_arrow
from sim.timeline import Columns, Happened
from traces.job import JobRecord
from traces.trace import Rejection

SCHEMA: Final = 1
"""The version of the run directory."""

REJECTIONS_LISTED: Final = 20
"""Rejected rows that the manifest lists itself; `rejections.jsonl` has all of them."""

MANIFEST, SUMMARY, JOBS, TIMELINE = "manifest.json", "summary.json", "jobs.parquet", "timeline.parquet"
FILL, FRAGMENTATION, REJECTIONS = "fill.parquet", "fragmentation.parquet", "rejections.jsonl"
SERVERS: Final = "servers.parquet"

_SHARE_COLUMNS: Final = ("share_node", "share_devices", "share_pods", "share_group")


class RunDirectoryError(ValueError):
    """A directory cannot be written to or read as a run directory."""


class SumsDisagreeError(AssertionError):
    """The results contradict themselves: a defect of this program, never of its input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One replay and everything that is known about it, live or read from a directory."""

    manifest: dict[str, Any]
    jobs: JobsTable
    timeline: Columns
    fragmentation: FragmentationOverTime | None = None
    fill: FillCurve | None = None
    rejections: Sequence[Rejection] = ()
    """Rows of the trace that are no records. Empty after reading: they stand in `rejections.jsonl`."""
    records: Sequence[JobRecord] = ()
    """Empty after reading."""
    causes: CauseColumns | None = None
    """What each job waited for, where that was asked for."""
    servers: ServersTable | None = None
    """None in a directory that an older version wrote."""

    @property
    def name(self) -> str:
        """The policy as it was asked for."""
        return str(self.manifest["policy"]["spec"])

    @property
    def complete(self) -> bool:
        """False if the policy broke its contract before the end."""
        return bool(self.manifest["complete"])

    @property
    def is_fill(self) -> bool:
        """True for a static fill, which has no clock."""
        return bool(self.manifest["rules"]["fill"])

    @property
    def capacity_milli(self) -> int:
        """What the fleet has, in milli-devices."""
        return int(self.manifest["inputs"]["cluster"]["devices"]) * 1000

    @property
    def levels(self) -> tuple[str, ...]:
        """Names of the fleet's levels, narrow to wide."""
        return tuple(self.manifest["inputs"]["cluster"]["levels"])


def check_sums(jobs: JobsTable, held_milli_ms: int) -> None:
    """Every job in one state, and the device time of the jobs is that of the fleet. Raises `SumsDisagreeError`."""
    if np.any(jobs.started & (jobs.held_ms < 0)):
        raise SumsDisagreeError("a job gave its devices back before it took them")
    found = jobs.held_milli_ms()
    if found != held_milli_ms:
        raise SumsDisagreeError(
            f"jobs held {found} milli-device-milliseconds by the timeline, {held_milli_ms} by the fleet's own account"
        )


def fingerprint(jobs: JobsTable, timeline: Columns) -> str:
    """SHA-256 over the bytes of all result columns in a fixed layout: the same for the same schedule, anywhere."""
    digest = hashlib.sha256(f"rehearse results {SCHEMA}".encode())
    for name, column in timeline._asdict().items():
        _feed(digest, name, column)
    numbers = ("submit_ms", "work_ms", "demand_milli", "state", "first_start_ms", "end_ms", "held_ms")
    for name in (*numbers, "preemptions", "nodes", "span"):
        _feed(digest, name, getattr(jobs, name))
    for name in ("job_id", "user", "queue", "reason", "accelerator"):
        values = jobs.text(name)
        _feed(digest, f"{name} length", pc.binary_length(values).fill_null(-1).to_numpy(zero_copy_only=False))
        digest.update(_bytes_of(values.fill_null("")))
    return digest.hexdigest()


def _bytes_of(texts: Any) -> Any:
    """All texts one after the other, in UTF-8: the data buffer of an Arrow column without nulls."""
    offsets = np.frombuffer(texts.buffers()[1], dtype=np.int32)[texts.offset : texts.offset + len(texts) + 1]
    data = texts.buffers()[2]
    return b"" if data is None or not len(texts) else memoryview(data)[int(offsets[0]) : int(offsets[-1])]


def _feed(digest: Any, name: str, column: Any) -> None:
    little = np.ascontiguousarray(column, dtype=column.dtype.newbyteorder("<"))
    digest.update(f"|{name}:{little.dtype.str}:{len(little)}|".encode())
    digest.update(little.data)


def write_run(run: Run, path: Path, summary: Mapping[str, Any]) -> None:
    """Write the directory, in place of an older run. Raises `RunDirectoryError` for anything else in its place."""
    refuse_unless_free(path)
    with whole_directory(path) as made:
        _write_files(run, made, summary)


@contextmanager
def whole_directory(path: Path) -> Iterator[Path]:
    """A new directory beside `path` that takes its place when the block ends, and is gone if the block fails."""
    made: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
        yield made
        made.chmod(0o777 & ~_umask())
        _move_into_place(made, path)
    except OSError as error:
        raise RunDirectoryError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)


def refuse_unless_free(path: Path, *, replaces: Callable[[Path], bool] | None = None) -> None:
    """Raise `RunDirectoryError` unless `path` is absent, empty, or what `replaces` takes: a run directory."""
    if path.is_symlink() or (path.exists() and not path.is_dir()):
        raise RunDirectoryError(f"{path}: exists and is not a directory")
    if path.is_dir() and not (replaces or is_run)(path) and any(path.iterdir()):
        raise RunDirectoryError(f"{path}: exists and holds something else; give another --out, or remove it")


def is_run(path: Path) -> bool:
    """True if `path` holds a run directory."""
    return has_key(path / MANIFEST, "rehearse_run")


def read_run(path: Path) -> Run:
    """The run that a directory holds. Raises `RunDirectoryError` with the reason if it holds none."""
    manifest = read_manifest(path)
    levels = manifest["inputs"]["cluster"]["levels"]
    try:
        table = pq.read_table(path / JOBS)
        jobs, causes = from_arrow(table, levels), causes_from_arrow(table)
        timeline = _timeline_from(pq.read_table(path / TIMELINE))
        fill = _named_columns(path / FILL, FillCurve)
        course = _named_columns(path / FRAGMENTATION, FragmentationOverTime)
        servers = _servers(path / SERVERS, tuple(levels))
    except (OSError, KeyError, pa.ArrowException) as error:
        raise RunDirectoryError(f"{path}: is not a whole run directory: {error}") from error
    return Run(
        manifest=manifest,
        jobs=jobs,
        timeline=timeline,
        fill=fill,
        fragmentation=course,
        causes=causes,
        servers=servers,
    )


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a run directory. Raises `RunDirectoryError`."""
    if not path.is_dir():
        raise RunDirectoryError(f"{path}: there is no such directory")
    if not is_run(path):
        raise RunDirectoryError(f"{path}: is not a run directory: it has no {MANIFEST} of a run")
    manifest: dict[str, Any] = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    if manifest.get("rehearse_run") != SCHEMA:
        raise RunDirectoryError(
            f"{path}: is of version {manifest.get('rehearse_run')!r}; this program reads {SCHEMA}"
        )
    return manifest


def as_json(data: Any) -> str:
    """JSON as all files of this program have it."""
    return json.dumps(data, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def has_key(path: Path, key: str) -> bool:
    """True if `path` is a JSON file of ours: an object with that key."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and key in found


def _write_files(run: Run, path: Path, summary: Mapping[str, Any]) -> None:
    table = jobs_arrow(run.jobs, run.levels)
    more = {} if run.causes is None else causes_arrow(run.causes, run.jobs.started)
    for name, column in {**records_arrow(run.records), **more}.items():
        table = table.append_column(name, column)
    _write_parquet(table, path / JOBS)
    _write_parquet(_timeline_arrow(run.timeline), path / TIMELINE)
    if run.fill is not None:
        _write_parquet(pa.table(run.fill._asdict()), path / FILL)
    if run.fragmentation is not None:
        _write_parquet(pa.table(run.fragmentation._asdict()), path / FRAGMENTATION)
    if run.servers is not None:
        _write_parquet(servers_arrow(run.servers, run.levels), path / SERVERS)
    if run.rejections:
        lines = (json.dumps(rejection_data(each), ensure_ascii=False) + "\n" for each in run.rejections)
        (path / REJECTIONS).write_text("".join(lines), encoding="utf-8")
    (path / SUMMARY).write_text(as_json(summary), encoding="utf-8")
    (path / MANIFEST).write_text(as_json(run.manifest), encoding="utf-8")


def rejection_data(rejection: Rejection) -> dict[str, Any]:
    """A rejected row as the manifest and `rejections.jsonl` have it."""
    return {
        "line": rejection.line,
        "job_id": rejection.job_id,
        "problems": [{"field": problem.field, "reason": problem.reason} for problem in rejection.problems],
    }


def _write_parquet(table: Any, path: Path) -> None:
    pq.write_table(table, path, compression="zstd", compression_level=1)


def _timeline_arrow(line: Columns) -> Any:
    names = pa.array([happened.name.lower() for happened in Happened], type=pa.string())
    offsets = pa.array(line.share_start)
    columns = {
        "at_ms": pa.array(line.at_ms),
        "happened": pa.DictionaryArray.from_arrays(pa.array(line.happened), names),
        "job": pa.array(line.job),
        "speed_ppm": pa.array(line.speed_ppm),
    }
    for name in _SHARE_COLUMNS:
        columns[name] = pa.LargeListArray.from_arrays(offsets, pa.array(getattr(line, name)))
    return pa.table(columns)


def _timeline_from(table: Any) -> Columns:
    rank = {happened.name.lower(): int(happened) for happened in Happened}
    happened = table["happened"].combine_chunks().cast(pa.string()).dictionary_encode()
    codes = np.array([rank[name] for name in happened.dictionary.to_pylist()], dtype=np.int8)
    lists = {name: table[name].combine_chunks() for name in _SHARE_COLUMNS}
    offsets = np.asarray(lists["share_node"].offsets)
    return Columns(
        at_ms=table["at_ms"].to_numpy(),
        happened=codes[happened.indices.to_numpy()],
        job=table["job"].to_numpy(),
        speed_ppm=table["speed_ppm"].to_numpy(),
        share_start=np.asarray(offsets, dtype=np.int64),
        **{name: np.asarray(lists[name].values) for name in _SHARE_COLUMNS},
    )


def _named_columns(path: Path, kind: Any) -> Any:
    if not path.exists():
        return None
    table = pq.read_table(path)
    return kind(**{name: table[name].to_numpy() for name in kind._fields})


def _servers(path: Path, levels: tuple[str, ...]) -> ServersTable | None:
    return servers_from_arrow(pq.read_table(path), levels) if path.exists() else None


def _move_into_place(made: Path, path: Path) -> None:
    """Rename; what was there before goes only after the new one stands."""
    old: Path | None = None
    if path.exists():
        old = path.with_name(f"{made.name}-old")
        path.rename(old)
    made.rename(path)
    if old is not None:
        shutil.rmtree(old, ignore_errors=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
