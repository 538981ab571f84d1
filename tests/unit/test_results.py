"""The run directory: what stands in it, that it is whole or absent, and that its fingerprint is of the result alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest
from builders import job, replay, servers
from runs import GOLDEN, run_of, trace_of

from sim.fleet.load import load_fleet
from sim.jobs_table import ABSENT, exact_dot, from_arrow, jobs_arrow, jobs_table
from sim.metrics.registry import summary
from sim.results import (
    RunDirectoryError,
    SumsDisagreeError,
    check_sums,
    fingerprint,
    read_run,
    refuse_unless_free,
    whole_directory,
    write_run,
)
from sim.run import InputError
from sim.run import replay as replay_trace
from traces.job import FieldProblem
from traces.trace import Rejection

RANDOM_TIES = """
import sys
sys.path.insert(0, "tests")
from builders import job
from runs import run_of
jobs = [job(f"j{i}", i // 10 * 1000, 700 + 37 * i % 900, 1 + i % 5, user=f"u{i % 7}") for i in range(200)]
print(run_of(jobs, "2x8", "fifo:place=random", ties="random", seed=int(sys.argv[1])).manifest["fingerprint"])
"""


def golden():
    return run_of(GOLDEN, "1x8", "fifo")


def test_one_row_for_each_record_in_file_order_with_absent_as_null(tmp_path):
    run = golden()
    write_run(run, tmp_path / "out", summary(run))
    rows = pq.read_table(tmp_path / "out" / "jobs.parquet").to_pylist()
    assert [row["job_id"] for row in rows] == ["a", "b", "c", "d", "e"]
    second = {name: rows[1][name] for name in ("submit_ms", "first_start_ms", "end_ms", "wait_ms", "run_ms")}
    assert second == {
        "submit_ms": 2000,
        "first_start_ms": 10_000,
        "end_ms": 30_000,
        "wait_ms": 8000,
        "run_ms": 20_000,
    }
    assert (rows[1]["completion_ms"], rows[1]["state"], rows[1]["gpus"], rows[1]["nodes"]) == (
        28_000,
        "finished",
        4.0,
        1,
    )
    assert (rows[1]["span"], rows[1]["user"], rows[1]["queue"], rows[1]["reason"]) == ("server", "bob", "q2", None)
    assert (rows[1]["estimate_ms"], rows[0]["estimate_ms"]) == (30_000, None)
    last = rows[4]
    assert last["state"] == "rejected"
    assert "larger than the fleet" in last["reason"]
    absent = ("first_start_ms", "end_ms", "wait_ms", "run_ms", "completion_ms", "nodes", "span", "accelerator")
    assert [last[name] for name in absent] == [None] * len(absent)


def test_what_was_written_is_read_back(tmp_path):
    run = golden()
    write_run(run, tmp_path / "out", summary(run))
    back = read_run(tmp_path / "out")
    assert fingerprint(back.jobs, back.timeline) == run.manifest["fingerprint"] == back.manifest["fingerprint"]
    assert summary(back) == summary(run) == json.loads((tmp_path / "out" / "summary.json").read_text())


def test_the_timeline_holds_every_placement(tmp_path):
    run = run_of([job("a", 0, 1000, 12)], "2x8", "fifo")
    write_run(run, tmp_path / "out", summary(run))
    rows = pq.read_table(tmp_path / "out" / "timeline.parquet").to_pylist()
    assert [(row["at_ms"], row["happened"]) for row in rows] == [(0, "arrive"), (0, "start"), (1000, "finish")]
    assert rows[1]["share_node"] == [0, 1]
    assert rows[1]["share_devices"] == [0xFF, 0x0F]
    assert rows[0]["share_node"] == []


def test_written_twice_is_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        run = golden()
        write_run(run, tmp_path / name, summary(run))
    for file in sorted((tmp_path / "one").iterdir()):
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes(), file.name


def test_rejected_rows_of_the_trace_are_kept_and_counted(tmp_path):
    bad = [Rejection(n, f"x{n}", (FieldProblem("run_ms", "must be a number, got 'x'"),)) for n in range(2, 32)]
    run = replay_trace(trace_of(GOLDEN, bad), load_fleet("1x8"), "fifo")
    write_run(run, tmp_path / "out", summary(run))
    said = json.loads((tmp_path / "out" / "manifest.json").read_text())["inputs"]["trace"]
    assert (said["rows"], said["accepted"], said["rejected"], len(said["rejections"])) == (35, 5, 30, 20)
    lines = (tmp_path / "out" / "rejections.jsonl").read_text().splitlines()
    assert len(lines) == 30
    assert json.loads(lines[0])["problems"] == [{"field": "run_ms", "reason": "must be a number, got 'x'"}]


def test_every_job_is_in_one_state():
    states = golden().manifest["jobs"]["by_state"]
    assert states == {
        "finished": 4,
        "killed": 0,
        "rejected": 1,
        "dropped": 0,
        "waiting": 0,
        "running": 0,
        "withdrawn": 0,
    }


def test_a_killed_job_says_why():
    run = run_of([job("a", 0, 10_000, 1, estimate_ms=4000)], "1x8", "fifo", overrun="kill")
    table = jobs_arrow(run.jobs, ()).to_pylist()
    assert (table[0]["state"], table[0]["end_ms"], table[0]["reason"]) == ("killed", 4000, "it outran its estimate")


def test_a_static_fill_has_no_clock():
    run = run_of([job("a", 5, 1, 6), job("b", 7, 1, 4), job("c", 9, 1, 2)], "1x8", "best-effort-fifo", fill=True)
    rows = jobs_arrow(run.jobs, ()).to_pylist()
    assert [(row["state"], row["first_start_ms"], row["wait_ms"], row["end_ms"]) for row in rows] == [
        ("running", 5, 0, None),
        ("dropped", None, None, None),
        ("running", 9, 0, None),
    ]
    assert run.fill.arrived_gpu_milli.tolist() == [6000, 10_000, 12_000]
    assert run.fill.allocated_gpu_milli.tolist() == [6000, 6000, 8000]
    assert summary(run)["metrics"]["allocated_share"] == 1.0
    assert summary(run)["metrics"]["not_finished"] == 1.0


def test_nodes_and_span_of_the_last_placement(tmp_path):
    fleet = tmp_path / "fleet.yaml"
    fleet.write_text(
        "rehearse_fleet: 1\nlevels: [leaf, spine]\npools:\n"
        "  - {name: p, servers: 4, devices: 8, accelerator: generic,\n"
        "     place: {leaf: {every: 2, named: l}, spine: s}}\n"
    )
    jobs = [job("one", 0, 1000, 8), job("leaf", 2000, 1000, 16), job("spine", 4000, 1000, 24)]
    run = run_of(jobs, str(fleet), "fifo:place=first-fit")
    rows = jobs_arrow(run.jobs, run.levels).to_pylist()
    assert [(row["nodes"], row["span"]) for row in rows] == [(1, "server"), (2, "leaf"), (3, "spine")]


def test_sums_that_disagree_are_refused():
    topology = servers(1)
    outcome = replay([job("a", 0, 1000, 1)], topology, "fifo")
    jobs = jobs_table(outcome, topology)
    check_sums(jobs, outcome.held_milli_ms)
    with pytest.raises(SumsDisagreeError, match="1000000 milli-device-milliseconds by the timeline, 1000001"):
        check_sums(jobs, outcome.held_milli_ms + 1)
    with pytest.raises(SumsDisagreeError, match="before it took them"):
        check_sums(replace(jobs, held_ms=jobs.held_ms - 2000), outcome.held_milli_ms)


def test_sums_do_not_overflow():
    big = np.full(4, 10**12, dtype=np.int64)
    assert exact_dot(big, big) == 4 * 10**24


def test_a_directory_that_is_no_run_is_not_touched(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    run = golden()
    with pytest.raises(RunDirectoryError, match="holds something else"):
        write_run(run, tmp_path, summary(run))
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
    with pytest.raises(RunDirectoryError, match="is not a directory"):
        refuse_unless_free(tmp_path / "notes.txt")


def test_an_older_run_is_replaced_and_nothing_is_left_beside_it(tmp_path):
    run = golden()
    for _ in range(2):
        write_run(run, tmp_path / "out", summary(run))
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_directory_that_fails_half_way_is_not_there(tmp_path):
    def half() -> None:
        with whole_directory(tmp_path / "out") as made:
            (made / "x").write_text("1")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "text"), [("manifest.json", "{}"), ("manifest.json", "not json")])
def test_what_is_no_run_is_not_read(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(RunDirectoryError, match="is not a run directory"):
        read_run(tmp_path)


def test_a_run_of_another_version_or_with_a_lost_file_is_not_read(tmp_path):
    run = golden()
    write_run(run, tmp_path / "out", summary(run))
    (tmp_path / "out" / "jobs.parquet").unlink()
    with pytest.raises(RunDirectoryError, match="is not a whole run directory"):
        read_run(tmp_path / "out")
    (tmp_path / "out" / "manifest.json").write_text('{"rehearse_run": 99}')
    with pytest.raises(RunDirectoryError, match="version 99"):
        read_run(tmp_path / "out")
    with pytest.raises(RunDirectoryError, match="no such directory"):
        read_run(tmp_path / "nowhere")


def test_the_fingerprint_sees_every_column():
    run = golden()
    own = run.manifest["fingerprint"]
    for name in ("first_start_ms", "end_ms", "held_ms", "preemptions", "nodes", "submit_ms", "demand_milli"):
        changed = getattr(run.jobs, name).copy()
        changed[0] += 1
        assert fingerprint(replace(run.jobs, **{name: changed}), run.timeline) != own, name
    at_ms = run.timeline.at_ms.copy()
    at_ms[-1] += 1
    assert fingerprint(run.jobs, run.timeline._replace(at_ms=at_ms)) != own


def test_the_fingerprint_tells_neighbouring_texts_apart():
    ab = run_of([job("ab", 0, 1, 1, user="c")], "1x8", "fifo").manifest["fingerprint"]
    abc = run_of([job("a", 0, 1, 1, user="bc")], "1x8", "fifo").manifest["fingerprint"]
    assert ab != abc


@pytest.mark.slow
def test_same_seed_same_fingerprint_in_any_process():
    def printed(seed: int, hash_seed: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", RANDOM_TIES, str(seed)],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    same = {printed(1, hash_seed) for hash_seed in ("0", "1", "4242")}
    assert len(same) == 1
    assert printed(2, "0") not in same


def test_another_seed_changes_nothing_where_nothing_is_random():
    fifo = {run_of(GOLDEN, "1x8", "fifo", seed=seed).manifest["fingerprint"] for seed in (0, 1, 2)}
    assert len(fifo) == 1


def test_arrow_and_back_keeps_absent():
    run = golden()
    back = from_arrow(jobs_arrow(run.jobs, ()), ())
    for name in ("submit_ms", "first_start_ms", "end_ms", "held_ms", "nodes", "span", "state"):
        assert np.array_equal(getattr(back, name), getattr(run.jobs, name)), name
    assert back.nodes[4] == ABSENT


def test_an_unknown_policy_is_named():
    with pytest.raises(InputError, match="did you mean 'fifo'"):
        run_of(GOLDEN, "1x8", "fifoo")
