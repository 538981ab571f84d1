"""Deadlines: who misses them, by how much, how many servers keep them, and that they stay with their jobs."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pyarrow.parquet as pq
import pytest
from builders import job
from click.testing import CliRunner
from hypothesis import example, given, settings
from hypothesis import strategies as st
from runs import GOLDEN, run_of, trace_of

from policies.api import Policy, Semantics, Share, Start, WakeAt
from sim.cli import _status
from sim.experiment.compare import compare
from sim.experiment.elsewhere import baseline_of_run
from sim.experiment.prepare import prepare
from sim.experiment.quantities import quantities, quantity
from sim.experiment.scenario import make_scenario
from sim.experiment.shake import Shake, shaken
from sim.gates.gate import parse_gate
from sim.jobs_table import ABSENT, STATES
from sim.metrics.metric import Sample
from sim.metrics.registry import BY_NAME, groups, measure, summary
from sim.planning.growth import grown
from sim.planning.levels import levels_of, parse_levels
from sim.planning.looks import Looker
from sim.planning.plan import Question, plan
from sim.planning.question import checked
from sim.planning.search import exhaustive
from sim.report.text import run_lines
from sim.results import read_run, write_run
from sim.run import InputError
from sim.trace_commands import trace as trace_command
from traces.describe import describe
from traces.registry import read_trace
from traces.transform import DAY_MS, anonymise, cpus_as_devices, resample_days, scale_load, window, with_deadlines
from traces.write import write_trace

NAMES = ("deadline_missed_share", "tardiness_mean_ms", "tardiness_p95_ms")

DUE = {"a": 10_000, "b": 20_000, "d": 30_000, "e": 50_000}
DUE_GOLDEN = [replace(each, deadline_ms=DUE.get(each.job_id)) for each in GOLDEN]
"""Completion times under fifo on 1x8: a 10 s, b 28 s, c 12 s, d 23 s; e is rejected."""


def missed(run):
    return BY_NAME["deadline_missed_share"].per_job.values(run).tolist()


def tardiness(run):
    return BY_NAME["tardiness_mean_ms"].per_job.values(run).tolist()


def prepared_of(records, cluster, *policies, **keys):
    scenario = make_scenario({"trace": "memory", "cluster": cluster, **keys}, source="test")
    return prepare(scenario, list(policies), trace=trace_of(records))


# -- the metrics -----------------------------------------------------------------------------------------------------


def test_the_golden_run_by_hand():
    run = run_of(DUE_GOLDEN, "1x8", "fifo")
    found = measure(run, next(groups(run.jobs)))
    # a ends with its deadline to the millisecond, b is 8 s late, c has none, d is in time, e never runs
    assert found["deadline_missed_share"] == 2 / 4
    assert found["tardiness_mean_ms"] == pytest.approx(8000 / 3)  # of a, b and d
    assert found["tardiness_p95_ms"] == pytest.approx(7200)  # rank 0.95 x 2 = 1.9: between 0 and 8 s
    values = summary(run)
    by_queue = {name: values["by_queue"][name]["deadline_missed_share"] for name in ("-", "q1", "q2")}
    assert by_queue == {"-": 1.0, "q1": 0.0, "q2": 0.5}
    assert values["by_size"]["1"]["deadline_missed_share"] is None, "c has no deadline"
    assert values["by_queue"]["-"]["tardiness_mean_ms"] is None, "e did not finish"
    assert values["units"]["deadline_missed_share"] == {"unit": "share", "better": "lower"}


def test_without_deadlines_nothing_is_said_of_them():
    plain, due = run_of(GOLDEN, "1x8", "fifo"), run_of(DUE_GOLDEN, "1x8", "fifo")
    found = summary(plain)
    assert not set(NAMES) & {*found["metrics"], *found["units"], *found["by_queue"]["q1"]}
    assert not any("deadline" in line or "tardiness" in line for line in run_lines(plain, found))
    assert sum("deadlines missed" in line for line in run_lines(due, summary(due))) == 3  # all, by queue, by size
    assert plain.manifest["fingerprint"] == due.manifest["fingerprint"], "policies do not see them"
    assert [BY_NAME[name].of(Sample(plain, plain.jobs.started)) for name in NAMES] == [None] * 3


def test_only_what_finished_can_be_in_time():
    jobs = [
        job("killed", 0, 9000, estimate_ms=1000, deadline_ms=60_000),
        job("finished", 0, 500, deadline_ms=1500),
        job("taken", 0, 1, lifetime_ms=5000, deadline_ms=5000),
        job("withdrawn", 0, 1, lifetime_ms=400, deadline_ms=5000),
    ]
    run = run_of(jobs, "1x1", "fifo", overrun="kill")
    # finished, killed, taken, withdrawn in the order of their ids: 0 to 0.5 s, 0.5 to 1.5 s, 1.5 to 5 s
    assert dict(zip(("killed", "finished", "taken", "withdrawn"), missed(run), strict=True)) == {
        "killed": 1.0,
        "finished": 0.0,
        "taken": 0.0,
        "withdrawn": 1.0,
    }
    assert np.isnan(tardiness(run)).tolist() == [True, False, False, True]


class Breaks(Policy):
    """Runs one job after another and starts one a second time at 4 s, which no policy may."""

    name = "breaks"
    runs_on_empty_queue = True

    def decide(self, view):
        yield Start({0: "done", 1000: "runs", 4000: "runs"}[view.now_ms], (Share(0, 1),))
        yield WakeAt({0: 1000, 1000: 4000}[view.now_ms])

    def semantics(self):
        return Semantics(order="", blocking="", placement="")


def test_a_run_that_broke_off_counts_what_is_certain():
    jobs = [
        job("done", 0, 1000, deadline_ms=1000),
        job("later", 0, 9000, deadline_ms=4000),
        job("past", 0, 9000, deadline_ms=3999),
        job("runs", 0, 9000, deadline_ms=4001),
        job("too large", 0, 9000, 2, deadline_ms=9000),
    ]
    run = run_of(jobs, "1x1", f"{__name__}:Breaks")
    assert (run.complete, run.manifest["end_ms"]) == (False, 4000)
    assert [STATES[code] for code in run.jobs.state] == ["finished", "waiting", "waiting", "running", "rejected"]
    # what is due at 4 s might still have ended at 4 s
    assert str(missed(run)) == "[0.0, nan, 1.0, nan, 1.0]"
    assert BY_NAME["deadline_missed_share"].of(Sample(run, run.jobs.submit_ms >= 0)) == pytest.approx(2 / 3)


def test_a_static_fill_has_no_clock_and_no_deadlines():
    run = run_of(DUE_GOLDEN, "1x8", "fifo", fill=True)
    assert np.isnan(missed(run)).all()
    assert not set(NAMES) & set(summary(run)["metrics"])


# -- names, gates ----------------------------------------------------------------------------------------------------


def test_short_names():
    assert {"deadline_missed", "tardiness.mean", "tardiness.p95"} <= {each.name for each in quantities()}
    for name in ("deadlines_missed", "deadline_missed_share"):
        assert quantity(name) is quantity("deadline_missed")
    asked = quantity("tardiness.p99.9").per_job
    assert (asked.q, asked.having) == (pytest.approx(0.999), "deadline_ms")
    gate = parse_gate("deadline_missed{queue=prod} <= 5 %")
    assert (gate.text, gate.limit) == ("deadline_missed{queue=prod} <= 5 %", 0.05)


def twins(days, deadline_ms=2_000_000):
    """Each day a job of an hour, and with it one of a minute that is due before the hour is over."""
    return [
        each
        for day in range(days)
        for each in (
            job(f"{day}a", day * DAY_MS, 3_600_000, queue="batch", estimate_ms=3_600_000),
            job(f"{day}b", day * DAY_MS, 60_000, queue="prod", estimate_ms=60_000, deadline_ms=deadline_ms),
        )
    ]


def judged(records, policies, *gates, tmp_path, given=None):
    one = prepared_of(records, "1x1", *policies, tie_orders=0)
    found = compare(one, policies, policies[0], tmp_path, gates=[parse_gate(each) for each in gates], given=given)
    return [(each.gate, each.outcome) for each in found.comparison.gates]


def test_gates_pass_fail_and_stay_undecided(tmp_path):
    # sjf takes the short job first, fifo the first by its id: all deadlines are met, or none
    gates = ("deadline_missed <= 5 %", "tardiness.mean{queue=prod}: +0", "deadline_missed: no more than +5 points")
    better = judged(twins(10), ["fifo", "sjf"], *gates, tmp_path=tmp_path / "better")
    assert [outcome for _, outcome in better] == ["pass"] * 3
    worse = judged(twins(10), ["sjf", "fifo"], *gates, "deadline_missed{queue=*}: +0 %", tmp_path=tmp_path / "worse")
    assert [outcome for _, outcome in worse] == ["fail"] * 4
    assert worse[3][0].startswith("deadline_missed{queue=prod}:"), "no job of batch has a deadline"
    few = judged(twins(3), ["sjf", "fifo"], gates[0], tmp_path=tmp_path / "few")
    assert few == [("deadline_missed <= 5 %", "undecided")]


@pytest.mark.parametrize(
    ("gate", "records", "said"),
    [
        ("deadline_missed <= 5 %", twins(3, None), "no job that counts has a deadline; `rehearse trace convert`"),
        ("tardiness.p95{queue=*}: +1 min", twins(3, None), "no job that counts has a deadline"),
        ("deadline_missed{queue=batch}: +0", twins(3), "no job with a deadline that counts has queue 'batch'; there are prod"),
    ],
)  # fmt: skip
def test_a_gate_and_a_level_about_deadlines_that_no_job_has_are_refused(gate, records, said, tmp_path, capsys):
    write_trace(records, tmp_path / "t.csv")
    (tmp_path / "gates.yaml").write_text(json.dumps({"rehearse_gates": 1, "gates": [gate]}))
    files = ["--trace", str(tmp_path / "t.csv"), "--cluster", "1x1", "--policies", "fifo,sjf"]
    assert _status(["compare", *files, "--gates", str(tmp_path / "gates.yaml"), "--out", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists(), "nothing is replayed"
    level = gate.partition(":")[0].partition(" <=")[0] + (" <= 1min" if gate.startswith("tard") else " <= 5 %")
    assert _status(["plan", *files, "--level", level]) == 2
    assert said in capsys.readouterr().err


# -- planning --------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=25)
@given(st.integers(1, 12), st.integers(1, 50), st.integers(0, 260))
@example(7, 10, 25)
@example(3, 10, 9)
def test_equal_jobs_need_as_many_servers_as_turns_fit_into_the_deadline(jobs, run_ms, deadline_ms):
    records = [job(f"j{i}", 0, run_ms, deadline_ms=deadline_ms) for i in range(jobs)]
    prepared = prepared_of(records, f"{jobs}x1", "fifo")
    question = Question(
        policies=("fifo",), gates=parse_levels(["deadline_missed <= 0 %"]), pool="default", replications=1
    )
    (answer,) = plan(prepared, question)
    turns = deadline_ms // run_ms
    assert answer.servers == (-(-jobs // turns) if turns else None)
    looker = Looker(prepared, checked(prepared, question), "fifo", 0)
    assert answer.servers == exhaustive(1, jobs, lambda count: looker.look((count,)).enough).count


def test_jobs_without_a_deadline_are_no_part_of_a_level_and_those_that_never_finish_are_late_for_ever():
    # one device: a 0..10 s, b 10..20 s, c 20..30 s; "large" fits nowhere
    records = [
        job("a", 0, 10_000),
        job("b", 0, 10_000, deadline_ms=15_000),
        job("c", 0, 10_000, deadline_ms=30_000),
        job("large", 0, 10_000, 2),
    ]
    texts = ["deadline_missed <= 5 %", "tardiness.mean <= 1s", "tardiness.p95 <= 1s", "tardiness.p50 <= 1s"]

    def figures(jobs):
        prepared = prepared_of(jobs, "1x1", "fifo")
        return levels_of(parse_levels(texts), prepared).figures(run_of(jobs, "1x1", "fifo")).values

    assert figures(records) == pytest.approx((0.5, 2500, 4750, 2500))  # b is 5 s late, c in time
    never = figures([*records[:3], replace(records[3], deadline_ms=99_000)])
    assert never == pytest.approx((2 / 3, 2500, np.inf, 5000))  # large misses too; the mean is of those that end


# -- where they come from, and that they stay ------------------------------------------------------------------------

DEADLINES = st.none() | st.integers(0, 10**9)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.integers(0, 5 * DAY_MS), st.integers(0, DAY_MS), DEADLINES), min_size=1, max_size=8),
    st.integers(0, 2**31),
)
def test_deadlines_stay_with_their_jobs(drawn, seed):
    records = [job(f"j{i}", at, run, deadline_ms=due, cpu_milli=500) for i, (at, run, due) in enumerate(drawn)]
    due = {each.job_id: each.deadline_ms for each in records}
    rng = np.random.default_rng(seed)
    made = {
        "shake": shaken(records, Shake(submit=0.5, run=0.5), rng),
        "growth": grown(records, Fraction(5, 2), "jobs", rng),
        "density": grown(records, Fraction(5, 2), "density", rng),
        "window": window(records, DAY_MS, 4 * DAY_MS),
        "scale": scale_load(records, "3/2"),
        "resample": resample_days(records, 3, rng),
        "cpus": cpus_as_devices(records),
    }
    for how, found in made.items():
        for each in found:
            assert each.deadline_ms == due[each.job_id.split("@")[0].split("+")[0]], how
    assert [each.deadline_ms for each in anonymise(records, "key")] == list(due.values())


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, 10**9), DEADLINES, st.fractions(0, 10, max_denominator=100), st.integers(0, 10**9)
)  # fmt: skip
def test_deadlines_are_made_of_run_times(run_ms, own, factor, plus_ms):
    records = [job("a", 5, run_ms, deadline_ms=own), job("replica", 5, 1, lifetime_ms=9)]
    if not (factor or plus_ms):
        with pytest.raises(ValueError, match="must be after the submission"):
            with_deadlines(records, factor, plus_ms)
        return
    made, replica = with_deadlines(records, factor, plus_ms)
    assert replica is records[1], "it does not end with its work"
    if own is not None:
        assert made is records[0], "it has one already"
    else:
        assert 0 <= factor * run_ms + plus_ms - made.deadline_ms < 1
        assert replace(made, deadline_ms=None) == records[0]


@pytest.mark.parametrize(("factor", "plus_ms"), [(-1, 5), (1, -5), (0, 0)])
def test_no_deadline_lies_before_the_submission(factor, plus_ms):
    with pytest.raises(ValueError, match="a deadline must be after the submission, got"):
        with_deadlines([job("a", 0, 1)], factor, plus_ms)


def command(*words):
    return CliRunner().invoke(trace_command, [str(word) for word in words])


@pytest.mark.parametrize("name", ["out.csv", "out.csv.gz", "out.parquet"])
def test_convert_gives_deadlines_that_come_back(name, tmp_path):
    write_trace([job("a", 0, 1001), job("b", 7, 10, deadline_ms=5)], tmp_path / "in.csv")
    out = tmp_path / name
    done = command("convert", tmp_path / "in.csv", "--to", out, "--deadline-factor", "1.5", "--deadline-plus", "30m")
    assert done.exit_code == 0, done.output
    found = read_trace(out)
    assert [each.deadline_ms for each in found.records] == [1501 + 30 * 60_000, 5]
    again = command("convert", out, "--to", tmp_path / "again.csv", "--deadline-plus", "4h")
    assert again.exit_code == 0
    assert read_trace(tmp_path / "again.csv").records == found.records, "they keep theirs"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--deadline-factor", "x"), "--deadline-factor must be a number like 1.5 or 3/2, got 'x'"),
        (("--deadline-factor", "-1"), "a deadline must be after the submission, got -1 x run time + 0 ms"),
        (("--deadline-plus", "5"), "--deadline-plus must be a length of time such as"),
        (("--deadline-plus", "0"), "a deadline must be after the submission"),
        (("--deadline-factor", "1e30"), "deadline_ms: must be from 0"),
        (("--deadline-factor", "1e999999999"), "--deadline-factor must be a number like 1.5 or 3/2"),
    ],
)
def test_what_gives_no_deadline(options, said, tmp_path):
    write_trace([job("a", 0, 1001)], tmp_path / "in.csv")
    done = command("convert", tmp_path / "in.csv", "--to", tmp_path / "out.csv", *options)
    assert done.exit_code == 2
    assert said in done.output
    assert not (tmp_path / "out.csv").exists()


def test_describe_says_how_many_and_how_tight():
    records = [
        job("a", 0, 1000, deadline_ms=500),
        job("b", 0, 1000, deadline_ms=3000),
        job("c", 0, 0, deadline_ms=10),
        job("d", 0, 1000, deadline_ms=8000),
        job("e", 0, 1000),
    ]
    found = describe(trace_of(records))
    assert (found.with_deadline, found.deadline_below_run, found.deadline_to_run_median) == (4, 1, 3.0)
    none = describe(trace_of(records[4:]))
    assert (none.with_deadline, none.deadline_below_run, none.deadline_to_run_median) == (0, 0, None)


def test_describe_prints_it(tmp_path):
    write_trace([job("a", 0, 1000, deadline_ms=500), job("b", 0, 1000, deadline_ms=4000)], tmp_path / "t.csv")
    said = command("describe", tmp_path / "t.csv").output
    assert "2 jobs (1 have less than their run time); in the median 2.25 x its run time" in said


# -- run directories -------------------------------------------------------------------------------------------------


def older(path):
    """The directory as an older version wrote it."""
    table = pq.read_table(path / "jobs.parquet")
    pq.write_table(table.drop_columns(["deadline_ms"]), path / "jobs.parquet")


def test_a_run_directory_keeps_deadlines_and_an_older_one_has_none(tmp_path):
    run = run_of(DUE_GOLDEN, "1x8", "fifo")
    write_run(run, tmp_path / "run", summary(run))
    again = read_run(tmp_path / "run")
    assert again.jobs.deadline_ms.tolist() == [10_000, 20_000, ABSENT, 30_000, 50_000]
    assert pq.read_table(tmp_path / "run" / "jobs.parquet")["deadline_ms"].to_pylist()[2] is None
    assert measure(again, next(groups(again.jobs))) == measure(run, next(groups(run.jobs)))
    older(tmp_path / "run")
    without = read_run(tmp_path / "run")
    assert (without.jobs.deadline_ms == ABSENT).all()
    assert summary(without) == summary(run_of(GOLDEN, "1x8", "fifo"))


def test_an_older_run_as_the_baseline_has_the_deadlines_of_its_trace(tmp_path):
    records = twins(10)
    one = prepared_of(records, "1x1", "fifo", "sjf", tie_orders=0)
    judged(records, ["fifo", "sjf"], tmp_path=tmp_path / "before")
    older(tmp_path / "before" / "fifo")
    given = baseline_of_run([one], tmp_path / "before" / "fifo")
    found = judged(records, ["sjf"], "deadline_missed: -50 points", tmp_path=tmp_path / "now", given=given)
    assert found == [("deadline_missed: no worse than -50 points", "pass")]


def test_explain_tells_of_the_deadline(tmp_path, capsys):
    write_trace(DUE_GOLDEN, tmp_path / "t.csv")
    files = ["--trace", str(tmp_path / "t.csv"), "--cluster", "1x8", "--policy", "fifo"]
    assert _status(["run", *files, "--out", str(tmp_path / "run")]) == 0
    assert "deadlines missed" in capsys.readouterr().out
    for name, said in (("b", ", to finish within 20 s"), ("c", None)):
        assert _status(["explain", str(tmp_path / "run"), name]) == 0
        asked = capsys.readouterr().out
        assert said in asked if said else "to finish within" not in asked


def test_nobody_can_ask_for_what_no_job_has():
    prepared = prepared_of(twins(2, None), "1x1", "fifo")
    with pytest.raises(InputError, match="no job that counts has a deadline"):
        checked(prepared, Question(policies=("fifo",), gates=parse_levels(["deadline_missed <= 5 %"])))
