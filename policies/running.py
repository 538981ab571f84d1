"""The running jobs as a small table, for drivers that do not run millions of them."""

from __future__ import annotations

from collections.abc import Iterator

from policies.api import RunningJob

NEVER = 1 << 62
"""Behind every time."""


class RunningTable:
    """The running jobs of a driver, live. See `policies.api.RunningJobs`."""

    def __init__(self) -> None:
        self.now_ms = 0
        """Set by the owner."""
        self.jobs: dict[str, RunningJob] = {}

    def __len__(self) -> int:
        return len(self.jobs)

    def __contains__(self, job_id: object) -> bool:
        return job_id in self.jobs

    def __iter__(self) -> Iterator[RunningJob]:
        return iter([self[job_id] for job_id in sorted(self.jobs, key=self._start)])

    def _start(self, job_id: str) -> tuple[int, int, str]:
        running = self.jobs[job_id]
        return (running.start_ms, running.job.arrival, job_id)

    def __getitem__(self, job_id: str) -> RunningJob:
        running = self.jobs[job_id]
        end = running.expected_end_ms
        return running if end is None else running._replace(expected_end_ms=max(end, self.now_ms))

    def by_expected_end(self) -> Iterator[RunningJob]:
        """Earliest expected end first, then order of arrival; those without an estimate last."""
        return iter(sorted(self, key=_expected_end))

    def attained_ms(self, job_id: str) -> int:
        """Work done until now."""
        running = self.jobs[job_id]
        return running.job.attained_ms + max(self.now_ms - running.start_ms, 0)


def _expected_end(job: RunningJob) -> tuple[int, int]:
    end = job.expected_end_ms
    return (NEVER if end is None else end, job.job.arrival)
