"""Whatever records there are: what is written is read again, and hostile text is a rejection or a `TraceError`."""

from __future__ import annotations

import itertools
import json
import tempfile
from fractions import Fraction
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from traces.job import AMOUNT_MAX, COUNT_MAX, OUTCOMES, TIME_MS_MAX, JobRecord
from traces.profiles import PROFILES
from traces.registry import FORMATS, read_trace
from traces.schema import COLUMNS
from traces.synthetic import Spec, generate, offered_load
from traces.trace import TraceError
from traces.transform import anonymise, cpus_as_devices, scale_load, window
from traces.write import write_trace

# because: CSV refuses line breaks, NUL and surrogates, which have tests of their own
TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r\n\0"), min_size=1, max_size=8)
NAMES = TEXT.filter(lambda text: text.strip())
COLUMN_NAMES = NAMES.map(str.strip).filter(lambda name: name and name not in COLUMNS)
TIMES = st.integers(0, TIME_MS_MAX) | st.integers(0, 10)
MODELS = NAMES.filter(lambda name: "|" not in name)


@st.composite
def jobs(draw) -> JobRecord:
    pods = draw(st.none() | st.integers(1, 8))
    return JobRecord(
        job_id=draw(NAMES),
        submit_ms=draw(TIMES),
        run_ms=draw(TIMES),
        gpu_count=draw(st.integers(0, COUNT_MAX // 8)) * (pods or 1),
        gpu_milli=draw(st.integers(1, 1000)),
        pods=pods,
        gpu_memory_mib=draw(st.none() | st.integers(0, AMOUNT_MAX)),
        cpu_milli=draw(st.integers(0, AMOUNT_MAX)),
        memory_mib=draw(st.integers(0, AMOUNT_MAX)),
        accelerators=tuple(draw(st.lists(MODELS, max_size=3))),
        user=draw(st.none() | TEXT),
        queue=draw(st.none() | TEXT),
        priority=draw(st.integers(-(2**31), 2**31 - 1)),
        estimate_ms=draw(st.none() | TIMES),
        outcome=draw(st.sampled_from(OUTCOMES)),
        recorded_start_ms=draw(st.none() | TIMES),
        family=draw(st.none() | TEXT),
        scheduling=draw(st.none() | st.dictionaries(TEXT, TEXT, max_size=2).map(json.dumps)),
        extra=draw(st.none() | st.dictionaries(COLUMN_NAMES, TEXT, min_size=1, max_size=2)),
    )


TRACES = st.lists(jobs(), max_size=6, unique_by=lambda job: job.job_id)


@settings(deadline=None)
@given(records=TRACES, ending=st.sampled_from([".csv", ".csv.gz", ".parquet"]), version_line=st.booleans())
def test_what_is_written_is_read_again(records, ending, version_line):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"t{ending}")
        write_trace(records, path, version_line=version_line)
        trace = read_trace(path)
    assert trace.rejections == []
    assert trace.records == records


HOSTILE = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["", "nan", "-inf", "1e400", "-1", "1_0", "0x1", "٣", '"', "|", "2020-01-01 00:00:00", "\x00"]),
    st.integers(-(10**30), 10**30).map(str),
    st.floats().map(repr),
)


@settings(deadline=None)
@given(
    name=st.sampled_from(sorted(FORMATS)),
    rows=st.lists(st.lists(HOSTILE, min_size=1, max_size=18), max_size=5),
    encoding=st.sampled_from(["utf-8", "utf-16", "latin-1"]),
)
def test_hostile_rows_are_rejections_or_a_trace_error(name, rows, encoding):
    trace_format = FORMATS[name]
    delimiter = getattr(trace_format, "delimiter", " ")
    mark = getattr(trace_format, "header_mark", "")
    header = mark + delimiter.join(getattr(trace_format, "required", ("[", "]"))) + "\n"
    text = header + "\n".join(delimiter.join(row) for row in rows)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "t")
        path.write_bytes(text.encode(encoding, errors="replace"))
        try:
            trace = read_trace(path, name)
        except TraceError as error:
            assert str(path) in str(error)  # noqa: PT017  # because: either way is right, and only one has an error
            return
    assert len(trace.records) + len(trace.rejections) == trace.rows
    assert all(r.problems and r.line > 0 for r in trace.rejections)


@given(content=st.binary(max_size=200), name=st.sampled_from(sorted(FORMATS)))
@settings(deadline=None)
def test_arbitrary_bytes_are_never_a_traceback(content, name):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "t")
        for head in (b"", b"\x1f\x8b\x08", b"PAR1", b"[{"):
            path.write_bytes(head + content)
            for chosen in (None, name):
                try:
                    read_trace(path, chosen)
                except TraceError:
                    continue


@given(records=TRACES, factor=st.fractions(Fraction(1), Fraction(50)))
def test_a_load_factor_keeps_the_order_and_the_jobs(records, factor):
    scaled = scale_load(records, factor)
    assert [job.job_id for job in scaled] == [job.job_id for job in records]
    assert all((a.submit_ms <= b.submit_ms) for a, b in pairs(scaled) if a.job_id != b.job_id)


def pairs(records):
    ordered = sorted(records, key=lambda job: job.submit_ms)
    return itertools.pairwise(ordered)


@given(records=TRACES, start=st.integers(0, 20), length=st.integers(0, 20))
def test_a_window_and_its_rest_are_the_trace(records, start, length):
    end = start + length
    parts = [window(records, 0, start), window(records, start, end), window(records, end)]
    assert sum(map(len, parts)) == len(records)


@given(records=TRACES)
def test_hashed_names_are_distinct_and_demands_stay(records):
    hidden = anonymise(records, "key")
    assert len({job.job_id for job in hidden}) == len(records)
    assert [job.demand_milli for job in hidden] == [job.demand_milli for job in records]
    assert all(job.cpu_milli == 0 for job in cpus_as_devices(job for job in records if job.cpu_milli < 10**9))


@settings(deadline=None, max_examples=50)
@given(
    profile=st.sampled_from(sorted(PROFILES)),
    seed=st.integers(0, 2**40),
    jobs=st.integers(2, 300),
    capacity=st.integers(16, 5000),
    load=st.floats(0.05, 3),
)
def test_a_synthetic_trace_meets_its_load(profile, seed, jobs, capacity, load):
    spec = Spec(profile=PROFILES[profile], seed=seed, jobs=jobs, capacity=capacity, load=load)
    try:
        records = generate(spec)
    except TraceError as error:
        assert "span would be below 1 s" in str(error)  # noqa: PT017  # because: so little work fits no load
        return
    assert len(records) == jobs
    assert max(job.gpu_count for job in records) <= capacity
    assert abs(offered_load(records, capacity) / load - 1) < 0.01
