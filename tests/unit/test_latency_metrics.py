"""Latencies of runs: which replicas answered when, which requests count, and how the figures can be asked for."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
from audited import audited
from builders import job, servers
from runs import GOLDEN, run_of, trace_of

from policies.api import Policy, Preempt, Semantics, Share, Start, WakeAt
from sim.cli import _status
from sim.experiment.asked import asked_for, default_family
from sim.experiment.compare import compare, request
from sim.experiment.plan import Plan, subjects_of
from sim.experiment.prepare import prepare, replay_prepared
from sim.experiment.quantities import quantity
from sim.experiment.sampler import observe
from sim.experiment.scenario import make_scenario
from sim.gates.gate import parse_gate
from sim.jobs_table import jobs_table
from sim.metrics.latency import figure
from sim.metrics.metric import Sample
from sim.metrics.registry import BY_NAME, groups, measure, summary
from sim.planning.levels import levels_of, spelled_out
from sim.report.html import page
from sim.report.text import run_lines
from sim.report.voice import plain
from sim.results import Run, read_run, write_run
from sim.run import InputError
from sim.services.of_run import answered, has_services, requests_of
from sim.services.service import Replicas, Service, Steps
from sim.world.speed import PPM, SpeedChange, SpeedModel

END = 100_000


def service(name="chat", per_s=2.0, **more) -> Service:
    """Requests that take 1 s in one of four slots, for 100 s."""
    keys = {
        "rate": Steps(np.array([0], dtype=np.int64), np.array([per_s])),
        "end_ms": END,
        "service_us": 1_000_000,
        "slots": 4,
        "replicas": Replicas(least=1, most=9),
    }
    return Service(name=name, **{**keys, **more})


def replica(number=1, begin_ms=0, end_ms=END, name="chat", **more):
    lifetime_ms = end_ms - begin_ms
    more = {"lifetime_ms": lifetime_ms, "service": name, **more}
    return job(f"{name}/{number}", begin_ms, lifetime_ms, **more)


def run_with(jobs, services, policy="best-effort-fifo", devices=2, **more) -> Run:
    """A run of jobs on one server, as its directory would say that it was."""
    fleet = servers(1, devices, accelerator="x")
    speed = more.pop("speed", None)
    outcome = audited(jobs, fleet, policy, speed=speed(fleet) if speed else None, **more)
    manifest = {
        "policy": {"spec": "p"},
        "complete": True,
        "rules": {"fill": False},
        "end_ms": outcome.end_ms,
        "inputs": {"services": json.loads(json.dumps([each.as_data() for each in services]))},
    }
    return Run(manifest=manifest, jobs=jobs_table(outcome, fleet), timeline=outcome.timeline)


def ready(run: Run, name="chat") -> list[tuple[int, float]]:
    steps = answered(run)[name].ready
    return list(zip(steps.at_ms.tolist(), steps.value.tolist(), strict=True))


def everything(run: Run) -> Sample:
    return Sample(run, np.ones(len(run.jobs), dtype=bool))


def value(name: str, sample: Sample) -> float | None:
    return BY_NAME[name].of(sample)


# -- replicas that answer ----------------------------------------------------------------------------------------------


def test_replicas_that_start_late_by_hand():
    """Both devices are taken until 20 s, and a model is loaded for 10 s. 60 requests wait by then, and are gone at 40 s."""
    run = run_with([job("a", 0, 20_000, 2), replica(1), replica(2)], [service(start_up_ms=10_000)])
    assert ready(run) == [(0, 0), (30_000, 2), (END, 0)]
    found = answered(run)["chat"].requests
    held = found.rows(found.waits == 0)
    assert (held.from_ms.min(), held.until_ms.max(), held.requests.sum()) == (0, 40_000, 80)
    cut = held.cut(np.array([30_000.0]))
    # at 0 s one waits until 30 s; at 30 s 60 are in line and 8 are answered a second; at 40 s nobody is
    assert (cut.first_wait_ms[0], cut.last_wait_ms[-1]) == (30_000, 0)
    assert cut.last_wait_ms[cut.until_ms == 30_000].tolist() == [7500]
    assert found.total == 200
    assert found.unanswered == 0
    assert value("latency_mean_ms", everything(run)) == pytest.approx(found.mean_ms())


def test_a_preempted_replica_loads_its_model_again():
    class Swap(Policy):
        name = "swap"
        runs_on_empty_queue = True

        def decide(self, view):
            if view.now_ms in (0, 50_000):
                yield Start("chat/1", (Share(0, 0b1),))
            if view.now_ms == 0:
                yield WakeAt(40_000)
            if view.now_ms == 40_000:
                yield Preempt("chat/1")
                yield WakeAt(50_000)

        def semantics(self):
            return Semantics(order="", blocking="", placement="")

    run = run_with([replica()], [service(start_up_ms=5000)], Swap())
    assert ready(run) == [(0, 0), (5000, 1), (40_000, 0), (55_000, 1), (END, 0)]


def test_a_model_that_is_never_loaded_answers_nothing():
    run = run_with([replica()], [service(start_up_ms=END)])
    assert ready(run) == [(0, 0)]
    assert answered(run)["chat"].requests.unanswered == 200


def test_speed_is_that_of_the_placement_and_changes_while_it_runs():
    """A card of half the speed, on a server that is at half its speed before the model is loaded, and at a quarter at 50 s."""
    changes = [SpeedChange(5000, 1, PPM // 2), SpeedChange(50_000, 1, PPM // 4)]
    run = run_with(
        [replica()],
        [service(per_s=4.0, start_up_ms=10_000)],
        speed=lambda fleet: SpeedModel(fleet, card_ppm=lambda *_: PPM // 2, changes=changes),
    )
    found = answered(run)["chat"].requests
    # four slots answer 1 a second from 10 to 50 s, then 0.5
    assert found.unanswered == 400 - (40 + 25)
    held = found.rows(np.isfinite(found.last_wait_ms))
    assert set(held.answer_per_ms.tolist()) == {0.00025, 0.000125}


def test_replicas_of_unlike_speed_and_number():
    """Until 60 s two replicas, then one: the steps of one service, apart from those of another."""
    jobs = [replica(1), replica(2, 0, 60_000), replica(1, 20_000, END, "code")]
    run = run_with(jobs, [service(), service("code")], devices=3)
    assert ready(run) == [(0, 2), (60_000, 1), (END, 0)]
    assert ready(run, "code") == [(0, 0), (20_000, 1), (END, 0)]


def test_a_run_that_broke_off_ends_its_services():
    whole = run_with([replica()], [service()])
    cut = replace(whole, manifest={**whole.manifest, "complete": False, "end_ms": 60_000})
    assert (answered(cut)["chat"].lasts_ms, answered(cut)["chat"].requests.total) == (60_000, 120)


# -- requests that count -----------------------------------------------------------------------------------------------


def test_a_replica_in_the_sample_stands_for_its_service():
    run = run_with([replica(1), replica(2), replica(1, name="code")], [service(), service("code", 1.0)], devices=3)
    for rows, total in (([1, 0, 0], 200), ([1, 1, 0], 200), ([0, 0, 1], 100), ([0, 1, 1], 300), ([0, 0, 0], 0)):
        sample = Sample(run, np.array(rows, dtype=bool))
        assert sum(each.arrivals.total for each in requests_of(sample)) == total
    both = value("latency_mean_ms", everything(run))
    chat, code = (value("latency_mean_ms", Sample(run, np.arange(3) == row)) for row in (0, 2))
    assert both == pytest.approx((2 * chat + code) / 3)
    assert value("latency_mean_ms", Sample(run, np.zeros(3, dtype=bool))) is None


def test_requests_of_the_warm_up_and_the_drain_do_not_count():
    jobs = [replica(), *(job(f"j{at}", at, 10) for at in (0, 30_000, 50_000, 90_000))]
    run = run_with(jobs, [service()])
    rows = np.arange(5) == 0
    expected = {(0, 0, 0, 1, 1): 100, (0, 0, 1, 1, 0): 40, (1, 1, 1, 1, 0): 100, (1, 1, 1, 1, 1): 200}
    for counts, total in expected.items():
        sample = Sample(run, rows, np.array(counts, dtype=bool))
        assert [each.arrivals.total for each in requests_of(sample)] == [pytest.approx(total)], counts
    assert [each.arrivals.total for each in requests_of(Sample(run, rows, np.zeros(5, dtype=bool)))] == [0]


def test_late_requests_are_shared_by_the_replicas_that_are_wanted():
    """Nothing ever answers: all 200 are late. Until 40 s two replicas are wanted, then one."""
    jobs = [job("a", 0, END, 2), replica(1), replica(2, 0, 40_000), replica(1, name="code")]
    run = run_with(jobs, [service(objective_ms=1000), service("code")])
    found = BY_NAME["late_requests"].per_job.values(run)
    assert found[1:3].tolist() == pytest.approx([40 + 120, 40])
    assert np.isnan(found[[0, 3]]).all(), "no replica, and a service without an objective"
    assert value("late_requests", everything(run)) == pytest.approx(200)
    assert value("late_share", everything(run)) == 1
    assert value("late_share", Sample(run, np.arange(4) == 3)) is None
    assert value("late_requests", Sample(run, np.arange(4) == 0)) is None
    for name in ("latency_mean_ms", "latency_median_ms", "latency_p99_ms"):
        assert value(name, everything(run)) is None, "it is infinite"


def test_a_late_share_is_that_of_its_objective():
    run = run_with([replica(1), replica(2)], [service(objective_ms=3000)])
    share = answered(run)["chat"].requests.share_above(3000)
    assert 0 < share < 0.5
    assert value("late_share", everything(run)) == pytest.approx(share)
    assert value("late_requests", everything(run)) == pytest.approx(200 * share)


def test_the_last_run_is_remembered_and_no_other():
    run = run_with([replica()], [service()])
    assert answered(run) is answered(run)
    more = {**run.manifest, "inputs": {"services": [service(per_s=3.0).as_data()]}}
    assert answered(replace(run, manifest=more))["chat"].requests.total == 300
    assert answered(run)["chat"].requests.total == 200


def test_figures_are_of_the_jobs_that_are_asked_about():
    """Whatever was asked before: of another run, another service, or other jobs that count."""
    jobs = [replica(1), replica(2), replica(1, name="code"), *(job(f"j{at}", at, 10) for at in (50_000, 90_000))]
    one, two = (run_with(jobs, [service(), service("code", per_s)], devices=4) for per_s in (1.0, 3.0))
    early, late = (np.array([*rows, 1, 1], dtype=bool) for rows in ((1, 1, 1), (0, 0, 0)))
    samples = [
        Sample(run, np.arange(5) == row, counted)
        for run in (one, two)
        for row in (0, 2)
        for counted in (None, early, late)
    ]
    expected = [figure(BY_NAME["latency_p95_ms"].of_requests, requests_of(each)) for each in samples]
    assert len({round(each, 6) for each in expected}) >= 3
    for number in (0, 3, 0, 6, 9, 10, 11, 5, 3, 2, 1, 8, 0):
        assert value("latency_p95_ms", samples[number]) == pytest.approx(expected[number])


# -- runs without services ---------------------------------------------------------------------------------------------


def test_a_run_without_services_says_nothing_of_them():
    run = run_of(GOLDEN, "1x8", "fifo")
    assert not has_services(run)
    said = json.dumps(summary(run))
    assert "latency" not in said
    assert "late" not in said
    assert "by_service" not in said
    assert not [line for line in run_lines(run, summary(run)) if "latency" in line or "service" in line]
    assert {group.kind for group in groups(run.jobs)} == {"all", "queue", "size"}
    assert not has_services(run_of(GOLDEN, "1x8", "fifo", fill=True))


def test_a_service_without_an_objective_has_no_late_requests():
    one = prepared(services=[{key: CHAT[key] for key in CHAT if key != "objective"}])
    run = replay_prepared(one, "fifo")
    found = measure(run, next(groups(run.jobs)))
    assert found["latency_p95_ms"] > 0
    assert not [name for name in found if name.startswith("late_")]


# -- scenarios ---------------------------------------------------------------------------------------------------------

CHAT = {
    "name": "chat",
    "rate": 6,
    "service_time": "1s",
    "slots": 4,
    "replicas": {"least": 2, "most": 2},
    "start_up": "5s",
    "objective": "3s",
    "queue": "prod",
}


def prepared(**keys):
    """A job of seven devices at 0 s, which is over at 40 s, and small ones until 400 s, on eight devices."""
    records = [job("big", 0, 40_000, 7, queue="batch"), *(job(f"j{n}", n * 40_000, 5000) for n in range(1, 11))]
    scenario = {"trace": "memory", "cluster": "1x8", "services": [CHAT], **keys}
    return prepare(make_scenario(scenario, source="test"), ["best-effort-fifo"], trace=trace_of(records))


def test_a_run_directory_gives_the_same_figures(tmp_path):
    run = replay_prepared(prepared(), "best-effort-fifo")
    said = summary(run)
    write_run(run, tmp_path / "run", said)
    assert summary(read_run(tmp_path / "run")) == said == json.loads((tmp_path / "run/summary.json").read_text())
    found = said["by_service"]["chat"]
    assert (found["requests"], found["unanswered_requests"]) == (6 * 400, 0)
    assert (found["replicas_wanted_mean"], found["latency_p95_ms"]) == (2, said["metrics"]["latency_p95_ms"])
    # one starts at once, the other when the big job is over, at 40 s; each answers 5 s later
    assert found["replicas_ready_mean"] == pytest.approx((395 + 355) / 400)
    assert said["units"]["late_share"] == {"unit": "share", "better": "lower"}
    line = next(line for line in run_lines(run, said) if line.startswith("chat "))
    assert line.split()[1] == "2,400"
    assert line.split()[-2:] == ["1.88", "2.00"]


def levels(texts, **keys):
    one = prepared()
    gates = spelled_out([parse_gate(text) for text in texts], one, **keys)
    run = replay_prepared(one, "best-effort-fifo")
    return gates, levels_of(gates, one, **keys).figures(run).values, run


def test_levels_ask_for_any_quantile_of_some_services():
    texts = [
        "latency.p99.9{service=chat} <= 1m",
        "latency.mean{queue=*} <= 1m",
        "late_share <= 5 %",
        "late_requests <= 9",
    ]
    gates, values, run = levels(texts)
    assert [gate.text for gate in gates] == [texts[0], "latency.mean{queue=prod} <= 1m", *texts[2:]]
    requests = answered(run)["chat"].requests
    late = requests.share_above(3000)
    assert values == pytest.approx((requests.quantile_ms(0.999), requests.mean_ms(), late, late * 2400))


def test_levels_of_a_service_whose_replicas_are_all_of_the_warm_up():
    """Both are submitted at 0 s and do not count; the requests after 80 s do, and none of them waits for the big job."""
    _, (share, late), run = levels(["late_share <= 1 %", "late_requests <= 1"], warm_up_ms=80_000)
    requests = answered(run)["chat"].requests.within(80_000, math.inf)
    assert requests.total == pytest.approx(6 * 320)
    assert (share, late) == pytest.approx((requests.share_above(3000), requests.above(3000).sum()))
    assert share < 0.1 < answered(run)["chat"].requests.share_above(3000)


def test_levels_of_requests_that_are_never_answered_are_broken():
    one = prepared(services=[{**CHAT, "rate": 30}])
    gates = spelled_out([parse_gate("latency.p95 <= 10d"), parse_gate("latency.mean <= 10d")], one)
    found = levels_of(gates, one)
    figures = found.figures(replay_prepared(one, "best-effort-fifo"))
    assert figures.values == (math.inf, math.inf)
    assert found.broken(figures) == [0, 1]


@pytest.mark.parametrize(
    ("services", "level", "said"),
    [
        ([], "latency.p95 <= 2s", "there is no service; the key `services` of a scenario has them"),
        ([], "late_requests <= 2", "there is no service with an objective; the key"),
        ([{**CHAT, "objective": None}], "late_share <= 1 %", "there is no service with an objective; the key"),
        ([CHAT], "latency.p95{service=chta} <= 2s", "no service has service 'chta'; did you mean 'chat'?"),
        ([CHAT], "latency.p95{queue=batch} <= 2s", "no service has queue 'batch'; there are prod"),
        (
            [CHAT, {**CHAT, "name": "code", "queue": "dev"}],
            "latency.p95{queue=prod,service=code} <= 2s",
            "no service has {queue=prod,service=code}",
        ),
    ],
)
def test_a_level_or_gate_on_what_there_is_not_is_refused(services, level, said):
    services = [{key: each[key] for key in each if each[key] is not None} for each in services]
    one = prepared(services=services)
    with pytest.raises(InputError, match=r"level ") as refused:
        spelled_out([parse_gate(level)], one)
    assert said in str(refused.value)
    if "{queue=prod,service" not in level:
        with pytest.raises(InputError) as refused:
            request([one], ["fifo", "easy"], "fifo", gates=[parse_gate(level)])
        assert said in str(refused.value)


def test_the_command_refuses_a_level_on_latency_without_services(tmp_path, capsys):
    (tmp_path / "t.csv").write_text("job_id,submit_ms,run_ms,gpus\na,0,1000,1\n")
    asked = ["plan", "--trace", str(tmp_path / "t.csv"), "--cluster", "2x8", "--policies", "fifo"]
    assert _status([*asked, "--level", "latency.p95 <= 2s"]) == 2
    assert "there is no service" in capsys.readouterr().err


def test_names_of_quantities():
    names = ("latency.mean", "latency.median", "latency.p95", "latency.p99", "late_requests", "late_share")
    assert [quantity(name).metric.name for name in names] == [
        *("latency_mean_ms", "latency_median_ms", "latency_p95_ms", "latency_p99_ms", "late_requests", "late_share"),
    ]
    other = quantity("latency.p99.9")
    assert (other.of_requests.q, other.per_job) == (pytest.approx(0.999), None)
    assert pickle.loads(pickle.dumps(other)) == other
    assert asked_for("latency.p95").margin.text == "+5 %", "ten seconds would be everything to a request"
    assert {"latency.p95", "late_share"} <= {each.selector.quantity.name for each in default_family(whole_runs=True)}
    assert "latency.p95" not in {each.selector.quantity.name for each in default_family(whole_runs=False)}
    with pytest.raises(ValueError, match=r"did you mean 'latency\.p95'"):
        quantity("latensy.p95")


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """best-effort-fifo starts replicas behind the big job, priority with prod in front of it at once; nine replications."""
    keys = {
        "replications": 9,
        "blocks": "replication",
        "shake": {"submit": "1 %"},
        "metrics": ["latency.p95", "late_requests"],
    }
    one = prepared(services=[{**CHAT, "priority": 5}], **keys)
    gates = [
        "latency.p99.9{service=chat} <= 20s",
        "latency.mean{queue=prod}: +5 %",
        "late_requests{service=chat}: +5 %",
    ]
    out = tmp_path_factory.mktemp("compared") / "out"
    return compare(one, ["priority", "fifo"], "priority", out, gates=[parse_gate(each) for each in gates])


def test_a_comparison_measures_latencies_over_its_replays(compared):
    found = compared.comparison
    assert [each.quantity for each in found.paired.policies["fifo"].metrics] == ["latency.p95", "late_requests"]
    first = {each.gate.partition(" ")[0]: each for each in found.gates}
    own = found.whole.values
    mean = first["latency.mean{queue=prod}:"]
    assert (mean.value, mean.blocks) == (pytest.approx(own["fifo"]["latency_mean_ms"], rel=0.2), 9)
    assert mean.baseline == pytest.approx(own["priority"]["latency_mean_ms"], rel=0.2)
    late = first["late_requests{service=chat}:"]
    assert late.value == pytest.approx(own["fifo"]["late_requests"], rel=0.2)
    service_group = next(each for each in found.groups if each.kind == "service")
    assert service_group.values["fifo"]["latency_p95_ms"] == own["fifo"]["latency_p95_ms"]
    assert {each.kind for each in found.paired.policies["fifo"].groups} >= {"service"}
    assert pickle.loads(pickle.dumps(observe(found.runs["fifo"]))).requests["chat"].arrivals.total == pytest.approx(
        2400
    )


def test_the_page_has_a_table_of_each_service(compared):
    english, chinese = page(compared.comparison), page(compared.comparison, "zh")
    assert "By service" in english
    assert "Service chat" in english
    assert "latency, p95" in english
    assert "服务 chat" in chinese
    assert "请求延迟，p95" in chinese
    assert plain("zh").told("it is infinite: requests were never answered") == "其值无穷大：有请求始终未得到响应"


def test_an_infinite_figure_decides_nothing(tmp_path):
    one = prepared(services=[{**CHAT, "rate": 30}], blocks="replication", replications=9)
    gate = parse_gate("latency.p95 <= 10s")
    found = compare(one, ["fifo", "easy"], "fifo", tmp_path / "out", gates=[gate]).comparison.gates
    assert [(each.outcome, each.why) for each in found] == [
        ("undecided", "it is infinite: requests were never answered"),
    ]


def test_what_tells_services_apart():
    both = [CHAT, {**CHAT, "name": "code", "queue": "dev"}]
    found = subjects_of([prepared(services=both)], Plan(warm_up_ms=80_000))
    assert found.names()["service"] == ["-"], "no replica counts"
    assert found.names_having()["services"]["service"] == ["chat", "code"]
    assert [each.labels["size"] for each in found.services] == ["1", "1"]
