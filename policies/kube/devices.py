"""Which extended resources count devices, and of which model. Handed in by whoever has the catalogue of accelerators."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple


class DeviceKind(NamedTuple):
    """One model of card."""

    accelerator: str
    resources: tuple[str, ...]
    """Extended resources that count whole cards, the usual one first."""
    memory_mib: int | None = None
    """Memory of one card."""


class DeviceKinds:
    """The models that are known. `find` leads from any name of a card, as labels write it, to its model."""

    def __init__(self, kinds: Iterable[DeviceKind], find: Callable[[str], DeviceKind | None]) -> None:
        self.find = find
        self._of_resource: dict[str, list[DeviceKind]] = {}
        for kind in kinds:
            for resource in kind.resources:
                self._of_resource.setdefault(resource, []).append(kind)
        self.resources: tuple[str, ...] = tuple(self._of_resource)
        """Every extended resource that counts devices."""

    def counts_devices(self, resource: str) -> bool:
        """Whether a resource counts whole cards."""
        return resource in self._of_resource

    def sole(self, resource: str) -> DeviceKind | None:
        """The model, where only one has this resource."""
        kinds = self._of_resource.get(resource, ())
        return kinds[0] if len(kinds) == 1 else None

    def same_cards(self, resources: Sequence[str]) -> str | None:
        """The usual one of several resources that count the same cards (`kunlunxin.com/xpu`, `.../vxpu`); None if they do not."""
        for kind in self._of_resource.get(resources[0], ()):
            if all(resource in kind.resources for resource in resources):
                return min(resources, key=kind.resources.index)
        return None
