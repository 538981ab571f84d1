"""Files that are no text, cut, empty or huge: a `TraceError` with the place, for every format."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from unit.test_traces_formats import BROKEN, GOOD, SAMPLES

from traces.registry import FORMATS, detect, format_named, iter_trace, read_trace
from traces.textfile import LINE_BYTES_MAX
from traces.trace import TraceError

PER_FORMAT = {format_name: sample for sample, format_name in GOOD.items()}


def refused(path: Path, format_name: str | None = None) -> str:
    with pytest.raises(TraceError) as caught:
        read_trace(path, format_name)
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.fixture(params=FORMATS)
def of_format(request):
    return request.param, (SAMPLES / PER_FORMAT[request.param]).read_bytes()


def test_missing_directory_and_empty(tmp_path, of_format):
    name, _ = of_format
    assert "No such file" in refused(tmp_path / "absent.csv", name)
    assert "directory" in refused(tmp_path, name)
    empty = tmp_path / "empty.csv"
    empty.touch()
    assert "the file is empty" in refused(empty, name)
    assert "the file is empty" in refused(empty)
    blank = tmp_path / "blank.csv"
    blank.write_text("\n\n   \n")
    if name != "swf":  # because: a log of comments or nothing has no jobs, but is a log
        refused(blank, name)


def test_truncated_and_corrupt_gzip(tmp_path, of_format):
    name, content = of_format
    # because: a long file, so that the reader is in the middle of it when it ends
    compressed = gzip.compress(content + b" " * 10 + bytes(range(1, 128)) * 4000)
    for cut in (len(compressed) // 2, len(compressed) - 4, 15):
        path = tmp_path / "cut.gz"
        path.write_bytes(compressed[:cut])
        refused(path, name)
    corrupt = tmp_path / "corrupt.gz"
    corrupt.write_bytes(b"\x1f\x8b" + b"\x00" * 40)
    refused(corrupt, name)


def test_wrong_encodings(tmp_path, of_format):
    name, content = of_format
    path = tmp_path / "latin"
    path.write_bytes(content.rstrip() + b"\ncaf\xe9\n")
    line = content.rstrip().count(b"\n") + 2
    assert f"{path}:{line}: not UTF-8" in refused(path, name)
    path.write_bytes(content.decode().encode("utf-16"))
    assert f"{path}:1: the file is UTF-16" in refused(path, name)
    path.write_bytes(content.rstrip() + b"\n\x00\n")
    assert f"{path}:{line}: the line holds a NUL byte" in refused(path, name)


def test_an_over_long_line(tmp_path, of_format):
    name, content = of_format
    path = tmp_path / "long"
    path.write_bytes(content.rstrip() + b"\n" + b"1" * (LINE_BYTES_MAX + 1))
    reason = refused(path, name)
    assert "is longer than" in reason or name in ("philly-log", "k8s-pods")  # because: JSON may well be one line


def test_a_byte_order_mark_carriage_returns_and_a_wrong_name_do_no_harm(tmp_path, of_format):
    name, content = of_format
    path = tmp_path / "trace.gz"
    path.write_bytes(b"\xef\xbb\xbf" + content.replace(b"\n", b"\r\n"))
    plain = read_trace(SAMPLES / PER_FORMAT[name])
    assert read_trace(path).records == plain.records
    zipped = tmp_path / "trace.csv"
    zipped.write_bytes(gzip.compress(content))
    assert read_trace(zipped).records == plain.records
    assert detect(zipped).name == name


@pytest.mark.parametrize("sample", [*GOOD, *BROKEN])
@pytest.mark.parametrize("name", FORMATS)
def test_any_file_as_any_format_is_a_trace_or_a_trace_error(sample, name):
    try:
        trace = read_trace(SAMPLES / sample, name)
    except TraceError:
        return
    assert len(trace.records) + len(trace.rejections) == trace.rows


def test_headers(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("job_id,submit_ms,run_ms\n")
    assert "the header lacks gpus (canonical needs them)" in refused(path, "canonical")
    path.write_text("job_id,submit_ms,run_ms,gpus,gpus\n")
    assert "names 'gpus' more than once" in refused(path, "canonical")
    path.write_text("# only a comment\n")
    assert "there is no header line" in refused(path, "canonical")
    path.write_text("job id,arrival time (sec),size,duration (sec)\n")
    assert "the header must begin with '#'" in refused(path, "rfold")


def test_schema_versions(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("# rehearse-trace 2\njob_id,submit_ms,run_ms,gpus\n")
    assert ":1: unknown schema version '2': this reader knows version 1" in refused(path)
    path.write_text("# rehearse-trace 1\n# of Friday\njob_id,submit_ms,run_ms,gpus\na,0,1,1\n")
    assert read_trace(path).rows == 1
    table = pa.table({"job_id": ["a"], "submit_ms": [0], "run_ms": [1], "gpus": [1]})
    parquet = tmp_path / "t.parquet"
    pq.write_table(table.replace_schema_metadata({"rehearse-trace": "9"}), parquet)
    assert "unknown schema version '9'" in refused(parquet)


def test_a_header_alone_is_a_trace_of_no_jobs(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("job_id,submit_ms,run_ms,gpus\n")
    assert read_trace(path).rows == 0


def test_parquet_of_other_programs(tmp_path):
    path = tmp_path / "t.parquet"
    columns = {
        "job_id": ["a", "b", "c", None, "e", "a"],
        "submit_ms": pa.array([0.0, 1.0, 2.0, 3.0, float("nan"), 5.0]),
        "run_ms": [1, 2, -3, 4, 5, 6],
        "gpus": [0.47, 8.0, 1.0, 1.0, 1.0, 1.0],
        "team": ["x", None, "z", "z", "z", "z"],
    }
    pq.write_table(pa.table(columns), path)
    trace = read_trace(path)
    assert (trace.rows, trace.unknown_columns) == (6, ("team",))
    assert [(job.job_id, job.demand_milli, job.extra) for job in trace.records] == [
        ("a", 470, {"team": "x"}),
        ("b", 8000, None),
    ]
    assert [(r.line, r.problems[0].field) for r in trace.rejections] == [
        (3, "run_ms"),
        (4, "job_id"),
        (5, "submit_ms"),
        (6, "job_id"),
    ]


def test_parquet_that_cannot_be_read(tmp_path):
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"job_id": ["a"], "submit_ms": [0], "run_ms": [1]}), path)
    assert "lacks the columns gpus" in refused(path)
    nested = pa.table({"job_id": ["a"], "submit_ms": [0], "run_ms": [1], "gpus": [[1]]})
    pq.write_table(nested, path)
    assert "must hold numbers or text, not gpus (list<" in refused(path)
    path.write_bytes(path.read_bytes()[:200])
    assert "cannot be read" in refused(path)
    path.write_bytes(b"PAR1" + b"\x07" * 500 + b"PAR1")
    assert "cannot be read" in refused(path)
    pages = tmp_path / "pages.parquet"
    good = pa.table(
        {"job_id": [str(n) for n in range(5000)], "submit_ms": range(5000), "run_ms": [1] * 5000, "gpus": [1] * 5000}
    )
    pq.write_table(good, pages)
    content = bytearray(pages.read_bytes())
    content[40:400] = b"\xff" * 360
    pages.write_bytes(bytes(content))
    assert "corrupt" in refused(pages)
    path.write_bytes(gzip.compress(content))
    refused(path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"jobid": 1}', "must be a JSON array"),
        ("[", "truncated"),
        ('[{"jobid": "a"', "not JSON, or truncated"),
        ('[{"jobid": "a"}', "truncated"),
        ('[{"jobid": "a"} {"jobid": "b"}]', "expected , or ]"),
        ('[{"jobid": "a"}] trailing', "text after the end"),
        ("[" * 100_000, "nested too deeply"),
        ('[\n{"jobid": "a"},\n{"jobid": }\n]', ":3: not JSON"),
        ('[{"jobid": ' + "9" * 5000 + "}]", "not JSON that can be read"),
    ],
)
def test_broken_json(tmp_path, text, reason):
    path = tmp_path / "log.json"
    path.write_text(text)
    assert reason in refused(path, "philly-log")


def test_json_is_read_element_by_element(tmp_path):
    path = tmp_path / "log.json"
    element = json.loads((SAMPLES / "philly_log.json").read_text())[0]
    jobs = [element | {"jobid": f"j{number}"} for number in range(3000)]
    path.write_text(json.dumps(jobs))  # one line of more than a megabyte
    assert path.stat().st_size > LINE_BYTES_MAX
    assert len(read_trace(path).records) == 3000
    path.write_text(json.dumps(jobs, indent=1))
    assert len(read_trace(path).records) == 3000
    path.write_text(json.dumps([*jobs, jobs[0]], indent=1))
    assert [r.line for r in read_trace(path).rejections] == [2 + 3000 * (path.read_text().count("\n") - 1) // 3001]
    path.write_text("[]")
    assert read_trace(path, "philly-log").rows == 0


def test_streaming_holds_no_file_in_memory(tmp_path):
    path = tmp_path / "t.csv"
    with path.open("w") as stream:
        stream.write("job_id,submit_s,gpus,duration,blob\n")
        stream.writelines(f"{number},0,1,bad,{'x' * 2000}\n" for number in range(5000))
    tracemalloc.start()
    try:
        for _ in iter_trace(path):
            pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert path.stat().st_size > 10_000_000
    assert peak < 1_000_000


def test_unknown_formats_and_contents(tmp_path):
    path = tmp_path / "x.csv"
    path.write_text("a,b,c\n1,2,3\n")
    assert "looks like none of the known formats" in refused(path)
    for name in FORMATS:
        assert f"\n  {name}: " in refused(path)
    with pytest.raises(TraceError, match=r"unknown trace format 'cannonical': did you mean 'canonical'\? known are"):
        read_trace(path, "cannonical")
    ambiguous = tmp_path / "both.csv"
    ambiguous.write_text("job_id,submit_ms,run_ms,submit_s,gpus,duration\n")
    assert "looks like several formats: canonical, simple-seconds" in refused(ambiguous)


def test_a_family_name_takes_the_form_that_the_file_has():
    for sample, name in (("philly_joined.csv", "philly-joined"), ("philly_log.json", "philly-log")):
        assert read_trace(SAMPLES / sample, "philly").format == name
    assert format_named("lingjun", SAMPLES / "rfold.csv").name == "rfold"
    assert "looks like none of the known formats" in refused(SAMPLES / "swf.swf", "philly")
