"""`rehearse trace ...`: results and problems each on their stream, status 2 for bad input, never a traceback."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner, Result
from unit.test_traces_formats import BROKEN, GOOD, SAMPLES

from sim.trace_commands import PROBLEMS_SHOWN, trace
from traces.registry import read_trace


def run(*args: object) -> Result:
    result = CliRunner().invoke(trace, [str(arg) for arg in args])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.mark.parametrize("sample", GOOD)
def test_check_of_a_good_file(sample):
    result = run("check", SAMPLES / sample)
    assert (result.exit_code, result.stderr) == (0, "")
    assert f"{GOOD[sample]}: " in result.stdout
    assert "+ 0 rejected" in result.stdout


@pytest.mark.parametrize("sample", BROKEN)
def test_check_lists_every_problem_with_its_place(sample):
    result = run("check", SAMPLES / sample, "--all")
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert len(lines) == len(BROKEN[sample])
    for line, (number, field, reason) in zip(lines, BROKEN[sample], strict=True):
        assert line.startswith(f"{SAMPLES / sample}:{number}: ")
        assert f"{field}: {reason}" in line


def test_check_shows_the_first_problems_and_counts_the_rest():
    result = run("check", SAMPLES / "canonical_broken.csv")
    assert len(result.stderr.splitlines()) == PROBLEMS_SHOWN + 1
    assert result.stderr.splitlines()[-1] == "... and 4 more rejected rows (--all lists them)"


def test_check_says_that_there_is_nothing(tmp_path):
    file = tmp_path / "header.csv"
    file.write_text("job_id,submit_ms,run_ms,gpus\n")
    assert "note: the file has no rows, and so no job to replay" in run("check", file).stdout
    assert json.loads(run("check", file, "--json").stdout)["notes"] == [
        "the file has no rows, and so no job to replay"
    ]
    assert "no rows" not in run("check", SAMPLES / "canonical.csv").stdout


@pytest.mark.parametrize("args", [("convert", "--queue", "none", "--to"), ("anonymise", "--key", "k", "--out")])
@pytest.mark.parametrize("other", ["in.csv", "folder/../in.csv", "symbolic.csv", "hard.csv"])
def test_a_file_is_not_written_onto_itself(args, other, tmp_path):
    file = tmp_path / "in.csv"
    file.write_bytes((SAMPLES / "canonical.csv").read_bytes())
    (tmp_path / "folder").mkdir()
    (tmp_path / "symbolic.csv").symlink_to(file)
    (tmp_path / "hard.csv").hardlink_to(file)
    command, *options = args
    done = run(command, file, *options, tmp_path / other)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == f"error: {options[-1]} {tmp_path / other}: is the file that is read; give another name\n"
    assert file.read_bytes() == (SAMPLES / "canonical.csv").read_bytes()
    assert (tmp_path / "symbolic.csv").is_symlink()


def test_check_says_what_it_assumed_and_kept():
    assert "note: time 0 is the list's own" in run("check", SAMPLES / "openb.csv").stdout
    assert "unknown columns, kept as extra: ticket" in run("check", SAMPLES / "canonical.csv").stdout


def test_check_as_json():
    result = run("check", SAMPLES / "swf_broken.swf", "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 2
    assert (found["rows"], found["accepted"], found["rejected"], found["format"]) == (13, 1, 12, "swf")
    assert found["rejections"][0] == {
        "line": 3,
        "job_id": "2",
        "problems": [{"field": "run_time", "reason": "the run time is unknown (-1)"}],
    }


@pytest.mark.parametrize("sample", [*GOOD, *BROKEN])
def test_describe_any_file(sample):
    result = run("describe", SAMPLES / sample)
    assert result.exit_code == 0
    assert "offered load" in result.stdout
    found = json.loads(run("describe", SAMPLES / sample, "--json").stdout)
    assert found["accepted"] + found["rejected"] == found["rows"]


def test_describe_counts_the_rare_together(tmp_path):
    rows = "".join(f"j{size},0,1,{size}\n" for size in range(1, 20))
    path = tmp_path / "t.csv"
    path.write_text("job_id,submit_ms,run_ms,gpus\n" + rows)
    assert "others: 7" in run("describe", path).stdout
    path.write_text("job_id,submit_ms,run_ms,gpus\n")
    assert "rows                0 = 0 accepted + 0 rejected" in run("describe", path).stdout


def test_convert(tmp_path):
    out = tmp_path / "t.parquet"
    result = run("convert", SAMPLES / "helios.csv", "--to", out)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "4 jobs written" in result.stdout
    assert read_trace(out).records == read_trace(SAMPLES / "helios.csv").records


def test_convert_with_transforms(tmp_path):
    out = tmp_path / "t.csv"
    options = ("--from-ms", 300_000, "--to-ms", 1_000_000, "--queue", "vcX", "--queue", "vcY", "--cpus-as-devices")
    found = json.loads(
        run("convert", SAMPLES / "helios.csv", "--to", out, *options, "--scale-load", "2", "--json").stdout
    )
    assert found["jobs"] == 2
    assert [(job.job_id, job.submit_ms, job.gpu_count) for job in read_trace(out).records] == [
        ("101", 0, 48),
        ("103", 300_000, 4),
    ]


def test_convert_by_drawn_days(tmp_path):
    out, again = tmp_path / "t.csv", tmp_path / "again.csv"
    for path in (out, again):
        assert run("convert", SAMPLES / "swf.swf", "--to", path, "--resample-days", 3, "--seed", 5).exit_code == 0
    assert [job.job_id for job in read_trace(out).records] == [f"{n}@{day}" for day in range(3) for n in (1, 2, 3)]
    assert out.read_bytes() == again.read_bytes()


def test_convert_of_a_broken_file_lists_what_it_leaves_out(tmp_path):
    out = tmp_path / "t.csv"
    result = run("convert", SAMPLES / "rfold_broken.csv", "--to", out)
    assert (result.exit_code, len(result.stderr.splitlines())) == (0, 7)
    assert read_trace(out).rows == 1
    out.unlink()
    result = run("convert", SAMPLES / "rfold_broken.csv", "--to", out, "--strict")
    assert result.exit_code == 2
    assert "nothing written, as 7 rows are rejected" in result.stderr
    assert not out.exists()


def test_generate(tmp_path):
    out = tmp_path / "t.csv.gz"
    args = ("generate", "--profile", "bank", "--capacity", 256, "--jobs", 500, "--load", 0.8)
    result = run(*args, "--out", out, "--seed", 3)
    assert result.exit_code == 0
    assert "500 jobs written (profile bank, load 0.8000 of 256 devices)" in result.stdout
    again = tmp_path / "again.csv.gz"
    run(*args, "--out", again, "--seed", 3)
    assert again.read_bytes() == out.read_bytes()
    assert run("check", out).exit_code == 0
    by_days = json.loads(
        run("generate", "--profile", "bank", "--capacity", 64, "--days", 2, "--out", again, "--json").stdout
    )
    assert by_days["jobs"] > 100


def test_anonymise(tmp_path):
    out = tmp_path / "t.csv"
    assert run("anonymise", SAMPLES / "canonical.csv", "--out", out, "--key", "k").exit_code == 0
    text = out.read_text()
    assert not any(word in text for word in ("ana", "research", "train-a", "T-1"))
    assert read_trace(out).rows == 4


def test_lists():
    assert "slurm-sacct" in run("formats").stdout
    assert "philly-joined, philly-log" in run("formats").stdout
    assert "source: Acme NSDI 2024" in run("profiles").stdout


@pytest.mark.parametrize(
    ("args", "reason"),
    [
        (("check", "absent.csv"), "absent.csv: No such file or directory"),
        (("check", "."), "directory"),
        (("describe", SAMPLES / "__init__.py"), "looks like none of the known formats"),
        (("check", SAMPLES / "swf.swf", "--format", "swff"), "did you mean 'swf'?"),
        (("convert", SAMPLES / "swf.swf", "--to", "x.txt"), "must end in .csv"),
        (("convert", SAMPLES / "swf.swf", "--to", "absent/x.csv"), "cannot be written"),
        (("convert", SAMPLES / "swf.swf", "--to", "x.csv", "--scale-load", "0"), "must be positive"),
        (("convert", SAMPLES / "swf.swf", "--to", "x.csv", "--scale-load", "1/0"), "--scale-load must be a number"),
        (("convert", SAMPLES / "swf.swf", "--to", "x.csv", "--scale-load", "1e-999999999"), "must be a number like"),
        (("convert", SAMPLES / "swf.swf", "--to", "x.csv", "--scale-load", "9" * 50), "at most 40 characters"),
        (("convert", SAMPLES / "swf.swf", "--to", "x.csv", "--scale-load", "1e-30"), "submit_ms: must be from 0"),
        (("convert", SAMPLES / "swf.swf", "--to", "x.csv", "--from-ms", "9", "--to-ms", "1"), "before it starts"),
        (("anonymise", SAMPLES / "swf.swf", "--out", "x.csv", "--key", ""), "key must not be empty"),
        (
            ("generate", "--profile", "bnk", "--capacity", "8", "--jobs", "9", "--out", "x.csv"),
            "did you mean 'bank'?",
        ),
        (("generate", "--profile", "bank", "--capacity", "8", "--out", "x.csv"), "either jobs or days"),
        (("check", SAMPLES / "swf.swf", "--nope"), "No such option"),
    ],
)
def test_bad_input_is_status_2_and_one_clear_message(args, reason, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*args)
    assert result.exit_code == 2
    assert reason in result.stderr
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []
