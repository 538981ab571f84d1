"""What a policy must not do, through the engine: refused with who, when, what and why; nothing lost, nothing half done."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from audited import audited, refused
from builders import job, servers

from policies.api import PodGroup, Policy, Preempt, Reject, Resize, Semantics, Share, Start, WakeAt
from policies.topology import Node, Topology
from sim.timeline import Happened
from sim.world.speed import SpeedModel

JOBS = [job("first", 0, 50, 2), job("gang", 100, 50, 4, pods=2), job("last", 100, 10)]
TOPOLOGY = servers(2, 4)

FIRST = Start("first", (Share(0, 0b0011),))


class Hostile(Policy):
    """Starts `first` at 0 ms as it should be, then does what it is told with the view at 100 ms."""

    name = "hostile"

    def __init__(self, act: Callable, first: object = FIRST) -> None:
        self.act = act
        self.first = first

    def decide(self, view):
        return self.act(view) if view.now_ms >= 100 else [self.first]

    def semantics(self) -> Semantics:
        return Semantics(order="none", blocking="none", placement="hostile")


def gang(*shares) -> Callable:
    return lambda _: [Start("gang", shares)]


class Odd(Start):
    """Looks like a Start."""


PLACEMENTS = {
    "no share": (gang(), "the gang lacks 2 of 2 pods"),
    "half a gang": (gang(Share(0, 0b11)), "the gang lacks 1 of 2 pods"),
    "too many pods": (gang(Share(0, 0b1111, 2), Share(1, 0b11)), "the gang has too many: 1 of 2 pods"),
    "the same devices twice": (gang(Share(0, 0b11), Share(0, 0b11)), "device 0 of n0"),
    "devices that overlap": (gang(Share(0, 0b11), Share(0, 0b110)), "device 1 of n0"),
    "too few devices": (gang(Share(0, 0b1), Share(1, 0b11)), "1 pods need 2 devices"),
    "too many devices": (gang(Share(0, 0b111), Share(1, 0b11)), "1 pods need 2 devices"),
    "a device that does not exist": (gang(Share(0, 0b11), Share(1, 0b110000)), "n1 has no device 5"),
    "a server that does not exist": (gang(Share(0, 0b11), Share(2, 0b11)), "there is no server 2"),
    "a negative server": (gang(Share(0, 0b11), Share(-1, 0b11)), "there is no server -1"),
    "a negative group": (gang(Share(0, 0b11), Share(1, 0b11, 1, -1)), "the gang has no group -1"),
    "a group that does not exist": (gang(Share(0, 0b11), Share(1, 0b11, 1, 1)), "the gang has no group 1"),
    "negative pods": (gang(Share(0, 0b11, -1), Share(1, 0b11, 3)), "-1 pods on n0"),
    "no pods": (gang(Share(0, 0b11), Share(1, 0b11), Share(1, 0, 0)), "0 pods on n1"),
    "a negative mask": (gang(Share(0, 0b11), Share(1, -4)), "1 pods need 2 devices, the placement names none"),
    "a generator": (lambda _: [Start("gang", (Share(n, 0b11) for n in (0, 1)))], ""),
    "text": (gang("n0", "n1"), "not a placement"),
    "None": (lambda _: [Start("gang", None)], "not a placement"),
    "a number": (lambda _: [Start("gang", 5)], "not a placement"),
    "a mask as text": (gang(Share(0, "11"), Share(1, 0b11)), "not a placement"),
    "a server as text": (gang(Share("n0", 0b11), Share(1, 0b11)), "not a placement"),
    "a share of two parts": (gang((0, 0b11), (1, 0b11)), ""),
    "a share of five parts": (gang((0, 0b11, 1, 0, 0), (1, 0b11, 1, 0)), "not a placement"),
}


@pytest.mark.parametrize("speed", [False, True], ids=["plain", "with speeds"])
@pytest.mark.parametrize("sides", [False, True], ids=["devices only", "with CPU"])
@pytest.mark.parametrize("case", PLACEMENTS)
def test_a_placement_that_cannot_be(case, sides, speed):
    act, why = PLACEMENTS[case]
    topology = servers(2, 4, cpu_milli=1000) if sides else TOPOLOGY
    jobs = [job("first", 0, 50, 2), job("gang", 100, 50, 4, pods=2, cpu_milli=2 * sides), job("last", 100, 10)]
    model = (
        SpeedModel(topology, card_ppm=lambda *_: 1_000_000, locality_ppm=lambda _: (1_000_000,)) if speed else None
    )
    message = str(error := refused(jobs, topology, Hostile(act), speed=model))
    assert message.startswith("hostile at 100 ms: cannot start gang"), message
    assert why in message
    assert "\n  100 arrive gang" in message, "the story of the job"
    arrived = error.outcome.timeline.happened == Happened.ARRIVE
    assert arrived.sum() == 3, "what happened until then is kept"


def running_twice(view):
    yield Start("gang", (Share(0, 0b11), Share(1, 0b11)))
    yield Start("gang", (Share(0, 0b1100), Share(1, 0b1100)))


def full_device(view):
    yield Start("gang", (Share(0, 0b11), Share(1, 0b11)))
    yield Start("last", (Share(1, 0b10),))


def endless(view):
    while True:
        yield WakeAt(view.now_ms + 1)


def preempts_for_ever(view):
    while True:
        yield Start("last", (Share(0, 1),))
        yield Preempt("last")


def fails_midway(view):
    yield Start("last", (Share(0, 1),))
    raise KeyError("nodes")


ACTIONS = {
    "starts a job twice": (running_twice, "cannot start gang: it already runs on n0[0-1] n1[0-1]"),
    "on a full device": (full_device, "cannot start last on n1[1]: device 1 of n1 has 0 of 1000"),
    "a job that has ended": (lambda _: [FIRST], "cannot start 'first': no such job waits or runs"),
    "a job that never was": (lambda _: [Start("ghost", (Share(0, 1),))], "cannot start 'ghost': no such job"),
    "a job id of a wrong type": (lambda _: [Start(["gang"], (Share(0, 1),))], "no such job"),
    "preempts a waiting job": (lambda _: [Preempt("gang")], "cannot preempt gang: it does not run"),
    "preempts an ended job": (lambda _: [Preempt("first")], "cannot preempt 'first': no such job"),
    "rejects an ended job": (lambda _: [Reject("first", "no")], "cannot reject 'first': no such job"),
    "wakes in the past": (lambda _: [WakeAt(99)], "cannot wake at 99: that is not later than now"),
    "wakes now": (lambda _: [WakeAt(100)], "cannot wake at 100: that is not later than now"),
    "wakes at no integer": (lambda _: [WakeAt(100.5)], "cannot wake at 100.5"),
    "resizes": (
        lambda _: [Resize("gang", (Share(0, 0b1111, 2),))],
        "cannot resize gang: this scenario has no elastic",
    ),
    "yields text": (lambda _: ["start gang"], "cannot apply 'start gang': an action is one of Start, Preempt"),
    "yields None": (lambda _: [None], "cannot apply None: an action is one of"),
    "yields the placement alone": (lambda _: [(Share(0, 1),)], "an action is one of"),
    "yields what looks like a Start": (lambda _: [Odd("last", (Share(0, 1),))], "an action is one of"),
    "gives None": (lambda _: None, "the policy failed: TypeError"),
    "gives a number": (lambda _: 5, "the policy failed: TypeError"),
    "raises at once": (lambda view: view.no_such_thing, "the policy failed: AttributeError"),
    "raises midway": (fails_midway, "the policy failed: KeyError: 'nodes' (test_hostile_policies.py, line"),
    "endless wakes": (endless, "the pass does not come to an end"),
    "endless preemption": (preempts_for_ever, "the pass does not come to an end"),
    "never starts": (lambda _: [], "2 jobs wait, nothing runs and nothing will happen any more"),
}


@pytest.mark.parametrize("case", ACTIONS)
def test_an_action_that_cannot_be(case):
    act, why = ACTIONS[case]
    error = refused(JOBS, TOPOLOGY, Hostile(act))
    assert str(error).startswith("hostile at 100 ms: "), str(error)
    assert why in str(error)
    assert len(error.outcome.timeline.at_ms) >= 5, "what happened until then is kept"


def test_a_stall_names_the_first_job_and_its_story():
    message = str(refused(JOBS, TOPOLOGY, Hostile(lambda _: [])))
    assert "the first is gang (4 devices)" in message
    assert message.endswith("\n  100 arrive gang")


def test_rejecting_what_runs_is_refused():
    def act(view):
        yield Start("last", (Share(0, 1),))
        yield Reject("last", "changed my mind")

    assert "cannot reject last: it runs; preempt it first" in str(refused(JOBS, TOPOLOGY, Hostile(act)))


def test_actions_before_the_refused_one_stay():
    error = refused(JOBS, TOPOLOGY, Hostile(full_device))
    line = error.outcome.timeline
    assert line.at_ms[line.happened == Happened.START].tolist() == [0, 100]
    assert error.outcome.held_milli_ms == 2000 * 50


@pytest.mark.parametrize("shares", [2, 3])
def test_a_shared_device_is_not_given_away_beyond_its_whole(shares):
    jobs = [job(f"s{i}", 0, 10, gpu_milli=400) for i in range(3)]

    class Piles(Policy):
        name = "piles"

        def decide(self, view):
            for each in list(view.pending)[:shares]:
                yield Start(each.job_id, (Share(0, 1),))

    if shares == 3:
        message = str(refused(jobs, TOPOLOGY, Piles()))
        assert (
            "cannot start s2 on n0[0]: device 0 of n0 has 200 of 1000 milli-devices left, 400 are needed" in message
        )
    else:
        audited(jobs, TOPOLOGY, Piles())


@pytest.mark.parametrize(
    ("limits", "why"),
    [
        ({"cpu_milli": 1000}, "n0 has 0 milli-cores left, 1000 are needed"),
        ({"memory_mib": 10}, "n0 has 0 MiB of memory left, 10 are needed"),
        ({"max_pods": 1}, "n0 has 0 pods left, 1 are needed"),
    ],
)
def test_cpu_memory_and_pods_are_kept(limits, why):
    jobs = [job(name, 0, 10, cpu_milli=1000, memory_mib=10) for name in ("a", "b")]

    class Piles(Policy):
        name = "piles"

        def decide(self, view):
            yield Start("a", (Share(0, 1),))
            yield Start("b", (Share(0, 2),))

    assert why in str(refused(jobs, servers(2, 4, **limits), Piles()))


def test_a_kind_that_the_job_does_not_allow():
    jobs = [job("gang", 100, 50, 4, pods=2, accelerators=("h100",)), JOBS[0]]
    fleet = Topology([Node(name="n0", devices=4), Node(name="n1", devices=4, accelerator="h100")])
    message = str(refused(jobs, fleet, Hostile(gang(Share(0, 0b11), Share(1, 0b11)))))
    assert "n0 is of a kind that the job does not allow" in message


def test_numbers_of_numpy_are_refused_everywhere_or_nowhere():
    """A mask of 64-bit integers would overflow where the ledger keeps unlimited ones."""
    placement = tuple(Share(np.int64(node), np.int64(0b11)) for node in (0, 1))
    plain = [job("first", 0, 50, 2), job("gang", 100, 50, 4, pods=2)]
    assert "not integers" in str(refused(plain, TOPOLOGY, Hostile(gang(*placement))))


def test_the_groups_of_a_gang_are_all_needed():
    """Six devices on servers of four are a pod of four and a pod of two."""
    six = [JOBS[0], job("gang", 100, 50, 6)]
    message = str(refused(six, TOPOLOGY, Hostile(gang(Share(0, 0b1111)))))
    assert f"the gang lacks 1 of 1 pods of {PodGroup(1, 2).devices} devices" in message
