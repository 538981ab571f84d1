"""One run in which one job is taken away while it runs and one while it waits: every figure and picture, by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from builders import job, policy, replay, servers
from runs import run_of

from policies.api import Preempt, Share, Start
from sim import explain_text
from sim.bounds.bounds import bounds_of
from sim.bounds.distance import how_far
from sim.export import perfetto
from sim.export.perfetto import write_perfetto
from sim.jobs_table import _STATE_AFTER, ABSENT, FINISHED, REASONS, REJECTED, STATES, jobs_table
from sim.metrics.metric import Sample, completed, taken_away
from sim.metrics.registry import BY_NAME, groups, measure, summary
from sim.planning.levels import Levels, parse_levels
from sim.report.curves import held_devices, queue_length
from sim.report.movers import Phase, phases
from sim.report.page_method import _states, bounds
from sim.report.text import run_lines
from sim.report.voice import plain
from sim.stretches import STILL_RUNS, stretches
from sim.timeline import ENDS, LEAVES, RELEASES, Happened

JOBS = [
    job("a", 0, 10_000, 8),
    job("r", 1000, 30_000, 4, lifetime_ms=30_000, queue="own"),
    job("w", 2000, 6000, 8, lifetime_ms=20_000, queue="own"),
    job("c", 3000, 5000, 2),
]
"""8 devices, strict order. a: 0..10 s on 8. r waits from 1 s, has 4 from 10 s and is taken away at 31 s. w waits for 8 from
2 s until it is taken away at 22 s, and c behind it from 3 s; then c has 2 until 27 s."""


@pytest.fixture(scope="module")
def run():
    return run_of(JOBS, "1x8", "fifo")


def test_the_metrics(run):
    assert measure(run, next(groups(run.jobs))) == {
        "wait_mean_ms": (0 + 9000 + 19_000) / 3,  # of those that started: a, r, c
        "wait_median_ms": 9000.0,
        "wait_p95_ms": 9000 + 0.9 * 10_000,
        "wait_p99_ms": 9000 + 0.98 * 10_000,
        "completion_mean_ms": (10_000 + 24_000) / 2,  # of those that were complete: a, c
        "completion_median_ms": 17_000.0,
        "completion_p95_ms": 10_000 + 0.95 * 14_000,
        "completion_p99_ms": 10_000 + 0.99 * 14_000,
        "bounded_slowdown_mean": (1 + 2.4) / 2,  # c counts as 10 s
        "bounded_slowdown_p95": 1 + 0.95 * 1.4,
        "makespan_ms": 27_000.0,  # c; the end of r is no completion
        "allocated_share": (8 * 10 + 4 * 21 + 2 * 5) / (8 * 31),  # until the last end, of r
        "fragmented_share": pytest.approx(measure(run, next(groups(run.jobs)))["fragmented_share"]),
        "quota_violation_ms": None,
        "preemptions": 0.0,
        "not_finished": 1.0,  # w
        "not_started": 1.0,
    }
    assert taken_away(run).tolist() == [False, True, True, False]
    assert completed(run).tolist() == [True, False, False, True]
    for column in ("completion", "bounded_slowdown"):
        values = next(each.per_job for each in BY_NAME.values() if each.per_job and each.per_job.column == column)
        assert np.isnan(values.values(run)).tolist() == [False, True, True, False]


def test_what_is_fragmented_while_r_alone_holds_devices(run):
    """The typical pods ask for 8, 4, 8 and 2. What is idle is of no use to those of 8 from 10 s on: 4 idle devices while r
    runs alone, 2 beside c; the last stretch of the run is that of r, and ends with it."""
    course = run.fragmentation
    assert course.at_ms[-1] == 31_000
    assert course.fragmented_gpu_milli[-1] == course.fragmented_gpu_milli[0] == 0
    at = dict(zip(course.at_ms.tolist(), course.fragmented_gpu_milli.tolist(), strict=True))
    assert at[10_000] == at[27_000] == 4000 * 2 / 4
    assert at[22_000] == 2000 * 3 / 4


def test_the_table_and_the_states(run):
    assert [STATES[code] for code in run.jobs.state] == ["finished", "finished", "withdrawn", "finished"]
    assert run.jobs.completion_ms.tolist() == [10_000, 30_000, ABSENT, 24_000]
    assert run.manifest["end_ms"] == 31_000
    lines = run_lines(run, summary(run))
    assert "jobs: 3 finished, 1 withdrawn" in lines
    alone = run_of(JOBS[:1], "1x8", "fifo")
    assert "jobs: 1 finished" in run_lines(alone, summary(alone)), "no word of withdrawals where there are none"


def test_quota_violation(tmp_path):
    """own may hold 6. 1..2 s: r is owed 4. 2..10 s: 6 are owed, 2 to r and 4 to w, as they ask for 4 and 8. 10..22 s: r holds
    4, and w is owed 2. From 22 s on nobody of the queue waits."""
    fleet = "rehearse_fleet: 1\npools: [{name: p, accelerator: generic, servers: 1, devices: 8}]\n"
    (tmp_path / "fleet.yaml").write_text(fleet + 'queues: [{name: own, nominal: {"*": 6}}]\n', encoding="utf-8")
    run = run_of(JOBS, str(tmp_path / "fleet.yaml"), "fifo")
    values = BY_NAME["quota_violation_ms"].per_job.values(run)
    assert values[1:3].tolist() == pytest.approx([4000 + 2 * 8000, 4 * 8000 + 2 * 12_000])
    assert BY_NAME["quota_violation_ms"].of(Sample(run, run.jobs.submit_ms >= 0)) == pytest.approx(76_000)


def steps(found) -> list[tuple[int, float]]:
    """The last value of each instant."""
    return list(dict(zip(found[0].tolist(), found[1].tolist(), strict=True)).items())


def test_curves(run):
    held, waiting = held_devices(run), queue_length(run, devices=True)
    assert steps(held) == [(0, 8), (10_000, 4), (22_000, 6), (27_000, 4), (31_000, 0)]
    assert steps(waiting) == [(0, 0), (1000, 4), (2000, 12), (3000, 14), (10_000, 10), (22_000, 0)]
    assert steps(queue_length(run))[-1] == (22_000, 0)


def test_perfetto(run, tmp_path):
    write_perfetto(run, tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_bytes())["traceEvents"]
    ended = {event["name"]: event["args"]["ended"] for event in events if event["ph"] == "X"}
    assert ended == {"a": "finished", "r": "expired", "c": "finished"}
    waited = [(e["ts"] // 1000, e["args"]["devices"]) for e in events if e["name"] == "devices waited for"]
    assert waited[-4:] == [(10_000, 10), (22_000, 0), (27_000, 0), (31_000, 0)]
    used = [e["args"]["devices"] for e in events if e["name"] == "devices in use"]
    assert used[-1] == 0


def test_stretches_and_phases(run):
    found = stretches(run.timeline, 31_000)
    assert found.ended.tolist() == [Happened.FINISH, Happened.EXPIRE, Happened.FINISH]
    assert found.end_ms.tolist() == [10_000, 31_000, 27_000]
    assert phases(run, [1, 2]) == {
        1: [Phase("waits", 1000, 10_000), Phase("runs", 10_000, 31_000)],
        2: [Phase("waits", 2000, 22_000)],
    }
    jobs = [job("low", 0, 10, 8, lifetime_ms=30), job("high", 5, 40, 8, priority=1)]
    found = phases(run_of(jobs, "1x8", "preempt-priority"), [0])
    assert found == {0: [Phase("runs", 0, 5), Phase("waits again", 5, 30)]}


def test_a_level_on_completion_asks_nothing_of_what_is_taken_away(run):
    """a and c are complete within 24 s; that r and w never are does not break the level, that w never starts does."""
    everybody = np.ones(len(JOBS), dtype=bool)
    gates = parse_levels(
        ["completion.p99 <= 24s", "bounded_slowdown.p99 <= 2.4", "wait.p50 <= 19s", "wait.p99 <= 19s"]
    )
    levels = Levels(gates=gates, counted=everybody, rows=(everybody,) * len(gates))
    figures = levels.figures(run)
    assert figures.values[0] == pytest.approx(10_000 + 0.99 * 14_000)
    assert levels.broken(figures) == [3]


class Stops:
    """Starts a, and takes its devices away when b comes; starts nothing else."""

    name = "stops"

    def decide(self, view):
        for waiting in list(view.pending):
            if waiting.job_id == "a" and not waiting.preemptions:
                yield Start("a", (Share(0, 0xFF, 1, 0),))
            elif waiting.job_id == "b" and "a" in view.running:
                yield Preempt("a")

    def semantics(self):
        return policy("fifo").semantics()


def test_a_run_in_which_everything_is_taken_away_while_it_waits():
    """a holds all of the fleet for 10 of 50 ms, and nothing ends."""
    jobs = [job("a", 0, 99, 8, lifetime_ms=50), job("b", 10, 99, 8, lifetime_ms=30)]
    outcome = replay(jobs, servers(1), Stops())
    run = run_of(jobs, "1x8", "fifo")
    table = jobs_table(outcome, servers(1))
    stopped = replace(run, jobs=table, timeline=outcome.timeline, manifest={**run.manifest, "end_ms": outcome.end_ms})
    assert table.ended.tolist() == [False, False]
    assert BY_NAME["allocated_share"].of(Sample(stopped, table.submit_ms >= 0)) == 10 / 50
    assert BY_NAME["makespan_ms"].of(Sample(stopped, table.submit_ms >= 0)) is None


@pytest.mark.parametrize(
    ("language", "withdrawn", "left_out", "none"),
    [
        ("en", "1 withdrawn", "2 jobs with a lifetime are left out", "No bound: every job has a lifetime."),
        ("zh", "已撤回 1", "不计 2 个有存活期限的作业", "没有下界：每个作业都有存活期限。"),
    ],
    ids=["en", "zh"],
)
def test_the_page_says_it_in_both_languages(run, language, withdrawn, left_out, none):
    """The state, how many jobs the bound leaves out, and why there is none where all have a lifetime."""
    voice = plain(language)
    assert withdrawn in _states(run.manifest, voice)
    assert len(list(_states(run.manifest, voice))) == 2, "no row for a state in which no job is"
    for jobs, said in ((JOBS, left_out), (JOBS[1:3], none)):
        found = how_far(bounds_of(jobs, servers(1)), {"fifo": run_of(jobs, "1x8", "fifo")})
        assert said in bounds(SimpleNamespace(bounds=found.as_data()), voice)["lines"][0]


def test_every_kind_of_entry_has_its_state_and_its_words():
    """What a new kind of entry must be told to, beside the timeline: nothing else is by kind."""
    released = {int(happened) for happened in RELEASES}
    assert set(_STATE_AFTER) == set(ENDS)
    assert set(perfetto._ENDED) == released | {STILL_RUNS}
    assert set(explain_text._ENDED) == {happened.name.lower() for happened in RELEASES} | {"still running"}
    assert set(REASONS) == set(range(len(STATES))) - {FINISHED, REJECTED}, "a rejection has a reason of its own"
    changes = {Happened.ARRIVE, Happened.SPEED}
    assert {*RELEASES, *LEAVES} | changes == set(Happened)
