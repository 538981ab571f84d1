"""Fragmentation of a server: the idle device share that the next pod, drawn from a known mix, could not use there.

F of a server is the sum over the kinds of pods of the mix of (share of the kind) x (what is idle there and useless
to it). A kind that the server cannot take at all finds everything idle useless: a pod without devices, a model that
it does not allow, too few devices with enough left, too little CPU. A kind that it can take finds useless what is
left of the devices that have less than it needs of each.

Assumes that the mix of the past is the mix to come. Memory and the number of pods are not looked at.
Source: Weng et al., "Beware of Fragmentation", USENIX ATC 2023, section 3; the mix as in the simulator published
with it (hkust-adsl/kubernetes-scheduler-simulator, pkg/utils/frag.go).

Sums are exact: shares are rounded once, to `UNIT` parts, and everything after is in integers, so that a total kept
up to date change by change is the total computed anew.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from policies.topology import Topology

LEAST_CPU_MILLI: Final = 100
"""What a pod that asks for no CPU counts as, in the mix and in the scores of the study."""

COVERAGE: Final = 0.95
"""The mix is cut where the commonest kinds make up this part of all pods."""

UNIT: Final = 1 << 32
"""Parts of a share: F is counted in milli-devices / UNIT. 10^8 milli-devices still fit 64 bits."""


class TypicalPod(NamedTuple):
    """One kind of pod in the mix by which fragmentation is measured."""

    share: float
    """Of all pods; the shares of a mix sum to 1."""
    cpu_milli: int
    device_milli: int
    devices: int
    accelerators: tuple[str, ...]


class PodKind(NamedTuple):
    """What pods are grouped by. `accelerators` as written: models joined by `|`, empty is any."""

    cpu_milli: int
    device_milli: int
    devices: int
    accelerators: str


def typical_pods(pods: Iterable[PodKind], *, coverage: float = COVERAGE) -> tuple[TypicalPod, ...]:
    """The commonest kinds, until they make up `coverage` of all pods; their shares renormalised to sum to 1.

    Ordered by count, most first; kinds of the same count in descending order of themselves. No pods give no mix.
    """
    return typical_of(Counter(pods), coverage=coverage)


def typical_of(counts: Counter[PodKind], *, coverage: float = COVERAGE) -> tuple[TypicalPod, ...]:
    """The same of pods that are counted already."""
    merged: Counter[PodKind] = Counter()
    for kind, count in counts.items():
        merged[kind._replace(cpu_milli=kind.cpu_milli or LEAST_CPU_MILLI)] += count
    ranked = sorted(((count, kind) for kind, count in merged.items()), reverse=True)
    pods_in_all = sum(count for count, _ in ranked)
    chosen: list[tuple[int, PodKind]] = []
    covered = 0
    for count, kind in ranked:
        chosen.append((count, kind))
        covered += count
        if covered / pods_in_all >= coverage:
            break
    return tuple(
        TypicalPod(
            share=count / covered,
            cpu_milli=kind.cpu_milli,
            device_milli=kind.device_milli,
            devices=kind.devices,
            accelerators=tuple(dict.fromkeys(filter(None, kind.accelerators.split("|")))),
        )
        for count, kind in chosen
    )


class Levels(NamedTuple):
    """Devices against the shares that the mix asks for: the last axis is the distinct shares, ascending."""

    below: NDArray[np.int64]
    """What is left of the devices that have less than this share."""
    enough: NDArray[np.int64]
    """How many devices have this share or more."""


class Fragmentation:
    """A mix made ready for the servers of one topology. F is in milli-devices / `UNIT`.

    Raises ValueError for a mix without pods.
    """

    def __init__(self, mix: Sequence[TypicalPod], topology: Topology) -> None:
        if not mix:
            raise ValueError("a mix of typical pods needs at least one kind")
        with_devices = [pod for pod in mix if pod.devices]
        self.levels: NDArray[np.int64] = np.unique(
            np.array([pod.device_milli for pod in with_devices], dtype=np.int64)
        )
        """The distinct shares of a device that pods of the mix ask for."""
        self._level = np.searchsorted(self.levels, [pod.device_milli for pod in with_devices])
        self._devices = np.array([pod.devices for pod in with_devices], dtype=np.int64)
        self._cpu = np.array([pod.cpu_milli for pod in with_devices], dtype=np.int64)
        self._weight = np.array([round(pod.share * UNIT) for pod in with_devices], dtype=np.int64)
        self._nowhere = sum(round(pod.share * UNIT) for pod in mix if not pod.devices)
        """The weight of pods without devices, which can use no device anywhere."""
        models = sorted({model or "" for model in topology.accelerator_of})
        allowed = [[not pod.accelerators or model in pod.accelerators for pod in with_devices] for model in models]
        self._allowed = np.array(allowed, dtype=bool).reshape(len(models), len(with_devices))
        numbers = {model: number for number, model in enumerate(models)}
        self._model = np.array([numbers[model or ""] for model in topology.accelerator_of], dtype=np.int64)

    def of(
        self, left_milli: NDArray[np.int64], cpu_milli: NDArray[np.int64], servers: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """F of each of n states: `left_milli` (n, D), 0 or less is nothing left; `cpu_milli` (n); `servers` (n)."""
        left = np.maximum(left_milli, 0)
        below, enough = self.against_levels(left)
        return self.measure(Levels(below.sum(axis=1), enough.sum(axis=1)), left.sum(axis=1), cpu_milli, servers)

    def against_levels(self, left: NDArray[np.int64]) -> Levels:
        """Each device alone against the levels: one more axis at the end."""
        column = left[..., None]
        enough = column >= self.levels
        return Levels(np.where(enough, 0, column), enough.astype(np.int64))

    def measure(
        self,
        levels: Levels,
        idle_milli: NDArray[np.int64],
        cpu_milli: NDArray[np.int64],
        servers: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        """F from sums over the devices of a server. `servers` and `cpu_milli` broadcast against `idle_milli`."""
        usable = levels.enough[..., self._level] >= self._devices
        usable &= cpu_milli[..., None] >= self._cpu
        usable &= self._allowed[self._model[servers]]
        useless = np.where(usable, levels.below[..., self._level], idle_milli[..., None])
        found: NDArray[np.int64] = useless @ self._weight + self._nowhere * idle_milli
        return found
