"""Name -> how the parts are put together.

`fifo:place=best-fit,per=queue` is a name with parameters. Every name takes `place`, `per` and `quota`; what else a name takes
stands in its entry.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from policies.api import Policy
from policies.backfill.compression import CompressedConservative
from policies.backfill.conservative import Conservative
from policies.backfill.easy import Easy
from policies.backfill.reservation import ReservationKind
from policies.framework.cycle import BestEffortCycle, Cycle, StrictCycle
from policies.framework.per_queue import PerQueue
from policies.framework.points import Ordering, Placer
from policies.kube.configuration import Configuration
from policies.kube.default import KubeDefault
from policies.kube.extender import Extender
from policies.kube.settings import OPTIONS as KUBE_OPTIONS
from policies.kube.settings import settings_of
from policies.ordering.fifo import Fifo
from policies.ordering.priority import Priority
from policies.ordering.shortest import ShortestEstimate, ShortestRemainingTruth, ShortestTruth
from policies.ordering.smallest_area import SmallestEstimatedArea, SmallestTrueArea
from policies.placement.best_fit import BestFit
from policies.placement.consolidate import Consolidate
from policies.placement.first_fit import FirstFit
from policies.placement.fragmentation import TypicalPod
from policies.placement.openb_best_fit import OpenbBestFit
from policies.placement.openb_dot_product import DotProduct
from policies.placement.openb_fgd import Fgd
from policies.placement.openb_gpu_clustering import GpuClustering
from policies.placement.openb_gpu_packing import GpuPacking
from policies.placement.openb_random import OpenbRandom
from policies.placement.random_fit import RandomFit
from policies.placement.spread import Spread
from policies.preemption.priority import PreemptPriority
from policies.preemption.srtf import ShortestRemainingFirst
from policies.quota.nominal import NominalQuota


class UnknownPolicyError(ValueError):
    """A policy name or parameter that the catalogue does not have. The message names the nearest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What a driver hands in: random streams by purpose, and the pod mix if there is one."""

    generator: Callable[[str], np.random.Generator]
    typical_pods: tuple[TypicalPod, ...] = ()
    kube_configuration: Configuration | None = None
    """The KubeSchedulerConfiguration that `kube-default` follows; None is kube-scheduler's own defaults."""
    extenders: tuple[Extender, ...] = ()
    """Extenders that `kube-default` calls."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One name of the catalogue."""

    summary: str
    build: Callable[[str, Placer, Mapping[str, str], bool], Policy] | None = None
    """(name, placer, own parameters, keeps quota) -> policy."""
    build_whole: Callable[[str, Parts, Mapping[str, str], bool], Policy] | None = None
    """The same for a policy that places by its own rule, in place of `build`: then `place` is no parameter."""
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Own parameters with the values that they take; an empty tuple is any text."""
    place: str = "best-fit"


def _cycle(
    kind: type[Cycle], order: Callable[[], Ordering]
) -> Callable[[str, Placer, Mapping[str, str], bool], Policy]:
    def build(name: str, placer: Placer, _: Mapping[str, str], quota: bool) -> Policy:
        return kind(name=name, order=order(), placer=placer, admission=NominalQuota() if quota else None)

    return build


def _fgd(parts: Parts) -> Placer:
    if not parts.typical_pods:
        raise UnknownPolicyError("place=fgd needs the mix of pods: give --typical-pods FILE")
    return Fgd(typical_pods=parts.typical_pods)


def _easy(candidates: str) -> Callable[[str, Placer, Mapping[str, str], bool], Policy]:
    def build(name: str, placer: Placer, own: Mapping[str, str], quota: bool) -> Policy:
        depth = _depth(name, own.get("depth", "1"))
        order = ORDERS[own.get("order", "arrival")]()
        behind = own.get("candidates", candidates)
        parts: dict[str, Any] = {
            "name": name,
            "order": order,
            "placer": placer,
            "admission": NominalQuota() if quota else None,
            "candidates": order if behind == "queue" else ORDERS[behind](),
            "shadow_equality": own.get("shadow-equality", "yes") == "yes",
            "extra": own.get("extra", "yes") == "yes",
            "reservation": own.get("reservation", "feasible"),
        }
        return Easy(**parts) if depth == 1 else Conservative(**parts, depth=depth)

    return build


def _conservative(name: str, placer: Placer, own: Mapping[str, str], quota: bool) -> Policy:
    order = ORDERS[own.get("order", "arrival")]()
    kind: ReservationKind = own.get("reservation", "feasible")  # type: ignore[assignment]  # because: checked by the entry
    if own.get("replan", "each-pass") == "each-pass":
        admission = NominalQuota() if quota else None
        return Conservative(name=name, order=order, placer=placer, admission=admission, reservation=kind)
    if quota:
        raise UnknownPolicyError(f"policy {name!r}: replan=compression keeps slots, quota=keep cannot be known ahead")
    return CompressedConservative(name=name, order=order, placer=placer, reservation=kind)


def _kube_default(name: str, parts: Parts, own: Mapping[str, str], quota: bool) -> Policy:
    try:
        settings = settings_of(own, parts.kube_configuration)
    except ValueError as error:
        raise UnknownPolicyError(f"policy {name!r}: {error}") from None
    return KubeDefault(
        name=name,
        settings=settings,
        generator=lambda: parts.generator("kube-ties"),
        extenders=parts.extenders,
        admission=NominalQuota() if quota else None,
    )


def _depth(name: str, text: str) -> int | None:
    if text == "all":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise UnknownPolicyError(f"policy {name!r}: depth={text}: must be a whole number from 1, or all")
    return int(text)


ORDERS: dict[str, Callable[[], Ordering]] = {
    "arrival": Fifo,
    "shortest": ShortestEstimate,
    "priority": Priority,
}
"""Orders that are a parameter."""

EASY_OPTIONS = {
    "order": tuple(ORDERS),
    "candidates": (*ORDERS, "queue"),
    "shadow-equality": ("yes", "no"),
    "extra": ("yes", "no"),
    "depth": (),
    "reservation": ("feasible", "counting", "pinned"),
}

PLACEMENTS: dict[str, Callable[[Parts], Placer]] = {
    "first-fit": lambda _: FirstFit(),
    "best-fit": lambda _: BestFit(),
    "spread": lambda _: Spread(),
    "random": lambda parts: RandomFit(rng=parts.generator("placement")),
    "consolidate": lambda _: Consolidate(),
    "openb-random": lambda parts: OpenbRandom(rng=parts.generator("placement")),
    "dot-product": lambda _: DotProduct(),
    "gpu-clustering": lambda _: GpuClustering(),
    "gpu-packing": lambda _: GpuPacking(),
    "openb-best-fit": lambda _: OpenbBestFit(),
    "fgd": _fgd,
}

POLICIES: dict[str, Entry] = {
    "fifo": Entry(summary="arrival order, the head blocks", build=_cycle(StrictCycle, Fifo)),
    "best-effort-fifo": Entry(summary="arrival order, skips what does not fit", build=_cycle(BestEffortCycle, Fifo)),
    "priority": Entry(summary="higher priority first, the head blocks", build=_cycle(StrictCycle, Priority)),
    "best-effort-priority": Entry(
        summary="higher priority first, skips what does not fit", build=_cycle(BestEffortCycle, Priority)
    ),
    "sjf": Entry(summary="shortest estimate first, the head blocks", build=_cycle(StrictCycle, ShortestEstimate)),
    "best-effort-sjf": Entry(
        summary="shortest estimate first, skips what does not fit", build=_cycle(BestEffortCycle, ShortestEstimate)
    ),
    "sjf-oracle": Entry(
        summary="shortest true run time first, the head blocks; peeks", build=_cycle(StrictCycle, ShortestTruth)
    ),
    "best-effort-sjf-oracle": Entry(
        summary="shortest true run time first, skips what does not fit; peeks",
        build=_cycle(BestEffortCycle, ShortestTruth),
    ),
    "srtf-oracle": Entry(
        summary="shortest true remaining time first, preempts what has more left; peeks",
        build=_cycle(ShortestRemainingFirst, ShortestRemainingTruth),
    ),
    "preempt-priority": Entry(
        summary="higher priority first, preempts lower priorities for what does not fit",
        build=_cycle(PreemptPriority, Priority),
    ),
    "smallest-area": Entry(
        summary="smallest estimated devices x time first, skips what does not fit",
        build=_cycle(BestEffortCycle, SmallestEstimatedArea),
    ),
    "smallest-area-oracle": Entry(
        summary="smallest true devices x time first, skips what does not fit; peeks",
        build=_cycle(BestEffortCycle, SmallestTrueArea),
    ),
    "easy": Entry(
        summary="arrival order, the first that does not fit is promised its earliest start, others pass if they do not"
        " delay it",
        build=_easy("queue"),
        options=EASY_OPTIONS,
    ),
    "easy-sjbf": Entry(
        summary="as easy, those who pass are tried shortest estimate first",
        build=_easy("shortest"),
        options=EASY_OPTIONS,
    ),
    "conservative": Entry(
        summary="every blocked job is promised its earliest slot, others pass if they delay none",
        build=_conservative,
        options={
            "order": tuple(ORDERS),
            "reservation": ("feasible", "counting", "pinned"),
            "replan": ("each-pass", "compression"),
        },
    ),
    "kube-default": Entry(
        summary="kube-scheduler: priority first, filters and scores of its in-tree plugins, default preemption",
        build_whole=_kube_default,
        options=KUBE_OPTIONS,
    ),
}

COMMON = {"place": PLACEMENTS, "per": ("fleet", "queue"), "quota": ("off", "keep")}
"""Parameters of every name."""


def make_policy(spec: str, parts: Parts) -> Policy:
    """The policy that `spec` describes, its name being `spec`. Raises `UnknownPolicyError`."""
    name, given = parse(spec)
    entry = POLICIES.get(name)
    if entry is None:
        raise UnknownPolicyError(f"policy {name!r}: {_no_such(name, POLICIES)}")
    problems = [
        problem
        for key, value in given.items()
        if (problem := _parameter_problem(name, entry, key, value)) is not None
    ]
    if problems:
        raise UnknownPolicyError("; ".join(problems))
    own = {key: value for key, value in given.items() if key not in COMMON}
    placement = PLACEMENTS[given.get("place", entry.place)]
    quota = given.get("quota", "off") == "keep"

    def make() -> Policy:
        if entry.build_whole is not None:
            return entry.build_whole(spec, parts, own, quota)
        assert entry.build is not None, f"{name} can be built"
        return entry.build(spec, placement(parts), own, quota)

    return PerQueue(make) if given.get("per") == "queue" else make()


def parse(spec: str) -> tuple[str, dict[str, str]]:
    """`name:key=value,key=value` -> name and parameters. Raises `UnknownPolicyError`."""
    name, _, rest = spec.strip().partition(":")
    given: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in rest.split(","))):
        key, equals, value = part.partition("=")
        if not equals or not key or not value:
            raise UnknownPolicyError(f"policy {spec!r}: {part!r} is not key=value")
        if key in given:
            raise UnknownPolicyError(f"policy {spec!r}: {key} is given twice")
        given[key] = value
    return name, given


def _parameter_problem(name: str, entry: Entry, key: str, value: str) -> str | None:
    if key == "place" and entry.build_whole is not None:
        return f"policy {name!r} has no parameter 'place': it places by its own rule"
    allowed = COMMON.get(key, entry.options.get(key))
    if allowed is None:
        return f"policy {name!r} has no parameter {key!r}: {_no_such(key, {**COMMON, **entry.options})}"
    if allowed and value not in allowed:
        return f"policy {name!r}: {key}={value}: {_no_such(value, dict.fromkeys(allowed))}"
    return None


def _no_such(word: str, known: Mapping[str, object]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
