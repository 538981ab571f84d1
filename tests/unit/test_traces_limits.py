"""What lies just outside: sums that overflow a count, years nobody lives in, elements without an end."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from unit.test_traces_formats import SAMPLES

from traces import jsonarray
from traces.job import TIME_MS_MAX
from traces.registry import read_trace
from traces.textfile import text_chunks
from traces.trace import Trace, TraceError
from traces.values import span_ms


def changed(tmp_path, sample: str, old: str, new: str) -> Trace:
    text = (SAMPLES / sample).read_text(encoding="utf-8")
    assert old in text
    path = tmp_path / sample
    path.write_text(text.replace(old, new), encoding="utf-8")
    return read_trace(path)


def test_devices_of_all_nodes_are_counted_before_they_are_believed(tmp_path):
    trace = changed(tmp_path, "slurm_sacct.txt", "gpu:a100:4", "gpu:a100:9999999")
    assert [(r.line, r.problems[0].field) for r in trace.rejections] == [(2, "ReqGRES")]
    assert "9999999 devices on each of 2 nodes are more than" in trace.rejections[0].problems[0].reason


def test_the_longest_slurm_time_is_a_time_of_a_record():
    assert span_ms("999999-999999:999999:59.999") <= TIME_MS_MAX


def test_a_stamp_too_far_off_is_rejected_by_its_own_name_and_moves_no_epoch(tmp_path):
    trace = changed(tmp_path, "philly_pollux.csv", "2017-10-02 07:59:30", "9999-10-02 07:59:30")
    assert [(r.line, r.problems[0].field) for r in trace.rejections] == [(3, "timestamp")]
    assert [job.submit_ms for job in trace.records] == [0, 0]


def test_attempts_of_several_sizes_are_noted(tmp_path):
    trace = changed(tmp_path, "philly_log.json", '{"ip": "m3", "gpus": ["gpu0", "gpu1"]}', '{"ip": "m3", "gpus": []}')
    assert "1 jobs whose attempts differ in size have the size of the largest" in trace.notes
    assert trace.records[0].gpu_count == 4


def test_an_element_without_an_end_is_not_read_for_ever(tmp_path, monkeypatch):
    path = tmp_path / "log.json"
    path.write_text('[{"jobid": "' + "x" * 3_000_000)
    monkeypatch.setattr(jsonarray, "OBJECT_CHARS_MAX", 100_000)
    read = 0

    def counted(path):
        nonlocal read
        for chunk in text_chunks(path):
            read += len(chunk)
            yield chunk

    monkeypatch.setattr(jsonarray, "text_chunks", counted)
    with pytest.raises(TraceError, match="not JSON, or truncated"):
        read_trace(path, "philly-log")
    assert read < 1_000_000


def test_parquet_with_a_column_twice_and_text_as_bytes(tmp_path):
    path = tmp_path / "t.parquet"
    one = pa.array([1])
    names = ["job_id", "submit_ms", "run_ms", "gpus", "gpus"]
    pq.write_table(pa.Table.from_arrays([pa.array(["a"]), one, one, one, one], names=names), path)
    with pytest.raises(TraceError, match="names 'gpus' more than once"):
        read_trace(path)
    pq.write_table(pa.table({"job_id": [b"a", b"\xff"], "submit_ms": [0, 1], "run_ms": [1, 1], "gpus": [1, 1]}), path)
    assert [job.job_id for job in read_trace(path).records] == ["a", "\\xff"]
