"""Every check of the auditor is tripped by a timeline that is wrong in exactly one way."""

from __future__ import annotations

from dataclasses import replace

import pytest
from audited import audited
from builders import job, servers

from policies.topology import Node, Topology
from sim import engine
from sim.audit import AuditError, Auditor, audit
from sim.audit_entries import Entry, Held, entries
from sim.rules import Rules
from sim.state import State
from sim.timeline import Happened
from sim.world.speed import SpeedChange, SpeedModel

ARRIVE, START, FINISH, KILL = Happened.ARRIVE, Happened.START, Happened.FINISH, Happened.KILL
PREEMPT, REJECT, DROP, SPEED = Happened.PREEMPT, Happened.REJECT, Happened.DROP, Happened.SPEED
FULL = 1_000_000

A = job("a", 0, 10)
B = job("b", 5, 10, estimate_ms=7)
PAIR = job("pair", 0, 10, 4, pods=2)
HALF = job("half", 0, 10, gpu_milli=600)


def held(*devices: int, node: int = 0, pods: int = 1, group: int = 0) -> tuple[Held, ...]:
    return (Held(node, devices, pods, group),)


def see(lines, records=(A, B), topology=None, queues=None, **rules) -> Auditor:
    """Each line is (at_ms, happened, row, what it holds, speed)."""
    auditor = Auditor(topology or servers(2, 4), Rules(**rules), records, queues)
    for number, (at_ms, happened, row, *more) in enumerate(lines):
        shares = more[0] if more else ()
        speed = more[1] if len(more) > 1 else FULL
        auditor.see(Entry(number, at_ms, happened, row, speed, shares))
    return auditor


A_RUNS = [(0, ARRIVE, 0), (0, START, 0, held(0))]

WRONG = {
    "time runs backwards": [*A_RUNS, (5, ARRIVE, 1), (4, START, 1, held(1))],
    "the job has not arrived": [(5, START, 1, held(0))],
    "the job arrives twice": [(0, ARRIVE, 0), (0, ARRIVE, 0)],
    "it was submitted at 5 ms": [(6, ARRIVE, 1)],
    "the job is running, not waiting": [*A_RUNS, (1, START, 0, held(1))],
    "the job is waiting, not running": [(0, ARRIVE, 0), (1, FINISH, 0)],
    "the job is ended, not running": [*A_RUNS, (10, FINISH, 0), (10, FINISH, 0)],
    "the job is ended, not waiting": [(0, ARRIVE, 0), (0, REJECT, 0), (0, START, 0, held(0))],
    "millionths of a millisecond of work are left": [*A_RUNS, (9, FINISH, 0)],
    "its work was done before": [*A_RUNS, (11, FINISH, 0)],
    "its speed is 0 millionths": [(0, ARRIVE, 0), (0, START, 0, held(0), 0)],
    "there is no server 2": [(0, ARRIVE, 0), (0, START, 0, held(0, node=2))],
    "there is no server -1": [(0, ARRIVE, 0), (0, START, 0, held(0, node=-1))],
    "n0 has no device 4": [(0, ARRIVE, 0), (0, START, 0, held(4))],
    "1 pods of group 1": [(0, ARRIVE, 0), (0, START, 0, held(0, group=1))],
    "0 pods of group 0": [(0, ARRIVE, 0), (0, START, 0, held(pods=0))],
    "1 pods on 2 devices": [(0, ARRIVE, 0), (0, START, 0, held(0, 1))],
    "[2] pods of a gang of [1]": [(0, ARRIVE, 0), (0, START, 0, held(0) + held(1))],
    "2000 milli of device 0": [*A_RUNS, (5, ARRIVE, 1), (5, START, 1, held(0))],
    "jobs are dropped by static fill only": [(0, ARRIVE, 0), (0, DROP, 0)],
    "overrun is extend": [(5, ARRIVE, 1), (5, START, 1, held(0)), (12, KILL, 1)],
    "it comes after start in the same instant": [
        *A_RUNS,
        (5, ARRIVE, 1),
        (10, START, 1, held(1)),
        (10, FINISH, 0),
    ],
}


@pytest.mark.parametrize("why", WRONG)
def test_a_wrong_timeline_is_refused_with_its_place(why):
    with pytest.raises(AuditError) as error:
        see(WRONG[why])
    assert why in str(error.value)
    assert f"timeline entry {len(WRONG[why]) - 1}: " in str(error.value)


TWO = [(0, ARRIVE, 0), (0, ARRIVE, 1)]
B_RUNS = [(5, ARRIVE, 0), (5, START, 0, held(0))]
A_AGAIN = [*A_RUNS, (5, PREEMPT, 0), (5, START, 0, held(0))]
AT_ONCE = [*A_RUNS, (0, PREEMPT, 0), (0, START, 0, held(0))]
KILLS = {"overrun": "kill"}

RULED = [
    ("[1] pods of a gang of [2]", [(0, ARRIVE, 0), (0, START, 0, held(0, 1))], (PAIR,), {}),
    ("1200 milli", [*TWO, (0, START, 0, held(0)), (0, START, 1, held(0))], (HALF, replace(HALF, job_id="x")), {}),
    ("in static fill nothing ends", [*A_RUNS, (10, FINISH, 0)], (A,), {"fill": True}),
    ("it arrives out of order", [(0, ARRIVE, 1), (0, ARRIVE, 0)], (A, A), {"ties": "file"}),
    ("it arrives out of order", TWO, (job("j10", 0, 1), job("j9", 0, 1)), {}),
    ("it should have been killed at 12 ms", [*B_RUNS, (15, FINISH, 0)], (B,), KILLS),
    ("its limit is at 12 ms", [*B_RUNS, (13, KILL, 0)], (B,), KILLS),
    ("it is complete", [*B_RUNS, (12, KILL, 0)], (replace(B, run_ms=7),), KILLS),
    ("for its restart until 4 ms", [*AT_ONCE, (3, FINISH, 0)], (replace(A, run_ms=0),), {"restart_ms": 4}),
    ("work are left", [*A_AGAIN, (10, FINISH, 0)], (A,), {"progress": "lose"}),
    ("work are left", [*A_AGAIN, (10, FINISH, 0)], (A,), {"checkpoint_ms": 4}),
    ("it comes after arrive", [*A_RUNS, (10, ARRIVE, 1), (10, FINISH, 0)], (A, replace(B, submit_ms=10)), {}),
    ("it comes after speed", [*A_RUNS, (5, SPEED, 0), (5, ARRIVE, 1)], (A, B), {"decide": "event"}),
    ("it comes after start", [*A_RUNS, (0, SPEED, 0)], (A,), {}),
]


@pytest.mark.parametrize(("why", "lines", "records", "rules"), RULED, ids=[case[0] for case in RULED])
def test_the_rules_of_the_run_are_kept(why, lines, records, rules):
    with pytest.raises(AuditError, match="timeline entry") as error:
        see(lines, records, **rules)
    assert why in str(error.value)


@pytest.mark.parametrize(
    ("why", "record", "node"),
    [
        ("the job does not allow x", job("a", 0, 1, accelerators=("h100",)), Node(name="x", accelerator="a100")),
        ("the job does not allow x", job("a", 0, 1, gpu_memory_mib=80), Node(name="x", device_memory_mib=40)),
        ("3 milli-cores of x are held, it has 2", job("a", 0, 1, cpu_milli=3), Node(name="x", cpu_milli=2)),
        ("3 MiB of memory of x are held, it has 2", job("a", 0, 1, memory_mib=3), Node(name="x", memory_mib=2)),
        ("1 pods of x are held, it has 0", job("a", 0, 1), Node(name="x", max_pods=0)),
    ],
)
def test_the_kind_and_the_side_resources_of_a_server_are_kept(why, record, node):
    with pytest.raises(AuditError) as error:
        see(A_RUNS, (record,), Topology([node]))
    assert why in str(error.value)


def good():
    topology = servers(2, 4)
    return audited([A, B, PAIR, HALF, job("big", 0, 1, 9)], topology, "best-effort-fifo"), topology


def test_sums_must_agree():
    outcome, topology = good()
    audit(outcome, topology)
    with pytest.raises(AuditError, match="milli-device-milliseconds"):
        audit(replace(outcome, held_milli_ms=outcome.held_milli_ms + 1), topology)
    with pytest.raises(AuditError, match="rejected are not the jobs with a reason"):
        audit(replace(outcome, rejections={}), topology)
    with pytest.raises(AuditError, match="its last entry is at"):
        audit(replace(outcome, end_ms=1), topology)
    with pytest.raises(AuditError, match="6 records, 5 arrivals"):
        audit(replace(outcome, records=[*outcome.records, A]), topology)


@pytest.mark.parametrize(("keep", "why"), [(1, "1 jobs still wait"), (2, "1 jobs still run")])
def test_a_run_that_stops_midway_is_not_complete(keep, why):
    topology = servers(1, 4)
    outcome = audited([A], topology, "fifo")
    auditor = Auditor(topology, Rules(), outcome.records)
    for entry in list(entries(outcome.timeline))[:keep]:
        auditor.see(entry)
    stopped = replace(outcome, end_ms=0, held_milli_ms=0)
    auditor.close(stopped, complete=False)
    with pytest.raises(AuditError, match=why):
        auditor.close(stopped)


def test_what_begins_in_an_instant_may_end_in_it():
    zero = job("zero", 0, 0)
    see([(0, ARRIVE, 0), (0, START, 0, held(0)), (0, FINISH, 0)], (zero,))


def test_the_parts_of_a_gang_are_cut_as_the_split_says():
    six = job("six", 0, 1, 6, cpu_milli=600)
    whole = [(0, ARRIVE, 0), (0, START, 0, held(0, 1, 2, 3) + held(0, 1, node=1, group=1))]
    see(whole, (six,))
    with pytest.raises(AuditError, match="1 pods on 4 devices"):
        see(whole, (six,), split="free")
    see([(0, ARRIVE, 0), (0, START, 0, held(0, 1, 2, 3, pods=4) + held(0, 1, node=1, pods=2))], (six,), split="free")


# -- defects planted in the engine, which the auditor must find from the timeline alone ------------------------------


def late(original):
    return lambda *args: original(*args) + 1


def forgetful(original):
    def preempt(state, job):
        state.rules = replace(state.rules, progress="lose")
        original(state, job)

    return preempt


def latest_first(original):
    return lambda records, rules: sorted(original(records, rules), key=lambda row: (records[row].submit_ms, -row))


PLANTED = {
    "a job ends a millisecond late": ("sim.state.State.start", late, "its work was done before"),
    "a changed speed ends a millisecond late": ("sim.state.State.change_speed", late, "its work was done before"),
    "progress is lost where it is kept": ("sim.state.State.preempt", forgetful, "its work was done before"),
    "ties in another order": ("sim.engine.arrival_order", latest_first, "it arrives out of order"),
}


@pytest.mark.parametrize("defect", PLANTED)
def test_a_defect_of_the_engine_is_found(defect, monkeypatch):
    where, plant, why = PLANTED[defect]
    module, _, name = where.rpartition(".")
    owner = State if module.endswith("State") else engine
    monkeypatch.setattr(owner, name, plant(getattr(owner, name)))
    topology = servers(1, 1)
    speed = SpeedModel(topology, changes=[SpeedChange(3, 1, FULL // 2), SpeedChange(22, 1, FULL)])
    jobs = [job("a", 0, 10), job("b", 5, 4, priority=1), job("c", 5, 4), job("d", 5, 4)]
    with pytest.raises(AuditError) as error:
        audited(jobs, topology, "preempt-priority", speed=speed, validate=False)
    assert why in str(error.value)
