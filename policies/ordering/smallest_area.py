"""Smallest area first: devices times run time, by estimate or, as a declared oracle, by truth.

A better yardstick than shortest first where jobs are gangs: a long job on one device blocks less than a short one on 512.
A job without an estimate goes behind all that have one.
"""

from __future__ import annotations

from policies.api import JobView
from policies.ordering.shortest import UNKNOWN, truth


class SmallestEstimatedArea:
    """By the user's estimate."""

    name = "smallest estimated area, then arrival"
    needs_estimates = True
    peeks = False

    def key(self, job: JobView) -> tuple[int, int]:
        """Milli-devices times estimate, then the rank of arrival."""
        estimate = job.estimate_ms
        area = UNKNOWN if estimate is None else estimate * max(job.request.demand_milli, 1)
        return (area, job.arrival)


class SmallestTrueArea:
    """By the true run time: an oracle."""

    name = "smallest true area, then arrival"
    needs_estimates = False
    peeks = True

    def key(self, job: JobView) -> tuple[int, int]:
        """Milli-devices times true run time, then the rank of arrival."""
        return (truth(job) * max(job.request.demand_milli, 1), job.arrival)
