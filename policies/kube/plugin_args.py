"""`pluginConfig` of a profile: the arguments of the plugins that are modelled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Final, cast

from policies.kube.configuration import (
    CPU_AND_MEMORY,
    FitArgs,
    PreemptionArgs,
    Profile,
    ResourceWeight,
    ShapePoint,
    Strategy,
)
from policies.kube.fields import Section
from policies.kube.objects import Fault
from policies.kube.selectors import read_preferred_nodes, read_required_nodes, read_spread

META: Final = ("apiVersion", "kind")
STRATEGIES: Final = ("LeastAllocated", "MostAllocated", "RequestedToCapacityRatio")
SPREAD: Final = (
    "maxSkew", "topologyKey", "whenUnsatisfiable", "minDomains", "nodeAffinityPolicy", "nodeTaintsPolicy",
    "matchLabelKeys", "labelSelector",
)  # fmt: skip


def read_args(profile: Profile, name: str, entry: Section, notes: list[Fault]) -> Profile:
    """The profile with the arguments of one plugin."""
    return ARGS[name](profile, entry, notes)


def _args(entry: Section, name: str, *known: str) -> Section:
    args = entry.inner("args", (*META, *known))
    kind = args.text("kind", f"{name}Args")
    if kind != f"{name}Args":
        args.wrong("kind", f"must be {name}Args, got {kind!r}")
    return args


def _fit(profile: Profile, entry: Section, _: list[Fault]) -> Profile:
    args = _args(entry, "NodeResourcesFit", "scoringStrategy", "ignoredResources", "ignoredResourceGroups")
    section = args.inner("scoringStrategy", ("type", "resources", "requestedToCapacityRatio"))
    strategy = cast("Strategy", section.text("type", "LeastAllocated", choices=STRATEGIES))
    ratio = section.inner("requestedToCapacityRatio", ("shape",))
    groups = args.texts("ignoredResourceGroups")
    for group in groups:
        if "/" in group:
            args.wrong("ignoredResourceGroups", f"must not have a slash: {group!r}")
    return replace(
        profile,
        fit=FitArgs(
            strategy=strategy,
            resources=_resources(section, highest=100),
            shape=_shape(ratio) if strategy == "RequestedToCapacityRatio" else (),
            ignored_resources=frozenset(args.texts("ignoredResources")),
            ignored_groups=frozenset(groups),
        ),
    )


def _resources(section: Section, *, highest: int) -> tuple[ResourceWeight, ...]:
    found: list[ResourceWeight] = []
    for each in section.items("resources", ("name", "weight")):
        name = each.text("name", required=True)
        if name in (known.name for known in found):
            each.wrong("name", f"{name!r} is given twice")
        found.append(ResourceWeight(name, each.whole("weight", 1, 0, highest) or 1))
    return tuple(found) or CPU_AND_MEMORY


def _shape(section: Section) -> tuple[ShapePoint, ...]:
    points = tuple(
        ShapePoint(each.whole("utilization", 0, 0, 100), each.whole("score", 0, 0, 10))
        for each in section.items("shape", ("utilization", "score"))
    )
    if not points and section.values.get("shape") in (None, []):
        section.wrong("shape", "must have at least one point")
    if any(one.utilization >= other.utilization for one, other in pairwise(points)):
        section.wrong("shape", "must be sorted by ascending utilization, each once")
    return points


def _balanced(profile: Profile, entry: Section, _: list[Fault]) -> Profile:
    args = _args(entry, "NodeResourcesBalancedAllocation", "resources")
    return replace(profile, balanced=_resources(args, highest=1))


def _node_affinity(profile: Profile, entry: Section, _: list[Fault]) -> Profile:
    args = _args(entry, "NodeAffinity", "addedAffinity")
    args.inner(
        "addedAffinity",
        ("requiredDuringSchedulingIgnoredDuringExecution", "preferredDuringSchedulingIgnoredDuringExecution"),
    )
    affinity = {"nodeAffinity": args.values.get("addedAffinity")}
    return replace(
        profile, added_required=read_required_nodes(affinity), added_preferred=read_preferred_nodes(affinity)
    )


def _spread(profile: Profile, entry: Section, notes: list[Fault]) -> Profile:
    args = _args(entry, "PodTopologySpread", "defaultConstraints", "defaultingType")
    kind = args.text("defaultingType", "System", choices=("System", "List"))
    constraints = args.list("defaultConstraints")
    for each in args.items("defaultConstraints", SPREAD):
        each.text("topologyKey", required=True)
        each.text("whenUnsatisfiable", required=True, choices=("DoNotSchedule", "ScheduleAnyway"))
        if "labelSelector" in each:
            each.wrong("labelSelector", "must not be given: it is that of the pod's own services and sets")
    if kind == "System" and constraints:
        args.wrong("defaultConstraints", "must be empty where defaultingType is System")
    if constraints:
        what = "apply to pods of services and sets, which are not modelled: no pod is spread by default"
        notes.append(Fault(args.at("defaultConstraints"), what))
    return replace(profile, spread_defaults=read_spread(constraints))


def _pod_affinity(profile: Profile, entry: Section, _: list[Fault]) -> Profile:
    args = _args(entry, "InterPodAffinity", "hardPodAffinityWeight", "ignorePreferredTermsOfExistingPods")
    return replace(
        profile,
        hard_pod_affinity_weight=args.whole("hardPodAffinityWeight", 1, 0, 100),
        ignore_preferred_terms_of_existing=args.flag("ignorePreferredTermsOfExistingPods"),
    )


def _preemption(profile: Profile, entry: Section, _: list[Fault]) -> Profile:
    args = _args(entry, "DefaultPreemption", "minCandidateNodesPercentage", "minCandidateNodesAbsolute")
    found = PreemptionArgs(
        min_candidate_percentage=args.whole("minCandidateNodesPercentage", 10, 0, 100),
        min_candidates=args.whole("minCandidateNodesAbsolute", 100, 0),
    )
    if not found.min_candidate_percentage and not found.min_candidates:
        args.wrong("minCandidateNodesAbsolute", "must not be 0 where minCandidateNodesPercentage is 0")
    return replace(profile, preemption=found)


ARGS: Final[dict[str, Callable[[Profile, Section, list[Fault]], Profile]]] = {
    "NodeResourcesFit": _fit,
    "NodeResourcesBalancedAllocation": _balanced,
    "NodeAffinity": _node_affinity,
    "PodTopologySpread": _spread,
    "InterPodAffinity": _pod_affinity,
    "DefaultPreemption": _preemption,
}
"""Plugin -> reader of its arguments."""
