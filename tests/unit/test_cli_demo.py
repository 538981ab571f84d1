"""The demo: its trace is always the same, fits its fleet, and its page compares at least four policies."""

from __future__ import annotations

import hashlib
import json

import pytest
from click.testing import CliRunner

from sim.check import check
from sim.demo import TEAMS, demo, demo_trace
from sim.fleet.load import load_fleet
from sim.fleet.table import queues_of, topology_of
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


@pytest.mark.slow
def test_the_demo_compares_and_says_where(tmp_path):
    done = CliRunner().invoke(demo, ["--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert "Mean wait: " in done.stdout
    assert f"report: {tmp_path / 'out' / 'report.html'}" in done.stdout
    data = json.loads((tmp_path / "out" / "comparison.json").read_text())
    assert len(data["policies"]) >= 4
    assert all(each["complete"] for each in data["policies"])
    assert (tmp_path / "out" / "trace.csv").exists()
