"""Higher priority first, then the order of arrival: kube-scheduler's PrioritySort."""

from __future__ import annotations

from policies.api import JobView


class Priority:
    """See the module."""

    name = "priority, then arrival"
    needs_estimates = False
    peeks = False

    def key(self, job: JobView) -> tuple[int, int]:
        """Priority descending, then the rank of arrival."""
        return (-job.priority, job.arrival)
