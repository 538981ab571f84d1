"""The check before the run: each thing that cannot end well, and nothing on a scenario that can."""

from __future__ import annotations

import pytest
from builders import job, policy

from policies.api import QueueView
from policies.topology import Node, Topology
from sim.check import ceiling, check
from sim.rules import Rules

FLEET = Topology(
    [
        *(Node(name=f"a{i}", devices=8, accelerator="A100") for i in range(2)),
        Node(name="t0", devices=4, accelerator="T4"),
    ]
)


def queue(name, nominal, limit=None, cohort=None):
    return QueueView(name, nominal, limit, cohort, 1, None, {})


def found(jobs, queues=(), spec="fifo", **rules):
    named = {each.name: each for each in queues}
    return check(jobs, FLEET, named, Rules(**rules), {spec: policy(spec).semantics()})


def kinds(findings):
    return [(finding.severity, finding.place) for finding in findings]


def test_nothing_is_found_where_all_is_well():
    assert found([job("a", 0, 1000, 8), job("b", 5000, 1000, 2)]) == []


def test_a_job_larger_than_the_fleet():
    (finding,) = found([job("a", 0, 1000, 8), job("big", 5000, 1000, 21)])
    assert kinds([finding]) == [("error", "jobs")]
    assert "the largest, big, asks for 21 devices" in finding.what
    assert finding.consequence == "they are rejected and counted"
    (refused,) = found([job("big", 5000, 1000, 21)], impossible="refuse")
    assert refused.consequence == "the run is refused (rule impossible: refuse)"


def test_an_accelerator_that_no_server_has():
    jobs = [job("a", 0, 1, 1, accelerators=("H100",)), job("b", 1000, 1, 1, accelerators=("A10", "T4"))]
    findings = found(jobs)
    assert kinds(findings) == [
        ("error", "accelerator H100"),
        ("error", "jobs"),
        ("warning", "accelerator A10"),
    ]
    assert "did you mean 'A100'" in findings[2].what
    assert findings[0].consequence == "1 of them can run nowhere"


def test_demand_above_the_capacity_of_one_accelerator():
    # 10 s on 4 devices of T4 each second: 10 times too much; the fleet as a whole has 20 devices: 2 times
    jobs = [job(f"j{i}", 1000 * i, 10_000, 4, accelerators=("T4",)) for i in range(11)]
    findings = found(jobs)
    assert kinds(findings) == [("warning", "accelerators T4"), ("warning", "fleet")]
    assert findings[0].what == "jobs ask for 11.00 times the 4 devices, from first to last submission"
    assert "2.20 times the 20 devices" in findings[1].what


def test_a_trace_shorter_than_its_jobs_has_no_load():
    assert found([job("a", 0, 10**6, 20), job("b", 1, 10**6, 20)]) == []


def test_ties_are_counted():
    (finding,) = found([job("a", 0, 1, 1), job("b", 0, 1, 1), job("c", 9, 1, 1)], ties="file")
    assert finding.what == "2 of 3 (66.7%) share their submit time with another"
    assert "rule ties: file" in finding.consequence


def test_a_fill_has_neither_load_nor_ties():
    assert found([job("a", 0, 10**9, 8), job("b", 0, 10**9, 8)], fill=True) == []


def test_missing_estimates_matter_to_a_policy_that_needs_them():
    jobs = [job("a", 0, 1, 1), job("b", 1000, 1, 1, estimate_ms=5)]
    assert found(jobs) == []
    (finding,) = found(jobs, spec="sjf")
    assert (finding.severity, finding.place) == ("warning", "policy sjf")
    assert "1 of 2 jobs have none" in finding.what
    (granted,) = found(jobs, spec="sjf", oracle=True)
    assert granted.severity == "info"


def test_queues_that_the_fleet_does_not_know():
    jobs = [job("a", 0, 1, 1, queue="risk"), job("b", 1000, 1, 1)]
    findings = found(jobs, [queue("risks", {})])
    assert kinds(findings) == [("warning", "jobs without a queue"), ("warning", "queue risk")]
    assert "did you mean 'risks'" in findings[1].what


def test_a_job_larger_than_its_queue_may_ever_hold():
    jobs = [job("a", 0, 1000, 8, queue="q", accelerators=("A100",)), job("b", 10**6, 1, 1, queue="q")]
    tight = [queue("q", {"A100": 4000}, {"A100": 2000}, "c"), queue("r", {"A100": 12_000}, None, "c")]
    assert found(jobs, tight) == []  # nobody keeps the quota
    (finding,) = found(jobs, tight, spec="fifo:quota=keep")
    assert (finding.severity, finding.place) == ("error", "queue q")
    assert "such as a (8 devices, at most 6)" in finding.what


def test_a_queue_that_owns_nothing_and_cannot_borrow():
    jobs = [job("a", 0, 1, 1, queue="q", accelerators=("A100",))]
    (finding,) = found(jobs, [queue("q", {"A100": 0})], spec="fifo:quota=keep")
    assert (finding.severity, finding.place) == ("error", "queue q")


def test_a_queue_that_never_drains():
    jobs = [job(f"j{i}", 1000 * i, 3000, 1, queue="q", accelerators=("A100",)) for i in range(5)]
    (finding,) = found(jobs, [queue("q", {"A100": 2000})], spec="fifo:quota=keep")
    assert (finding.severity, finding.place) == ("warning", "queue q")
    assert "1.88 times what it may hold" in finding.what  # 15 device-seconds / (2 devices x 4 s)


@pytest.mark.parametrize(
    ("limit", "cohort", "most"), [(None, None, 4000), (None, "c", 16_000), ({"A100": 1000}, "c", 5000)]
)
def test_the_ceiling_of_a_queue(limit, cohort, most):
    own = queue("q", {"A100": 4000}, limit, cohort)
    assert ceiling(own, "A100", {"q": own, "r": queue("r", {"A100": 12_000}, None, "c")}) == most


def test_the_ceiling_of_what_is_not_named():
    own = queue("q", {"A100": 4000})
    assert ceiling(own, "T4", {"q": own}) == 0
    assert ceiling(own, "*", {"q": own}) > 10**15
    assert ceiling(queue("p", {"*": 4000}), "T4", {}) > 10**15


def test_an_empty_trace_finds_nothing():
    assert found([]) == []
