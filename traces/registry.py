"""Names to formats, content to format, file to `Trace`."""

from __future__ import annotations

import difflib
import hashlib
from pathlib import Path
from types import MappingProxyType

from traces.formats import (
    canonical,
    helios,
    helios_slice,
    k8s_pods,
    openb,
    philly_joined,
    philly_log,
    philly_pollux,
    rfold,
    simple_seconds,
    slurm_sacct,
    swf,
)
from traces.job import JobRecord
from traces.reading import Reading
from traces.textfile import UNREADABLE, describe_failure, head
from traces.trace import Rejection, Trace, TraceError, TraceFormat

_LISTED: tuple[TraceFormat, ...] = (
    canonical.FORMAT,
    swf.FORMAT,
    philly_joined.FORMAT,
    philly_log.FORMAT,
    philly_pollux.FORMAT,
    rfold.FORMAT,
    helios.FORMAT,
    helios_slice.FORMAT,
    openb.FORMAT,
    slurm_sacct.FORMAT,
    k8s_pods.FORMAT,
    simple_seconds.FORMAT,
)

FORMATS = MappingProxyType({trace_format.name: trace_format for trace_format in _LISTED})
"""Every format by its name. A new one is one line above."""

FAMILIES = MappingProxyType(
    {
        "philly": ("philly-joined", "philly-log", "philly-pollux", "rfold"),
        "lingjun": ("rfold",),
        "kubernetes": ("k8s-pods",),
        "sacct": ("slurm-sacct",),
        "slurm": ("slurm-sacct",),
        "venus": ("helios-slice",),
    }
)
"""What people call a trace that was published in several forms: the form is told by the content."""

_HASH_CHUNK_BYTES = 1 << 20


def detect(path: Path) -> TraceFormat:
    """The one format that the file's first bytes look like, whatever the file is called.

    Raises `TraceError` that lists the known formats if none or several do.
    """
    return _detect_among(Path(path), tuple(FORMATS))


def format_named(name: str, path: Path) -> TraceFormat:
    """The format of that name, or the one of that family which `path` looks like.

    Raises `TraceError` that suggests the nearest names.
    """
    if name in FORMATS:
        return FORMATS[name]
    if name in FAMILIES:
        return _detect_among(Path(path), FAMILIES[name])
    near = difflib.get_close_matches(name, (*FORMATS, *FAMILIES), n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise TraceError(f"unknown trace format {name!r}: {hint}known are {', '.join((*FORMATS, *FAMILIES))}")


def iter_trace(path: Path, format_name: str | None = None) -> Reading:
    """The rows of a file, streaming: for a file that does not fit into memory.

    Raises `TraceError`, here or while iterating, if the file cannot be read as a trace.
    """
    reading, _ = _open(Path(path), format_name)
    return reading


def read_trace(path: Path, format_name: str | None = None) -> Trace:
    """The whole trace, every row accepted or rejected, with the SHA-256 of the file as it is on disk.

    Raises `TraceError` if the file cannot be read as a trace; a bad row is a rejection, never an error.
    """
    path = Path(path)
    reading, chosen = _open(path, format_name)
    records: list[JobRecord] = []
    rejections: list[Rejection] = []
    rows = 0
    for row in reading:
        rows += 1
        if isinstance(row, Rejection):
            rejections.append(row)
        else:
            records.append(row)
    return Trace(
        path=str(path),
        format=chosen.name,
        sha256=sha256_of(path),
        rows=rows,
        records=records,
        rejections=rejections,
        unknown_columns=reading.unknown_columns,
        notes=reading.notes,
    )


def sha256_of(path: Path) -> str:
    """The SHA-256 of the file's bytes as they are on disk. Raises `TraceError` if it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_HASH_CHUNK_BYTES):
                digest.update(chunk)
    except OSError as error:
        raise TraceError(f"{path}: {describe_failure(error)}") from error
    return digest.hexdigest()


def _open(path: Path, format_name: str | None) -> tuple[Reading, TraceFormat]:
    chosen = detect(path) if format_name is None else format_named(format_name, path)
    return as_reading(chosen, path), chosen


def as_reading(chosen: TraceFormat, path: Path) -> Reading:
    """What a format reads, as a `Reading`: a format may also give a plain iterator, which then has no notes."""
    try:
        rows = chosen.read(path)
    except UNREADABLE as error:
        raise TraceError(f"{path}: {describe_failure(error)}") from error
    if isinstance(rows, Reading):
        return rows
    reading = Reading()
    reading.attach(rows)
    return reading


def _detect_among(path: Path, names: tuple[str, ...]) -> TraceFormat:
    first = head(path)
    alike = [name for name in names if FORMATS[name].sniff(path, first)]
    if len(alike) == 1:
        return FORMATS[alike[0]]
    if alike:
        raise TraceError(f"{path}: looks like several formats: {', '.join(alike)}; name the one that it is")
    known = "".join(f"\n  {name}: {FORMATS[name].description}" for name in names)
    raise TraceError(f"{path}: looks like none of the known formats; name one if it is one of them:{known}")
