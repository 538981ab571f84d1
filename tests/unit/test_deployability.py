"""Where each policy can be deployed, told from its parts."""

from __future__ import annotations

import json

import pytest
from builders import policy
from click.testing import CliRunner

from policies.api import Policy, Semantics
from policies.catalogue import POLICIES
from policies.deployability import deployability
from policies.framework.cycle import BestEffortCycle, Cycle
from policies.ordering.priority import Priority
from policies.placement.best_fit import BestFit
from sim.cli import cli

ALL = ("extender", "second scheduler", "simulator")
OWN = ("second scheduler", "simulator")

TEXTS = {
    "fifo": (OWN, "second scheduler only: it orders the queue by arrival and the head blocks it"),
    "best-effort-fifo": (ALL, "extender, where all pods have the same priority"),
    "priority": (OWN, "second scheduler only: it orders the queue by priority, then arrival, and the head blocks it"),
    "best-effort-priority": (ALL, "extender"),
    "best-effort-sjf": (OWN, "second scheduler only: it orders the queue by shortest estimate, then arrival"),
    "sjf-oracle": (("simulator",), "simulator only: it reads true run times"),
    "srtf-oracle": (("simulator",), "simulator only: it reads true run times"),
    "preempt-priority": (ALL, "extender"),
    "easy": (OWN, "second scheduler only: it orders the queue by arrival and reserves for what it holds back"),
    "conservative:replan=compression": (
        OWN,
        "second scheduler only: it orders the queue by arrival and reserves for what it holds back",
    ),
    "best-effort-priority:place=spread,quota=keep": (ALL, "extender"),
    "best-effort-priority:per=queue": (OWN, "second scheduler only: it takes queue after queue"),
    "kube-default": (
        ("kube-scheduler", *OWN),
        "kube-scheduler: it is what a KubeSchedulerConfiguration says",
    ),
}


@pytest.mark.parametrize("spec", TEXTS)
def test_the_parts_say_where(spec):
    found = deployability(policy(spec))
    assert (found.routes, found.text) == TEXTS[spec]


def test_placement_alone_can_be_served_of_whatever_has_a_placement_and_does_not_peek():
    served = {name for name in POLICIES if deployability(policy(name)).placement_only}
    assert served == {name for name in POLICIES if "oracle" not in name} - {"kube-default"}


class OwnCycle(Cycle):
    """Decides as nobody else does."""

    def decide(self, view):
        return iter(())


class Patient(BestEffortCycle):
    """A best effort that changes nothing of the passes."""


class Whole(Policy):
    name = "whole"

    def semantics(self):
        return Semantics(order="own", blocking="own", placement="own")


def test_a_cycle_of_ones_own_is_served_where_its_passes_are_known():
    parts = {"name": "x", "order": Priority(), "placer": BestFit()}
    assert deployability(Patient(**parts)).text == "extender"
    own = deployability(OwnCycle(**parts))
    assert own.text == "second scheduler only: it decides in a way of its own, which kube-scheduler cannot be told"
    assert own.placement_only
    assert not deployability(Whole()).placement_only


def test_the_list_of_policies_says_it():
    listed = CliRunner().invoke(cli, ["policies", "list"]).output.splitlines()
    assert (
        "  fifo                    second scheduler only: it orders the queue by arrival and the head blocks it"
        in listed
    )
    found = json.loads(CliRunner().invoke(cli, ["policies", "list", "--json"]).output)
    assert found["preempt-priority"]["deployment"] == "extender"


def test_every_run_says_it_and_so_do_comparison_and_page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = "job_id,submit_ms,run_ms,gpus\na,0,1000,1\nb,10,1000,2\n"
    (tmp_path / "t.csv").write_text(rows, encoding="utf-8")
    words = "compare --trace t.csv --cluster 1x8 --policies easy,best-effort-priority --out c"
    said = CliRunner().invoke(cli, words.split()).output
    assert f"easy                  {TEXTS['easy'][1]}\nbest-effort-priority  extender\n" in said
    assert TEXTS["easy"][1] in (tmp_path / "c" / "report.html").read_text(encoding="utf-8")
    for manifest in (tmp_path / "c").rglob("manifest.json"):
        found = json.loads(manifest.read_text(encoding="utf-8"))
        assert found["semantics"]["deployment"] == TEXTS[found["policy"]["spec"]][1]
