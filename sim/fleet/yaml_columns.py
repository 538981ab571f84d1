"""What a pool of a fleet file says once for all of its servers, or once for each: labels and amounts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, TypeVar

from sim.fleet.problems import Problem
from sim.fleet.yaml_schema import PoolKeys

_Value = TypeVar("_Value")

SINGLE: Final = ("cpu_milli", "memory_mib")
MAPPED: Final = ("labels", "allocatable")


class PerServer:
    """The values of each server of a pool: `of(0)` are the fields of the first."""

    def __init__(self, pool: PoolKeys) -> None:
        self._single: dict[str, Any] = {name: getattr(pool, name) for name in SINGLE}
        self._mapped: dict[str, dict[str, Any]] = {name: getattr(pool, name) for name in MAPPED}
        self._same = {name: values for name, values in self._mapped.items() if not _any_list(values)}

    def of(self, offset: int) -> dict[str, Any]:
        """The fields of the server at this place of the pool."""
        fields: dict[str, Any] = {name: _at(value, offset) for name, value in self._single.items()}
        for name, values in self._mapped.items():
            shared = self._same.get(name)
            fields[name] = {key: _at(value, offset) for key, value in values.items()} if shared is None else shared
        return fields

    def problems(self, path: str, servers: int) -> Iterator[Problem]:
        """Lists that do not name one value for each server."""
        for name, value in self._single.items():
            yield from _length(f"{path}.{name}", value, servers)
        for name, values in self._mapped.items():
            for key, value in values.items():
                yield from _length(f"{path}.{name}.{key}", value, servers)


def _any_list(values: dict[str, Any]) -> bool:
    return any(isinstance(value, list) for value in values.values())


def _at(value: list[_Value] | _Value, offset: int) -> _Value:
    return value[offset] if isinstance(value, list) else value


def _length(path: str, value: object, servers: int) -> Iterator[Problem]:
    if isinstance(value, list) and len(value) != servers:
        yield Problem(path, f"names {len(value)} values for {servers} servers")
