"""What a cell's result depends on, as one key: the scenario, the content of its files, the code of its policy, this program.

Where a file lies does not matter, what is in it does. A key is computed by the coordinator and again by the worker: if they
differ, a file or the program has changed, or is another one there, and the cell is not run.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

from policies import catalogue
from sim.experiment.policy_spec import EXTENDER, PROCESS, parse_process
from sim.experiment.scenario import Scenario
from sim.results import SCHEMA
from sim.run import versions
from sim.sweep.sources import module_sources

FILES: Final = ("trace", "cluster", "typical_pods", "scheduler_config", "speed_table", "locality_table")
"""Keys of a scenario that may name a file."""

COMPARED: Final = frozenset(
    {"rehearse_scenario", "traces", "policies", "baseline", "tie_orders", "blocks", "resamples", "metrics", "gates"}
)
"""Keys that only a comparison reads."""

KEY_DIGITS: Final = 24


class Digests:
    """SHA-256 of files and policies, each read once as long as it does not change."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[tuple[int, int], str]] = {}
        self._policies: dict[str, tuple[tuple[str, ...], ...]] = {}

    def file(self, path: str | Path) -> str | None:
        """None if there is no such file: a shorthand of a fleet is none, and one that is missing is told by its cell."""
        path = str(path)
        try:
            stat = Path(path).stat()
            stamp = (stat.st_mtime_ns, stat.st_size)
            known = self._files.get(path)
            if known is None or known[0] != stamp:
                with Path(path).open("rb") as file:
                    known = self._files[path] = (stamp, hashlib.file_digest(file, "sha256").hexdigest())
        except (OSError, ValueError):
            return None
        return known[1]

    def policy(self, spec: str) -> tuple[tuple[str, ...], ...]:
        """(name, SHA-256) of each file that holds the policy's code; nothing for one of the catalogue."""
        found = self._policies.get(spec)
        if found is None:
            found = tuple((path.name, self.file(path) or "") for path in _policy_files(spec))
            self._policies[spec] = found
        return found

    def forget_policies(self) -> None:
        """Look at the code of policies anew."""
        self._policies.clear()


def cell_key(scenario: Scenario, digests: Digests) -> str:
    """The identity of a cell: 24 hexadecimal digits."""
    data: dict[str, Any] = scenario.model_dump(mode="json", exclude=set(COMPARED))
    for name in FILES:
        value = data.get(name)
        if isinstance(value, str) and (digest := digests.file(value)) is not None:
            # because: the end of a name may say what format a file has
            data[name] = [Path(value).name, digest]
    for service in data["services"]:
        if isinstance(rates := service["rate"].get("file"), str):
            service["rate"]["file"] = [Path(rates).name, digests.file(rates)]
    assert scenario.policy is not None, "every cell has a policy"
    data["policy"] = _without_place(scenario.policy)
    known = [data, digests.policy(scenario.policy), SCHEMA, program()]
    text = json.dumps(known, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_DIGITS]


@cache
def program() -> str:
    """The version of this program with a digest of what decides its results: one that is being worked on changes too."""
    root = Path(__file__).resolve().parents[2]
    digest = hashlib.sha256()
    for path in sorted(each for folder in ("policies", "traces", "sim") for each in (root / folder).rglob("*")):
        parts = path.relative_to(root).parts
        if path.suffix in {".py", ".toml", ".yaml"} and parts[:2] not in {("sim", "report"), ("traces", "samples")}:
            digest.update("/".join(parts).encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return f"{versions()['rehearse']} {digest.hexdigest()}"


def _without_place(spec: str) -> object:
    """A policy without the folders in which its files lie."""
    name, _, rest = spec.partition(":")
    if name == EXTENDER:
        return [name, Path(rest).name]
    if name == PROCESS:
        try:
            return [name, parse_process(spec)._replace(cwd=None)]
        except ValueError:
            return spec  # because: the cell says what is wrong with it
    return spec


def _policy_files(spec: str) -> Iterator[Path]:
    name, _, rest = spec.partition(":")
    if name == PROCESS:
        yield from _process_files(spec)
    elif name == EXTENDER:
        yield Path(rest)
    elif rest and "=" not in rest and name not in catalogue.POLICIES:
        yield from module_sources(name)


def _process_files(spec: str) -> Iterator[Path]:
    """The executable, and every word of the command that is a file: a script is an argument of its interpreter."""
    try:
        asked = parse_process(spec)
    except ValueError:
        return  # because: the cell says what is wrong with it
    folder = Path(asked.cwd or ".")
    found = shutil.which(asked.command[0])
    if found is not None and not (folder / asked.command[0]).is_file():
        yield Path(found)
    for word in asked.command:
        if (folder / word).is_file():
            yield folder / word
