"""Writing: what comes back, what is refused, and that a file is there whole or not at all."""

from __future__ import annotations

import gzip

import pyarrow.parquet as pq
import pytest

from traces.job import JobRecord
from traces.registry import read_trace
from traces.schema import COLUMNS
from traces.trace import TraceError
from traces.write import write_trace

JOBS = [
    JobRecord(job_id="a", submit_ms=0, run_ms=1, gpu_count=1),
    JobRecord(
        job_id='b, "c" é',
        submit_ms=5,
        run_ms=0,
        gpu_count=8,
        pods=4,
        accelerators=("A", "B"),
        user=" u ",
        priority=-1,
        outcome="failed",
        extra={"zone": "z,1", "a b": "x"},
    ),
]


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.parquet"])
def test_what_is_written_is_read_again(tmp_path, name):
    path = tmp_path / name
    write_trace(JOBS, path)
    trace = read_trace(path)
    assert (trace.format, trace.records, trace.rejections) == ("canonical", JOBS, [])
    assert trace.unknown_columns == ("a b", "zone")
    again = tmp_path / f"again-{name}"
    write_trace(JOBS, again)
    assert again.read_bytes() == path.read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([name, f"again-{name}"])


def test_the_csv_as_text(tmp_path):
    path = tmp_path / "t.csv"
    write_trace(JOBS[:1], path, version_line=True)
    assert path.read_text() == (
        "# rehearse-trace 1\n"
        "job_id,submit_ms,run_ms,gpus,pods,gpu_milli,gpu_memory_mib,cpu_milli,memory_mib,accelerators,user,queue,"
        "priority,estimate_ms,deadline_ms,lifetime_ms,outcome,recorded_start_ms,family,service,scheduling\n"
        "a,0,1,1,,1000,,0,0,,,,0,,,,unknown,,,,\n"
    )
    assert read_trace(path).records == JOBS[:1]


def test_parquet_says_its_version_and_has_one_type_a_column(tmp_path):
    path = tmp_path / "t.parquet"
    write_trace([], path)
    schema = pq.read_schema(path)
    assert schema.metadata[b"rehearse-trace"] == b"1"
    assert tuple(schema.names) == COLUMNS
    assert str(schema.field("submit_ms").type) == "int64"
    assert read_trace(path).rows == 0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"job_id": "a\nb"}, "job_id: a line break or NUL"),
        ({"user": ""}, "user: empty text would be read as absent"),
        ({"queue": "a\0"}, "queue: a line break or NUL"),
        ({"accelerators": ("A|B",)}, "'A|B' cannot be joined"),
        ({"accelerators": ("",)}, "'' cannot be joined"),
        ({"extra": {"gpus": "1"}}, "'gpus' has the name of a column"),
        ({"extra": {"": "1"}}, "'' cannot be the name"),
        ({"extra": {" x": "1"}}, "' x' cannot be the name"),
        ({"extra": {"x": ""}}, "x: empty text"),
        ({"family": "\ud800"}, "cannot be written"),
    ],
)
def test_what_a_csv_cannot_hold_is_refused_and_nothing_is_left(tmp_path, changes, reason):
    path = tmp_path / "t.csv"
    path.write_text("as it was")
    job = JobRecord(**({"job_id": "x", "submit_ms": 0, "run_ms": 1, "gpu_count": 1} | changes))
    with pytest.raises(TraceError, match=r"t\.csv") as caught:
        write_trace([job], path)
    assert reason in str(caught.value)
    assert path.read_text() == "as it was"
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]


def test_parquet_holds_line_breaks(tmp_path):
    jobs = [JobRecord(job_id="a\nb", submit_ms=0, run_ms=1, gpu_count=1, user="x\r\n")]
    write_trace(jobs, tmp_path / "t.parquet")
    assert read_trace(tmp_path / "t.parquet").records == jobs


def test_bad_places(tmp_path):
    with pytest.raises(TraceError, match=r"must end in \.csv, \.csv\.gz or \.parquet"):
        write_trace(JOBS, tmp_path / "t.json")
    with pytest.raises(TraceError, match="cannot be written: No such file"):
        write_trace(JOBS, tmp_path / "absent" / "t.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(TraceError, match="cannot be written"):
        write_trace(JOBS, tmp_path / "folder.csv")
    assert [p.name for p in tmp_path.iterdir()] == ["folder.csv"]


def test_the_gzip_is_one(tmp_path):
    write_trace(JOBS, tmp_path / "t.csv.gz")
    assert gzip.decompress((tmp_path / "t.csv.gz").read_bytes()).startswith(b"job_id,")
