"""The cheapest mix of two or more pools within a budget."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import product
from typing import NamedTuple

from sim.fleet.model import Fleet
from sim.planning.fleets import devices_of, resized


class Mix(NamedTuple):
    """Servers of each pool, and what the whole fleet costs."""

    servers: dict[str, int]
    cost: float


class MixFound(NamedTuple):
    """The answer of a search for a mix."""

    best: Mix | None
    tried: int
    frontier: list[Mix]
    """The mixes that are enough and of which no pool can have one server less, cheapest first."""


def cheapest_mix(
    fleet: Fleet,
    ranges: Mapping[str, range],
    prices: Mapping[str, float],
    enough: Callable[[Fleet], bool],
    *,
    budget: float | None = None,
) -> MixFound:
    """The cheapest mix that is enough, among all counts in `ranges`, cheapest first.

    A mix that has no more of any pool than one that failed is not tried: it is taken to fail too. So the answer is the
    cheapest if more servers of a pool never hurt; `frontier` shows what is close.
    """
    names = list(ranges)
    mixes = []
    for counts in product(*ranges.values()):
        candidate = fleet
        for pool, count in zip(names, counts, strict=True):
            candidate = resized(candidate, pool, count)
        cost = devices_of(candidate, dict(prices))
        if budget is None or cost <= budget:
            mixes.append((cost, counts, candidate))
    mixes.sort(key=lambda mix: mix[:2])
    failed: list[tuple[int, ...]] = []
    frontier: list[tuple[float, tuple[int, ...]]] = []
    tried = 0
    for cost, counts, candidate in mixes:
        if any(_all_at_most(counts, other) for other in failed):
            continue
        if any(_all_at_most(other, counts) for _, other in frontier):
            continue
        tried += 1
        if enough(candidate):
            frontier.append((cost, counts))
        else:
            failed.append(counts)
    found = [Mix(dict(zip(names, counts, strict=True)), cost) for cost, counts in frontier]
    return MixFound(found[0] if found else None, tried, found)


def _all_at_most(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True))
