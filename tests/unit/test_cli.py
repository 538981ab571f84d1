"""The command as others call it: a process, its two streams and its status. A traceback is a defect."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pyarrow.parquet as pq
import pytest
from commands import Commands

TRACE = """job_id,submit_ms,run_ms,gpus,user,queue
a,0,10000,6,ann,q
b,1000,10000,8,bob,q
c,2000,20000,2,cid,q
"""

STUBS = """
from policies.api import Policy, Preempt, Semantics, Share, Start


class Never(Policy):
    name = "never"
    def decide(self, view):
        return ()
    def semantics(self):
        return Semantics(order="-", blocking="-", placement="-")


class Twice(Never):
    name = "twice"
    def decide(self, view):
        yield Start("a", (Share(0, 0x3F),))
        yield Start("a", (Share(0, 0x3F),))


class Full(Never):
    name = "full"
    def decide(self, view):
        yield Start("a", (Share(0, 0x3F),))
        if "b" in view.pending:
            yield Start("b", (Share(0, 0xFF),))


class Two(Never):
    name = "two-places"
    def decide(self, view):
        yield Start("a", (Share(0, 0x3F), Share(0, 0x3F)))


class Fails(Never):
    name = "fails"
    def decide(self, view):
        raise KeyError("oops")


class Peeks(Never):
    def decide(self, view):
        for job in list(view.pending.newer_than(-1)):
            assert job.oracle_run_ms is not None
        return ()
    def semantics(self):
        return Semantics(order="-", blocking="-", placement="-", peeks=True)


def endless():
    return endless()


instance = Never()
not_a_policy = 3
"""


@pytest.fixture
def here(tmp_path):
    (tmp_path / "t.csv").write_text(TRACE)
    (tmp_path / "stubs.py").write_text(STUBS)
    return tmp_path


@pytest.fixture(scope="module", autouse=True)
def commands(tmp_path_factory):
    with Commands(tmp_path_factory.mktemp("streams")) as found:
        LOADED.append(found)
        yield
        LOADED.pop()


LOADED: list[Commands] = []


def rehearse(*args, cwd, status=0, fresh=False, **env):
    """A command that ends with this status and without a traceback; `fresh`, or with an environment, in a new Python."""
    if not fresh and not env:
        done = LOADED[0].run(args, cwd)
    else:
        done = subprocess.run(
            [sys.executable, "-m", "sim.cli", *map(str, args)],
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, **env},
        )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == status, (done.stdout, done.stderr)
    return done


def run(here, *args, out="out", policy="fifo", trace="t.csv", cluster="1x8", **more):
    given = ("--trace", trace, "--cluster", cluster, "--policy", policy, "--out", out)
    return rehearse("run", *given, *args, cwd=here, **more)


def test_run_writes_a_directory_and_says_where(here):
    done = run(here, fresh=True)
    assert done.stderr == ""
    assert done.stdout.rstrip().endswith("run directory: out")
    assert "the first job that does not fit blocks all behind it" in done.stdout
    assert {path.name for path in (here / "out").iterdir()} >= {
        "jobs.parquet",
        "timeline.parquet",
        "summary.json",
        "manifest.json",
    }
    starts = pq.read_table(here / "out" / "jobs.parquet")["first_start_ms"].to_pylist()
    assert starts == [0, 10_000, 20_000]


def test_run_as_json_prints_nothing_else(here):
    found = json.loads(run(here, "--json").stdout)
    assert found["metrics"]["wait_mean_ms"] == 9000.0
    assert found["out"] == "out"


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("stubs:Never", "3 jobs wait, nothing runs"),
        ("stubs:instance", "3 jobs wait, nothing runs"),
        ("stubs:Twice", "twice at 0 ms: cannot start a: it already runs on n0[0-5]"),
        ("stubs:Full", "full at 1000 ms: cannot start"),
        ("stubs:Two", "two-places at 0 ms: cannot start a"),
        ("stubs:Fails", "fails at 0 ms: the policy failed: KeyError: 'oops' (stubs.py, line"),
    ],
)
def test_a_policy_that_breaks_its_contract_leaves_what_happened(here, policy, said):
    done = run(here, policy=policy, status=2)
    assert said in done.stderr
    manifest = json.loads((here / "out" / "manifest.json").read_text())
    assert manifest["complete"] is False
    assert said in manifest["message"]
    assert sum(manifest["jobs"]["by_state"].values()) == 3


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        ("stubs:Peeks", "--oracle grants them"),
        ("stubs:Nevr", "did you mean 'Never'?"),
        ("stubs:not_a_policy", "is not callable"),
        ("stubz:Never", "cannot import 'stubz'"),
        ("sim.cli:main", "is not a policy: it is a command"),
        ("sim.scenario_commands:scenario", "is not a policy: it is a command"),
        ("sys:exit", "exit() failed: SystemExit"),
        ("stubs:endless", "endless() failed: RecursionError"),
        ("fifoo", "did you mean 'fifo'?"),
        ("fifo:plaice=spread", "did you mean 'place'?"),
        ("fifo:place=spred", "did you mean 'spread'?"),
        ("fifo:place", "cannot import 'fifo'|is not key=value"),
    ],
)
def test_a_policy_that_cannot_be_run_is_refused_before_anything_is_written(here, policy, said):
    done = run(here, policy=policy, status=2)
    assert any(part in done.stderr for part in said.split("|")), done.stderr
    assert not (here / "out").exists()


def test_the_oracle_is_granted_and_named(here):
    done = run(here, "--oracle", policy="stubs:Peeks", status=2)  # it starts nothing, but it may look
    assert "jobs wait, nothing runs" in done.stderr
    run(here, policy="sjf-oracle", out="o2")
    said = json.loads((here / "o2" / "manifest.json").read_text())["semantics"]["true run times"]
    assert said.startswith("PEEKED AT")


def test_missing_estimates_are_said_loudly(here):
    done = run(here, policy="sjf")
    assert "3 of 3 jobs have none" in done.stderr
    assert "3 of 3 jobs have none" in json.loads((here / "out" / "manifest.json").read_text())["warnings"][0]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"trace": "nope.csv"}, "nope.csv: No such file"),
        ({"cluster": "1x"}, "1x: there is no such file"),
        ({"trace": "empty.csv"}, "empty.csv: "),
        ({"trace": "bad.csv"}, "none of its 1 rows is a job"),
        ({"trace": "header.csv"}, "header.csv: has no rows, and so no job to replay"),
        ({"out": "stubs.py"}, "exists and is not a directory"),
        ({"out": "."}, "holds something else"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(here, given, said):
    (here / "empty.csv").write_text("")
    (here / "header.csv").write_text(TRACE.splitlines()[0] + "\n")
    (here / "bad.csv").write_text(TRACE.splitlines()[0] + "\na,x,1,1,,\n")
    assert said in run(here, status=2, **given).stderr


def test_all_that_is_wrong_is_said_at_once(here):
    said = run(here, status=2, trace="nope.csv", cluster="1x", policy="fifoo").stderr
    assert all(part in said for part in ("nope.csv", "1x", "fifoo"))


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--restart", "5"), "rules.restart: must be a length of time"),
        (("--cycle", "0"), "cycle_ms: must be >= 1"),
        (("--ties", "up"), "rules.ties: must be one of job_id, file, random"),
        (("--seed", "-1"), "seed: must be greater than or equal to 0"),
        (("--bogus",), "No such option"),
        (("--split", "half"), "'half' is not one of"),
    ],
)
def test_wrong_flags(here, args, said):
    assert said in run(here, *args, status=2).stderr


def test_a_job_larger_than_the_fleet(here):
    (here / "t.csv").write_text(TRACE + "d,3000,1,9,,\n")
    done = run(here)
    assert "1 of them fit nowhere even on the empty fleet, such as d" in done.stderr
    assert "1 rejected" in done.stdout
    assert "such as d" in run(here, "--strict", out="o2", status=2).stderr
    assert "such as d" in run(here, "--impossible", "refuse", out="o2", status=2).stderr
    assert not (here / "o2").exists()


def test_compare_writes_runs_and_a_page(here):
    done = rehearse(
        *("compare", "--trace", "t.csv", "--cluster", "1x8", "--policies", "fifo,best-effort-fifo:place=first-fit"),
        *("--out", "cmp"),
        cwd=here,
    )
    assert "-2 s (-22 %)" in done.stdout
    assert done.stdout.rstrip().endswith("report: cmp/report.html")
    assert (here / "cmp" / "best-effort-fifo_place=first-fit" / "jobs.parquet").exists()
    before = (here / "cmp" / "report.html").read_text()
    assert rehearse("report", "cmp", cwd=here).stdout == "report: cmp/report.html\n"
    assert (here / "cmp" / "report.html").read_text() == before
    rehearse("report", "cmp/fifo", "--out", "one.html", cwd=here)
    assert "One run: fifo." in (here / "one.html").read_text()
    assert "neither a comparison nor a run" in rehearse("report", ".", cwd=here, status=2).stderr


def test_compare_with_a_broken_policy_still_writes_its_page(here):
    args = ("compare", "--trace", "t.csv", "--cluster", "1x8", "--policies", "fifo,stubs:Twice", "--out", "cmp")
    done = rehearse(*args, cwd=here, status=2)
    assert "it already runs on" in done.stderr
    assert "stubs:Twice did not come to its end" in (here / "cmp" / "report.html").read_text()


def test_a_scenario_file_and_a_flag_that_overrides_it(here):
    (here / "s.yaml").write_text(
        "rehearse_scenario: 1\ntrace: t.csv\ncluster: 1x8\npolicies: [fifo, best-effort-fifo]\n"
        "baseline: best-effort-fifo\nseed: 3\nrules: {restart: 5m}\n"
    )
    found = json.loads(rehearse("compare", "s.yaml", "--out", "cmp", "--ties", "0", "--json", cwd=here).stdout)
    assert found["baseline"] == "best-effort-fifo"
    rehearse("run", "s.yaml", "--policy", "fifo", "--seed", "4", "--out", "out", cwd=here)
    manifest = json.loads((here / "out" / "manifest.json").read_text())
    assert (manifest["seed"], manifest["rules"]["restart_ms"]) == (4, 300_000)


def test_help_version_and_unknown_commands(here):
    assert "compare" in rehearse("--help", cwd=here, fresh=True).stdout
    assert rehearse("version", cwd=here).stdout.startswith("python ")
    assert "did you mean 'compare'?" in rehearse("compar", cwd=here, status=2).stderr
    assert "fifo " in rehearse("policies", "list", cwd=here).stdout
    assert "place" in json.loads(rehearse("policies", "list", "--json", cwd=here).stdout)["fifo"]["parameters"]
    assert (
        "--policy missing"
        in rehearse("run", "--trace", "t.csv", "--cluster", "1x8", "--out", "o", cwd=here, status=2).stderr
    )


def test_a_defect_of_the_program_is_one_line_with_its_place(here):
    (here / "sitecustomize.py").write_text(
        "import sim.run_commands as c\ndef broken(*a, **k):\n    raise RuntimeError('odd')\nc.versions = broken\n"
    )
    done = rehearse("version", cwd=here, status=2, PYTHONPATH=str(here))
    assert done.stderr == (
        "internal error, please report it: RuntimeError: odd (sitecustomize.py, line 3; REHEARSE_DEBUG=1 shows more)\n"
    )


def test_a_closed_pipe_is_no_error(here):
    done = subprocess.run(
        f"{sys.executable} -m sim.cli policies list --json | head -1",
        shell=True,
        cwd=here,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""


SLOW = """
import time
from pathlib import Path

from stubs import Never


class Slow(Never):
    def decide(self, view):
        Path("begun").touch()
        time.sleep(0.001)
        return ()
"""


@pytest.mark.skipif(os.name != "posix", reason="signals as here are those of POSIX")
def test_an_interrupt_leaves_nothing_behind(here):
    rows = "".join(f"j{i},{i * 10},{10_000 + i % 977},{1 + i % 8},u,q\n" for i in range(60_000))
    (here / "t.csv").write_text(TRACE.splitlines()[0] + "\n" + rows)
    (here / "slow.py").write_text(SLOW)
    # because: a test run in the background ignores interrupts, and so would the program that it starts
    listens = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from sim.cli import main; main()"
    )
    words = ["run", "--trace", "t.csv", "--cluster", "4x8", "--policy", "slow:Slow", "--out", "out"]
    with subprocess.Popen(
        [sys.executable, "-c", listens, *words], cwd=here, stderr=subprocess.PIPE, text=True
    ) as process:
        deadline = time.monotonic() + 60
        while not (here / "begun").exists():
            assert time.monotonic() < deadline, "the replay does not begin"
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert "Traceback" not in said
    assert process.returncode == 130
    assert not (here / "out").exists()


REFERENCE = """job_id,submit_s,gpus,duration
1,0,6,10
2,1,8,10
3,2,2,20
"""


def test_check_against_a_table_of_starts(here):
    folder = here / "ref"
    folder.mkdir()
    (folder / "trace.csv").write_text(REFERENCE)
    (folder / "starts.csv").write_text("job_id,fcfs,first-fit\n1,0,0\n2,10,22\n3,20,2\n")
    same = rehearse("policies", "check", "fifo", "--reference", "ref", "--cluster", "1x8", cwd=here)
    assert "3 of 3 starts agree" in same.stdout
    other = ("policies", "check", "fifo", "--reference", "ref", "--cluster", "1x8", "--column", "first-fit")
    said = rehearse(*other, cwd=here, status=1).stdout
    assert "1 of 3 starts agree" in said
    assert said.splitlines()[1:] == [
        "job  start here, s  start there, s",
        "3               20               2",
        "2               10              22",
    ]


@pytest.mark.parametrize(
    ("table", "args", "said"),
    [
        ("job_id,fcfs\n1,0\n2,1\n", (), "1 jobs of the trace are not in it"),
        ("job_id,fcfs\n1,0\n2,1\n3,x\n", (), "starts.csv:4: fcfs: must be a number of seconds, got 'x'"),
        ("id,fcfs\n1,0\n", (), "must have a column job_id"),
        ("job_id,easy\n1,0\n", (), "no column for fifo"),
        ("job_id,fcfs\n1,0\n2,1\n3,2\n", ("--column", "fcf"), "did you mean 'fcfs'?"),
    ],
)
def test_a_table_that_is_no_reference(here, table, args, said):
    folder = here / "ref"
    folder.mkdir()
    (folder / "trace.csv").write_text(REFERENCE)
    (folder / "starts.csv").write_text(table)
    done = rehearse("policies", "check", "fifo", "--reference", "ref", "--cluster", "1x8", *args, cwd=here, status=2)
    assert said in done.stderr


def test_a_folder_without_a_reference(here):
    assert (
        "there is no such folder"
        in rehearse("policies", "check", "fifo", "--reference", "x", cwd=here, status=2).stderr
    )
    assert (
        "must hold one trace" in rehearse("policies", "check", "fifo", "--reference", ".", cwd=here, status=2).stderr
    )


def test_check_of_what_every_policy_must_keep(here):
    pytest.importorskip("policies.conformance", reason="the kit is a module of its own")
    assert "keeps what every policy must keep" in rehearse("policies", "check", "fifo", cwd=here).stderr
    said = rehearse("policies", "check", "stubs:Never", cwd=here, status=1).stdout
    assert said.strip()
