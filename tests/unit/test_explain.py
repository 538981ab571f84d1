"""`rehearse explain` and `--causes`, from the command line, by hand."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from builders import job
from runs import run_of

from sim.causes.columns import AGAIN, FIRST
from sim.causes.holding import overlap
from sim.cli import main
from sim.explain_inputs import Inputs
from sim.explain_teller import story_of
from sim.explain_text import clock, story_lines
from sim.fleet.load import load_fleet
from sim.results import read_run

JOBS = """job_id,submit_ms,run_ms,gpus,queue,user
a,0,10000,6,red,ann
b,1000,20000,8,red,bob
c,2000,4000,1,blue,ann
d,3000,5000,2,blue,cy
"""


def rehearse(capsys, *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    return int(stop.value.code or 0), out, err


@pytest.fixture
def desk(tmp_path, monkeypatch, capsys):
    """A trace, a fleet, and a run of them under the strict order."""
    (tmp_path / "jobs.csv").write_text(JOBS, encoding="utf-8")
    fleet = "rehearse_fleet: 1\npools:\n- name: p\n  servers: 1\n  devices: 8\n  accelerator: generic\n"
    (tmp_path / "fleet.yaml").write_text(fleet, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    words = ("run", "--trace", "jobs.csv", "--cluster", "fleet.yaml", "--policy", "fifo", "--out", "out", "--causes")
    assert rehearse(capsys, *words)[0] == 0
    return tmp_path


def test_the_story(desk, capsys):
    """a holds 6 until 10 s; b wants 8, starts then and ends at 30 s; c is behind b, and had room until then."""
    status, out, _ = rehearse(capsys, "explain", "out", "c")
    assert status == 0
    assert out.splitlines() == [
        "c under fifo: finished",
        "  asked for 1 device, in 1 pod (1 of 1), on any of 1 of the fleet's 1 servers, user ann, queue blue",
        "  submitted at 00:00:02, when 1 job that had arrived before it was waiting",
        "  waited 28 s: capacity 20 s (71%), order 8 s (29%)",
        "    00:00:02  for 8 s   order: it would have fitted: others went first, or the policy held it back (2 free)",
        "    00:00:10  for 20 s  capacity: not enough was free (0 free)",
        "  first in line, by arrival, from 00:00:10",
        "  1 job held devices that it may use, while it waited for devices; most of it:",
        "    b  8 devices  100%",
        "  started at 00:00:30 on p-0[0]",
        "  finished at 00:00:34, after 4 s",
    ]


def test_the_story_as_data(desk, capsys):
    _, out, _ = rehearse(capsys, "explain", "out", "d", "--json")
    story = json.loads(out)
    assert (story["submit_ms"], story["wait_ms"], story["ahead"]) == (3000, 27_000, 2)
    assert story["causes_ms"] == {"capacity": 20_000, "quota": 0, "fragmentation": 0, "order": 7000, "cycle": 0}
    assert [part["cause"] for part in story["waited"]] == ["order", "capacity"]
    assert story["stretches"] == [{"from_ms": 30_000, "until_ms": 35_000, "ended": "finish", "where": ["p-0[1-2]"]}]


def test_an_unknown_job(desk, capsys):
    status, _, err = rehearse(capsys, "explain", "out", "jc")
    assert status == 2
    assert "the run has no job 'jc' among its 4; did you mean 'c'?" in err


def test_inputs_that_changed_or_went(desk, capsys):
    (desk / "jobs.csv").rename(desk / "moved.csv")
    fleet = (desk / "fleet.yaml").read_text(encoding="utf-8")
    (desk / "fleet.yaml").write_text(fleet.replace("8", "4"), encoding="utf-8")
    status, _, err = rehearse(capsys, "explain", "out", "c")
    assert status == 2
    assert "jobs.csv: the trace of the run cannot be read: No such file" in err
    assert "fleet.yaml: has changed since the run: its SHA-256 is" in err
    (desk / "same.yaml").write_text(fleet, encoding="utf-8")
    status, out, _ = rehearse(capsys, "explain", "out", "c", "--trace", "moved.csv", "--cluster", "same.yaml")
    assert status == 0
    assert out.startswith("c under fifo")
    (desk / "moved.csv").write_text(JOBS.replace("4000", "4001"), encoding="utf-8")
    status, _, err = rehearse(capsys, "explain", "out", "c", "--trace", "moved.csv", "--cluster", "same.yaml")
    assert (status, "has changed" in err) == (2, True)


def test_a_static_fill_has_no_story(desk, capsys):
    words = ("--trace", "jobs.csv", "--cluster", "1x8", "--policy", "fifo", "--out", "fill", "--fill")
    assert rehearse(capsys, "run", *words)[0] == 0
    status, _, err = rehearse(capsys, "explain", "fill", "a")
    assert (status, "no clock" in err) == (2, True)
    status, _, err = rehearse(capsys, "run", *words, "--causes")
    assert (status, "--causes: a static fill has no clock" in err) == (2, True)


def test_no_run_directory(tmp_path, capsys):
    status, _, err = rehearse(capsys, "explain", tmp_path, "a")
    assert (status, "is not a run directory" in err) == (2, True)


# -- stories of runs in memory -------------------------------------------------------------------------------------


def story(jobs, cluster, policy, name, **rules):
    run = run_of(jobs, cluster, policy, **rules)
    row = [record.job_id for record in jobs].index(name)
    return story_of(run, row, Inputs(jobs, load_fleet(cluster).fleet))


def test_whoever_came_later_and_went_first():
    """big waits for 8; the small ones pass it: s1 while nobody is before big, and s0 had come before it."""
    jobs = [job("a", 0, 100, 4), job("s0", 1, 50, 4), job("big", 2, 10, 8), job("s1", 3, 200, 4), job("s2", 4, 10, 1)]
    found = story(jobs, "1x8", "best-effort-fifo", "big")
    assert found.ahead == 0
    assert found.first_in_line_ms == 2
    assert [(each.job_id, each.at_ms, each.while_first) for each in found.overtakers] == [
        ("s1", 51, True),
        ("s2", 100, True),
    ]
    assert found.overtakers_count == found.overtakers_while_first == 2
    assert [each.job_id for each in found.holders] == ["s1", "a", "s0", "s2"]
    # 4 x (251 - 51), 4 x (100 - 2), 4 x (51 - 2), 1 x 10 devices x ms
    assert [each.held_milli_ms for each in found.holders] == [800_000, 392_000, 196_000, 10_000]
    assert sum(each.share for each in found.holders) == pytest.approx(1)
    assert (found.waited[0].free_milli_least, found.waited[-1].free_milli_most) == (0, 4000)


def test_preempted_and_started_again():
    jobs = [job("low", 0, 10, 8), job("high", 4, 10, 8, priority=1)]
    found = story(jobs, "1x8", "preempt-priority", "low", restart_ms=3)
    assert found.wait_ms == 0
    assert found.causes_again_ms["capacity"] == 10
    assert [(each.from_ms, each.until_ms, each.ended) for each in found.stretches] == [
        (0, 4, "preempt"),
        (14, 23, "finish"),
    ]
    lines = "\n".join(story_lines(found))
    assert "waited after preemptions 10 ms: capacity 10 ms (100%)" in lines
    assert "was preempted at 00:00:00.004" in lines
    assert "3 ms of its time on devices went into starting up" in lines


def test_turned_away():
    found = story([job("a", 7, 10, 9)], "1x8", "fifo", "a")
    assert story_lines(found)[-1] == "  never started; rejected at 00:00:00.007"
    assert "did not wait" in "\n".join(story_lines(found))


TAKEN_AWAY = [
    job("a", 0, 9000, 6, lifetime_ms=20_000),
    job("never", 1000, 5000, 8, lifetime_ms=9000, queue="red"),
    job("later", 2000, 5000, 2),
]


def test_taken_away_while_it_waited():
    lines = story_lines(story(TAKEN_AWAY, "1x8", "best-effort-fifo", "never"))
    assert lines == [
        "never under best-effort-fifo: withdrawn, its lifetime was over while it waited",
        (
            "  asked for 8 devices, in 1 pod (1 of 8), on any of 1 of the fleet's 1 servers, to be taken away 9 s after its"
            " submission, queue red"
        ),
        "  submitted at 00:00:01",
        "  waited 9 s: capacity 9 s (100%)",
        "    00:00:01  for 9 s  capacity: not enough was free (0 to 2 free)",
        "  first in line, by arrival, from 00:00:01",
        "  1 job that arrived later started before it, 1 of them while it was first in line; the largest:",
        "    later  2 devices  at 00:00:02",
        "  2 jobs held devices that it may use, while it waited for devices; most of it:",
        "    a      6 devices  84%",
        "    later  2 devices  16%",
        "  never started; withdrawn at 00:00:10",
    ]


def test_taken_away_while_it_ran():
    lines = story_lines(story(TAKEN_AWAY, "1x8", "fifo", "a"))
    assert lines[0] == "a under fifo: finished"
    assert lines[-2:] == [
        "  started at 00:00:00 on n0[0-5]",
        "  was taken away, as its lifetime was over, at 00:00:20, after 20 s",
    ]


def test_taken_away_after_a_preemption():
    jobs = [job("low", 0, 10_000, 8, lifetime_ms=30_000), job("high", 5000, 40_000, 8, priority=1)]
    found = story(jobs, "1x8", "preempt-priority", "low")
    assert story_lines(found)[-2:] == [
        "  was preempted at 00:00:05, after 5 s",
        "  withdrawn at 00:00:30, without another start",
    ]
    assert (found.wait_ms, found.causes_again_ms["capacity"], found.end_ms) == (0, 25_000, 30_000)


def test_entitlement_that_others_hold(tmp_path):
    fleet = """rehearse_fleet: 1
pools: [{name: p, servers: 1, devices: 8, accelerator: generic}]
queues:
- {name: red, nominal: {"*": 3}, cohort: all}
- {name: blue, nominal: {"*": 3}, cohort: all}
"""
    path = tmp_path / "fleet.yaml"
    path.write_text(fleet, encoding="utf-8")
    jobs = [job("a", 0, 10, 4, queue="red"), job("other", 1, 10, 1, queue="else"), job("b", 2, 10, 3, queue="blue")]
    found = story(jobs, str(path), "fifo:quota=keep", "b")
    assert found.causes_ms["quota"] == 8
    assert [each.job_id for each in found.quota_holders] == ["a"]
    assert found.holders == []
    assert "1 job held entitlement that it may use" in "\n".join(story_lines(found))


def test_of_many_parts_the_longest_are_shown():
    """Each of two servers has one of two devices free; z wants both of one. Now and then one of the two is taken for 5 ms."""
    jobs = [job("a", 0, 400, 1), job("b", 0, 400, 1), job("z", 1, 5, 2, pods=1)]
    jobs += [job(f"s{i:02}", 2 + 10 * i, 5, 1) for i in range(30)]
    found = story(jobs, "2x2", "best-effort-fifo:place=spread", "z")
    assert len(found.waited) == 61
    assert found.causes_ms == {"capacity": 150, "quota": 0, "fragmentation": 249, "order": 0, "cycle": 0}
    lines = story_lines(found)
    shown = [line for line in lines if "not enough was free" in line or "scattered" in line]
    assert "  the 12 longest of 61 parts:" in lines
    assert len(shown) == 12
    assert "for 103 ms" in shown[-1], "from the last of them to the end"
    assert "(2 free)" in shown[-1]


def test_times_and_overlaps():
    assert clock(0) == "00:00:00"
    assert clock(90_061_007) == "1 d 01:01:01.007"
    begin, end = np.array([0, 5, 12, 30]), np.array([4, 25, 13, 40])
    assert overlap(begin, end, [(2, 10), (12, 20)]).tolist() == [2, 13, 1, 0]
    assert overlap(begin, end, []).tolist() == [0, 0, 0, 0]


# -- columns -------------------------------------------------------------------------------------------------------


def test_the_columns_add_up(desk, capsys):
    table = pq.read_table(desk / "out" / "jobs.parquet")
    rows = table.to_pylist()
    assert [sum(row[name] for name in FIRST) for row in rows] == [row["wait_ms"] for row in rows]
    assert all(row[name] == 0 for row in rows for name in AGAIN)
    assert [row["wait_order_ms"] for row in rows] == [0, 0, 8000, 7000]
    summary = json.loads((desk / "out" / "summary.json").read_text(encoding="utf-8"))
    assert summary["causes"]["wait_ms"] == {
        "capacity": 49_000, "quota": 0, "fragmentation": 0, "order": 15_000, "cycle": 0
    }  # fmt: skip
    assert summary["causes"]["jobs_that_waited"] == 3
    found = read_run(desk / "out").causes
    assert found.first.sum() == 64_000
    assert found.startup_ms.tolist() == [0, 0, 0, 0]


def test_without_the_flag_there_are_none(desk, capsys):
    words = ("--trace", "jobs.csv", "--cluster", "fleet.yaml", "--policy", "fifo", "--out", "plain")
    status, out, _ = rehearse(capsys, "run", *words)
    assert (status, "why jobs waited" in out) == (0, False)
    assert not set(FIRST) & set(pq.read_schema(desk / "plain" / "jobs.parquet").names)
    assert read_run(desk / "plain").causes is None
    fingerprints = [read_run(desk / name).manifest["fingerprint"] for name in ("out", "plain")]
    assert fingerprints[0] == fingerprints[1], "the causes are no part of the schedule"


def test_a_job_that_never_started_has_none(desk, capsys):
    (desk / "big.csv").write_text("job_id,submit_ms,run_ms,gpus\na,0,10,9\nb,0,10,1\n", encoding="utf-8")
    words = ("--trace", "big.csv", "--cluster", "1x8", "--policy", "fifo", "--out", "big", "--causes")
    assert rehearse(capsys, "run", *words)[0] == 0
    rows = pq.read_table(desk / "big" / "jobs.parquet").to_pylist()
    assert [row["wait_capacity_ms"] for row in rows] == [None, 0]
    assert [row["wait_ms"] for row in rows] == [None, 0]


def test_a_comparison_tells_them_side_by_side(desk, capsys):
    words = (
        "--trace",
        "jobs.csv",
        "--cluster",
        "1x8",
        "--policies",
        "fifo,best-effort-fifo",
        "--out",
        "both",
        "--causes",
    )
    status, out, _ = rehearse(capsys, "compare", *words)
    assert status == 0
    line = next(line for line in out.splitlines() if line.startswith("order"))
    assert line.split() == ["order", "3.75", "s", "(23%)", "-"]
