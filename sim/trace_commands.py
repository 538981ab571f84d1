"""`rehearse trace`: check, describe, convert, generate and anonymise trace files. Reads and shows; decides nothing.

Exit status 2 is a file or a command line that is wrong, with every problem on standard error.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, ParamSpec

import click

from sim.experiment.durations import parse_duration, parse_factor
from traces import transform
from traces.describe import TraceSummary, describe
from traces.job import JobRecord
from traces.profiles import PROFILES
from traces.registry import FAMILIES, FORMATS, read_trace
from traces.trace import Rejection, Trace, TraceError
from traces.write import write_trace

PROBLEMS_SHOWN = 20
BAD_INPUT = 2

_P = ParamSpec("_P")

_FILE = click.argument("file", type=click.Path(path_type=Path))
_FORMAT = click.option("--format", "format_name", help="Name of the format; told by the content if left out.")
_JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
_ALL = click.option("--all", "show_all", is_flag=True, help=f"List every problem, not the first {PROBLEMS_SHOWN}.")


def _refusing(command: Callable[_P, None]) -> Callable[_P, None]:
    """End with status 2 and a message, not with a traceback, where the input is wrong."""

    @functools.wraps(command)
    def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except (TraceError, ValueError) as error:
            click.echo(f"error: {error}", err=True)
            sys.exit(BAD_INPUT)

    return wrapped


@click.group()
def trace() -> None:
    """Check, describe, convert, generate and anonymise traces."""


@trace.command()
def formats() -> None:
    """List the formats that can be read."""
    for name, trace_format in FORMATS.items():
        click.echo(f"{name:<16}{trace_format.description}")
    for name, members in FAMILIES.items():
        click.echo(f"{name:<16}whichever of {', '.join(members)} the file looks like")


@trace.command()
def profiles() -> None:
    """List the workloads that `generate` knows."""
    for name, profile in PROFILES.items():
        click.echo(f"{name:<16}{profile.description}\n{'':<16}source: {profile.source}")


@trace.command()
@_FILE
@_FORMAT
@_JSON
@_ALL
@_refusing
def check(file: Path, format_name: str | None, as_json: bool, show_all: bool) -> None:
    """Read FILE and list everything that is wrong with it. Status 2 if any row is rejected."""
    found = _read(file, format_name)
    if as_json:
        _print_json(_check_data(found))
    else:
        click.echo(f"{found.path}: {found.format}: {_sum(found)}")
        for note in _notes(found):
            click.echo(f"  note: {note}")
        if found.unknown_columns:
            click.echo(f"  unknown columns, kept as extra: {', '.join(found.unknown_columns)}")
    _show_rejections(found, show_all)
    if found.rejections:
        sys.exit(BAD_INPUT)


@trace.command("describe")
@_FILE
@_FORMAT
@_JSON
@_ALL
@_refusing
def describe_command(file: Path, format_name: str | None, as_json: bool, show_all: bool) -> None:
    """Print what is in FILE: jobs, span, gangs, run times, users, queues, outcomes, ties."""
    found = _read(file, format_name)
    summary = describe(found)
    if as_json:
        _print_json(summary.as_dict())
    else:
        for name, text in _lines(summary):
            click.echo(f"{name:<20}{text}")
    _show_rejections(found, show_all)


@trace.command()
@_FILE
@click.option("--to", "out", required=True, type=click.Path(path_type=Path), help=".csv, .csv.gz or .parquet")
@_FORMAT
@click.option("--from-ms", type=click.IntRange(min=0), default=0, help="Leave out jobs submitted before.")
@click.option("--to-ms", type=click.IntRange(min=0), help="Leave out jobs submitted at this time or later.")
@click.option("--queue", "queues", multiple=True, help="Keep only this queue; may be repeated.")
@click.option("--scale-load", help="Divide intervals between submissions by this (1.5, or 3/2).")
@click.option("--resample-days", type=click.IntRange(1, 36_500), help="So many days, drawn from the file's days.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="For --resample-days.")
@click.option("--deadline-factor", help="A deadline of so many run times (3, 1.5 or 3/2) for jobs that have none.")
@click.option("--deadline-plus", metavar="TIME", help="So much later, such as 30m; alone, the same for every job.")
@click.option("--cpus-as-devices", is_flag=True, help="Count each CPU core as one device.")
@click.option("--strict", is_flag=True, help="Write nothing if any row is rejected; status 2.")
@_JSON
@_ALL
@_refusing
def convert(file: Path, out: Path, format_name: str | None, show_all: bool, as_json: bool, **options: Any) -> None:
    """Write the accepted jobs of FILE as a canonical trace; rejected rows are listed."""
    _not_onto_itself("--to", file, out)
    found = _read(file, format_name)
    _show_rejections(found, show_all)
    if options["strict"] and found.rejections:
        raise TraceError(f"{found.path}: nothing written, as {len(found.rejections)} rows are rejected (--strict)")
    records = _transformed(found.records, options)
    write_trace(records, out)
    _report_written(out, records, as_json, f"{found.path}: {_sum(found)}")


@trace.command()
@click.option("--profile", "profile_name", required=True, help="Name of a workload: see `rehearse trace profiles`.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help=".csv, .csv.gz or .parquet")
@click.option("--jobs", type=int, help="Number of jobs.")
@click.option("--days", type=float, help="About so many days, instead of a number of jobs.")
@click.option("--load", type=float, default=0.9, show_default=True, help="Devices x run time / (capacity x span).")
@click.option("--capacity", type=int, required=True, help="Devices of the fleet that the load is meant for.")
@click.option("--max-gpus", "gpus_max", type=int, help="Largest gang; the capacity if left out.")
@click.option("--seed", type=int, default=0, show_default=True)
@_JSON
@_refusing
def generate(profile_name: str, out: Path, as_json: bool, **options: Any) -> None:
    """Write a synthetic trace of a named workload with a target load."""
    from traces import synthetic

    spec = synthetic.Spec(profile=synthetic.profile_named(profile_name), **options)
    with _progress("generating"):
        records = synthetic.generate(spec)
    load = synthetic.offered_load(records, spec.capacity)
    write_trace(records, out)
    _report_written(out, records, as_json, f"profile {profile_name}, load {load:.4f} of {spec.capacity} devices")


@trace.command()
@_FILE
@click.option("--out", required=True, type=click.Path(path_type=Path), help=".csv, .csv.gz or .parquet")
@click.option("--key", required=True, help="Secret: equal names become equal hashes under one key.")
@_FORMAT
@_JSON
@_ALL
@_refusing
def anonymise(file: Path, out: Path, key: str, format_name: str | None, **shown: bool) -> None:
    """Write FILE as a canonical trace with hashed job ids, users and queues, without unknown columns."""
    _not_onto_itself("--out", file, out)
    found = _read(file, format_name)
    _show_rejections(found, shown["show_all"])
    records = transform.anonymise(found.records, key)
    write_trace(records, out)
    _report_written(out, records, shown["as_json"], f"{found.path}: {_sum(found)}")


def _not_onto_itself(option: str, file: Path, out: Path) -> None:
    """Raises `TraceError` if both are one file, under whatever names: what is rejected or left out would be lost."""
    try:
        same = file.samefile(out)
    except OSError:  # because: one of them is not there, or cannot be looked at, which reading or writing says
        return
    if same:
        raise TraceError(f"{option} {out}: is the file that is read; give another name")


def _read(file: Path, format_name: str | None) -> Trace:
    with _progress(f"reading {file}"):
        return read_trace(file, format_name)


@contextmanager
def _progress(what: str) -> Iterator[None]:
    """Say what is being done, on a terminal only, and wipe it when it is done."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(f"{what} ..."):
        yield


def _transformed(records: Sequence[JobRecord], options: dict[str, Any]) -> list[JobRecord]:
    kept = transform.window(records, options["from_ms"], options["to_ms"])
    if options["queues"]:
        kept = transform.select_queues(kept, options["queues"])
    if options["cpus_as_devices"]:
        kept = transform.cpus_as_devices(kept)
    if options["resample_days"] is not None:
        from traces.synthetic import stream

        kept = transform.resample_days(kept, options["resample_days"], stream(options["seed"], "resample days"))
    if options["scale_load"] is not None:
        kept = transform.scale_load(kept, _ratio("--scale-load", options["scale_load"]))
    factor, plus = options["deadline_factor"], options["deadline_plus"]
    if factor is not None or plus is not None:
        ratio = Fraction(0) if factor is None else _ratio("--deadline-factor", factor)
        kept = transform.with_deadlines(kept, ratio, 0 if plus is None else _duration_ms("--deadline-plus", plus))
    return kept


def _ratio(option: str, text: str) -> Fraction:
    if len(text) > 40:
        raise TraceError(f"{option} must be a number like 1.5 or 3/2, of at most 40 characters")
    try:
        return parse_factor(text)
    except (ValueError, ZeroDivisionError) as error:
        raise TraceError(f"{option} must be a number like 1.5 or 3/2, got {text!r}") from error


def _duration_ms(option: str, text: str) -> int:
    try:
        return parse_duration(text)
    except ValueError as error:
        raise TraceError(f"{option} {error}") from error


def _show_rejections(found: Trace, show_all: bool) -> None:
    """List the problems on standard error, with their places; the first ones only, unless all are asked for."""
    shown = found.rejections if show_all else found.rejections[:PROBLEMS_SHOWN]
    for rejection in shown:
        for line in _problem_lines(found.path, rejection):
            click.echo(line, err=True)
    left = len(found.rejections) - len(shown)
    if left:
        click.echo(f"... and {left} more rejected rows (--all lists them)", err=True)


def _problem_lines(path: str, rejection: Rejection) -> list[str]:
    job = "" if rejection.job_id is None else f"job {rejection.job_id}: "
    return [f"{path}:{rejection.line}: {job}{field}: {reason}" for field, reason in rejection.problems]


def _check_data(found: Trace) -> dict[str, Any]:
    return {
        "path": found.path,
        "format": found.format,
        "sha256": found.sha256,
        "rows": found.rows,
        "accepted": len(found.records),
        "rejected": len(found.rejections),
        "notes": _notes(found),
        "unknown_columns": found.unknown_columns,
        "rejections": [
            {
                "line": rejection.line,
                "job_id": rejection.job_id,
                "problems": [problem._asdict() for problem in rejection.problems],
            }
            for rejection in found.rejections
        ],
    }


def _notes(found: Trace) -> list[str]:
    """What the reader assumed, and that there is nothing where there is nothing."""
    return [*found.notes, *([] if found.rows else ["the file has no rows, and so no job to replay"])]


def _report_written(out: Path, records: Sequence[JobRecord], as_json: bool, origin: str) -> None:
    if as_json:
        _print_json({"out": str(out), "jobs": len(records), "from": origin})
    else:
        click.echo(f"{out}: {len(records)} jobs written ({origin})")


def _print_json(data: dict[str, Any]) -> None:
    click.echo(json.dumps(data, indent=2))


def _sum(found: Trace) -> str:
    return f"{found.rows} rows = {len(found.records)} accepted + {len(found.rejections)} rejected"


def _lines(summary: TraceSummary) -> list[tuple[str, str]]:
    """The summary as names and texts, absent figures as a dash."""
    runs = ", ".join(f"p{float(q) * 100:g} {_span(ms)}" for q, ms in summary.run_ms_quantiles.items())
    offered = "-" if summary.offered_devices is None else f"{summary.offered_devices:.2f} devices on average"
    named = (("top users", summary.top_users), ("top queues", summary.top_queues), ("outcomes", summary.outcomes))
    rest = (("families", summary.families), ("accelerators", summary.accelerators))
    return [
        ("file", f"{summary.path} ({summary.format}, sha256 {summary.sha256[:12]}...)"),
        ("rows", f"{summary.rows} = {summary.accepted} accepted + {summary.rejected} rejected"),
        *(("rejected", f"{count} x {reason}") for reason, count in summary.rejected_by_reason.items()),
        ("span", f"{_span(summary.span_ms)} (submissions {_order(summary)})"),
        ("jobs", f"{summary.gpu_jobs} on devices ({summary.shared_jobs} share one), {summary.cpu_jobs} on CPUs only"),
        ("devices of a job", _counts(summary.jobs_by_gpus)),
        ("run time", f"mean {_span(summary.run_ms_mean)}; {runs or '-'}; {summary.zero_run_jobs} of zero"),
        ("offered load", offered),
        ("users, queues", f"{summary.users}, {summary.queues}"),
        *((name, _counts(counts)) for name, counts in (*named, *rest) if counts),
        ("ties", f"{summary.tied_jobs} jobs share their submit instant with another"),
        ("estimates", f"{summary.with_estimate} jobs ({summary.estimate_below_run} outrun theirs)"),
        ("recorded starts", f"{summary.with_recorded_start} jobs"),
        ("deadlines", _deadlines(summary)),
        *([("lifetimes", f"{summary.with_lifetime} jobs")] if summary.with_lifetime else []),
        *(("note", note) for note in summary.notes),
        *(("unknown column", name) for name in summary.unknown_columns),
    ]


def _deadlines(summary: TraceSummary) -> str:
    said = f"{summary.with_deadline} jobs"
    if not summary.with_deadline:
        return said
    tight = summary.deadline_to_run_median
    middle = "" if tight is None else f"; in the median {tight:.3g} x its run time"
    return f"{said} ({summary.deadline_below_run} have less than their run time){middle}"


def _order(summary: TraceSummary) -> str:
    return "in order" if summary.submissions_in_order else "not in order"


def _counts(counts: dict[str, int], most: int = 12) -> str:
    """`1: 80, 2: 3, ...`: the most frequent in the order given, with the sum of the rest."""
    kept = set(sorted(counts, key=lambda name: -counts[name])[:most])
    listed = ", ".join(f"{name}: {count}" for name, count in counts.items() if name in kept)
    rest = sum(count for name, count in counts.items() if name not in kept)
    return f"{listed}, others: {rest}" if rest else listed


def _span(ms: float | None) -> str:
    """A time as people say it: `3.2 d`, `4.0 h`, `52 s`."""
    if ms is None:
        return "-"
    seconds = ms / 1000
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:g} s"
