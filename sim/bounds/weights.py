"""Ways to count what runs at once, each with a limit that no placement on the servers can exceed.

Devices are one way. Another gives a pod of d devices the value f(d), for any function f: then a server of w devices
holds at most the best value of pods that fit on w devices, which is a knapsack of at most 64 places, solved exactly. The
functions tried are the usual dual feasible ones (Fekete and Schepers, "New classes of fast lower bounds for bin packing
problems", 2001): they see that a pod of 5 devices leaves no room for another on a server of 8. The last way counts the jobs
that take more than half of everything, of which one runs at a time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import gcd
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.api import Request
from policies.values import DEVICE_MILLI

ROUNDINGS_MAX: Final = 8
"""Rounding functions that are tried."""


SUMS_MAX: Final = 2.0**60
"""Larger sums are counted in Python's integers."""

Exact = NDArray[Any]
"""Integers of 64 bits, or Python's where those would overflow."""


class Weights(NamedTuple):
    """What each request weighs; those that run at once never weigh more than `limit`. Plain integers."""

    name: str
    of: tuple[int, ...]
    """In the order in which the requests were given."""
    limit: int


def weights_of(requests: Sequence[Request], servers: Mapping[int, int]) -> list[Weights]:
    """Ways to count the requests on servers of which `servers` gives how many have how many devices; devices come first."""
    sizes = _sizes(requests)
    widest = max(servers, default=0)
    found: dict[tuple[tuple[int, ...], int], Weights] = {}
    for name, values in _functions(widest):
        room = _knapsack(values, sizes, widest)
        limit = DEVICE_MILLI * sum(room[devices] * count for devices, count in servers.items())
        _add(found, name, [_value(request, values) for request in requests], limit)
    whole = DEVICE_MILLI * sum(devices * count for devices, count in servers.items())
    _add(
        found,
        "jobs of more than half of the devices",
        [int(2 * request.demand_milli > whole) for request in requests],
        1,
    )
    return list(found.values())


def _add(found: dict[tuple[tuple[int, ...], int], Weights], name: str, of: list[int], limit: int) -> None:
    divisor = gcd(limit, *of)
    if any(of) and divisor:
        weights = Weights(name, tuple(weight // divisor for weight in of), limit // divisor)
        found.setdefault((weights.of, weights.limit), weights)


def _sizes(requests: Sequence[Request]) -> set[int]:
    """Devices of the pods that there are; a share of a device counts as a pod of one."""
    found: set[int] = set()
    for request in requests:
        if request.device_milli == DEVICE_MILLI:
            found |= {group.devices for group in request.gang}
        elif request.devices:
            found.add(1)
    return found - {0}


def _functions(widest: int) -> Iterator[tuple[str, list[int]]]:
    """Values of pods of 0, 1, ..., `widest` devices."""
    sizes = range(widest + 1)
    yield "devices", list(sizes)
    for least in range(2, widest // 2 + 1):
        name = f"pods on servers of {widest}, those below {least} left out"
        yield name, [widest if size > widest - least else size if size >= least else 0 for size in sizes]
    for parts in range(1, min(widest, ROUNDINGS_MAX + 1)):
        name = f"pods on servers of {widest}, rounded to {parts + 1} parts"
        yield (
            name,
            [
                size * parts if (parts + 1) * size % widest == 0 else (parts + 1) * size // widest * widest
                for size in sizes
            ],
        )


def _knapsack(values: Sequence[int], sizes: set[int], widest: int) -> list[int]:
    """The best value of pods of these sizes on 0, 1, ..., `widest` devices."""
    best = [0] * (widest + 1)
    for room in range(1, widest + 1):
        best[room] = max([best[room - 1], *(best[room - size] + values[size] for size in sizes if size <= room)])
    return best


def _value(request: Request, values: Sequence[int]) -> int:
    if request.device_milli != DEVICE_MILLI:
        return request.demand_milli * values[1] if request.devices else 0
    return DEVICE_MILLI * sum(group.pods * values[group.devices] for group in request.gang)


def servers_of(devices: Sequence[int]) -> dict[int, int]:
    """Devices of a server -> how many servers have as many; without those that have none."""
    return {count: number for count, number in Counter(devices).items() if count}


def areas(weights: NDArray[np.int64], run_ms: NDArray[np.int64]) -> Exact:
    """Weight x run time of each job, as integers that can be summed without overflow."""
    if float(weights.max(initial=0)) * float(run_ms.astype(np.float64).sum()) < SUMS_MAX:
        products: Exact = weights * run_ms
    else:
        products = weights.astype(object) * run_ms.astype(object)
    return products
