"""Parts of a device, as HAMi, Volcano, Koordinator, KAI and the vendors' plugins ask for them.

`SHARING` says for each resource that counts (parts of) cards which resources say how much of a card, and in which unit. Its facts
are those of HAMi v2.10 (`charts/hami/templates/scheduler/device-configmap.yaml`, `docs/*-support.md`, and the function
`GenerateResourceRequests` of each vendor in `pkg/device`). Where nothing is said of memory, all memory of a card is meant, hence
the whole card.

`traces.formats.k8s_amounts` has these rules for traces, which import no policies; a test holds the two together.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Final, NamedTuple

from policies.kube.objects import Fault


class SharedDevice(NamedTuple):
    """What a pod takes of each of its devices."""

    memory_mib: int | None = None
    """Device memory; None is not said."""
    memory_percent: int | None = None
    cores_percent: int | None = None
    milli: int | None = None
    """A share said as such, in milli-devices."""

    def milli_of(self, device_memory_mib: int | None) -> int:
        """The share of a device with this memory, in milli-devices, 1..1000: the larger of memory and cores, rounded up.

        Memory counts whole where the memory of the device is not known: too much rather than too little.
        """
        if self == WHOLE:
            return 1000
        wanted = [10 * (self.cores_percent or 0), 10 * (self.memory_percent or 0), self.milli or 0]
        if self.memory_mib is not None:
            wanted.append(-(-1000 * self.memory_mib // device_memory_mib) if device_memory_mib else 1000)
        return min(max(*wanted, 1), 1000)


WHOLE: Final = SharedDevice()
"""Nothing said: whole devices."""


class Sharing(NamedTuple):
    """How parts of a card are asked for beside a resource that counts them. Amounts are of each card."""

    memory: str = ""
    memory_mib: int = 1
    """MiB of one unit of `memory`."""
    percent: str = ""
    """Percent of a card's memory."""
    cores: str = ""
    cores_of_card: int = 100
    all_cores: bool = False
    """Whether all cores are meant where nothing is said of them."""
    or_bytes: bool = False
    """Whether an amount from a MiB on is one of bytes (it was written with a unit)."""
    sizes_mib: tuple[int, ...] = ()
    """The memory of the parts that a card can be cut into, small to large; beyond them it is the whole card."""
    single: bool = False
    """Whether only a single card can be shared; with more, whole cards are meant."""
    cards: str = ""
    """The resource that counts the same cards when they are not shared; empty for this one."""


def _ascend(chip: str, *sizes_mib: int) -> tuple[str, Sharing]:
    name = f"huawei.com/{chip}"
    return name, Sharing(f"{name}-memory", cores=f"{name}-core", sizes_mib=sizes_mib, single=True)


def _iluvatar(chip: str) -> tuple[str, Sharing]:
    name = f"iluvatar.ai/{chip}"
    return f"{name}-vgpu", Sharing(f"{name}.vMem", 256, cores=f"{name}.vCore", single=True)


_MLU: Final = Sharing("cambricon.com/mlu.smlu.vmemory", 256, cores="cambricon.com/mlu.smlu.vcore", all_cores=True)

SHARING: Final[Mapping[str, Sharing]] = {
    "nvidia.com/gpu": Sharing(
        "nvidia.com/gpumem", percent="nvidia.com/gpumem-percentage", cores="nvidia.com/gpucores"
    ),
    "volcano.sh/vgpu-number": Sharing(
        "volcano.sh/vgpu-memory",
        percent="volcano.sh/vgpu-memory-percentage",
        cores="volcano.sh/vgpu-cores",
        cards="nvidia.com/gpu",
    ),
    "amd.com/gpu": Sharing("amd.com/gpumem", cores="amd.com/gpucores", all_cores=True),
    "hygon.com/dcunum": Sharing("hygon.com/dcumem", cores="hygon.com/dcucores"),
    "hygon.com/hcunum": Sharing("hygon.com/hcumem", cores="hygon.com/hcucores", cards="hygon.com/dcunum"),
    "cambricon.com/vmlu": _MLU,
    "cambricon.com/mlu": _MLU,
    "metax-tech.com/sgpu": Sharing(
        "metax-tech.com/vmemory",
        1024,
        cores="metax-tech.com/vcore",
        all_cores=True,
        or_bytes=True,
        cards="metax-tech.com/gpu",
    ),
    "mthreads.com/vgpu": Sharing(
        "mthreads.com/sgpu-memory", 512, cores="mthreads.com/sgpu-core", cores_of_card=16, single=True
    ),
    "kunlunxin.com/vxpu": Sharing("kunlunxin.com/vxpu-memory", sizes_mib=(24_576, 49_152)),
    "enflame.com/vgcu": Sharing(percent="enflame.com/vgcu-percentage", single=True, cards="enflame.com/gcu"),
    "iluvatar.ai/vgpu": Sharing(
        "iluvatar.ai/vcuda-memory", 256, cores="iluvatar.ai/vcuda-core", single=True, cards="iluvatar.ai/gpu"
    ),
    **dict(map(_iluvatar, ("MR-V100", "MR-V50", "BI-V150", "BI-V100"))),
    **dict(
        (
            _ascend("Ascend910A", 2184, 4369, 8738, 17_476),
            _ascend("Ascend910B2", 8192, 16_384, 32_768),
            _ascend("Ascend910B3", 16_384, 32_768),
            _ascend("Ascend910B4", 8192, 16_384),
            _ascend("Ascend910B4-1", 16_384, 32_768),
            _ascend("Ascend910C", 16_384, 32_768),
            _ascend("Ascend310P", 3072, 6144, 12_288),
        )
    ),
}
"""Resource that counts cards -> how a part of them is asked for."""

_NOT_MODELLED: Final = re.compile(
    r"nvidia\.com/mig-.+|huawei\.com/Ascend[0-9A-Za-z]+-[0-9]+c.*|huawei\.com/npu-core"
    r"|enflame\.com/(?:drs-gcu|shared-gcu)|aws\.amazon\.com/neuroncore"
)

_KOORDINATOR: Final = "koordinator.sh/gpu"
_KAI_FRACTION: Final = "gpu-fraction"
_KAI_MEMORY: Final = "gpu-memory"
_KAI_COUNT: Final = "gpu-fraction-num-devices"
_KAI_CARDS: Final = "nvidia.com/gpu"


class Asked(NamedTuple):
    """Devices that are asked for in another way than by a resource that counts them."""

    resource: str
    devices: int
    share: SharedDevice


def share_of(requests: Mapping[str, int], resource: str) -> tuple[SharedDevice, list[Fault]]:
    """What a container that counts its devices by `resource` takes of each, and what is wrong with it."""
    rule = SHARING.get(resource)
    if rule is None or (rule.single and requests.get(resource, 0) > 1):
        return WHOLE, []
    faults: list[Fault] = []
    memory = requests.get(rule.memory, 0)
    memory_mib = memory >> 20 if rule.or_bytes and memory >= 1 << 20 else memory * rule.memory_mib
    percent = 0 if memory else _percent(requests, rule.percent, faults)
    said = requests.get(rule.cores, 0)
    cores = min(-(-100 * said // rule.cores_of_card), 100) if said else 100 * rule.all_cores
    if rule.sizes_mib and memory_mib and not said:
        memory_mib = next((size for size in rule.sizes_mib if memory_mib <= size), 0)
    if not memory_mib and not percent:
        return WHOLE, faults
    return SharedDevice(memory_mib or None, percent or None, cores or None), faults


def _percent(requests: Mapping[str, int], resource: str, faults: list[Fault]) -> int:
    percent = requests.get(resource, 0)
    if percent == 101:  # HAMi's own word for "not said"
        return 0
    if percent > 100:
        faults.append(Fault(resource, f"must be at most 100, got {percent}"))
    return min(percent, 100)


def largest(shares: Iterable[SharedDevice]) -> SharedDevice:
    """The share that is enough for each of several containers, each on devices of its own."""
    found = tuple(shares)
    if not found or WHOLE in found:
        return WHOLE
    by_field = zip(*found, strict=True)
    return SharedDevice(*(max((part for part in parts if part is not None), default=None) for parts in by_field))


def asked_otherwise(requests: Mapping[str, int], annotations: Mapping[str, str]) -> Asked | None:
    """The devices that a pod asks for in Koordinator's words, or in KAI's; None if it does not."""
    if any(amount and name.startswith(_KOORDINATOR) for name, amount in requests.items()):
        return _koordinator(requests)
    if _KAI_FRACTION in annotations or _KAI_MEMORY in annotations:
        return _kai(annotations)
    return None


def _koordinator(requests: Mapping[str, int]) -> Asked | None:
    """`gpu` and `gpu-memory-ratio` are percent of a card, `gpu-core` too, `gpu-memory` bytes; all of the whole pod."""
    both = requests.get(_KOORDINATOR, 0)
    ratio = both or requests.get(f"{_KOORDINATOR}-memory-ratio", 0)
    cores = both or requests.get(f"{_KOORDINATOR}-core", 0)
    memory = requests.get(f"{_KOORDINATOR}-memory", 0)
    devices = requests.get(f"{_KOORDINATOR}.shared", 0) or max(-(-max(ratio, cores) // 100), 1)
    if not ratio and not cores and not memory:
        return None
    share = SharedDevice(
        memory_mib=-(-memory // devices >> 20) or None,
        memory_percent=-(-ratio // devices) or None,
        cores_percent=-(-cores // devices) or None,
    )
    return Asked(_KAI_CARDS, devices, WHOLE if share.memory_percent == 100 else share)


def _kai(annotations: Mapping[str, str]) -> Asked | None:
    """`gpu-fraction` is a part of a card, `gpu-memory` MiB; both of each of `gpu-fraction-num-devices` cards."""
    count = annotations.get(_KAI_COUNT, "1")
    devices = int(count) if count.isascii() and count.isdigit() and 0 < len(count) < 10 and int(count) else 1
    memory = annotations.get(_KAI_MEMORY, "")
    if memory.isascii() and memory.isdigit() and 0 < len(memory) < 10 and int(memory):
        return Asked(_KAI_CARDS, devices, SharedDevice(memory_mib=int(memory)))
    fraction = annotations.get(_KAI_FRACTION, "")
    if not re.fullmatch(r"(?:0?\.[0-9]{1,9}|1(?:\.0{0,9})?)", fraction, re.ASCII) or not Fraction(fraction):
        return None
    return Asked(_KAI_CARDS, devices, SharedDevice(milli=-int(-Fraction(fraction) * 1000 // 1)))


def not_modelled(requests: Iterable[str]) -> tuple[str, ...]:
    """The resources among these that stand for parts of devices and are not modelled, such as MIG slices."""
    return tuple(sorted(name for name in requests if "/" in name and _NOT_MODELLED.fullmatch(name)))


def same_cards(resource: str) -> tuple[str, ...]:
    """Further resources that count the cards of `resource` where they are shared."""
    return tuple(name for name, rule in SHARING.items() if rule.cards == resource)
