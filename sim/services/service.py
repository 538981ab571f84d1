"""What is known of a service: how many requests come, what one takes, and how many replicas are wanted.

A replica is a job with a lifetime (`traces.job`) that names its service: policies place it like any other.
How long requests take follows from the replicas that ran, and is computed from the timeline alone (`sim.services.latency`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from traces.job import DEVICE_MILLI


class Steps(NamedTuple):
    """A function of time that changes in steps: `value[i]` from `at_ms[i]` on, until the next. Both of one length, at least 1."""

    at_ms: NDArray[np.int64]
    """Ascending, without repetition; milliseconds since the trace's epoch."""
    value: NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas:
    """How many replicas are wanted: as many as keep each slot busy for `target` of the time, and some more, within limits."""

    least: int
    most: int
    target: float = 0.7
    """Share of the slots' time that requests take, from 0 (not included) to 1."""
    headroom: int = 0

    def wanted(self, busy_slots: float, slots: int) -> int:
        """For so many slots that requests keep busy in the mean (rate x time of a request), with `slots` in each replica."""
        taken = busy_slots / (slots * self.target)
        if taken > self.most:
            return self.most
        needed = max(math.ceil(round(taken, 9)), int(busy_slots > 0)) + self.headroom
        return min(max(needed, self.least), self.most)


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One service. Times of requests are exponential with mean `service_us`; requests wait in one line for a free slot."""

    name: str
    """The `service` of its replicas; their ids are `name/1`, `name/2` and so on."""
    rate: Steps
    """Requests a second. The service begins with the first step."""
    rate_file: str | None = None
    """The file that gave the rate."""
    rate_sha256: str | None = None
    end_ms: int
    """When it ends; its replicas are taken away then."""
    service_us: int
    """Mean time of a request in its slot at full speed (`sim.world`), in microseconds; at half speed it takes twice as long."""
    slots: int = 1
    """Requests that a replica answers at the same time."""
    replicas: Replicas
    start_up_ms: int = 0
    """From the start of a replica until it answers: the model is loaded."""
    objective_ms: int | None = None
    """A request that takes longer is late. None where nothing was promised."""
    gpu_count: int = 1
    """Of each replica, like all that follows."""
    gpu_milli: int = DEVICE_MILLI
    pods: int | None = None
    gpu_memory_mib: int | None = None
    cpu_milli: int = 0
    memory_mib: int = 0
    accelerators: tuple[str, ...] = ()
    family: str | None = None
    user: str | None = None
    queue: str | None = None
    priority: int = 0

    def as_data(self) -> dict[str, Any]:
        """For the manifest of a run; `service_from` reads it back."""
        data = {name: getattr(self, name) for name in self.__slots__}
        data["rate"] = {"at_ms": self.rate.at_ms.tolist(), "per_s": self.rate.value.tolist()}
        data["replicas"] = {name: getattr(self.replicas, name) for name in self.replicas.__slots__}
        data["accelerators"] = list(self.accelerators)
        return data


def service_from(data: Mapping[str, Any]) -> Service:
    """The service that `as_data` wrote."""
    fields = dict(data)
    rate = fields.pop("rate")
    return Service(
        rate=Steps(np.array(rate["at_ms"], dtype=np.int64), np.array(rate["per_s"], dtype=np.float64)),
        replicas=Replicas(**fields.pop("replicas")),
        accelerators=tuple(fields.pop("accelerators")),
        **fields,
    )
