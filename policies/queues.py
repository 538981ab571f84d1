"""Jobs in an order that is kept up to date: the queue of a scheduling framework, as data structure.

A driver owns these and tells them of each job that comes and goes; policies read them. Adding, removing and the
head cost the same at ten jobs and at a million.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from operator import itemgetter
from typing import Any, Generic, TypeAlias, TypeVar

from policies.api import JobView, Request, SortKey

K = TypeVar("K")
T = TypeVar("T")

CHUNK_MAX = 512
"""Entries of one chunk: what an insertion or removal moves at most."""


class SortedItems(Generic[T]):
    """Items sorted by a key whose last part is unique. A list of short sorted lists."""

    __slots__ = ("_chunks", "_key", "_size")

    def __init__(self, key: Callable[[T], Any]) -> None:
        self._key = key
        self._chunks: list[list[tuple[Any, T]]] = []
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[T]:
        for chunk in self._chunks:
            for _, job in chunk:
                yield job

    def first(self) -> T | None:
        """The job at the head, or None."""
        return self._chunks[0][0][1] if self._size else None

    def entries(self) -> Iterator[tuple[Any, T]]:
        """Each job with its key, in order."""
        for chunk in self._chunks:
            yield from chunk

    def first_entry(self) -> tuple[Any, T] | None:
        """The head with its key, or None."""
        return self._chunks[0][0] if self._size else None

    def add(self, job: T) -> None:
        """Put a job in its place."""
        entry = (self._key(job), job)
        chunks = self._chunks
        self._size += 1
        if not chunks:
            chunks.append([entry])
            return
        last = chunks[-1]
        if last[-1][0] < entry[0]:
            if len(last) >= CHUNK_MAX:
                chunks.append([entry])
            else:
                last.append(entry)
            return
        at = self._chunk_of(entry[0])
        chunk = chunks[at]
        insort(chunk, entry)
        if len(chunk) > CHUNK_MAX:
            half = len(chunk) // 2
            chunks.insert(at + 1, chunk[half:])
            del chunk[half:]

    def remove(self, job: T) -> None:
        """Take a job out. Raises KeyError if it is not here."""
        if self._size and (head := self._chunks[0])[0][1] is job:
            self._size -= 1
            if len(head) > 1:
                del head[0]
            else:
                del self._chunks[0]
            return
        key = self._key(job)
        if self._size:
            at = self._chunk_of(key)
            chunk = self._chunks[at]
            place = bisect_left(chunk, key, key=itemgetter(0))
            if place < len(chunk) and chunk[place][0] == key:
                del chunk[place]
                if not chunk:
                    del self._chunks[at]
                self._size -= 1
                return
        raise KeyError(key)

    def entries_after(self, key: Any) -> Iterator[tuple[Any, T]]:
        """Each job behind `key` with its key, in order; ends early if jobs are removed meanwhile."""
        if not self._size:
            return
        at = self._chunk_of(key)
        chunk = self._chunks[at]
        yield from chunk[bisect_left(chunk, key, key=itemgetter(0)) + (1 if self._holds(chunk, key) else 0) :]
        for later in self._chunks[at + 1 :]:
            yield from later

    @staticmethod
    def _holds(chunk: list[tuple[Any, T]], key: Any) -> bool:
        place = bisect_left(chunk, key, key=itemgetter(0))
        return place < len(chunk) and bool(chunk[place][0] == key)

    def _chunk_of(self, key: Any) -> int:
        chunks = self._chunks
        low, high = 0, len(chunks) - 1
        while low < high:
            middle = (low + high) // 2
            if chunks[middle][-1][0] < key:
                low = middle + 1
            else:
                high = middle
        return low


SortedJobs: TypeAlias = SortedItems[JobView]


class PartitionedJobs(Mapping[K, SortedJobs], Generic[K]):
    """Sorted jobs, apart by a property of the job; holds no empty part."""

    __slots__ = ("_key", "_part_of", "_parts")

    def __init__(self, key: Callable[[JobView], Any], part_of: Callable[[JobView], K]) -> None:
        self._key = key
        self._part_of = part_of
        self._parts: dict[K, SortedJobs] = {}

    def __getitem__(self, part: K) -> SortedJobs:
        return self._parts[part]

    def __iter__(self) -> Iterator[K]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def add(self, job: JobView) -> None:
        """Put a job in its part."""
        name = self._part_of(job)
        part = self._parts.get(name)
        if part is None:
            part = self._parts[name] = SortedItems(self._key)
        part.add(job)

    def remove(self, job: JobView) -> None:
        """Take a job out. Raises KeyError if it is not here."""
        name = self._part_of(job)
        part = self._parts[name]
        part.remove(job)
        if not part:
            del self._parts[name]


class _Arrival:
    name = "arrival"

    def key(self, job: JobView) -> int:
        return job.arrival


class ArrivalQueue:
    """All jobs of a pool in the order of arrival: the pool's own order, as long as no job comes back into its middle."""

    __slots__ = ("_pool", "_sorted")

    def __init__(self, pool: JobPool) -> None:
        self._pool = pool
        self._sorted: SortedJobs | None = None

    def __len__(self) -> int:
        return len(self._pool.jobs)

    def __iter__(self) -> Iterator[JobView]:
        return iter(self._pool.jobs.values()) if self._pool.in_order else iter(self._index())

    def first(self) -> JobView | None:
        """The job at the head, or None."""
        if self._pool.in_order:
            for job in self._pool.jobs.values():
                return job
            return None
        return self._index().first()

    def first_entry(self) -> tuple[Any, JobView] | None:
        """The head with its key, or None."""
        job = self.first()
        return None if job is None else (job.arrival, job)

    def entries_after(self, key: Any) -> Iterator[tuple[Any, JobView]]:
        """Each job behind `key` with its key, in order."""
        return self._index().entries_after(key)

    def _index(self) -> SortedJobs:
        if self._sorted is None:
            self._sorted = self._pool.sorted_by(_Arrival())
        return self._sorted


class JobPool:
    """The pending jobs, with one index for each order that was asked for."""

    def __init__(self) -> None:
        self.jobs: OrderedDict[str, JobView] = OrderedDict()
        """Every job by its id, as they were added. For the owner of the pool. Ordered in C with links, because the head of a
        plain dictionary is found by walking over all that was removed before it."""
        self.in_order = True
        """False once a job came back that had arrived before another: then `jobs` is not in the order of arrival."""
        self._latest = -1
        self._arrivals = ArrivalQueue(self)
        self._sorted: dict[SortKey, SortedJobs] = {}
        self._queues: dict[str, JobPool] | None = None
        self._requests: dict[SortKey, PartitionedJobs[Request]] = {}
        self._indexes: list[SortedJobs | PartitionedJobs[Any]] = []

    def __len__(self) -> int:
        return len(self.jobs)

    def __contains__(self, job_id: object) -> bool:
        return job_id in self.jobs

    def __iter__(self) -> Iterator[JobView]:
        return iter(self.jobs.values())

    def get(self, job_id: str) -> JobView | None:
        """The job with this id, or None."""
        return self.jobs.get(job_id)

    def by(self, order: SortKey) -> SortedJobs | ArrivalQueue:
        """All jobs in `order`. One that says `by_arrival` has the rank of arrival as its key."""
        if getattr(order, "by_arrival", False):
            return self._arrivals
        return self.sorted_by(order)

    def sorted_by(self, order: SortKey) -> SortedJobs:
        """All jobs in `order`, as an index of its own."""
        index = self._sorted.get(order)
        if index is None:
            index = self._sorted[order] = SortedItems(order.key)
            self._fill(index)
        return index

    def by_request(self, order: SortKey) -> PartitionedJobs[Request]:
        """The jobs of each distinct request in `order`."""
        index = self._requests.get(order)
        if index is None:
            index = self._requests[order] = PartitionedJobs(order.key, lambda job: job.request)
            self._fill(index)
        return index

    def queue_names(self) -> list[str]:
        """The queues that have a pending job, by name."""
        return sorted(name for name, pool in self._by_queue().items() if len(pool))

    def of_queue(self, name: str) -> JobPool:
        """The pending jobs of one queue; live."""
        pools = self._by_queue()
        if name not in pools:
            pools[name] = JobPool()
        return pools[name]

    def newer_than(self, arrival: int) -> list[JobView]:
        """The jobs that arrived last, down to and without rank `arrival`, in order of arrival."""
        if not self.in_order:
            return [job for _, job in self._arrivals.entries_after(arrival)]
        newer: list[JobView] = []
        for job in reversed(self.jobs.values()):
            if job.arrival <= arrival:
                break
            newer.append(job)
        newer.reverse()
        return newer

    def _by_queue(self) -> dict[str, JobPool]:
        if self._queues is None:
            self._queues = {}
            for job in self.jobs.values():
                self._queues.setdefault(job.queue, JobPool()).add(job)
        return self._queues

    def _fill(self, index: SortedJobs | PartitionedJobs[Any]) -> None:
        for job in self.jobs.values():
            index.add(job)
        self._indexes.append(index)

    def add(self, job: JobView) -> None:
        """A job begins to wait. For the owner of the pool."""
        self.jobs[job[0]] = job
        arrival = job[1]
        if arrival > self._latest:
            self._latest = arrival
        else:
            self.in_order = False
        for index in self._indexes:
            index.add(job)
        if self._queues is not None:
            self._queues.setdefault(job.queue, JobPool()).add(job)

    def remove(self, job: JobView) -> None:
        """A job waits no more. For the owner of the pool."""
        del self.jobs[job[0]]
        for index in self._indexes:
            index.remove(job)
        if self._queues is not None:
            self._queues[job.queue].remove(job)
