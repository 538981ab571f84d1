"""The passes of `kube-default` on one cluster: the queue, one job at a time, and what each decision leads to."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from enum import Enum, auto
from typing import Final, NamedTuple

import numpy as np

from policies.api import Action, ClusterView, JobView, Preempt, Request, Start, WakeAt
from policies.bitset import to_array
from policies.framework.points import Admission
from policies.kube.cluster import Change, RunningPods
from policies.kube.core import KubeScheduler
from policies.kube.extender import Extender, ExtenderError
from policies.kube.jobs import DEVICES, JobPods
from policies.kube.ledger import Counts, Mask
from policies.kube.planning import Plan, Planner
from policies.kube.pods import Pod
from policies.kube.queue import FLUSH_MS, WaitingJobs
from policies.kube.settings import Settings, with_devices
from policies.nodes import NodeTable
from policies.values import DEVICE_MILLI

FLUSHES_MAX: Final = 288
"""Flushes in a row, a day of them, in which extenders may change their minds; then only an event leads to another attempt."""

LOOKS_MAX: Final = 64
"""Changed servers that are looked at one by one for each kind of job; more, and every kind is tried anew."""


class Kind(NamedTuple):
    """Jobs that are alike for the scheduler: where one fits nowhere, none of them does."""

    request: Request
    priority: int
    queue: str
    """Empty where no entitlements are kept."""


class Outcome(Enum):
    """What came of trying one job, as far as others are concerned."""

    FAILED = auto()
    """It fits nowhere: it waits for an event."""
    STARTED = auto()
    PREEMPTED = auto()
    """Others had to go for it."""
    NOTHING = auto()
    """It waits for its backoff alone, or does not wait any more."""


class ClusterCycle:
    """One cluster's state: the ledger, the queue, and which kinds of jobs have no room until something happens."""

    def __init__(
        self,
        view: ClusterView,
        settings: Settings,
        *,
        draw: Callable[[int], int],
        extenders: tuple[Extender, ...] = (),
        admission: Admission | None = None,
    ) -> None:
        self.settings = settings
        self.pods = JobPods()
        self.running = RunningPods(view, self.pods)
        self.queue = WaitingJobs(settings.backoff_initial_ms, settings.backoff_max_ms)
        self.scheduler = KubeScheduler(
            self.running.ledger,
            with_devices(settings.profile, (DEVICES,), settings.device_weight),
            percentage=settings.percentage,
            draw=draw,
            extenders=extenders,
            room=self.running.room,
            show=self._shown,
        )
        self.planner = Planner(self.scheduler, self.running, self.pods, preempts=settings.preempts)
        self._admission = admission
        self._flushes = 0
        """Flushes since anything last came, went or started."""
        self._resource = next((node.resource for node in view.nodes.topology.nodes if node.resource), "")
        self._number_of: dict[Kind, int] = {}
        self._kinds: list[Kind] = []
        self._hopeless: Mask = np.zeros(64, dtype=np.bool_)
        """By the number of the kind: tried since the last event, and no room."""
        self._sociable: Mask = np.zeros(64, dtype=np.bool_)
        """Kinds that others' starts may give room (affinity to pods, spreading)."""

    # -- what is new -----------------------------------------------------------------------------------------------

    def _look(self, view: ClusterView) -> None:
        """Take note of everything that happened since the last pass."""
        change = self.running.sync(view)
        queue = self.queue
        for job in view.pending.newer_than(queue.latest):
            queue.add(job, self._kind_of(job))
        # because: as many may wait as before, if one was put back in the same instant in which another was taken away
        back = any(job_id in view.pending and job_id not in queue.slot_of for job_id in change.gone)
        if back or len(queue) != len(view.pending):
            self._compare(view)
        queue.catch_up(self._hopeless, view.now_ms)
        if change.released:
            self._reconsider(change, view.nodes)
            queue.move_all()
        elif change.started:
            self._after_start()
        if change.released or change.started:
            self._flushes = 0
        if queue.flush(view.now_ms):
            self._flushes += 1
            self._hopeless[:] = False

    def _compare(self, view: ClusterView) -> None:
        waiting = {job.job_id: job for job in view.pending.by(_ARRIVAL)}
        self.queue.keep_only(waiting)
        for job in waiting.values():
            self.queue.add(job, self._kind_of(job))

    def _kind_of(self, job: JobView) -> int:
        kind = Kind(job.request, job.priority, job.queue if self._admission is not None else "")
        number = self._number_of.get(kind)
        if number is None:
            number = self._number_of[kind] = len(self._kinds)
            self._kinds.append(kind)
            if number == len(self._hopeless):
                self._hopeless = np.concatenate([self._hopeless, np.zeros_like(self._hopeless)])
                self._sociable = np.concatenate([self._sociable, np.zeros_like(self._sociable)])
            terms = kind.request.terms
            self._sociable[number] = terms is not None and bool(terms.near or any(each.hard for each in terms.spread))
        return number

    def _reconsider(self, change: Change, table: NodeTable) -> None:
        """Something was released: who had no room may have some, unless the servers that changed still have none."""
        nodes = change.nodes
        ledger = self.running.ledger
        if nodes is None or len(nodes) > LOOKS_MAX or self._admission or self.scheduler.extenders or ledger.choosy:
            self._hopeless[:] = False
            return
        for number in np.flatnonzero(self._hopeless).tolist():
            kind = self._kinds[number]
            self._hopeless[number] = not (
                self._sociable[number]
                or self._may_preempt(kind)
                or any(_may_take(kind.request, table, node) for node in nodes)
            )

    def _may_preempt(self, kind: Kind) -> bool:
        terms = kind.request.terms
        willing = self.settings.preempts and (terms is None or terms.may_preempt)
        return willing and self.running.ledger.pod_table.any_below(kind.priority)

    def _after_start(self) -> None:
        """Something started: those that look for company are tried again."""
        self._hopeless &= ~self._sociable
        self.queue.moved |= self.queue.waits & self._sociable[self.queue.group]

    # -- a pass ------------------------------------------------------------------------------------------------------

    def decide(self, view: ClusterView) -> Generator[Action, None, None]:
        """Try everybody who is due, again as long as what one does may help another."""
        self._look(view)
        while (yield from self._round(view)):
            pass
        yield from self._wakes(view)

    def _round(self, view: ClusterView) -> Generator[Action, None, bool]:
        """Try everybody who is due, in order. Gives whether others are due now.

        A preemption ends the round: it is an event for all that wait, and the victims are new in the queue.
        """
        queue, now_ms, again = self.queue, view.now_ms, False
        due = queue.ready(now_ms)
        lost = self._hopeless[queue.group[due]]
        failed = due[lost].tolist()
        for slot in queue.in_order(due[~lost]):
            job = queue.job_at[slot]
            if job is None:
                continue
            outcome = Outcome.FAILED if self._hopeless[queue.group[slot]] else (yield from self._try(job, slot, view))
            if outcome is Outcome.FAILED:
                failed.append(slot)
            elif outcome is Outcome.PREEMPTED:
                self._note(failed, now_ms)
                self._hopeless[:] = False
                queue.move_all()
                return True
            elif outcome is Outcome.STARTED and self._sociable.any():
                self._note(failed, now_ms)
                failed = []
                self._after_start()
                again = True
        self._note(failed, now_ms)
        return again

    def _note(self, failed: list[int], now_ms: int) -> None:
        """These slots were tried and did not fit."""
        if failed:
            self.queue.failed(failed, now_ms, backoff=self.settings.backoff == "wait")

    def _try(self, job: JobView, slot: int, view: ClusterView) -> Generator[Action, None, Outcome]:
        """Start one job, if it can be."""
        if job.job_id not in view.pending:
            self.queue.remove(job.job_id)
            return Outcome.NOTHING
        try:
            plan = self.planner.plan(job, view, self._allowed(job, view))
        except ExtenderError:
            self._postpone(slot, view.now_ms)
            return Outcome.NOTHING
        if plan is None:
            self._hopeless[self.queue.group[slot]] = True
            return Outcome.FAILED
        for victim in plan.victims:
            yield Preempt(victim, f"{job.job_id} has priority {job.priority}")
            self._preempted(victim)
        if self._bound(plan):
            yield Start(job.job_id, plan.placement)
            self.queue.remove(job.job_id)
            self.running.started(job, plan.placement, view.now_ms)
            return Outcome.PREEMPTED if plan.victims else Outcome.STARTED
        self._postpone(slot, view.now_ms)
        return Outcome.PREEMPTED if plan.victims else Outcome.NOTHING

    def _preempted(self, job_id: str) -> None:
        """A victim waits again, as the new pod that its controller makes."""
        victim = self.running.jobs[job_id].job
        self.running.preempted(job_id)
        self.queue.add(victim, self._kind_of(victim))

    def _bound(self, plan: Plan) -> bool:
        try:
            for pod, node in plan.pods:
                self.scheduler.bind(pod, node)
        except ExtenderError:
            return False
        return True

    def _postpone(self, slot: int, now_ms: int) -> None:
        """An extender failed: the job is tried again after its backoff, whatever happens."""
        self.queue.failed([slot], now_ms, backoff=True, stays=True)

    def _allowed(self, job: JobView, view: ClusterView) -> Mask | None:
        """The servers of a kind that the job allows and, if entitlements are kept, for which its queue has headroom."""
        topology = view.nodes.topology
        if self._admission is not None:
            return to_array(self._admission.allowed(job, view), len(topology))
        eligible = job.request.eligible
        return None if eligible is topology.everywhere else topology.as_array(eligible)

    def _wakes(self, view: ClusterView) -> Iterator[Action]:
        """Ask for a pass at the end of the next backoff that may lead to a start, and where extenders may change their minds."""
        queue, now_ms = self.queue, view.now_ms
        waiting = queue.backing_off(now_ms)
        for number in np.unique(queue.group[waiting]).tolist():
            if not self._hopeless[number]:
                self._hopeless[number] = not self._worth_waking(number, waiting, view)
        hopeful = waiting[~self._hopeless[queue.group[waiting]]]
        times = queue.ready_ms[hopeful].tolist()
        if self.scheduler.extenders and self._flushes < FLUSHES_MAX:
            times += (queue.since_ms[queue.waits & ~queue.moved] + FLUSH_MS).tolist()
        later = [at_ms for at_ms in times if at_ms > now_ms]
        if later:
            yield WakeAt(min(later))

    def _worth_waking(self, number: int, waiting: Counts, view: ClusterView) -> bool:
        kind = self._kinds[number]
        if self.scheduler.extenders or self._may_preempt(kind):
            return True
        job = self.queue.job_at[int(waiting[self.queue.group[waiting] == number][0])]
        return job is not None and self.planner.could(job, view.nodes, self._allowed(job, view))

    def _shown(self, pod: Pod) -> Pod:
        """A pod as extenders see it: with whole devices under the name that the cluster has for them."""
        requests = dict(pod.terms.requests)
        milli = requests.pop(DEVICES, 0)
        if not milli:
            return pod
        devices = -(-milli // DEVICE_MILLI)
        if self._resource:
            requests[self._resource] = devices
        terms = replace(pod.terms, requests=tuple(sorted(requests.items())))
        return replace(pod, terms=terms, devices=devices, resource=self._resource)


def _may_take(request: Request, table: NodeTable, node: int) -> bool:
    """Whether a server could take one pod of the gang, roughly: never false where it could."""
    if not request.eligible >> node & 1:
        return False
    idle, milli = table.idle[node], request.device_milli
    shared = milli < DEVICE_MILLI and (
        idle > 0 or any(left >= milli for left in table.partial.get(node, {}).values())
    )
    return any(
        (group.devices <= idle or shared)
        and group.cpu_milli <= table.cpu_left[node]
        and group.memory_mib <= table.memory_left[node]
        and table.pods_left[node] > 0
        for group in request.gang
    )


class _Arrival:
    """All pending jobs, in the order of arrival."""

    name = "arrival"
    by_arrival = True

    def key(self, job: JobView) -> int:
        """Its rank."""
        return job.arrival


_ARRIVAL = _Arrival()
