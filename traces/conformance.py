"""check_trace_format: what every trace format must keep, for authors of formats. No test framework in it.

Give it the format and a sample with good and broken lines; it returns what the format breaks, all at once.
"""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from traces.job import JobRecord
from traces.textfile import GZIP_MAGIC, head, open_bytes
from traces.trace import Rejection, TraceError, TraceFormat

Rows = list[JobRecord | Rejection]


class BrokenPromise(NamedTuple):
    """One thing that a format must keep and does not."""

    check: str
    reason: str


def check_trace_format(trace_format: TraceFormat, sample: Path) -> list[BrokenPromise]:
    """Every promise that the format breaks on the sample; an empty list is a pass.

    The sample should hold good rows and one broken row for each kind of error, so that the checks have
    something to look at. Writes only into a temporary folder.
    """
    sample = Path(sample)
    broken: list[BrokenPromise] = []
    for name, check in CHECKS.items():
        try:
            broken.extend(BrokenPromise(name, reason) for reason in check(trace_format, sample))
        except TraceError as error:
            broken.append(BrokenPromise(name, f"the sample cannot be read: {error}"))
        except Exception as error:  # because: whatever else comes out of a format is the finding
            broken.append(BrokenPromise(name, f"raised {type(error).__name__}, not TraceError: {error}"))
    return broken


def _named(trace_format: TraceFormat, sample: Path) -> Iterator[str]:
    """It has a name without blanks, and a description."""
    if not trace_format.name or trace_format.name != "".join(trace_format.name.split()).lower():
        yield f"the name must be lower case without blanks, got {trace_format.name!r}"
    if not trace_format.description.strip():
        yield f"the description is empty ({sample.name})"


def _recognised(trace_format: TraceFormat, sample: Path) -> Iterator[str]:
    """It recognises its own sample, and nothing in a file of another kind."""
    if trace_format.sniff(sample, head(sample)) is not True:
        yield "sniff does not recognise the sample"
    if trace_format.sniff(sample, b"\x89PNG\r\n\x1a\n\x00\xff" * 16) is not False:
        yield "sniff takes a picture for a trace"


def _streaming(trace_format: TraceFormat, sample: Path) -> Iterator[str]:
    """It gives an iterator, not a list of all rows."""
    rows = trace_format.read(sample)
    if iter(rows) is not rows:
        yield f"read must give an iterator, row by row, got {type(rows).__name__}"


def _rows_have_types(trace_format: TraceFormat, sample: Path) -> Iterator[str]:
    """Every row is a record or a rejection, and there is at least one record."""
    rows = _rows(trace_format, sample)
    typed: list[object] = [*rows]
    for number, row in enumerate(typed, start=1):
        if not isinstance(row, JobRecord | Rejection):
            yield f"row {number} is neither a JobRecord nor a Rejection: {row!r}"
    if not any(isinstance(row, JobRecord) for row in rows):
        yield "the sample has no accepted row"


def _rejections_are_complete(trace_format: TraceFormat, sample: Path) -> Iterator[str]:
    """Each rejection has a line, and at least one problem with a field and a reason; lines never go back."""
    last = 0
    for row in _rows(trace_format, sample):
        if not isinstance(row, Rejection):
            continue
        if row.line < 1:
            yield f"a rejection has no line: {row}"
        if row.line < last:
            yield f"rejections are not in file order: line {row.line} after line {last}"
        last = row.line
        if not row.problems:
            yield f"line {row.line}: a rejection without a problem"
        yield from (
            f"line {row.line}: a problem without {'a field' if not p.field else 'a reason'}"
            for p in row.problems
            if not p.field or not p.reason
        )


def _ids_are_unique(trace_format: TraceFormat, sample: Path) -> Iterator[str]:
    """No job id is accepted twice."""
    seen: set[str] = set()
    for row in _rows(trace_format, sample):
        if isinstance(row, JobRecord):
            if row.job_id in seen:
                yield f"job {row.job_id!r} is accepted twice"
            seen.add(row.job_id)


def _deterministic(trace_format: TraceFormat, sample: Path) -> Iterator[str]:
    """Reading twice gives the same rows: nothing of the first reading is left."""
    if _rows(trace_format, sample) != _rows(trace_format, sample):
        yield "reading the sample again gives other rows"


def _interleaved(trace_format: TraceFormat, sample: Path) -> Iterator[str]:
    """Two readings at a time do not disturb each other."""
    alone = _rows(trace_format, sample)
    pairs = list(zip(trace_format.read(sample), trace_format.read(sample), strict=False))
    if [pair[0] for pair in pairs] != alone or [pair[1] for pair in pairs] != alone:
        yield "two readings at a time give other rows than one"


def _gzip_equals_plain(trace_format: TraceFormat, sample: Path) -> Iterator[str]:
    """Compressed or not, and whatever the name, the rows are the same. A Parquet file is exempt: it is compressed."""
    with open_bytes(sample) as stream:
        content = stream.read()
    if content.startswith(b"PAR1"):
        return
    with tempfile.TemporaryDirectory() as folder:
        plain, compressed = Path(folder, "plain"), Path(folder, "compressed")
        plain.write_bytes(content)
        compressed.write_bytes(gzip.compress(content))
        if _rows(trace_format, plain) != _rows(trace_format, compressed):
            yield "the gzip of the sample gives other rows than the plain file"


def _every_line_counts(trace_format: TraceFormat, sample: Path) -> Iterator[str]:
    """Accepted plus rejected is the number of rows: with the last line twice, there is one row more, or as many.

    As many only where the last line is no row; for a file that is not lines (JSON, Parquet) there is nothing to see.
    """
    with open_bytes(sample) as stream:
        content = stream.read()
    if content.startswith(b"PAR1") or content.lstrip().startswith((b"[", b"{")):
        return
    last = content.rstrip(b"\n").rsplit(b"\n", maxsplit=1)[-1]
    with tempfile.TemporaryDirectory() as folder:
        longer = Path(folder, "longer")
        longer.write_bytes(content.rstrip(b"\n") + b"\n" + last + b"\n")
        added = len(_rows(trace_format, longer)) - len(_rows(trace_format, sample))
        if added != 1:
            yield f"a line more gave {added} rows more: a row must be accepted or rejected, never dropped"


def _refuses_what_is_no_text(trace_format: TraceFormat, sample: Path) -> Iterator[str]:
    """Empty, cut and undecodable files are a `TraceError`, nothing else."""
    with open_bytes(sample) as stream:
        content = stream.read()
    cut = gzip.compress(content)
    hostile = {
        "an empty file": b"",
        "a truncated gzip": cut[: len(cut) // 2],
        "undecodable bytes": content + b"\xff\xfe\xff\n",
        "a NUL byte": content + b"\x00\n",
        "a gzip of nothing": GZIP_MAGIC,
    }
    if content.startswith(b"PAR1"):
        hostile = {"an empty file": b"", "a truncated Parquet": content[: len(content) // 2]}
    with tempfile.TemporaryDirectory() as folder:
        for what, data in hostile.items():
            path = Path(folder, "hostile")
            path.write_bytes(data)
            yield from _refusal(trace_format, path, what)


def _refusal(trace_format: TraceFormat, path: Path, what: str) -> Iterator[str]:
    try:
        _rows(trace_format, path)
    except TraceError:
        return
    except Exception as error:  # because: any other exception is what this check looks for
        yield f"{what}: raised {type(error).__name__}, not TraceError: {error}"
        return
    yield f"{what}: read without an error"


def _rows(trace_format: TraceFormat, path: Path) -> Rows:
    return list(trace_format.read(path))


CHECKS: MappingProxyType[str, Callable[[TraceFormat, Path], Iterator[str]]] = MappingProxyType(
    {
        # because: first, as a format that remembers is right only in its first reading
        "deterministic": _deterministic,
        "named": _named,
        "recognised": _recognised,
        "streaming": _streaming,
        "rows have types": _rows_have_types,
        "rejections are complete": _rejections_are_complete,
        "ids are unique": _ids_are_unique,
        "interleaved": _interleaved,
        "gzip equals plain": _gzip_equals_plain,
        "every line counts": _every_line_counts,
        "refuses what is no text": _refuses_what_is_no_text,
    }
)
"""What is checked, by name. Each has a stub in the tests that fails it, and only such a check is worth having."""
