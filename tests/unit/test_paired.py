"""The paired comparison end to end: effects by hand, who is worst off, evidence, machine outputs, and the same bytes again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest
from builders import job
from paired_days import DAY_MS, HOUR, days
from runs import trace_of

from sim.experiment.asked import asked_for
from sim.experiment.compare import compare
from sim.experiment.comparison_file import read_comparison
from sim.experiment.prepare import prepare
from sim.experiment.scenario import make_scenario
from sim.gates.gate import parse_gate
from sim.report.files import write_reports
from sim.report.junit import junit
from sim.report.markdown import CHARACTERS_MAX, markdown
from sim.report.paired_text import paired_lines
from sim.results import read_run
from sim.run import InputError


def compared(out, records=None, policies=("fifo", "best-effort-fifo"), gates=(), **keys):
    scenario = make_scenario({"trace": "memory", "cluster": "1x8", "blocks": "6d", **keys}, source="test")
    one = prepare(scenario, policies, trace=trace_of(list(days()) if records is None else records))
    out.mkdir(exist_ok=True)
    return compare(one, policies, policies[0], out, gates=[parse_gate(each) for each in gates]).comparison


@pytest.fixture(scope="module")
def ten_days(tmp_path_factory):
    """fifo: a 0, b 9 h, c 18 h. best-effort: a 0, c 0, b 21 h: every day the same."""
    out = tmp_path_factory.mktemp("ten")
    return compared(out, gates=["wait.mean: no worse than +1 %", "wait.p95{user=bob}: +2 h", "preemptions: +0"])


def test_effects_by_hand(ten_days):
    found = {each.quantity: each for each in ten_days.paired.policies["best-effort-fifo"].metrics}
    wait = found["wait.mean"]
    assert (wait.baseline, wait.value) == (9 * HOUR, 7 * HOUR)
    assert (wait.difference.value, wait.difference.low, wait.difference.high) == (-2 * HOUR,) * 3, (
        "every day is alike"
    )
    assert wait.ratio.value == pytest.approx(7 / 9)
    assert (wait.blocks, wait.jobs, wait.verdict) == (10, 30, "better")
    assert found["wait.p95"].difference.value == 3 * HOUR
    assert found["wait.p95"].verdict == "worse"
    assert found["preemptions"].verdict == "no worse"
    assert "makespan" not in found


def test_groups_and_the_worst_off(ten_days):
    found = ten_days.paired.policies["best-effort-fifo"]
    waits = {
        (each.kind, each.name): each.difference.value / HOUR for each in found.groups if each.quantity == "wait.mean"
    }
    assert waits == {
        ("queue", "big"): 6, ("queue", "small"): -18,
        ("user", "ann"): 0, ("user", "bob"): 12, ("user", "cid"): -18,
        ("size", "2-7"): -9, ("size", "8"): 12,
    }  # fmt: skip
    assert {kind: each.name for kind, each in found.worst_off.items()} == {"queue": "big", "user": "bob", "size": "8"}
    assert found.worst_off["user"].verdict == "worse"


def test_the_jobs_that_win_and_lose_most(ten_days):
    found = ten_days.paired.policies["best-effort-fifo"]
    assert [each["job_id"] for each in found.losers] == [f"b{day}" for day in reversed(range(10))]
    assert found.winners[0] == {
        "job_id": "c0", "queue": "small", "user": "cid", "gpus": 2.0,
        "baseline_wait_ms": 18 * HOUR, "wait_ms": 0, "change_ms": -18 * HOUR,
    }  # fmt: skip
    assert len(found.winners) == len(found.losers) == 10


def test_gates_of_a_comparison(ten_days):
    assert [each.outcome for each in ten_days.gates] == ["pass", "fail", "pass"]
    assert ten_days.gates[1].excess == 10 * HOUR


def test_lines_for_a_terminal(ten_days):
    lines = paired_lines(ten_days)
    assert lines[0].startswith("Paired comparison: 30 jobs are counted; 10 blocks, each 6 d of submissions;")
    assert lines[0].endswith("the intervals speak of other times like these")
    assert any(line.startswith("wait.mean") and line.endswith("better") for line in lines)
    assert "Worst off by user: bob (10 jobs), wait.mean +12.0 h [+12.0 h, +12.0 h]: worse." in lines
    assert "FAIL      best-effort-fifo  wait.p95{user=bob}: no worse than +2 h" in lines
    assert any(
        line.strip().startswith("21.0 h against 9.0 h;") and "+10.0 h [+10.0 h, +10.0 h]" in line for line in lines
    )


def test_what_is_left_out_is_said(tmp_path):
    found = compared(tmp_path, warm_up="5d", drain="1h")
    assert (found.paired.evidence.counted, found.paired.evidence.jobs) == (26, 30)
    assert "26 jobs are counted (4 of the warm-up and the drain are not)" in paired_lines(found)[0]
    assert found.groups[0].jobs == 26
    assert found.groups[0].values["fifo"]["wait_mean_ms"] == pytest.approx((9 * 27 - 18) * HOUR / 26)
    assert found.shifts["best-effort-fifo"].compared == 26
    whole = read_run(tmp_path / "fifo")
    assert len(whole.jobs) == 30, "all are replayed"
    assert found.groups[0].values["fifo"]["makespan_ms"] == float(whole.jobs.end_ms.max()), "of the whole run"


def test_too_few_blocks_decide_nothing_and_say_so(tmp_path):
    found = compared(tmp_path, list(days(5)))
    assert {each.verdict for each in found.paired.policies["best-effort-fifo"].metrics} == {"undecided", "no worse"}
    assert any("warning: too few blocks: 5, and at least 8 are needed" in line for line in paired_lines(found))


def test_the_metrics_and_margins_that_were_asked_for(tmp_path):
    found = compared(tmp_path, metrics=["wait.p90: +13 h", {"wait.mean{user=*}": "+1 %"}])
    effects = found.paired.policies["best-effort-fifo"].metrics
    assert [(each.quantity, each.name, each.verdict) for each in effects] == [
        ("wait.p90", "", "no worse"),
        ("wait.mean", "ann", "no worse"),
        ("wait.mean", "bob", "worse"),
        ("wait.mean", "cid", "better"),
    ]
    with pytest.raises(
        InputError, match=r"metrics: wait.mean.user=bbo.: no job that counts has user 'bbo'; did you mean 'bob'"
    ):
        compared(tmp_path, metrics=["wait.mean{user=bbo}"])


def test_replications_are_shaken_alike_for_every_policy(tmp_path):
    policies = ("fifo", "fifo:place=first-fit", "best-effort-fifo")
    found = compared(tmp_path, policies=policies, replications=9, shake="20 %", blocks="replication")
    evidence = found.paired.evidence
    assert (evidence.blocks, evidence.replications, evidence.speaks_of) == (
        9,
        9,
        "this trace alone, with what chance moves in it",
    )
    prints = [each["fingerprints"] for each in evidence.replays]
    assert len({each["best-effort-fifo"] for each in prints}) == 9
    effects = {name: each.metrics for name, each in found.paired.policies.items()}
    assert {each.verdict for each in effects["fifo:place=first-fit"]} == {"no worse"}
    assert all(each.why == "every job has the same value under both" for each in effects["fifo:place=first-fit"])
    by_name = {each.quantity: each for each in effects["best-effort-fifo"]}
    assert by_name["makespan"].difference is not None
    assert by_name["wait.mean"].verdict == "better"


def test_seeds_that_change_nothing_are_no_evidence(tmp_path):
    found = compared(tmp_path, replications=9, blocks="replication")
    assert {each.verdict for each in found.paired.policies["best-effort-fifo"].metrics} == {"undecided", "no worse"}
    assert any("all replications came out alike" in line for line in found.paired.evidence.warnings)


def test_several_traces(tmp_path):
    scenario = make_scenario({"traces": ["one", "two"], "cluster": "1x8", "blocks": "6d"}, source="test")
    records = list(days())
    both = [
        prepare(scenario, ["fifo"], trace=replace(trace_of(part), path=str(i)))
        for i, part in enumerate([records[:15], records[15:]])
    ]
    policies = ["fifo", "best-effort-fifo"]
    found = compare(both[0], policies, "fifo", tmp_path, more=both[1:]).comparison
    assert found.paired.evidence.traces == ["0", "1"]
    assert (found.paired.evidence.blocks, found.paired.evidence.counted) == (10, 30)
    wait = found.paired.policies["best-effort-fifo"].metrics[0]
    assert (wait.difference.value, wait.verdict) == (-2 * HOUR, "better")
    assert len(read_run(tmp_path / "traces" / "2" / "fifo").jobs) == 15
    with pytest.raises(InputError, match="traces: give trace or traces, not both"):
        make_scenario({"traces": ["one"], "trace": "two", "cluster": "1x8"}, source="test")


def test_a_policy_that_breaks_off_is_not_compared(tmp_path):
    from policies.catalogue import POLICIES

    assert "fifo" in POLICIES
    (tmp_path / "stub_that_waits.py").write_text(
        "from policies.api import Policy, Semantics\n\n\nclass Never(Policy):\n    name = 'never'\n\n"
        "    def decide(self, view):\n        return ()\n\n    def semantics(self):\n"
        "        return Semantics(order='-', blocking='-', placement='-')\n"
    )
    sys.path.insert(0, str(tmp_path))
    try:
        found = compared(
            tmp_path / "out",
            policies=("fifo", "best-effort-fifo", "stub_that_waits:Never"),
            gates=["wait.mean: +1 %"],
        )
    finally:
        sys.path.remove(str(tmp_path))
    assert list(found.paired.policies) == ["best-effort-fifo"]
    assert [(each.policy, each.outcome) for each in found.gates] == [
        ("best-effort-fifo", "pass"),
        ("stub_that_waits:Never", "undecided"),
    ]


def test_a_fill_has_no_time_and_no_pairs(tmp_path):
    found = compared(tmp_path, rules={"fill": True}, gates=["not_started: +0"])
    assert found.paired is None
    assert [each.outcome for each in found.gates] == ["undecided"]
    assert paired_lines(found)[0].startswith("UNDECIDED")


def test_files_that_machines_read(ten_days, tmp_path):
    write_reports(ten_days, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} >= {"junit.xml", "report.html", "report.md"}
    suite = ET.fromstring((tmp_path / "junit.xml").read_text()).find("testsuite")
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("3", "1", "0")
    assert [case.find("failure") is not None for case in suite.findall("testcase")] == [False, True, False]
    text = (tmp_path / "report.md").read_text()
    assert text.startswith("## ❌ Gates: fail")
    assert text.index("❌ | best-effort-fifo") < text.index("✅ | best-effort-fifo"), "what fails stands first"


def test_names_of_a_trace_are_neither_markup_nor_xml(tmp_path):
    evil = '<b>|`x`*_@all"&\x01'
    records = [replace(each, queue=evil if each.queue == "big" else "q", user=evil) for each in days()]
    found = compared(tmp_path, records, gates=["wait.mean{queue=*}: +1 %"])
    assert evil not in markdown(found)
    rows = [line for line in markdown(found).splitlines() if line.startswith("| ❌")]
    assert [row.replace("\\|", "").count("|") for row in rows] == [5]
    cases = ET.fromstring(junit(found)).findall(".//testcase")
    assert any(evil.replace("\x01", "\ufffd") in case.get("name") for case in cases)


def test_undecided_is_an_error_in_junit(tmp_path):
    found = compared(tmp_path, list(days(5)), gates=["wait.mean: +1 %"])
    case = ET.fromstring(junit(found)).find(".//testcase")
    assert "too few independent blocks: 5" in case.find("error").get("message")
    assert markdown(found).startswith("## ❔ Gates: undecided (1 undecided)")


def test_markdown_fits_a_comment_and_says_what_it_leaves_out(ten_days):
    many = replace(ten_days, gates=tuple(replace(ten_days.gates[0], gate=f"{i} {'x' * 150}") for i in range(400)))
    text = markdown(many)
    assert len(text) <= CHARACTERS_MAX
    assert text.endswith("*The rest is left out: it stands in the report.*\n")


def test_a_comparison_read_back_is_the_same(ten_days, tmp_path):
    found = compared(tmp_path, gates=["wait.mean: +1 %"], replications=2, shake="5 %")
    back = read_comparison(tmp_path)
    assert back.paired == found.paired
    assert back.gates == found.gates
    assert markdown(back) == markdown(found)


SCENARIO = """rehearse_scenario: 1
trace: jobs.csv
cluster: 1x8
policies: [fifo, "best-effort-fifo:place=random", sjf]
replications: 3
shake: {submit: 5 %, run: 3 %}
seed: 11
metrics: [wait.mean, "wait.p95{queue=*}: +5 % or +2 min"]
gates:
  - wait.mean{user=*}: +5 %
"""


def test_the_same_scenario_gives_the_same_bytes_in_any_process(tmp_path):
    rows = [
        f"{each.job_id},{each.submit_ms},{each.run_ms},{each.gpu_count},{each.user},{each.queue}\n" for each in days()
    ]
    (tmp_path / "jobs.csv").write_text("job_id,submit_ms,run_ms,gpus,user,queue\n" + "".join(rows))
    (tmp_path / "s.yaml").write_text(SCENARIO)
    found = []
    for number, seed in enumerate(("1", "77")):
        done = subprocess.run(
            [sys.executable, "-m", "sim.cli", "compare", "s.yaml", "--out", f"out{number}"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode in {0, 1, 3}, done.stderr
        files = ("comparison.json", "report.md", "junit.xml", "sjf/jobs.parquet", "sjf/manifest.json")
        found.append([(tmp_path / f"out{number}" / name).read_bytes() for name in files])
    assert found[0] == found[1]
    evidence = json.loads(found[0][0])["evidence"]
    assert [each["seed"] for each in evidence["replays"]] == [11, 12, 13]


def test_the_difference_is_that_of_plain_numpy(tmp_path):
    chance = np.random.default_rng(3)
    records = [
        job(f"j{i}", int(at), int(chance.exponential(2 * HOUR)) + 1, int(chance.integers(1, 9)))
        for i, at in enumerate(np.sort(chance.integers(0, 30 * DAY_MS, 400)))
    ]
    found = compared(tmp_path, records, blocks="day")
    waits = {name: read_run(tmp_path / name).jobs.wait_ms for name in ("fifo", "best-effort-fifo")}
    effects = {each.quantity: each for each in found.paired.policies["best-effort-fifo"].metrics}
    assert effects["wait.mean"].difference.value == pytest.approx(
        waits["best-effort-fifo"].mean() - waits["fifo"].mean()
    )
    assert effects["wait.p95"].value == pytest.approx(np.quantile(waits["best-effort-fifo"], 0.95))
    low, high = effects["wait.mean"].difference.low, effects["wait.mean"].difference.high
    assert low < effects["wait.mean"].difference.value < high
    assert asked_for("wait.mean").selector.where == ()
