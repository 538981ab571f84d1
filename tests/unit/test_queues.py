"""The ordered queues against a list that is sorted anew each time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.api import JobView, PodGroup, Request
from policies.ordering.fifo import Fifo
from policies.ordering.priority import Priority
from policies.ordering.shortest import ShortestEstimate
from policies.queues import CHUNK_MAX, JobPool, SortedItems

REQUESTS = [Request(gang=(PodGroup(1, devices),), devices=devices) for devices in (1, 2)]


def view(
    number: int, *, priority: int = 0, queue: str = "", estimate: int | None = None, request: int = 0
) -> JobView:
    return JobView(f"j{number}", number, 0, REQUESTS[request], queue, None, priority, estimate)


jobs = st.builds(
    view,
    st.integers(0, 40),
    priority=st.integers(0, 2),
    queue=st.sampled_from(("", "x", "y")),
    estimate=st.sampled_from((None, 5, 7)),
    request=st.integers(0, 1),
)
ORDERS = [Fifo(), Priority(), ShortestEstimate()]


@settings(deadline=None)
@given(st.lists(jobs, max_size=60), st.booleans())
def test_a_pool_is_what_a_sorted_list_is(changes, early):
    """A job that is there already goes, one that is not comes; the indexes are asked for before or after."""
    pool, model = JobPool(), {}
    if early:
        for order in ORDERS:
            assert not pool.by(order)
            assert not pool.by_request(order)
        assert pool.queue_names() == []
    for each in changes:
        if each.job_id in model:
            pool.remove(model.pop(each.job_id))
        else:
            pool.add(each)
            model[each.job_id] = each
    compare(pool, model)
    for name in ("", "x", "y"):
        compare(pool.of_queue(name), {key: job for key, job in model.items() if job.queue == name})


def compare(pool: JobPool, model: dict[str, JobView]) -> None:
    assert len(pool) == len(model)
    assert {job.job_id for job in pool} == set(model)
    assert all(job_id in pool and pool.get(job_id) is job for job_id, job in model.items())
    assert pool.get("nobody") is None
    assert pool.queue_names() == sorted({job.queue for job in model.values()})
    for order in ORDERS:
        expected = sorted(model.values(), key=order.key)
        queue = pool.by(order)
        assert list(queue) == expected
        assert queue.first() == (expected[0] if expected else None)
        assert queue.first_entry() == ((order.key(expected[0]), expected[0]) if expected else None)
        for place, job in enumerate(expected):
            assert [behind for _, behind in queue.entries_after(order.key(job))] == expected[place + 1 :]
        parts = pool.by_request(order)
        assert {request: list(part) for request, part in parts.items()} == {
            request: [job for job in expected if job.request is request]
            for request in {job.request for job in expected}
        }


@pytest.mark.parametrize("count", [CHUNK_MAX, CHUNK_MAX + 1, 5 * CHUNK_MAX])
def test_many_items_stay_in_order_from_either_end_and_from_the_middle(count):
    for numbers in (range(count), reversed(range(count)), [(7 * i) % count for i in range(count) if count % 7]):
        items: SortedItems[tuple[int]] = SortedItems(lambda item: item[0])
        numbers = [(number,) for number in numbers]
        for number in numbers:
            items.add(number)
        assert list(items) == sorted(numbers)
        for number in numbers[::2]:
            items.remove(number)
        assert list(items) == sorted(numbers[1::2])
        assert len(items) == len(numbers[1::2])
        first = sorted(numbers[1::2])[:1]
        assert [items.first()] == (first or [None])


def test_removing_what_is_not_there_is_an_error():
    items: SortedItems[int] = SortedItems(lambda number: number)
    with pytest.raises(KeyError):
        items.remove(1)
    for number in (1, 5, 9):
        items.add(number)
    for absent in (0, 3, 10):
        with pytest.raises(KeyError):
            items.remove(absent)
    assert list(items) == [1, 5, 9]


def test_an_index_is_kept_and_not_built_again():
    pool = JobPool()
    order = Fifo()
    assert pool.by(order) is pool.by(order)
    assert pool.by_request(order) is pool.by_request(order)
    assert pool.of_queue("x") is pool.of_queue("x")


def test_newer_than_gives_the_latest_arrivals():
    pool = JobPool()
    for number in range(5):
        pool.add(view(number))
    assert [job.arrival for job in pool.newer_than(2)] == [3, 4]
    assert [job.arrival for job in pool.newer_than(-1)] == [0, 1, 2, 3, 4]
    assert pool.newer_than(4) == []


def test_newer_than_sees_past_a_job_that_waits_again():
    pool = JobPool()
    for number in range(4):
        pool.add(view(number))
    again = view(0)
    pool.remove(pool.jobs["j0"])
    pool.add(again._replace(preemptions=1))
    assert [job.arrival for job in pool.newer_than(1)] == [2, 3]


def test_the_order_of_arrival_survives_jobs_that_come_back():
    """The pool's own order, until a job comes back into its middle: then an index takes its place, unseen."""
    pool = JobPool()
    queue = pool.by(Fifo())
    for number in range(4):
        pool.add(view(number))
    assert [job.arrival for job in queue] == [0, 1, 2, 3]
    pool.remove(pool.jobs["j1"])
    assert queue.first_entry() == (0, pool.jobs["j0"])
    pool.add(view(1))
    assert [job.arrival for job in queue] == [0, 1, 2, 3]
    assert [job.arrival for _, job in queue.entries_after(1)] == [2, 3]
    pool.remove(pool.jobs["j0"])
    assert queue.first() is pool.jobs["j1"]
    assert len(queue) == 3
    assert [job.arrival for job in pool.newer_than(1)] == [2, 3]
