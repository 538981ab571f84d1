"""The pytest plugin as another repository has it: in a process of its own, found by its entry point."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata

import pytest
from paired_days import days

SCENARIO = "rehearse_scenario: 1\ntrace: data/jobs.csv\ncluster: 1x8\nblocks: 6d\n"
GATES = "rehearse_gates: 1\ngates:\n  - wait.mean: no worse than +1 %\n"

TESTS = """
def test_passes(rehearse):
    found = rehearse.compare("scenario.yaml", policies=["fifo", "best-effort-fifo"])
    found.assert_gates("gates.yaml")
    found.assert_gates(["wait.p95{user=cid}: +0"])
    assert found.comparison.paired.policies["best-effort-fifo"].metrics[0].verdict == "better"


def test_fails(rehearse):
    rehearse.compare("scenario.yaml", policies=["fifo", "best-effort-fifo"]).assert_gates(["wait.p95{user=bob}: +2 h"])


def test_undecided(rehearse):
    found = rehearse.compare({"trace": "data/jobs.csv", "cluster": "1x8"}, policies=["fifo", "best-effort-fifo"], blocks="30d")
    found.assert_gates("gates.yaml", undecided="pass")
    found.assert_gates("gates.yaml")


def test_skipped(rehearse):
    found = rehearse.compare("scenario.yaml", policies=["fifo", "best-effort-fifo"], blocks="30d")
    found.assert_gates("gates.yaml", undecided="skip")


def test_baseline_of_the_scenario(rehearse):
    found = rehearse.compare("scenario.yaml", policies=["fifo", "best-effort-fifo"], baseline="best-effort-fifo")
    assert found.gates("gates.yaml")[0].outcome == "fail"
"""


@pytest.fixture
def elsewhere(tmp_path):
    """A repository with a policy's tests."""
    folder = tmp_path / "repo" / "tests"
    (folder / "data").mkdir(parents=True)
    rows = [f"{each.job_id},{each.submit_ms},{each.run_ms},{each.gpu_count},{each.user}\n" for each in days()]
    (folder / "data" / "jobs.csv").write_text("job_id,submit_ms,run_ms,gpus,user\n" + "".join(rows))
    (folder / "scenario.yaml").write_text(SCENARIO)
    (folder / "gates.yaml").write_text(GATES)
    (folder / "test_policy.py").write_text(TESTS)
    return tmp_path / "repo"


def test_a_repository_gates_its_own_policy(elsewhere):
    if not any(each.value == "sim.pytest_plugin" for each in metadata.entry_points(group="pytest11")):
        pytest.skip("needs the installed distribution with its entry points: `make test` installs it")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", "--basetemp", str(elsewhere / "tmp")],
        cwd=elsewhere,
        env={key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "2 failed, 2 passed, 1 skipped" in done.stdout, done.stdout + done.stderr
    assert "FAIL      best-effort-fifo  wait.p95{user=bob}: no worse than +2 h" in done.stdout
    assert "UNDECIDED best-effort-fifo  wait.mean: no worse than +1 %" in done.stdout
    assert "too few independent blocks: 3" in done.stdout
    assert next((elsewhere / "tmp").rglob("report.html")).exists(), "the report is kept where pytest keeps things"


def test_the_plugin_costs_nothing_until_it_is_used():
    code = "import sys, pytest; before = set(sys.modules); import sim.pytest_plugin; print(sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['sim', 'sim.pytest_plugin']"
