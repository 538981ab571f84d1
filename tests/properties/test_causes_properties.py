"""Random cases under every policy of the catalogue: the causes of each job, millisecond by millisecond, against a
recomputation that knows neither kinds nor indexes nor running sums: it asks for each job, at each millisecond, what was
free, tries every placement, and knows the true times of the passes.
"""

from __future__ import annotations

import os
from itertools import combinations

import numpy as np
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from policies.api import QueueView
from policies.catalogue import POLICIES, Parts, make_policy
from policies.quota.nominal import NominalQuota
from policies.topology import Node, Topology
from sim.audit_entries import Pods, allows, entries, pods_of
from sim.causes.cause import CAUSES, Cause
from sim.causes.table import causes_of
from sim.engine import Engine
from sim.rules import Rules
from sim.streams import Streams
from sim.timeline import Happened
from traces.job import JobRecord

NAMES = sorted(set(POLICIES) - {"kube-default"})
"""Without it because it asks for passes of its own (`WakeAt`), which a timeline does not show."""

LONG = os.environ.get("REHEARSE_FUZZ") == "long"


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
    side = draw(st.booleans())
    return Topology(
        [
            Node(
                name=f"n{number}",
                pool=draw(st.sampled_from("pq")),
                accelerator=draw(st.sampled_from("ab")),
                devices=draw(st.sampled_from((1, 2, 4, 4))),
                cpu_milli=draw(st.sampled_from((None, 4000))) if side else None,
                max_pods=draw(st.sampled_from((None, 2))) if side else None,
            )
            for number in range(draw(st.integers(1, 3)))
        ]
    )


@st.composite
def workloads(draw) -> list[JobRecord]:
    records = []
    at_ms = 0
    for number in range(draw(st.integers(3, 10))):
        at_ms += draw(st.sampled_from((0, 0, 0, 1, 3)))
        gpus = draw(st.sampled_from((2, 1, 2, 1, 3, 4, 5, 0)))
        records.append(
            JobRecord(
                job_id=f"j{number}",
                submit_ms=at_ms,
                run_ms=draw(st.sampled_from((7, 20, 2, 0))),
                gpu_count=gpus,
                gpu_milli=draw(st.sampled_from((1000, 1000, 1000, 400))) if gpus in (1, 2) else 1000,
                pods=draw(st.sampled_from((None, 1, 2))) if gpus in (2, 4) else None,
                cpu_milli=draw(st.sampled_from((0, 0, 0, 2000))),
                accelerators=draw(st.sampled_from(((), (), ("a",)))),
                queue=draw(st.sampled_from(("red", "red", "blue", None))),
                priority=draw(st.integers(0, 2)),
                estimate_ms=draw(st.sampled_from((None, 3, 20))),
                lifetime_ms=draw(st.sampled_from((None, None, None, 2, 5, 17))),
            )
        )
    return records


@st.composite
def all_rules(draw) -> Rules:
    cycle_ms, thinking_ms = draw(st.sampled_from(((None, 0), (None, 0), (5, 0), (None, 4), (5, 4))))
    return Rules(
        split=draw(st.sampled_from(("whole", "free"))),
        oracle=True,
        restart_ms=draw(st.sampled_from((0, 3))),
        overrun=draw(st.sampled_from(("extend", "kill", "requeue"))),
        decide="instant" if cycle_ms or thinking_ms else draw(st.sampled_from(("instant", "event"))),
        cycle_ms=cycle_ms,
        thinking="fixed" if thinking_ms else "free",
        thinking_ms=thinking_ms,
    )


@st.composite
def queue_sets(draw) -> dict[str, QueueView]:
    """Entitlements that may bind, but by which each queue can drain."""
    cohort = draw(st.sampled_from((None, "all")))
    pools = draw(st.sampled_from((None, ("p",))))
    limit = draw(st.sampled_from((None, {"*": 1000})))
    nominal = draw(st.sampled_from(({"*": 5000}, {"*": 5000}, {"a": 5000, "b": 5000})))
    return {name: QueueView(name, nominal, limit, cohort, 1, pools, {}) for name in ("red", "blue")}


class Watched:
    """A policy, and when its passes came."""

    def __init__(self, policy) -> None:
        self.policy, self.name = policy, policy.name
        self.passes: list[int] = []

    def decide(self, view):
        self.passes.append(view.now_ms)
        return self.policy.decide(view)

    def semantics(self):
        return self.policy.semantics()


class Naive:
    """The state of the fleet at the end of one instant, job by job."""

    def __init__(self, topology, rules, queues, records) -> None:
        self.nodes, self.rules, self.queues, self.records = topology.nodes, rules, queues, records
        self.running: dict[int, tuple] = {}

    def cut(self, record) -> tuple[list[int], list[Pods]]:
        queue = self.queues.get(record.queue or "")
        usable = [
            i for i, node in enumerate(self.nodes) if allows(record, None if queue is None else queue.pools, node)
        ]
        largest = max((self.nodes[i].devices for i in usable), default=1) or 1
        return usable, list(pods_of(record, self.rules.split, largest))

    def left(self):
        """Per server: what is left of each device, CPU, pods."""
        devices = [[1000] * node.devices for node in self.nodes]
        cpu = [float("inf") if node.cpu_milli is None else node.cpu_milli for node in self.nodes]
        slots = [float("inf") if node.max_pods is None else node.max_pods for node in self.nodes]
        for row, held in self.running.items():
            gang = self.cut(self.records[row])[1]
            for share in held:
                for device in share.devices:
                    devices[share.node][device] -= self.records[row].gpu_milli
                cpu[share.node] -= share.pods * gang[share.group].cpu_milli
                slots[share.node] -= share.pods
        return devices, cpu, slots

    def held(self, name, accelerator) -> int:
        return sum(
            len(share.devices) * self.records[row].gpu_milli
            for row, held in self.running.items()
            for share in held
            if (self.records[row].queue or "") == name and accelerator in ("*", self.nodes[share.node].accelerator)
        )

    def entitled(self, record, node) -> bool:
        queue = self.queues.get(record.queue or "")
        if queue is None or not record.demand_milli:
            return True
        for accelerator in ("*", self.nodes[node].accelerator):
            if accelerator in queue.nominal_milli:
                room = queue.nominal_milli[accelerator] - self.held(queue.name, accelerator)
                if queue.cohort is not None:
                    unused = sum(
                        q.nominal_milli[accelerator] - self.held(q.name, accelerator) for q in self.queues.values()
                    )
                    limit = (queue.borrowing_limit_milli or {}).get(accelerator)
                    room = unused if limit is None else min(unused, room + limit)
                if room < record.demand_milli:
                    return False
        return True

    def lacks(self, record, usable, pods) -> bool:
        devices, cpu, slots = self.left()
        return (
            sum(sum(devices[i]) for i in usable) < record.demand_milli
            or sum(cpu[i] for i in usable) < sum(p.pods * p.cpu_milli for p in pods)
            or sum(slots[i] for i in usable) < sum(p.pods for p in pods)
        )

    def placeable(self, record, usable, pods) -> bool:
        each = [pod for pod in pods for _ in range(pod.pods)]
        return self._place(record, usable, each, *self.left())

    def _place(self, record, usable, each, devices, cpu, slots) -> bool:
        if not each:
            return True
        pod = each[0]
        for i in usable:
            if cpu[i] < pod.cpu_milli or slots[i] < 1:
                continue
            enough = [d for d, left in enumerate(devices[i]) if left >= record.gpu_milli]
            seen = set()
            for chosen in combinations(enough, pod.devices):
                pattern = tuple(sorted(devices[i][d] for d in chosen))
                if pattern in seen:
                    continue
                seen.add(pattern)
                for d in chosen:
                    devices[i][d] -= record.gpu_milli
                cpu[i] -= pod.cpu_milli
                slots[i] -= 1
                fits = self._place(record, usable, each[1:], devices, cpu, slots)
                for d in chosen:
                    devices[i][d] += record.gpu_milli
                cpu[i] += pod.cpu_milli
                slots[i] += 1
                if fits:
                    return True
        return False

    def why(self, record, keeps_quota) -> Cause | None:
        usable, pods = self.cut(record)
        if self.lacks(record, usable, pods):
            return Cause.CAPACITY
        if keeps_quota:
            usable = [i for i in usable if self.entitled(record, i)]
            if not usable or self.lacks(record, usable, pods):
                return Cause.QUOTA
        return None if self.placeable(record, usable, pods) else Cause.FRAGMENTATION


def naive(records, outcome, topology, rules, queues, keeps_quota, passes):
    """(row, ms) -> (cause, again), for each millisecond that a job waited."""
    state = Naive(topology, rules, queues, records)
    found, waiting, ran, since = {}, set(), set(), {}
    line = list(entries(outcome.timeline))
    passes = sorted(set(passes))
    for at_ms in range(line[0].at_ms if line else 0, outcome.end_ms):
        while line and line[0].at_ms == at_ms:
            entry = line.pop(0)
            if entry.happened is Happened.START:
                state.running[entry.row] = entry.held
                ran.add(entry.row)
            elif entry.happened is not Happened.ARRIVE:
                state.running.pop(entry.row, None)
            if entry.happened in (Happened.ARRIVE, Happened.PREEMPT):
                waiting.add(entry.row)
            else:
                waiting.discard(entry.row)
            since.pop(entry.row, None)
        for row in waiting:
            cause = state.why(records[row], keeps_quota)
            if cause is not None:
                since.pop(row, None)
            else:
                since.setdefault(row, at_ms)
                seen = any(since[row] <= each <= at_ms for each in passes)
                cause = Cause.ORDER if seen else Cause.CYCLE
            found[row, at_ms] = cause, row in ran
    return found


@tried(400)
@given(fleets(), workloads(), st.sampled_from(NAMES), st.booleans(), all_rules(), queue_sets())
def test_each_millisecond_has_the_cause_that_asking_anew_gives(topology, records, name, keeps_quota, rules, queues):
    spec = f"{name}:quota={'keep' if keeps_quota else 'off'}"
    policy = Watched(make_policy(spec, Parts(generator=Streams(0).generator)))
    live = {name: queue._replace(held_milli={}) for name, queue in queues.items()}
    outcome = Engine(records, topology, policy, rules=rules, queues=live).run()
    causes = causes_of(
        records,
        outcome.timeline,
        topology,
        rules=rules,
        end_ms=outcome.end_ms,
        queues=queues,
        admission=NominalQuota() if keeps_quota else None,
    )
    found = {
        (row, at_ms): (part.cause, part.again)
        for row in range(len(records))
        for part in causes.intervals(row)
        for at_ms in range(part.from_ms, part.until_ms)
    }
    expected = naive(records, outcome, topology, rules, queues, keeps_quota, policy.passes)
    for cause in {cause for cause, _ in expected.values()}:
        event(f"waits for {cause.name.lower()}")
    event(f"withdraws: {bool((outcome.timeline.happened == Happened.WITHDRAW).any())}")
    assert found == expected
    sums = np.zeros((2, len(CAUSES), len(records)), dtype=np.int64)
    for (row, _), (cause, again) in expected.items():
        sums[int(again), cause, row] += 1
    assert np.array_equal(causes.columns.first, sums[0])
    assert np.array_equal(causes.columns.again, sums[1])
