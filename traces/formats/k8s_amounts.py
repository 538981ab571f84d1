"""What a Pod object asks for: CPU, memory, devices and parts of devices. Quantities are exact, in thousandths.

The rules are those of kube-scheduler and of HAMi. `policies.kube` has them for schedulers; a test holds the two together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from decimal import ROUND_CEILING, Context, Decimal
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

from traces.values import BadValueError, shown

Problem = Callable[[str, str], None]
"""Takes a path and a reason."""

_FORM = re.compile(r"(\+?(?:[0-9]+\.?[0-9]*|\.[0-9]+))(?:[eE]([+-]?[0-9]{1,3})|([numkMGTPE]|[KMGTPE]i)?)", re.ASCII)
_UNITS = {
    **{
        unit: Decimal(10) ** (3 * power - 9)
        for power, unit in enumerate(("n", "u", "m", "", "k", "M", "G", "T", "P", "E"))
    },
    **{f"{unit}i": Decimal(1 << (10 * power)) for power, unit in enumerate("KMGTPE", start=1)},
}
_AMOUNT_MAX = 2**53
_EXACT = Context(prec=500, Emax=9999, Emin=-9999)


class Sharing(NamedTuple):
    """How a part of a card is asked for beside the resource that counts it."""

    memory: str = ""
    memory_mib: int = 1
    percent: str = ""
    cores: str = ""
    cores_of_card: int = 100
    all_cores: bool = False
    sizes_mib: tuple[int, ...] = ()
    single: bool = False


def _ascend(chip: str, *sizes_mib: int) -> tuple[str, Sharing]:
    name = f"huawei.com/{chip}"
    return name, Sharing(f"{name}-memory", cores=f"{name}-core", sizes_mib=sizes_mib, single=True)


_MLU = Sharing("cambricon.com/mlu.smlu.vmemory", 256, cores="cambricon.com/mlu.smlu.vcore", all_cores=True)
_NVIDIA = "nvidia.com/gpu"
_KOORDINATOR = "koordinator.sh/gpu"

SHARING: Mapping[str, Sharing] = {
    _NVIDIA: Sharing("nvidia.com/gpumem", percent="nvidia.com/gpumem-percentage", cores="nvidia.com/gpucores"),
    "volcano.sh/vgpu-number": Sharing(
        "volcano.sh/vgpu-memory", percent="volcano.sh/vgpu-memory-percentage", cores="volcano.sh/vgpu-cores"
    ),
    "amd.com/gpu": Sharing("amd.com/gpumem", cores="amd.com/gpucores", all_cores=True),
    "hygon.com/dcunum": Sharing("hygon.com/dcumem", cores="hygon.com/dcucores"),
    "hygon.com/hcunum": Sharing("hygon.com/hcumem", cores="hygon.com/hcucores"),
    "cambricon.com/vmlu": _MLU,
    "cambricon.com/mlu": _MLU,
    "metax-tech.com/sgpu": Sharing("metax-tech.com/vmemory", 1024, cores="metax-tech.com/vcore", all_cores=True),
    "mthreads.com/vgpu": Sharing(
        "mthreads.com/sgpu-memory", 512, cores="mthreads.com/sgpu-core", cores_of_card=16, single=True
    ),
    "kunlunxin.com/vxpu": Sharing("kunlunxin.com/vxpu-memory", sizes_mib=(24_576, 49_152)),
    "enflame.com/vgcu": Sharing(percent="enflame.com/vgcu-percentage", single=True),
    "iluvatar.ai/vgpu": Sharing("iluvatar.ai/vcuda-memory", 256, cores="iluvatar.ai/vcuda-core", single=True),
    **{
        f"iluvatar.ai/{chip}-vgpu": Sharing(
            f"iluvatar.ai/{chip}.vMem", 256, cores=f"iluvatar.ai/{chip}.vCore", single=True
        )
        for chip in ("MR-V100", "MR-V50", "BI-V150", "BI-V100")
    },
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
"""Resource that counts cards -> how a part of one is asked for (HAMi v2.10, Volcano vGPU)."""

WHOLE_CARDS = (
    "huawei.com/Ascend910",
    "hygon.com/dcu",
    "kunlunxin.com/xpu",
    "enflame.com/gcu",
    "mthreads.com/gpu",
    "metax-tech.com/gpu",
    "iluvatar.ai/gpu",
    "birentech.com/gpu",
)

DEVICES = frozenset({*SHARING, *WHOLE_CARDS})
"""Extended resources that count devices."""

_NOT_MODELLED = re.compile(
    r"nvidia\.com/mig-.+|huawei\.com/Ascend[0-9A-Za-z]+-[0-9]+c.*|huawei\.com/npu-core"
    r"|enflame\.com/(?:drs-gcu|shared-gcu)|aws\.amazon\.com/neuroncore"
)


class Share(NamedTuple):
    """The part that is taken of each device; all None is the whole."""

    memory_mib: int | None = None
    memory_percent: int | None = None
    cores_percent: int | None = None
    milli: int | None = None

    def milli_of(self, device_memory_mib: int | None) -> int:
        """In milli-devices, 1..1000; memory counts whole where that of the device is not known."""
        if self == WHOLE:
            return 1000
        wanted = [10 * (self.cores_percent or 0), 10 * (self.memory_percent or 0), self.milli or 0]
        if self.memory_mib is not None:
            wanted.append(-(-1000 * self.memory_mib // device_memory_mib) if device_memory_mib else 1000)
        return min(max(*wanted, 1), 1000)


WHOLE = Share()


class Asked(NamedTuple):
    """What a pod asks for."""

    cpu_milli: int
    memory_mib: int
    devices: int
    resource: str
    share: Share


def asked(spec: Mapping[str, Any], annotations: Mapping[str, str], problem: Problem) -> Asked:
    """What a PodSpec asks for; what is wrong with it goes to `problem`."""
    containers = list(_containers(spec, problem))
    total = _together(spec, containers, problem)
    unknown = sorted(name for name in total if _NOT_MODELLED.fullmatch(name) and total[name])
    for name in unknown:
        problem("spec.containers", f"{name} is not modelled: its devices cannot be counted")
    if spec.get("resourceClaims"):
        problem("spec.resourceClaims", "is not modelled: devices that it claims cannot be counted")
    resource, devices, share = _devices(total, [amounts for _, amounts, _ in containers], annotations, problem)
    return Asked(total.get("cpu", 0), _up(total.get("memory", 0), 1000 << 20), devices, resource, share)


@lru_cache(maxsize=65_536)
def milli(text: str) -> int:
    """A quantity in thousandths, rounded up. Raises `BadValueError`."""
    match = _FORM.fullmatch(text) if len(text) <= 100 else None
    if match is None:
        raise BadValueError(f"must be a quantity such as 96, 95500m or 1.5Gi, got {shown(text)}")
    number, power, unit = match.groups()
    factor = _EXACT.power(Decimal(10), int(power)) if power else _UNITS[unit or ""]
    amount = _EXACT.multiply(_EXACT.multiply(_EXACT.create_decimal(number), factor), Decimal(1000))
    return int(amount.to_integral_value(ROUND_CEILING))


def quantities(value: Any, path: str, problem: Problem) -> dict[str, int]:
    """A list of resources in thousandths."""
    found: dict[str, int] = {}
    if value is None:
        return found
    if not isinstance(value, dict):
        problem(path, "must be an object")
        return found
    for name, quantity in value.items():
        try:
            found[name] = milli(str(quantity).strip()) if quantity is not None else 0
            if found[name] > _AMOUNT_MAX * (1 if name == "cpu" else 1000):
                problem(f"{path}.{name}", f"is too large: {shown(str(quantity))}")
            if found[name] % 1000 and "/" in name and "kubernetes.io/" not in name:
                problem(f"{path}.{name}", f"must be a whole number, got {shown(str(quantity))}")
        except BadValueError as error:
            problem(f"{path}.{name}", str(error))
    return found


def _containers(spec: Mapping[str, Any], problem: Problem) -> Iterator[tuple[bool, dict[str, int], bool]]:
    """For each container whether it only starts the pod, what it wants, and whether it stays."""
    for kind in ("initContainers", "containers"):
        listed = spec.get(kind)
        if listed is not None and not isinstance(listed, list):
            problem(f"spec.{kind}", "must be a list")
            continue
        for place, container in enumerate(listed or []):
            path = f"spec.{kind}[{place}]"
            resources = container.get("resources") or {} if isinstance(container, dict) else None
            if not isinstance(resources, dict):
                problem(path, "must be an object with an object as its resources")
                continue
            wants = quantities(resources.get("limits"), f"{path}.resources.limits", problem)
            wants |= quantities(resources.get("requests"), f"{path}.resources.requests", problem)
            starts = kind == "initContainers"
            yield starts, wants, not starts or container.get("restartPolicy") == "Always"


def _together(
    spec: Mapping[str, Any], containers: list[tuple[bool, dict[str, int], bool]], problem: Problem
) -> dict[str, int]:
    """Thousandths for memory and CPU, whole numbers for the rest."""
    running: dict[str, int] = {}
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for starts, wants, stays in containers:
        _add(running, wants if stays else {})
        _add(sidecars, wants if starts and stays else {})
        if starts:
            at_start = dict(sidecars)
            _add(at_start, {} if stays else wants)
            for name, amount in at_start.items():
                peak[name] = max(peak.get(name, 0), amount)
    total = {name: max(running.get(name, 0), peak.get(name, 0)) for name in {**running, **peak}}
    whole = spec.get("resources")
    if isinstance(whole, dict):
        limits = quantities(whole.get("limits"), "spec.resources.limits", problem)
        stated = {name: total.get(name, limit) for name, limit in limits.items()}
        stated |= quantities(whole.get("requests"), "spec.resources.requests", problem)
        total |= {name: stated[name] for name in ("cpu", "memory") if name in stated}
    _add(total, quantities(spec.get("overhead"), "spec.overhead", problem))
    return {name: amount if name in ("cpu", "memory") else _up(amount, 1000) for name, amount in total.items()}


def _devices(
    total: Mapping[str, int], containers: list[dict[str, int]], annotations: Mapping[str, str], problem: Problem
) -> tuple[str, int, Share]:
    counted = [name for name in total if name in DEVICES and total[name]]
    if len(counted) > 1:
        problem("spec.containers", f"asks for several kinds of devices: {', '.join(counted)}")
    if not counted:
        return _otherwise(total, annotations)
    resource = counted[0]
    shares = [
        _share({n: _up(a, 1000) for n, a in each.items()}, resource) for each in containers if each.get(resource)
    ]
    if not shares or WHOLE in shares:
        return resource, total[resource], WHOLE
    parts = (max((part for part in field if part is not None), default=None) for field in zip(*shares, strict=True))
    return resource, total[resource], Share(*parts)


def _share(wants: Mapping[str, int], resource: str) -> Share:
    rule = SHARING.get(resource)
    if rule is None or (rule.single and wants[resource] > 1):
        return WHOLE
    memory = wants.get(rule.memory, 0)
    in_bytes = rule.memory_mib == 1024 and memory >= 1 << 20
    memory_mib = memory >> 20 if in_bytes else memory * rule.memory_mib
    percent = 0 if memory or wants.get(rule.percent) == 101 else min(wants.get(rule.percent, 0), 100)
    said = wants.get(rule.cores, 0)
    cores = min(_up(100 * said, rule.cores_of_card), 100) if said else 100 * rule.all_cores
    if rule.sizes_mib and memory_mib and not said:
        memory_mib = next((size for size in rule.sizes_mib if memory_mib <= size), 0)
    return Share(memory_mib or None, percent or None, cores or None) if memory_mib or percent else WHOLE


def _otherwise(total: Mapping[str, int], annotations: Mapping[str, str]) -> tuple[str, int, Share]:
    """Koordinator's resources, else KAI's annotations; else a part of one NVIDIA card, asked for without a count."""
    koordinator = any(amount and name.startswith(_KOORDINATOR) for name, amount in total.items())
    found = _koordinator(total) if koordinator else _kai(annotations)
    if found is not None:
        return found
    rule = SHARING[_NVIDIA]
    if any(total.get(name) for name in (rule.memory, rule.percent, rule.cores)):
        return _NVIDIA, 1, _share({**total, _NVIDIA: 1}, _NVIDIA)
    return "", 0, WHOLE


def _koordinator(total: Mapping[str, int]) -> tuple[str, int, Share] | None:
    both = total.get(_KOORDINATOR, 0)
    ratio = both or total.get(f"{_KOORDINATOR}-memory-ratio", 0)
    cores = both or total.get(f"{_KOORDINATOR}-core", 0)
    memory = total.get(f"{_KOORDINATOR}-memory", 0)
    if not ratio and not cores and not memory:
        return None
    cards = total.get(f"{_KOORDINATOR}.shared", 0) or max(_up(max(ratio, cores), 100), 1)
    share = Share(_up(memory, cards << 20) or None, _up(ratio, cards) or None, _up(cores, cards) or None)
    return _NVIDIA, cards, WHOLE if share.memory_percent == 100 else share


def _kai(annotations: Mapping[str, str]) -> tuple[str, int, Share] | None:
    count, memory, fraction = (
        annotations.get(f"gpu-{word}", "") for word in ("fraction-num-devices", "memory", "fraction")
    )
    cards = int(count) if _is_count(count) else 1
    if _is_count(memory):
        return _NVIDIA, cards, Share(memory_mib=int(memory))
    if re.fullmatch(r"0?\.[0-9]{1,9}|1(?:\.0{0,9})?", fraction, re.ASCII) and Fraction(fraction):
        return _NVIDIA, cards, Share(milli=-int(-Fraction(fraction) * 1000 // 1))
    return None


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and 0 < len(text) < 10 and int(text) > 0


def _up(amount: int, unit: int) -> int:
    return -(-amount // unit)


def _add(total: dict[str, int], more: Mapping[str, int]) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, 0) + amount
