"""A policy that is a program, as scenario files and the command line write it, through whole runs."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest
from process_stub import PROCESSES, nothing_is_left_behind, program

from sim.cli import main
from sim.experiment.compare import folder_names, split_policies
from sim.experiment.policy_spec import TIMEOUT_MS, ProcessSpec, parse_process, spec_of
from sim.experiment.scenario import make_scenario, read_scenario
from sim.run import InputError

__all__ = ["nothing_is_left_behind"]

pytestmark = PROCESSES

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "best_fit.py"
MINE = f"process:{shlex.join([sys.executable, '-S', '-E', str(EXAMPLE)])}"
TRACE = "job_id,submit_ms,run_ms,gpus\na,0,10000,6\nb,1000,10000,8\nc,2000,20000,2\n"


@pytest.mark.parametrize(
    ("spec", "found"),
    [
        ("process:./s --flag", ProcessSpec(("./s", "--flag"))),
        ("process: ./s 'two words' \"x'y\"", ProcessSpec(("./s", "two words", "x'y"))),
        ("process:timeout=5s ./s", ProcessSpec(("./s",), 5000)),
        (
            "process:timeout=1m name='my own' cwd=a/b ./s timeout=1s",
            ProcessSpec(("./s", "timeout=1s"), 60_000, "my own", "a/b"),
        ),
        ("process:OTHER=1 ./s", ProcessSpec(("OTHER=1", "./s"), TIMEOUT_MS)),
    ],
)
def test_the_text(spec, found):
    assert parse_process(spec) == found


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("process:", "names no command"),
        ("process:timeout=5s", "names no command"),
        ("process:''", "names no command"),
        ("process:./s 'open", "is not words as a shell reads them: no closing quotation"),
        ("process:timeout=5 ./s", "must be a length of time"),
        ("process:timeout=0 ./s", "timeout must be at least 1ms"),
    ],
)
def test_what_is_no_text(spec, why):
    with pytest.raises(ValueError, match=why):
        parse_process(spec)


def test_a_mapping_is_the_same_text():
    assert spec_of("fifo") == "fifo"
    assert spec_of({"process": ["./s", "two words"]}) == "process:./s 'two words'"
    full = {"process": ["./s", "timeout=1s"], "name": "mine", "timeout": "5s", "cwd": "a b"}
    assert spec_of(full) == "process:timeout=5s name=mine 'cwd=a b' ./s timeout=1s"
    assert parse_process(str(spec_of(full))) == ProcessSpec(("./s", "timeout=1s"), 5000, "mine", "a b")


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        ({}, "policy: must have one of the keys process, extender, got none"),
        (
            {"proces": ["x"]},
            "policy: must have one of the keys process, extender, got proces; did you mean 'process'?",
        ),
        ({"process": "./s"}, "policy: must have process as a list of words, the command first, got './s'"),
        ({"process": []}, "policy: must have process as a list of words"),
        ({"process": ["x", 5]}, "policy: must have process as a list of words"),
        ({"process": ["x"], "timout": "5s"}, "got 'timout'; did you mean 'timeout'?"),
        ({"process": ["x"], "timeout": 5}, "policy: must have timeout as text, got 5"),
        ({"process": ["x"], "timeout": "5"}, "must be a length of time such as 5m, 90s or 1h30m, got '5'"),
        ({"process": ["name=x", "y"]}, "policy: must have a command that does not begin with a setting"),
        (["./s"], "policy: must be a valid string"),
    ],
)
def test_what_is_no_mapping(policy, why):
    with pytest.raises(InputError) as caught:
        make_scenario({"trace": "t", "cluster": "c", "policy": policy}, source="s.yaml")
    assert why in str(caught.value)


def test_a_scenario_file_names_it_and_it_works_in_the_folder_of_the_file(tmp_path, monkeypatch):
    text = (
        "rehearse_scenario: 1\ntrace: t.csv\ncluster: 1x8\npolicies:\n  - fifo\n  - {process: [./s, -v], name: mine}\n"
        "  - {process: [./s], cwd: sub}\nbaseline: {process: [./s, -v], name: mine}\nrules: {thinking: 50ms}\n"
    )
    (tmp_path / "s.yaml").write_text(text)
    found = read_scenario(tmp_path / "s.yaml")
    assert found.policies == [
        "fifo",
        f"process:name=mine cwd={tmp_path} ./s -v",
        f"process:cwd={tmp_path / 'sub'} ./s",
    ]
    assert found.baseline == found.policies[1]
    monkeypatch.chdir(tmp_path)
    assert read_scenario(Path("s.yaml")).policies == ["fifo", "process:name=mine ./s -v", "process:cwd=sub ./s"]


def test_lists_and_folders_of_commands():
    assert split_policies("fifo, process:./s --weights '1,2' \"a,b\",easy:place=spread,per=queue") == [
        "fifo",
        "process:./s --weights '1,2' \"a,b\"",
        "easy:place=spread,per=queue",
    ]
    assert split_policies("process:timeout=5s ./s it's,fifo") == ["process:timeout=5s ./s it's", "fifo"]
    specs = [f"process:./{'long-' * 100} {number}" for number in range(2)]
    assert [len(name) for name in folder_names(specs).values()] == [100, 102]


# -- whole runs --------------------------------------------------------------------------------------------------------


@pytest.fixture
def desk(tmp_path, monkeypatch):
    (tmp_path / "t.csv").write_text(TRACE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rehearse(*words: str, status: int = 0) -> None:
    with pytest.raises(SystemExit) as exited:
        main(list(words))
    assert (exited.value.code or 0) == status


def manifest(folder: Path) -> dict:
    return json.loads((folder / "manifest.json").read_text())


RUN = ("run", "--trace", "t.csv", "--cluster", "1x8")


def test_a_run(desk, capsys):
    rehearse(*RUN, "--policy", MINE, "--out", "mine")
    rehearse(*RUN, "--policy", "best-effort-fifo", "--out", "ours")
    mine, ours = manifest(desk / "mine"), manifest(desk / "ours")
    assert mine["fingerprint"] == ours["fingerprint"]
    assert mine["policy"]["spec"] == MINE
    assert mine["policy"]["origin"] == "process"
    assert mine["policy"]["parameters"] == {"command": MINE.removeprefix("process:"), "timeout": "30000ms"}
    assert mine["semantics"]["option program"] == "best_fit.py 1"
    assert mine["semantics"]["thinking"] == "a pass takes no simulated time"
    assert capsys.readouterr().err == ""


def test_a_comparison_makes_a_process_for_each_replay(desk):
    both = ("--policies", f"fifo,{MINE}", "--ties", "2")
    (desk / "t.csv").write_text(TRACE + "d,2000,500,1\n")
    rehearse("compare", "--trace", "t.csv", "--cluster", "1x8", *both, "--out", "cmp")
    found = json.loads((desk / "cmp" / "comparison.json").read_text())
    assert [each["complete"] for each in found["policies"]] == [True, True]
    assert found["ties"]["orders"] == 2


def test_a_scenario_run(desk, capsys):
    words = ", ".join(json.dumps(word) for word in [sys.executable, "-S", "-E", str(EXAMPLE)])
    (desk / "s.yaml").write_text(
        f"rehearse_scenario: 1\ntrace: t.csv\ncluster: 1x8\npolicy: {{process: [{words}], timeout: 9s, name: mine}}\n"
        "rules: {thinking: 50ms}\n"
    )
    rehearse("run", "s.yaml", "--out", "out")
    found = manifest(desk / "out")
    assert found["policy"]["parameters"]["timeout"] == "9000ms"
    assert (found["rules"]["thinking"], found["rules"]["thinking_ms"]) == ("fixed", 50)
    assert found["semantics"]["thinking"].startswith("each pass takes 50 ms")
    assert found["end_ms"] == 32_100, "c is decided at 2,000 and works from 2,050 to 22,050, b then from 22,100"
    rehearse("run", "s.yaml", "--thinking", "0", "--out", "free")
    assert manifest(desk / "free")["rules"]["thinking"] == "free"


def test_measured_thinking_is_said_wherever_one_looks(desk, capsys):
    rehearse(*RUN, "--policy", MINE, "--thinking", "measured", "--out", "out")
    said = capsys.readouterr()
    assert "warning: rules.thinking: passes are charged the wall time that they take on this machine" in said.err
    assert "MEASURED" in said.out
    found = manifest(desk / "out")
    assert found["semantics"]["thinking"].startswith("MEASURED")
    assert any("cannot be reproduced" in warning for warning in found["warnings"])
    rehearse("report", "out")
    assert "MEASURED" in (desk / "out" / "report.html").read_text()


@pytest.mark.parametrize("thinking", ["5", "slow", "-5ms"])
def test_what_is_no_thinking(desk, capsys, thinking):
    rehearse(*RUN, "--policy", "fifo", "--thinking", thinking, "--out", "out", status=2)
    assert "rules.thinking: must be free, measured or a length of time" in capsys.readouterr().err


def test_a_program_that_cannot_be_started_is_wrong_input(desk, capsys):
    rehearse(*RUN, "--policy", "process:./nothing", "--out", "out", status=2)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "--policy process:./nothing: ./nothing cannot be started: No such file or directory" in said
    assert not (desk / "out").exists()
    rehearse(*RUN, "--policy", "process:'", "--out", "out", status=2)
    assert "is not words as a shell reads them" in capsys.readouterr().err


def test_a_program_that_breaks_its_contract_leaves_its_run(desk, capsys):
    command = shlex.join(program(desk, "read(); say(HELLO)\nfor m in passes(): answer(m, start('z'))\n"))
    rehearse(*RUN, "--policy", f"process:name=bad {command}", "--out", "out", status=2)
    assert "bad at 0 ms: cannot start 'z': no such job" in capsys.readouterr().err
    assert manifest(desk / "out")["complete"] is False


def test_a_program_that_peeks_needs_the_oracle(desk, capsys):
    peeks = (
        "hello = read(); say({**HELLO, 'semantics': {**HELLO['semantics'], 'peeks': True}})\n"
        "for m in passes():\n    assert all(c['job']['oracle_run_ms'] for c in m['changes'] if 'job' in c)\n"
        "    assert hello['oracle']\n    sys.exit(7)\n"
    )
    spec = f"process:{shlex.join(program(desk, peeks))}"
    rehearse(*RUN, "--policy", spec, "--out", "out", status=2)
    assert "it reads true run times, which no scheduler has" in capsys.readouterr().err
    rehearse(*RUN, "--policy", spec, "--oracle", "--out", "out", status=2)
    assert "ended with status 7" in capsys.readouterr().err


def test_policies_check(desk, capsys):
    idle = f"process:{shlex.join(program(desk, 'read(); say(HELLO)' + chr(10) + 'for m in passes(): answer(m)'))}"
    rehearse("policies", "check", idle, status=1)
    assert "stalls: where nothing runs and a job waits that fits, it starts one" in capsys.readouterr().out
