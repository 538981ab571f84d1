"""Small Kubernetes clusters for tests: nodes, pods and a scheduler, in few words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from policies.kube.configuration import Profile
from policies.kube.core import KubeScheduler
from policies.kube.extender import FilterAnswer
from policies.kube.ledger import Ledger
from policies.kube.pods import Pod
from policies.kube.terms import PodTerms, Requirement, Selector
from policies.topology import Node

GIB = 1 << 30
GPU = "nvidia.com/gpu"


def node(name: str, cpu: int = 8000, memory_gib: int = 32, gpus: int = 0, pods: int = 110, **more) -> Node:
    """A node; `labels` gets the hostname too."""
    amounts = {"cpu": cpu, "memory": memory_gib * GIB, "pods": pods, **more.pop("amounts", {})}
    if gpus:
        amounts[GPU] = gpus
    labels = {"kubernetes.io/hostname": name, **more.pop("labels", {})}
    return Node(name=name, labels=labels, allocatable=tuple(sorted(amounts.items())), **more)


def terms(cpu: int = 0, memory_gib: int = 0, gpus: int = 0, **more) -> PodTerms:
    """What a pod of one container asks for; what it does not ask for counts in scores as kube-scheduler has it."""
    requests = {"cpu": cpu, "memory": memory_gib * GIB, GPU: gpus, **more.pop("amounts", {})}
    labels = tuple(sorted(more.pop("labels", {}).items()))
    return PodTerms(
        requests=tuple(sorted((name, amount) for name, amount in requests.items() if amount)),
        nonzero_cpu_milli=cpu or 100,
        nonzero_memory_bytes=memory_gib * GIB or 200 << 20,
        labels=labels,
        **more,
    )


def pod(name: str, asked: PodTerms | None = None, *, priority: int = 0, start_s: int | None = None, **more) -> Pod:
    """A pod; what is not of `Pod` goes to its terms."""
    own = {key: more.pop(key) for key in ("leaving", "node", "nominated") if key in more}
    asked = asked or terms(**more)
    started_ms = None if start_s is None else 1000 * start_s
    return Pod(
        name=name, namespace=asked.namespace, uid=name, terms=asked, priority=priority, started_ms=started_ms, **own
    )


def scheduler(nodes: Sequence[Node], *held: tuple[Pod, str], profile: Profile | None = None, **more) -> KubeScheduler:
    """A scheduler over nodes that hold these pods."""
    ledger = Ledger(nodes)
    for each, where in held:
        ledger.add(each, ledger.number_of[where])
    return KubeScheduler(ledger, profile, percentage=more.pop("percentage", 100), **more)


def matches(**labels: str) -> Selector:
    """A selector by exact labels."""
    return Selector(tuple(Requirement(key, "In", (value,)) for key, value in labels.items()))


def names(made: KubeScheduler, nodes) -> set[str]:
    """The names of nodes by number."""
    return {made.ledger.nodes[number].name for number in nodes}


@dataclass
class Stub:
    """An extender that answers what it is told, and notes the calls."""

    name: str = "stub"
    weight: int = 1
    ignorable: bool = False
    filters: bool = True
    prioritizes: bool = True
    preempts: bool = False
    binds: bool = False
    forgets_pods: bool = False
    interested: bool = True
    passes: object = None
    points: object = None
    agrees: object = None
    failed: dict = field(default_factory=dict)
    for_good: dict = field(default_factory=dict)
    calls: list = field(default_factory=list)

    def know(self, nodes, pods):
        self.calls.append(("know", len(list(nodes))))

    def is_interested(self, pod):
        return self.interested

    def filter(self, pod, nodes):
        self.calls.append(("filter", list(nodes)))
        if isinstance(self.passes, Exception):
            raise self.passes
        return FilterAnswer(list(nodes) if self.passes is None else self.passes, self.failed, self.for_good)

    def prioritize(self, pod, nodes):
        self.calls.append(("prioritize", list(nodes)))
        if isinstance(self.points, Exception):
            raise self.points
        return self.points or {}

    def preempt(self, pod, candidates):
        self.calls.append(("preempt", {name: list(each.uids) for name, each in candidates.items()}))
        if isinstance(self.agrees, Exception):
            raise self.agrees
        return candidates if self.agrees is None else self.agrees

    def close(self):
        self.calls.append(("close",))

    def bind(self, pod, node):
        self.calls.append(("bind", pod.uid, node))
