"""Keys of a scenario about evidence: read, refused at their place all at once, in the schema, and as flags."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from paired_days import days

from sim.cli import main
from sim.experiment.plan import Plan, plan_of
from sim.experiment.prepare import prepare_all
from sim.experiment.scenario import RuleKeys, Scenario, SlowKeys, make_scenario, read_scenario
from sim.experiment.scenario_keys import ShakeKeys
from sim.experiment.schema import gates_schema, scenario_schema
from sim.experiment.shake import Shake
from sim.gates.gate import KEYS
from sim.results import as_json
from sim.run import InputError
from sim.scenario_options import scenario_of
from sim.services.keys import RateKeys, ReplicaKeys, ServiceKeys

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
LEAST = {"trace": "t.csv", "cluster": "1x8"}

WHOLE = """rehearse_scenario: 1
traces: [a.csv, b.csv]
cluster: 1x8
policies: [fifo, easy]
replications: 4
shake: {submit: 2 %, run: 5%}
blocks: week
warm_up: 1d
drain: 12h
resamples: 500
metrics:
  - wait.mean
  - wait.p95{queue=*}: +5 % or +2 min
  - {metric: completion.mean, margin: +1 %}
gates:
  - wait.p95{queue=prod}: no more than +5 % or +2 min
  - file: more/gates.yaml
"""


def test_all_keys(tmp_path):
    file = tmp_path / "s.yaml"
    file.write_text(WHOLE)
    found = read_scenario(file)
    assert found.traces == [str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]
    assert found.trace == found.traces[0]
    assert found.gates[1] == {"file": str(tmp_path / "more" / "gates.yaml")}
    plan = plan_of(found)
    assert (plan.replications, plan.shake, plan.resamples) == (4, Shake(submit=0.02, run=0.05), 500)
    assert (plan.warm_up_ms, plan.drain_ms) == (86_400_000, 43_200_000)
    assert scenario_of(file, {}) == found, "a file without flags is the file"


def test_flags_override_the_file(tmp_path):
    file = tmp_path / "s.yaml"
    file.write_text(WHOLE)
    found = scenario_of(file, {"trace": "c.csv", "shake": "1 %", "blocks": "day", "warm_up": "2h", "gates": "g.yaml"})
    assert (found.trace, found.traces) == ("c.csv", [])
    plan = plan_of(found)
    assert plan.shake == Shake(submit=0.01, run=0.01)
    assert (plan.blocks.amount, plan.warm_up_ms, plan.drain_ms) == (86_400_000, 7_200_000, 43_200_000)
    assert found.gates == [{"file": "g.yaml"}]


def test_what_nobody_says_is_one_replay_of_every_job():
    assert plan_of(make_scenario(LEAST, source="test")) == Plan()


def test_every_problem_at_its_place(tmp_path):
    file = tmp_path / "s.yaml"
    file.write_text(
        "rehearse_scenario: 1\ntrace: t.csv\ncluster: 1x8\nblock: day\nblocks: dya\nshake: {submt: 3 %, run: lots}\n"
        "replications: 0\nwarm_up: 5\nmetrics: [wiat.mean, wait.mean]\ngates: [wait.mean 5 %]\nseed: 1\nseed: 2\n"
    )
    with pytest.raises(InputError) as caught:
        read_scenario(file)
    said = {line.partition(": ")[0].strip(): line for line in str(caught.value).splitlines()[1:]}
    assert set(said) == {
        *("seed", "block", "blocks", "shake.submt", "shake.run", "replications", "warm_up", "metrics[0]", "gates[0]"),
    }  # fmt: skip
    assert "appears twice, in line 11 and in line 12" in said["seed"]
    assert said["block"].endswith("unknown key; did you mean 'blocks'?")
    assert said["shake.submt"].endswith("unknown key; did you mean 'submit'?")
    assert said["blocks"].endswith("did you mean 'day'?")
    assert said["metrics[0]"].endswith("did you mean 'wait.mean'?")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"shake": "60 %"}, "shake.submit: must be from 0 % to 50 %, got '60 %'"),
        ({"shake": "3"}, "must be a percentage such as 3 %, got '3'"),
        ({"shake": 3}, "shake: must be a percentage such as 3 %, or {submit: ..., run: ...}, got 3"),
        ({"shake": {1: "3 %"}}, "shake: must have text as keys, got 1"),
        ({"rules": "random"}, "rules: must be rules by their names, such as {ties: random}, got 'random'"),
        ({"slow": ["1h"]}, "slow[0]: must be a mapping such as {at: 1h, factor: 2}, got '1h'"),
        ({"services": ["chat"]}, "services[0]: must be a mapping such as {name: chat, rate: ..., ...}, got 'chat'"),
        ({"drain": [1]}, "drain: must be a length of time such as 5m, 90s or 1h30m, got [1]"),
        ({"rules": {"cycle": True}}, "rules.cycle: must be a length of time such as 5m, 90s or 1h30m, got True"),
        ({"resamples": 10}, "resamples: must be greater than or equal to 200"),
        ({"gates": [{"metric": "wait.mean"}]}, "gates[0]: must have one of allow"),
        ({"traces": []}, ""),
    ],
)
def test_values_that_cannot_be(keys, said):
    if not said:
        assert make_scenario({**LEAST, **keys}, source="test").traces == []
        return
    with pytest.raises(InputError) as caught:
        make_scenario({**LEAST, **keys}, source="test")
    assert said in str(caught.value)


WRONG = ({"a": 1}, {1: 2}, {}, [], [1], [None], [[]], 7, -1, 1.5, 10**30, float("nan"), "text", "", None, True)


@pytest.mark.parametrize("value", WRONG, ids=repr)
@pytest.mark.parametrize(
    ("outer", "model"),
    [
        ("", Scenario),
        ("rules", RuleKeys),
        ("slow", SlowKeys),
        ("shake", ShakeKeys),
        ("services", ServiceKeys),
        ("rate", RateKeys),
        ("replicas", ReplicaKeys),
    ],
)
def test_whatever_stands_at_a_key_is_told_in_the_words_of_the_scenario(outer, model, value):
    for key in model.model_fields:
        keys = {key: value}
        if outer in {"rate", "replicas"}:
            keys = {"services": [{"name": "chat", outer: keys}]}
        elif outer:
            keys = {outer: [keys] if outer in {"slow", "services"} else keys}
        try:
            make_scenario({**LEAST, **keys}, source="test")
        except InputError as error:
            said = str(error)
        else:
            continue
        assert "must" in said or "is required" in said or "unknown key" in said or "metric" in said or "trace" in said
        foreign = ("instance", "dictionary", "Input", "Unable", "Keys", "parse", "Value error", "validat", "tuple")
        assert not [word for word in foreign if word in said], said


@pytest.mark.parametrize(("name", "schema"), [("scenario", scenario_schema), ("gates", gates_schema)])
def test_the_schema_in_the_reference_is_current(name, schema):
    file = REFERENCE / f"{name}.schema.json"
    command = f"rehearse scenario schema{' --gates' if name == 'gates' else ''} > docs/reference/{file.name}"
    assert file.read_text(encoding="utf-8") == as_json(schema()), f"a key changed: {command}"


def test_the_reference_names_every_key():
    text = (REFERENCE / "scenario.md").read_text(encoding="utf-8")
    missing = [key for key in Scenario.model_fields if f"`{key}`" not in text]
    assert not missing
    assert scenario_schema()["properties"].keys() == Scenario.model_fields.keys()
    text = (REFERENCE / "gates.md").read_text(encoding="utf-8")
    assert not [key for key in KEYS if f"`{key}`" not in text]


def test_the_schema_and_the_check_on_the_command_line(tmp_path, capsys):
    for arguments, schema in ((["schema"], scenario_schema()), (["schema", "--gates"], gates_schema())):
        with pytest.raises(SystemExit) as stopped:
            main(["scenario", *arguments])
        assert not stopped.value.code
        assert json.loads(capsys.readouterr().out) == schema
    (tmp_path / "s.yaml").write_text(WHOLE)
    with pytest.raises(SystemExit) as stopped:
        main(["scenario", "check", str(tmp_path / "s.yaml")])
    assert stopped.value.code == 2
    assert "more/gates.yaml: cannot be read" in capsys.readouterr().err
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "gates.yaml").write_text("rehearse_gates: 1\ngates: [wait.mean <= 3m]\n")
    with pytest.raises(SystemExit) as stopped:
        main(["scenario", "check", str(tmp_path / "s.yaml")])
    assert not stopped.value.code
    assert "2 policies, 2 gates" in capsys.readouterr().out


JOBS = "job_id,submit_ms,run_ms,gpus,user\n" + "".join(
    f"{each.job_id},{each.submit_ms},{each.run_ms},{each.gpu_count},{each.user}\n" for each in days(9)
)


@pytest.mark.parametrize(
    ("gate", "status"),
    [
        ("wait.mean: +1 %", 0),
        ("wait.p95{user=bob}: +1 %", 1),
        ("makespan: +1 %", 3),
        ("wait.mean{user=bbo}: +1 %", 2),
    ],
)
def test_gates_set_the_exit_status(tmp_path, monkeypatch, capsys, gate, status):
    monkeypatch.chdir(tmp_path)
    Path("jobs.csv").write_text(JOBS)
    Path("gates.yaml").write_text(f"rehearse_gates: 1\ngates:\n  - {gate}\n")
    arguments = ["compare", "--trace", "jobs.csv", "--cluster", "1x8", "--policies", "fifo,best-effort-fifo"]
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "--blocks", "6d", "--gates", "gates.yaml", "--out", "out"])
    assert (stopped.value.code or 0) == status
    said = capsys.readouterr()
    if status == 2:
        assert "no job that counts has user 'bbo'; did you mean 'bob'?" in said.err
        assert not Path("out").exists()
    else:
        assert {"pass": 0, "fail": 1, "undecided": 3}[
            json.loads(Path("out/comparison.json").read_text())["gates"]["outcome"]
        ] == status
        assert Path("out/junit.xml").exists()


def test_a_baseline_from_elsewhere_on_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("jobs.csv").write_text(JOBS)
    inputs = ["--trace", "jobs.csv", "--cluster", "1x8"]
    with pytest.raises(SystemExit) as stopped:
        main(["run", *inputs, "--policy", "fifo", "--out", "before"])
    assert not stopped.value.code
    with pytest.raises(SystemExit) as stopped:
        main(
            [
                "compare",
                *inputs,
                "--policies",
                "best-effort-fifo",
                "--baseline-run",
                "before",
                "--blocks",
                "6d",
                "--out",
                "out",
            ]
        )
    assert not stopped.value.code
    assert "best-effort-fifo against fifo (before)" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stopped:
        main(["compare", *inputs, "--policies", "fifo", "--baseline-run", "x", "--baseline-ref", "y", "--out", "o2"])
    assert stopped.value.code == 2
    assert "exclude each other" in capsys.readouterr().err


def test_the_same_trace_twice_is_no_evidence(tmp_path):
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(JOBS)
    data = {"traces": [str(tmp_path / "a.csv"), str(tmp_path / "b.csv"), str(tmp_path / "c.csv")], "cluster": "1x8"}
    with pytest.raises(InputError) as caught:
        prepare_all(make_scenario(data, source="test"), ["fifo"])
    assert "b.csv has the same content as" in str(caught.value)
    assert "c.csv: No such file" in str(caught.value)
