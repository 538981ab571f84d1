"""Stretches of a run, and the trace for Perfetto that is drawn from them."""

import gzip
import itertools
import json
import tempfile
from pathlib import Path

import numpy as np
import pytest
from builders import job, policy, replay, servers
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.api import Preempt, Start
from sim.cli import _status
from sim.experiment.prepare import prepare, replay_prepared
from sim.experiment.scenario import make_scenario
from sim.export.perfetto import write_perfetto
from sim.stretches import STILL_RUNS, stretches
from sim.timeline import Happened
from traces.trace import Trace


def test_a_preempted_job_has_two_stretches():
    jobs = [job("low", 0, 100, 8, priority=0), job("high", 30, 50, 8, priority=1)]
    outcome = replay(jobs, servers(1), "preempt-priority")
    found = stretches(outcome.timeline, outcome.end_ms)
    rows = list(zip(found.job.tolist(), found.start_ms.tolist(), found.end_ms.tolist(), strict=True))
    assert rows == [(0, 0, 30), (1, 30, 80), (0, 80, 150)]
    assert (outcome.timeline.happened[found.entry] == Happened.START).all()
    assert found.ended.tolist() == [Happened.PREEMPT, Happened.FINISH, Happened.FINISH]


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
    assert (found.start_ms.tolist(), found.end_ms.tolist(), found.ended.tolist()) == ([5], [77], [STILL_RUNS])


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 40), st.integers(1, 8), st.integers(0, 3)), max_size=15))
def test_stretches_sum_to_what_the_fleet_held(rows):
    jobs = [job(f"j{i}", at, run, gpus, priority=p) for i, (at, run, gpus, p) in enumerate(rows)]
    outcome = replay(jobs, servers(2), "preempt-priority")
    found = stretches(outcome.timeline, outcome.end_ms)
    demand = np.array([record.demand_milli for record in jobs], dtype=np.int64)
    held = ((found.end_ms - found.start_ms) * demand[found.job]).sum() if len(found.job) else 0
    assert held == outcome.held_milli_ms


# -- Perfetto --------------------------------------------------------------------------------------------------------

KEYS = {
    "M": {"ph", "pid", "tid", "name", "args"},
    "C": {"ph", "pid", "tid", "ts", "name", "args"},
    "X": {"ph", "pid", "tid", "ts", "dur", "name", "cat", "args"},
}
"""What the Trace Event Format asks of each kind that is written."""

METADATA = {"process_name", "process_sort_index", "thread_name", "thread_sort_index"}


def events_of(path):
    """The events of a trace, each checked against the format."""
    data = path.read_bytes()
    trace = json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
    assert set(trace) == {"displayTimeUnit", "traceEvents"}
    assert trace["displayTimeUnit"] in {"ms", "ns"}
    rows = {}
    for event in trace["traceEvents"]:
        assert set(event) == KEYS[event["ph"]]
        assert isinstance(event["pid"], int)
        assert isinstance(event["tid"], int)
        assert all(isinstance(event[key], int) and event[key] >= 0 for key in {"ts", "dur"} & set(event))
        if event["ph"] == "C":
            assert all(isinstance(value, float) and value >= 0 for value in event["args"].values())
        if event["ph"] == "M":
            assert event["name"] in METADATA
        if event["ph"] == "X":
            assert event["tid"] > 0
            rows.setdefault((event["pid"], event["tid"]), []).append((event["ts"], event["ts"] + event["dur"]))
    named = {(e["pid"], e["tid"]) for e in trace["traceEvents"] if e["name"] == "thread_name"}
    assert named == set(rows)
    for slices in rows.values():
        for (_, end), (start, _) in itertools.pairwise(slices):
            assert end <= start, "slices of one row must not overlap"
    return trace["traceEvents"]


def run_of(records, policy="fifo", cluster="2x4", **more):
    scenario = make_scenario({"trace": "made", "cluster": cluster, **more}, source="test")
    trace = Trace(path="made", format="canonical", sha256="0", rows=len(records), records=records, rejections=[])
    return replay_prepared(prepare(scenario, [policy], trace=trace), policy)


def test_perfetto_has_a_slice_for_each_device_and_counters(tmp_path):
    run = run_of([job("a", 0, 1000, 8, queue="prod"), job("b", 500, 1000, 2, queue="<b>x</b>")], cluster="1x8")
    path = tmp_path / "trace.json.gz"
    assert write_perfetto(run, path) == len(events_of(path))
    events = events_of(path)
    slices = [event for event in events if event["ph"] == "X"]
    assert [(e["name"], e["ts"], e["dur"]) for e in slices].count(("a", 0, 1_000_000)) == 8
    assert [(e["name"], e["ts"], e["dur"]) for e in slices].count(("b", 1_000_000, 1_000_000)) == 2
    assert slices[-1]["args"] == {
        "queue": "<b>x</b>",
        "devices": 2,
        "submitted_s": 0.5,
        "since_submission_s": 0.5,
        "ended": "finished",
    }
    used = [
        (event["ts"], event["args"]["devices"]) for event in events if event["ph"] == "C" and "use" in event["name"]
    ]
    assert used == [(0, 8.0), (500_000, 8.0), (1_000_000, 2.0), (2_000_000, 0.0)]
    names = {event["args"]["name"] for event in events if event["name"].endswith("_name")}
    assert {"fleet under fifo", "n0", "device 0"} <= names
    before = path.read_bytes()
    write_perfetto(run, path)
    assert path.read_bytes() == before, "the same bytes each time"


rows_of_jobs = st.lists(
    st.tuples(
        st.integers(0, 50), st.integers(0, 40), st.sampled_from([(0, 1000), (1, 300), (1, 600), (1, 1000), (3, 1000), (9, 1000)]),
        st.integers(0, 2),
    ),
    max_size=15,
)  # fmt: skip


@settings(max_examples=40)
@given(rows_of_jobs)
def test_any_run_becomes_a_trace_that_follows_the_format(rows):
    records = [
        job(f"j{i}", at, run, gpus, gpu_milli=milli, priority=p) for i, (at, run, (gpus, milli), p) in enumerate(rows)
    ]
    run = run_of(records, "preempt-priority")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        count = write_perfetto(run, path)
        events = events_of(path)
        assert list(Path(folder).iterdir()) == [path]
    assert count == len(events)
    drawn = sum(
        e["dur"] * (e["args"]["devices"] if e["args"]["devices"] < 1 else 1) for e in events if e["ph"] == "X"
    )
    assert drawn == pytest.approx(run.manifest["held_milli_ms"])
    if records:
        assert [e["args"]["devices"] for e in events if e["ph"] == "C"][-2:] == [0, 0]


def test_a_part_of_the_time_has_what_touches_it(tmp_path):
    run = run_of([job(f"j{i}", 1000 + i * 100, 100, 4) for i in range(10)], cluster="1x4")
    path = tmp_path / "t.json"
    write_perfetto(run, path, from_ms=250, to_ms=550)
    events = events_of(path)
    assert {e["name"] for e in events if e["ph"] == "X"} == {"j2", "j3", "j4", "j5"}
    assert {e["ts"] for e in events if e["ph"] == "C"} == {1_250_000, 1_300_000, 1_400_000, 1_500_000}
    held = [e["args"]["devices"] for e in events if e["ph"] == "C" and e["ts"] == 1_250_000]
    assert held == [4, 0], "what holds where the part begins"


def test_what_no_viewer_opens_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("sim.export.perfetto.EVENTS_MAX", 50)
    run = run_of([job(f"j{i}", i * 100, 100, 4) for i in range(10)], cluster="1x4")
    with pytest.raises(ValueError, match=r"would have 62 events.*give a part of the time"):
        write_perfetto(run, tmp_path / "t.json")
    assert not list(tmp_path.iterdir())
    assert write_perfetto(run, tmp_path / "t.json", to_ms=300) <= 50


TRACE = "job_id,submit_ms,run_ms,gpus,queue,recorded_start_ms\n"


def make_run(folder, rows, *flags):
    (folder / "t.csv").write_text(TRACE + "".join(f"{row}\n" for row in rows))
    asked = ["run", "--trace", str(folder / "t.csv"), "--cluster", "1x8", "--policy", "fifo", *flags]
    assert _status([*asked, "--out", str(folder / "run")]) == 0
    return folder / "run"


def test_the_command_writes_a_trace_and_refuses_another_fleet_and_a_fill(tmp_path, capsys):
    out = make_run(tmp_path, ["a,0,1000,8,prod,0"])
    path = tmp_path / "x.json"
    asked = ["export", str(out), "--perfetto", str(path)]
    assert _status([*asked, "--cluster", "1x8", "--to", "1d"]) == 0
    assert f"{len(events_of(path))} events" in capsys.readouterr().out
    assert _status([*asked, "--cluster", "2x8"]) == 2
    assert "is not the fleet" in capsys.readouterr().err
    assert _status([*asked, "--from", "2h", "--to", "1h"]) == 2
    assert "must be later" in capsys.readouterr().err
    assert _status([*asked, "--from", "2"]) == 2
    assert "--from: must be a length of time" in capsys.readouterr().err
    assert _status([*asked[:-1], str(tmp_path / "gone" / "x.json")]) == 2
    assert f"{tmp_path / 'gone' / 'x.json'}: No such file" in capsys.readouterr().err
    for folder in (str(tmp_path), "."):
        assert _status([*asked[:-1], folder]) == 2
        assert f"error: {folder}: Is a directory" in capsys.readouterr().err
    filled = make_run(tmp_path, ["a,0,1000,8,prod,0"], "--fill")
    assert _status(["export", str(filled), "--perfetto", str(path)]) == 2
    assert "no clock" in capsys.readouterr().err
