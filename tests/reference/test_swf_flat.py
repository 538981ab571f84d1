"""Eight policies on a flat pool: every start second of 28,481 jobs, as an independent brute-force program has it."""

from __future__ import annotations

import csv
import gzip
import time

import pytest
from builders import policy, servers, starts
from shared import needs

from sim.engine import Engine
from sim.rules import Rules
from traces.registry import read_trace

pytestmark = [pytest.mark.reference]

COLUMNS = {
    "fifo": "fcfs",
    "best-effort-fifo": "first-fit",
    "sjf": "sjf",
    "best-effort-sjf": "sjf-first-fit",
    "sjf-oracle": "sjf-actual",
    "easy": "easy",
    "easy-sjbf": "easy-sjbf",
    "conservative": "conservative",
}
"""Catalogue name -> column of the table."""

EQUAL = {
    "easy:reservation=counting": "easy",  # every server has one device, so counting is exact
    "conservative:reservation=counting": "conservative",
    "easy:depth=all": "conservative",  # a promise for everybody is what conservative means
}
"""The same schedules by other roads."""


@pytest.fixture(scope="module")
def trace():
    return read_trace(needs("reference/swf_flat/kth_sp2.swf.gz")).records


@pytest.fixture(scope="module")
def table():
    with gzip.open(needs("reference/swf_flat/kth_sp2.starts.csv.gz"), "rt", encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.mark.parametrize(("spec", "column"), [*COLUMNS.items(), *EQUAL.items()])
def test_every_start(spec, column, trace, table):
    began = time.process_time()
    outcome = Engine(trace, servers(100, 1), policy(spec), rules=Rules(split="free", oracle="oracle" in spec)).run()
    print(f"{spec}: {time.process_time() - began:.2f} s for {len(trace)} jobs")
    expected = {row["job_id"]: int(row[column]) * 1000 for row in table}
    assert len(expected) == len(trace) == 28_481
    assert starts(outcome) == expected
