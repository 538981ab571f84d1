"""Comparisons: differences by hand, who waits longer, ties, workers, folders, and the files that they leave."""

from __future__ import annotations

import json

import pytest
from builders import job
from runs import run_of, trace_of

from sim.experiment.compare import compare, folder_names, policies_and_baseline, split_policies, tie_orders
from sim.experiment.comparison import compare_runs, no_ties, shift, tie_spread
from sim.experiment.comparison_file import as_data, read_comparison
from sim.experiment.durations import parse_duration
from sim.experiment.prepare import prepare
from sim.experiment.scenario import make_scenario, read_scenario
from sim.metrics.registry import BY_NAME
from sim.report.verdict import verdict
from sim.report.words import difference, duration, percent, value
from sim.results import RunDirectoryError
from sim.run import InputError

HEAD_BLOCKS = [
    job("a", 0, 10_000, 6, user="ann"),
    job("b", 1000, 10_000, 8, user="bob"),
    job("c", 2000, 20_000, 2, user="cid"),
]
"""fifo: a 0, b 10 s, c 20 s. best-effort: a 0, c 2 s, b 22 s."""


def prepared(records=HEAD_BLOCKS, policies=("fifo", "best-effort-fifo"), **keys):
    scenario = make_scenario({"trace": "memory", "cluster": "1x8", **keys}, source="test")
    return prepare(scenario, policies, trace=trace_of(records))


def compared(specs=("fifo", "best-effort-fifo")):
    return compare_runs([run_of(HEAD_BLOCKS, "1x8", spec) for spec in specs], specs[0], no_ties("test"))


def test_differences_by_hand():
    found = compared()
    waits = {name: values["wait_mean_ms"] for name, values in found.whole.values.items()}
    assert waits == {"fifo": (0 + 9000 + 18_000) / 3, "best-effort-fifo": (0 + 21_000 + 0) / 3}
    assert found.best("wait_mean_ms", "lower") == ["best-effort-fifo"]
    metric = BY_NAME["wait_mean_ms"]
    assert difference(metric, waits["best-effort-fifo"], waits["fifo"]) == "-2 s (-22 %)"


def test_who_waits_longer_by_hand():
    moved = compared().shifts["best-effort-fifo"]
    assert (moved.compared, moved.longer, moved.shorter) == (3, 1, 1)
    assert moved.worst_jobs == [{"job_id": "b", "user": "bob", "gpus": 8.0, "longer_ms": 12_000, "wait_ms": 21_000}]
    assert moved.worst_users == [{"user": "bob", "jobs": 1, "mean_change_ms": 12_000.0}]
    by_size = {each["name"]: each["mean_change_ms"] for each in moved.groups if each["kind"] == "size"}
    assert by_size == {"2-7": -9000.0, "8": 12_000.0}


def test_jobs_that_start_under_one_policy_only():
    all_start = run_of(HEAD_BLOCKS, "1x8", "fifo")
    one_too_large = run_of([*HEAD_BLOCKS[:2], job("c", 2000, 20_000, 9)], "1x8", "fifo")
    moved = shift(one_too_large, all_start)
    assert (moved.compared, moved.only_baseline, moved.only_policy) == (2, 1, 0)


def test_the_verdict_says_who_wins_by_how_much_and_at_whose_cost():
    said = verdict(compared())
    assert said[0] == "Mean wait: best-effort-fifo wins by 2 s (-22 %): 7 s against 9 s under fifo."
    assert "Under best-effort-fifo, 1 of 3 jobs (33%) wait longer than under fifo; worst is b, by 12 s." in said


def test_an_oracle_does_not_win():
    said = verdict(compared(("fifo", "best-effort-sjf-oracle")))
    assert said[0].startswith("Mean wait: nothing beats fifo (9 s); best-effort-sjf-oracle, which peeks at true run")


def test_a_baseline_that_wins_names_the_next():
    said = verdict(compared(("best-effort-fifo", "fifo")))
    assert said[0] == "Mean wait: nothing beats best-effort-fifo (7 s); next is fifo with +2 s (+29 %)."


def test_the_same_schedule_is_no_difference():
    found = compared(("fifo", "fifo:place=first-fit"))
    assert verdict(found)[0] == "Mean wait: all the same, 9 s."
    assert "They do not differ in any metric." in verdict(found)


def test_files_of_a_comparison_and_reading_it_back(tmp_path):
    found = compare(prepared(), ["fifo", "best-effort-fifo"], "best-effort-fifo", tmp_path).comparison
    assert found.names == ["best-effort-fifo", "fifo"]
    data = json.loads((tmp_path / "comparison.json").read_text())
    assert data["baseline"] == "best-effort-fifo"
    assert data["groups"][0]["values"]["fifo"]["wait_mean_ms"] == 9000.0
    back = read_comparison(tmp_path)
    assert as_data(back, folder_names(back.names)) == data


@pytest.mark.parametrize(
    ("place", "value"), [("effects", None), ("evidence", {"news": 1}), ("policies", [{}]), ("ties", 3)]
)
def test_a_comparison_of_another_version_is_no_traceback(tmp_path, place, value):
    compare(prepared(), ["fifo", "best-effort-fifo"], "fifo", tmp_path)
    path = tmp_path / "comparison.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), place: value}))
    with pytest.raises(RunDirectoryError, match=r"comparison\.json is not whole, or another version wrote it"):
        read_comparison(tmp_path)


def test_workers_change_nothing(tmp_path):
    jobs = [job(f"j{i}", i // 4 * 1000, 5000 + 700 * (i % 5), 1 + i % 7) for i in range(40)]
    for workers in (1, 2):
        (tmp_path / str(workers)).mkdir()
        compare(prepared(jobs), ["fifo", "best-effort-fifo"], "fifo", tmp_path / str(workers), workers=workers)
    one, two = ((tmp_path / name / "comparison.json").read_text() for name in "12")
    assert one == two
    assert json.loads(one)["ties"]["orders"] == 2


def test_ties_alone_move_what_they_move(tmp_path):
    # x needs all, y and z one each: who of the same millisecond goes first decides who waits
    jobs = [job("x", 0, 10_000, 8), job("y", 0, 1000, 1), job("z", 0, 1000, 1)]
    found = compare(prepared(jobs, tie_orders=8), ["fifo", "best-effort-fifo"], "fifo", tmp_path).comparison
    # x first: y and z wait 10 s, mean 20/3 s. y, z first: x waits 1 s, mean 1/3 s. y, x, z: x 1 s, z 11 s, mean 4 s.
    assert found.ties.orders == 8
    low, high = found.ties.low["fifo"]["wait_mean_ms"], found.ties.high["fifo"]["wait_mean_ms"]
    assert (low, high) == (1000 / 3, 20_000 / 3)
    assert found.ties.width("fifo", "wait_mean_ms") == high - low
    assert "The order of ties alone moves the mean wait by up to 6.33 s" in verdict(found)[-1]


@pytest.mark.parametrize(
    ("jobs", "keys", "reason"),
    [
        (HEAD_BLOCKS, {}, "no two jobs are submitted in the same millisecond"),
        ([job("a", 0, 1), job("b", 0, 1)], {"tie_orders": 0}, "not asked for"),
        ([job("a", 0, 1), job("b", 0, 1)], {"rules": {"fill": True}}, "a static fill takes the pods in the order"),
    ],
)
def test_when_ties_are_not_measured(jobs, keys, reason):
    orders, why = tie_orders(prepared(jobs, **keys))
    assert orders == 0
    assert why.startswith(reason)


def test_a_metric_that_one_order_lacks_has_no_spread():
    spread = tie_spread({"p": {"m": 1.0, "n": 2.0}}, {"p": [{"m": 3.0, "n": None}]})
    assert (spread.width("p", "m"), spread.width("p", "n"), spread.width("q", "m")) == (2.0, None, None)


def test_policies_on_the_command_line():
    assert split_policies("fifo, easy:place=spread,per=queue,sjf") == ["fifo", "easy:place=spread,per=queue", "sjf"]
    assert split_policies("a.b:C,fifo:per=queue,") == ["a.b:C", "fifo:per=queue"]
    assert policies_and_baseline(["a", "b"], None) == (["a", "b"], "a")
    assert policies_and_baseline(["a", "b"], "b") == (["a", "b"], "b")
    assert policies_and_baseline(["a"], "c") == (["c", "a"], "c")
    with pytest.raises(InputError, match="a given twice"):
        policies_and_baseline(["a", "b", "a"], None)
    with pytest.raises(InputError, match="at least two"):
        policies_and_baseline(["a"], None)


def test_folders_are_plain_and_unique():
    assert folder_names(["fifo:place=x,per=y", "a.b:C", "A.B:c", "../..", "fifo"]) == {
        "fifo:place=x,per=y": "fifo_place=x_per=y",
        "a.b:C": "a.b_C",
        "A.B:c": "A.B_c-2",
        "../..": "policy",
        "fifo": "fifo",
    }


@pytest.mark.parametrize(
    ("text", "ms"), [("0", 0), ("250ms", 250), ("90s", 90_000), ("1h30m", 5_400_000), ("1.5d", 129_600_000)]
)
def test_durations(text, ms):
    assert parse_duration(text) == ms


@pytest.mark.parametrize("text", ["", "5", "-5m", "5 m x", "1e3s", "0.3ms", "m", "NaNs", "٣s"])
def test_what_is_no_duration(text):
    with pytest.raises(ValueError, match="must be"):
        parse_duration(text)


def test_a_scenario_lists_every_problem_at_its_path(tmp_path):
    file = tmp_path / "s.yaml"
    file.write_text("rehearse_scenario: 1\ntrace: t.csv\nclusters: x\nseed: -1\nrules: {restat: 5m, ties: randm}\n")
    with pytest.raises(InputError) as caught:
        read_scenario(file)
    assert str(caught.value).splitlines()[1:] == [
        "  cluster: is required",
        "  rules.ties: must be one of job_id, file, random, got 'randm'; did you mean 'random'?",
        "  rules.restat: unknown key; did you mean 'restart'?",
        "  seed: must be greater than or equal to 0, got -1",
        "  clusters: unknown key; did you mean 'cluster'?",
    ]


def test_a_scenario_without_its_version_is_refused(tmp_path):
    file = tmp_path / "s.yaml"
    file.write_text("trace: t.csv\n")
    with pytest.raises(InputError, match="must begin with `rehearse_scenario: 1`"):
        read_scenario(file)
    with pytest.raises(InputError, match="cannot be read"):
        read_scenario(tmp_path / "no.yaml")


def test_paths_of_a_scenario_are_relative_to_it(tmp_path):
    (tmp_path / "fleet.yaml").write_text("")
    file = tmp_path / "s.yaml"
    file.write_text("rehearse_scenario: 1\ntrace: t.csv\ncluster: fleet.yaml\nspeed: off\nrules: {cycle: 30s}\n")
    found = read_scenario(file)
    assert (found.trace, found.cluster) == (str(tmp_path / "t.csv"), str(tmp_path / "fleet.yaml"))
    assert (found.speed, found.rules.cycle) == ("off", 30_000)


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "0 s"),
        (0.5, "0.5 ms"),
        (999, "999 ms"),
        (52_000, "52 s"),
        (90_000, "1.5 min"),
        (3.2 * 86_400_000, "3.2 d"),
    ],
)
def test_durations_in_words(ms, text):
    assert duration(ms) == text


def test_figures_in_words():
    share, count, ratio = BY_NAME["allocated_share"], BY_NAME["preemptions"], BY_NAME["bounded_slowdown_mean"]
    assert value(share, 0.8181) == "81.8%"
    assert value(count, 1234.0) == "1,234"
    assert value(ratio, None) == "-"
    assert difference(share, 0.5, 0.75) == "-25.0 points"
    assert difference(count, 5.0, 0.0) == "+5"
    assert difference(count, 5.0, 5.0) == "="
    assert difference(count, None, 5.0) == "-"
    assert (percent(0.034), percent(-0.5), percent(9.0)) == ("+3.4 %", "-50 %", "x 10.0")
    assert (percent(-0.994), percent(-0.998), percent(-0.99999), percent(-1.0)) == (
        "-99 %",
        "-99.8 %",
        "-99.9 %",
        "-100 %",
    )
