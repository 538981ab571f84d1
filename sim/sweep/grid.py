"""The sweep file: a base scenario, and what varies. From it the cells, each a scenario with an identity.

    rehearse_sweep: 1
    base: {rehearse_scenario: 1, trace: jobs.csv, cluster: 16x8}       # or the name of a scenario file
    grid: {policy: [fifo, easy], seed: [0, 1, 2], rules.restart: [0, 5m]}
    list: [{policy: sjf-oracle, oracle: true}]                          # besides the grid, or instead

A key with a dot reaches inside: `rules.restart`, `services.0.replicas`. Every cell is checked before the first one runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, Final

from sim.experiment.scenario import Scenario, make_scenario, read_yaml, relative_to
from sim.fleet.problems import did_you_mean
from sim.run import InputError
from sim.services.keys import rate_beside
from sim.sweep.identity import Digests, cell_key

VERSION: Final = 1
KEYS: Final = ("rehearse_sweep", "base", "grid", "list")
CELLS_MAX: Final = 100_000
PROBLEMS_MAX: Final = 20
"""Cells that are told of: one wrong key in the base is wrong in all."""

_RATE: Final = re.compile(r"services\.\d+\.rate", re.ASCII)
_RATE_FILE: Final = re.compile(r"services\.\d+\.rate\.file", re.ASCII)


@dataclass(frozen=True, slots=True)
class Cell:
    """One scenario of a sweep."""

    number: int
    varied: dict[str, Any]
    """What this cell has of its own: key -> value."""
    data: dict[str, Any]
    """The whole scenario as a file has it, with whole paths: a worker may be in another folder."""
    key: str
    """Its identity: see `sim.sweep.identity`. Also the name of its result."""

    @property
    def scenario(self) -> Scenario:
        """Made anew on each call: a hundred thousand of them at once are much memory."""
        return make_scenario(self.data, source=f"cell {self.number}")


def read_sweep(path: Path) -> list[Cell]:
    """The cells of a sweep file. Raises `InputError` with the problems of the file, or of its cells."""
    data = read_yaml(path)
    problems = [f"{key}: unknown key{did_you_mean(key, KEYS)}" for key in data if key not in KEYS]
    if data.get("rehearse_sweep") != VERSION:
        problems.insert(0, f"must begin with `rehearse_sweep: {VERSION}`")
    base = _base(data.get("base"), path, problems)
    grid, single = _grid(data.get("grid"), problems), _list(data.get("list"), problems)
    cells = (prod(map(len, grid.values())) if grid else 0) + len(single)
    if not cells and not problems:
        problems.append("grid or list: one of them is needed, with something in it")
    if cells > CELLS_MAX:
        problems.append(f"grid: gives {cells} cells; at most {CELLS_MAX}")
    if problems:
        raise InputError("\n".join(f"{path}: {problem}" for problem in problems))
    combinations = product(*grid.values()) if grid else ()
    varied = [*(dict(zip(grid, chosen, strict=True)) for chosen in combinations), *single]
    return _cells(base, varied, path)


def _cells(base: Mapping[str, Any], varied: list[dict[str, Any]], path: Path) -> list[Cell]:
    problems: list[str] = []
    cells: list[Cell] = []
    digests, folder = Digests(), path.resolve().parent
    first_with: dict[str, int] = {}
    for number, own in enumerate(varied):
        place = f"{path}: cell {number} ({_words(own)})"
        try:
            merged = _merged(base, _beside(own, folder))
        except InputError as error:
            problems.append(f"{place}: {error}")
            continue
        try:
            scenario = make_scenario(merged, source=place)
        except InputError as error:
            problems.append(str(error))
            continue
        wrong = _wrong(scenario)
        if wrong:
            problems += [f"{place}: {each}" for each in wrong]
            continue
        key = cell_key(scenario, digests)
        if key in first_with:
            problems.append(f"{place}: is the same as cell {first_with[key]}")
        first_with.setdefault(key, number)
        cells.append(Cell(number, own, merged, key))
    if problems:
        more = [f"{path}: and {len(problems) - PROBLEMS_MAX} more problems"] if len(problems) > PROBLEMS_MAX else []
        raise InputError("\n".join(problems[:PROBLEMS_MAX] + more))
    return cells


def _wrong(scenario: Scenario) -> list[str]:
    """What a scenario may hold and a cell may not."""
    found = []
    if scenario.policy is None:
        found.append("policy: is required, one for each cell")
    if scenario.traces:
        found.append("traces: a cell has one trace; write `trace: [...]` in the grid")
    return found


def _base(value: object, path: Path, problems: list[str]) -> Mapping[str, Any]:
    if isinstance(value, str):
        file = path.resolve().parent / value
        return relative_to(read_yaml(file), file.parent)
    if not isinstance(value, dict):
        problems.append(f"base: must be a scenario or the name of its file, got {value!r}")
        return {}
    return relative_to(value, path.resolve().parent)


def _grid(value: object, problems: list[str]) -> dict[str, list[Any]]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not value:
        problems.append(f"grid: must be keys with lists of values, got {value!r}")
        return {}
    for key, values in value.items():
        if not isinstance(values, list) or not values:
            problems.append(f"grid.{key}: must be a list of values, got {values!r}")
    return {} if problems else {str(key): values for key, values in value.items()}


def _list(value: object, problems: list[str]) -> list[dict[str, Any]]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        problems.append("list: must be a list of mappings, one for each cell")
        return []
    return [{str(key): inner for key, inner in each.items()} for each in value]


def _merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The base with a cell's own values; a key with dots reaches inside. Raises `InputError` for a place that no list has."""
    merged: dict[str, Any] = dict(base)
    for key, value in own.items():
        merged = _with(merged, key.split("."), value, key)
    return merged


def _with(inside: Any, parts: list[str], value: Any, key: str) -> Any:
    """A copy of what is inside, with another value at one place."""
    first, *rest = parts
    if isinstance(inside, list):
        if not (first.isascii() and first.isdigit() and int(first) < len(inside)):
            raise InputError(f"{key}: {first!r} is no place in a list of {len(inside)}: they count from 0")
        place = int(first)
        changed = _with(inside[place], rest, value, key) if rest else value
        return [*inside[:place], changed, *inside[place + 1 :]]
    known = inside if isinstance(inside, dict) else {}
    return {**known, first: _with(known.get(first), rest, value, key) if rest else value}


def _beside(own: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A cell's own values with their paths made relative to the folder of the sweep, also those inside of services."""
    found = relative_to(own, folder)
    for key, value in found.items():
        if _RATE.fullmatch(key):
            found[key] = rate_beside(value, folder)
        elif _RATE_FILE.fullmatch(key) and isinstance(value, str):
            found[key] = str(folder / value)
    return found


def _words(own: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in own.items())
