"""Stretches of a run, and the trace for Perfetto that is drawn from them."""

import gzip
import json

import numpy as np
import pytest
from builders import job, policy, replay, servers
from hypothesis import given
from hypothesis import strategies as st

from policies.api import Preempt, Start
from sim.cli import _status
from sim.stretches import stretches
from sim.timeline import Happened


def test_a_preempted_job_has_two_stretches():
    jobs = [job("low", 0, 100, 8, priority=0), job("high", 30, 50, 8, priority=1)]
    outcome = replay(jobs, servers(1), "preempt-priority")
    found = stretches(outcome.timeline, outcome.end_ms)
    rows = list(zip(found.job.tolist(), found.start_ms.tolist(), found.end_ms.tolist(), strict=True))
    assert rows == [(0, 0, 30), (1, 30, 80), (0, 80, 150)]
    assert (outcome.timeline.happened[found.entry] == Happened.START).all()


class StopsEarly:
    """Starts one job and then asks for what cannot be."""

    name = "stops"
    runs_on_empty_queue = False

    def decide(self, view):
        yield Start("a", ((0, 1, 1, 0),))
        yield Preempt("nobody")

    def semantics(self):
        return policy("fifo").semantics()


def test_what_still_runs_ends_with_the_run():
    from sim.engine import PolicyError

    with pytest.raises(PolicyError) as broken:
        replay([job("a", 5, 100)], servers(1), StopsEarly())
    outcome = broken.value.outcome
    found = stretches(outcome.timeline, 77)
    assert (found.start_ms.tolist(), found.end_ms.tolist()) == ([5], [77])


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 40), st.integers(1, 8), st.integers(0, 3)), max_size=15))
def test_stretches_sum_to_what_the_fleet_held(rows):
    jobs = [job(f"j{i}", at, run, gpus, priority=p) for i, (at, run, gpus, p) in enumerate(rows)]
    outcome = replay(jobs, servers(2), "preempt-priority")
    found = stretches(outcome.timeline, outcome.end_ms)
    demand = np.array([record.demand_milli for record in jobs], dtype=np.int64)
    held = ((found.end_ms - found.start_ms) * demand[found.job]).sum() if len(found.job) else 0
    assert held == outcome.held_milli_ms


TRACE = "job_id,submit_ms,run_ms,gpus,queue,recorded_start_ms\n"


def make_run(folder, rows, *flags):
    (folder / "t.csv").write_text(TRACE + "".join(f"{row}\n" for row in rows))
    out = folder / "run"
    asked = [
        "run",
        "--trace",
        str(folder / "t.csv"),
        "--cluster",
        "1x8",
        "--policy",
        "fifo",
        "--out",
        str(out),
        *flags,
    ]
    assert _status(asked) == 0
    return out


def test_perfetto_has_a_slice_for_each_device_and_counters(tmp_path, capsys):
    out = make_run(tmp_path, ["a,0,1000,8,prod,0", "b,500,1000,2,<b>x</b>,900"])
    packed = tmp_path / "trace.json.gz"
    assert _status(["export", str(out), "--perfetto", str(packed), "--cluster", "1x8"]) == 0
    events = json.loads(gzip.decompress(packed.read_bytes()))["traceEvents"]
    slices = [event for event in events if event["ph"] == "X"]
    assert [(e["name"], e["ts"], e["dur"]) for e in slices].count(("a", 0, 1_000_000)) == 8
    assert [(e["name"], e["ts"], e["dur"]) for e in slices].count(("b", 1_000_000, 1_000_000)) == 2
    counters = [
        (event["ts"], event["args"]["devices"]) for event in events if event["ph"] == "C" and "use" in event["name"]
    ]
    assert counters == [(0, 8.0), (500_000, 8.0), (1_000_000, 2.0), (2_000_000, 0.0)]
    names = {event["args"]["name"] for event in events if event["ph"] == "M"}
    assert {"fleet under fifo", "device 0"} < names
    assert f"{len(events)} events" in capsys.readouterr().out


def test_export_refuses_another_fleet_and_a_fill(tmp_path, capsys):
    out = make_run(tmp_path, ["a,0,1000,8,prod,0"])
    assert _status(["export", str(out), "--perfetto", str(tmp_path / "x.json"), "--cluster", "2x8"]) == 2
    assert "is not the fleet" in capsys.readouterr().err
    filled = make_run(tmp_path, ["a,0,1000,8,prod,0"], "--fill")
    assert _status(["export", str(filled), "--perfetto", str(tmp_path / "x.json")]) == 2
    assert "no clock" in capsys.readouterr().err
