"""What a fleet file may say: its keys and their types, and each departure from them in plain words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

from sim.fleet.model import MAX_AMOUNT, MAX_DEVICES, MAX_SERVERS
from sim.fleet.problems import FleetError, Problem, did_you_mean

SCHEMA_VERSION: Final = 1

Amount = Annotated[int, Field(ge=0, le=MAX_AMOUNT)]


def _kind(value: object) -> str | None:
    """The branch of a choice, by the form of its value; `None` when no branch has that form."""
    forms: tuple[tuple[type, str], ...] = (
        (bool, ""),
        (int, "~count"),
        (str, "~name"),
        (list, "~list"),
        (dict, "~every"),
    )
    return next((tag for form, tag in forms if isinstance(value, form)), None)


class _Keys(BaseModel):
    """Exactly the declared keys; nothing is converted on the way."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class EveryServers(_Keys):
    """A new domain after each `every` servers of the pool, named `named` and a number that starts at `first`."""

    every: Annotated[int, Field(ge=1, le=MAX_SERVERS)]
    named: str | None = None
    first: Amount = 0


class EveryDevices(_Keys):
    """Groups of `every` consecutive devices."""

    every: Annotated[int, Field(ge=1, le=MAX_DEVICES)]


Servers = Annotated[
    Annotated[int, Field(ge=1, le=MAX_SERVERS), Tag("~count")]
    | Annotated[list[str], Field(min_length=1, max_length=MAX_SERVERS), Tag("~list")],
    Discriminator(_kind),
]
Groups = Annotated[
    Annotated[EveryDevices, Tag("~every")] | Annotated[list[list[int]], Tag("~list")], Discriminator(_kind)
]
EachAmount = Annotated[
    Annotated[int, Field(ge=0, le=MAX_AMOUNT), Tag("~count")] | Annotated[list[Amount], Tag("~list")],
    Discriminator(_kind),
]
EachText = Annotated[Annotated[str, Tag("~name")] | Annotated[list[str], Tag("~list")], Discriminator(_kind)]
Place = Annotated[
    Annotated[str, Tag("~name")] | Annotated[EveryServers, Tag("~every")] | Annotated[list[str], Tag("~list")],
    Discriminator(_kind),
]


class TaintKeys(_Keys):
    """The keys of a taint."""

    key: str
    value: str = ""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]


class PoolKeys(_Keys):
    """Servers that are alike. Amounts are of one server, `device_memory_mib` of one device."""

    name: str
    servers: Servers
    prefix: str | None = None
    accelerator: str | None = None
    devices: Annotated[int, Field(ge=0, le=MAX_DEVICES)]
    device_memory_mib: Annotated[int, Field(ge=1, le=MAX_AMOUNT)] | None = None
    islands: Groups = []
    numa: Groups = []
    cpu_milli: EachAmount | None = None
    memory_mib: EachAmount | None = None
    max_pods: Amount | None = None
    labels: dict[str, EachText] = {}
    resource: str | None = None
    taints: list[TaintKeys] = []
    unschedulable: bool = False
    allocatable: dict[str, EachAmount] = {}
    place: dict[str, Place] = {}


class QueueKeys(_Keys):
    """The keys of a queue."""

    name: str
    nominal: dict[str, Amount]
    borrowing_limit: dict[str, Amount] | None = None
    cohort: str | None = None
    weight: Annotated[int, Field(ge=1, le=MAX_AMOUNT)] = 1
    pools: list[str] | None = None


class FleetKeys(_Keys):
    """The keys of the whole file."""

    rehearse_fleet: Literal[1]
    name: str | None = None
    names: Literal["path", "exact"] = "path"
    levels: list[str] = []
    pools: Annotated[list[PoolKeys], Field(min_length=1)]
    queues: list[QueueKeys] = []


_FORMS: Final = {
    "servers": "a count, or a list of names",
    "islands": "a list of lists of device numbers, or {every: 4}",
    "numa": "a list of lists of device numbers, or {every: 4}",
    "place": "a name, {every: 16}, or a list with one name for each server",
    "labels": "text, or a list with one text for each server",
    "cpu_milli": "a whole number in digits, or a list with one for each server",
    "memory_mib": "a whole number in digits, or a list with one for each server",
    "allocatable": "a whole number in digits, or a list with one for each server",
}


def check_keys(data: Mapping[str, Any], *, source: str) -> FleetKeys:
    """The file as typed keys. Raises `FleetError` with every departure at its path."""
    try:
        return FleetKeys.model_validate(data)
    except ValidationError as error:
        problems = [
            Problem(
                path_of(each["loc"]),
                _reason(each["type"], each["loc"], each.get("input"), each.get("ctx", {})),
            )
            for each in error.errors(include_url=False)
        ]
        raise FleetError(problems, source=source) from None


def path_of(loc: Sequence[int | str]) -> str:
    """`pools[1].islands[0]` of a location; the names of branches, which begin with `~`, are left out."""
    path = ""
    for step in loc:
        if isinstance(step, int):
            path += f"[{step}]"
        elif not step.startswith("~"):
            path += f".{step}" if path else step
    return path


def _reason(kind: str, loc: Sequence[int | str], value: object, limits: Mapping[str, Any]) -> str:
    got = _shown(value)
    plain: dict[str, str] = {
        "missing": "is required",
        "int_type": f"must be a whole number in digits, got {got}",
        "int_from_float": f"must be a whole number in digits, got {got}",
        "string_type": f"must be text, got {got}{_quote_it(value)}",
        "list_type": f"must be a list, got {got}",
        "dict_type": f"must be a mapping of keys to values, got {got}",
        "model_type": f"must be a mapping of keys to values, got {got}",
        "too_short": "must not be empty",
        "too_long": f"must have at most {limits.get('max_length')} entries",
        "greater_than_equal": f"must be at least {limits.get('ge')}, got {got}",
        "less_than_equal": f"must be at most {limits.get('le')}, got {got}",
        "bool_type": f"must be true or false, got {got}",
        "literal_error": f"must be {limits.get('expected')}, got {got}",
    }
    if kind == "extra_forbidden":
        return f"unknown key{did_you_mean(str(loc[-1]), _known_keys(loc))}"
    if kind.startswith("union_tag"):
        form = next((_FORMS[step] for step in reversed(loc) if step in _FORMS), "something else")
        return f"must be {form}, got {got}{_quote_it(value) if 'labels' in loc else ''}"
    return plain.get(kind, f"is not accepted ({kind}), got {got}")


def _known_keys(loc: Sequence[int | str]) -> tuple[str, ...]:
    model: type[_Keys] = FleetKeys
    if loc[0] == "queues":
        model = QueueKeys
    elif "~every" in loc:
        model = EveryServers if "place" in loc else EveryDevices
    elif "taints" in loc:
        model = TaintKeys
    elif loc[0] == "pools" and len(loc) > 1:
        model = PoolKeys
    return tuple(model.model_fields)


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _quote_it(value: object) -> str:
    return "; put it in quotes" if isinstance(value, bool | int | float) else ""
