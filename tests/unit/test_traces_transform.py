"""Records to records: each transform by hand on three jobs."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from traces.job import JobRecord
from traces.transform import DAY_MS, anonymise, cpus_as_devices, resample_days, scale_load, select_queues, window


def job(job_id: str, submit_ms: int, **fields) -> JobRecord:
    return JobRecord(**({"job_id": job_id, "submit_ms": submit_ms, "run_ms": 10, "gpu_count": 1} | fields))


JOBS = [
    job("a", 100, queue="q", recorded_start_ms=150),
    job("b", 200, queue="r"),
    job("c", 400, recorded_start_ms=390),
]


def submits(jobs) -> list[tuple[str, int, int | None]]:
    return [(j.job_id, j.submit_ms, j.recorded_start_ms) for j in jobs]


def test_window():
    assert submits(window(JOBS, 200, 400)) == [("b", 0, None)]
    assert submits(window(JOBS, 100)) == [("a", 0, 50), ("b", 100, None), ("c", 300, 290)]
    assert submits(window(JOBS, 200, rebase=False)) == [("b", 200, None), ("c", 400, 390)]
    assert submits(window(JOBS, 395)) == [("c", 5, None)]  # its recorded start is before the window
    assert window(JOBS) == JOBS
    with pytest.raises(ValueError, match="ends at 1 ms, before it starts at 2 ms"):
        window(JOBS, 2, 1)


def test_scale_load_divides_the_intervals_and_forgets_recorded_starts():
    assert submits(scale_load(JOBS, 2)) == [("a", 100, None), ("b", 150, None), ("c", 250, None)]
    assert submits(scale_load(JOBS, "3/2"))[1:] == [("b", 166, None), ("c", 300, None)]  # 100 + 100 x 2/3
    assert submits(scale_load(JOBS, Fraction(1, 2)))[2] == ("c", 700, None)
    assert scale_load([], 2) == []
    for factor in (0, -1):
        with pytest.raises(ValueError, match="must be positive"):
            scale_load(JOBS, factor)


def test_resample_days_draws_whole_days():
    jobs = [job("a", 5), job("b", DAY_MS + 7), job("c", DAY_MS + 8)]
    drawn = resample_days(jobs, 50, np.random.default_rng(1))
    assert len({j.job_id for j in drawn}) == len(drawn)
    by_day: dict[int, list[JobRecord]] = {}
    for j in drawn:
        by_day.setdefault(j.submit_ms // DAY_MS, []).append(j)
    kinds = {tuple((j.job_id.split("@")[0], j.submit_ms % DAY_MS) for j in day) for day in by_day.values()}
    assert kinds == {(("a", 5),), (("b", 7), ("c", 8))}
    assert sorted(by_day) == list(range(50))
    assert drawn == resample_days(jobs, 50, np.random.default_rng(1))
    assert drawn != resample_days(jobs, 50, np.random.default_rng(2))


def test_resample_days_keeps_days_without_jobs():
    drawn = resample_days([job("a", 0), job("b", 2 * DAY_MS)], 30, np.random.default_rng(0))
    assert 0 < len(drawn) < 30


def test_resample_days_refuses():
    with pytest.raises(ValueError, match="at least 1"):
        resample_days(JOBS, 0, np.random.default_rng(0))
    with pytest.raises(ValueError, match="the trace is empty"):
        resample_days([], 1, np.random.default_rng(0))


def test_anonymise_is_a_keyed_hash():
    jobs = [job("a", 0, user="u", queue="u"), job("u", 1, user="u", extra={"mail": "u@x"}, family="LM")]
    one, two = anonymise(jobs, "key")
    assert one.user == two.user
    assert len({one.user, one.queue, two.job_id, one.job_id}) == 4  # equal words of different kinds differ
    assert (two.extra, two.family, two.queue, two.submit_ms) == (None, "LM", None, 1)
    assert one.job_id == "j" + one.job_id[1:].lower()
    assert len(one.job_id) == 21
    assert anonymise(jobs, "key") == [one, two]
    assert anonymise(jobs, "another")[0].user != one.user
    with pytest.raises(ValueError, match="must not be empty"):
        anonymise(jobs, "")


def test_cpus_as_devices():
    whole, part, uneven, none = cpus_as_devices(
        [
            job("a", 0, gpu_count=0, cpu_milli=8000, pods=2),
            job("b", 0, gpu_milli=500, cpu_milli=1500, accelerators=("A",), gpu_memory_mib=5),
            job("c", 0, gpu_count=0, cpu_milli=3000, pods=2),
            job("d", 0),
        ]
    )
    assert (whole.gpu_count, whole.gpu_milli, whole.pods, whole.cpu_milli) == (8, 1000, 2, 0)
    assert (part.gpu_count, part.gpu_milli, part.accelerators, part.gpu_memory_mib) == (2, 1000, (), None)
    assert (uneven.gpu_count, uneven.pods) == (3, None)
    assert none.gpu_count == 0


def test_select_queues():
    assert [j.job_id for j in select_queues(JOBS, ["q", "absent"])] == ["a"]
