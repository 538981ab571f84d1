"""How a policy is written: a text, or in a scenario file a mapping, which is turned into the same text.

The text is what a manifest keeps and what `sim.run.choose_policy` reads. Here is the one place that knows both forms of a policy
that is not a name: another form is one more entry in `FORMS`.

    process: ["./my-scheduler", "--flag"]      process:./my-scheduler --flag
    extender: scheduler-config.yaml            extender:scheduler-config.yaml
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from sim.experiment.durations import parse_duration
from sim.fleet.problems import did_you_mean

PROCESS: Final = "process"
EXTENDER: Final = "extender"

TIMEOUT_MS: Final = 30_000
"""How long a process may take for one answer, if nothing else is said."""

SETTINGS: Final = ("timeout", "name", "cwd")
"""What may stand before the words of a command, as `timeout=5s`."""


class ProcessSpec(NamedTuple):
    """A policy that is a program of its own."""

    command: tuple[str, ...]
    timeout_ms: int = TIMEOUT_MS
    name: str | None = None
    """What messages call it; None is the text of its command."""
    cwd: str | None = None
    """The folder in which it works; None is that of the caller."""


def parse_process(spec: str) -> ProcessSpec:
    """`process:timeout=5s ./my-scheduler --flag`: settings, then the words of a command as a shell reads them.

    Raises ValueError.
    """
    try:
        words = shlex.split(spec.partition(":")[2])
    except ValueError as error:
        raise ValueError(f"is not words as a shell reads them: {str(error).lower()}") from None
    given: dict[str, str] = {}
    while words and words[0].partition("=")[0] in SETTINGS and "=" in words[0]:
        key, _, value = words.pop(0).partition("=")
        given[key] = value
    if not words or not words[0]:
        raise ValueError("names no command, as in process:./my-scheduler --flag")
    timeout_ms = parse_duration(given["timeout"]) if "timeout" in given else TIMEOUT_MS
    if timeout_ms < 1:
        raise ValueError("timeout must be at least 1ms")
    return ProcessSpec(tuple(words), timeout_ms, given.get("name") or None, given.get("cwd") or None)


def spec_of(value: object) -> object:
    """The text of a policy that is written as a mapping; anything else as it is. Raises ValueError beginning with `must`."""
    if not isinstance(value, Mapping):
        return value
    forms = [form for form in FORMS if form in value]
    if len(forms) != 1:
        hint = did_you_mean(str(next(iter(value), "")), FORMS)
        raise ValueError(
            f"must have one of the keys {', '.join(FORMS)}, got {', '.join(map(str, value)) or 'none'}{hint}"
        )
    return FORMS[forms[0]].text(value)


def beside(value: object, folder: Path) -> object:
    """A policy of a scenario file with its paths made relative to the folder of the file, as far as they are paths."""
    if isinstance(value, Mapping):
        for name, form in FORMS.items():
            if name in value:
                return form.beside(value, folder)
    return value


def _process_text(value: Mapping[str, Any]) -> str:
    unknown = [key for key in value if key not in (PROCESS, *SETTINGS)]
    if unknown:
        hint = did_you_mean(str(unknown[0]), SETTINGS)
        raise ValueError(f"must have the keys process, {', '.join(SETTINGS)}, got {unknown[0]!r}{hint}")
    command = value[PROCESS]
    if not isinstance(command, list) or not command or not all(isinstance(word, str) for word in command):
        raise ValueError(f"must have process as a list of words, the command first, got {command!r}")
    words = []
    for key in SETTINGS:
        if value.get(key) is not None:
            if not isinstance(value[key], str) or not value[key]:
                raise ValueError(f"must have {key} as text, got {value[key]!r}")
            words.append(f"{key}={value[key]}")
    spec = f"{PROCESS}:{shlex.join([*words, *command])}"
    try:
        found = parse_process(spec)
    except ValueError as error:
        raise ValueError(f"must be a command with settings that can be read: {error}") from None
    if found.command != tuple(command):
        raise ValueError(f"must have a command that does not begin with a setting, got {command!r}")
    return spec


def _process_beside(value: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    """The command works in the folder of the scenario."""
    given = value.get("cwd")
    if given is not None and not isinstance(given, str):
        return value  # because: `spec_of` says what is wrong with it
    cwd = folder / (given or ".")
    return {**value, "cwd": str(cwd)} if cwd != Path() else value


def _extender_text(value: Mapping[str, Any]) -> str:
    unknown = [key for key in value if key != EXTENDER]
    if unknown:
        raise ValueError(f"must have the key extender alone, got {unknown[0]!r}")
    path = value[EXTENDER]
    if not isinstance(path, str) or not path:
        raise ValueError(f"must have extender as the name of a KubeSchedulerConfiguration file, got {path!r}")
    return f"{EXTENDER}:{path}"


def _extender_beside(value: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    path = value[EXTENDER]
    return {**value, EXTENDER: str(folder / path)} if isinstance(path, str) else value


class _Form(NamedTuple):
    """A kind of policy that a scenario file may write as a mapping with a key of its own."""

    text: Callable[[Mapping[str, Any]], str]
    """The mapping as a text. Raises ValueError beginning with `must`."""
    beside: Callable[[Mapping[str, Any], Path], Mapping[str, Any]]
    """The mapping with its paths relative to a folder."""


FORMS: Final[Mapping[str, _Form]] = {
    PROCESS: _Form(_process_text, _process_beside),
    EXTENDER: _Form(_extender_text, _extender_beside),
}
