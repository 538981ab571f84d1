"""The sweep file: a base scenario, and what varies. From it the cells, each a scenario with an identity.

    rehearse_sweep: 1
    base: {rehearse_scenario: 1, trace: jobs.csv, cluster: 16x8}       # or the name of a scenario file
    grid: {policy: [fifo, easy], seed: [0, 1, 2], rules.restart: [0, 5m]}
    list: [{policy: sjf-oracle, oracle: true}]                          # besides the grid, or instead

A key with a dot reaches inside. Every cell is checked before the first one runs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final

from sim.experiment.scenario import Scenario, make_scenario, read_yaml, relative_to
from sim.fleet.problems import did_you_mean
from sim.results import SCHEMA
from sim.run import InputError, versions

VERSION: Final = 1
KEYS: Final = ("rehearse_sweep", "base", "grid", "list")
CELLS_MAX: Final = 100_000


@dataclass(frozen=True, slots=True)
class Cell:
    """One scenario of a sweep."""

    number: int
    varied: dict[str, Any]
    """What this cell has of its own: key -> value."""
    scenario: Scenario
    key: str
    """Its identity: the scenario, the content of its files and the version of the program. Also the name of its result."""


def read_sweep(path: Path) -> list[Cell]:
    """The cells of a sweep file. Raises `InputError` with every problem of every cell."""
    data = read_yaml(path)
    problems = [f"{key}: unknown key{did_you_mean(key, KEYS)}" for key in data if key not in KEYS]
    if data.get("rehearse_sweep") != VERSION:
        problems.insert(0, f"must begin with `rehearse_sweep: {VERSION}`")
    base = _base(data.get("base"), path, problems)
    varied = [*_grid(data.get("grid"), problems), *_list(data.get("list"), problems)]
    if not varied and not problems:
        problems.append("grid or list: one of them is needed, with something in it")
    if len(varied) > CELLS_MAX:
        problems.append(f"grid: gives {len(varied)} cells; at most {CELLS_MAX}")
    if problems:
        raise InputError("\n".join(f"{path}: {problem}" for problem in problems))
    return _cells(base, varied, path)


def _cells(base: Mapping[str, Any], varied: list[dict[str, Any]], path: Path) -> list[Cell]:
    problems: list[str] = []
    cells: list[Cell] = []
    digests: dict[str, str] = {}
    first_with: dict[str, int] = {}
    for number, own in enumerate(varied):
        place = f"{path}: cell {number} ({_words(own)})"
        try:
            scenario = make_scenario(_merged(base, relative_to(own, path.parent)), source=place)
        except InputError as error:
            problems.append(str(error))
            continue
        if scenario.policy is None:
            problems.append(f"{place}: policy: is required, one for each cell")
            continue
        key = cell_key(scenario, digests)
        if key in first_with:
            problems.append(f"{place}: is the same as cell {first_with[key]}")
        first_with.setdefault(key, number)
        cells.append(Cell(number, own, scenario, key))
    if problems:
        raise InputError("\n".join(problems))
    return cells


def cell_key(scenario: Scenario, digests: dict[str, str]) -> str:
    """The identity of a cell: 24 hexadecimal digits. `digests` remembers the SHA-256 of files."""
    data = scenario.model_dump(mode="json")
    files = [data.get(name) for name in ("trace", "cluster", "typical_pods", "scheduler_config", "speed_table", "locality_table")]
    known: dict[str, Any] = {"scenario": data, "files": [_digest(name, digests) for name in files], "schema": SCHEMA}
    known["version"] = versions()["rehearse"]
    text = json.dumps(known, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def _digest(name: object, digests: dict[str, str]) -> str | None:
    if not isinstance(name, str):
        return None
    if name not in digests:
        try:
            digests[name] = hashlib.sha256(Path(name).read_bytes()).hexdigest()
        except OSError:
            digests[name] = (
                ""  # because: a shorthand of a fleet is no file, and a file that is missing is told by its cell
            )
    return digests[name]


def _base(value: object, path: Path, problems: list[str]) -> Mapping[str, Any]:
    if isinstance(value, str):
        file = path.parent / value
        return relative_to(read_yaml(file), file.parent)
    if not isinstance(value, dict):
        problems.append(f"base: must be a scenario or the name of its file, got {value!r}")
        return {}
    return relative_to(value, path.parent)


def _grid(value: object, problems: list[str]) -> list[dict[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, dict) or not value:
        problems.append(f"grid: must be keys with lists of values, got {value!r}")
        return []
    for key, values in value.items():
        if not isinstance(values, list) or not values:
            problems.append(f"grid.{key}: must be a list of values, got {values!r}")
    if problems:
        return []
    return [dict(zip(value, chosen, strict=True)) for chosen in product(*value.values())]


def _list(value: object, problems: list[str]) -> list[dict[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        problems.append("list: must be a list of mappings, one for each cell")
        return []
    return list(value)


def _merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The base with a cell's own values; a key with dots reaches inside."""
    merged = dict(base)
    for key, value in own.items():
        *outer, last = str(key).split(".")
        place = merged
        for part in outer:
            inner = place.get(part)
            place[part] = dict(inner) if isinstance(inner, dict) else {}
            place = place[part]
        place[last] = value
    return merged


def _words(own: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in own.items())
