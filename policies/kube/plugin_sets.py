"""`plugins` of a profile: which plugins act at which extension point, in which order, with which weight.

As kube-scheduler does it: the user's `multiPoint` is merged into the default one, then expanded to the points at which each
plugin acts; what a single point enables or disables goes before it.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from policies.kube.configuration import Profile
from policies.kube.fields import Section, near
from policies.kube.objects import Fault
from policies.kube.plugins import DEFAULTS, KNOWN, POINTS

ALL = "*"


class PluginSet(NamedTuple):
    """What one extension point says."""

    enabled: dict[str, int]
    """Plugin -> weight, 0 where none is given; in order."""
    disabled: frozenset[str]

    def disables(self, name: str) -> bool:
        """Whether this plugin is taken out."""
        return name in self.disabled or ALL in self.disabled


NOTHING = PluginSet({}, frozenset())


def read_plugins(profile: Profile, section: Section, notes: list[Fault]) -> Profile:
    """The profile with the plugins that its section names."""
    plugins = section.inner("plugins", ("multiPoint", *POINTS))
    sets = {point: _read_set(plugins, point, notes) for point in ("multiPoint", *POINTS) if point in plugins}
    multi = _merge(sets.get("multiPoint", NOTHING))
    scores = _expand("score", multi, sets)
    filters = _expand("filter", multi, sets)
    sorters = _expand("queueSort", multi, sets)
    if "PrioritySort" not in sorters or len(sorters) > 1:
        section.wrong("plugins.queueSort", "PrioritySort, and no other, must sort the queue")
    return replace(
        profile,
        filters=tuple(filters),
        scores=tuple((name, weight or 1) for name, weight in scores.items()),
        post_filters=tuple(_expand("postFilter", multi, sets)),
    )


def _read_set(plugins: Section, point: str, notes: list[Fault]) -> PluginSet:
    section = plugins.inner(point, ("enabled", "disabled"))
    enabled: dict[str, int] = {}
    for entry in section.items("enabled", ("name", "weight")):
        name = _name(entry, point)
        if name in enabled:
            entry.wrong("name", f"{name!r} is given twice")
        if name:
            enabled[name] = entry.whole("weight", 0, 0)
            if not KNOWN[name].modelled:
                notes.append(Fault(entry.path, f"{name} is not modelled"))
    disabled = {_name(entry, point, may_be_all=True) for entry in section.items("disabled", ("name", "weight"))}
    return PluginSet(enabled, frozenset(disabled))


def _name(entry: Section, point: str, *, may_be_all: bool = False) -> str:
    name = entry.text("name", required=True)
    if not name or (may_be_all and name == ALL):
        return name
    if name not in KNOWN:
        entry.wrong("name", f"kube-scheduler has no plugin {name!r} of its own{near(name, KNOWN)}")
        return ""
    if point != "multiPoint" and point not in KNOWN[name].points:
        entry.wrong("name", f"{name} does not act at {point}")
        return ""
    return name


def _merge(custom: PluginSet) -> dict[str, int]:
    """The default plugins with the user's changes: one that is named again keeps its place, and loses its default weight."""
    merged: dict[str, int] = {}
    for name, plugin in DEFAULTS.items():
        if not custom.disables(name):
            merged[name] = custom.enabled.get(name, plugin.weight)
    return {**merged, **{name: weight for name, weight in custom.enabled.items() if name not in merged}}


def _expand(point: str, multi: dict[str, int], sets: dict[str, PluginSet]) -> dict[str, int]:
    """The plugins of one point: those named here that `multiPoint` has too, the others of `multiPoint`, the rest."""
    own = sets.get(point, NOTHING)
    general = {name: weight for name, weight in multi.items() if point in KNOWN[name].points}
    overriding = {name: weight for name, weight in own.enabled.items() if name in general}
    kept = {name: weight for name, weight in general.items() if name not in own.enabled and not own.disables(name)}
    rest = {name: weight for name, weight in own.enabled.items() if name not in general}
    return {**overriding, **kept, **rest}
