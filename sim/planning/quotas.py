"""Entitlements that grow and shrink with the fleet, so that a larger fleet is not kept idle by the quotas of the smaller one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from sim.fleet.model import ANY_ACCELERATOR, Fleet, Queue


def scaled_queues(before: Fleet, after: Fleet) -> tuple[Queue, ...]:
    """The queues of `after` with the entitlements of `before`, each times what became of the devices that it counts.

    Rounded so that the nominal quotas of one accelerator together are its old sum times the ratio, rounded down: what one queue
    loses by rounding, another one gets. Borrowing limits are rounded down one by one.
    """
    ratios = {name: (_devices(after, name), _devices(before, name)) for name in _counted(before)}
    sums: dict[str, int] = {}
    queues = []
    for old, queue in zip(before.queues, after.queues, strict=True):
        nominal = {}
        for name, amount in old.nominal.items():
            top, bottom = ratios[name]
            so_far = sums.get(name, 0)
            sums[name] = so_far + amount
            nominal[name] = _times(so_far + amount, top, bottom) - _times(so_far, top, bottom)
        limit = old.borrowing_limit
        if limit is not None:
            limit = {name: _times(amount, *ratios[name]) for name, amount in limit.items()}
        queues.append(replace(queue, nominal=nominal, borrowing_limit=limit))
    return tuple(queues)


def handed_out(fleet: Fleet) -> Mapping[str, tuple[int, int]]:
    """Accelerator -> (devices that the fleet has, devices that nominal quotas hand out), for those that quotas count."""
    sums: dict[str, int] = {}
    for queue in fleet.queues:
        for name, amount in queue.nominal.items():
            sums[name] = sums.get(name, 0) + amount
    return {name: (_devices(fleet, name), amount) for name, amount in sums.items()}


def _counted(fleet: Fleet) -> set[str]:
    return {name for queue in fleet.queues for name in queue.nominal}


def _devices(fleet: Fleet, name: str) -> int:
    return fleet.devices if name == ANY_ACCELERATOR else fleet.devices_by_accelerator.get(name, 0)


def _times(amount: int, top: int, bottom: int) -> int:
    """An entitlement to devices of which there were none stays."""
    return amount * top // bottom if bottom else amount
