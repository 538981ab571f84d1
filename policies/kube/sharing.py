"""Parts of a device, as HAMi and the vendors' plugins ask for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from policies.kube.objects import Fault


class SharedDevice(NamedTuple):
    """What a pod takes of each of its devices."""

    memory_mib: int | None = None
    """Device memory; None is not said."""
    memory_percent: int | None = None
    cores_percent: int | None = None

    def milli_of(self, device_memory_mib: int | None) -> int:
        """The share of a device with this memory, in milli-devices, 1..1000: the larger of memory and cores, rounded up.

        Memory counts whole where the memory of the device is not known: too much rather than too little.
        """
        if self == WHOLE:
            return 1000
        wanted = [10 * (self.cores_percent or 0), 10 * (self.memory_percent or 0)]
        if self.memory_mib is not None:
            wanted.append(-(-1000 * self.memory_mib // device_memory_mib) if device_memory_mib else 1000)
        return min(max(*wanted, 1), 1000)


WHOLE: Final = SharedDevice()
"""Nothing said: whole devices."""


def share_of(requests: Mapping[str, int], resource: str) -> tuple[SharedDevice, list[Fault]]:
    """What a pod that counts its devices by `resource` takes of each, and what is wrong with it."""
    del requests, resource
    return WHOLE, []
