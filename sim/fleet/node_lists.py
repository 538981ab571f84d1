"""Node lists of published clusters: openb CSV, Lingjun topology CSV, Philly machine lists. One reader each.

A list is recognised by its header. Servers keep the order of the file. Every bad cell is reported with its
line and field, all at once; a fleet is made only of a list without one.

To read another form, write a function from `Rows` to servers and add a line to `FORMATS`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from sim.fleet.catalogue import catalogue
from sim.fleet.model import GENERIC, MAX_AMOUNT, MAX_DEVICES, MAX_SERVERS, Fleet, FleetError, Problem, Server

OPENB_MAX_PODS: Final = 1001
"""The pod limit of every openb node in the simulator that published the list."""

LINGJUN_DEVICES: Final = 8
"""Devices of a Lingjun host: the list does not say, and 8 is the usual reading."""


@dataclass(slots=True)
class Rows:
    """The rows of a list and what is wrong with them: a reader goes on after a bad cell, to find them all."""

    source: str
    header: tuple[str, ...]
    rows: list[tuple[int, dict[str, str]]]
    problems: list[Problem] = field(default_factory=list)
    line: int = 0

    def __iter__(self) -> Iterator[dict[str, str]]:
        for line, row in self.rows:
            self.line = line
            yield row

    @property
    def spoilt(self) -> bool:
        """Whether something is wrong with the present line, so that no server can be made of it."""
        return bool(self.problems) and _line_number(self.problems[-1]) == self.line

    def bad(self, name: str, reason: str) -> None:
        """Report the cell `name` of the present line."""
        self.problems.append(Problem(f"line {self.line} {name}".strip(), reason))

    def text(self, row: Mapping[str, str], name: str, *, blank: bool = False) -> str:
        """A cell that prints on one line, and is not blank unless it may be."""
        value = row[name]
        if not (value or blank) or not value.isprintable():
            self.bad(name, f"must be a text that is not blank and prints on one line, got {value!r}")
        return value

    def whole(self, row: Mapping[str, str], name: str, most: int = MAX_AMOUNT) -> int:
        """A cell that must be a whole number from 0 to `most`; a bad one is reported and read as 0."""
        value = row[name]
        if value.isascii() and value.isdigit() and len(value) <= 18 and int(value) <= most:
            return int(value)
        self.bad(name, f"must be a whole number from 0 to {most}, got {value[:40]!r}")
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeListFormat:
    """One form of list: `columns` must all be in the header; further columns become labels of the server."""

    name: str
    says: str
    columns: tuple[str, ...]
    levels: tuple[str, ...] = ()
    read: Callable[[Rows], list[Server]]


def _openb(rows: Rows) -> list[Server]:
    key = "sn" if "sn" in rows.header else "name"
    servers: list[Server] = []
    for row in rows:
        devices, model = rows.whole(row, "gpu", MAX_DEVICES), rows.text(row, "model", blank=True)
        if not rows.spoilt and bool(devices) != bool(model):
            rows.bad("model", f"must be given exactly where there are devices, got {model!r} with gpu {devices}")
        name = rows.text(row, key)
        cpu_milli, memory_mib = rows.whole(row, "cpu_milli"), rows.whole(row, "memory_mib")
        if rows.spoilt:
            continue
        card = catalogue().find(model) if model else None
        servers.append(
            Server(
                name=name,
                pool=model or "cpu",
                accelerator=model or None,
                devices=devices,
                device_memory_mib=card.memory_mib if card else None,
                cpu_milli=cpu_milli,
                memory_mib=memory_mib,
                max_pods=OPENB_MAX_PODS,
                labels=_labels(row, OPENB, key),
            )
        )
    return servers


def _lingjun(rows: Rows) -> list[Server]:
    servers: list[Server] = []
    for row in rows:
        name = rows.text(row, "ip")
        dsw, psw, asw = (rows.text(row, column) for column in ("DSW", "PSW", "ASW"))
        if rows.spoilt:
            continue
        # because: an ASW name repeats under several PSWs, so each name is a path
        domains = (f"{dsw}/{psw}/{asw}", f"{dsw}/{psw}", dsw)
        servers.append(
            Server(
                name=name,
                pool="lingjun",
                accelerator=GENERIC,
                devices=LINGJUN_DEVICES,
                domains=domains,
                labels=_labels(row, LINGJUN),
            )
        )
    return servers


def _philly(rows: Rows) -> list[Server]:
    has_memory = "single GPU mem" in rows.header
    servers: list[Server] = []
    for row in rows:
        name = rows.text(row, "machineId")
        devices = rows.whole(row, "number of GPUs", MAX_DEVICES)
        memory_mib = _memory_mib(rows, row["single GPU mem"]) if has_memory else None
        if rows.spoilt:
            continue
        servers.append(
            Server(
                name=name,
                pool=f"{devices}-gpu",
                accelerator=GENERIC if devices else None,
                devices=devices,
                device_memory_mib=memory_mib if devices else None,
                labels=_labels(row, PHILLY, "single GPU mem", ""),
            )
        )
    return servers


def _memory_mib(rows: Rows, cell: str) -> int:
    """`12GB` is 12 x 1024 MiB, the nominal size of the card."""
    number = cell.removesuffix("GB").strip()
    if cell.endswith("GB") and number.isascii() and number.isdigit() and 0 < len(number) <= 4 and int(number):
        return int(number) * 1024
    rows.bad("single GPU mem", f"must be a number of gigabytes such as 12GB, got {cell[:40]!r}")
    return 0


OPENB: Final = NodeListFormat(
    name="openb",
    says="openb node list CSV: sn,cpu_milli,memory_mib,gpu,model",
    columns=("sn", "cpu_milli", "memory_mib", "gpu", "model"),
    read=_openb,
)
OPENB_NAMED: Final = NodeListFormat(
    name="openb-named",
    says="the same with the column `name` for `sn`",
    columns=("name", *OPENB.columns[1:]),
    read=_openb,
)
LINGJUN: Final = NodeListFormat(
    name="lingjun",
    says="Lingjun topology CSV: ip,DSW,PSW,ASW",
    columns=("ip", "DSW", "PSW", "ASW"),
    levels=("asw", "psw", "dsw"),
    read=_lingjun,
)
PHILLY: Final = NodeListFormat(
    name="philly",
    says="Philly machine list CSV: machineId,number of GPUs[,single GPU mem]",
    columns=("machineId", "number of GPUs"),
    read=_philly,
)

FORMATS: Final[tuple[NodeListFormat, ...]] = (OPENB, OPENB_NAMED, LINGJUN, PHILLY)


def recognise(text: str) -> NodeListFormat | None:
    """The form of a list, by the columns of its first line, or `None`."""
    header = _header(text.split("\n", 1)[0])
    return next((form for form in FORMATS if set(form.columns) <= set(header)), None)


def read_node_list(text: str, *, source: str, name: str | None = None, form: NodeListFormat | None = None) -> Fleet:
    """The fleet of a node list, called `name` or else `source`. Raises `FleetError` with every bad line."""
    form = form or recognise(text)
    if form is None:
        says = "; ".join(each.says for each in FORMATS)
        problem = Problem("line 1", f"is not the header of a known node list; known are {says}")
        raise FleetError([problem], source=source)
    rows = _rows(text, source)
    servers = form.read(rows)
    key, seen = form.columns[0], dict[str, int]()
    for row in rows:
        if row[key] and seen.setdefault(row[key], rows.line) != rows.line:
            rows.bad(key, f"the name {row[key]!r} is already that of line {seen[row[key]]}")
    if rows.problems:
        raise FleetError(sorted(rows.problems, key=_line_number), source=source)
    return Fleet(name=name or source, levels=form.levels, servers=tuple(servers))


def _rows(text: str, source: str) -> Rows:
    """Split a CSV text; a line with too few or too many cells, or broken quotes, is a problem and no row."""
    reader = csv.reader(io.StringIO(text, newline=""), skipinitialspace=True, strict=True)
    rows = Rows(source, _header(text.split("\n", 1)[0]), [], line=1)
    for name in rows.header:
        if rows.header.count(name) > 1 or not name.isprintable():
            rows.bad("", f"every column needs a name of its own that prints, got {name!r}")
    try:
        for number, cells in enumerate(reader):
            rows.line = reader.line_num
            if number == 0 or not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(rows.header):
                rows.bad("", f"has {len(cells)} cells, the header has {len(rows.header)}")
                continue
            row = dict(zip(rows.header, (cell.strip() for cell in cells), strict=True))
            rows.rows.append((reader.line_num, row))
    except csv.Error as error:
        rows.line = reader.line_num
        rows.bad("", f"is not CSV: {error}")
    if not 1 <= len(rows.rows) <= MAX_SERVERS and not rows.problems:
        rows.problems.append(Problem("", f"must list 1 to {MAX_SERVERS} servers, got {len(rows.rows)}"))
    return rows


def _header(line: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in line.lstrip("\ufeff").strip("\r\n").split(","))


def _labels(row: Mapping[str, str], form: NodeListFormat, *but: str) -> dict[str, str]:
    return {key: value for key, value in row.items() if key and key not in (*form.columns, *but)}


def _line_number(problem: Problem) -> int:
    words = problem.path.split()
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
