"""The figures of a trace, on a handful of jobs whose figures can be added up by eye."""

from __future__ import annotations

import json

import pytest
from runs import trace_of
from unit.test_traces_formats import SAMPLES

from sim.trace_commands import _lines
from traces.describe import describe, quantile
from traces.job import FieldProblem, JobRecord
from traces.registry import read_trace
from traces.trace import Rejection


def test_figures_by_hand():
    jobs = [
        JobRecord(job_id="a", submit_ms=0, run_ms=1000, gpu_count=2, user="u", queue="q", estimate_ms=500),
        JobRecord(job_id="b", submit_ms=0, run_ms=0, gpu_count=1, gpu_milli=500, user="v", estimate_ms=1),
        JobRecord(
            job_id="c", submit_ms=4000, run_ms=3000, gpu_count=0, user="v", outcome="failed", recorded_start_ms=4000
        ),
        JobRecord(
            job_id="d", submit_ms=2000, run_ms=2000, gpu_count=1, accelerators=("A", "B"), family="LM", lifetime_ms=9
        ),
    ]
    rejections = [
        Rejection(
            9, "x", (FieldProblem("run_ms", "must be a number, got 'x'"), FieldProblem("gpus", "must not be empty"))
        ),
        Rejection(10, "y", (FieldProblem("run_ms", "must be a number, got 'y'"),)),
    ]
    found = describe(trace_of(jobs, rejections))
    assert (found.rows, found.accepted, found.rejected) == (6, 4, 2)
    assert found.rejected_by_reason == {"run_ms: must be a number": 2, "gpus: must not be empty": 1}
    assert (found.first_submit_ms, found.last_submit_ms, found.span_ms) == (0, 4000, 4000)
    assert (found.gpu_jobs, found.cpu_jobs, found.shared_jobs) == (3, 1, 1)
    assert found.jobs_by_gpus == {"0": 1, "0.5": 1, "1": 1, "2": 1}
    assert (found.gpus_max, found.gpu_ms, found.offered_devices) == (2.0, 4000.0, 1.0)  # (2 x 1000 + 1 x 2000) / 4000
    assert (found.run_ms_mean, found.zero_run_jobs) == (1500.0, 1)
    assert found.run_ms_quantiles["0.5"] == 1000
    assert found.run_ms_quantiles["1"] == 3000
    assert (found.users, found.queues, found.top_users) == (2, 1, {"v": 2, "u": 1})
    assert found.outcomes == {"unknown": 3, "failed": 1}
    assert (found.families, found.accelerators) == ({"LM": 1}, {"A|B": 1})
    assert (found.tied_jobs, found.submissions_in_order) == (2, False)
    assert (found.with_estimate, found.estimate_below_run, found.with_recorded_start) == (2, 1, 1)
    assert found.with_lifetime == 1
    json.dumps(found.as_dict())


def test_lifetimes_are_told_where_there_are_any():
    jobs = [
        JobRecord(job_id="a", submit_ms=0, run_ms=1, gpu_count=1),
        JobRecord(job_id="b", submit_ms=0, run_ms=1, gpu_count=1, lifetime_ms=7),
    ]
    assert ("lifetimes", "1 jobs") in _lines(describe(trace_of(jobs)))
    assert "lifetimes" not in dict(_lines(describe(trace_of(jobs[:1]))))


def test_an_empty_trace_has_no_figures():
    found = describe(trace_of([]))
    assert (found.first_submit_ms, found.offered_devices, found.run_ms_mean, found.run_ms_quantiles) == (
        None,
        None,
        None,
        {},
    )


def test_broken_rows_of_one_kind_count_together():
    found = describe(read_trace(SAMPLES / "canonical_broken.csv"))
    assert found.rejected_by_reason["run_ms: must be a number"] == 5
    assert found.rejected_by_reason["job_id: must be unique"] == 1


@pytest.mark.parametrize(("q", "value"), [(0.01, 1), (0.25, 1), (0.26, 2), (0.5, 2), (0.75, 3), (0.95, 4), (1.0, 4)])
def test_quantiles_are_values_of_the_trace(q, value):
    assert quantile([1, 2, 3, 4], q) == value
