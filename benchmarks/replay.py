"""What a replay costs, as a ratio to bare SimPy in the same process.

The floor F: bare SimPy processes one arrival and one completion callback event for each job, with the same submit
and run times. The replay: the same jobs through records, views, a policy, checked actions, the state and the timeline, to
the table of results. CPU time, not wall time; floor and replay alternate and the smallest of each is taken, because the
machines that run this are shared.

    python -m benchmarks.replay [--jobs 1000000] [--repeats 3] [--quick]
"""

from __future__ import annotations

import argparse
import csv
import gc
import gzip
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import simpy

from policies.catalogue import Parts, make_policy
from policies.topology import Node, Topology
from sim.engine import Engine
from sim.jobs_table import jobs_table
from sim.rules import Rules
from sim.streams import Streams
from traces.job import JobRecord

SIZES = (1, 2, 4, 8, 16, 32, 64)
SHARES = (0.50, 0.15, 0.13, 0.13, 0.05, 0.025, 0.015)
"""Powers of two, most of them small, as in the published traces."""

SHARED = Path(__file__).resolve().parents[2] / "shared"


def synthetic(jobs: int, devices: int, load: float = 0.9, seed: int = 1) -> list[JobRecord]:
    """Poisson arrivals, exponential run times of one hour, sizes 1..64, at a load of the fleet."""
    rng = np.random.default_rng(seed)
    sizes = rng.choice(SIZES, jobs, p=SHARES)
    runs = rng.exponential(3_600_000, jobs).astype(np.int64) + 1
    span = int((sizes * runs).sum() / devices / load)
    submits = np.sort(rng.integers(0, span, jobs))
    return [
        JobRecord(job_id=f"j{i}", submit_ms=submit, run_ms=run, gpu_count=size)
        for i, (submit, run, size) in enumerate(zip(submits.tolist(), runs.tolist(), sizes.tolist(), strict=True))
    ]


def floor(records: list[JobRecord]) -> None:
    """Bare SimPy: an arrival and a completion callback event for each job."""
    env = simpy.Environment()
    submits = [record.submit_ms for record in records]
    runs = [record.run_ms for record in records]
    place = 0

    def done(_: simpy.Event) -> None:
        pass

    def arrive(_: simpy.Event) -> None:
        nonlocal place
        env.timeout(runs[place]).callbacks.append(done)
        place += 1
        if place < len(submits):
            env.timeout(submits[place] - submits[place - 1]).callbacks.append(arrive)

    env.timeout(submits[0]).callbacks.append(arrive)
    env.run()


def flat_servers(count: int, devices: int = 8) -> Topology:
    """Equal servers."""
    return Topology([Node(name=f"n{i}", devices=devices) for i in range(count)])


def replay(records: list[JobRecord], topology: Topology, spec: str, **rules: object) -> None:
    """From records in memory to the table of results."""
    policy = make_policy(spec, Parts(generator=Streams(0).generator))
    outcome = Engine(records, topology, policy, rules=Rules(**rules)).run()  # type: ignore[arg-type]  # because: options by name
    jobs_table(outcome, topology)


def cpu_seconds(work: Callable[[], None]) -> float:
    """CPU time of one call, with nothing left over from the last."""
    gc.collect()
    start = time.process_time()
    work()
    return time.process_time() - start


def against_floor(label: str, records: list[JobRecord], topology: Topology, repeats: int, spec: str) -> None:
    """One row: the floor, the replay and their ratio."""
    floors, replays = [], []
    for _ in range(repeats):
        floors.append(cpu_seconds(lambda: floor(records)))
        replays.append(cpu_seconds(lambda: replay(records, topology, spec)))
    low, cost, jobs = min(floors), min(replays), len(records)
    print(
        f"{label:42s} {jobs:>9,} jobs  F {low / jobs * 1e6:5.2f} us/job  replay {cost / jobs * 1e6:6.2f} us/job"
        f"  {cost / low:5.2f} F",
        flush=True,
    )


def philly() -> tuple[list[JobRecord], Topology] | None:
    """The jobs and the servers of the public trace, where the folder is there."""
    folder = SHARED / "traces" / "philly"
    if not folder.exists():
        return None
    with gzip.open(folder / "philly_gpu_jobs_joined.csv.gz", "rt", encoding="utf-8") as file:
        records = [
            JobRecord(
                job_id=row["job"],
                submit_ms=round(float(row["arr"]) * 1000),
                run_ms=round(float(row["dur"]) * 1000),
                gpu_count=int(row["size"]),
            )
            for row in csv.DictReader(file)
        ]
    small = [Node(name=f"small{i}", devices=2) for i in range(321)]
    large = [Node(name=f"large{i}", devices=8) for i in range(231)]
    return records, Topology(small + large)


def on_philly() -> None:
    """Jobs per second of CPU time under four policies, true run times standing for estimates."""
    found = philly()
    if found is None:
        print("Philly: skipped, the folder of public traces is absent")
        return
    records, topology = found
    for spec in ("fifo", "best-effort-fifo", "sjf", "easy"):
        seconds = cpu_seconds(lambda spec=spec: replay(records, topology, spec, oracle=True))
        print(
            f"{'Philly, 2,490 devices, ' + spec:42s} {len(records):>9,} jobs  {len(records) / seconds:10,.0f} jobs/s"
        )


def peak_memory(jobs: int) -> None:
    """Peak memory of a process that does nothing else."""
    code = (
        f"from benchmarks.replay import *; replay(synthetic({jobs}, 10_000), flat_servers(1_250), 'fifo');"
        "print(high_water_kib())"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # because: runs this very interpreter on this very module
    print(f"{'peak memory, 1,250 x 8':42s} {jobs:>9,} jobs  {int(result.stdout) / 1024:10,.0f} MiB")


def high_water_kib() -> int:
    """Peak memory of this process. On Linux from its status: `ru_maxrss` would count the parent before the exec."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def blocked_queue(jobs: int) -> list[JobRecord]:
    """A job that holds the whole fleet, and a queue of `jobs` behind it that then drains one by one."""
    first = JobRecord(job_id="whole", submit_ms=0, run_ms=2 * jobs, gpu_count=64)
    return [first] + [JobRecord(job_id=f"j{i}", submit_ms=1 + i, run_ms=10, gpu_count=64) for i in range(jobs)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--jobs", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="100,000 jobs, no Philly")
    options = parser.parse_args()
    jobs = 100_000 if options.quick else options.jobs
    print(f"Python {sys.version.split()[0]}, SimPy {simpy.__version__}; best of {options.repeats}, CPU time")
    records = synthetic(jobs, 10_000)
    against_floor("fifo, best-fit, 1,250 x 8, load 0.9", records, flat_servers(1_250), options.repeats, "fifo")
    print("cost per job must not grow with the jobs already finished:")
    for count in (jobs // 16, jobs // 4):
        against_floor(
            "  the first jobs of the same trace", records[:count], flat_servers(1_250), options.repeats, "fifo"
        )
    del records
    print("nor, for the strict cycle, with the length of the queue:")
    for count in (jobs // 100, jobs // 10, jobs // 2):
        against_floor(f"  queue of {count:,}", blocked_queue(count), flat_servers(8), options.repeats, "fifo")
    large = synthetic(jobs // 2, 100_000)
    against_floor("fifo, best-fit, 12,500 x 8, load 0.9", large, flat_servers(12_500), options.repeats, "fifo")
    del large
    if not options.quick:
        on_philly()
    peak_memory(jobs)


if __name__ == "__main__":
    main()
