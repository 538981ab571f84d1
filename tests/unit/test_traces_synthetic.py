"""The generator: the load is met, the published figures come back, and streams do not disturb each other."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from traces.job import JobRecord
from traces.profiles import PROFILES, Curve, Exponential
from traces.synthetic import Spec, generate, generate_columns, offered_load, profile_named, stream
from traces.trace import TraceError

CAPACITY = 2048


def spec(profile: str = "philly", **fields) -> Spec:
    return Spec(**({"profile": PROFILES[profile], "capacity": CAPACITY, "jobs": 20_000, "load": 0.8} | fields))


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("load", [0.3, 0.9, 1.3])
def test_the_load_is_met(profile, load):
    records = generate(spec(profile, load=load, jobs=5000, seed=7))
    assert len(records) == 5000
    assert offered_load(records, CAPACITY) == pytest.approx(load, rel=1e-4)
    assert all(a.submit_ms <= b.submit_ms for a, b in itertools.pairwise(records))
    assert len({job.job_id for job in records}) == 5000
    assert records == sorted(records, key=lambda job: (job.submit_ms, job.job_id))


def test_a_few_jobs_meet_the_load_too():
    for jobs in (2, 3, 10, 100):
        assert offered_load(generate(spec("uniform-load", jobs=jobs)), CAPACITY) == pytest.approx(0.8, rel=0.01)


def test_days_are_met_about_and_the_load_exactly():
    records = generate(spec("venus", jobs=None, days=20.0))
    assert records[-1].submit_ms / 86_400_000 == pytest.approx(20, rel=0.15)
    assert offered_load(records, CAPACITY) == pytest.approx(0.8, rel=0.01)


@pytest.mark.parametrize(
    ("profile", "mean_s", "median_s", "gpus", "off"),
    [  # the summary table of Acme NSDI 2024; Venus: Helios SC 2021. Means follow from curves read out of figures
        ("philly", 18_006, 874, 1.928, 0.15),
        ("helios", 6652, 206, 3.716, 0.25),
        ("venus", 13_041, 204, 6.736, 0.25),
        ("pai", 4787, 480.7, 0.683, 0.25),
    ],
)
def test_the_published_figures_come_back(profile, mean_s, median_s, gpus, off):
    columns = generate_columns(spec(profile, jobs=100_000))
    assert columns.run_ms.mean() / 1000 == pytest.approx(mean_s, rel=off)
    assert np.median(columns.run_ms) / 1000 == pytest.approx(median_s, rel=0.05)
    assert columns.demand_milli.mean() / 1000 == pytest.approx(gpus, rel=off)


def test_large_gangs_run_longer_where_they_do():
    columns = generate_columns(spec("philly", jobs=50_000))
    one, eight = (columns.run_ms[columns.demand_milli == gpus * 1000].mean() for gpus in (1, 8))
    assert eight > 2 * one  # in Philly 8-device jobs are 7 % of the jobs and half of the device time
    plain = generate_columns(spec("uniform-load", jobs=50_000))
    one, eight = (plain.run_ms[plain.demand_milli == gpus * 1000].mean() for gpus in (1, 8))
    assert eight == pytest.approx(one, rel=0.1)


def test_pretraining_takes_nearly_all_the_time_of_kalos():
    columns = generate_columns(spec("kalos", jobs=50_000))
    work = columns.run_ms * columns.demand_milli
    assert work[columns.family == 0].sum() / work.sum() > 0.9


def test_arrivals_are_bursty_and_follow_the_day():
    submit = generate_columns(spec("philly", jobs=100_000)).submit_ms
    by_hour = np.bincount(submit // 3_600_000)
    assert by_hour.var() / by_hour.mean() > 20  # Poisson is 1, Gavel's subset of Philly 72
    steady = np.bincount(generate_columns(spec("uniform-load", jobs=100_000)).submit_ms // 3_600_000)[:-1]
    assert steady.var() / steady.mean() == pytest.approx(1, abs=0.3)
    bank = np.bincount(generate_columns(spec("bank", jobs=100_000)).submit_ms // 3_600_000 % 24, minlength=24)
    assert bank[9:18].sum() > 4 * bank[:8].sum()


def test_users_outcomes_queues_and_estimates():
    records = generate(spec("bank", jobs=50_000))
    users = Counter(job.user for job in records)
    assert users.most_common(1)[0][1] > 5 * len(records) / len(users)
    homes = {(job.user, job.queue) for job in records}
    assert len(homes) == len(users), "each user has one queue"
    assert {job.queue for job in records} == {f"queue-{n:02d}" for n in range(6)}
    assert sum(job.outcome == "completed" for job in records) / 50_000 == pytest.approx(0.66, abs=0.02)
    limits = [job for job in records if job.estimate_ms is not None]
    assert len(limits) / 50_000 == pytest.approx(0.7, abs=0.02)
    assert all(job.estimate_ms >= job.run_ms for job in limits)
    assert {job.estimate_ms for job in limits if job.run_ms < 600_000} <= {
        s * 1000 for s in (900, 1800, 3600, 7200, 14_400)
    }
    assert any(job.gpu_milli == 250 for job in records)


def test_uniform_load_is_plain():
    records = generate(spec("uniform-load", jobs=70_000))
    sizes = Counter(job.gpu_count for job in records)
    assert sorted(sizes) == [1, 2, 4, 8, 16, 32, 64]
    assert max(sizes.values()) - min(sizes.values()) < 700
    assert np.mean([job.run_ms for job in records]) == pytest.approx(3_600_000, rel=0.01)


def test_the_largest_gang_is_respected():
    kalos = generate(spec("kalos", gpus_max=64))
    assert max(job.gpu_count for job in kalos) == 64
    assert {job.family for job in kalos} == {"evaluation", "debug", "other"}  # pretraining starts at 128
    assert max(job.gpu_count for job in generate(spec("uniform-load", capacity=10))) == 8


def test_same_seed_same_records_and_another_seed_others():
    assert generate(spec(jobs=1000, seed=3)) == generate(spec(jobs=1000, seed=3))
    assert generate(spec(jobs=1000, seed=3)) != generate(spec(jobs=1000, seed=4))


def test_one_purpose_does_not_shift_another():
    base = spec("bank", jobs=3000)
    without_limits = replace(base, profile=replace(base.profile, estimate_share=0.0))
    assert [replace(job, estimate_ms=None) for job in generate(base)] == generate(without_limits)
    fewer_users = replace(base, profile=replace(base.profile, users=5))
    changed = [replace(job, user=None, queue=None) for job in generate(fewer_users)]
    assert changed == [replace(job, user=None, queue=None) for job in generate(base)]
    assert stream(1, "a").random() != stream(1, "b").random()


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"days": 3.0}, "either jobs or days"),
        ({"jobs": None}, "either jobs or days"),
        ({"jobs": 1}, "jobs must be from 2"),
        ({"jobs": None, "days": 0.0}, "days must be above 0"),
        ({"jobs": None, "days": float("nan")}, "days must be above 0"),
        ({"capacity": 0}, "capacity must be from 1"),
        ({"load": 0.0}, "load must be above 0"),
        ({"load": float("nan")}, "load must be above 0"),
        ({"seed": -1}, "seed must not be negative"),
        ({"gpus_max": 4096}, "gpus_max must be from 1 to the capacity"),
        ({"load": 1e-9}, "its span would be too long"),
        ({"load": 100.0, "capacity": 10**7, "jobs": 2, "profile": "pai"}, "its span would be below 1 s"),
        ({"jobs": None, "days": 1e-9}, "are about 0 jobs"),
    ],
)
def test_what_cannot_be_generated(fields, reason):
    with pytest.raises(TraceError, match="cannot generate a trace: ") as caught:
        generate(spec(**fields))
    assert reason in str(caught.value)


def test_every_problem_of_a_spec_is_said_at_once():
    with pytest.raises(TraceError) as caught:
        spec(jobs=1, load=0, seed=-1)
    assert str(caught.value).count(";") == 2


def test_unknown_profiles():
    assert profile_named("bank").name == "bank"
    with pytest.raises(TraceError, match="did you mean 'philly'"):
        profile_named("phily")


def test_a_load_needs_a_span():
    with pytest.raises(ValueError, match="one instant"):
        offered_load([JobRecord(job_id="a", submit_ms=0, run_ms=1, gpu_count=1)], 1)


def test_curves_are_inverted():
    curve = Curve(10.0, 10.0, 50.0, 90.0, longest_s=64)  # 1 s: 10 %, 4 s: 50 %, 8 s: 90 %
    at = curve.quantile(np.array([0.0, 0.1, 0.5, 0.9, 1.0]))
    assert at == pytest.approx([0.5, 1, 4, 8, 64])
    assert Exponential(10).quantile(np.array([0.0, 1 - np.exp(-1)])) == pytest.approx([0, 10])
