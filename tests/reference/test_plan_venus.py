"""The plan of a real queue: what the search finds is what looking at every count finds."""

from __future__ import annotations

import csv
import gzip

import pytest
from shared import needs

from sim.experiment.prepare import prepare
from sim.experiment.scenario import make_scenario
from sim.experiment.shake import Shake
from sim.planning.levels import parse_levels
from sim.planning.looks import Looker
from sim.planning.plan import Question, plan
from sim.planning.question import checked
from sim.planning.search import exhaustive
from traces.job import JobRecord
from traces.trace import Trace

pytestmark = [pytest.mark.reference]


@pytest.fixture(scope="module")
def queue():
    """The jobs of one virtual cluster of 20 servers in September 2020."""
    with gzip.open(needs("traces/helios_venus/helios_venus_2vc_sept.csv.gz"), "rt", encoding="utf-8") as lines:
        rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    records = [
        JobRecord(
            job_id=row["job_id"],
            submit_ms=int(row["submit_time"]) // 1000,
            run_ms=round(float(row["duration_s"]) * 1000),
            gpu_count=int(row["num_chips"]),
        )
        for row in rows
        if row["tenant"] == "vcvGl"
    ]
    assert len(records) == 1452
    trace = Trace(path="venus", format="helios", sha256="", rows=len(records), records=records, rejections=[])
    return prepare(make_scenario({"trace": "venus", "cluster": "20x8"}, source="test"), ["fifo"], trace=trace)


@pytest.mark.parametrize(("level", "policy"), [("wait.p95 <= 30m", "fifo"), ("wait.mean <= 1h", "easy")])
def test_the_search_finds_what_looking_at_every_count_finds(level, policy, queue):
    question = Question(
        policies=(policy,),
        gates=parse_levels([level]),
        pool="default",
        least=16,
        most=40,
        replications=2,
        shake=Shake(submit=0.05, run=0.05),
    )
    (answer,) = plan(queue, question)
    for number, search in enumerate(answer.searches):
        looker = Looker(queue, checked(queue, question), policy, number)
        known = exhaustive(16, 40, lambda count, looker=looker: looker.look((count,)).enough)
        assert search.count == known.count
        assert {count: known.tried[count] for count in search.found.tried} == search.found.tried
        assert len(search.looks) < len(known.tried) / 2
    assert answer.servers == max(answer.counts)
