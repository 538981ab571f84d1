"""Three policies on 96 servers of 8: every start second of 23,859 jobs, on which several public simulators agree."""

from __future__ import annotations

import csv
import gzip
import time

import pytest
from builders import policy, servers, starts
from shared import needs

from sim.engine import Engine
from traces.job import JobRecord

pytestmark = [pytest.mark.reference]


def read(name):
    with gzip.open(needs(f"reference/venus96/{name}.csv.gz"), "rt", encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.fixture(scope="module")
def trace():
    return [
        JobRecord(
            job_id=row["job_id"],
            submit_ms=int(row["submit_s"]) * 1000,
            run_ms=int(row["duration"]) * 1000,
            gpu_count=int(row["gpus"]),
        )
        for row in read("trace")
    ]


@pytest.fixture(scope="module")
def table():
    return read("starts")


@pytest.mark.parametrize("spec", ["fifo:place=first-fit", "fifo:place=best-fit", "best-effort-fifo:place=best-fit"])
def test_every_start(spec, trace, table):
    began = time.process_time()
    outcome = Engine(trace, servers(96, 8), policy(spec)).run()
    print(f"{spec}: {time.process_time() - began:.2f} s for {len(trace)} jobs")
    expected = {row["job_id"]: int(row[spec]) * 1000 for row in table}
    assert len(expected) == len(trace) == 23_859
    assert starts(outcome) == expected
