"""The plugins that kube-scheduler v1.36 brings along: where each one acts, what it weighs, and whether it is modelled here."""

from __future__ import annotations

from typing import Final, NamedTuple


class Plugin(NamedTuple):
    """One in-tree plugin."""

    points: frozenset[str]
    """The extension points at which it acts, as `plugins` of a profile names them."""
    weight: int = 1
    """What its scores weigh by default; 0 where it does not score."""
    modelled: bool = True


POINTS: Final = (
    "preEnqueue", "queueSort", "preFilter", "filter", "postFilter", "preScore", "score", "reserve", "permit", "preBind",
    "bind", "postBind", "placementGenerate", "placementScore", "podGroupPostFilter",
)  # fmt: skip
"""Every extension point of a profile, but `multiPoint`."""


def _plugin(points: str, weight: int = 1, *, modelled: bool = True) -> Plugin:
    names = frozenset(points.split())
    return Plugin(names, weight if "score" in names else 0, modelled)


DEFAULTS: Final[dict[str, Plugin]] = {
    "SchedulingGates": _plugin("preEnqueue"),
    "PrioritySort": _plugin("queueSort"),
    "NodeUnschedulable": _plugin("filter"),
    "NodeName": _plugin("filter"),
    "TaintToleration": _plugin("filter preScore score", 3),
    "NodeAffinity": _plugin("preFilter filter preScore score", 2),
    "NodePorts": _plugin("preFilter filter"),
    "NodeResourcesFit": _plugin("preFilter filter preScore score"),
    "VolumeRestrictions": _plugin("preFilter filter", modelled=False),
    "NodeVolumeLimits": _plugin("preFilter filter", modelled=False),
    "VolumeBinding": _plugin("preFilter filter preScore score reserve preBind", modelled=False),
    "VolumeZone": _plugin("preFilter filter", modelled=False),
    "PodTopologySpread": _plugin("preFilter filter preScore score", 2),
    "InterPodAffinity": _plugin("preFilter filter preScore score", 2),
    "DynamicResources": _plugin(
        "preEnqueue preFilter filter postFilter preScore score reserve preBind", 2, modelled=False
    ),
    "DefaultPreemption": _plugin("preEnqueue postFilter"),
    "NodeResourcesBalancedAllocation": _plugin("preScore score"),
    "ImageLocality": _plugin("score"),
    "DefaultBinder": _plugin("bind"),
}
"""The default plugins in their order, which is the order of the filters too."""

OTHERS: Final[dict[str, Plugin]] = {
    "GangScheduling": _plugin("preEnqueue reserve permit", modelled=False),
    "NodeDeclaredFeatures": _plugin("preFilter filter", modelled=False),
    "TopologyPlacementGenerator": _plugin("placementGenerate", modelled=False),
    "PodGroupPodsCount": _plugin("placementScore", modelled=False),
    "EBSLimits": _plugin("filter", modelled=False),
    "GCEPDLimits": _plugin("filter", modelled=False),
    "AzureDiskLimits": _plugin("filter", modelled=False),
}
"""In-tree plugins that are on behind a feature gate, or were once."""

KNOWN: Final[dict[str, Plugin]] = {**DEFAULTS, **OTHERS}
