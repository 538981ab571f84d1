"""From the pods of one gang (or one pod alone) to the request that a policy sees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from policies.api import DEVICE_MILLI, JobView, NodeSet, Placement, PodGroup, Request
from policies.kube.pods import Pod
from policies.kube.sharing import SHARING
from policies.kube.terms import PodTerms
from policies.topology import Topology

KNOWN_MAX: Final = 8192
"""Distinct requests that are remembered."""

COUNTED: Final = frozenset(("cpu", "memory", "pods"))
"""Resources of the ledger besides devices."""

OF_SHARES: Final = frozenset(
    name for rule in SHARING.values() for name in (rule.memory, rule.percent, rule.cores) if name
)
"""Resources that say how much of a card is meant. Nodes have none of them; the card's own share stands for them."""


class Shape(NamedTuple):
    """A request, and which pods each group of its gang is made of."""

    request: Request
    groups: tuple[tuple[Pod, ...], ...]


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
        self._amounts: list[Mapping[str, int]] = [dict(node.allocatable) for node in topology.nodes]

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
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            request = self._known[key] = self._make(gang, first, terms)
        return Shape(request, tuple(tuple(members) for _, members in ordered))

    def _make(self, gang: tuple[PodGroup, ...], pod: Pod, terms: PodTerms) -> Request:
        accelerators = _names_of_cards(pod.resource)
        milli = DEVICE_MILLI
        if pod.devices:
            # because: the share of the smallest card is enough on every larger one
            allowed = self._topology.allowing(
                devices=1, device_memory_mib=pod.share.memory_mib, accelerators=accelerators, pools=None, terms=terms
            )
            nodes = (node for number, node in enumerate(self._topology.nodes) if allowed >> number & 1)
            milli = max((pod.share.milli_of(node.device_memory_mib) for node in nodes if node.devices), default=milli)
        request = self._topology.request(
            gang,
            device_milli=milli,
            device_memory_mib=pod.share.memory_mib,
            accelerators=accelerators,
            terms=terms,
        )
        return self._with_others(request, pod)

    def _with_others(self, request: Request, pod: Pod) -> Request:
        """Without the nodes that never have enough of what the ledger does not count."""
        others = others_of(pod)
        if not others:
            return request
        eligible: NodeSet = 0
        for number, amounts in enumerate(self._amounts):
            if all(amounts.get(name, 0) >= amount for name, amount in others.items()):
                eligible |= 1 << number
        return replace(request, eligible=request.eligible & eligible, simple=False)


def others_of(pod: Pod) -> dict[str, int]:
    """What a pod asks for beyond devices, CPU and memory, such as `rdma/hca` or `ephemeral-storage`."""
    return {
        name: amount
        for name, amount in pod.terms.requests
        if name not in COUNTED
        and name != pod.resource
        and name not in OF_SHARES
        and not name.startswith("koordinator.sh/")
    }


def members(shape: Shape, placement: Placement) -> Iterator[tuple[Pod, int, int]]:
    """Which pod goes where, and on which devices: pods by name, shares as they come. A share of several pods is cut."""
    left = [iter(group) for group in shape.groups]
    for node, mask, pods, group in placement:
        devices = shape.request.gang[group].devices
        for _ in range(pods):
            part = 0
            for _ in range(devices):
                part |= mask & -mask
                mask &= mask - 1
            yield next(left[group]), node, part


def job_view(job_id: str, arrival: int, pods: Sequence[Pod], request: Request, now_ms: int) -> JobView:
    """Pods that start together, as policies see them."""
    first = pods[0]
    created = [pod.created_ms for pod in pods if pod.created_ms is not None]
    return JobView(
        job_id=job_id,
        arrival=arrival,
        submit_ms=min(created, default=now_ms),
        request=request,
        queue=first.queue,
        user=first.user,
        priority=first.priority,
        estimate_ms=first.estimate_ms,
        family=first.family,
    )


def _names_of_cards(resource: str) -> tuple[str, ...]:
    """The resources that may count the cards of a node on which `resource` is asked for."""
    if not resource:
        return ()
    rule = SHARING.get(resource)
    return (resource, rule.cards) if rule is not None and rule.cards else (resource,)


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
