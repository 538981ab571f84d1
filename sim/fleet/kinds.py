"""The accelerators of the catalogue, as the readers of Kubernetes objects ask for them."""

from __future__ import annotations

from functools import cache

from policies.kube.devices import DeviceKind, DeviceKinds
from policies.kube.sharing import same_cards
from sim.fleet.catalogue import Accelerator, catalogue


@cache
def device_kinds() -> DeviceKinds:
    """Every model of the catalogue with the resources that count its cards, shared or not."""
    kinds = {row.id: _kind(row) for row in catalogue()}

    def find(name: str) -> DeviceKind | None:
        row = catalogue().find(name)
        return None if row is None else kinds[row.id]

    return DeviceKinds(kinds.values(), find)


def _kind(row: Accelerator) -> DeviceKind:
    shared = (name for resource in row.resource_names for name in same_cards(resource))
    return DeviceKind(row.id, tuple(dict.fromkeys((*row.resource_names, *shared))), row.memory_mib)
