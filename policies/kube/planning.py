"""Where a job goes, and whom it preempts for that: one attempt for a job of one pod, a group cycle for a gang.

A gang is tried pod by pod on a what-if: each pod sees those before it, and whom they would preempt is gone for the next. If one
pod finds no place, all is rolled back and nobody is the wiser. A pod that would be preempted takes its whole job with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from policies.api import ClusterView, JobView, Placement, Request, RunningJob, Share
from policies.kube.cluster import RunningPods
from policies.kube.core import Attempt, KubeScheduler
from policies.kube.extender import ExtenderError
from policies.kube.jobs import JobPods
from policies.kube.ledger import Mask
from policies.kube.pods import Pod
from policies.nodes import NodeLedger, NodeTable


class Plan(NamedTuple):
    """What to do for a job."""

    victims: tuple[str, ...]
    """The jobs to preempt first, each once."""
    placement: Placement
    pods: tuple[tuple[Pod, int], ...]
    """Its pods with their nodes, as extenders see them."""


class Planner:
    """Plans on the ledger of the running jobs, which is afterwards as it was before."""

    def __init__(self, scheduler: KubeScheduler, running: RunningPods, pods: JobPods, *, preempts: bool) -> None:
        self._scheduler = scheduler
        self._running = running
        self._pods = pods
        self._preempts = preempts

    def plan(self, job: JobView, view: ClusterView, allowed: Mask | None) -> Plan | None:
        """What to do for a job now, None if there is nothing. Raises `ExtenderError` if an extender fails."""
        gang = job.request.gang
        if len(gang) == 1 and gang[0].pods == 1:
            return self._plan_one(job, view.nodes, allowed)
        if self._cannot(job, view.nodes, allowed):
            return None
        return _GangTry(self._scheduler, self._running, self._pods, job, view.nodes.what_if()).plan(
            allowed, preempt=self._preempts
        )

    def could(self, job: JobView, table: NodeTable, allowed: Mask | None) -> bool:
        """Whether the filters leave a node for its first pod now. Draws nothing, calls no extender."""
        self._running.room.look_at(table, job.request, 0)
        feasible = self._scheduler.filter(self._pods.waiting(job, 0, 0)).feasible
        return bool((feasible if allowed is None else feasible & allowed).any())

    def _plan_one(self, job: JobView, table: NodeTable, allowed: Mask | None) -> Plan | None:
        running = self._running
        running.room.look_at(table, job.request, 0)
        pod = self._pods.waiting(job, 0, 0)
        attempt = _checked(self._scheduler.attempt(pod, allowed=allowed, preempt=self._preempts))
        if attempt.node is not None:
            return _one(pod, attempt.node, running.room.devices(attempt.node), ())
        if attempt.preemption is None:
            return None
        victims = jobs_of(attempt, running)
        copy = table.what_if()
        for job_id in victims:
            victim = running.jobs[job_id]
            copy.release(victim.job.request, victim.placement)
        running.room.look_at(table, job.request, 0, copy=copy)
        node = attempt.preemption.node
        return _one(pod, node, running.room.devices(node), victims)

    def _cannot(self, job: JobView, table: NodeTable, allowed: Mask | None) -> bool:
        """Whether there are plainly too few places for the gang, so that it need not be tried."""
        request = job.request
        if self._scheduler.extenders or (self._preempts and self._running.ledger.pod_table.any_below(job.priority)):
            return False
        for group in request.gang:
            places = np.minimum(table.pods_everywhere(request, group), group.pods)
            if allowed is not None:
                places = places[allowed]
            if int(places.sum()) < group.pods:
                return True
        return False


class _GangTry:
    """One group cycle."""

    def __init__(
        self, scheduler: KubeScheduler, running: RunningPods, pods: JobPods, job: JobView, table: NodeLedger
    ) -> None:
        self._scheduler = scheduler
        self._running = running
        self._pods = pods
        self._job = job
        self._table = table
        self._placed: list[tuple[Pod, Share]] = []
        self._gone: list[RunningJob] = []

    def plan(self, allowed: Mask | None, *, preempt: bool) -> Plan | None:
        """Try every pod in turn, then put everything back."""
        try:
            for group, number in _members(self._job.request):
                if not self._place(group, number, allowed, preempt=preempt):
                    return None
            return Plan(
                victims=tuple(each.job.job_id for each in self._gone),
                placement=merged([share for _, share in self._placed]),
                pods=tuple((pod, share.node) for pod, share in self._placed),
            )
        finally:
            self._roll_back()

    def _place(self, group: int, number: int, allowed: Mask | None, *, preempt: bool) -> bool:
        job, running = self._job, self._running
        pod = self._pods.waiting(job, group, number)
        running.room.look_at(self._table, job.request, group, copy=self._table)
        attempt = _checked(self._scheduler.attempt(pod, allowed=allowed, preempt=preempt))
        node = attempt.node
        if node is None:
            if attempt.preemption is None:
                return False
            for job_id in jobs_of(attempt, running):
                victim = running.remove(job_id)
                self._gone.append(victim)
                self._table.release(victim.job.request, victim.placement)
            node = attempt.preemption.node
        mask = running.room.devices(node)
        if mask is None:
            return False
        share = Share(node, mask, 1, group)
        self._table.take(job.request, (share,))
        held = self._pods.placed(job, group, number, running.servers[node])
        running.ledger.add(held, node)
        running.room.shares[pod.uid] = (job.request, share)
        self._placed.append((pod, share))
        return True

    def _roll_back(self) -> None:
        for pod, _ in self._placed:
            self._running.ledger.remove(pod.uid)
            del self._running.room.shares[pod.uid]
        for victim in reversed(self._gone):
            self._running.add(victim)


def _members(request: Request) -> Iterator[tuple[int, int]]:
    """(group, number of the pod) of each pod of a gang."""
    number = 0
    for group, each in enumerate(request.gang):
        for _ in range(each.pods):
            yield group, number
            number += 1


def _checked(attempt: Attempt) -> Attempt:
    if attempt.error is not None:
        raise ExtenderError(attempt.error)
    return attempt


def _one(pod: Pod, node: int, mask: int | None, victims: tuple[str, ...]) -> Plan | None:
    if mask is None:
        return None
    return Plan(victims, (Share(node, mask, 1, 0),), ((pod, node),))


def jobs_of(attempt: Attempt, running: RunningPods) -> tuple[str, ...]:
    """The jobs of the pods that an attempt would preempt, each once."""
    assert attempt.preemption is not None, "there are victims only where there is a preemption"
    return tuple(dict.fromkeys(running.job_of[victim.uid] for victim in attempt.preemption.victims))


def merged(shares: list[Share]) -> Placement:
    """The shares of pods of one group on one server as one, unless they are on the same devices."""
    found: dict[tuple[int, int, int], Share] = {}
    for share in shares:
        layer = 0
        while (
            known := found.get((share.node, share.group, layer))
        ) is not None and known.device_mask & share.device_mask:
            layer += 1
        key = (share.node, share.group, layer)
        found[key] = (
            share
            if known is None
            else known._replace(device_mask=known.device_mask | share.device_mask, pods=known.pods + share.pods)
        )
    return tuple(found.values())
