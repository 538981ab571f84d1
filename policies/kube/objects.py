"""Reading JSON objects of Kubernetes: typed access that collects what is wrong, with its path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from policies.kube.quantity import milli_of, up

Json = Mapping[str, Any]

EMPTY: Final[Json] = {}

AMOUNT_MAX: Final = 2**53
"""Above this an amount is a slip of the pen, and sums of it would leave 64-bit integers."""


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

    def __reduce__(self) -> tuple[object, ...]:
        # because: ValueError would call __init__ with its text alone when a worker sends it back
        return (ObjectError, (self.what, self.faults))


def mapping(value: object) -> Json:
    """The object, or an empty one for anything else (Kubernetes writes null and leaves out)."""
    return value if isinstance(value, dict) else EMPTY


def items(value: object) -> list[Json]:
    """The objects of a list; anything else counts as none."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


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
        return None if at.tzinfo is None else round(at.timestamp() * 1000)
    except (ValueError, OverflowError):
        return None


def milli_amounts(value: object, path: str, faults: list[Fault]) -> dict[str, int]:
    """A list of resources in thousandths, as the API server rounds them; what it would refuse goes to `faults`.

    It refuses what is no quantity, what is negative, and parts of what is counted (`nvidia.com/gpu`, `pods`).
    """
    found: dict[str, int] = {}
    for name, quantity in mapping(value).items():
        try:
            milli = milli_of(quantity.strip() if isinstance(quantity, str) else _quantity(quantity))
        except ValueError as error:
            faults.append(Fault(f"{path}.{name}", str(error)))
            continue
        if milli < 0:
            faults.append(Fault(f"{path}.{name}", f"must not be negative, got {shown(quantity)}"))
        elif milli % 1000 and is_counted(name):
            faults.append(Fault(f"{path}.{name}", f"must be a whole number, got {shown(quantity)}"))
        elif milli > AMOUNT_MAX and in_units(name, milli) > AMOUNT_MAX:
            faults.append(Fault(f"{path}.{name}", f"is too large: {in_units(name, milli)}"))
        else:
            found[name] = milli
    return found


def amounts(value: object, path: str, faults: list[Fault]) -> dict[str, int]:
    """The same in the units of `policies.kube.terms`, rounded up."""
    return {name: in_units(name, milli) for name, milli in milli_amounts(value, path, faults).items()}


def in_units(name: str, milli: int) -> int:
    """An amount in thousandths as a scheduler counts it: CPU in milli-cores, the rest whole, rounded up."""
    return milli if name == "cpu" else up(milli, 1000)


def is_counted(name: str) -> bool:
    """Whether a resource comes in whole numbers only: pods, and all that is not Kubernetes' own."""
    return name == "pods" or ("/" in name and "kubernetes.io/" not in name)


def shown(value: object) -> str:
    """A value as a message may print it."""
    printed = repr(value)
    return printed if len(printed) <= 40 else printed[:37] + "..."


def _quantity(value: object) -> str:
    """The text of a quantity that is not text: a number stands for its text, and null for nothing."""
    if value is None:
        return "0"
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or (isinstance(value, int) and abs(value) >> 512)
    ):
        raise ValueError(f"must be a quantity such as 96, 95500m or 1.5Gi, got {shown(value)}")
    return str(value)
