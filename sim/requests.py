"""From what a record asks to the `Request` that policies see: how a gang is cut into pods."""

from __future__ import annotations

from policies.api import PodGroup, Request
from policies.framework.scoring import place_by_score
from policies.kube.objects import ObjectError
from policies.kube.terms import PodTerms
from policies.nodes import NodeTable
from policies.placement.best_fit import BestFit
from policies.topology import Topology
from sim.fleet.catalogue import catalogue
from sim.fleet.kinds import device_kinds
from sim.fleet.model import GENERIC
from sim.rules import Split
from sim.scheduling import read_scheduling
from traces.job import JobRecord
from traces.trace import TraceError


class RequestMaker:
    """Makes one `Request` for all records that ask for the same, and knows which can never be met.

    `pools_of` gives the pools of a queue, None for any.
    """

    def __init__(self, topology: Topology, split: Split, pools_of: dict[str, tuple[str, ...] | None]) -> None:
        self._topology = topology
        self._split = split
        self._pools_of = pools_of
        self._known: dict[tuple[object, ...], Request] = {}
        self.impossible: set[Request] = set()
        """Requests that do not fit even the empty fleet."""
        self._empty = NodeTable(topology)

    def request(self, job: JobRecord) -> Request:
        """The request of a record, the same object for the same demand."""
        pools = self._pools_of.get(job.queue or "") if self._pools_of else None
        key = (
            job.gpu_count,
            job.gpu_milli,
            job.pods,
            job.cpu_milli,
            job.memory_mib,
            job.gpu_memory_mib,
            job.accelerators,
            job.scheduling,
            pools,
        )
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._make(job, pools)
            if not self._fits_empty(known):
                self.impossible.add(known)
        return known

    def _make(self, job: JobRecord, pools: tuple[str, ...] | None) -> Request:
        models = models_of(self._topology, job.accelerators)
        terms = _terms(job)
        shapes = self._shapes(job, pools, models, terms)
        pods_in_all = sum(pods for pods, _ in shapes)
        gang = tuple(
            PodGroup(
                pods,
                devices,
                _part(job.cpu_milli, devices, job.gpu_count, pods_in_all),
                _part(job.memory_mib, devices, job.gpu_count, pods_in_all),
            )
            for pods, devices in shapes
        )
        return self._topology.request(
            gang,
            device_milli=job.gpu_milli,
            device_memory_mib=job.gpu_memory_mib,
            accelerators=models,
            pools=pools,
            terms=terms,
        )

    def _shapes(
        self, job: JobRecord, pools: tuple[str, ...] | None, models: tuple[str, ...], terms: PodTerms | None
    ) -> list[tuple[int, int]]:
        """(pods, devices per pod), larger pods first."""
        if job.pods is not None:
            return [(job.pods, job.gpu_count // job.pods)]
        if job.gpu_count <= 1:
            return [(1, job.gpu_count)]
        if self._split == "free":
            return [(job.gpu_count, 1)]
        allowed = self._topology.allowing(
            devices=job.gpu_count,
            device_memory_mib=job.gpu_memory_mib,
            accelerators=models,
            pools=pools,
            terms=terms,
        )
        sizes = [node.devices for number, node in enumerate(self._topology.nodes) if allowed >> number & 1]
        largest = max(max(sizes, default=1), 1)
        whole, rest = divmod(job.gpu_count, largest)
        return [(whole, largest)] * (whole > 0) + [(1, rest)] * (rest > 0)

    def _fits_empty(self, request: Request) -> bool:
        allowed = request.eligible
        if not allowed or request.devices > self._topology.device_count:
            return False
        if request.plain:
            return BestFit().place(request, self._empty) is not None
        if len(request.gang) == 1:  # equal pods do not get in each other's way on an empty fleet: counting is exact
            room = self._empty.pods_everywhere(request, request.gang[0])
            return int(room.clip(max=request.gang[0].pods).sum()) >= request.gang[0].pods
        return place_by_score(BestFit(), request, self._empty, allowed) is not None


def models_of(topology: Topology, names: tuple[str, ...]) -> tuple[str, ...]:
    """The models of the fleet that a record's names mean: by the name itself, else through the catalogue.

    An extended resource (`nvidia.com/gpu`) means the nodes that have it, which `Topology.allowing` knows, and of a fleet that is
    not of Kubernetes the models whose cards it counts, and cards about which nothing is known. A name that means no model stays.
    """
    of_fleet = [model for model in topology.by_accelerator if model]
    meant: list[str] = []
    for name in names:
        if name in topology.by_accelerator:
            meant.append(name)
        elif device_kinds().counts_devices(name):
            meant += [name, *(model for model in of_fleet if _counts(name, model, topology))]
        else:
            same = catalogue().canonical(name)
            meant += [model for model in of_fleet if catalogue().canonical(model) == same] or [name]
    return tuple(dict.fromkeys(meant))


def is_there(topology: Topology, name: str) -> bool:
    """Whether any server of the fleet has what a record calls by this name."""
    meant = models_of(topology, (name,))
    return any(each in topology.by_accelerator for each in meant) or any(
        node.resource in meant for node in topology.nodes if node.resource
    )


def _counts(resource: str, model: str, topology: Topology) -> bool:
    """Whether a resource counts the cards of a model, where no node says how Kubernetes counts them."""
    if any(node.resource for node in topology.nodes if node.accelerator == model):
        return False
    kind = device_kinds().find(model)
    return model == GENERIC or (kind is not None and resource in kind.resources)


def _terms(job: JobRecord) -> PodTerms | None:
    """The terms of each pod of a record. Raises `TraceError` where they cannot be read."""
    if job.scheduling is None:
        return None
    try:
        return read_scheduling(job.scheduling)
    except ObjectError as error:
        raise TraceError(f"job {job.job_id}: {error}") from error


def _part(amount: int, devices: int, devices_in_all: int, pods_in_all: int) -> int:
    """A pod's part of an amount of the whole job, by its devices, rounded up."""
    if devices_in_all:
        return -(-amount * devices // devices_in_all)
    return -(-amount // pods_in_all)
