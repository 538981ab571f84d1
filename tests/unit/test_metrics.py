"""Every metric on one run that can be worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from builders import job
from runs import GOLDEN, run_of

from sim.metrics.metric import Sample, quantile
from sim.metrics.registry import BY_NAME, METRICS, groups, measure, summary


@pytest.fixture(scope="module")
def golden():
    return run_of(GOLDEN, "1x8", "fifo")


def test_the_golden_run_by_hand(golden):
    # 8 devices. a: 0..10 s on 8. b and c arrive at 2 s and wait until 10 s: b 10..30 s on 4, c 10..14 s on 1.
    # d arrives at 12 s, needs 8, waits for b: 30..35 s. e needs 9: rejected.
    assert measure(golden, next(groups(golden.jobs))) == {
        "wait_mean_ms": (0 + 8000 + 8000 + 18_000) / 4,
        "wait_median_ms": 8000.0,
        "wait_p95_ms": 8000 + 0.85 * 10_000,  # rank 0.95 x 3 = 2.85: between 8 s and 18 s
        "wait_p99_ms": 8000 + 0.97 * 10_000,
        "completion_mean_ms": (10_000 + 28_000 + 12_000 + 23_000) / 4,
        "completion_median_ms": (12_000 + 23_000) / 2,
        "completion_p95_ms": 23_000 + 0.85 * 5000,
        "completion_p99_ms": 23_000 + 0.97 * 5000,
        "bounded_slowdown_mean": (1 + 28 / 20 + 12 / 10 + 23 / 10) / 4,  # c and d count as 10 s
        "bounded_slowdown_p95": 1.4 + 0.85 * (2.3 - 1.4),
        "makespan_ms": 35_000.0,
        "allocated_share": (8 * 10 + 4 * 20 + 1 * 4 + 8 * 5) / (8 * 35),
        "fragmented_share": pytest.approx(measure(golden, next(groups(golden.jobs)))["fragmented_share"]),
        "quota_violation_ms": None,  # no queue has a quota
        "preemptions": 0.0,
        "not_finished": 1.0,
        "not_started": 1.0,
    }


QUOTAS = """rehearse_fleet: 1
pools: [{name: p, accelerator: nvidia-a100-sxm-80gb, servers: 1, devices: 8}]
queues:
  - {name: own, nominal: {"*": 4}}
  - {name: free, nominal: {}}
"""


def test_quota_violation_by_hand(tmp_path):
    (tmp_path / "fleet.yaml").write_text(QUOTAS)
    jobs = [
        job("a", 0, 10_000, 8, queue="free"),
        job("b", 1000, 5000, 2, queue="own"),
        job("c", 2000, 5000, 4, queue="own"),
        job("d", 20_000, 5000, 8, queue="own"),
        job("e", 21_000, 1000, 1, queue="own"),
    ]
    run = run_of(jobs, str(tmp_path / "fleet.yaml"), "fifo")
    # a holds all until 10 s. From 1 s b waits for 2 of the 4 that are own's; from 2 s b and c wait for 6, of which 4 are
    # owed: 1 s x 2 + 8 s x 4 = 34 device-seconds, of which b has 2 + 8 x 4 x 2/6. d holds 8, so that e is owed nothing.
    assert BY_NAME["quota_violation_ms"].of(Sample(run, run.jobs.submit_ms >= 0)) == pytest.approx(34_000)
    values = BY_NAME["quota_violation_ms"].per_job.values(run)
    assert values[1:].tolist() == pytest.approx([2000 + 32_000 / 3, 64_000 / 3, 0, 0])
    assert values[0] != values[0], "its queue has no quota"
    assert BY_NAME["quota_violation_ms"].of(Sample(run, run.jobs.submit_ms == 0)) is None


def test_groups_are_queues_and_size_classes(golden):
    found = [(group.kind, group.name, int(group.rows.sum())) for group in groups(golden.jobs)]
    assert found == [
        ("all", "", 5),
        ("queue", "-", 1),
        ("queue", "q1", 2),
        ("queue", "q2", 2),
        ("size", "1", 1),
        ("size", "2-7", 1),
        ("size", "8", 2),
        ("size", "9-63", 1),
    ]


def test_shares_of_groups_add_up(golden):
    by_size = [measure(golden, group)["allocated_share"] for group in groups(golden.jobs) if group.kind == "size"]
    assert sum(by_size) == pytest.approx(204 / 280)


def test_size_classes_at_their_edges():
    sizes = [
        job("cpu", 0, 1, 0),
        job("half", 0, 1, 1, gpu_milli=500),
        *(job(f"{n}", 0, 1, n) for n in (1, 2, 7, 8, 9, 63, 64)),
    ]
    run = run_of(sizes, "16x8", "fifo")
    names = {group.name: int(group.rows.sum()) for group in groups(run.jobs) if group.kind == "size"}
    assert names == {"no device": 1, "part of one": 1, "1": 1, "2-7": 2, "8": 1, "9-63": 2, "64+": 1}


def test_what_never_started_is_counted_and_in_no_mean():
    run = run_of([job("a", 0, 1000, 1), job("b", 0, 1000, 99)], "1x8", "fifo")
    found = summary(run)["metrics"]
    assert (found["wait_mean_ms"], found["not_started"], found["not_finished"]) == (0.0, 1.0, 1.0)


def test_nothing_to_measure_is_none():
    run = run_of([job("b", 0, 1000, 99)], "1x8", "fifo")
    found = summary(run)["metrics"]
    absent = [name for name in found if found[name] is None]
    assert absent[:11] == [metric.name for metric in METRICS][:11]  # waits, completions, slowdowns, makespan
    assert quantile(run.jobs.wait_ms[run.jobs.started], 0.5) is None


def test_a_preempted_job_counts_all_it_held():
    from builders import replay, servers

    from policies.api import Policy, Preempt, Semantics, Share, Start, WakeAt
    from sim.jobs_table import jobs_table

    class Swap(Policy):
        name = "swap"
        runs_on_empty_queue = True

        def decide(self, view):
            if view.now_ms == 0:
                yield Start("a", (Share(0, 0xFF),))
                yield WakeAt(4000)
            elif view.now_ms == 4000:
                yield Preempt("a")
                yield WakeAt(5000)
            elif view.now_ms == 5000:
                yield Start("a", (Share(0, 0xFF),))

        def semantics(self):
            return Semantics(order="", blocking="", placement="")

    topology = servers(1)
    jobs = jobs_table(replay([job("a", 0, 10_000, 8)], topology, Swap(), progress="lose", restart_ms=500), topology)
    # 0..4 s, then 5 s .. 5 + 0.5 + 10 s: the progress is lost
    assert (jobs.held_ms[0], jobs.end_ms[0], jobs.wait_ms[0], jobs.preemptions[0]) == (14_500, 15_500, 0, 1)
    assert jobs.run_ms[0] == 14_500
    assert jobs.held_milli_ms() == 14_500 * 8000


def test_every_metric_is_complete():
    assert len(BY_NAME) == len(METRICS)
    for metric in METRICS:
        assert metric.title
        assert not metric.name.endswith("_ms") or metric.unit == "ms"


def test_a_sample_of_no_job_has_no_value(golden):
    none = Sample(golden, golden.jobs.started & False)
    assert BY_NAME["wait_mean_ms"].of(none) is None
    assert BY_NAME["makespan_ms"].of(none) is None
    assert BY_NAME["bounded_slowdown_p95"].of(none) is None


def test_an_incomplete_run_is_measured_until_it_stopped(golden):
    cut = replace(golden, manifest={**golden.manifest, "complete": False, "end_ms": 70_000})
    assert BY_NAME["allocated_share"].of(Sample(cut, cut.jobs.started)) == 204 / 560
