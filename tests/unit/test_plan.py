"""The smallest fleet: known answers, and what is said when there is none."""

import json
import math

import numpy as np
import pytest
from builders import job

from sim.cli import _status
from sim.experiment.prepare import prepare
from sim.experiment.scenario import make_scenario
from sim.fleet.load import builtin_fleet
from sim.planning.levels import parse_levels
from sim.planning.mix import cheapest_mix
from sim.planning.plan import Question, differences, plan
from sim.planning.probes import largest_gang, worth_of_one_more
from sim.run import InputError
from traces.trace import Trace


def trace_of(records):
    return Trace(path="made", format="canonical", sha256="0" * 64, rows=len(records), records=records, rejections=[])


def prepared_of(records, cluster, *policies, **more):
    scenario = make_scenario({"trace": "made", "cluster": cluster, **more}, source="test")
    return prepare(scenario, list(policies), trace=trace_of(records))


def erlang_c_quantile_met(servers, load, mean_run, limit, q):
    """Whether P(wait <= limit) >= q in an M/M/c queue: the formula of Erlang, by its recursion."""
    if load >= servers:
        return False
    blocked = 1.0
    for n in range(1, servers + 1):
        blocked = load * blocked / (n + load * blocked)
    waits = blocked / (1 - load / servers * (1 - blocked))
    return 1 - waits * math.exp(-(servers - load) / mean_run * limit) >= q


def mmc(jobs, load, mean_run, seed):
    rng = np.random.default_rng(seed)
    submits = np.cumsum(rng.exponential(mean_run / load, jobs)).astype(int)
    runs = rng.exponential(mean_run, jobs).astype(int)
    return [job(f"j{i}", int(at), int(run)) for i, (at, run) in enumerate(zip(submits, runs, strict=True))]


@pytest.mark.parametrize(("load", "limit"), [(6.0, 15_000), (18.0, 5_000)])
def test_an_mmc_fleet_is_as_large_as_erlang_says(load, limit):
    known = min(c for c in range(1, 60) if erlang_c_quantile_met(c, load, 10_000, limit, 0.95))
    prepared = prepared_of(mmc(20_000, load, 10_000, seed=5), "32x1", "fifo")
    gates = parse_levels([f"wait.p95 <= {limit}ms"])
    question = Question(policies=("fifo",), gates=gates, pool="default", most=32, replications=1)
    (answer,) = plan(prepared, question)
    assert answer.servers == known
    assert answer.monotone
    assert answer.devices == known
    assert "wait.p95 <= " in answer.failing[0]


def small(rng, jobs=150):
    return [
        job(
            f"j{i}",
            int(at),
            int(rng.integers(1, 4000)),
            int(rng.choice((1, 2, 4, 8))),
            queue=str(rng.choice(("a", "b"))),
        )
        for i, at in enumerate(np.sort(rng.integers(0, 60_000, jobs)))
    ]


def test_replications_are_paired_and_the_answer_is_their_ninetieth_percentile():
    prepared = prepared_of(small(np.random.default_rng(2)), "20x8", "fifo", "best-effort-fifo")
    gates = parse_levels(["wait.p95{queue=a} <= 1s", "wait.mean <= 2s"])
    question = Question(policies=("fifo", "best-effort-fifo"), gates=gates, most=20, replications=10)
    first, second = plan(prepared, question)
    counts = sorted(found.count for found in first.searches)
    assert first.servers == counts[8]
    assert first.range == (counts[0], counts[-1])
    gained = differences(first, second)
    assert gained == [a.count - b.count for a, b in zip(first.searches, second.searches, strict=True)]
    assert plan(prepared, question, workers=2) == [first, second], "processes change nothing"


def test_a_spare_costs_and_growth_costs():
    prepared = prepared_of(small(np.random.default_rng(3)), "20x8", "fifo")
    gates = parse_levels(["wait.p95 <= 2s"])
    base = {"policies": ("fifo",), "gates": gates, "pool": "default", "most": 30, "replications": 1}
    plain, spare, grown = (
        plan(prepared, Question(**base, **more))[0].servers for more in ({}, {"spare": "server"}, {"growth": 2})
    )
    assert spare == plain + 1
    assert grown > plain


def test_no_fleet_is_enough_for_a_job_larger_than_all_of_them():
    prepared = prepared_of([job("big", 0, 10, 64), job("small", 0, 10, 1)], "4x8", "fifo")
    question = Question(policies=("fifo",), gates=parse_levels(["wait.p50 <= 1s"]), most=4, replications=2)
    (answer,) = plan(prepared, question)
    assert answer.servers is None
    assert "50.00% of the jobs never start" in answer.failing[0]


def test_the_cheapest_mix_is_that_of_looking_at_all():
    fleet = builtin_fleet()
    prices = {"nvidia-a100-sxm-80gb": 10.0, "nvidia-t4": 1.0, "ascend-910b3": 6.0}
    ranges = {"a100": range(4), "ascend": range(5)}

    def enough(candidate):
        by = candidate.devices_by_accelerator
        return 2 * by.get("nvidia-a100-sxm-80gb", 0) + by.get("ascend-910b3", 0) >= 40

    found = cheapest_mix(fleet, ranges, prices, enough)
    assert found.best.servers == {"a100": 2, "ascend": 1}
    assert [tuple(mix.servers.values()) for mix in found.frontier] == [(2, 1), (1, 3), (3, 0)]
    assert found.tried < 20
    assert cheapest_mix(fleet, ranges, prices, enough, budget=found.best.cost - 1).best is None


def test_the_largest_gang_and_what_one_more_server_is_worth():
    records = [job(f"j{i}", i * 100, 1000, 8) for i in range(40)]
    prepared = prepared_of([*records, job("long", 0, 20_000, 8)], "16x8", "best-effort-fifo")
    gang = largest_gang(prepared, "best-effort-fifo", within_ms=0)
    # about ten jobs of eight and the long one run at any time: of sixteen servers five are left
    assert gang.devices == 5 * 8
    assert all(wait == 0 for wait in gang.waits_ms)
    assert largest_gang(prepared, "best-effort-fifo", within_ms=10**9).devices == 16 * 8
    busy = prepared_of(records, "8x8", "fifo")
    gates = parse_levels(["wait.mean <= 1s"])
    (worth,) = worth_of_one_more(
        busy, "fifo", gates, Question(policies=("fifo",), gates=gates, most=8, prices={"*": 2.0})
    )
    assert worth.after[0] < worth.before[0]
    assert worth.cost == 16


TRACE = "job_id,submit_ms,run_ms,gpus,queue\n"


@pytest.fixture
def files(tmp_path):
    rows = [
        f"{each.job_id},{each.submit_ms},{each.run_ms},{each.gpu_count},{each.queue}"
        for each in small(np.random.default_rng(4))
    ]
    (tmp_path / "t.csv").write_text(TRACE + "\n".join(rows) + "\n")
    return ["plan", "--trace", str(tmp_path / "t.csv"), "--cluster", "20x8"]


def test_the_command_prints_a_table_and_json(files, capsys):
    asked = [*files, "--policies", "fifo,easy", "--level", "wait.p95 <= 2s", "--replications", "3", "--price", "*=1"]
    assert _status([*asked, "--growth", "1", "--growth", "1.5"]) == 0
    out = capsys.readouterr().out
    assert out.count("90th percentile of 3 replications") == 2
    assert _status([*asked, "--json", "--gang-within", "10s", "--marginal"]) == 0
    found = json.loads(capsys.readouterr().out)
    (planned,) = found["plans"]
    assert [each["policy"] for each in planned["answers"]] == ["fifo", "easy"]
    assert planned["answers"][0]["cost"] == planned["answers"][0]["devices"]
    assert found["largest_gang"]["fifo"]["devices"] > 0
    assert found["one_more"]["easy"][0]["pool"] == "default"


def test_a_plan_without_an_answer_is_undecided(files, capsys):
    assert (
        _status([*files, "--policies", "fifo", "--level", "wait.p95 <= 1ms", "--to", "2", "--replications", "1"]) == 3
    )
    assert "even 2 are not enough" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        (["--policies", "fifo"], "at least one is needed"),
        (["--policies", "fifo", "--level", "wait.p95: no more than +5 %"], "must be a limit"),
        (["--policies", "fifo", "--level", "wat.p95 <= 1s"], "levels"),
        (["--policies", "fifo", "--level", "wait.p95 <= 1s", "--pool", "gpu"], "there is no pool 'gpu'"),
        (["--policies", "fifo", "--level", "wait.p95 <= 1s", "--spare", "rack"], "there is no level 'rack'"),
        (["--policies", "fifo", "--level", "wait.p95 <= 1s", "--to", "99"], "starts with 20 servers"),
        (["--policies", "fifo", "--level", "wait.p95 <= 1s", "--shake", "much"], "must be a share"),
        (["--policies", "fifo", "--level", "wait.p95 <= 1s", "--growth", "0"], "must be above 0"),
        (["--policies", "fifo", "--level", "wait.p95 <= 1s", "--price", "a100"], "accelerator=amount"),
        (["--level", "wait.p95 <= 1s"], "--policies missing"),
    ],
)
def test_what_cannot_be_planned_is_refused(files, flags, why, capsys):
    assert _status([*files, *flags]) == 2
    assert why in capsys.readouterr().err


def test_levels_report_every_problem():
    with pytest.raises(InputError) as error:
        parse_levels(["wait.p95", "nonsense", "wait.mean <= 3s"])
    assert str(error.value).count("levels[") >= 2
