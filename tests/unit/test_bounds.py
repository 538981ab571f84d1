"""Lower bounds: against exhaustive search on tiny instances, against every policy, and by hand."""

from __future__ import annotations

from bisect import insort
from functools import cache
from itertools import combinations
from math import ceil

import numpy as np
import pytest
from builders import job, policy, servers
from runs import run_of

from policies.api import PodGroup, QueueView
from policies.catalogue import POLICIES
from policies.topology import Node, Topology
from sim.bounds.bounds import bounds_of
from sim.bounds.devices import devices_needed, exempt_jobs
from sim.bounds.distance import distance_lines, how_far
from sim.bounds.flow import flow_bound
from sim.bounds.parts import least_run_ms
from sim.bounds.weights import weights_of
from sim.engine import Engine
from sim.jobs_table import JobsTable, jobs_table
from sim.rules import Rules
from sim.world.speed import SpeedChange, SpeedModel
from traces.job import JobRecord


def played(jobs, topology, spec, *, speed=None, queues=None, **rules) -> JobsTable:
    live = {name: queue._replace(held_milli={}) for name, queue in (queues or {}).items()}
    built = Rules(oracle=True, **rules)
    return jobs_table(Engine(jobs, topology, policy(spec), rules=built, queues=live, speed=speed).run(), topology)


# -- against the best of all schedules -----------------------------------------------------------------------------


NAMES = sorted(POLICIES)


class Exhaustive:
    """The best of all schedules that change at whole milliseconds: any set of jobs that fits may run in each."""

    def __init__(self, jobs: list[JobRecord], sizes: list[int], pods_of) -> None:
        self.jobs = jobs
        self.sets = [
            chosen
            for count in range(len(jobs) + 1)
            for chosen in combinations(range(len(jobs)), count)
            if _fit(sorted((pod for row in chosen for pod in pods_of(jobs[row])), reverse=True), tuple(sizes))
        ]
        self.flow = cache(self._flow)
        self.end = cache(self._end)

    def _next(self, at_ms, left):
        there = {row for row, record in enumerate(self.jobs) if record.submit_ms <= at_ms and left[row]}
        for chosen in self.sets:
            if there.issuperset(chosen):
                yield len(there), tuple(n - (row in chosen) for row, n in enumerate(left))

    def _flow(self, at_ms, left):
        """The least sum of milliseconds that jobs will still be in the system."""
        if not any(left):
            return 0
        if all(record.submit_ms > at_ms for row, record in enumerate(self.jobs) if left[row]):
            return self.flow(at_ms + 1, left)
        return min(count + self.flow(at_ms + 1, after) for count, after in self._next(at_ms, left) if after != left)

    def _end(self, at_ms, left):
        """The least end."""
        if not any(left):
            return at_ms
        if all(record.submit_ms > at_ms for row, record in enumerate(self.jobs) if left[row]):
            return self.end(at_ms + 1, left)
        return min(self.end(at_ms + 1, after) for _, after in self._next(at_ms, left) if after != left)


def _fit(pods, sizes) -> bool:
    if not pods:
        return True
    return any(
        _fit(pods[1:], (*sizes[:i], size - pods[0], *sizes[i + 1 :]))
        for i, size in enumerate(sizes)
        if size >= pods[0]
    )


def tiny(rng, most_devices) -> list[JobRecord]:
    return [
        job(f"j{i}", int(rng.integers(0, 4)), int(rng.integers(0, 5)), int(rng.integers(1, most_devices + 1)))
        for i in range(int(rng.integers(2, 6)))
    ]


@pytest.mark.parametrize("sizes", [[1, 1, 1], [4], [3, 3], [2, 4]])
def test_never_above_the_best_of_all_schedules(sizes):
    rng = np.random.default_rng(sum(sizes))
    flat = max(sizes) == 1
    topology = Topology([Node(name=f"n{i}", devices=size) for i, size in enumerate(sizes)])
    reached = {"flow": 0, "makespan": 0}
    for _ in range(40):
        jobs = tiny(rng, sum(sizes) if flat else max(sizes))
        best = Exhaustive(jobs, sizes, lambda record: [1] * record.gpu_count if flat else [record.gpu_count])
        left = tuple(record.run_ms for record in jobs)
        found = bounds_of(jobs, topology)
        flow = best.flow(0, left)
        makespan = best.end(0, left) - min(record.submit_ms for record in jobs)
        assert found.sum_completion_ms <= flow
        assert found.mean_completion.value_ms == found.sum_completion_ms // len(jobs)
        # because: a job that runs for no time may come after the last end that the search sees
        makespan = max(makespan, max(r.submit_ms for r in jobs) - min(r.submit_ms for r in jobs))
        assert found.makespan.value_ms <= makespan
        reached["flow"] += found.sum_completion_ms == flow
        reached["makespan"] += found.makespan.value_ms == makespan
    assert min(reached.values()) >= 10, f"{reached} of 40: a bound that is never reached says little"


def random_case(rng) -> tuple[Topology, list[JobRecord], dict[str, QueueView], dict]:
    """Servers of two kinds, jobs of all kinds, pools, ties, and load enough for queues."""
    nodes = [
        Node(
            name=f"n{i}",
            pool=str(rng.choice(["p", "q"])),
            accelerator=str(rng.choice(["a", "b"])),
            devices=int(rng.choice([1, 2, 4, 8])),
            cpu_milli=None if rng.random() < 0.7 else 8000,
        )
        for i in range(int(rng.integers(1, 5)))
    ]
    jobs = []
    at_ms = 0
    lifetimes = [int(ms) or None for ms in rng.choice([0, 0, 0, 7, 90], 12)]
    for i in range(int(rng.integers(4, 12))):
        at_ms += int(rng.choice([0, 1, 10, 40]))
        gpus = int(rng.choice([0, 1, 1, 2, 3, 5, 8, 9]))
        run_ms = int(rng.choice([0, 1, 30, 200]))
        jobs.append(
            job(
                f"j{i}",
                at_ms,
                run_ms,
                gpus,
                gpu_milli=int(rng.choice([1000, 300])) if gpus == 1 else 1000,
                cpu_milli=int(rng.choice([0, 0, 1000])),
                accelerators=(str(rng.choice(["a", "b"])),) if rng.random() < 0.3 else (),
                queue=str(rng.choice(["red", "blue"])),
                priority=int(rng.integers(0, 3)),
                estimate_ms=int(rng.choice([run_ms, 2 * run_ms + 1, run_ms // 2])),
                lifetime_ms=lifetimes[i],
            )
        )
    pools = None if rng.random() < 0.5 else ("p",)
    queues = {
        "red": QueueView("red", {}, None, None, 1, pools, {}),
        "blue": QueueView("blue", {}, None, None, 1, None, {}),
    }
    rules = {
        "split": str(rng.choice(["whole", "free"])),
        "overrun": str(rng.choice(["extend", "kill", "requeue"])),
        "progress": str(rng.choice(["keep", "lose"])),
        "restart_ms": int(rng.choice([0, 5])),
        "cycle_ms": None if rng.random() < 0.8 else 20,
    }
    return Topology(nodes), jobs, queues, rules


def test_no_policy_of_the_catalogue_is_below_them():
    rng = np.random.default_rng(7)
    reached = 0
    for _ in range(200):
        topology, jobs, queues, rules = random_case(rng)
        speed = SpeedModel(
            topology,
            card_ppm=lambda _, card: {"a": 1_000_000, "b": 1_700_000}[card],
            changes=[SpeedChange(30, 1, int(rng.choice([500_000, 2_000_000])))] if rng.random() < 0.5 else [],
        )
        model = speed if rng.random() < 0.5 else None
        found = bounds_of(jobs, topology, rules=Rules(oracle=True, **rules), queues=queues, speed=model)
        for name in NAMES:
            fresh = None if model is None else SpeedModel(topology, card_ppm=speed._card_ppm, changes=speed.changes)
            table = played(jobs, topology, name, speed=fresh, queues=queues, **rules)
            ended = table.ended & ~found.taken
            assert np.array_equal(ended, found.rows), name
            if found.sum_completion_ms is None:
                assert not ended.any()
                continue
            assert found.sum_completion_ms <= table.completion_ms[ended].sum(), name
            makespan = table.end_ms[ended].max() - table.submit_ms.min()
            assert found.makespan.value_ms <= makespan, name
            reached += found.sum_completion_ms == table.completion_ms[ended].sum()
    assert reached > 100


# -- by hand -------------------------------------------------------------------------------------------------------


def test_two_jobs_that_cannot_run_together():
    """8 devices. a: 8 for 10 ms, b: 8 for 4 ms, both at 0: b first, 4 + 14 = 18, and the last ends at 14."""
    found = bounds_of([job("a", 0, 10, 8), job("b", 0, 4, 8)], servers(1))
    assert found.sum_completion_ms == 18
    assert found.mean_completion.value_ms == 9
    assert found.makespan.value_ms == 14
    assert found.jobs_by_bound["shortest remaining first"] == 2
    assert "may preempt, migrate" in found.mean_completion.because


def test_mean_busy_times_see_that_a_narrow_job_cannot_be_hurried():
    """2 devices, three jobs of 1 device and 4 ms at 0. One machine of speed 2 would end them at 2, 4 and 6: 12 in sum, which is
    what they run anyway. Their mean busy times on it are 1, 3, 5, and half a run time more is 3, 5, 7: 15. The best is 4, 4, 8.
    """
    found = flow_bound(np.zeros(3, dtype=np.int64), np.full(3, 4), np.ones(3, dtype=np.int64), 2)
    assert found == (15, {"run times": 0, "mean busy times": 3})


def test_pods_of_five_need_a_server_each():
    """Two servers of 8 and three jobs of 5 devices for 10 ms: 15 of 16 devices, and yet two after the other."""
    jobs = [job(f"j{i}", 0, 10, 5) for i in range(3)]
    # mean busy times 2.5, 7.5 and 12.5 on whole servers, half a run time more each: 37.5; the best is 10, 10, 20
    assert bounds_of(jobs, servers(2)).sum_completion_ms == 37
    # beside pods of 3 each device can be of use, and yet only one of 5 fits on a server: 3 x 10 / 2
    found = bounds_of([*jobs, job("small", 0, 1, 3)], servers(2))
    assert found.makespan.value_ms == 15
    assert "pods on servers of 8" in found.makespan.because
    flat = bounds_of(jobs, servers(16, 1), rules=Rules(split="free"))
    assert flat.makespan.value_ms == 10


def test_jobs_of_more_than_half_of_everything_run_one_at_a_time():
    jobs = [job(f"j{i}", 0, 10, 9) for i in range(3)]
    assert bounds_of(jobs, servers(16, 1), rules=Rules(split="free")).makespan.value_ms == 30


def test_ways_to_count_are_knapsacks():
    """Servers of 8 and pods of 3: only 6 of 8 devices are of use."""
    topology = servers(1)
    devices = weights_of([topology.request((PodGroup(1, 3),))], {8: 4})[0]
    assert (devices.of, devices.limit) == ((1,), 8)
    shared = weights_of([topology.request((PodGroup(1, 1),), device_milli=250)], {8: 1})[0]
    assert (shared.of, shared.limit) == ((1,), 32)


def test_parts_of_the_fleet_that_share_no_job_are_bounded_apart():
    """Each pool has 8 devices; both red jobs must use the one of red, blue has one free."""
    nodes = [Node(name="n0", pool="red"), Node(name="n1", pool="blue")]
    queues = {name: QueueView(name, {}, None, None, 1, (name,), {}) for name in ("red", "blue")}
    jobs = [job("a", 0, 10, 8, queue="red"), job("b", 0, 10, 8, queue="red")]
    assert bounds_of(jobs, Topology(nodes), queues=queues).sum_completion_ms == 30
    assert bounds_of(jobs, Topology(nodes)).sum_completion_ms == 20


def test_numbers_beyond_64_bits_are_exact():
    """Times 10^9 larger give bounds 10^9 times as large."""
    rng = np.random.default_rng(3)
    submit, run = rng.integers(0, 5000, 300), rng.integers(1, 2000, 300)
    weights = rng.integers(1, 4000, 300)
    small = flow_bound(submit * 2, run * 2, weights, 4000)
    factor = 10**9
    large = flow_bound(submit * 2 * factor, run * 2 * factor, weights, 4000)
    assert 0 <= large.sum_ms - small.sum_ms * factor < 1000 * factor
    assert large.jobs_by_bound == small.jobs_by_bound


def test_speeds_above_one_scale_the_run_times():
    topology = Topology([Node(name="n0", accelerator="a"), Node(name="n1", accelerator="b")])
    speed = SpeedModel(topology, card_ppm=lambda _, card: {"a": 500_000, "b": 3_000_000}[card])
    found = bounds_of([job("j", 0, 10, 1)], topology, speed=speed)
    assert found.sum_completion_ms == 4  # 10 / 3, and ends are whole milliseconds
    assert "up to 3)" in found.mean_completion.because
    assert bounds_of([job("j", 0, 10, 1, accelerators=("a",))], topology, speed=speed).sum_completion_ms == 10, (
        "recorded there"
    )


def test_a_killed_job_runs_no_longer_than_its_limit():
    record = job("j", 0, 10, 1, estimate_ms=6)
    assert least_run_ms(record, Rules(overrun="kill"), 1_000_000) == 6
    assert least_run_ms(record, Rules(overrun="kill"), 2_000_000) == 3
    assert least_run_ms(record, Rules(overrun="kill"), 500_000) == 6
    assert least_run_ms(record, Rules(), 1_000_000) == 10


@pytest.mark.parametrize(
    ("jobs", "rules", "reason"),
    [
        ([job("a", 0, 1)], Rules(fill=True), "no clock"),
        ([job("a", 0, 1, 99)], Rules(), "no job fits"),
        ([], Rules(), "no job fits"),
    ],
)
def test_where_nothing_can_be_said(jobs, rules, reason):
    found = bounds_of(jobs, servers(1), rules=rules)
    assert found.mean_completion.value_ms is None
    assert found.makespan.value_ms is None
    assert reason in found.mean_completion.because
    assert found.as_data()["mean_completion_ms"] is None


def load(count: int, devices: int, share: float, seed: int = 1) -> list[JobRecord]:
    """Gangs of 1 to 32 devices with heavy-tailed run times, at a share of the capacity; 0 is all at once."""
    rng = np.random.default_rng(seed)
    gpus = rng.choice([1, 2, 4, 8, 16, 32], size=count, p=np.array([32, 16, 8, 4, 2, 1]) / 63)
    run = np.clip(rng.lognormal(6.5, 1.5, size=count), 1, 86_400).astype(int) * 1000
    span = (gpus * run).sum() / devices / share if share else 1
    submit = np.sort(rng.uniform(0, span, size=count)).astype(int)
    return [job(f"j{i:05}", int(submit[i]), int(run[i]), int(gpus[i])) for i in range(count)]


def greedy(jobs: list[JobRecord], devices: int, key) -> tuple[int, int]:
    """Sum of completion times and end, where at each moment the first by `key` that fit run, at the cost of the others."""
    coming = sorted(jobs, key=lambda record: record.submit_ms)
    waiting: list[tuple[float, str]] = []
    left: dict[str, tuple[JobRecord, int]] = {}
    now = total = 0
    while coming or waiting:
        while coming and coming[0].submit_ms <= now:
            record = coming.pop(0)
            insort(waiting, (key(record), record.job_id))
            left[record.job_id] = record, record.run_ms
        free, chosen = devices, []
        for _, name in waiting:
            if left[name][0].gpu_count <= free:
                free -= left[name][0].gpu_count
                chosen.append(name)
        then = min([now + left[name][1] for name in chosen] + [record.submit_ms for record in coming[:1]])
        for name in chosen:
            record, run_ms = left[name]
            left[name] = record, run_ms - (then - now)
            if not left[name][1]:
                total += then - record.submit_ms
                waiting.remove((key(record), name))
        now = then
    return total, now


@pytest.mark.parametrize(("count", "share", "most"), [(600, 0.85, 1.02), (600, 1.2, 1.05), (1200, 0, 1.05)])
def test_good_schedules_come_close(count, share, most):
    """Smallest area first with preemption, and for the makespan the longest first: both within a few percent, as long as the
    jobs do not wait; where all come at once the bound is more than the run times by far.
    """
    jobs = load(count, 128, share)
    found = bounds_of(jobs, servers(128, 1), rules=Rules(split="free"))
    flow, _ = greedy(jobs, 128, lambda record: record.gpu_count * record.run_ms)
    _, end_ms = greedy(jobs, 128, lambda record: -record.run_ms)
    assert 1 <= flow / found.sum_completion_ms <= most
    assert 1 <= (end_ms - jobs[0].submit_ms) / found.makespan.value_ms <= 1.03
    means = found.mean_completion.value_ms / np.mean([record.run_ms for record in jobs])
    assert means > 1.8 if not share else 0.999 < means <= 1


# -- devices -------------------------------------------------------------------------------------------------------


def test_ten_at_once_need_ten():
    jobs = [job(f"j{i}", 0, 100, 1) for i in range(10)]
    assert devices_needed(jobs, wait_ms=0, quantile=1).devices == 10
    # two rounds: the second half may wait until the first has ended
    assert devices_needed(jobs, wait_ms=100, quantile=1).devices == 5
    # one may wait for ever, unless everything must have ended
    assert devices_needed(jobs, wait_ms=0, quantile=0.9).devices == 9
    assert devices_needed(jobs, wait_ms=0, quantile=0, finish_by_ms=250).devices == 4
    assert devices_needed(jobs, wait_ms=0, quantile=0).devices == 1


@pytest.mark.parametrize("quantile", [0.5, 0.9, 0.95, 1.0])
def test_no_policy_keeps_a_promise_with_fewer_devices(quantile):
    rng = np.random.default_rng(11)
    reached = 0
    for _ in range(25):
        jobs = [
            job(f"j{i}", int(rng.integers(0, 60)), int(rng.choice([1, 20, 60])), int(rng.choice([1, 1, 2, 4])))
            for i in range(int(rng.integers(1, 24)))
        ]
        devices = int(rng.integers(4, 12))
        for name in ("fifo", "best-effort-sjf-oracle", "easy"):
            table = played(jobs, servers(devices, 1), name, split="free")
            kept_ms = ceil(np.quantile(table.wait_ms, quantile))
            found = devices_needed(jobs, wait_ms=kept_ms, quantile=quantile)
            assert found.devices <= devices, (name, found)
            with_end = devices_needed(jobs, wait_ms=kept_ms, quantile=quantile, finish_by_ms=int(table.end_ms.max()))
            assert found.devices <= with_end.devices <= devices, (name, with_end)
            reached += with_end.devices == devices
    assert reached > 5


def test_what_may_be_taken_away_before_it_starts_needs_no_devices():
    """Sixteen devices for r, if it ever starts: with eight it is larger than the fleet, or gone before it could."""
    jobs = [job("a", 0, 100, 8), job("r", 0, 100, 16, lifetime_ms=50)]
    assert devices_needed(jobs, wait_ms=0, quantile=1).devices == 8
    assert devices_needed(jobs, wait_ms=0, quantile=1, finish_by_ms=100).devices == 8
    assert devices_needed(jobs[1:], wait_ms=0, quantile=1).devices == 0
    # of two jobs that start one may wait for ever, of one none may: here r may start, so a is left out
    assert devices_needed(jobs, wait_ms=0, quantile=0.5).devices == 0


@pytest.mark.parametrize("quantile", [0.9, 1.0])
def test_no_policy_keeps_a_promise_beside_replicas_with_fewer_devices(quantile):
    rng = np.random.default_rng(13)
    near = withdrawn = 0
    for _ in range(40):
        jobs = [
            job(
                f"j{i}",
                int(rng.integers(0, 40)),
                int(rng.choice([1, 20, 60])),
                int(rng.choice([1, 1, 2, 4])),
                lifetime_ms=int(rng.choice([0, 0, 5, 30])) or None,
            )
            for i in range(int(rng.integers(2, 24)))
        ]
        devices = int(rng.integers(4, 9))
        for name in ("fifo", "best-effort-sjf-oracle", "easy"):
            table = played(jobs, servers(devices, 1), name, split="free")
            withdrawn += int((~table.started).sum())
            kept_ms = ceil(np.quantile(table.wait_ms[table.started], quantile))
            found = devices_needed(jobs, wait_ms=kept_ms, quantile=quantile)
            assert found.devices <= devices, (name, found)
            near += 2 * found.devices >= devices
    assert near > 5
    assert withdrawn > 100


def test_how_many_may_wait_longer():
    """Of 101 jobs the 95th percentile is the 96th wait itself: five are above it."""
    assert exempt_jobs(101, 0.95) in (5, 6)  # because: 100 x 0.95 is a hair below or above 95 as a float
    assert exempt_jobs(10, 1) == 0
    assert exempt_jobs(10, 0.5) == 5
    assert exempt_jobs(0, 0.5) == 0


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"wait_ms": -1}, "wait_ms"),
        ({"wait_ms": 0, "quantile": 1.5}, "quantile"),
        ({"wait_ms": 0, "finish_by_ms": 9}, "finish_by_ms: must be >= 10"),
    ],
)
def test_promises_that_are_none(asked, message):
    with pytest.raises(ValueError, match=message):
        devices_needed([job("a", 0, 10)], **asked)


# -- how far ---------------------------------------------------------------------------------------------------------


def test_how_far_each_policy_is():
    jobs = [job("a", 0, 10, 8), job("b", 0, 4, 8)]
    runs = {name: run_of(jobs, "1x8", name) for name in ("fifo", "sjf-oracle")}
    found = how_far(bounds_of(jobs, servers(1)), runs)
    fifo, oracle = found.policies
    assert found.best_oracle == "sjf-oracle"
    assert (fifo.times_bound, oracle.times_bound) == (12 / 9, 1.0)
    assert fifo.times_best_oracle == 12 / 9
    assert fifo.makespan_times_bound == 1.0
    line = distance_lines(found.as_data())[0]
    assert line.startswith("No schedule has a mean completion below 9 ms; times that: fifo 1.33, sjf-oracle 1.00")
    assert found.as_data()["policies"][0]["times_bound"] == 12 / 9


def test_a_run_that_ended_other_jobs_is_not_compared():
    jobs = [job("a", 0, 10, 8), job("b", 0, 4, 8)]
    found = how_far(bounds_of([*jobs[:1], job("b", 0, 4, 99)], servers(1)), {"fifo": run_of(jobs, "1x8", "fifo")})
    assert found.policies[0].times_bound is None
    assert "did not end the same jobs" in found.policies[0].because


def test_replicas_are_no_part_of_the_distance():
    """a and b as above; r has the devices until 20, and never, which has a lifetime too, waits until it is gone."""
    jobs = [
        job("r", 0, 5, 8, lifetime_ms=20),
        job("a", 0, 10, 8),
        job("b", 0, 4, 8),
        job("never", 0, 4, 8, lifetime_ms=9),
    ]
    runs = {"fifo": run_of(jobs, "1x8", "fifo:place=first-fit", ties="file")}
    found = how_far(bounds_of(jobs, servers(1)), runs)
    data = found.as_data()
    assert (data["jobs"], data["jobs_with_lifetime"], data["mean_completion_ms"]) == (2, 2, 9)
    assert found.policies[0].mean_completion_ms == (30 + 34) / 2
    assert found.policies[0].makespan_ms == 34
    assert "jobs with a lifetime, of which there are 2, are left out" in distance_lines(data)[0]
    alone = how_far(bounds_of(jobs[:1], servers(1)), {"fifo": run_of(jobs[:1], "1x8", "fifo")})
    assert alone.as_data()["mean_completion_because"] == alone.policies[0].because == "every job has a lifetime"
    assert distance_lines(alone.as_data()) == []
