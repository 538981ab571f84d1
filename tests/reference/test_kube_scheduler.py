"""Decisions of a real kube-scheduler v1.36.2, in lockstep: every one is explained, and every message is the same."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from dataclasses import replace

import pytest
from shared import needs

from policies.kube.configuration import FitArgs, Profile, ResourceWeight
from sim.kube_configuration import load_kube_configuration
from sim.replay.decisions import Decision, DecisionLog, read_decisions
from sim.replay.lockstep import Explained, replay_lockstep

pytestmark = pytest.mark.reference

FOLDER = "reference/kube_scheduler"
CREATIONS = {"default": 523, "most-allocated": 511, "ratio": 519}


def log_of(name: str) -> DecisionLog:
    return read_decisions(needs(f"{FOLDER}/{name}.jsonl.gz"))


def profile_of(name: str) -> Profile:
    return load_kube_configuration(needs(f"{FOLDER}/{name}.yaml")).profile()


def wrong(found: Explained) -> str:
    return "\n".join(f"{each.line}: {each.pod} {each.recorded}: {each.why}" for each in found.unexplained[:5])


@pytest.mark.parametrize(("name", "creations"), CREATIONS.items())
def test_every_placement_is_explained(name, creations):
    found = replay_lockstep(log_of(name), profile_of(name))
    assert found.decisions == creations
    assert not found.unexplained, wrong(found)
    assert found.unschedulable == found.messages > 0
    assert not found.messages_differ


def test_the_three_logs_hold_1553_creations():
    assert sum(CREATIONS.values()) == 1553


def test_every_preemption_is_explained():
    found = replay_lockstep(log_of("preemption"), profile_of("default"))
    assert (found.decisions, found.preemptions, found.unschedulable) == (225, 60, 72)
    assert not found.unexplained, wrong(found)
    assert found.messages == 72
    assert not found.messages_differ


@pytest.mark.parametrize(
    ("name", "other"),
    [("default", "most-allocated"), ("most-allocated", "default"), ("ratio", "default"), ("default", "ratio")],
)
def test_the_wrong_strategy_explains_much_less(name, other):
    found = replay_lockstep(log_of(name), profile_of(other))
    assert found.explained < found.decisions / 2


@pytest.mark.parametrize(
    ("plugin", "weight"),
    [
        ("TaintToleration", 0),
        ("NodeAffinity", 0),
        ("NodeAffinity", 1),
        ("NodeResourcesBalancedAllocation", 0),
        ("NodeResourcesBalancedAllocation", 2),
        ("NodeResourcesFit", 0),
        ("NodeResourcesFit", 2),
    ],
)
def test_every_plugin_is_needed_with_its_weight(plugin, weight):
    """The log shows what each contributes: without it, or with another weight, not everything is explained."""
    right = profile_of("default")
    scores = tuple((name, weight if name == plugin else own) for name, own in right.scores)
    assert replay_lockstep(log_of("default"), replace(right, scores=scores)).unexplained


def test_an_extended_resource_has_to_be_left_out_of_the_mean():
    """A GPU that counts for pods without one too would be the older arithmetic."""
    weights = (ResourceWeight("cpu"), ResourceWeight("memory"), ResourceWeight("nvidia.com/gpu", 6))
    args = FitArgs(strategy="MostAllocated", resources=weights)
    assert replay_lockstep(log_of("most-allocated"), replace(profile_of("most-allocated"), fit=args)).unexplained


def tampered(log: DecisionLog, change) -> Explained:
    """The log up to the first decision that `change` alters, with the altered one last."""
    entries = []
    for entry in log.entries:
        altered = change(entry) if isinstance(entry, Decision) else None
        entries.append(altered or entry)
        if altered is not None:
            return replay_lockstep(replace(log, entries=tuple(entries)), profile_of("default"))
    raise AssertionError("nothing was changed")


def test_a_tampered_decision_is_not_explained():
    log = log_of("default")
    used = Counter(entry.node for entry in log.entries if isinstance(entry, Decision))
    never = next(node.name for node in log.nodes if not used[node.name] or used[node.name] == min(used.values()))

    def elsewhere(entry):
        return replace(entry, node=never) if entry.line > 300 and entry.node not in (None, never) else None

    found = tampered(log, elsewhere)
    assert [each.node for each in found.unexplained] == [never]
    assert never in found.unexplained[0].why

    def nowhere(entry):
        return replace(entry, node=None) if entry.node is not None else None

    assert "it fits on" in tampered(log, nowhere).unexplained[0].why


def test_a_tampered_preemption_is_not_explained():
    log = log_of("preemption")

    def other_victim(entry):
        return replace(entry, victims=("p00001",)) if entry.victims else None

    assert "the victims on" in tampered(log, other_victim).unexplained[0].why

    def other_node(entry):
        others = [node.name for node in log.nodes if node.name != entry.nominated]
        return replace(entry, nominated=others[0], node=others[0], victims=()) if entry.nominated else None

    assert "a better candidate is" in tampered(log, other_node).unexplained[0].why

    def no_preemption(entry):
        return replace(entry, nominated=None, node=None, victims=()) if entry.nominated else None

    assert "it would preempt" in tampered(log, no_preemption).unexplained[0].why


def test_a_tampered_message_is_told():
    path = needs(f"{FOLDER}/default.jsonl.gz")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        messages = [json.loads(line).get("message") for line in file]
    assert sum(each is not None for each in messages) == 2
    log = log_of("default")
    entries = tuple(
        replace(entry, message=entry.message.replace("0/120", "0/121"))
        if isinstance(entry, Decision) and entry.message
        else entry
        for entry in log.entries
    )
    found = replay_lockstep(replace(log, entries=entries), profile_of("default"))
    assert len(found.messages_differ) == 2
    assert not found.unexplained
