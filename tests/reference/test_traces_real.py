"""The public traces, whole: how many rows each has, what is noted about it, and figures that are known of it."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from shared import needs

from traces.conformance import check_trace_format
from traces.describe import describe
from traces.profiles import PROFILES
from traces.registry import FORMATS, read_trace
from traces.transform import cpus_as_devices

pytestmark = pytest.mark.reference

FILES = {
    "traces/philly/philly_gpu_jobs_joined.csv.gz": ("philly-joined", 111_549, 0),
    "traces/philly/rfold_philly_trace.csv.gz": ("rfold", 111_549, 0),
    "traces/philly/pollux_philly.csv.gz": ("philly-pollux", 82_247, 0),
    "traces/lingjun/rfold_crux.csv.gz": ("rfold", 2498, 0),
    "traces/helios_venus/helios_venus_2vc_sept.csv.gz": ("helios-slice", 1867, 0),
    "traces/swf/KTH-SP2.swf.gz": ("swf", 28_481, 0),
    "traces/slurm_sacct/slurm_acct.out.gz": ("slurm-sacct", 500, 0),
    "traces/openb/openb_pod_list_default.csv.gz": ("openb", 8152, 0),
    "traces/openb/openb_pod_list_cpu050.csv.gz": ("openb", 7439, 0),
    "traces/openb/openb_pod_list_gpushare40.csv.gz": ("openb", 8152, 0),
    "traces/openb/openb_pod_list_gpuspec33.csv.gz": ("openb", 8152, 0),
    "traces/openb/openb_pod_list_multigpu50.csv.gz": ("openb", 9061, 0),
    "reference/swf_flat/kth_sp2.swf.gz": ("swf", 28_481, 0),
    "reference/venus96/trace.csv.gz": ("simple-seconds", 23_859, 0),
    "reference/fgd_fill/default-42/pods.csv.gz": ("openb", 10_866, 0),
}


@pytest.mark.parametrize("name", FILES)
def test_every_row_is_accepted(name):
    trace = read_trace(needs(name))
    assert (trace.format, trace.rows, len(trace.rejections)) == FILES[name]
    # the file's own lines: what is neither a header, a comment nor blank is a row
    with gzip.open(needs(name), "rt") as stream:
        lines = [line for line in stream if line.strip() and not line.startswith((";", "#"))]
    header = trace.format not in ("swf", "rfold")
    assert len(lines) - header == trace.rows
    assert trace.records[0].job_id.isascii()


SMALL = [name for name, (_, rows, _) in FILES.items() if rows < 9000]


@pytest.mark.parametrize("name", SMALL)
def test_formats_keep_their_promises_on_real_files(name):
    assert check_trace_format(FORMATS[FILES[name][0]], needs(name)) == []


def test_philly():
    trace = read_trace(needs("traces/philly/philly_gpu_jobs_joined.csv.gz"))
    found = describe(trace)
    assert (found.zero_run_jobs, found.gpu_jobs, found.users, found.with_estimate) == (10, 111_549, 0, 0)
    assert sum(job.queue is None for job in trace.records) == 29_302
    assert found.run_ms_mean == pytest.approx(35_595_000, rel=1e-3)
    assert any("3918 times in seconds were rounded" in note for note in trace.notes)
    rfold = read_trace(needs("traces/philly/rfold_philly_trace.csv.gz"))
    keys = [(job.job_id, job.submit_ms, job.run_ms, job.gpu_count) for job in trace.records]
    assert keys == [(job.job_id, job.submit_ms, job.run_ms, job.gpu_count) for job in rfold.records]


def test_pollux_says_how_it_takes_equal_rows():
    trace = read_trace(needs("traces/philly/pollux_philly.csv.gz"))
    assert "65 rows repeat an earlier row exactly and are kept, as there are no ids" in trace.notes
    assert min(job.submit_ms for job in trace.records) == 0
    assert not describe(trace).submissions_in_order


def test_venus_slice():
    trace = read_trace(needs("traces/helios_venus/helios_venus_2vc_sept.csv.gz"))
    found = describe(trace)
    assert (found.queues, found.with_estimate, found.outcomes.get("unknown")) == (2, 0, None)
    assert any("an oracle" in note for note in trace.notes)
    assert all(job.pods for job in trace.records if job.gpu_count % 8 == 0)


def test_kth():
    trace = read_trace(needs("traces/swf/KTH-SP2.swf.gz"))
    first = trace.records[0]
    assert (first.submit_ms, first.run_ms, first.gpu_count) == (0, 97_225_000, 56)
    assert (first.estimate_ms, first.recorded_start_ms) == (210_000_000, 964_980_000)
    assert describe(trace).with_estimate == 28_481


def test_openb():
    trace = read_trace(needs("traces/openb/openb_pod_list_default.csv.gz"))
    found = describe(trace)
    assert (found.cpu_jobs, found.shared_jobs, found.jobs_by_gpus["1"], found.jobs_by_gpus["8"]) == (
        1088,
        3078,
        3911,
        44,
    )
    assert "897 pods without a scheduled_time run from their creation to their deletion" in trace.notes
    assert sum(job.gpu_milli == 810 for job in trace.records) == 1078


def test_lingjun_and_sacct():
    lingjun = describe(read_trace(needs("traces/lingjun/rfold_crux.csv.gz")))
    assert (lingjun.zero_run_jobs, lingjun.gpus_max) == (241, 744)
    sacct = read_trace(needs("traces/slurm_sacct/slurm_acct.out.gz"))
    found = describe(sacct)
    assert (found.outcomes, found.gpu_jobs) == ({"completed": 488, "timeout": 12}, 53)
    assert all(job.gpu_count >= 1 for job in cpus_as_devices(sacct.records))


@pytest.mark.parametrize(
    ("profile", "figure", "series"),
    [
        ("philly", "acme/cdf_job_jobtime,gpu_job_duration_s", "Philly"),
        ("helios", "acme/cdf_job_jobtime,gpu_job_duration_s", "Helios"),
        ("pai", "acme/cdf_job_jobtime,gpu_job_duration_s", "PAI"),
        ("venus", "helios/job_cdf_jobtime,gpu_job_duration_s", "Venus"),
        ("seren", "acme/cdf_job_jobtime,gpu_job_duration_s", "Seren"),
        ("kalos", "acme/cdf_job_duration_queue,Kalos_duration_s_by_type", "Evaluation"),
    ],
)
def test_the_profiles_hold_the_published_curves(profile, figure, series):
    name = {"seren": "other", "kalos": "evaluation"}.get(profile)
    families = PROFILES[profile].families
    curve = next(family.run_s for family in families if name in (None, family.name))
    with gzip.open(needs("traces/published_curves/digitised_curves.csv.gz"), "rt") as stream:
        lines = [line.rsplit(",", maxsplit=2) for line in stream if line.startswith(f"{figure},{series},")]
    points = [(float(x), float(y)) for _, x, y in lines if 0.1 < float(y) < 99.9]
    assert len(points) > 10
    for seconds, percent in points:
        assert curve.quantile(np.array([percent / 100]))[0] == pytest.approx(seconds, rel=0.01)
