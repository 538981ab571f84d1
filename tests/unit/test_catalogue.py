"""Names with parameters."""

from __future__ import annotations

import pytest
from builders import rng

from policies.api import Semantics
from policies.catalogue import PLACEMENTS, POLICIES, Parts, UnknownPolicyError, make_policy, parse
from policies.placement.fragmentation import TypicalPod

PARTS = Parts(generator=lambda _: rng(), typical_pods=(TypicalPod(1.0, 1000, 1000, 1, ()),))
NAMES = (
    "fifo", "best-effort-fifo", "sjf", "best-effort-sjf", "sjf-oracle", "srtf-oracle", "easy", "easy-sjbf",
    "conservative", "priority",
)  # fmt: skip
PLACES = (
    "first-fit", "best-fit", "spread", "random", "consolidate", "openb-random", "dot-product", "gpu-clustering",
    "gpu-packing", "openb-best-fit", "fgd",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_the_names_that_scripts_rely_on(name):
    assert name in POLICIES


@pytest.mark.parametrize("place", PLACES)
def test_the_placements_that_scripts_rely_on(place):
    assert place in PLACEMENTS


@pytest.mark.parametrize("name", POLICIES)
def test_every_name_says_what_it_means(name):
    policy = make_policy(name, PARTS)
    assert policy.name == name
    assert isinstance(policy.semantics(), Semantics)
    assert policy.semantics().peeks == ("oracle" in name)
    assert POLICIES[name].summary
    queued = make_policy(f"{name}:per=queue", PARTS)
    assert "queue" in queued.semantics().scope
    kept = make_policy(f"{name}:quota=keep", PARTS)
    assert kept.semantics().quota != policy.semantics().quota == "not kept"


@pytest.mark.parametrize("place", PLACEMENTS)
def test_the_placement_is_said(place):
    assert make_policy(f"fifo:place={place}", PARTS).semantics().placement


def test_every_option_takes_its_values():
    for name, entry in POLICIES.items():
        for option, values in entry.options.items():
            for value in values:
                assert make_policy(f"{name}:{option}={value}", PARTS).name == f"{name}:{option}={value}"


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("fifi", "did you mean 'fifo'?"),
        ("best-effort-fi", "did you mean 'best-effort-fifo'?"),
        ("zzzzz", "known are fifo, "),
        ("", "known are fifo, "),
        ("fifo:place=bestfit", "did you mean 'best-fit'?"),
        ("fifo:placement=spread", "has no parameter 'placement': did you mean 'place'?"),
        ("fifo:per=user", "known are fleet, queue"),
        ("fifo:place", "'place' is not key=value"),
        ("fifo:=x", "'=x' is not key=value"),
        ("fifo:place=", "'place=' is not key=value"),
        ("fifo:place=spread,place=spread", "place is given twice"),
        ("fifo:quota=yes,per=x", "; "),
    ],
)
def test_what_is_wrong_is_said_with_what_is_near(spec, why):
    with pytest.raises(UnknownPolicyError) as error:
        make_policy(spec, PARTS)
    assert why in str(error.value)


def test_spaces_and_empty_parts_do_not_matter():
    assert parse(" fifo:place=spread, per=queue, ") == ("fifo", {"place": "spread", "per": "queue"})
    assert parse("fifo") == parse("fifo:") == ("fifo", {})


def test_each_policy_has_its_own_parts():
    one, two = (make_policy("fifo:place=random", PARTS) for _ in range(2))
    assert one is not two
    assert one.placer is not two.placer
