"""The scores by resources: NodeResourcesFit with its three strategies, and NodeResourcesBalancedAllocation.

Arithmetic is that of kube-scheduler v1.36, division truncating: per resource from 0 to 100, then the mean weighted by the
resources that count. A resource that the node does not have counts not; an extended one that the pod does not ask for neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.kube.configuration import FitArgs, ResourceWeight, ShapePoint
from policies.kube.ledger import CPU, EPHEMERAL, MEMORY, Counts, Ledger
from policies.kube.terms import PodTerms

SCORE_MAX: Final = 100


class Usage(NamedTuple):
    """One resource at the candidates."""

    weight: int
    capacity: Counts
    """0 where it does not count."""
    before: Counts
    """Requested without the pod."""
    after: Counts
    """Requested with it."""


def usages(
    terms: PodTerms,
    resources: Sequence[ResourceWeight],
    ledger: Ledger,
    candidates: Counts,
    *,
    nonzero: bool,
    as_if_empty: bool = False,
) -> list[Usage]:
    """What counts of each resource. `nonzero` takes CPU and memory as scores see them; `as_if_empty` forgets the pods."""
    asked = requested_by(terms, nonzero=nonzero)
    found = []
    for name, weight in resources:
        amount = asked.get(name, 0)
        if name not in (CPU, MEMORY, EPHEMERAL) and not amount:
            continue
        if name not in ledger.scored:
            continue
        columns = ledger.nonzero if nonzero and name in ledger.nonzero else ledger.requested
        before = columns[name][candidates]
        if as_if_empty:
            before = np.zeros_like(before)
        found.append(Usage(weight, ledger.scored[name][candidates], before, before + amount))
    return found


def requested_by(terms: PodTerms, *, nonzero: bool) -> dict[str, int]:
    """The pod's requests, with CPU and memory as scores see them if `nonzero`."""
    asked = dict(terms.requests)
    if nonzero:
        asked[CPU], asked[MEMORY] = terms.nonzero_cpu_milli, terms.nonzero_memory_bytes
    return asked


def fit_scores(
    terms: PodTerms, args: FitArgs, ledger: Ledger, candidates: Counts, *, as_if_empty: bool = False
) -> Counts:
    """NodeResourcesFit: 0..100 for each candidate."""
    used = usages(terms, args.resources, ledger, candidates, nonzero=True, as_if_empty=as_if_empty)
    total = np.zeros(len(candidates), dtype=np.int64)
    weights = np.zeros(len(candidates), dtype=np.int64)
    table = shape_table(args.shape) if args.strategy == "RequestedToCapacityRatio" else None
    for each in used:
        counts = each.capacity > 0
        capacity = np.where(counts, each.capacity, 1)
        over = each.after > capacity
        if table is not None:
            percent = np.where(over, SCORE_MAX, np.minimum(each.after, capacity) * SCORE_MAX // capacity)
            score = table[percent]
            counts = counts & (score > 0)
        elif args.strategy == "MostAllocated":
            score = np.minimum(each.after, capacity) * SCORE_MAX // capacity
        else:
            score = np.where(over, 0, (capacity - each.after) * SCORE_MAX // capacity)
        total += np.where(counts, score * each.weight, 0)
        weights += np.where(counts, each.weight, 0)
    divisor = np.maximum(weights, 1)
    score = total // divisor
    if table is not None:
        score = (2 * total + divisor) // (2 * divisor)  # to the nearest, half up
    return score


@lru_cache(maxsize=16)
def shape_table(shape: tuple[ShapePoint, ...]) -> Counts:
    """The score at each whole percent of utilization, 0..100: straight lines between the points, truncated towards zero."""
    points = [(each.utilization, each.score * SCORE_MAX // 10) for each in shape]
    table = np.array([_on_lines(points, percent) for percent in range(SCORE_MAX + 1)], dtype=np.int64)
    table.setflags(write=False)
    return table


def _on_lines(points: list[tuple[int, int]], percent: int) -> int:
    before: tuple[int, int] | None = None
    for point in points:
        if percent <= point[0]:
            if before is None:
                return point[1]
            rise = (point[1] - before[1]) * (percent - before[0])
            width = point[0] - before[0]
            return before[1] + (rise // width if rise >= 0 else -(-rise // width))
        before = point
    return points[-1][1]


def balanced_scores(
    terms: PodTerms,
    resources: Sequence[ResourceWeight],
    ledger: Ledger,
    candidates: Counts,
    *,
    as_if_empty: bool = False,
) -> Counts | None:
    """NodeResourcesBalancedAllocation: 50..100, the improvement of balance; None for a pod that asks for none of them."""
    asked = requested_by(terms, nonzero=False)
    if not any(asked.get(each.name) for each in resources):
        return None
    used = usages(terms, resources, ledger, candidates, nonzero=False, as_if_empty=as_if_empty)
    capacity = [each.capacity for each in used]
    after = balance(capacity, [each.after for each in used], len(candidates))
    before = balance(capacity, [each.before for each in used], len(candidates))
    return SCORE_MAX // 2 + (SCORE_MAX // 2 + after - before) // 2


def balance(capacities: Sequence[Counts], requests: Sequence[Counts], size: int) -> Counts:
    """(1 - standard deviation of the used fractions) x 100, truncated: 100 where all are used alike."""
    fractions = []
    counted = []
    for capacity, requested in zip(capacities, requests, strict=True):
        there = capacity > 0
        fractions.append(np.minimum(requested / np.where(there, capacity, 1), 1.0))
        counted.append(there)
    number = sum((there.astype(np.int64) for there in counted), np.zeros(size, dtype=np.int64))
    spread = np.where(number == 2, _half_difference(fractions, counted, size), 0.0)
    if len(fractions) > 2:
        spread = np.where(number > 2, _deviation(fractions, counted, number, size), spread)
    score: Counts = ((1 - spread) * float(SCORE_MAX)).astype(np.int64)
    return score


def _half_difference(
    fractions: list[NDArray[np.float64]], counted: list[NDArray[np.bool_]], size: int
) -> NDArray[np.float64]:
    """Half of how far apart the first two that count are."""
    seen = np.zeros(size, dtype=np.int64)
    difference = np.zeros(size)
    for fraction, there in zip(fractions, counted, strict=True):
        difference += np.where(there & (seen == 0), fraction, 0.0) - np.where(there & (seen == 1), fraction, 0.0)
        seen += there
    return np.abs(difference / 2)


def _deviation(
    fractions: list[NDArray[np.float64]], counted: list[NDArray[np.bool_]], number: Counts, size: int
) -> NDArray[np.float64]:
    """The standard deviation, summed in the order of the resources as the original does."""
    divisor = np.maximum(number, 1)
    total = np.zeros(size)
    for fraction, there in zip(fractions, counted, strict=True):
        total = total + np.where(there, fraction, 0.0)
    mean = total / divisor
    squares = np.zeros(size)
    for fraction, there in zip(fractions, counted, strict=True):
        squares = squares + np.where(there, (fraction - mean) * (fraction - mean), 0.0)
    deviation: NDArray[np.float64] = np.sqrt(squares / divisor)
    return deviation
