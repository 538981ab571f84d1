"""Speeds and locality factors as measured by others: `speeds.toml` and `locality.toml`, checked and typed.

All figures are whole parts per million, so that the work of a job stays exact. Every figure carries its
source, how far it can be trusted (`confidence`: H, M or L), whether it is an estimate, and its raw value
before smoothing.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from importlib import resources
from itertools import chain
from typing import Any, Final

from sim.fleet.catalogue import CONFIDENCES, Accelerator, catalogue
from sim.fleet.problems import FleetError, Problem, did_you_mean

PPM: Final = 1_000_000
"""One, in parts per million."""

DEFAULT_FAMILY: Final = "default"
"""The family of a job about which nothing is known."""

DEFAULT_CLASS: Final = "default"
"""The locality class of a job about which nothing is known."""

ROOFLINE_REFERENCE: Final = "nvidia-a100-sxm-80gb"
"""The card to whose peak and memory bandwidth the estimates refer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A ratio in parts per million: `ppm` is what to use, `raw_ppm` what was measured, `None` for an estimate."""

    ppm: int
    raw_ppm: int | None
    estimated: bool
    confidence: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Jobs that scale alike over cards: `speeds` by accelerator id, relative to `reference`."""

    id: str
    name: str
    aliases: tuple[str, ...]
    reference: str
    locality: str
    speeds: Mapping[str, Figure]
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalityClass:
    """Jobs that suffer alike from distance: one factor for each rank, narrow to wide, never rising."""

    id: str
    name: str
    factors: tuple[Figure, ...]


@dataclass(frozen=True, slots=True)
class SpeedTable:
    """Families by name, and the speed of any pair of family and accelerator."""

    families: tuple[Family, ...]
    same_speed: Mapping[str, str]

    def find(self, name: str | None) -> Family | None:
        """The family that `name` (an id or an alias) leads to, or `None`."""
        key = "" if name is None else _key(name)
        return next((each for each in self.families if key in map(_key, (each.id, *each.aliases))), None)

    def family(self, name: str | None) -> Family:
        """The family that `name` leads to, else the default family."""
        found = self.find(name) or self.find(DEFAULT_FAMILY)
        assert found is not None, "read_speeds refuses a table without the default family"
        return found

    def relative_speed(self, family: str | None, accelerator: str) -> Figure:
        """Work done per unit of time, against the reference accelerator of the family.

        A measured pair is the row of the table. Any other pair is estimated by the ratio of the two cards for
        the default family. The generic device, and a card of which no figure is known, have speed one.
        """
        own = self.family(family)
        card = catalogue().find(accelerator)
        name = accelerator if card is None else card.id
        row = own.speeds.get(self.same_speed.get(name, name))
        if row is not None:
            known = family is None or self.find(family) is not None
            return row if known else replace(row, estimated=True, confidence="L")
        if card is not None and card.software == "any":
            return Figure(ppm=PPM, raw_ppm=None, estimated=False, confidence="H", source="generic device: speed 1")
        return self._estimate(own, card)

    def speed_ratio_ppm(self, family: str | None, accelerator: str, recorded_on: str) -> int:
        """Speed on `accelerator` against speed on the one on which the run time was recorded, at least 1 ppm."""
        speed = self.relative_speed(family, accelerator).ppm
        return max(1, _divided(speed * PPM, self.relative_speed(family, recorded_on).ppm))

    def _estimate(self, family: Family, card: Accelerator | None) -> Figure:
        wanted, reference = self._default_ppm(card), self._default_ppm(catalogue().find(family.reference))
        if card is None or wanted is None or reference is None:
            source = "no figure is known of this card: taken as the reference"
            return Figure(ppm=PPM, raw_ppm=None, estimated=True, confidence="L", source=source)
        source = f"estimate: {card.id} to {family.reference} for the family {DEFAULT_FAMILY}, else by roofline"
        ppm = max(1, _divided(wanted * PPM, reference))
        return Figure(ppm=ppm, raw_ppm=None, estimated=True, confidence="L", source=source)

    def _default_ppm(self, card: Accelerator | None) -> int | None:
        """The speed of a card for the default family, else its roofline, else `None`."""
        if card is None:
            return None
        row = self.family(DEFAULT_FAMILY).speeds.get(self.same_speed.get(card.id, card.id))
        return roofline_ppm(card) if row is None else row.ppm


@dataclass(frozen=True, slots=True)
class LocalityTable:
    """Locality classes by id."""

    classes: tuple[LocalityClass, ...]

    def find(self, name: str) -> LocalityClass | None:
        """The class called `name`, or `None`."""
        return next((each for each in self.classes if each.id == name), None)

    def factor(self, locality: str, rank: int) -> Figure:
        """What is kept of the speed at `rank` (0 is one server). Ranks beyond the table use its last row.

        Raises `FleetError` for an unknown class, `ValueError` for a negative rank.
        """
        found = self.find(locality)
        if found is None:
            known = [each.id for each in self.classes]
            reason = f"unknown locality class {locality!r}{did_you_mean(locality, known)}; known: {known}"
            raise FleetError([Problem("", reason)], source="locality")
        if rank < 0:
            raise ValueError(f"rank must be at least 0 (one server), got {rank}")
        return found.factors[min(rank, len(found.factors) - 1)]

    def factors_ppm(self, locality: str, levels: int) -> tuple[int, ...]:
        """The factors of a fleet with so many levels: one server, each level narrow to wide, the whole fleet."""
        return tuple(self.factor(locality, rank).ppm for rank in range(levels + 2))


def relative_speed(family: str | None, accelerator: str) -> Figure:
    """`SpeedTable.relative_speed` of the built-in table."""
    return speed_table().relative_speed(family, accelerator)


@lru_cache(maxsize=65_536)
def card_ppm(family: str | None, accelerator: str) -> int:
    """The number of `relative_speed` alone, remembered: for those who ask at each start of a job."""
    return relative_speed(family, accelerator).ppm


@lru_cache(maxsize=65_536)
def locality_factors_ppm(family: str | None, levels: int) -> tuple[int, ...]:
    """`LocalityTable.factors_ppm` of the built-in table, for the locality class of a job's family. Remembered."""
    return locality_table().factors_ppm(speed_table().family(family).locality, levels)


def roofline_ppm(card: Accelerator) -> int | None:
    """The smaller ratio, peak BF16 or memory bandwidth, to the A100, of those that are known; else `None`."""
    reference = catalogue().find(ROOFLINE_REFERENCE)
    assert reference is not None, "the catalogue has the card to which estimates refer"
    ratios = [
        _divided(own * PPM, other)
        for own, other in (
            (card.bf16_gflops, reference.bf16_gflops),
            (card.memory_bandwidth_bytes_per_s, reference.memory_bandwidth_bytes_per_s),
        )
        if own is not None and other is not None
    ]
    return min(ratios, default=None)


@cache
def speed_table() -> SpeedTable:
    """The built-in speeds. Read once; a mistake in the file is a `FleetError` that lists all of them."""
    return read_speeds(_builtin("speeds.toml"), source="speeds.toml")


@cache
def locality_table() -> LocalityTable:
    """The built-in locality classes. Read once; a mistake in the file is a `FleetError` that lists all of them."""
    return read_locality(_builtin("locality.toml"), source="locality.toml")


def read_speeds(text: str, *, source: str) -> SpeedTable:
    """The speeds that a TOML text holds, smoothed. Raises `FleetError` with every mistake in it."""
    document = _document(text, source)
    problems = list(_key_problems(document, _SPEEDS_KEYS))
    families = _tables(document, "family")
    for index, family in enumerate(families):
        problems += [each.under(f"family[{index}]") for each in _family_problems(family)]
    order = [cards for cards in _listed(document.get("order")) if isinstance(cards, list)]
    same = document["same_speed"] if isinstance(document.get("same_speed"), dict) else {}
    cards = [*chain.from_iterable(order), *same, *same.values()]
    problems += [Problem("order, same_speed", reason) for card in cards if (reason := _unknown_card(card))]
    names = [name for family in families for name in (family.get("id"), *_listed(family.get("aliases")))]
    problems += _repeated("family", names)
    if DEFAULT_FAMILY not in names:
        problems.append(Problem("family", f"there must be a family {DEFAULT_FAMILY!r}"))
    if problems:
        raise FleetError(problems, source=source)
    return SpeedTable(tuple(_family(family, order) for family in families), dict(same))


def read_locality(text: str, *, source: str) -> LocalityTable:
    """The locality classes that a TOML text holds, smoothed. Raises `FleetError` with every mistake in it."""
    document = _document(text, source)
    problems = list(_key_problems(document, _LOCALITY_KEYS))
    classes = _tables(document, "class")
    for index, each in enumerate(classes):
        path = f"class[{index}]"
        problems += [problem.under(path) for problem in _key_problems(each, _CLASS_KEYS)]
        for rank, factor in enumerate(_tables(each, "factor")):
            problems += [problem.under(f"{path}.factor[{rank}]") for problem in _figure_problems(factor)]
            if factor.get("raw_ppm", 0) != PPM and rank == 0:
                problems.append(Problem(f"{path}.factor[0].raw_ppm", f"must be {PPM}: one server is the measure"))
        if not _tables(each, "factor"):
            problems.append(Problem(f"{path}.factor", "must have at least the row of rank 0"))
    problems += _repeated("class", [each.get("id") for each in classes])
    if DEFAULT_CLASS not in [each.get("id") for each in classes]:
        problems.append(Problem("class", f"there must be a class {DEFAULT_CLASS!r}"))
    if problems:
        raise FleetError(problems, source=source)
    return LocalityTable(tuple(_locality_class(each) for each in classes))


def never_rising(values: Iterable[int]) -> list[int]:
    """Each value, or the smallest before it when that is smaller: `[5, 3, 4]` becomes `[5, 3, 3]`."""
    smoothed: list[int] = []
    for value in values:
        smoothed.append(min(value, smoothed[-1]) if smoothed else value)
    return smoothed


_Keys = Mapping[str, tuple[type, bool]]
_SPEEDS_KEYS: Final[_Keys] = {
    "rehearse_speeds": (int, True),
    "order": (list, False),
    "same_speed": (dict, False),
    "family": (list, True),
}
_LOCALITY_KEYS: Final[_Keys] = {"rehearse_locality": (int, True), "class": (list, True)}
_FAMILY_KEYS: Final[_Keys] = {
    "id": (str, True),
    "name": (str, True),
    "aliases": (list, False),
    "reference": (str, True),
    "locality": (str, True),
    "keep_order": (bool, False),
    "note": (str, False),
    "speed": (list, True),
}
_CLASS_KEYS: Final[_Keys] = {"id": (str, True), "name": (str, True), "factor": (list, True)}
_FIGURE_KEYS: Final[_Keys] = {
    "raw_ppm": (int, True),
    "estimated": (bool, True),
    "confidence": (str, True),
    "source": (str, True),
}


_WORDS: Final = {
    int: "a whole number",
    str: "text that is not blank",
    bool: "true or false",
    list: "a list",
    dict: "a table",
}


def _builtin(name: str) -> str:
    return resources.files("sim.world").joinpath(name).read_text(encoding="utf-8")


def _document(text: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise FleetError([Problem("", f"is not TOML: {error}")], source=source) from None


def _key_problems(table: Mapping[str, Any], keys: _Keys) -> Iterator[Problem]:
    for key, value in table.items():
        if key not in keys:
            yield Problem(key, f"unknown key{did_you_mean(key, keys)}")
        elif type(value) is not keys[key][0] or value == "":
            yield Problem(key, f"must be {_WORDS[keys[key][0]]}, got {value!r}")
    yield from (Problem(key, "is required") for key, (_, required) in keys.items() if required and key not in table)
    version = next((key for key in keys if key.startswith("rehearse_")), None)
    if version is not None and table.get(version, 1) != 1:
        yield Problem(version, f"must be 1, got {table[version]!r}")


def _family_problems(family: Mapping[str, Any]) -> Iterator[Problem]:
    yield from _key_problems(family, _FAMILY_KEYS)
    rows = _tables(family, "speed")
    cards = [row.get("accelerator") for row in rows]
    for index, row in enumerate(rows):
        figure = {key: value for key, value in row.items() if key != "accelerator"}
        yield from (each.under(f"speed[{index}]") for each in _figure_problems(figure))
        if reason := _unknown_card(row.get("accelerator")):
            yield Problem(f"speed[{index}].accelerator", reason)
        if row.get("accelerator") == family.get("reference") and row.get("raw_ppm") != PPM:
            yield Problem(f"speed[{index}].raw_ppm", f"must be {PPM}: this is the reference")
    if family.get("reference") not in cards:
        yield Problem("reference", "must have a row of its own")
    yield from _repeated("speed", cards)


def _figure_problems(row: Mapping[str, Any]) -> Iterator[Problem]:
    yield from _key_problems(row, _FIGURE_KEYS)
    ppm = row.get("raw_ppm", PPM)
    if type(ppm) is int and not 1 <= ppm <= 1000 * PPM:
        yield Problem("raw_ppm", f"must be 1 to {1000 * PPM}, got {ppm}")
    if row.get("confidence", "H") not in CONFIDENCES:
        yield Problem("confidence", f"must be one of {', '.join(CONFIDENCES)}, got {row['confidence']!r}")


def _tables(table: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    return [row for row in _listed(table.get(key)) if isinstance(row, dict)]


def _listed(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _unknown_card(card: object) -> str:
    """Why this is no id of the catalogue, or the empty text."""
    row = catalogue().find(card) if isinstance(card, str) else None
    if row is None:
        return f"must be the id of an accelerator, got {card!r}{catalogue().hint(str(card))}"
    return "" if row.id == card else f"must be the id of an accelerator: write {row.id!r} for {card!r}"


def _repeated(path: str, names: Sequence[object]) -> list[Problem]:
    twice = dict.fromkeys(str(name) for name in names if name is not None and names.count(name) > 1)
    return [Problem(path, f"{name!r} appears twice") for name in twice]


def _family(table: Mapping[str, Any], order: Sequence[Sequence[str]]) -> Family:
    used = {row["accelerator"]: int(row["raw_ppm"]) for row in table["speed"]}
    for oldest_first in order if table.get("keep_order", True) else ():
        newest_first = [card for card in reversed(oldest_first) if card in used]
        used |= dict(zip(newest_first, never_rising(used[card] for card in newest_first), strict=True))
    return Family(
        id=table["id"],
        name=table["name"],
        aliases=tuple(table.get("aliases", ())),
        reference=table["reference"],
        locality=table["locality"],
        speeds={row["accelerator"]: _figure(row, used[row["accelerator"]]) for row in table["speed"]},
        note=table.get("note"),
    )


def _locality_class(table: Mapping[str, Any]) -> LocalityClass:
    used = never_rising(row["raw_ppm"] for row in table["factor"])
    factors = tuple(_figure(row, ppm) for row, ppm in zip(table["factor"], used, strict=True))
    return LocalityClass(id=table["id"], name=table["name"], factors=factors)


def _figure(row: Mapping[str, Any], ppm: int) -> Figure:
    return Figure(
        ppm=ppm,
        raw_ppm=row["raw_ppm"],
        estimated=row["estimated"],
        confidence=row["confidence"],
        source=row["source"],
    )


def _divided(above: int, below: int) -> int:
    """The quotient, rounded to the nearest whole number."""
    return (2 * above + below) // (2 * below)


def _key(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())
