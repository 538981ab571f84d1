"""Pods that start together: from the pods of one gang (or one pod alone) to the request that a policy sees."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

from policies.api import DEVICE_MILLI, DeviceMask, PodGroup, Request
from policies.kube.pods import Pod
from policies.kube.terms import PodTerms
from policies.topology import Topology

REST: Final = "#rest"
"""Ends the id of the part of a gang that waits while another part of it holds devices."""


class Hold(NamedTuple):
    """Where a pod is."""

    node: str
    devices: DeviceMask
    """0 where not known: then the closest idle ones stand for them."""
    start_ms: int
    assumed: bool
    """True until the API server says the same."""


class Shape(NamedTuple):
    """A request, and which pods each group of its gang is made of."""

    request: Request
    groups: tuple[tuple[Pod, ...], ...]


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

    @property
    def waiting(self) -> list[Pod]:
        """Pods without a place, by name; without those that are being deleted."""
        return sorted(
            (pod for uid, pod in self.pods.items() if uid not in self.holds and not pod.leaving), key=_by_name
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
        have = len(self.holds) + len(waiting)
        return f"its gang has {have} of {self.size} pods" if have < self.size else ""


def _by_name(pod: Pod) -> tuple[str, str]:
    return (pod.namespace, pod.name)


class ShapeError(ValueError):
    """Pods that no request can describe."""


class Shapes:
    """Makes one `Request` for all that ask for the same of one topology.

    `labels` says whether the labels of pods are kept in the terms: a policy that looks at other pods needs them, for any other
    they would only make equal pods different.
    """

    def __init__(self, topology: Topology, *, labels: bool) -> None:
        self._topology = topology
        self._labels = labels
        self._known: dict[tuple[object, ...], Request] = {}

    def shape(self, pods: Sequence[Pod]) -> Shape:
        """The request of these pods as one gang. Raises `ShapeError` if they differ in more than their sizes."""
        first = _common(pods)
        grouped: dict[PodGroup, list[Pod]] = {}
        for pod in pods:
            grouped.setdefault(_group(pod), []).append(pod)
        ordered = sorted(grouped.items(), key=lambda entry: (-entry[0].devices, entry[0]))
        gang = tuple(group._replace(pods=len(members)) for group, members in ordered)
        terms = first.terms if self._labels else replace(first.terms, labels=(), images=())
        key = (gang, first.share, first.resource, terms)
        request = self._known.get(key)
        if request is None:
            request = self._known[key] = self._make(gang, first, terms)
        return Shape(request, tuple(tuple(members) for _, members in ordered))

    def _make(self, gang: tuple[PodGroup, ...], pod: Pod, terms: PodTerms) -> Request:
        accelerators = (pod.resource,) if pod.resource else ()
        milli = DEVICE_MILLI
        if pod.devices:
            # because: the share of the smallest card is enough on every larger one
            allowed = self._topology.allowing(
                devices=1, device_memory_mib=pod.share.memory_mib, accelerators=accelerators, pools=None, terms=terms
            )
            nodes = (node for number, node in enumerate(self._topology.nodes) if allowed >> number & 1)
            milli = max((pod.share.milli_of(node.device_memory_mib) for node in nodes if node.devices), default=milli)
        return self._topology.request(
            gang,
            device_milli=milli,
            device_memory_mib=pod.share.memory_mib,
            accelerators=accelerators,
            terms=terms,
        )


def _group(pod: Pod) -> PodGroup:
    amounts = dict(pod.terms.requests)
    return PodGroup(1, pod.devices, amounts.get("cpu", 0), -(-amounts.get("memory", 0) >> 20))


def _common(pods: Sequence[Pod]) -> Pod:
    """A pod that says what all of them have in common: kind and share of devices, and where they may go."""
    first = next((pod for pod in pods if pod.devices), pods[0])
    for pod in pods:
        if pod.devices and (pod.share, pod.resource) != (first.share, first.resource):
            raise ShapeError(f"{pod.name} and {first.name} of one gang ask for different kinds or parts of devices")
        if _placing(pod.terms) != _placing(first.terms):
            raise ShapeError(f"{pod.name} and {first.name} of one gang differ in their selectors or tolerations")
    return first


def _placing(terms: PodTerms) -> tuple[object, ...]:
    return (terms.node_selector, terms.required, terms.tolerations, terms.near, terms.away, terms.spread)


def unit_name(pod: Pod) -> str:
    """The name of the unit that a pod belongs to: `namespace/name` of the pod, or of its gang."""
    return pod.key if pod.gang is None else f"{pod.namespace}/{pod.gang.name}"
