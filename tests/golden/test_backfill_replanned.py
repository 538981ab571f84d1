"""EASY keeps its promise between passes, and conservative its plan: both must do what replanning at each pass does.

The rules here are written a second time, slowly: everything anew at each pass, job by job, no memory at all.
"""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
from builders import golden, job, policy, replay, servers, starts
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.api import PodGroup, Policy, Share, Start
from policies.backfill.compression import CompressedConservative
from policies.backfill.conservative import Conservative
from policies.bitset import bits
from policies.feasibility import why_not
from policies.nodes import NodeLedger
from policies.ordering.fifo import Fifo
from policies.ordering.priority import Priority
from policies.ordering.shortest import ShortestEstimate
from policies.placement.best_fit import BestFit
from policies.placement.spread import Spread
from policies.topology import Node, Topology

FOREVER = 1 << 50
EXAMPLES = 2000 if os.environ.get("REHEARSE_FUZZ") == "long" else 150
ORDERS = {"arrival": Fifo, "shortest": ShortestEstimate, "priority": Priority}


class ReplannedEasy(Policy):
    """Textbook EASY on servers: each pass starts from nothing."""

    name = "replanned"

    def __init__(self, placer, order, candidates, *, equality=True, extra=True, pinned=False):
        self.placer, self.order, self.candidates, self.pinned = placer, order, candidates, pinned
        self.equality, self.extra = equality, extra

    def decide(self, view):
        waiting = sorted(view.pending.by(Fifo()), key=self.order.key)
        while waiting:
            placement = self.placer.place(waiting[0].request, view.nodes)
            if placement is None:
                break
            yield Start(waiting.pop(0).job_id, placement)
        if not waiting:
            return
        head = waiting.pop(0)
        found = self.shadow(head, view)
        if found is None:
            return
        shadow_ms, ledger = found
        if self.pinned:
            ledger.take(head.request, self.placer.place(head.request, ledger))
        for candidate in sorted(waiting, key=self.candidates.key):
            placement = self.placer.place(candidate.request, view.nodes)
            if placement is None:
                continue
            if not self.in_time(candidate, view.now_ms, shadow_ms):
                if not self.extra:
                    continue
                if why_not(candidate.request, placement, ledger) is not None:
                    assert self.pinned, "what is idle now is idle at the shadow time, unless it is pinned"
                    continue
                ledger.take(candidate.request, placement)
                if not self.pinned and self.placer.place(head.request, ledger) is None:
                    ledger.release(candidate.request, placement)
                    continue
            yield Start(candidate.job_id, placement)

    def in_time(self, candidate, now_ms, shadow_ms):
        if candidate.estimate_ms is None:
            return False
        end_ms = now_ms + candidate.estimate_ms
        return end_ms <= shadow_ms if self.equality else end_ms < shadow_ms

    def shadow(self, head, view):
        """The first expected end after which the head fits, and the servers as they are then."""
        ends = {
            r.job.job_id: max(r.expected_end_ms, view.now_ms + 1)
            for r in view.running
            if r.expected_end_ms is not None
        }
        for at_ms in sorted(set(ends.values())):
            ledger = view.nodes.what_if()
            for running in view.running:
                if ends.get(running.job.job_id, at_ms + 1) <= at_ms:
                    ledger.release(running.job.request, running.placement)
            if self.placer.place(head.request, ledger) is not None:
                return at_ms, ledger
        return None


def jobs_of(devices, side=False):
    """Up to 25 jobs; estimates above, at and below the truth, or absent; some are taken away, waiting or running."""

    @st.composite
    def build(draw):
        jobs, at_ms = [], 0
        for number in range(draw(st.integers(1, 25))):
            at_ms += draw(st.sampled_from([0, 0, 1, 2, 5, 20]))
            run_ms = draw(st.integers(1, 30))
            estimate = draw(st.sampled_from(["exact", "exact", "over", "far over", "under", "absent"]))
            more = {"cpu_milli": draw(st.sampled_from([0, 1000, 3000]))} if side else {}
            gpus = draw(st.integers(1, devices))
            if draw(st.booleans()):
                gpus = draw(st.integers(1, min(devices, 3)))
            if side and gpus == 1:
                more["gpu_milli"] = draw(st.sampled_from([250, 500, 1000]))
            jobs.append(
                job(
                    f"j{number}",
                    at_ms,
                    run_ms,
                    gpus,
                    priority=draw(st.integers(0, 2)),
                    estimate_ms={
                        "exact": run_ms,
                        "over": run_ms + draw(st.integers(1, 10)),
                        "far over": run_ms * 5,
                        "under": max(run_ms // 2, 1),
                        "absent": None,
                    }[estimate],
                    lifetime_ms=draw(st.sampled_from([None, None, None, None, 3, 12, 40])),
                    **more,
                )
            )
        return jobs

    return build()


FLEETS = {
    "flat": (servers(8, 1), {"split": "free"}, False),
    "servers": (servers(4, 4), {}, False),
    "uneven": (Topology([Node(name=f"n{i}", devices=d) for i, d in enumerate((2, 2, 4, 8))]), {}, False),
    "cpu": (servers(3, 4, cpu_milli=6000), {}, True),
}


@pytest.mark.parametrize("fleet", FLEETS)
@settings(max_examples=EXAMPLES, deadline=None)
@given(data=st.data())
def test_easy_is_replanned_easy(fleet, data):
    topology, rules, side = FLEETS[fleet]
    jobs = data.draw(jobs_of(topology.device_count, side))
    order = data.draw(st.sampled_from(list(ORDERS)))
    candidates = data.draw(st.sampled_from(list(ORDERS)))
    equality, extra = data.draw(st.booleans()), data.draw(st.booleans())
    place = data.draw(st.sampled_from(["best-fit", "spread"]))
    reservation = data.draw(st.sampled_from(["feasible", "pinned"]))
    slow = ReplannedEasy(
        BestFit() if place == "best-fit" else Spread(),
        ORDERS[order](),
        ORDERS[candidates](),
        equality=equality,
        extra=extra,
        pinned=reservation == "pinned",
    )
    fast = (
        f"easy:reservation={reservation},order={order},candidates={candidates},shadow-equality={'yes' if equality else 'no'},"
        f"extra={'yes' if extra else 'no'},place={place}"
    )
    expected = golden(replay(jobs, topology, slow, validate=False, **rules), topology)
    assert golden(replay(jobs, topology, policy(fast), **rules), topology) == expected
    if fleet == "flat" and reservation == "feasible":  # counted, the same schedule by another road
        counted = replay(jobs, topology, policy(fast.replace("feasible", "counting")), **rules)
        assert golden(counted, topology) == expected


class ReplannedConservative(Policy):
    """Every pass gives slots anew: an interval and devices for each job, tried at now and at the end of each interval."""

    name = "replanned"

    def __init__(self, placer, order, candidates, depth=None, *, equality=True, extra=True):
        self.placer, self.order, self.candidates, self.depth = placer, order, candidates, depth
        self.equality, self.extra = equality, extra

    def decide(self, view):
        now, topology = view.now_ms, view.nodes.topology
        plan = []  # (from, until, placement)
        for running in view.running:
            end = FOREVER if running.expected_end_ms is None else max(running.expected_end_ms, now + 1)
            plan.append((now, end, running.placement))
        promised, first = set(), FOREVER
        for waiting in sorted(view.pending.by(Fifo()), key=self.order.key):
            run = FOREVER if waiting.estimate_ms is None else waiting.estimate_ms
            slot = self.earliest(waiting.request, run, plan, now, topology)
            if slot is None:  # no promise can be made: nobody behind passes
                return
            plan.append(slot)
            if slot[0] == now:
                yield Start(waiting.job_id, slot[2])
                continue
            promised.add(waiting.job_id)
            first = min(first, slot[0])
            if len(promised) == self.depth:
                break
        else:
            return
        for waiting in sorted(view.pending.by(Fifo()), key=self.candidates.key):
            run = FOREVER if waiting.estimate_ms is None else waiting.estimate_ms
            strict = 0 if self.equality else 1
            if waiting.job_id in promised or (not self.extra and now + run + strict > first):
                continue
            placement = self.at(now, waiting.request, run + strict, plan, topology)
            if placement is not None:
                plan.append((now, now + run, placement))
                yield Start(waiting.job_id, placement)

    def earliest(self, request, run, plan, now, topology):
        for at_ms in sorted({now} | {until for _, until, _ in plan if until < FOREVER}):
            placement = self.at(at_ms, request, run, plan, topology)
            if placement is not None:
                return at_ms, at_ms + run, placement
        return None

    def at(self, at_ms, request, run, plan, topology):
        """A placement beside everything that holds a device at some time of the window."""
        busy = [0] * len(topology)
        for since, until, placement in plan:
            if since < at_ms + run and until > at_ms:
                for share in placement:
                    busy[share.node] |= share.device_mask
        ledger = NodeLedger(topology)
        one = topology.request((PodGroup(1, 1),))
        for node, mask in enumerate(busy):
            for device in bits(mask):
                assert ledger.take(one, (Share(node, 1 << device),)) == 1
        return self.placer.place(request, ledger)


@pytest.mark.parametrize("fleet", ["flat", "servers", "uneven"])
@settings(max_examples=EXAMPLES, deadline=None)
@given(data=st.data())
def test_conservative_is_replanned_conservative(fleet, data):
    topology, rules, _ = FLEETS[fleet]
    jobs = data.draw(jobs_of(topology.device_count))
    order = data.draw(st.sampled_from(list(ORDERS)))
    slow = ReplannedConservative(BestFit(), ORDERS[order](), ORDERS[order]())
    expected = golden(replay(jobs, topology, slow, validate=False, **rules), topology)
    pinned = replay(jobs, topology, policy(f"conservative:order={order},reservation=pinned"), **rules)
    assert golden(pinned, topology) == expected
    if fleet != "flat":
        by_itself = replay(jobs, topology, policy(f"conservative:order={order}"), **rules)
        assert golden(by_itself, topology) == expected


class Anew(Policy):
    """Conservative without a memory."""

    name = "anew"

    def decide(self, view):
        return policy("conservative:reservation=counting").decide(view)


@pytest.mark.parametrize("rules", [{"restart_ms": 2, "overrun": "requeue"}, {"thinking": "fixed", "thinking_ms": 3}])
def test_a_plan_in_which_a_start_costs_time_is_made_anew(rules):
    """c ends at 43 or 44 ms, where the plan that started it held 41: late, until 43 ms, is in nobody's way."""
    fleet = servers(12, 1)
    jobs = [
        job("a", 31, 90, 8, estimate_ms=270),
        job("b", 31, 5, 8, estimate_ms=5),
        job("c", 31, 10, 1, estimate_ms=5 if "overrun" in rules else 10),
        job("d", 35, 5, 4, estimate_ms=5),
        job("late", 38, 5, 1, estimate_ms=5),
    ]
    found = golden(replay(jobs, fleet, policy("conservative:reservation=counting"), split="free", **rules), fleet)
    assert found == golden(replay(jobs, fleet, Anew(), split="free", **rules), fleet)
    assert "38 start late" in found


@pytest.mark.parametrize("fleet", ["flat", "servers"])
@settings(max_examples=EXAMPLES, deadline=None)
@given(data=st.data())
def test_a_depth_is_replanned_to_that_depth(fleet, data):
    topology, rules, _ = FLEETS[fleet]
    jobs = data.draw(jobs_of(topology.device_count))
    order, candidates = data.draw(st.sampled_from(list(ORDERS))), data.draw(st.sampled_from(list(ORDERS)))
    depth, equality, extra = data.draw(st.integers(2, 4)), data.draw(st.booleans()), data.draw(st.booleans())
    slow = ReplannedConservative(
        BestFit(), ORDERS[order](), ORDERS[candidates](), depth, equality=equality, extra=extra
    )
    fast = (
        f"easy:depth={depth},order={order},candidates={candidates},shadow-equality={'yes' if equality else 'no'},"
        f"extra={'yes' if extra else 'no'},reservation=pinned"
    )
    expected = golden(replay(jobs, topology, slow, validate=False, **rules), topology)
    assert golden(replay(jobs, topology, policy(fast), **rules), topology) == expected


@settings(max_examples=EXAMPLES, deadline=None)
@given(data=st.data())
def test_counted_one_promise_for_a_window_is_one_promise_for_an_instant(data):
    """On a flat pool nothing is released and taken again between the shadow time and the end of the head's window."""
    topology, rules, _ = FLEETS["flat"]
    jobs = data.draw(jobs_of(topology.device_count))
    window = Conservative(name="window", order=Fifo(), placer=BestFit(), depth=1)
    expected = golden(replay(jobs, topology, policy("easy"), **rules), topology)
    assert golden(replay(jobs, topology, window, **rules), topology) == expected


class Watched(CompressedConservative):
    """Notes the first slot that each job was given."""

    def decide(self, view):
        for action in super().decide(view):
            self.note()
            yield action
        self.note()

    def note(self):
        for job_id, slot in self.guarantees.slots.items():
            self.first.setdefault(job_id, slot.start_ms)


@pytest.mark.parametrize("fleet", ["flat", "servers"])
@settings(max_examples=EXAMPLES, deadline=None)
@given(data=st.data())
def test_compression_keeps_its_word(fleet, data):
    """If nobody outruns an estimate, every job starts by the time that it was first given, unless it is taken away before."""
    topology, rules, _ = FLEETS[fleet]
    jobs = [
        replace(one, estimate_ms=max(one.estimate_ms or 40, one.run_ms, one.lifetime_ms or 0))
        for one in data.draw(jobs_of(topology.device_count))
    ]
    watched = Watched(name="watched", order=Fifo(), placer=BestFit())
    watched.first = {}
    started = starts(replay(jobs, topology, watched, **rules))
    ends = {one.job_id: one.submit_ms + one.lifetime_ms for one in jobs if one.lifetime_ms is not None}
    begun = {name: started.get(name, ends.get(name, FOREVER)) for name in watched.first}
    assert not {name: (begun[name], at_ms) for name, at_ms in watched.first.items() if begun[name] > at_ms}
