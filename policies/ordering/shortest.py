"""Shortest job first, by what the user estimates or, as a declared oracle, by the true run time.

A job without an estimate goes behind all that have one, in order of arrival. By estimate it is what Slurm users know as a
short-job queue; by truth it is the yardstick of the literature and cannot be deployed.
"""

from __future__ import annotations

from policies.api import JobView

UNKNOWN = 1 << 62
"""Longer than any estimate."""


class ShortestEstimate:
    """By the user's estimate."""

    name = "shortest estimate, then arrival"
    needs_estimates = True
    peeks = False

    def key(self, job: JobView) -> tuple[int, int]:
        """Estimated run time, then the rank of arrival."""
        estimate = job.estimate_ms
        return (UNKNOWN if estimate is None else estimate, job.arrival)


class ShortestTruth:
    """By the true run time: an oracle."""

    name = "shortest true run time, then arrival"
    needs_estimates = False
    peeks = True

    def key(self, job: JobView) -> tuple[int, int]:
        """True run time, then the rank of arrival."""
        return (truth(job), job.arrival)


class ShortestRemainingTruth:
    """By what truly remains: an oracle."""

    name = "shortest true remaining time, then arrival"
    needs_estimates = False
    peeks = True

    def key(self, job: JobView) -> tuple[int, int]:
        """True run time less the work done and kept, then the rank of arrival."""
        return (truth(job) - job.attained_ms, job.arrival)


def truth(job: JobView) -> int:
    """The true run time. Raises ValueError if the driver grants no oracle."""
    if job.oracle_run_ms is None:
        raise ValueError(
            f"job {job.job_id}: this ordering reads true run times, and the scenario grants no oracle (--oracle)"
        )
    return job.oracle_run_ms
