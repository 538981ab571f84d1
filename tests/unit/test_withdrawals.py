"""A waiting job that is taken away between two passes: no policy holds anything for it, and every policy is told."""

from __future__ import annotations

import pytest
from audited import audited
from builders import golden, job, policy, servers, starts

from policies.api import Policy
from policies.catalogue import POLICIES
from policies.serving.process_books import Books

BIG_IS_TAKEN_AWAY = [
    job("a", 0, 100, 2, estimate_ms=100),
    job("big", 1, 50, 4, estimate_ms=50, lifetime_ms=20),
    job("long", 2, 1000, 2, estimate_ms=1000),  # from 2 ms on it would delay big, which is promised 100 ms
]


@pytest.mark.parametrize(
    "spec",
    [
        *(f"{name}:reservation={kind}" for name in ("easy", "conservative") for kind in ("feasible", "counting", "pinned")),
        "easy:depth=2",
        "conservative:replan=compression",
        "conservative:replan=compression,reservation=counting",
        "conservative:per=queue",
        "fifo",
    ],
)  # fmt: skip
@pytest.mark.parametrize("fleet", [servers(1, 4), servers(4, 1)], ids=["server", "flat"])
def test_a_promise_goes_with_its_job(spec, fleet):
    outcome = audited(BIG_IS_TAKEN_AWAY, fleet, spec, split="free")
    assert starts(outcome) == {"a": 0, "long": 21}


@pytest.mark.parametrize("spec", ["easy", "conservative", "conservative:replan=compression"])
def test_a_job_without_a_promise_that_goes_closes_the_queue_no_longer(spec):
    """a has no estimate, so big can be promised nothing, and nobody passes it."""
    jobs = [job("a", 0, 100, 2), *BIG_IS_TAKEN_AWAY[1:]]
    assert starts(audited(jobs, servers(1, 4), spec)) == {"a": 0, "long": 21}


def test_compression_moves_the_others_into_the_gap():
    """big has 100-150, so next has 150; big goes, and next moves to 100, which later must leave to it."""
    jobs = [
        *BIG_IS_TAKEN_AWAY[:2],
        job("next", 2, 10, 3, estimate_ms=10),
        job("later", 30, 40, 3, estimate_ms=40),
    ]
    for spec in ("conservative", "conservative:replan=compression"):
        assert starts(audited(jobs, servers(1, 4), spec)) == {"a": 0, "next": 100, "later": 110}


def test_kube_default_sees_one_go_and_another_come_back_in_the_same_instant():
    """As many wait as before: a is put back at its limit of 30 ms, when b is taken away."""
    fleet = servers(1)
    jobs = [job("a", 0, 40, 8, estimate_ms=30), job("b", 5, 10, 8, lifetime_ms=25)]
    outcome = audited(jobs, fleet, "kube-default:ties=first", overrun="requeue")
    assert golden(outcome, fleet).splitlines()[3:] == [
        "30 preempt a",
        "30 withdraw b",
        "30 start a n0[0-7]",
        "40 finish a",
    ]


def test_kube_default_forgets_who_is_gone():
    """b goes while it waits for its backoff: what remembers it is as if it had never come."""
    made = policy("kube-default:ties=first")
    audited([job("a", 0, 9000, 8), job("b", 5, 10, 8, lifetime_ms=2500), job("c", 3000, 5, 8)], servers(1), made)
    queue = made._cycle.queue
    assert len(queue) == 0
    assert not queue.waits.any()
    assert not queue.moved.any()


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_a_queue_of_jobs_that_all_go_is_no_stall(name):
    """Nothing ever fits b and c, which are taken away behind a; d then starts at once."""
    jobs = [
        job("a", 0, 100, 8, lifetime_ms=100, estimate_ms=100),
        job("b", 1, 10, 8, lifetime_ms=40, estimate_ms=10),
        job("c", 1, 10, 5, lifetime_ms=40, estimate_ms=10),
        job("d", 50, 10, 8, estimate_ms=10),
    ]
    spec = f"{name}:ties=first" if name == "kube-default" else name
    found = starts(audited(jobs, servers(1), spec, oracle=True, restart_ms=1))
    assert "b" not in found or name == "srtf-oracle", "it has less left than a and takes its place"
    assert found["a"] == 0


class Told(Policy):
    """Decides as another policy, and writes down what a process would be told."""

    name = "told"

    def __init__(self) -> None:
        self.inner = policy("fifo")
        self.books: Books | None = None
        self.told: list[tuple[int, str, str]] = []

    def decide(self, view):
        self.books = self.books or Books(view)
        for each in self.books.message(1, attained=False)["changes"]:
            self.told.append((view.now_ms, each["change"], each.get("job_id") or each["job"]["job_id"]))
        for action in self.inner.decide(view):
            yield action
            self.books.note(action)


def test_a_process_is_told_of_who_goes():
    told = Told()
    jobs = [
        job("a", 0, 10, 8, lifetime_ms=30),
        job("b", 5, 10, 8, lifetime_ms=20),
        job("briefly", 25, 10, 8, lifetime_ms=60),
        job("c", 6, 10, 8),
    ]
    audited(jobs, servers(1), told)
    assert told.told == [
        (0, "arrived", "a"),
        (5, "started", "a"),
        (5, "arrived", "b"),
        (6, "arrived", "c"),
        (25, "arrived", "briefly"),
        (25, "ended", "b"),
        (30, "ended", "a"),
        (40, "started", "c"),
        (40, "ended", "c"),
    ]


def test_who_comes_and_goes_between_two_passes_is_never_told():
    told = Told()
    jobs = [job("a", 0, 45, 8), job("gone", 31, 10, 8, lifetime_ms=20), job("c", 31, 10, 8)]
    audited(jobs, servers(1), told, cycle_ms=30)
    assert [who for _, _, who in told.told] == ["a", "a", "a", "c"]
