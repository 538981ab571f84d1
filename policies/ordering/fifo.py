"""First in, first out: the order of arrival. A preempted job keeps its place."""

from __future__ import annotations

from policies.api import JobView


class Fifo:
    """See the module."""

    name = "arrival"
    by_arrival = True
    """The pool's own order will do: see `JobPool.by`."""
    needs_estimates = False
    peeks = False

    def key(self, job: JobView) -> int:
        """The rank of arrival."""
        return job.arrival
