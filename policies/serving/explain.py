"""Why a job still waits, in one line for `kubectl describe pod`.

`0/12 nodes are available: 9 have too few nvidia.com/gpu, 3 are cordoned`.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

import numpy as np

from policies.api import DEVICE_MILLI, JobView, Policy, Request
from policies.deployability import cycle_of
from policies.kube.terms import UNSCHEDULABLE, PodTerms, Taint
from policies.nodes import UNLIMITED, NodeTable
from policies.placement.first_fit import FirstFit
from policies.serving.cluster import Cluster
from policies.topology import Node, Topology

REASONS_MAX: Final = 6
"""Different reasons of nodes that one line names."""

CORDON: Final = (Taint(UNSCHEDULABLE, "", "NoSchedule"),)


class Explainer:
    """See the module. Remembers which nodes are of the wrong kind for a request, for as long as the nodes stay the same."""

    def __init__(self, cluster: Cluster, policy: Policy) -> None:
        self._cluster = cluster
        self._policy = policy
        self._topology: Topology | None = None
        self._wrong: dict[Request, Counter[str]] = {}

    def explain(self, job: JobView) -> str:
        """Why it waits."""
        table = self._cluster.nodes
        if table.topology is not self._topology:
            self._topology, self._wrong = table.topology, {}
        request = job.request
        count = len(table)
        fits = sum(_pods(request, table, group.pods, number) for number, group in enumerate(request.gang))
        wanted = sum(group.pods for group in request.gang)
        room = f"0/{count} nodes are available" if not fits else f"there is room for {fits} of its {wanted} pods"
        if fits < wanted:
            return f"{room}: {self._shortages(request, table)}" if count else "there are no nodes"
        return self._held_back(job, table)

    def _shortages(self, request: Request, table: NodeTable) -> str:
        if request not in self._wrong:
            nodes = table.topology.nodes
            self._wrong[request] = Counter(
                wrong_kind(request, node) for number, node in enumerate(nodes) if not request.eligible >> number & 1
            )
        found = self._wrong[request] + _too_little(request, table)
        parts = [f"{nodes} {reason}" for reason, nodes in sorted(found.items(), key=lambda each: (-each[1], each[0]))]
        more = [f"{len(parts) - REASONS_MAX} more reasons"] if len(parts) > REASONS_MAX else []
        return ", ".join(parts[:REASONS_MAX] + more)

    def _held_back(self, job: JobView, table: NodeTable) -> str:
        """There is room by count, and it waits all the same."""
        cycle = cycle_of(self._policy, job.queue)
        if cycle is not None and cycle.admission is not None and not cycle.admission.allowed(job, self._cluster):
            queue = self._cluster.queues.get(job.queue)
            held = "" if queue is None else f"; it holds {queue.held_milli.get('*', 0) / DEVICE_MILLI:g} devices"
            return f"queue {job.queue!r} has no headroom for it ({cycle.admission.name}{held})"
        # because: the policy's own placement may draw, and a question must not change what it draws next
        if FirstFit().place(job.request, table) is None:
            return f"its {len(self._cluster.pods_of(job.job_id))} pods do not fit together, though each of them fits somewhere"
        said = self._policy.semantics()
        kept = "" if said.reservation in ("", "none") else f"; reservation: {said.reservation}"
        return f"there is room, and {self._policy.name} lets it wait: {said.blocking}{kept}"


def _pods(request: Request, table: NodeTable, wanted: int, number: int) -> int:
    """Pods of a group for which there is room, each group by itself."""
    return min(int(table.pods_everywhere(request, request.gang[number]).clip(0, wanted).sum()), wanted)


def wrong_kind(request: Request, node: Node) -> str:
    """Why a node can never take a pod of the request, without anything that is only this node's."""
    terms = request.terms or PodTerms()
    if node.unschedulable and not terms.tolerates(CORDON):
        return "are cordoned"
    if not terms.tolerates(node.taints):
        keys = sorted({taint.key for taint in node.taints if not terms.tolerates((taint,))})
        return f"have taints that it does not tolerate ({', '.join(keys)})"
    if not terms.selects(node.labels, node.name):
        return "do not match its node selector or affinity"
    if request.devices and not {node.accelerator, node.resource} & set(request.accelerators):
        return f"have no {' or '.join(request.accelerators)}"
    memory = node.device_memory_mib
    if request.device_memory_mib is not None and memory is not None and memory < request.device_memory_mib:
        return f"have devices of less than {request.device_memory_mib} MiB"
    return "have too little of what else it asks for"


def _too_little(request: Request, table: NodeTable) -> Counter[str]:
    """The nodes of the right kind by what they have too little of for one more pod of the largest group."""
    columns = table.columns()
    group = request.gang[0]
    eligible = table.topology.as_array(request.eligible)
    lacks: list[tuple[str, np.ndarray[tuple[int, ...], np.dtype[np.bool_]]]] = []
    if group.devices:
        what = request.accelerators[0] if request.accelerators else "devices"
        if request.device_milli == DEVICE_MILLI:
            lacks.append((f"have too few {what}", columns.idle < group.devices))
        else:
            enough = (columns.left_milli >= request.device_milli).sum(axis=1)
            lacks.append((f"have too little left of {what}", enough < group.devices))
    if group.cpu_milli:
        lacks.append(("have too little CPU", columns.cpu_milli < group.cpu_milli))
    if group.memory_mib:
        lacks.append(("have too little memory", columns.memory_mib < group.memory_mib))
    lacks.append(("have too many pods", (columns.pods < 1) & (columns.pods < UNLIMITED)))
    found = Counter({reason: int((short & eligible).sum()) for reason, short in lacks})
    return Counter({reason: count for reason, count in found.items() if count})
