"""Volcano's HyperNodes: which nodes are close, tier by tier, from lists of names, patterns and labels.

A HyperNode has a tier (smaller is closer) and members: nodes, or HyperNodes of smaller tiers (`topology.volcano.sh/v1alpha1`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from policies.kube.nodes import NOWHERE
from policies.kube.objects import Fault, Json, ObjectError, items, mapping, text
from policies.kube.selectors import read_selector
from policies.kube.shapes import HYPERNODE, fits, misfits


class Levels(NamedTuple):
    """The levels above the nodes, narrow to wide, and the domains of each node."""

    names: tuple[str, ...]
    domains: dict[str, tuple[str, ...]]
    """Node -> its domain at each level, unique at its level; `unlabelled` where no HyperNode has it."""


class _HyperNode(NamedTuple):
    name: str
    tier: int
    tier_name: str
    members: list[Json]


def levels_of(hypernodes: Sequence[Json], nodes: Mapping[str, Mapping[str, str]]) -> Levels:
    """The levels that HyperNode objects make of nodes, given by name with their labels.

    Raises `ObjectError` with everything that is wrong: two HyperNodes of one tier that share a node, members that do not exist.
    """
    faults: list[Fault] = []
    read = [each for item in hypernodes if (each := _read(item, faults)) is not None]
    tiers = sorted({each.tier for each in read})
    covers = _covered(sorted(read, key=lambda each: each.tier), nodes, faults)
    at_tier = [
        _homes([(each.name, covers[each.name]) for each in read if each.tier == tier], faults) for tier in tiers
    ]
    if faults:
        raise ObjectError("hypernodes", faults)
    domains = {node: _path([home.get(node, NOWHERE) for home in at_tier]) for node in nodes}
    return Levels(_names(read, tiers), domains)


def _homes(covers: Iterable[tuple[str, set[str]]], faults: list[Fault]) -> dict[str, str]:
    """Node -> the HyperNode of one tier that it is in."""
    home: dict[str, str] = {}
    for name, nodes in covers:
        shared = sorted(node for node in nodes if node in home)
        faults += [Fault(name, f"shares {node} with {home[node]} of the same tier") for node in shared]
        home.update((node, name) for node in nodes if node not in home)
    return home


def _read(item: Json, faults: list[Fault]) -> _HyperNode | None:
    name = text(mapping(mapping(item).get("metadata")).get("name")) or "?"
    if not fits(item, HYPERNODE):
        faults += (Fault(f"{name}: {path}", reason) for path, reason in misfits(item, HYPERNODE))
        return None
    spec = mapping(item.get("spec"))
    tier = spec.get("tier")
    if tier is None or name == "?":
        faults.append(Fault(name, "needs metadata.name and spec.tier"))
        return None
    return _HyperNode(name, tier, text(spec.get("tierName")), items(spec.get("members")))


def _covered(
    read: Sequence[_HyperNode], nodes: Mapping[str, Mapping[str, str]], faults: list[Fault]
) -> dict[str, set[str]]:
    """HyperNode -> the nodes under it. `read` is sorted by tier, so that members come first."""
    covers: dict[str, set[str]] = {}
    tier_of = {each.name: each.tier for each in read}
    for each in read:
        own: set[str] = set()
        for place, member in enumerate(each.members):
            path = f"{each.name}: spec.members[{place}]"
            if member.get("type") != "HyperNode":
                own.update(_chosen(member, nodes, path, faults))
                continue
            inner = [name for name in tier_of if tier_of[name] < each.tier]
            for name in _chosen(member, {name: {} for name in inner}, path, faults):
                own |= covers[name]
        covers[each.name] = own
    return covers


def _chosen(member: Json, known: Mapping[str, Mapping[str, str]], path: str, faults: list[Fault]) -> Iterator[str]:
    """The names that the selector of a member chooses among those that are known."""
    selector = mapping(member.get("selector"))
    exact = text(mapping(selector.get("exactMatch")).get("name"))
    pattern = text(mapping(selector.get("regexMatch")).get("pattern"))
    labels = read_selector(selector.get("labelMatch"))
    if exact:
        if exact in known:
            yield exact
        elif member.get("type") == "HyperNode":
            faults.append(Fault(path, f"there is no HyperNode {exact!r} of a smaller tier"))
    elif pattern:
        search = _compiled(pattern, path, faults)
        yield from (name for name in known if search(name))
    elif labels is not None and member.get("type") != "HyperNode":
        yield from (name for name, own in known.items() if labels.holds(own))
    else:
        faults.append(Fault(path, "needs a selector: exactMatch, regexMatch, or for nodes labelMatch"))


def _compiled(pattern: str, path: str, faults: list[Fault]) -> Callable[[str], object]:
    try:
        return re.compile(pattern).search
    except (re.error, OverflowError, RecursionError) as error:
        faults.append(Fault(path, f"is no pattern: {error}"))
        return lambda _: None


def _names(read: Iterable[_HyperNode], tiers: Sequence[int]) -> tuple[str, ...]:
    """`tierName` where all HyperNodes of a tier agree on one, else `tier-1`."""
    said = {tier: {each.tier_name for each in read if each.tier == tier} for tier in tiers}
    names = [next(iter(said[tier])) if len(said[tier]) == 1 else "" for tier in tiers]
    return tuple(
        name if name and names.count(name) == 1 else f"tier-{tier}" for name, tier in zip(names, tiers, strict=True)
    )


def _path(own: list[str]) -> tuple[str, ...]:
    """Domains narrow to wide, each with those around it in front."""
    return tuple("/".join(reversed(own[rank:])) for rank in range(len(own)))
