"""Pods that start together: a gang, or a pod alone, with where its pods are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from policies.api import DeviceMask
from policies.kube.pods import Pod

REST: Final = "#rest"
"""Ends the id of the part of a gang that waits while another part of it holds devices."""

GANG: Final = "#gang"
"""Ends the name of a gang, so that a pod may have the same name."""


class Hold(NamedTuple):
    """Where a pod is."""

    node: str
    devices: DeviceMask
    """0 where not known: then the closest idle ones stand for them."""
    start_ms: int
    assumed: bool
    """True until the API server says the same."""


@dataclass(slots=True)
class Unit:
    """A gang, or a pod alone: what starts whole or not at all."""

    name: str
    arrival: int
    size: int | None = 1
    """Pods that it needs to start; None while that is not known."""
    pods: dict[str, Pod] = field(default_factory=dict)
    """By uid; without those that ended."""
    holds: dict[str, Hold] = field(default_factory=dict)
    """By uid, of those that hold a place."""
    leaving: dict[str, Hold] = field(default_factory=dict)
    """By uid, of those that were preempted: policies see their places as free, and nobody is bound there until they are gone."""
    parked: str = ""
    """Why it is not decided on for now, though it waits; empty if it is."""

    @property
    def waiting(self) -> list[Pod]:
        """Pods without a place, by name; without those that are being deleted."""
        return sorted(
            (
                pod
                for uid, pod in self.pods.items()
                if uid not in self.holds and uid not in self.leaving and not pod.leaving
            ),
            key=_by_name,
        )

    @property
    def held(self) -> list[Pod]:
        """Pods with a place, by name."""
        return sorted((self.pods[uid] for uid in self.holds), key=_by_name)

    def fault(self, waiting: Sequence[Pod]) -> str:
        """Why its waiting pods cannot be placed yet, or the empty text."""
        gated = [pod.name for pod in waiting if pod.gates]
        if gated:
            return f"{gated[0]} is held by scheduling gates"
        if self.size is None:
            return "the size of its gang is not known: its PodGroup is missing"
        have = self._staying + len(waiting)
        return f"its gang has {have} of {self.size} pods" if have < self.size else ""

    def next_of(self, waiting: Sequence[Pod]) -> Sequence[Pod]:
        """Those that start together next: as many as the gang lacks, or one more of a gang that is large enough."""
        return waiting[: max((self.size or 1) - self._staying, 1)]

    @property
    def _staying(self) -> int:
        return sum(not self.pods[uid].leaving for uid in self.holds)


def _by_name(pod: Pod) -> tuple[str, str]:
    return (pod.namespace, pod.name)


def unit_name(pod: Pod) -> str:
    """The name of the unit that a pod belongs to: `namespace/name`, of the pod or of its gang, the latter marked."""
    return pod.key if pod.gang is None else gang_name(pod.namespace, pod.gang.name)


def gang_name(namespace: str, name: str) -> str:
    """The name of the unit of a gang."""
    return f"{namespace}/{name}{GANG}"


def same_to_policies(one: Pod, other: Pod, *, labels: bool) -> bool:
    """Whether two states of a pod ask for the same, wherever it is and whatever its containers do."""
    return _asks(one, labels=labels) == _asks(other, labels=labels)


def _asks(pod: Pod, *, labels: bool) -> Pod:
    terms = pod.terms if labels else replace(pod.terms, labels=(), images=())
    return replace(pod, terms=terms, node="", phase="", started_ms=None, finished_ms=None, nominated="")
