"""Jobs of the contract as pods: what a `Request` is to kube-scheduler, and what a running job is.

A request with `terms` is exactly its pods. One without is a pod that asks for CPU, memory and devices; devices are counted in
milli-devices under one name for every vendor, so that shares and whole devices follow the same arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final, NamedTuple

from policies.bitset import lowest
from policies.kube.amounts import NONZERO_CPU_MILLI, NONZERO_MEMORY_BYTES
from policies.kube.ledger import CPU, EPHEMERAL, MEMORY, PODS, UNLIMITED
from policies.kube.pods import Pod
from policies.kube.terms import PodTerms
from policies.topology import Node
from policies.values import DEVICE_MILLI, DeviceMask, JobView, Request, RunningJob, Share

DEVICES: Final = "devices"
"""The resource that counts the devices of every node, in milli-devices."""


def node_amounts(node: Node) -> dict[str, int]:
    """What pods may take of a node; `UNLIMITED` for what its fleet does not model."""
    if node.allocatable:
        return {**dict(node.allocatable), DEVICES: node.devices * DEVICE_MILLI}
    return {
        CPU: UNLIMITED if node.cpu_milli is None else node.cpu_milli,
        MEMORY: UNLIMITED if node.memory_mib is None else node.memory_mib << 20,
        EPHEMERAL: UNLIMITED,
        PODS: UNLIMITED if node.max_pods is None else node.max_pods,
        DEVICES: node.devices * DEVICE_MILLI,
    }


class PodOfJob(NamedTuple):
    """One pod of a running job on its node."""

    pod: Pod
    node: int
    share: Share
    """Its own part of the placement."""


class JobPods:
    """The pods of jobs, made once for each request, pod group and kind of node."""

    def __init__(self) -> None:
        self._asked: dict[tuple[Request, int], PodTerms] = {}
        self._held: dict[tuple[Request, int, str], PodTerms] = {}

    def asked(self, request: Request, group: int) -> PodTerms:
        """What one pod of a group asks for."""
        if request.terms is not None:
            return request.terms
        known = self._asked.get((request, group))
        if known is None:
            known = self._asked[request, group] = _plain_terms(request, group)
        return known

    def held(self, request: Request, group: int, node: Node) -> PodTerms:
        """What it counts for on a node: its devices under every name that they have there."""
        key = (request, group, node.resource if node.allocatable else "")
        known = self._held.get(key)
        if known is None:
            known = self._held[key] = self._counted(request, group, node)
        return known

    def _counted(self, request: Request, group: int, node: Node) -> PodTerms:
        terms = self.asked(request, group)
        milli = request.gang[group].devices * request.device_milli
        if not milli:
            return terms
        requests = dict(terms.requests)
        if request.terms is not None:
            requests[DEVICES] = milli
        elif node.allocatable and node.resource:
            requests[node.resource] = -(-milli // DEVICE_MILLI)
        return _with_requests(terms, requests)

    def waiting(self, job: JobView, group: int, number: int) -> Pod:
        """Pod `number` of a job that waits, which is one of a group."""
        return _pod(job, number, self.asked(job.request, group), None)

    def placed(self, job: JobView, group: int, number: int, node: Node) -> Pod:
        """The same pod as it counts on a node."""
        return _pod(job, number, self.held(job.request, group, node), None)

    def running(self, running: RunningJob, nodes: tuple[Node, ...]) -> Iterator[PodOfJob]:
        """The pods of a job that runs, each with its own part of the devices."""
        job = running.job
        number = 0
        for share in running.placement:
            devices = job.request.gang[share.group].devices
            left: DeviceMask = share.device_mask
            terms = self.held(job.request, share.group, nodes[share.node])
            for _ in range(share.pods):
                mine = lowest(left, devices)
                left ^= mine
                pod = _pod(job, number, terms, running.start_ms)
                yield PodOfJob(pod, share.node, Share(share.node, mine, 1, share.group))
                number += 1


def pod_uid(job: JobView, number: int) -> str:
    """The uid of a pod of a job: the job's id, with a number where there are several."""
    gang = job.request.gang
    return job.job_id if len(gang) == 1 and gang[0].pods == 1 else f"{job.job_id}/{number}"


def _pod(job: JobView, number: int, terms: PodTerms, start_ms: int | None) -> Pod:
    uid = pod_uid(job, number)
    return Pod(
        name=uid.replace("/", "-"),
        namespace=terms.namespace,
        uid=uid,
        terms=terms,
        priority=job.priority,
        created_ms=job.submit_ms,
        started_ms=start_ms,
        queue=job.queue,
        user=job.user,
        estimate_ms=job.estimate_ms,
        family=job.family,
    )


def _plain_terms(request: Request, group: int) -> PodTerms:
    each = request.gang[group]
    requests = {
        CPU: each.cpu_milli,
        MEMORY: each.memory_mib << 20,
        DEVICES: each.devices * request.device_milli,
    }
    return PodTerms(
        requests=tuple(sorted((name, amount) for name, amount in requests.items() if amount)),
        nonzero_cpu_milli=each.cpu_milli or NONZERO_CPU_MILLI,
        nonzero_memory_bytes=requests[MEMORY] or NONZERO_MEMORY_BYTES,
    )


def _with_requests(terms: PodTerms, requests: dict[str, int]) -> PodTerms:
    return replace(terms, requests=tuple(sorted(requests.items())))
