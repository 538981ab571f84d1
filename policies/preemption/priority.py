"""Priority with preemption: a job that does not fit takes the place of running jobs of lower priority.

Higher priority first, then arrival; skips what does not fit even so. Victims: the lowest priority first, among equals the
latest start, and no more than must go. Never a job of equal priority. After kube-scheduler's default preemption, with gangs
whole and without disruption budgets or a grace period; the driver's scenario says what a victim loses.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from policies.api import Action, ClusterView, JobView, NodeSet, Placement, Preempt, RunningJob, Semantics, Start
from policies.framework.cycle import Cycle
from policies.preemption.room import make_room


class PreemptPriority(Cycle):
    """See the module."""

    blocking = "skips jobs that do not fit, without reservation"

    def decide(self, view: ClusterView) -> Iterator[Action]:
        """Each waiting job in order: on free devices, else in the place of lower priorities."""
        hopeless: set[tuple[object, ...]] = set()
        while (job := self._next(view, hopeless)) is not None:
            placement = self.place(job, view)
            if placement is None:
                found = None if self._forbidden(job, view) else self._victims(job, view)
                if found is None:
                    hopeless.add(self._kind(job))
                    continue
                victims, placement = found
                for victim in victims:
                    yield Preempt(victim.job.job_id, f"for {job.job_id} of priority {job.priority}")
            yield Start(job.job_id, placement)

    def _next(self, view: ClusterView, hopeless: set[tuple[object, ...]]) -> JobView | None:
        """The first waiting job of which no like has been tried in vain in this pass."""
        return next((job for job in view.pending.by(self.order) if self._kind(job) not in hopeless), None)

    def _kind(self, job: JobView) -> tuple[object, ...]:
        return (job.request, job.priority, job.queue if self.admission else "")

    def _forbidden(self, job: JobView, view: ClusterView) -> bool:
        return self.admission is not None and not self.admission.allowed(job, view)

    def _victims(self, job: JobView, view: ClusterView) -> tuple[list[RunningJob], Placement] | None:
        within = None if self.admission is None else self.admission.allowed(job, view)
        return self.victims(job, view.running, view, within)

    def victims(
        self, job: JobView, candidates: Iterable[RunningJob], view: ClusterView, within: NodeSet | None = None
    ) -> tuple[list[RunningJob], Placement] | None:
        """Who of the candidates must go so that the job fits, and where; None if it does not fit even so."""
        lower = [running for running in candidates if self.may_take(job, running)]
        lower.sort(key=lambda running: (running.job.priority, -running.start_ms, -running.job.arrival))
        return make_room(job.request, lower, view, self.placer, within)

    def may_take(self, job: JobView, running: RunningJob) -> bool:
        """Whether a waiting job may take the place of a running one at all."""
        return running.job.priority < job.priority

    def semantics(self) -> Semantics:
        """What this policy means."""
        victims = "lower priority, the lowest first, the latest start among equals; no more than must go"
        return replace(super().semantics(), preemption=victims)
