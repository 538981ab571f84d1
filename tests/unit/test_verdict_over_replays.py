"""The verdict of a comparison of several traces: over all of them, as its intervals are, with waits worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import job
from runs import trace_of

from sim.experiment.compare import compare
from sim.experiment.prepare import prepare
from sim.experiment.scenario import make_scenario
from sim.report.html import page
from sim.report.text import comparison_lines
from sim.report.verdict import headline, verdict
from sim.report.voice import plain

POLICIES = ("fifo", "best-effort-fifo")


def head_blocks(last_run_ms):
    """fifo waits 0, 9 and 18 s. best-effort-fifo starts c at 2 s and b when c ends."""
    return [job("a", 0, 10_000, 6), job("b", 1000, 10_000, 8), job("c", 2000, last_run_ms, 2, queue="small")]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """best-effort-fifo waits 0, 21, 0 in the first trace and 0, 61, 0 in the second; fifo a mean of 9 s in both."""
    keys = {"trace": "memory", "cluster": "1x8", "blocks": "trace", "tie_orders": 0}

    def prepared(last_run_ms, more):
        scenario = make_scenario({**keys, **more}, source="test")
        return prepare(scenario, POLICIES, trace=trace_of(head_blocks(last_run_ms)))

    def of(**more):
        out = tmp_path_factory.mktemp("compared")
        both = [prepared(last, more) for last in (20_000, 60_000)]
        return compare(both[0], POLICIES, "fifo", out, more=both[1:]).comparison

    return of


def test_who_wins_is_told_over_all_traces(two):
    found = two()
    assert found.whole.values["best-effort-fifo"]["wait_mean_ms"] == 7000  # the first trace alone: it would win
    assert found.overall("wait_mean_ms") == {"fifo": 9000, "best-effort-fifo": pytest.approx((21_000 + 61_000) / 6)}
    said = verdict(found)
    unsure = "but 2 blocks of evidence do not decide it"
    assert said[0] == f"Mean wait: nothing beats fifo (9 s); next is best-effort-fifo with +4.67 s (+52 %); {unsure}."
    assert said[1].endswith(f"{unsure}."), "as it is for every metric in which somebody wins"
    assert headline(found, plain()) == said[0]
    assert '<p class="kicker">2 traces, the first memory on 1x8' in page(found)
    costs = [each for each in said if "wait longer than" in each]
    assert costs
    assert all(each.startswith("In the first of 2 replays: ") for each in costs)
    assert comparison_lines(found)[0].startswith("Tables and jobs by name are of the first of 2 replays, of memory.")


def test_one_replay_says_nothing_of_a_first_one(two):
    found = two()
    assert found.paired is not None
    alone = replace(found, paired=replace(found.paired, evidence=replace(found.paired.evidence, replays=[{}])))
    assert not any("first" in each for each in [*verdict(alone), comparison_lines(alone)[0]])


def test_a_metric_of_some_jobs_is_no_verdict_about_all(two):
    found = two(metrics=["wait.mean{queue=small}", "wait.p97"])
    assert found.effect("best-effort-fifo", "wait_mean_ms") is None
    assert found.overall("wait_mean_ms") == found.overall("wait_p95_ms") == {}
    assert not any(each.startswith(("Mean wait", "p95 wait")) for each in verdict(found))
