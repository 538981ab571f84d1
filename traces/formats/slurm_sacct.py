"""Slurm accounting: `sacct --parsable2` (fields between `|`) and `--parsable` (a `|` after the last, too).

Source: the sacct manual page. Devices come from ReqGRES (of each node) or, where that is absent, from AllocTRES
or ReqTRES (of the job). Times have no zone. A job step (`123.batch`) is part of a job: it is no row, and the
notes count the steps.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import NamedTuple

from traces import values
from traces.job import AMOUNT_MAX, COUNT_MAX, JobRecord
from traces.reading import Reading, StampedFormat
from traces.row import Row
from traces.table import TableFormat
from traces.trace import Rejection
from traces.values import BadValueError

STATES = {
    "completed": "completed",
    "cancelled": "cancelled",
    "failed": "failed",
    "out_of_memory": "failed",
    "timeout": "timeout",
    "deadline": "timeout",
    "node_fail": "node_fail",
    "boot_fail": "node_fail",
    "preempted": "unknown",
    "requeued": "unknown",
    "revoked": "unknown",
    "special_exit": "unknown",
}

_NOT_ENDED = frozenset({"pending", "running", "suspended", "configuring", "completing", "resizing", "stopped"})
_ABSENT = frozenset({"", "unknown", "none", "n/a", "(null)", "invalid"})
_NO_LIMIT = frozenset({"", "unlimited", "partition_limit", "n/a"})
_GRES = re.compile(r"(?:gres[/:])?gpu(?::([^:=()]+?))??(?:[:=]([0-9]{1,9}))?(?:\(.*\))?")
_MEMORY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)([KMGTP]?)([nc]?)", re.IGNORECASE)
_MIB = {
    "K": Decimal(1) / 1024,
    "": Decimal(1),
    "M": Decimal(1),
    "G": Decimal(1 << 10),
    "T": Decimal(1 << 20),
    "P": Decimal(1 << 30),
}
_MILLI_PER_CORE = 1000


class Devices(NamedTuple):
    """What a generic-resource text asks for: a number of devices, and the model where it names one."""

    gpus: int
    model: str | None


class SlurmSacctFormat(TableFormat, StampedFormat):
    """`Partition` is the queue, `Timelimit` the estimate. Jobs that never started or had not ended are rejected."""

    name = "slurm-sacct"
    description = "Slurm accounting: sacct --parsable2 or --parsable, with JobID|Submit|State|Elapsed|..."
    zone = "stamps have no zone"
    required = ("JobID", "Submit", "Start", "Elapsed", "State")
    optional = ("User", "Partition", "NNodes", "NCPUS", "ReqMem", "ReqGRES", "ReqTRES", "AllocTRES", "Timelimit")
    unused = (
        *("JobIDRaw", "Cluster", "Account", "Group", "GID", "UID", "Eligible", "End", "ExitCode", "ReqCPUS", "QOS"),
        *("NodeList", "JobName", "NTasks", "Priority"),
    )
    job_id_column = "JobID"
    delimiter = "|"
    trailing_delimiter = True

    def begin(self, reading: Reading, columns: tuple[str, ...]) -> None:
        """Say what the source leaves open."""
        reading.note("jobs that ask for no GPU are CPU jobs; cpus_as_devices counts their CPUs as devices")

    def convert(self, row: Row) -> JobRecord | Rejection | None:
        """The record of one job; None for a step."""
        job_id = row.identity("JobID")
        if "." in job_id:
            row.reading.count("job steps are part of their jobs, and no rows")
            return None
        state = _state(row)
        submit_ms = row.stamp("Submit")
        start_ms = _start_ms(row)
        nodes = row.integer_or_none("NNodes", 0) or 1
        cpus = row.integer_or_none("NCPUS") or 0
        gang, pods = _gang(row, nodes)
        return row.record(
            job_id,
            submit_ms=submit_ms,
            run_ms=row.parsed("Elapsed", values.span_ms, 0),
            gpu_count=gang.gpus,
            pods=pods,
            cpu_milli=cpus * _MILLI_PER_CORE,
            memory_mib=_memory_mib(row, nodes, cpus),
            accelerators=(gang.model,) if gang.model else (),
            user=row.text("User"),
            queue=row.text("Partition"),
            estimate_ms=_limit_ms(row),
            outcome=state,
            recorded_start_ms=row.started(submit_ms, start_ms),
            extra=self.extra_cells(row),
        )


def _state(row: Row) -> str:
    """The outcome: `CANCELLED by 1005` and `COMPLETED+` count by their first word."""
    words = row.required_text("State").lower().rstrip("+").split()
    state = words[0] if words else ""
    if state in _NOT_ENDED:
        row.problem("State", f"{state.upper()}: the job had not ended when the log was taken")
    elif state and state not in STATES:
        row.reading.count(f"rows whose State {values.shown(state)} has no counterpart are `unknown`")
    return STATES.get(state, "unknown")


def _start_ms(row: Row) -> int | None:
    if row.cells["Start"].strip().lower() in _ABSENT:
        row.problem("Start", "the job never started")
        return None
    return row.stamp("Start")


def _limit_ms(row: Row) -> int | None:
    limit = row.text("Timelimit")
    if limit is None or limit.lower() in _NO_LIMIT:
        return None
    return row.parsed("Timelimit", values.span_ms, 0)


def _gang(row: Row, nodes: int) -> tuple[Devices, int | None]:
    """Devices of the whole job, and the pods they are cut into."""
    if row.text("ReqGRES"):
        each = row.parsed("ReqGRES", devices, Devices(0, None))
        total = Devices(each.gpus * nodes, each.model)
        if total.gpus > COUNT_MAX:
            row.problem("ReqGRES", f"{each.gpus} devices on each of {nodes} nodes are more than {COUNT_MAX}")
        return total, nodes
    for column in ("AllocTRES", "ReqTRES"):
        if row.text(column):
            total = row.parsed(column, devices, Devices(0, None))
            return total, None if total.gpus % nodes else nodes
    return Devices(0, None), nodes


def devices(text: str) -> Devices:
    """The GPUs of `gpu:2`, `gpu:a100:2`, `gres/gpu=2` or a list of such; a total and a typed part count once.

    Raises `BadValueError` where an item that begins like a GPU cannot be read.
    """
    untyped, typed, models = 0, 0, dict[str, None]()
    for item in re.split(r",(?![^(]*\))", text.strip()):
        if not re.match(r"(?:gres[/:])?gpu(?![A-Za-z0-9_])", item):
            continue
        match = _GRES.fullmatch(item)
        if match is None:
            raise BadValueError(f"must be like gpu:2 or gpu:a100:2, got {values.shown(text)}")
        count = int(match[2]) if match[2] else 1
        if match[1]:
            typed += count
            models[match[1]] = None
        else:
            untyped += count
    if len(models) > 1:
        raise BadValueError(f"asks for several models at once, which no record can say: {values.shown(text)}")
    return Devices(max(untyped, typed), next(iter(models), None))


def _memory_mib(row: Row, nodes: int, cpus: int) -> int:
    """Memory of the whole job: `2800Mc` is of each CPU, `4Gn` of each node, `4G` of the job."""
    text = row.text("ReqMem")
    if text is None:
        return 0
    match = _MEMORY.fullmatch(text.rstrip("?"))
    if match is None:
        row.problem("ReqMem", f"must be like 2800Mc, 4Gn or 4G, got {values.shown(text)}")
        return 0
    times = {"c": cpus, "n": nodes}.get(match[3].lower(), 1)
    factor = _MIB[match[2].upper()] * times
    return row.parsed("ReqMem", lambda _: values.scaled(match[1], factor, 0, AMOUNT_MAX, up=True).value, 0)


FORMAT = SlurmSacctFormat()
