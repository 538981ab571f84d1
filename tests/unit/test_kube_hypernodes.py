"""HyperNodes: members by name, pattern and label; tiers become levels; what cannot be is refused."""

from __future__ import annotations

import pytest

from policies.kube.hypernodes import levels_of
from policies.kube.objects import ObjectError

NODES = {f"n{i}": {"rack": f"r{i // 2}"} for i in range(6)}


def hypernode(name, tier, *selectors, kind="Node", **spec):
    members = [{"type": kind, "selector": selector} for selector in selectors]
    return {"metadata": {"name": name}, "spec": {"tier": tier, "members": members, **spec}}


def exact(name):
    return {"exactMatch": {"name": name}}


LEAVES = [
    hypernode("s0", 1, exact("n0"), exact("n1"), exact("gone")),
    hypernode("s1", 1, {"regexMatch": {"pattern": "^n[23]$"}}),
    hypernode("s2", 1, {"labelMatch": {"matchLabels": {"rack": "r2"}}}),
]


def test_tiers_are_levels_and_names_are_paths():
    spines = [
        hypernode("t0", 2, exact("s0"), exact("s1"), kind="HyperNode"),
        hypernode("t1", 2, {"regexMatch": {"pattern": "2"}}, kind="HyperNode"),
    ]
    found = levels_of([*spines, *LEAVES], NODES)
    assert found.names == ("tier-1", "tier-2")
    assert found.domains["n1"] == ("t0/s0", "t0")
    assert found.domains["n5"] == ("t1/s2", "t1")


def test_nodes_outside_and_tiers_that_are_passed_over():
    tops = [hypernode("top", 5, exact("s0"), kind="HyperNode", tierName="site")]
    found = levels_of([*tops, *LEAVES[:1]], NODES)
    assert found.names == ("tier-1", "site")
    assert found.domains["n0"] == ("top/s0", "top")
    assert found.domains["n4"] == ("unlabelled/unlabelled", "unlabelled")
    assert levels_of([], NODES).domains["n0"] == ()


def refusals(*more):
    with pytest.raises(ObjectError) as caught:
        levels_of([*LEAVES, *more], NODES)
    return [str(fault) for fault in caught.value.faults]


def test_what_is_refused():
    member = "x: spec.members[0]"
    assert refusals(hypernode("x", 1, exact("n0"))) == ["x: shares n0 with s0 of the same tier"]
    for tier, name in ((2, "s9"), (1, "s0")):
        unknown = refusals(hypernode("x", tier, exact(name), kind="HyperNode"))
        assert unknown == [f"{member}: there is no HyperNode {name!r} of a smaller tier"]
    (pattern,) = refusals(hypernode("x", 2, {"regexMatch": {"pattern": "("}}))
    assert pattern.startswith(f"{member}: is no pattern: ")
    none = f"{member}: needs a selector: exactMatch, regexMatch, or for nodes labelMatch"
    assert refusals(hypernode("x", 2, {})) == [none]
    assert refusals(hypernode("x", "1"), hypernode("y", None), {"metadata": None}) == [
        "x: spec.tier: must be a whole number from 0 to 64, got '1'",
        "y: needs metadata.name and spec.tier",
        "?: needs metadata.name and spec.tier",
    ]
