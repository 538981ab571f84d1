"""The catalogue of accelerators: `accelerators.toml`, checked and typed; any name of a card finds its row."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from functools import cache
from importlib import resources
from typing import Any, Final

from sim.fleet.problems import FleetError, Problem, did_you_mean

SCHEMA_VERSION: Final = 1

CONFIDENCES: Final = {
    "H": "read in a primary or well-kept source, or measured",
    "M": "partly read and partly recalled, or one secondary source",
    "L": "recalled or disputed; put in your own figure before you quote a result",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """One model of card. A figure that nobody published is `None`.

    Memory is MiB of one device, the peak is dense BF16 or FP16 in GFLOPS, bandwidths are bytes/s (the link in
    one direction, for each device), power is watts. `software` is the family of images that run on it, which
    is a hard constraint. `resource_names` count whole devices in Kubernetes, the usual one first.
    """

    id: str
    name: str
    aliases: tuple[str, ...]
    vendor: str
    software: str
    memory_mib: int | None = None
    bf16_gflops: int | None = None
    memory_bandwidth_bytes_per_s: int | None = None
    link: str | None = None
    link_bytes_per_s: int | None = None
    cards_per_server: int
    power_w: int | None = None
    resource_names: tuple[str, ...]
    shared_resource_names: tuple[str, ...]
    sharing: str
    allocation_rule: str | None = None
    confidence: str
    source: str
    note: str | None = None


class Catalogue:
    """Accelerators by id, display name or alias; letter case, blanks and punctuation do not matter."""

    def __init__(self, rows: tuple[Accelerator, ...]) -> None:
        """Refuses (`FleetError`) two rows that answer to the same name."""
        self.rows: Final = rows
        self._by_key: Final[dict[str, Accelerator]] = {}
        problems: list[Problem] = []
        for row in rows:
            for name in dict.fromkeys((row.id, row.name, *row.aliases)):
                other = self._by_key.setdefault(_key(name), row)
                if other is not row:
                    problems.append(Problem(row.id, f"the name {name!r} already leads to {other.id}"))
        if problems:
            raise FleetError(problems, source="accelerators")

    def __iter__(self) -> Iterator[Accelerator]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def find(self, name: str) -> Accelerator | None:
        """The row that `name` (an id, a display name or an alias) leads to, or `None`."""
        return self._by_key.get(_key(name))

    def canonical(self, name: str) -> str:
        """The id of the row that `name` leads to, or `name` itself where there is none."""
        row = self.find(name)
        return name if row is None else row.id

    def hint(self, name: str) -> str:
        """`; did you mean 'nvidia-t4'?`, or the empty text."""
        names = {label: row.id for row in self.rows for label in (*row.aliases, row.name, row.id)}
        hint = did_you_mean(name, names)
        return hint or "; `rehearse fleet accelerators` lists them"


def _key(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


@cache
def catalogue() -> Catalogue:
    """The built-in catalogue. Read once; a mistake in the file is a `FleetError` that lists all of them."""
    text = resources.files("sim.fleet").joinpath("accelerators.toml").read_text(encoding="utf-8")
    return read_catalogue(text, source="accelerators.toml")


def read_catalogue(text: str, *, source: str) -> Catalogue:
    """The catalogue that a TOML text holds. Raises `FleetError` with every mistake, each with its row."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FleetError([Problem("", f"is not TOML: {error}")], source=source) from None
    problems = [Problem(key, "unknown key") for key in document if key not in _TOP_KEYS]
    if document.get("rehearse_accelerators") != SCHEMA_VERSION:
        problems.append(Problem("rehearse_accelerators", f"must be {SCHEMA_VERSION}"))
    tables = document.get("accelerator", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        problems.append(Problem("accelerator", "must be a list of tables, each under [[accelerator]]"))
        tables = []
    for index, table in enumerate(tables):
        problems += [problem.under(f"accelerator[{index}]") for problem in _row_problems(table)]
    if problems:
        raise FleetError(problems, source=source)
    return Catalogue(tuple(_row(table) for table in tables))


_TOP_KEYS: Final = ("rehearse_accelerators", "accelerator")
_LISTS: Final = ("aliases", "resource_names", "shared_resource_names")
_NUMBERS: Final = tuple(item.name for item in fields(Accelerator) if str(item.type).startswith("int"))
_ALL: Final = tuple(item.name for item in fields(Accelerator))
_REQUIRED: Final = tuple(item.name for item in fields(Accelerator) if item.default is MISSING)


def _row_problems(table: dict[str, Any]) -> Iterator[Problem]:
    for key in table:
        if key not in _ALL:
            yield Problem(key, f"unknown key{did_you_mean(key, _ALL)}")
    for key in _REQUIRED:
        if key not in table:
            yield Problem(key, "is required")
    for key, value in table.items():
        if key in _NUMBERS and not (type(value) is int and value > 0):
            yield Problem(key, f"must be a whole number above 0, got {value!r}; leave out what is unknown")
        elif key in _LISTS and not (isinstance(value, list) and all(_is_text(item) for item in value)):
            yield Problem(key, f"must be a list of texts, got {value!r}")
        elif key in _ALL and key not in _NUMBERS + _LISTS and not _is_text(value):
            yield Problem(key, f"must be a text that is not blank, got {value!r}")
    if "confidence" in table and table["confidence"] not in CONFIDENCES:
        yield Problem("confidence", f"must be one of {', '.join(CONFIDENCES)}, got {table['confidence']!r}")


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _row(table: dict[str, Any]) -> Accelerator:
    values: dict[str, Any] = {key: tuple(value) if key in _LISTS else value for key, value in table.items()}
    return Accelerator(**values)
