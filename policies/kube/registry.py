"""The devices of a node as its plugin registers them (HAMi, Volcano vGPU, MetaX), and which of them a pod holds.

Where a plugin offers each card several times, `nvidia.com/gpu` counts offers; the registry counts cards. It is an annotation of
the node, in text (`UUID,offers,memMiB,cores,type,numa,healthy[,index,mode]` between colons, and shorter, older forms) or a JSON
list. Sources: HAMi `docs/develop/protocol.md` and `pkg/device/devices.go`, Volcano `devices/nvidia/vgpu`, MetaX `protocol.go`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from policies.kube.objects import Fault


class RegisteredDevice(NamedTuple):
    """One card, as its plugin describes it."""

    uuid: str
    place: int
    offers: int
    """How many pods may share it."""
    memory_mib: int
    cores: int
    """Its cores in the plugin's unit, mostly percent: 100."""
    model: str
    numa: int
    healthy: bool


_NAMED: Final = {
    "nvidia.com/gpu": ("hami.io/node-nvidia-register",),
    "volcano.sh/vgpu-number": ("volcano.sh/node-vgpu-register",),
    "hygon.com/dcunum": ("hami.io/node-dcu-register",),
    "hygon.com/hcunum": ("hami.io/node-hcu-register", "hami.io/node-dcu-register"),
    "cambricon.com/vmlu": ("hami.io/node-mlu-register",),
    "cambricon.com/mlu": ("hami.io/node-mlu-register",),
    "kunlunxin.com/vxpu": ("hami.io/node-register-xpu",),
    "amd.com/gpu": ("hami.io/node-amd-register",),
    "metax-tech.com/sgpu": ("metax-tech.com/node-gpu-devices",),
}
"""Resource -> the annotations that may hold its registry. Ascend and Iluvatar name theirs after the chip."""


class _Derived(NamedTuple):
    """How HAMi counts cards by their cores, where their plugin has no registry."""

    cores: str
    cores_of_card: int
    memory: str
    memory_mib: int
    """MiB of one unit of memory."""
    word: str
    """What stands between the name of the node and the number in the name of a card."""


_MLU: Final = _Derived("cambricon.com/mlu.smlu.vcore", 100, "cambricon.com/mlu.smlu.vmemory", 256, "cambricon-mlu")
_DERIVED: Final = {
    "cambricon.com/vmlu": _MLU,
    "cambricon.com/mlu": _MLU,
    "mthreads.com/vgpu": _Derived("mthreads.com/sgpu-core", 16, "mthreads.com/sgpu-memory", 512, "mthreads"),
}

_CHIP: Final = re.compile(r"huawei\.com/(?P<ascend>[\w-]+)|iluvatar\.ai/(?P<iluvatar>[\w-]+)-vgpu", re.ASCII)
_HELD: Final = re.compile(r"hami\.io/[\w.-]+-devices-allocated|volcano\.sh/vgpu-ids-new", re.ASCII)
_CARDS_MAX: Final = 1024
_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})


def registered_devices(
    node: str, resource: str, annotations: Mapping[str, str], allocatable: Mapping[str, int], faults: list[Fault]
) -> tuple[RegisteredDevice, ...]:
    """The healthy cards of a node that `resource` counts, in the order of their numbers; none where there is no registry.

    A policy numbers the devices of the node from 0 in this order. What cannot be read goes to `faults`.
    """
    for name in _annotations(resource):
        written = annotations.get(name, "").strip()
        if not written:
            continue
        try:
            found = _read(written)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            faults.append(Fault(f"metadata.annotations.{name}", f"is no registry of devices: {error}"))
            return ()
        if len({each.place for each in found}) == len(found):
            found.sort(key=lambda each: each.place)
        return tuple(each for each in found if each.healthy)
    return _derived(node, resource, allocatable)


def devices_held(annotations: Mapping[str, str], devices: Sequence[RegisteredDevice]) -> dict[int, int]:
    """Device number -> milli-devices that a pod with these annotations holds, among the devices of its node.

    What the annotations say of cards that the node does not have (any more), or in a form that is not known, is left out.
    """
    number_of = {device.uuid: number for number, device in enumerate(devices)}
    memory: dict[int, int] = {}
    cores: dict[int, int] = {}
    for name, written in annotations.items():
        if not _HELD.fullmatch(name):
            continue
        for part in re.split("[:;]", written):
            fields = part.split(",")
            number = number_of.get(fields[0].partition("[")[0])
            if number is None or len(fields) < 4 or not (_is_count(fields[2]) and _is_count(fields[3])):
                continue
            memory[number] = memory.get(number, 0) + int(fields[2])
            cores[number] = cores.get(number, 0) + int(fields[3])
    held = {}
    for number in sorted(memory):
        device = devices[number]
        parts = (_milli(memory[number], device.memory_mib), _milli(cores[number], device.cores))
        held[number] = min(max(*parts, 1), 1000)
    return held


def _milli(used: int, total: int) -> int:
    return -(-1000 * used // total) if total > 0 else 0


def _annotations(resource: str) -> tuple[str, ...]:
    chip = _CHIP.fullmatch(resource)
    if chip is None:
        return _NAMED.get(resource, ())
    if chip["ascend"]:
        return (f"hami.io/node-register-{chip['ascend']}",)
    return (f"hami.io/node-{chip['iluvatar']}-register",)


def _read(written: str) -> list[RegisteredDevice]:
    if written.startswith("["):
        return [_of_json(each, place) for place, each in enumerate(json.loads(written))]
    parts = [part for part in written.split(":") if part.strip()]
    if not parts:
        raise ValueError(f"it names no device: {written[:40]!r}")
    return [_of_text(part, place) for place, part in enumerate(parts)]


def _of_text(part: str, place: int) -> RegisteredDevice:
    fields = [field.strip() for field in part.split(",")]
    if len(fields) in (7, 9):
        uuid, offers, memory, cores, model, numa, healthy, *rest = fields
        index = rest[0] if rest else str(place)
    elif len(fields) == 6 and fields[5] in ("true", "false"):
        uuid, offers, memory, cores, model, healthy = fields
        numa, index = "0", str(place)
    elif len(fields) in (5, 6):
        uuid, offers, memory, model, healthy = fields[:5]
        numa, index, cores = "0", str(place), "100"
    else:
        raise ValueError(f"{len(fields)} fields in {part[:40]!r}")
    for what in (offers, memory, cores, index):
        if not _is_count(what):
            raise ValueError(f"{what[:20]!r} in {part[:40]!r} is no count")
    numbered = int(numa) if _is_count(numa) else 0
    return RegisteredDevice(uuid, int(index), int(offers), int(memory), int(cores), model, numbered, healthy in _TRUE)


def _of_json(each: Any, place: int) -> RegisteredDevice:
    """HAMi's and MetaX's keys; what is left out is 0 or false, as Go's encoder leaves it out."""
    if not isinstance(each, dict):
        raise TypeError(f"device {place} is no object")
    metax = "uuid" in each
    names = (
        ("uuid", "totalDevCount", "totalVRam", "totalCompute", "model", "healthy")
        if metax
        else ("id", "count", "devmem", "devcore", "type", "health")
    )
    uuid, offers, memory, cores, model, healthy = (each.get(name) for name in names)
    counts = [
        offers or 0,
        memory or 0,
        cores or 0,
        each.get("index") or (place if metax else 0),
        each.get("numa") or 0,
    ]
    if any(type(count) is not int or abs(count) >= 2**31 for count in counts):
        raise ValueError(f"device {place} has a count that is none")
    return RegisteredDevice(
        str(uuid or ""), counts[3], counts[0], counts[1], counts[2], str(model or ""), counts[4], healthy is True
    )


def _derived(node: str, resource: str, allocatable: Mapping[str, int]) -> tuple[RegisteredDevice, ...]:
    rule = _DERIVED.get(resource)
    if rule is None or not allocatable.get(rule.cores):
        return ()
    cards = min(-(-allocatable[rule.cores] // rule.cores_of_card), _CARDS_MAX)
    memory_mib = allocatable.get(rule.memory, 0) * rule.memory_mib // cards
    return tuple(
        RegisteredDevice(f"{node}-{rule.word}-{index}", index, 100, memory_mib, rule.cores_of_card, "", 0, True)
        for index in range(cards)
    )


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10
