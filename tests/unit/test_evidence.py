"""On what a comparison rests: which jobs count, in which blocks, how the input is shaken, and estimates against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from builders import job
from hypothesis import given, settings
from hypothesis import strategies as st
from runs import GOLDEN, run_of, trace_of

from sim.experiment.blocks import DAY_MS, BlockRule, chosen, parse_blocks, time_blocks
from sim.experiment.durations import as_text
from sim.experiment.plan import blocks_of, plan_of, replicated, subjects_of
from sim.experiment.prepare import prepare
from sim.experiment.quantities import quantity
from sim.experiment.sampler import Sampler, observe
from sim.experiment.scenario import make_scenario
from sim.experiment.shake import Shake, shaken
from sim.metrics.metric import Sample
from sim.metrics.registry import METRICS
from sim.run import InputError

DAYS = [
    job(
        f"j{i}",
        i * DAY_MS // 4,
        3_600_000 * (1 + i % 7),
        1 + i % 8,
        queue="ab"[i % 2],
        user=f"u{i % 3}",
        estimate_ms=DAY_MS,
    )
    for i in range(40)
]
"""Ten days of four jobs each."""


def prepared(records=DAYS, **keys):
    scenario = make_scenario({"trace": "memory", "cluster": "1x8", **keys}, source="test")
    return prepare(scenario, ["fifo"], trace=trace_of(records))


def sampler(policies=("fifo", "best-effort-fifo"), **keys):
    one = prepared(**keys)
    plan = plan_of(one.scenario)
    subjects = subjects_of([one], plan)
    observed = {}
    for policy in policies:
        replays = [replicated(one, plan.shake, number) for number in range(plan.replications)]
        observed[policy] = [[observe(run_of(each.trace.records, "1x8", policy)) for each in replays]]
    return Sampler(subjects, blocks_of(subjects, plan), plan, observed)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("day", BlockRule("time", DAY_MS)),
        ("week", BlockRule("time", 7 * DAY_MS)),
        ("12h", BlockRule("time", DAY_MS // 2)),
        (20, BlockRule("count", 20)),
        ("20", BlockRule("count", 20)),
        ("replication", BlockRule("replication")),
        ("auto", BlockRule("auto")),
    ],
)
def test_blocks_are_written_as_people_say_them(text, rule):
    assert parse_blocks(text) == rule


@pytest.mark.parametrize("text", ["1", "0", "-3", "wek", "", "5 x", "20000", True])
def test_what_is_no_block(text):
    with pytest.raises(ValueError, match="must be auto, day, week, replication, trace, a number"):
        parse_blocks(text)


def test_a_rest_shorter_than_half_a_block_belongs_to_the_block_before():
    at = np.array([0, 9, 10, 19, 20, 23])
    assert time_blocks(at, BlockRule("time", 10)).tolist() == [0, 0, 1, 1, 1, 1]
    assert time_blocks(np.append(at, 25), BlockRule("time", 10)).tolist() == [0, 0, 1, 1, 2, 2, 2]
    assert time_blocks(at + 1000, BlockRule("count", 4)).tolist() == [0, 1, 1, 3, 3, 3]
    assert time_blocks(at[:1], BlockRule("time", 10)).tolist() == [0]


def test_blocks_that_nobody_chose_are_whole_days_and_at_most_sixty():
    assert chosen(BlockRule("auto"), [10 * DAY_MS]) == BlockRule("time", DAY_MS)
    assert chosen(BlockRule("auto"), [131 * DAY_MS]) == BlockRule("time", 3 * DAY_MS)
    assert chosen(BlockRule("auto"), [DAY_MS] * 8) == BlockRule("trace")
    assert chosen(BlockRule("count", 5), [DAY_MS] * 8) == BlockRule("count", 5)


def test_warm_up_and_drain_are_replayed_and_not_counted():
    one = prepared(warm_up="1d", drain="2d")
    subjects = subjects_of([one], plan_of(one.scenario))
    # submissions at 0, 6 h, ... 9 d 18 h: from 1 d to 7 d 18 h are 28
    assert (len(subjects), subjects.jobs) == (28, 40)
    assert subjects.counted[0].tolist() == [4 <= i < 32 for i in range(40)]
    assert len(one.trace.records) == 40
    with pytest.raises(InputError, match="leave no job: submissions last 234"):
        subjects_of([one], plan_of(prepared(warm_up="6d", drain="5d").scenario))


def test_a_day_is_one_block_in_every_replication():
    subjects = subjects_of([prepared()], plan_of(prepared().scenario))
    for keys, number, rows in [
        ({"blocks": "day", "replications": 3}, 10, [list(range(10))] * 3),
        ({"blocks": "replication", "replications": 3}, 3, [[0] * 10, [1] * 10, [2] * 10]),
        ({"blocks": "trace", "replications": 2}, 1, [[0] * 10] * 2),
        ({"blocks": 5}, 5, [[0, 0, 1, 1, 2, 2, 3, 3, 4, 4]]),
    ]:
        blocks = blocks_of(subjects, plan_of(prepared(**keys).scenario))
        assert blocks.number == number
        assert blocks.codes[:, ::4].tolist() == rows


def test_several_traces_have_blocks_of_their_own():
    both = [prepared(), prepared(DAYS[:20])]
    for keys, number in [
        ({"blocks": "day"}, 15),
        ({"blocks": "trace"}, 2),
        ({"blocks": "replication", "replications": 3}, 6),
    ]:
        plan = plan_of(prepared(**keys).scenario)
        blocks = blocks_of(subjects_of(both, plan), plan)
        assert blocks.number == number
        assert len(set(blocks.codes[0, :40].tolist()) & set(blocks.codes[0, 40:].tolist())) == 0


def test_jobs_are_told_apart_by_what_the_trace_says():
    names = subjects_of([prepared()], plan_of(prepared().scenario)).names()
    assert names == {
        "queue": ["a", "b"],
        "user": ["u0", "u1", "u2"],
        "size": ["1", "2-7", "8"],
        "accelerator": ["any"],
        "service": ["-"],
    }


jobs_of_any_kind = st.lists(
    st.tuples(st.integers(0, 10**9), st.integers(0, 10**8), st.none() | st.integers(0, 10**8)),
    min_size=1,
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(jobs_of_any_kind, st.floats(0, 0.5), st.integers(0, 2**32))
def test_shaking_keeps_what_it_promises(rows, share, seed):
    records = [job(f"j{i}", submit, run, estimate_ms=estimate) for i, (submit, run, estimate) in enumerate(rows)]
    found = shaken(records, Shake(submit=share, run=share), np.random.default_rng(seed))
    again = shaken(records, Shake(submit=share, run=share), np.random.default_rng(seed))
    assert found == again
    before, after = (np.array([each.submit_ms for each in them]) for them in (records, found))
    order = np.argsort(before, kind="stable")
    assert (np.diff(after[order]) >= 0).all()
    assert (after.min(), after.max()) == (before.min(), before.max())
    assert all(len(set(after[before == at])) == 1 for at in set(before)), "jobs of one millisecond stay together"
    for old, new in zip(records, found, strict=True):
        assert abs(new.run_ms - old.run_ms) <= share * old.run_ms + 1
        assert (new.run_ms > 0) == (old.run_ms > 0)
        assert old.estimate_ms is None or old.run_ms > old.estimate_ms or new.run_ms <= max(old.estimate_ms, 1)
        assert (new.job_id, new.gpu_count, new.estimate_ms) == (old.job_id, old.gpu_count, old.estimate_ms)


def test_replications_have_their_own_seed_and_the_first_is_the_trace_as_it_is():
    one = prepared(seed=5, shake="10 %")
    plan = plan_of(one.scenario)
    assert (plan.replications, plan.shake) == (5, Shake(submit=0.1, run=0.1))
    assert replicated(one, plan.shake, 0) is one
    third, fourth = replicated(one, plan.shake, 3), replicated(one, plan.shake, 4)
    assert third.rules.seed == 8
    assert third.trace.records not in (one.trace.records, fourth.trace.records)
    assert replicated(one, None, 3).trace is one.trace
    with pytest.raises(ValueError, match="run: must be from 0 % to 50 %"):
        Shake(run=0.6)


@pytest.mark.parametrize("metric", [each for each in METRICS if each.per_job], ids=lambda each: each.name)
def test_every_metric_is_what_its_jobs_say(metric):
    """The figure of a run and the values of its jobs are two ways to the same number, for any jobs."""
    run = run_of(GOLDEN, "1x8", "best-effort-fifo")
    for chosen_rows in ([1, 1, 1, 1, 1], [1, 0, 1, 1, 0], [0, 0, 0, 1, 1]):
        rows = np.array(chosen_rows, dtype=bool)
        values = metric.per_job.values(run)[rows]
        assert len(metric.per_job.values(run)) == 5
        known = values[~np.isnan(values)]
        if not len(known):
            assert metric.of(Sample(run, rows)) is None
            continue
        found = {"mean": np.mean, "sum": np.sum, "quantile": lambda v: np.quantile(v, metric.per_job.q)}
        assert metric.of(Sample(run, rows)) == pytest.approx(found[metric.per_job.statistic](known))


def test_estimates_are_those_of_numpy_on_the_jobs_asked_for():
    found = sampler(replications=2, shake="20 %", blocks="day")
    for policy in found.policies:
        both = np.stack([each.columns["wait"] for each in found._observed[policy][0]])
        of_queue = np.array([record.queue == "b" for record in DAYS])
        assert found.measured(policy, quantity("wait.mean"), ()).estimate.value == pytest.approx(both.mean())
        in_queue = found.measured(policy, quantity("wait.p90"), (("queue", "b"),)).estimate
        assert in_queue.value == pytest.approx(np.quantile(both[:, of_queue], 0.9))
        assert in_queue.blocks == 10
        without_first = both[:, 4:].mean()
        assert found.measured(policy, quantity("wait.mean"), ()).estimate.left_out[0] == pytest.approx(without_first)
    assert found.measured("fifo", quantity("not_started"), ()).estimate.value == 0


def test_sums_are_of_one_replay():
    records = [*DAYS, job("large", DAY_MS, 1000, 9)]
    one = prepared(records, replications=4)
    plan = plan_of(one.scenario)
    subjects = subjects_of([one], plan)
    observed = {"fifo": [[observe(run_of(records, "1x8", "fifo"))] * 4]}
    found = Sampler(subjects, blocks_of(subjects, plan), plan, observed)
    assert found.measured("fifo", quantity("not_started"), ()).estimate.value == pytest.approx(1.0)


def test_replications_that_repeat_each_other_are_one_piece_of_evidence():
    same = sampler(replications=9, blocks="replication")
    assert (same.distinct, same.measured("fifo", quantity("wait.mean"), ()).estimate.blocks) == (1, 1)
    shaking = sampler(replications=9, blocks="replication", shake="20 %")
    assert (shaking.distinct, shaking.measured("fifo", quantity("wait.mean"), ()).estimate.blocks) == (9, 9)


def test_figures_of_whole_runs_need_whole_runs_as_blocks():
    by_day = sampler(blocks="day").measured("fifo", quantity("makespan"), ())
    assert by_day.why_not == "it is one figure of a whole replay: needs blocks: replication, or trace"
    replays = sampler(replications=9, blocks="replication", shake="20 %")
    spans = [each.whole["makespan_ms"] for each in replays._observed["fifo"][0]]
    assert replays.measured("fifo", quantity("makespan"), ()).estimate.value == pytest.approx(np.mean(spans))


def test_a_group_without_jobs_is_not_measured():
    assert (
        sampler().measured("fifo", quantity("wait.mean"), (("queue", "a"), ("size", "64+"))).why_not
        == "no job has a value"
    )


@pytest.mark.parametrize(
    ("ms", "text"), [(DAY_MS, "1 d"), (3.9 * DAY_MS, "3.9 d"), (43_200_000, "12 h"), (90_000, "1.5 min"), (5, "5 ms")]
)
def test_lengths_of_blocks_in_words(ms, text):
    assert as_text(ms) == text
