"""Checks a policy's action, then lets it happen, or refuses it with a story."""

from __future__ import annotations

import traceback
from pathlib import Path

from policies.api import Action, ExternalPolicyError, Placement, Preempt, Reject, Resize, Start, WakeAt
from policies.feasibility import why_not
from sim.state import JobState, State, describe
from sim.timeline import Happened

PREEMPTIONS_MAX = 100_000
"""Preemptions of one job after which the policy is taken to go in circles."""

STORY_LINES = 8
"""Lines of a job's past that a refusal tells."""


class RefusedActionError(ValueError):
    """A policy asked for what cannot be. The message tells who, when, what, why, and the story of the job."""


class PolicyStalledError(ValueError):
    """A policy leaves jobs waiting although nothing will ever happen again."""


class Referee:
    """Says of each action whether it may be applied now."""

    def __init__(self, state: State, policy_name: str) -> None:
        self._state = state
        self._policy = policy_name

    def start(self, action: Start) -> JobState:
        """The waiting job that may start so. Raises `RefusedActionError`."""
        state = self._state
        try:
            job = state.jobs.get(action.job_id)
        except TypeError:
            job = None
        if job is None:
            raise self._refusal(f"cannot start {action.job_id!r}", "no such job waits or runs", None)
        if job.running is not None:
            where = describe(job.running.placement, state.ledger.topology)
            raise self._refusal(f"cannot start {action.job_id}", f"it already runs on {where}", job)
        if why_not(job.view.request, action.placement, state.ledger) is not None:
            raise self.unfit(job, action.placement)
        return job

    def unfit(self, job: JobState, placement: Placement) -> RefusedActionError:
        """The refusal of a placement that cannot be."""
        what = f"cannot start {job.record.job_id} on {self._where(placement)}"
        return self._refusal(what, why_not(job.view.request, placement, self._state.ledger) or "unknown", job)

    def preempt(self, action: Preempt) -> JobState:
        """The running job that may be preempted. Raises `RefusedActionError`."""
        job = self._state.jobs.get(action.job_id)
        if job is None:
            raise self._refusal(f"cannot preempt {action.job_id!r}", "no such job waits or runs", None)
        if job.running is None:
            raise self._refusal(f"cannot preempt {action.job_id}", "it does not run", job)
        if job.view.preemptions >= PREEMPTIONS_MAX:
            why = f"it has been preempted {PREEMPTIONS_MAX} times: this does not come to an end"
            raise self._refusal(f"cannot preempt {action.job_id}", why, job)
        return job

    def no_departures(self, action: Preempt) -> RefusedActionError:
        """The refusal of a preemption in a static fill."""
        job = self._state.jobs.get(action.job_id)
        return self._refusal(f"cannot preempt {action.job_id!r}", "a static fill has no departures", job)

    def reject(self, action: Reject) -> JobState:
        """The waiting job that may be turned away. Raises `RefusedActionError`."""
        job = self._state.jobs.get(action.job_id)
        if job is None:
            raise self._refusal(f"cannot reject {action.job_id!r}", "no such job waits or runs", None)
        if job.running is not None:
            raise self._refusal(f"cannot reject {action.job_id}", "it runs; preempt it first", job)
        return job

    def wake_at(self, action: WakeAt) -> int:
        """The time at which a pass is asked for. Raises `RefusedActionError`."""
        if not isinstance(action.at_ms, int) or action.at_ms <= self._state.view.now_ms:
            raise self._refusal(f"cannot wake at {action.at_ms!r}", "that is not later than now", None)
        return action.at_ms

    def unknown(self, action: Action) -> RefusedActionError:
        """The refusal of anything else."""
        if isinstance(action, Resize):
            job = self._state.jobs.get(action.job_id)
            return self._refusal(f"cannot resize {action.job_id}", "this scenario has no elastic jobs", job)
        known = "Start, Preempt, Reject or WakeAt"
        return self._refusal(f"cannot apply {action!r}", f"an action is one of {known}", None)

    def stalled(self) -> PolicyStalledError:
        """The error for jobs that wait for ever."""
        pending = self._state.view.pending
        first = next(iter(pending), None)
        if first is None:
            return PolicyStalledError(
                f"{self._policy} at {self._state.view.now_ms} ms: asks to be woken again and again, and nothing happens"
            )
        return PolicyStalledError(
            f"{self._policy} at {self._state.view.now_ms} ms: {len(pending)} jobs wait, nothing runs and nothing will"
            f" happen any more, but the policy starts none of them; the first is {first.job_id}"
            f" ({first.request.devices} devices){self._story(self._state.jobs[first.job_id])}"
        )

    def endless(self) -> RefusedActionError:
        """The refusal of a pass that yields more actions than there can be reasons for."""
        return RefusedActionError(f"{self._policy} at {self._state.view.now_ms} ms: the pass does not come to an end")

    def failed(self, error: Exception) -> RefusedActionError:
        """The policy's own error, with the place in its code."""
        if isinstance(error, ExternalPolicyError):
            return RefusedActionError(f"{self._policy} at {self._state.view.now_ms} ms: the policy failed: {error}")
        return RefusedActionError(
            f"{self._policy} at {self._state.view.now_ms} ms: the policy failed: {type(error).__name__}: {error}"
            f" ({_place(error)})"
        )

    def _where(self, placement: Placement) -> str:
        try:
            return describe(placement, self._state.ledger.topology)
        except (TypeError, AttributeError, ValueError):
            return repr(placement)

    def _refusal(self, what: str, why: str, job: JobState | None) -> RefusedActionError:
        return RefusedActionError(f"{self._policy} at {self._state.view.now_ms} ms: {what}: {why}{self._story(job)}")

    def _story(self, job: JobState | None) -> str:
        if job is None:
            return ""
        lines = [
            f"\n  {at} {Happened(happened).name.lower()} {job.record.job_id}"
            f" {describe(placement, self._state.ledger.topology)}".rstrip()
            for at, happened, row, placement in self._state.timeline.recent()
            if row == job.row
        ]
        return "".join(lines[-STORY_LINES:])


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1] if frames else None
    return f"{Path(last.filename).name}, line {last.lineno}, in {last.name}" if last else "no place known"
