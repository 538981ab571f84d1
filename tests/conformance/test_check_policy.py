"""The kit for policy authors: a stub for each check that fails it and no other, and the catalogue passes all."""

from __future__ import annotations

import datetime as dt
import random
import sys
from dataclasses import replace
from pathlib import Path
from time import monotonic

import numpy as np
import pytest
from builders import policy

from policies import conformance
from policies.api import Policy, Preempt, Reject, Semantics, Share, Start, WakeAt
from policies.catalogue import PLACEMENTS, POLICIES, Parts, make_policy
from policies.conformance import CHECKS, check_policy
from policies.conformance_cluster import random_case
from policies.ordering.fifo import Fifo
from policies.placement.first_fit import FirstFit
from policies.placement.fragmentation import TypicalPod
from policies.quota.nominal import NominalQuota
from sim.streams import Streams

MIX = (TypicalPod(1.0, 1000, 500, 1, ()),)


class Sound(Policy):
    """Arrival order, first fit, the head blocks; written from the contract alone. The stubs differ from it in one thing."""

    name = "sound"
    order = Fifo()
    placer = FirstFit()

    def decide(self, view):
        while (job := self.choose(view)) is not None:
            placement = self.placer.place(job.request, view.nodes)
            if placement is None:
                return
            yield from self.start(job, placement, view)

    def choose(self, view):
        return view.pending.by(self.order).first()

    def start(self, job, placement, view):
        yield Start(job.job_id, placement)

    def semantics(self) -> Semantics:
        return Semantics(order="arrival", blocking="the head blocks", placement="first fit")


class Nameless(Sound):
    name = ""


class NoSemantics(Sound):
    def semantics(self):
        raise NotImplementedError


class GivesText(Sound):
    def semantics(self):
        return "fifo"


class HalfSemantics(Sound):
    def semantics(self) -> Semantics:
        return replace(super().semantics(), blocking="")


class FickleSemantics(Sound):
    made = 0

    def semantics(self) -> Semantics:
        FickleSemantics.made += 1
        return replace(super().semantics(), blocking=f"number {FickleSemantics.made}")


class Fails(Sound):
    def choose(self, view):
        return list(view.pending)[0]  # noqa: RUF015  # because: the stub fails on an empty queue


class FailsAtOnce(Sound):
    def decide(self, view):
        return None


class YieldsText(Sound):
    def start(self, job, placement, view):
        yield f"start {job.job_id}"


class NumpyNumbers(Sound):
    def start(self, job, placement, view):
        yield Start(job.job_id, tuple(share._replace(node=np.int64(share.node)) for share in placement))


class ListPlacement(Sound):
    def start(self, job, placement, view):
        yield Start(job.job_id, list(placement))


class OddJobId(Sound):
    def start(self, job, placement, view):
        yield Start(job.arrival, placement)


class WakesAtHalf(Sound):
    def decide(self, view):
        yield from super().decide(view)
        yield WakeAt(view.now_ms + 0.5)


class StartsTwice(Sound):
    def start(self, job, placement, view):
        yield Start(job.job_id, placement)
        yield Start(job.job_id, placement)


class PreemptsWaiting(Sound):
    def start(self, job, placement, view):
        yield Preempt(job.job_id)


class RejectsUnknown(Sound):
    def decide(self, view):
        yield Reject("nobody", "")


class WakesNow(Sound):
    def decide(self, view):
        yield from super().decide(view)
        yield WakeAt(view.now_ms)


class BlindPlacement(Sound):
    """Does not look at what is taken."""

    def start(self, job, placement, view):
        fresh = type(view.nodes)(view.nodes.topology)
        yield Start(job.job_id, self.placer.place(job.request, fresh))


class HalfGang(Sound):
    def start(self, job, placement, view):
        one = placement[0]
        if sum(share.pods for share in placement) > 1:
            placement = placement[1:] or (
                one._replace(pods=one.pods - 1, device_mask=one.device_mask & (one.device_mask - 1)),
            )
        yield Start(job.job_id, placement)


class TakesDevices(Sound):
    def start(self, job, placement, view):
        view.nodes.take(job.request, placement)
        yield Start(job.job_id, placement)


class ChangesQueues(Sound):
    def decide(self, view):
        yield from super().decide(view)
        for queue in view.queues.values():
            queue.held_milli["*"] = 0
            queue.held_milli["mine"] = 1


class Endless(Sound):
    def decide(self, view):
        yield from super().decide(view)
        while True:
            yield WakeAt(view.now_ms + 1)


class WakesForEver(Sound):
    runs_on_empty_queue = True

    def decide(self, view):
        yield from super().decide(view)
        yield WakeAt(view.now_ms + 1)


class Lazy(Sound):
    def decide(self, view):
        return iter(())


class LazyOnce(Sound):
    """Waits for company: a job alone in the queue is left there."""

    def choose(self, view):
        return super().choose(view) if len(view.pending) > 1 else None


class Undecided(Sound):
    """Two instances differ: by the order in which they were made."""

    made = 0

    def __init__(self) -> None:
        Undecided.made += 1
        self.newest = Undecided.made % 2

    def choose(self, view):
        jobs = list(view.pending.by(self.order))
        return (jobs[-1] if self.newest else jobs[0]) if jobs else None


class Scratch(Sound):
    """Keeps a list between passes that nobody clears."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def choose(self, view):
        jobs = sorted(view.pending.by(self.order), key=lambda job: (self.seen.count(job.job_id), job.arrival))
        return jobs[0] if jobs else None

    def start(self, job, placement, view):
        if not job.arrival % 3:
            self.seen.append(job.job_id)
        yield Start(job.job_id, placement)


class ReadsClock(Sound):
    def choose(self, view):
        monotonic()
        return super().choose(view)


class ReadsDate(Sound):
    def choose(self, view):
        dt.datetime.now(tz=dt.UTC)  # noqa: TID251  # because: the stub breaks this rule
        return super().choose(view)


class GlobalRandom(Sound):
    def choose(self, view):
        random.getrandbits(1)
        return super().choose(view)


class GlobalNumpy(Sound):
    def choose(self, view):
        np.random.randint(2)  # noqa: NPY002  # because: the stub breaks this rule
        return super().choose(view)


class PeeksSecretly(Sound):
    def choose(self, view):
        return min(view.pending, key=lambda job: (job.oracle_run_ms or 0, job.arrival), default=None)


class EstimatesSecretly(Sound):
    def choose(self, view):
        return min(view.pending, key=lambda job: (job.estimate_ms or 0, job.arrival), default=None)


class SaysQuota(Sound):
    def semantics(self) -> Semantics:
        return replace(super().semantics(), quota="kept")


class StartsWhatIsGone(Sound):
    """Keeps a list of its own of who waits, and takes out of it only whom it starts."""

    nodes = None

    def choose(self, view):
        if self.nodes is not view.nodes:
            self.nodes, self.waiting = view.nodes, {}
        for job in view.pending:
            self.waiting.setdefault(job.job_id, job)
        return min(self.waiting.values(), key=self.order.key, default=None)

    def start(self, job, placement, view):
        del self.waiting[job.job_id]
        yield Start(job.job_id, placement)


class WaitsForWhatIsGone(Sound):
    """Remembers who is first in line until it has started that one."""

    nodes = None

    def choose(self, view):
        if self.nodes is not view.nodes:
            self.nodes, self.head = view.nodes, None
        job = super().choose(view)
        self.head = self.head or (job and job.job_id)
        return job if job and job.job_id == self.head else None

    def start(self, job, placement, view):
        self.head = None
        yield Start(job.job_id, placement)


STUBS = {
    Nameless: "name",
    NoSemantics: "semantics",
    GivesText: "semantics",
    HalfSemantics: "semantics",
    FickleSemantics: "semantics",
    Fails: "fails",
    FailsAtOnce: "fails",
    YieldsText: "values",
    NumpyNumbers: "values",
    ListPlacement: "values",
    OddJobId: "values",
    WakesAtHalf: "values",
    StartsTwice: "legal",
    PreemptsWaiting: "legal",
    RejectsUnknown: "legal",
    WakesNow: "legal",
    BlindPlacement: "legal",
    HalfGang: "gang",
    SaysQuota: "quota",
    TakesDevices: "view",
    ChangesQueues: "view",
    Endless: "endless",
    WakesForEver: "endless",
    Lazy: "stalls",
    LazyOnce: "stalls",
    Undecided: "deterministic",
    Scratch: "memory",
    ReadsClock: "clock",
    ReadsDate: "clock",
    GlobalRandom: "clock",
    GlobalNumpy: "clock",
    PeeksSecretly: "peeks",
    EstimatesSecretly: "estimates",
    StartsWhatIsGone: "legal",
    WaitsForWhatIsGone: "stalls",
}


def test_a_sound_policy_passes():
    assert check_policy(Sound) == []


@pytest.mark.parametrize("stub", STUBS, ids=[stub.__name__ for stub in STUBS])
def test_a_stub_fails_one_check_and_no_other(stub):
    found = check_policy(stub)
    assert [finding.check for finding in found] == [STUBS[stub]], [str(finding) for finding in found]
    assert CHECKS[STUBS[stub]] in str(found[0])


@pytest.mark.parametrize("stub", [StartsWhatIsGone, WaitsForWhatIsGone])
def test_only_a_job_that_is_taken_away_shows_some_faults(stub):
    for seed in range(0, 20, 2):
        assert not random_case(seed).lifetimes
        assert check_policy(stub, cases=1, first_seed=seed) == []


def test_every_check_has_a_stub_that_fails_it():
    assert set(STUBS.values()) == set(CHECKS)


def test_a_policy_that_reads_both_ways_and_says_so_passes():
    class Peeks(PeeksSecretly):
        def semantics(self) -> Semantics:
            return replace(super().semantics(), peeks=True)

    class Needs(EstimatesSecretly):
        def semantics(self) -> Semantics:
            return replace(super().semantics(), needs_estimates=True)

    class Keeps(SaysQuota):
        def choose(self, view):
            jobs = view.pending.by(self.order)
            return next((job for job in jobs if NominalQuota().allowed(job, view) == job.request.eligible), None)

    for kind in (Peeks, Needs, Keeps):
        assert check_policy(kind) == [], kind


def test_a_policy_that_draws_says_so():
    def make() -> Policy:
        return policy("best-effort-fifo:place=random")

    assert [finding.check for finding in check_policy(make)] == ["memory"]
    assert check_policy(make, draws=True) == []


def test_a_finding_names_a_case_that_can_be_built_again():
    finding = check_policy(HalfGang)[0]
    seed = int(finding.case.removeprefix("random_case(").removesuffix(")"))
    assert check_policy(HalfGang, cases=1, first_seed=seed) == [finding]


def test_what_make_raises_is_not_hidden():
    def make() -> Policy:
        raise LookupError("no such policy")

    with pytest.raises(LookupError):
        check_policy(make)


def test_the_kit_leaves_the_profiler_as_it_was():
    before = sys.getprofile()
    check_policy(ReadsClock, cases=1)
    assert sys.getprofile() is before


def test_the_kit_is_part_of_what_production_imports():
    """No test framework and no simulator in it."""
    assert "pytest" not in Path(conformance.__file__).read_text(encoding="utf-8")


# -- the catalogue -------------------------------------------------------------------------------------------------


def spec_of(name: str, **parameters: str) -> str:
    return name + (":" if parameters else "") + ",".join(f"{key}={value}" for key, value in parameters.items())


def make(spec: str) -> Policy:
    return make_policy(spec, Parts(generator=Streams(1).generator, typical_pods=MIX))


SPECS = [
    *(spec_of(name) for name in POLICIES),
    *(spec_of(name, quota="keep") for name in POLICIES),
    *(spec_of(name, per="queue", place="random") for name, entry in POLICIES.items() if entry.build_whole is None),
    *(
        spec_of(name, **{key: value})
        for name, entry in POLICIES.items()
        for key in entry.options
        for value in entry.options[key]
    ),
    *(spec_of(name, place=place) for name in ("best-effort-fifo", "easy") for place in PLACEMENTS),
]


@pytest.mark.parametrize("spec", SPECS)
def test_the_catalogue_passes_all_checks(spec):
    findings = check_policy(lambda: make(spec), draws="random" in spec, cases=15)
    assert findings == [], "\n".join(map(str, findings))


def test_a_share_is_a_tuple():
    assert Share(0, 1) == (0, 1, 1, 0)
