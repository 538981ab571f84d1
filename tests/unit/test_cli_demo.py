"""The demo: its weeks are always the same, fit its fleet, and decide which of at least four policies wins."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from click.testing import CliRunner

from sim.check import check
from sim.demo import LOAD, TEAMS, WEEKS, demo, demo_trace
from sim.experiment.compare import folder_names
from sim.experiment.comparison_file import read_comparison
from sim.fleet.load import load_fleet
from sim.fleet.table import queues_of, topology_of
from sim.results import read_run
from sim.rules import Rules
from traces.synthetic import offered_load


def test_the_trace_fits_the_fleet():
    fleet = load_fleet("demo").fleet
    assert {team.accelerator: team.devices for team in TEAMS} == fleet.devices_by_accelerator
    records = demo_trace()
    found = check(records, topology_of(fleet), queues_of(fleet), Rules(), {})
    assert [str(each) for each in found if each.severity != "info"] == []
    assert {record.queue for record in records} == {queue.name for queue in fleet.queues}
    assert 0.8 < offered_load(records, fleet.devices) < 0.95  # 0.9 of each pool, over the pool's own span


def test_the_trace_is_always_the_same():
    first, second = (hashlib.sha256(repr(demo_trace()).encode()).hexdigest() for _ in range(2))
    assert first == second


def test_weeks_are_drawn_apart_and_each_meets_the_load():
    first, second = (demo_trace(week, LOAD) for week in range(2))
    assert {job.run_ms for job in first[:50]} != {job.run_ms for job in second[:50]}
    fleet = load_fleet("demo").fleet
    for records in (first, second):
        assert offered_load(records, fleet.devices) == pytest.approx(
            LOAD, rel=0.08
        )  # of each pool, over its own span


def test_one_week_decides_nothing_and_says_so(tmp_path):
    out = tmp_path / "out"
    done = CliRunner().invoke(demo, ["--out", str(out), "--weeks", "1", "--workers", "1"])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("Mean wait: smallest-area:per=queue wins by ")
    assert "but 1 block of evidence does not decide it" in done.stdout
    assert "warning: too few blocks: 1, and at least 8 are needed" in done.stdout
    assert (out / "weeks" / "week-01.csv").exists()


@pytest.mark.slow
def test_the_demo_decides_and_says_where(tmp_path):
    out = tmp_path / "out"
    done = CliRunner().invoke(demo, ["--out", str(out)])
    assert done.exit_code == 0, done.output
    assert "; 95 % interval -" in done.stdout.splitlines()[0]
    assert f"report: {out / 'report.html'}" in done.stdout
    assert len(done.stdout.splitlines()) < 40  # one screen
    found = read_comparison(out)
    assert all(run.complete for run in found.runs.values())
    assert found.paired is not None
    decided = {policy: found.effect(policy, "wait_mean_ms").verdict for policy in found.others}
    assert decided == dict.fromkeys(found.others, "better")
    assert len(found.names) >= 4
    assert found.replays == len(list((out / "weeks").iterdir())) == WEEKS
    means = found.overall("wait_mean_ms")
    for policy, folder in folder_names(found.names).items():
        runs = [out / folder, *(out / "traces" / str(number) / folder for number in range(2, WEEKS + 1))]
        waits = np.concatenate([read_run(run).jobs.wait_ms for run in runs])
        assert means[policy] == pytest.approx(waits.mean())  # every job of every week, by the run directories
