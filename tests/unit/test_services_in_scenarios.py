"""Services in scenarios: the key, the trace with replicas, and every command that replays it."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from builders import job
from runs import trace_of

from sim.bounds.of_fleet import bounds_of_prepared
from sim.cli import main
from sim.experiment.elsewhere import baseline_of_run
from sim.experiment.plan import replicated
from sim.experiment.prepare import prepare, run_into
from sim.experiment.scenario import make_scenario, read_scenario
from sim.experiment.schema import scenario_schema
from sim.experiment.shake import Shake
from sim.metrics.registry import BY_NAME
from sim.planning.levels import parse_levels
from sim.planning.looks import copy_of
from sim.planning.plan import plan
from sim.planning.question import Question
from sim.report.words import value
from sim.run import InputError
from sim.scenario_options import scenario_of
from sim.services.keys import RateKeys, ReplicaKeys, ServiceKeys
from sim.session import Session

HOUR = 3_600_000
DAY_AND_NIGHT = Path(__file__).resolve().parents[2] / "docs" / "examples" / "day-and-night.yaml"
REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
PLAN_CAPACITY = REFERENCE.parent / "how-to" / "plan-capacity.md"

JOBS = [job("a", 0, 500, 2, queue="x"), job("b", 40, 900, 4, queue="x"), job("c", 1000, 200, 1, queue="x")]
CHAT = {
    "name": "chat",
    "rate": 40,
    "service_time": "800ms",
    "slots": 8,
    "replicas": 3,
    "priority": 9,
    "queue": "online",
}

WHOLE = """rehearse_scenario: 1
trace: jobs.csv
cluster: 2x8
policy: fifo
services:
  - name: chat
    rate: {peak: 40, hours: [HOURS], first_hour: 9}
    service_time: 7.4ms
    slots: 8
    replicas: {least: 1, most: 12, target: 70 %, headroom: 1}
    start_up: 60s
    objective: 2s
    gpus: 0.5
    pods: 1
    gpu_memory_mib: 100
    cpu_milli: 2000
    memory_mib: 3000
    accelerators: [x, y]
    family: llm
    user: u
    queue: online
    priority: 10
  - name: embed
    rate: {file: rate.csv}
    service_time: 250us
    replicas: 2
""".replace("HOURS", ", ".join(["0.5"] * 23 + ["100 %"]))


def prepared_of(*services, records=JOBS, policies=("fifo",), cluster="2x8", **more):
    scenario = make_scenario({"trace": "made", "cluster": cluster, "services": list(services), **more}, source="test")
    return prepare(scenario, list(policies), trace=replace(trace_of(records), path="made"))


def refused(*services, **more):
    with pytest.raises(InputError) as caught:
        prepared_of(*services, **more)
    return str(caught.value)


def done(*arguments):
    with pytest.raises(SystemExit) as stopped:
        main([str(each) for each in arguments])
    return stopped.value.code or 0


@pytest.fixture
def desk(tmp_path, monkeypatch):
    rows = "".join(f"{each.job_id},{each.submit_ms},{each.run_ms},{each.gpu_count},x\n" for each in JOBS)
    (tmp_path / "jobs.csv").write_text(f"job_id,submit_ms,run_ms,gpus,queue\n{rows}")
    (tmp_path / "rate.csv").write_text("at_ms,requests_per_s\n0,100\n500,0\n")
    (tmp_path / "s.yaml").write_text(WHOLE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


# -- the key ---------------------------------------------------------------------------------------------------------


def test_all_keys(desk):
    found = read_scenario(desk / "s.yaml")
    assert scenario_of(desk / "s.yaml", {}) == found, "a file without flags is the file"
    assert found.services[1].rate.file == str(desk / "rate.csv")
    chat, embed = prepare(found, ["fifo"]).services
    assert (chat.service_us, chat.start_up_ms, chat.objective_ms, chat.end_ms) == (7_400, 60_000, 2_000, 1000)
    assert (chat.gpu_count, chat.gpu_milli, chat.accelerators, chat.replicas.target) == (1, 500, ("x", "y"), 0.7)
    assert chat.rate.value.tolist() == [20.0], "the trace is shorter than an hour, and begins at nine"
    assert (embed.rate.at_ms.tolist(), embed.rate.value.tolist()) == ([0, 500], [100.0, 0.0])
    assert (embed.replicas.least, embed.replicas.most, embed.service_us) == (2, 2, 250)


def test_every_problem_at_its_place():
    good = {"name": "good", "rate": 1, "service_time": "1s", "replicas": 1}
    bad = [
        {**good, "name": "a/b", "priorty": 1},
        {**good, "name": "b", "rate": {"peek": 3}, "replicas": {"least": 3, "most": 2}},
        {**good, "name": "c", "rate": {"peak": 1, "hours": [0.1, 2]}, "service_time": "0.5us", "gpus": "1"},
        {
            **good,
            "name": "d",
            "rate": {"peak": 1, "hours": [1] * 5},
            "replicas": {"least": 1, "most": 2, "target": 0},
        },
        {**good, "name": "e", "gpus": 1.5},
        {**good, "name": "f", "gpus": 3, "pods": 2},
        {**good, "name": "g", "rate": {"file": "r.csv", "first_hour": 3}},
        {**good, "name": "h", "rate": {"peak": 1, "first_hour": 3}, "objective": 2},
    ]
    with pytest.raises(InputError) as caught:
        make_scenario({"trace": "t", "cluster": "1x8", "services": bad}, source="test")
    said = dict(line.strip().split(": ", 1) for line in str(caught.value).splitlines()[1:])
    assert said == {
        "services[0].name": "must be letters, digits, '.', '_' and '-', at most 63, got 'a/b'",
        "services[0].priorty": "unknown key; did you mean 'priority'?",
        "services[1].rate.peek": "unknown key; did you mean 'peak'?",
        "services[1].replicas": "least must be at most most, got 3 and 2",
        "services[2].rate.hours[1]": "must be less than or equal to 1, got 2",
        "services[2].service_time": "must be whole microseconds, got '0.5us'",
        "services[2].gpus": "must be a valid number, got '1'",
        "services[3].rate": "hours: must be 24 shares of the peak, got 5",
        "services[3].replicas.target": "must be greater than 0, got 0",
        "services[4]": "gpus: above 1 must be an integer unless gpu_milli is given, got 1.5",
        "services[5]": "pods: 3 devices cannot be cut into 2 equal pods",
        "services[6].rate": "hours and first_hour go with peak: a file says when",
        "services[7].rate": "first_hour: goes with hours",
        "services[7].objective": "must be a length of time such as 5m, 90s or 1h30m, got '2'",
    }


@pytest.mark.parametrize(
    ("services", "said"),
    [
        ([CHAT, {**CHAT, "rate": 1}], "services: each needs a name of its own, got chat more than once"),
        ([{**CHAT, "rate": {}}], "services[0].rate: must be a number, {peak: ...,"),
        ([{"name": "a"}], "services[0].service_time: is required"),
        ([{**CHAT, "replicas": True}], "services[0].replicas: must be"),
        ("chat", "services: must be a valid list"),
        ([{**CHAT, "rate": {"peak": float("inf")}}], "services[0].rate.peak: must be less than or equal"),
    ],
)
def test_values_that_cannot_be(services, said):
    with pytest.raises(InputError) as caught:
        make_scenario({"trace": "t", "cluster": "1x8", "services": services}, source="test")
    assert said in str(caught.value)


def test_the_reference_names_every_key_of_a_service():
    text = (REFERENCE / "scenario.md").read_text(encoding="utf-8")
    for model in (ServiceKeys, RateKeys, ReplicaKeys):
        assert not [key for key in model.model_fields if f"`{key}`" not in text]
    assert scenario_schema()["$defs"]["ServiceKeys"]["properties"].keys() == ServiceKeys.model_fields.keys()


# -- the trace with replicas -----------------------------------------------------------------------------------------


def test_replicas_come_behind_the_jobs_and_last_as_long_as_submissions():
    found = prepared_of(CHAT)
    assert [each.job_id for each in found.trace.records] == ["a", "b", "c", "chat/1", "chat/2", "chat/3"]
    assert {(each.submit_ms, each.lifetime_ms) for each in found.trace.records[3:]} == {(0, 1000)}
    again = prepare(found.scenario, ["fifo"], trace=found.trace)
    assert again.trace == found.trace, "a trace that has replicas already gets no more of them"
    assert [each.as_data() for each in again.services] == found.services_data()
    assert pickle.loads(pickle.dumps(found)).trace == found.trace, "workers and other versions get it as it is"


def test_what_cannot_be_prepared(desk):
    wrong = [job("chat/17", 5, 1), job("chat/2.2", 5, 1), job("x", 5, 1, service="chat"), job("chat/a", 5, 1)]
    said = refused(CHAT, records=[*JOBS, *wrong])
    assert said.splitlines() == [
        "made: 3 problems:",
        "  services[0].name: 1 jobs of the trace are of a service 'chat' already, such as x",
        "  services[0].name: a job of the trace is called 'chat/17', as a replica is",
        "  services[0].name: a job of the trace is called 'chat/2.2', as a replica is",
    ]
    assert "services: last as long as the submissions of the trace: 0 ms" in refused(CHAT, records=JOBS[:1])
    assert refused(CHAT, rules={"fill": True}) == "services: a static fill has no clock, so no requests come in it"
    idle = {**CHAT, "rate": 0, "replicas": {"least": 0, "most": 2}}
    assert "services[0]: wants no replica at any time" in refused(idle)
    (desk / "often.csv").write_text("at_ms,requests_per_s\n" + "".join(f"{at},{at % 2 * 1e9}\n" for at in range(40)))
    often = {**CHAT, "rate": {"file": "often.csv"}, "replicas": {"least": 0, "most": 100_000}}
    assert "services[0]: brings 2000000 jobs, one for each time" in refused(often)
    (desk / "rate.csv").write_text("at_ms,requests_per_s\n0,x\n1,-1\n")
    (desk / "late.csv").write_text("at_ms,requests_per_s\n7,1\n")
    rates = ({"file": "rate.csv"}, {"file": "late.csv"}, {"file": "none.csv"})
    said = refused(*({**CHAT, "name": f"s{number}", "rate": rate} for number, rate in enumerate(rates)))
    assert "services[0].rate.file: rate.csv: 2 problems:" in said
    assert "line 2 requests_per_s: must be a number" in said
    assert "line 3 requests_per_s: must be from 0" in said
    assert "services[1].rate: late.csv begins at 7 ms, but the trace at 0 ms" in said
    assert "services[2].rate.file: none.csv: cannot be read" in said


def test_shaking_moves_jobs_alone():
    whole = prepared_of(CHAT)
    moved = replicated(whole, Shake(submit=0.3, run=0.3), 2).trace
    assert [each.job_id for each in moved.records] == [each.job_id for each in whole.trace.records]
    assert moved.records[3:] == whole.trace.records[3:]
    assert [each.run_ms for each in moved.records[:3]] != [each.run_ms for each in JOBS]
    plain = replicated(prepared_of(), Shake(submit=0.3, run=0.3), 2).trace
    assert moved.own.records == plain.records, "services change no job's luck"


@pytest.mark.parametrize("how", ["jobs", "density"])
def test_growth_brings_as_many_times_the_requests(how):
    found = prepared_of({**CHAT, "replicas": {"least": 1, "most": 99, "target": "100 %"}})
    question = Question(policies=("fifo",), gates=(), growth=Fraction(5, 2), growth_as=how)
    copy = copy_of(found, question, 0)
    (service,) = copy.services
    assert service.rate.value.tolist() == [100.0]
    assert service.end_ms == max(each.submit_ms for each in copy.trace.own.records)
    assert service.end_ms == (1000 if how == "jobs" else 400)
    # 100 requests a second of 800 ms keep 80 slots busy
    assert [each.job_id for each in copy.trace.records[copy.trace.accepted :]] == [f"chat/{k}" for k in range(1, 11)]
    assert {each.lifetime_ms for each in copy.trace.records[copy.trace.accepted :]} == {service.end_ms}
    assert (
        found.services_data()
        == prepared_of({**CHAT, "replicas": {"least": 1, "most": 99, "target": "100 %"}}).services_data()
    ), "what it grew from stays"


def test_the_first_days_of_a_session(desk):
    (desk / "jobs.csv").write_text("job_id,submit_ms,run_ms,gpus\na,0,5,1\nb,50000000,5,1\nc,90000000,5,1\n")
    session = Session("jobs.csv", "1x8", days=1, services=[CHAT])
    assert [each.lifetime_ms for each in session.prepared.trace.records[2:]] == [50_000_000] * 3
    assert session.run("fifo").manifest["inputs"]["services"][0]["end_ms"] == 50_000_000


def test_the_check_before_the_run_counts_replicas_as_load():
    hour = [job("a", 0, 60_000, 1), job("b", HOUR, 60_000, 1)]
    found = prepared_of({**CHAT, "gpus": 8}, records=hour, policies=("easy",)).findings
    said = {(each.place, each.severity): each.what for each in found}
    assert said["fleet", "warning"].startswith("jobs ask for 1.50 times the 16 devices")
    assert said["policy easy", "warning"] == "needs run time estimates, and 2 of 2 jobs have none"
    assert said["policy easy", "info"] == "needs run time estimates, and 3 replicas of services have none"
    larger = prepared_of({**CHAT, "gpus": 99}, records=hour).findings
    assert "3 of them fit nowhere even on the empty fleet, such as chat/1; the largest" in larger[0].what
    # jobs that outlast the trace say nothing of its load, however many short-lived replicas there are
    outlasting = [job("a", 0, 9 * HOUR, 8), job("b", HOUR, HOUR, 8)]
    assert not [each for each in prepared_of(CHAT, records=outlasting).findings if each.place == "fleet"]


def test_bounds_speak_of_what_ends_with_its_work():
    """Replicas that find no room are taken away, so their work need not be done: no bound may count it."""
    alone = bounds_of_prepared(prepared_of(cluster="1x8"))
    crowded = bounds_of_prepared(prepared_of({**CHAT, "replicas": 50}, cluster="1x8"))
    assert (crowded.mean_completion.value_ms, crowded.makespan.value_ms, crowded.jobs) == (
        *(alone.mean_completion.value_ms, alone.makespan.value_ms, 3),
    )


# -- commands --------------------------------------------------------------------------------------------------------


def test_a_run_knows_its_services(desk, capsys):
    chat = "{name: chat, rate: {file: rate.csv}, service_time: 800ms, slots: 8, replicas: 7, objective: 1s}"
    (desk / "s.yaml").write_text(
        f"rehearse_scenario: 1\ntrace: jobs.csv\ncluster: 1x8\npolicy: fifo\ncauses: true\nservices: [{chat}]\n"
    )
    assert done("run", "s.yaml", "--out", "run") == 0
    said = capsys.readouterr()
    assert "3 rows = 3 jobs + 0 rejected" in said.out
    assert "service chat: 7 replicas" in said.out
    manifest = json.loads(Path("run/manifest.json").read_text())
    assert (manifest["inputs"]["trace"]["accepted"], manifest["jobs"]["records"]) == (3, 10)
    (service,) = manifest["inputs"]["services"]
    assert (service["rate_file"], len(service["rate_sha256"])) == ("rate.csv", 64)
    assert service["rate"] == {"at_ms": [0, 500], "per_s": [100.0, 0.0]}
    assert done("explain", "run", "chat/7") == 0
    assert "was taken away, as its lifetime was over" in capsys.readouterr().out
    (desk / "rate.csv").write_text("at_ms,requests_per_s\n0,100\n600,0\n")
    with pytest.raises(InputError, match="has other services"):
        baseline_of_run([prepare(read_scenario(desk / "s.yaml"), ["fifo"])], desk / "run")


def test_a_baseline_from_a_directory_has_the_same_services(desk):
    found = prepare(read_scenario(desk / "s.yaml"), ["fifo"])
    run_into(found, "fifo", desk / "run")
    assert baseline_of_run([found], desk / "run").run.records == found.trace.records
    moved = replace(found, services=tuple(replace(each, rate_file="elsewhere") for each in found.services))
    assert baseline_of_run([moved], desk / "run").name == "fifo (run)"


def test_compare_and_sweep(desk, capsys):
    text = WHOLE.replace("accelerators: [x, y]", "accelerators: []")
    (desk / "s.yaml").write_text(f"{text}policies: [fifo, preempt-priority]\nshake: 5 %\nreplications: 2\n")
    assert done("compare", "s.yaml", "--out", "both") == 0
    manifests = [json.loads(Path(f"both/{name}/manifest.json").read_text()) for name in ("fifo", "preempt-priority")]
    assert [[each["name"] for each in one["inputs"]["services"]] for one in manifests] == [["chat", "embed"]] * 2
    page = Path("both/report.html").read_text(encoding="utf-8")
    assert "service embed" in page
    assert manifests[0]["inputs"]["services"][1]["rate_sha256"] in page
    one = "{name: chat, rate: {file: rate.csv}, service_time: 1s, replicas: %d}"
    (desk / "sweep.yaml").write_text(
        "rehearse_sweep: 1\nbase: s.yaml\ngrid:\n  services:\n"
        f"    - [{one % 2}]\n    - [{one % 5}]\nlist: [{{policy: easy}}]\n"
    )
    assert done("sweep", "sweep.yaml", "--out", "cells") == 0
    (desk / "rate.csv").write_text("at_ms,requests_per_s\n0,7\n")
    capsys.readouterr()
    assert done("sweep", "sweep.yaml", "--out", "cells", "--check") == 0
    assert capsys.readouterr().out == "3 cells, 0 of them done\n", "another file of rates is another cell"


def erlang_share_above(offered: float, slots: int, mean_s: float, limit_s: float) -> float:
    """P(wait + time in a slot > limit) in an M/M/c queue, by the formula of Erlang and its convolution with a time in a slot."""
    if offered >= slots:
        return 1.0
    below = sum(offered**k / math.factorial(k) for k in range(slots))
    top = offered**slots / math.factorial(slots) * slots / (slots - offered)
    waits = top / (below + top)
    rate, end = 1 / mean_s, (slots - offered) / mean_s
    moved = (rate * math.exp(-end * limit_s) - end * math.exp(-rate * limit_s)) / (rate - end)
    return (1 - waits) * math.exp(-rate * limit_s) + waits * moved


@pytest.mark.parametrize(("rate", "limit"), [(19.3, 2.6), (31.7, 2.42)])
def test_a_fleet_for_a_service_is_as_large_as_erlang_says(rate, limit):
    """Each server has room for one of 24 replicas of 2 slots, so that the fleet says how many answer."""
    known = next(n for n in range(1, 25) if erlang_share_above(rate * 0.8, 2 * n, 0.8, limit) <= 0.05)
    chat = {"name": "chat", "rate": rate, "service_time": "800ms", "slots": 2, "replicas": 24}
    ends = [job("first", 0, 1, 0), job("last", 10 * HOUR, 1, 0)]
    prepared = prepared_of(chat, records=ends, cluster="24x1")
    gates = parse_levels([f"latency.p95{{service=chat}} <= {limit * 1000:.0f}ms"])
    (answer,) = plan(prepared, Question(policies=("fifo",), gates=gates, pool="default", replications=2))
    assert (answer.servers, answer.monotone) == (known, True)
    assert answer.at_answer.figures.never == 0, "replicas that never run are told by the latency of their service"
    longer = Question(policies=("fifo",), gates=parse_levels(["wait.mean{queue=-} <= 1h"]), pool="default")
    (other,) = plan(prepared, replace(longer, replications=1))
    assert other.servers == 24, "without a level on its latency every replica must run"


def test_replicas_of_the_morning_take_the_devices_of_the_night(tmp_path):
    """The example of the guide, with the figures that its table has."""
    policies = ["fifo", "preempt-priority"]
    found = prepare(read_scenario(DAY_AND_NIGHT), policies)
    runs = [run_into(found, name, tmp_path / name) for name in policies]
    replicas = np.array([each.service == "chat" for each in found.trace.records])
    fifo, preempting = (run.jobs.wait_ms[replicas] for run, _ in runs)
    assert fifo.max() > HOUR
    assert not preempting.any()
    assert not runs[1][0].jobs.preemptions[replicas].any(), "jobs of the night made room"

    def row(title, name, *place):
        cells = []
        for _, summary in runs:
            values = summary
            for part in place:
                values = values[part]
            cells.append(value(BY_NAME[name], values[name]))
        return f"| {title} | {' | '.join(cells)} |"

    text = PLAN_CAPACITY.read_text(encoding="utf-8")
    assert row("replicas: wait, p95", "wait_p95_ms", "by_service", "chat") in text
    assert row("requests: latency, p95", "latency_p95_ms", "by_service", "chat") in text
    assert row("requests: late share", "late_share", "by_service", "chat") in text
    assert row("training: completion, mean", "completion_mean_ms", "by_queue", "research") in text
    assert row("training: preemptions", "preemptions", "metrics") in text

    gates = parse_levels(["latency.p95{service=chat} <= 3s", "wait.mean{queue=research} <= 2h"])
    shake = Shake(submit=0.05, run=0.05)
    asked = Question(policies=tuple(policies), gates=gates, pool="default", most=8, shake=shake)
    assert [each.servers for each in plan(found, asked)] == [5, 4]
    (more,) = plan(found, replace(asked, policies=("preempt-priority",), growth=Fraction(3, 2)))
    assert more.servers == 6
    assert "`preempt-priority` needs 6; `most` stays 28" in text
