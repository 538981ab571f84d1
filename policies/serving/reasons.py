"""Why a pod cannot be put on a node, in words for `kubectl describe pod`."""

from __future__ import annotations

from policies.api import DEVICE_MILLI, JobView, Request
from policies.kube.pods import Pod
from policies.kube.terms import UNSCHEDULABLE, PodTerms, Taint
from policies.nodes import NodeTable
from policies.serving.shapes import others_of
from policies.topology import Node

NOT_KNOWN = "the node is not known here (yet)"


def mismatch(pod: Pod, request: Request, node: Node) -> str:
    """Why a node is of the wrong kind for the pod, whatever it holds."""
    terms = request.terms or PodTerms()
    cordon = (Taint(UNSCHEDULABLE, "", "NoSchedule"),)
    if node.unschedulable and not terms.tolerates(cordon):
        return "the node is cordoned"
    if not terms.tolerates(node.taints):
        keys = ", ".join(taint.key for taint in node.taints if not terms.tolerates((taint,)))
        return f"the pod does not tolerate the taint {keys}"
    if not terms.selects(node.labels, node.name):
        return "the pod's node selector or affinity does not match"
    there = dict(node.allocatable)
    for name, amount in others_of(pod).items():
        if there.get(name, 0) < amount:
            return f"the pod needs {amount} {name}, the node has {there.get(name, 0)} at best"
    if request.devices and not {node.accelerator, node.resource} & set(request.accelerators):
        return f"the pod needs {' or '.join(request.accelerators)}, the node has {node.resource or 'none'}"
    return f"the pod needs devices with {request.device_memory_mib} MiB, the node's have {node.device_memory_mib}"


class Shortages:
    """What nodes of the right kind have too little of for one pod of a request now; the same words for the same lack."""

    def __init__(self, request: Request, nodes: NodeTable) -> None:
        self._request = request
        self._nodes = nodes
        self._group = request.gang[0]
        self._said: dict[tuple[int, int, int, int], str] = {}

    def of(self, node: int) -> str:
        """Of one node."""
        nodes, group = self._nodes, self._group
        there = nodes.idle[node]
        if self._request.device_milli != DEVICE_MILLI:
            there += sum(left >= self._request.device_milli for left in nodes.partial.get(node, {}).values())
        lack = (
            min(there, group.devices),
            min(nodes.cpu_left[node], group.cpu_milli),
            min(nodes.memory_left[node], group.memory_mib),
            min(nodes.pods_left[node], 1),
        )
        said = self._said.get(lack)
        if said is None:
            said = self._said[lack] = self._words(lack)
        return said

    def _words(self, lack: tuple[int, int, int, int]) -> str:
        request, group = self._request, self._group
        devices = request.accelerators[0] if request.accelerators else "devices"
        if request.device_milli != DEVICE_MILLI:
            devices += f" with {request.device_milli / 10:g} % left"
        wanted = (group.devices, group.cpu_milli, group.memory_mib, 1)
        names = (devices, "milli-cores of CPU", "MiB of memory", "pods")
        found = [
            f"{needed} {what} needed, {max(left, 0)} left"
            for needed, left, what in zip(wanted, lack, names, strict=True)
            if left < needed
        ]
        return "; ".join(found) or "no room"


def no_quota(job: JobView, rule: str) -> str:
    """Why a queue's entitlement keeps a job away."""
    return f"queue {job.queue} has no headroom here ({rule})"
