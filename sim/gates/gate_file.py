"""`gates.yaml` -> gates, with every problem at its place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from sim.fleet.problems import FleetError, Problem, did_you_mean
from sim.fleet.yaml_text import read_mapping
from sim.gates.gate import Gate, parse_gate
from sim.run import InputError

VERSION: Final = 1
MAX_BYTES: Final = 1 << 20
KEYS: Final = ("rehearse_gates", "gates")


def read_gates(path: Path) -> list[Gate]:
    """The gates of a file. Raises `InputError` with every problem."""
    try:
        raw = path.read_bytes()
        if len(raw) > MAX_BYTES:
            raise InputError(f"{path}: has {len(raw)} bytes; a file of gates has at most {MAX_BYTES}")
        text = raw.decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 text") from error
    problems: list[Problem] = []
    try:
        data = read_mapping(text, source=str(path), begins=f"rehearse_gates: {VERSION}", problems=problems)
    except FleetError as error:
        raise InputError(str(error)) from error
    problems += [Problem(key, f"unknown key{did_you_mean(key, KEYS)}") for key in data if key not in KEYS]
    if data.get("rehearse_gates") != VERSION:
        problems.insert(0, Problem("rehearse_gates", f"must be {VERSION}, got {data.get('rehearse_gates')!r}"))
    gates = gates_of(data.get("gates"), problems)
    if problems:
        raise InputError(str(FleetError(problems, source=str(path))))
    return gates


def gates_of_items(items: Sequence[Any]) -> list[Gate]:
    """Those of a scenario, which has checked them; `{file: ...}` stands for the gates of a file. Raises `InputError`."""
    found: list[Gate] = []
    for each in items:
        if isinstance(each, Mapping) and list(each) == ["file"]:
            found += read_gates(Path(str(each["file"])))
        else:
            found.append(parse_gate(each))
    return found


def gates_of(value: Any, problems: list[Problem]) -> list[Gate]:
    """Gates of a list, or of a mapping of metrics to sentences; what is wrong goes to `problems`."""
    items: list[tuple[str, object]]
    if isinstance(value, Mapping):
        items = [(f"gates.{key}", {key: phrase}) for key, phrase in value.items()]
    elif isinstance(value, list) and value:
        items = [(f"gates[{index}]", each) for index, each in enumerate(value)]
    else:
        problems.append(Problem("gates", "must be a list of gates, or a mapping of metrics to what is allowed"))
        return []
    gates: list[Gate] = []
    for place, each in items:
        try:
            gates.append(parse_gate(each))
        except ValueError as error:
            problems.append(Problem(place, str(error)))
    return gates
