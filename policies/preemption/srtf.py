"""Shortest remaining time first, by truth, with preemption: at each pass the jobs that truly have least left to do hold the
devices.

All jobs, waiting and running, are gone through by true remaining time; each is taken if it fits beside those taken
before it, and skipped if not. A running job that is taken keeps its devices; one that is not taken is preempted if a job
that is taken needs its devices, and runs on if none does. Nobody is moved: on servers a job that was taken may find
no room beside the running ones, and then waits.

Source: Schrage, "A Proof of the Optimality of the Shortest Remaining Processing Time Discipline" (Operations Research 1968); for
gangs it is a yardstick, not an optimum. An oracle: it can be rehearsed, not deployed. Assumptions: preemption costs
nothing (it does not look at restart costs or at lost progress). A pass costs a look at every job. It keeps no entitlements.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from policies.api import Action, ClusterView, JobView, Placement, Policy, Preempt, Request, RunningJob, Semantics, Start
from policies.backfill.reservation import has_room, take_if_free
from policies.framework.points import Placer
from policies.nodes import NodeLedger
from policies.ordering.shortest import ShortestRemainingTruth, truth


class ShortestRemainingFirst(Policy):
    """See the module."""

    runs_on_empty_queue = False  # because: without a waiting job nobody can take anything from a running one

    def __init__(self, *, name: str, placer: Placer) -> None:
        self.name = name
        self.order = ShortestRemainingTruth()
        """Of the waiting jobs; the running ones are measured at each pass."""
        self.placer = placer

    def decide(self, view: ClusterView) -> Iterator[Action]:
        """Preempt those whose devices are needed, then start those who need them."""
        taken = self.chosen(view)
        held = {running.job.job_id: running for running in view.running}
        starting = [job for job in taken if job.job_id not in held]
        if not starting:
            return
        losing = [held[job_id] for job_id in held if job_id not in {job.job_id for job in taken}]
        losing.sort(key=lambda running: (remaining_ms(running, view), running.job.arrival))
        starts = place_all(starting, losing, view, self.placer)
        for running in losing:
            if overlaps(running, starts):
                yield Preempt(running.job.job_id, "jobs with less left to do need its devices")
        for job, placement in starts:
            yield Start(job.job_id, placement)
