"""The waiting jobs of several requests as one sequence, of which a whole request can be left out at once."""

from __future__ import annotations

import heapq
from collections.abc import Container, Iterator, Mapping
from typing import Any

from policies.api import JobQueue, JobView, Request


class MergedRequests:
    """Jobs in the order of their queues' key, those of the requests in `without` left out.

    Sees each job once; tell it of the one action it must know: that the job it is at has started.
    """

    def __init__(self, parts: Mapping[Request, JobQueue], without: Container[Request], after: Any = None) -> None:
        self._parts = parts
        self._heap: list[tuple[Any, JobView, Iterator[tuple[Any, JobView]]]] = []
        for request, queue in parts.items():
            if request in without:
                continue
            behind: Iterator[tuple[Any, JobView]] = iter(())
            if after is None:
                entry = queue.first_entry()
                if entry is not None:
                    behind = queue.entries_after(entry[0])
            else:
                behind = queue.entries_after(after)
                entry = next(behind, None)
            if entry is not None:
                self._heap.append((entry[0], entry[1], behind))
        heapq.heapify(self._heap)

    def job(self) -> JobView | None:
        """The job it is at, or None at the end."""
        return self._heap[0][1] if self._heap else None

    def advance(self) -> None:
        """Go on to the next job."""
        self._go_on(self._heap[0][2])

    def drop(self) -> None:
        """Leave out all further jobs of this request."""
        heapq.heappop(self._heap)

    def started(self) -> None:
        """The job it is at has left the queue: go on to the next job."""
        key, job, _ = self._heap[0]
        queue = self._parts.get(job.request)
        if queue is None:
            heapq.heappop(self._heap)
        else:
            self._go_on(queue.entries_after(key))

    def _go_on(self, behind: Iterator[tuple[Any, JobView]]) -> None:
        entry = next(behind, None)
        if entry is None:
            heapq.heappop(self._heap)
        else:
            heapq.heapreplace(self._heap, (entry[0], entry[1], behind))
