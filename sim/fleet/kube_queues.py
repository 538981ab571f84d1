"""Kueue's ClusterQueues, Cohorts and ResourceFlavors -> queues of a fleet.

A ClusterQueue becomes a queue with the devices that its flavors give it, by model. A flavor stands for the models of the nodes
that its labels select. What a queue of a fleet cannot say is noted, never dropped in silence.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final

from policies.kube.devices import DeviceKinds
from policies.kube.objects import items, mapping
from policies.kube.quantity import parse_quantity
from policies.kube.shapes import Each, fits, misfits
from sim.fleet.kube_objects import Placed
from sim.fleet.model import ANY_ACCELERATOR, Problem, Queue, Server

_META: Final = {"name": str}
_QUEUE: Final = {
    "metadata": _META,
    "spec": {
        "cohort": str,
        "cohortName": str,
        "resourceGroups": [{"flavors": [{"name": str, "resources": [{"name": str}]}]}],
        "fairSharing": dict,
    },
}
_FLAVOR: Final = {"metadata": _META, "spec": {"nodeLabels": Each(str)}}
_COHORT: Final = {"metadata": _META, "spec": {"parentName": str, "parent": str, "resourceGroups": [dict]}}


@dataclass(slots=True)
class _Quota:
    """What one flavor gives a queue of one resource."""

    models: tuple[str, ...]
    nominal: int
    limit: int | None


@dataclass(slots=True)
class _Draft:
    """A queue before it is known how the quotas of its cohort are counted."""

    name: str
    cohort: str | None
    weight: Fraction
    quotas: list[_Quota]
    pools: tuple[str, ...] | None


@dataclass(slots=True)
class KueueReader:
    """Reads the objects of Kueue against the servers of a fleet; collects problems and notes."""

    servers: Sequence[Server]
    kinds: DeviceKinds
    problems: list[Problem] = field(default_factory=list)
    notes: dict[str, None] = field(default_factory=dict)
    _selected: dict[str, list[Server]] = field(default_factory=dict)
    _parents: dict[str, str] = field(default_factory=dict)

    def queues(
        self, cluster_queues: Iterable[Placed], cohorts: Iterable[Placed], flavors: Iterable[Placed]
    ) -> list[Queue]:
        """The queues, in the order of their names; empty where there is a problem."""
        for placed in flavors:
            self._flavor(placed)
        for placed in cohorts:
            self._cohort(placed)
        drafts = [draft for placed in cluster_queues if (draft := self._draft(placed)) is not None]
        if self.problems:
            return []
        scale = _common_denominator(draft.weight for draft in drafts)
        together = {
            draft.cohort or draft.name for draft in drafts if any(len(quota.models) > 1 for quota in draft.quotas)
        }
        return [
            self._queue(draft, scale, together=(draft.cohort or draft.name) in together)
            for draft in sorted(drafts, key=lambda draft: draft.name)
        ]

    def _flavor(self, placed: Placed) -> None:
        if not self._fits(placed, _FLAVOR):
            return
        labels: Mapping[str, str] = mapping(mapping(placed.item.get("spec")).get("nodeLabels"))
        self._selected[_name(placed)] = [
            server for server in self.servers if all(server.labels.get(key) == value for key, value in labels.items())
        ]

    def _cohort(self, placed: Placed) -> None:
        if not self._fits(placed, _COHORT):
            return
        spec = mapping(placed.item.get("spec"))
        parent = spec.get("parentName") or spec.get("parent")
        if parent:
            self._parents[_name(placed)] = parent
        if spec.get("resourceGroups"):
            self.notes[f"Cohort {_name(placed)}: quota of a cohort itself is not modelled"] = None

    def _draft(self, placed: Placed) -> _Draft | None:
        if not self._fits(placed, _QUEUE):
            return None
        name, spec = _name(placed), mapping(placed.item.get("spec"))
        quotas: list[_Quota] = []
        pools: set[str] = set()
        for group_place, group in enumerate(items(spec.get("resourceGroups"))):
            for flavor_place, flavor in enumerate(items(group.get("flavors"))):
                path = placed.at(f"spec.resourceGroups[{group_place}].flavors[{flavor_place}]")
                servers = self._servers_of(flavor.get("name") or "", name)
                pools |= {server.pool for server in servers}
                quotas += self._quotas(flavor, servers, path, name)
        everywhere = {server.pool for server in self.servers}
        weight = self._quantity(spec.get("fairSharing") or {}, "weight", placed.at("spec.fairSharing"))
        return _Draft(
            name=name,
            cohort=self._root(spec.get("cohortName") or spec.get("cohort")),
            weight=Fraction(1) if weight is None else weight,
            quotas=quotas,
            pools=tuple(sorted(pools)) if pools and pools != everywhere else None,
        )

    def _servers_of(self, flavor: str, queue: str) -> Sequence[Server]:
        if flavor in self._selected:
            return self._selected[flavor]
        self.notes[f"ResourceFlavor {flavor} of {queue} is not in the files: it is taken to cover every node"] = None
        return self.servers

    def _quotas(self, flavor: Any, servers: Sequence[Server], path: str, queue: str) -> list[_Quota]:
        found = []
        for place, quota in enumerate(items(flavor.get("resources"))):
            resource, at = quota.get("name") or "", f"{path}.resources[{place}]"
            nominal = self._quantity(quota, "nominalQuota", at)
            limit = self._quantity(quota, "borrowingLimit", at)
            if not self.kinds.counts_devices(resource):
                continue
            if quota.get("lendingLimit") is not None:
                self.notes[f"ClusterQueue {queue}: lendingLimit is not modelled"] = None
            there = [server for server in servers if server.resource == resource]
            models = tuple(sorted({server.accelerator or "" for server in there}))
            if not models:
                self.notes[f"ClusterQueue {queue}: no node of flavor {flavor.get('name')} has {resource}"] = None
                continue
            if any(server.allocatable.get(resource) != server.devices for server in there):
                self.notes[f"{resource} counts offers of shared cards; quotas of it are taken as cards"] = None
            found.append(_Quota(models, int(nominal or 0), None if limit is None else int(limit)))
        return found

    def _queue(self, draft: _Draft, scale: int, *, together: bool) -> Queue:
        if together:
            self.notes[
                f"ClusterQueue {draft.name}: a flavor of its cohort covers several models, so its devices are counted together"
            ] = None
        nominal: dict[str, int] = {}
        limits: dict[str, int | None] = {}
        for quota in draft.quotas:
            key = ANY_ACCELERATOR if together else quota.models[0]
            nominal[key] = nominal.get(key, 0) + quota.nominal
            before = limits.get(key, 0)
            limits[key] = None if before is None or quota.limit is None else before + quota.limit
        if not nominal:
            nominal, limits = {ANY_ACCELERATOR: 0}, {ANY_ACCELERATOR: 0}
        weight = int(draft.weight * scale)
        if weight < 1:
            self.notes[f"ClusterQueue {draft.name}: a weight of 0 is taken as the smallest there is"] = None
        said = {key: limit for key, limit in limits.items() if limit is not None}
        return Queue(
            name=draft.name,
            nominal=nominal,
            borrowing_limit=said if draft.cohort is not None and said else None,
            cohort=draft.cohort,
            weight=max(weight, 1),
            pools=draft.pools,
        )

    def _root(self, cohort: str | None) -> str | None:
        """The outermost cohort, as a queue of a fleet knows only one."""
        seen: list[str] = []
        while cohort and cohort in self._parents and cohort not in seen:
            seen.append(cohort)
            cohort = self._parents[cohort]
        if seen:
            self.notes[f"Cohort {seen[0]} lies in {cohort}: cohorts of a tree lend to each other as one"] = None
        return cohort or None

    def _quantity(self, said: Mapping[str, Any], key: str, path: str) -> Fraction | None:
        value = said.get(key)
        if value is None:
            return None
        try:
            amount = parse_quantity(str(value))
        except ValueError as error:
            self.problems.append(Problem(f"{path}.{key}", str(error)))
            return None
        if not 0 <= amount <= 2**53:
            self.problems.append(Problem(f"{path}.{key}", f"must be from 0 to {2**53}, got {value}"))
            return None
        return amount

    def _fits(self, placed: Placed, form: Any) -> bool:
        found = [*misfits(placed.item, form)] if not fits(placed.item, form) else []
        self.problems += [Problem(placed.at(fault.path), fault.reason) for fault in found]
        if not found and not _name(placed):
            self.problems.append(Problem(placed.at("metadata.name"), "is required"))
            return False
        return not found


def _name(placed: Placed) -> str:
    return str(mapping(placed.item.get("metadata")).get("name") or "")


def _common_denominator(weights: Iterable[Fraction]) -> int:
    """The factor that makes all weights whole."""
    factor = 1
    for weight in weights:
        factor *= (weight * factor).denominator
    return min(factor, 10**9)
