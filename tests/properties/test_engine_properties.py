"""Random fleets, jobs, rules and policies: every invariant at every instant, and the auditor agrees.

Short in `make test`; `REHEARSE_FUZZ=long` tries fifty times as much.
"""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from policies.api import QueueView
from policies.catalogue import PLACEMENTS, POLICIES, Parts, make_policy
from policies.placement.fragmentation import TypicalPod
from policies.topology import Node, Topology
from sim.audit import audit
from sim.engine import Engine, Outcome
from sim.rules import Rules
from sim.streams import Streams
from sim.timeline import ENDS, Happened
from sim.world.speed import SpeedChange, SpeedModel
from traces.job import JobRecord

LONG = os.environ.get("REHEARSE_FUZZ") == "long"
MIX = (TypicalPod(0.5, 1000, 500, 1, ()), TypicalPod(0.5, 4000, 1000, 2, ()))
SHORT = 300


def tried(times: int):
    """`times` examples, fifty times as many in a long run; the same ones each time unless it is long."""
    return settings(
        max_examples=50 * times if LONG else times,
        deadline=None,
        derandomize=not LONG,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@st.composite
def fleets(draw) -> Topology:
    """Heterogeneous servers with islands, two levels, and limits of CPU, memory and pods or none."""
    nodes = []
    for number in range(draw(st.integers(1, 6))):
        devices = draw(st.sampled_from((0, 1, 2, 4, 8)))
        half = devices // 2
        nodes.append(
            Node(
                name=f"n{number}",
                pool=draw(st.sampled_from(("p", "q"))),
                accelerator=draw(st.sampled_from(("a", "b"))) if devices else None,
                devices=devices,
                device_memory_mib=draw(st.sampled_from((None, 40, 80))) if devices else None,
                islands=(tuple(range(half)), tuple(range(half, devices))) if half and draw(st.booleans()) else (),
                cpu_milli=draw(st.sampled_from((None, 4000, 9000))),
                memory_mib=draw(st.sampled_from((None, 64))),
                max_pods=draw(st.sampled_from((None, 3, 9))),
                domains=(f"leaf{number // 2}", f"spine{number // 4}"),
            )
        )
    return Topology(nodes, ("leaf", "spine"))


@st.composite
def workloads(draw, most: int = 14) -> list[JobRecord]:
    """Gangs, shares and jobs without devices; many ties; estimates that are absent, short or long."""
    records = []
    at_ms = 0
    for number in range(draw(st.integers(1, most))):
        at_ms += draw(st.sampled_from((0, 0, 1, 5, 60)))
        gpus = draw(st.sampled_from((0, 1, 1, 1, 2, 3, 4, 8, 11)))
        pods = draw(st.sampled_from((None, None, 1, 2)))
        run_ms = draw(st.sampled_from((0, 1, 7, 50, 400)))
        records.append(
            JobRecord(
                job_id=f"j{number}",
                submit_ms=at_ms,
                run_ms=run_ms,
                gpu_count=gpus,
                gpu_milli=draw(st.sampled_from((1000, 1000, 100, 300, 500))) if gpus else 1000,
                pods=pods if pods and gpus % pods == 0 else None,
                gpu_memory_mib=draw(st.sampled_from((None, None, 40, 80))),
                cpu_milli=draw(st.sampled_from((0, 0, 1000, 3000))),
                memory_mib=draw(st.sampled_from((0, 0, 20))),
                accelerators=draw(st.sampled_from(((), (), ("a",), ("a", "b")))),
                queue=draw(st.sampled_from((None, "red", "blue", "unknown"))),
                priority=draw(st.integers(0, 2)),
                estimate_ms=draw(st.sampled_from((None, 0, run_ms // 2, run_ms, 2 * run_ms + 3))),
                family=draw(st.sampled_from((None, "bert"))),
                lifetime_ms=draw(st.sampled_from((None, None, None, 1, 30, 500))),
            )
        )
    return records


@st.composite
def all_rules(draw) -> Rules:
    decide, cycle_ms = draw(st.sampled_from((("instant", None), ("instant", 1), ("instant", 30), ("event", None))))
    thinking_ms = draw(st.sampled_from((0, 0, 7))) if decide == "instant" else 0
    return Rules(
        split=draw(st.sampled_from(("whole", "free"))),
        ties=draw(st.sampled_from(("job_id", "file", "random"))),
        oracle=True,
        progress=draw(st.sampled_from(("keep", "lose"))),
        checkpoint_ms=draw(st.sampled_from((None, 1, 20))),
        restart_ms=draw(st.sampled_from((0, 0, 1, 9))),
        overrun=draw(st.sampled_from(("extend", "kill", "requeue"))),
        decide=decide,
        cycle_ms=cycle_ms,
        thinking="fixed" if thinking_ms else "free",
        thinking_ms=thinking_ms,
        seed=draw(st.integers(0, 3)),
    )


@st.composite
def queue_sets(draw) -> dict[str, QueueView]:
    """Queues with pools and entitlements that bind nobody for ever: each may hold the whole fleet, if nobody else does."""
    if draw(st.booleans()):
        return {}
    cohort = draw(st.sampled_from((None, "all")))
    pools = draw(st.sampled_from((None, ("p",), ("p", "q"))))
    return {name: QueueView(name, {"*": 10**6}, None, cohort, 1, pools, {}) for name in ("red", "blue")}


@st.composite
def speeds(draw, topology: Topology) -> SpeedModel | None:
    if draw(st.booleans()):
        return None
    everywhere = (1 << len(topology)) - 1
    change = st.builds(
        SpeedChange,
        at_ms=st.sampled_from((0, 1, 7, 50, 61, 200)),
        nodes=st.integers(1, everywhere),
        factor_ppm=st.sampled_from((333_333, 500_000, 1_000_000, 2_500_000)),
    )
    cards = {"a": 1_000_000, "b": draw(st.sampled_from((1_000_000, 700_000)))}
    return SpeedModel(
        topology,
        card_ppm=lambda _, card: cards[card],
        locality_ppm=lambda family: (1_000_000, 900_000, 800_000, 300_000) if family else (1_000_000,),
        changes=draw(st.lists(change, max_size=4)),
    )


NAMES = st.sampled_from(sorted(POLICIES))
PLACES = st.sampled_from(sorted(PLACEMENTS))


@st.composite
def specs(draw) -> str:
    name, place = draw(NAMES), draw(PLACES)
    per, quota = draw(st.sampled_from(("fleet", "queue"))), draw(st.sampled_from(("off", "keep")))
    own = f"place={place}"
    if POLICIES[name].build is None:  # because: a static fill refuses preemption, and drawn ties depend on the seed
        own = "ties=first,preemption=off"
    return f"{name}:{own},per={per},quota={quota}"


def run(records, topology, spec: str, rules: Rules, queues=None, speed=None, *, validate=True) -> Outcome:
    """One replay with queues and a policy of its own, validated at every instant and audited."""
    fresh = {name: queue._replace(held_milli={}) for name, queue in (queues or {}).items()}
    parts = Parts(generator=Streams(rules.seed).generator, typical_pods=MIX)
    model = (
        None
        if speed is None
        else SpeedModel(topology, card_ppm=speed._card_ppm, locality_ppm=speed._locality_ppm, changes=speed.changes)
    )
    engine = Engine(
        records, topology, make_policy(spec, parts), rules=rules, queues=fresh, speed=model, validate=validate
    )
    outcome = engine.run()
    audit(outcome, topology, rules, fresh)
    return outcome


def same(one: Outcome, other: Outcome) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one.timeline, other.timeline, strict=True))


@tried(SHORT)
@given(st.data(), fleets(), workloads(), specs(), all_rules(), queue_sets())
def test_every_invariant_at_every_instant(data, topology, records, spec, rules, queues):
    speed = data.draw(speeds(topology))
    outcome = run(records, topology, spec, rules, queues, speed)
    happened = outcome.timeline.happened
    event(f"withdraws: {bool((happened == Happened.WITHDRAW).any())}")
    event(f"preempts: {bool((happened == Happened.PREEMPT).any())}")
    event(f"changes speed: {bool((happened == Happened.SPEED).any())}")
    assert (happened == Happened.ARRIVE).sum() == len(records)
    ended = np.isin(happened, ENDS)
    assert ended.sum() == len(records)
    assert same(outcome, run(records, topology, spec, rules, queues, speed, validate=False))


@tried(SHORT // 3)
@given(fleets(), workloads(), PLACES, st.sampled_from(("whole", "free")))
def test_static_fill(topology, records, place, split):
    rules = Rules(fill=True, split=split, oracle=True)
    outcome = run(records, topology, f"best-effort-fifo:place={place}", rules)
    happened = outcome.timeline.happened
    ended = np.isin(happened, (Happened.START, Happened.DROP, Happened.REJECT))
    assert ended.sum() == len(records), "each pod is placed, dropped or impossible, once"


@tried(SHORT // 3)
@given(st.data(), fleets(), workloads(), specs(), all_rules())
def test_the_seed_changes_random_placement_and_random_ties_and_nothing_else(data, topology, records, spec, rules):
    """What a policy does before it first draws, and what arrives when, is the same under any seed."""
    one = run(records, topology, spec, rules, validate=False)
    two = run(records, topology, spec, replace(rules, seed=rules.seed + 17), validate=False)
    if "random" not in spec and rules.ties != "random":
        assert same(one, two)
    for outcome in (one, two):
        line = outcome.timeline
        arrivals = line.at_ms[line.happened == Happened.ARRIVE].tolist()
        assert arrivals == sorted(record.submit_ms for record in records)


@tried(SHORT // 2)
@given(st.data(), fleets(), workloads(), specs(), all_rules())
def test_nobody_anticipates(data, topology, records, spec, rules):
    """Without the last job everything before its arrival is as with it."""
    assume(len(records) > 1)
    speed = data.draw(speeds(topology))
    last = records[-1].submit_ms
    before = [
        run(jobs, topology, spec, rules, None, speed, validate=False).timeline for jobs in (records, records[:-1])
    ]
    parts = [
        [
            (a, h, j)
            for a, h, j in zip(line.at_ms.tolist(), line.happened.tolist(), line.job.tolist(), strict=True)
            if a < last
        ]
        for line in before
    ]
    assert parts[0] == parts[1]


@tried(SHORT // 3)
@given(fleets(), workloads(), PLACES, st.sampled_from(("whole", "free")))
def test_strict_fifo_the_last_job_delays_nobody(topology, records, place, split):
    assume(place not in ("random", "openb-random"))
    rules = Rules(ties="file", split=split)
    firsts = []
    for jobs in (records, records[:-1]):
        line = run(jobs, topology, f"fifo:place={place}", rules, validate=False).timeline
        rows, at = line.job[line.happened == Happened.START], line.at_ms[line.happened == Happened.START]
        firsts.append(
            {row: at_ms for row, at_ms in zip(rows.tolist(), at.tolist(), strict=True) if row < len(records) - 1}
        )
    assert firsts[0] == firsts[1]


def test_random_placement_and_random_ties_depend_on_the_seed():
    topology = Topology([Node(name=f"n{i}", devices=1) for i in range(8)])
    records = [JobRecord(job_id=f"j{i}", submit_ms=0, run_ms=5, gpu_count=1) for i in range(12)]
    for spec, ties in (("fifo:place=random", "job_id"), ("fifo", "random")):
        outcomes = [run(records, topology, spec, Rules(seed=seed, ties=ties)) for seed in (1, 2)]
        assert not same(*outcomes), (spec, ties)
