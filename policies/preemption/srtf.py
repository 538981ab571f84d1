"""Shortest remaining time first, by true run times: an oracle, with preemption.

Everything that waits or runs is sorted by what truly remains. In that order jobs are chosen as long as devices remain, skipping
those that are too large; running jobs that are not chosen may be preempted by waiting ones that are. A chosen job that runs
keeps its place, and nobody is preempted unless a chosen job then really starts. The yardstick of the literature; it counts no
cost of preemption when it chooses. A device counts for its share; topology counts when a job is placed, not when it is chosen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from policies.api import DEVICE_MILLI, Action, ClusterView, JobView, Preempt, RunningJob, Semantics, Start
from policies.framework.cycle import Cycle
from policies.ordering.shortest import truth
from policies.preemption.room import make_room


class ShortestRemainingFirst(Cycle):
    """See the module."""

    blocking = "skips jobs that do not fit, without reservation"

    def decide(self, view: ClusterView) -> Iterator[Action]:
        """Choose, then start the chosen in order, at the cost of those not chosen."""
        waiting, dispensable = self._choose(view)
        hopeless: set[object] = set()
        for job in waiting:
            if job.request in hopeless:
                continue
            placement = self.place(job, view)
            if placement is None:
                victims = [running for running in dispensable if running.job.job_id in view.running]
                within = None if self.admission is None else self.admission.allowed(job, view)
                found = None if within == 0 else make_room(job.request, victims, view, self.placer, within)
                if found is None:
                    hopeless.add(job.request)
                    continue
                gone, placement = found
                for victim in gone:
                    yield Preempt(victim.job.job_id, f"{job.job_id} has less left")
            yield Start(job.job_id, placement)

    def _choose(self, view: ClusterView) -> tuple[list[JobView], list[RunningJob]]:
        """The waiting jobs that are chosen, in order, and the running jobs that are not, the longest remaining first."""
        ranked: list[tuple[int, int, JobView, RunningJob | None]] = [
            (truth(job) - job.attained_ms, job.arrival, job, None) for job in view.pending.by(self.order)
        ]
        for running in view.running:
            job = running.job
            ranked.append((truth(job) - view.running.attained_ms(job.job_id), job.arrival, job, running))
        ranked.sort(key=lambda entry: entry[:2])
        left = view.nodes.topology.device_count * DEVICE_MILLI
        chosen: list[JobView] = []
        dispensable: list[RunningJob] = []
        for _, _, job, held in ranked:
            demand = job.request.demand_milli
            if demand <= left:
                left -= demand
                if held is None:
                    chosen.append(job)
            elif held is not None:
                dispensable.append(held)
        dispensable.reverse()
        return chosen, dispensable

    def semantics(self) -> Semantics:
        """What this policy means."""
        return replace(
            super().semantics(), preemption="whoever has more left than a chosen job that needs the devices"
        )
