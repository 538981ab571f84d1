"""Reading JSON objects of Kubernetes: typed access that collects what is wrong, with its path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from policies.kube.quantity import parse_quantity

Json = Mapping[str, Any]

EMPTY: Final[Json] = {}


class Fault(NamedTuple):
    """One thing that is wrong with an object."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}" if self.path else self.reason


class ObjectError(ValueError):
    """An object of Kubernetes cannot be read. `faults` lists everything that is wrong with it."""

    def __init__(self, what: str, faults: Sequence[Fault]) -> None:
        self.what = what
        self.faults = tuple(faults)
        super().__init__(f"{what}: " + "; ".join(str(fault) for fault in faults))


def mapping(value: object) -> Json:
    """The object, or an empty one for anything else (Kubernetes writes null and leaves out)."""
    return value if isinstance(value, Mapping) else EMPTY


def items(value: object) -> list[Json]:
    """The objects of a list; anything else counts as none."""
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def texts(value: object) -> tuple[str, ...]:
    """The texts of a list; anything else counts as none."""
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()


def text(value: object) -> str:
    """A text; anything else is the empty one."""
    return value if isinstance(value, str) else ""


def labels_of(item: Json) -> dict[str, str]:
    """The labels of an object."""
    return _strings(mapping(item.get("metadata")).get("labels"))


def annotations_of(item: Json) -> dict[str, str]:
    """The annotations of an object."""
    return _strings(mapping(item.get("metadata")).get("annotations"))


def _strings(value: object) -> dict[str, str]:
    return {key: each for key, each in mapping(value).items() if isinstance(each, str)}


def whole(value: object, default: int) -> int:
    """A whole number; anything else is the default."""
    return value if isinstance(value, int) and not isinstance(value, bool) else default


def time_ms(value: object) -> int | None:
    """A time in RFC 3339 as milliseconds since 1970; None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    return None if at.tzinfo is None else round(at.timestamp() * 1000)


def amounts(value: object, path: str, faults: list[Fault]) -> dict[str, int]:
    """A list of resources in the units of `policies.kube.terms`, rounded up; what cannot be read goes to `faults`."""
    found: dict[str, int] = {}
    for name, quantity in mapping(value).items():
        try:
            exact = parse_quantity(str(quantity))
        except ValueError as error:
            faults.append(Fault(f"{path}.{name}", str(error)))
            continue
        found[name] = -int(-(exact * 1000 if name == "cpu" else exact) // 1)
    return found
