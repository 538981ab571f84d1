"""What a pod's specification says beyond how many devices it wants: requests, selectors, tolerations, affinities.

Plain immutable values that compare and hash by content, so that equal pods share one `Request`. `PodTerms.allows` is the part
that never changes while a node stays as it is; it is already in `Request.eligible`. What depends on other pods (spreading,
affinity between pods, host ports) is for `policies.kube` alone.

Amounts are those of Kubernetes: CPU in milli-cores rounded up, memory and storage in bytes, everything else in whole numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

Labels: TypeAlias = tuple[tuple[str, str], ...]
"""Labels as pairs, sorted by key."""

Amounts: TypeAlias = tuple[tuple[str, int], ...]
"""Resource name -> amount as pairs, sorted by name; zeros left out."""

HARD_EFFECTS: Final = ("NoSchedule", "NoExecute")
"""Effects of a taint that keep a pod away. `PreferNoSchedule` only costs points."""

UNSCHEDULABLE: Final = "node.kubernetes.io/unschedulable"
"""The key of the taint that a cordon stands for."""


class Taint(NamedTuple):
    """A taint of a node."""

    key: str
    value: str
    effect: str


class Toleration(NamedTuple):
    """A toleration of a pod. Empty key with `Exists` tolerates everything; empty effect, every effect."""

    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""

    def tolerates(self, taint: Taint) -> bool:
        """Whether the taint does not count for a pod with this toleration."""
        if self.effect and self.effect != taint.effect:
            return False
        if self.key and self.key != taint.key:
            return False
        if self.operator == "Exists":
            return True
        if self.operator in ("", "Equal"):
            return bool(self.key) and self.value == taint.value
        return False


class Requirement(NamedTuple):
    """One line of a selector: key, operator and values."""

    key: str
    operator: str
    """In, NotIn, Exists, DoesNotExist, Gt or Lt."""
    values: tuple[str, ...] = ()

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether labels (or fields) satisfy it."""
        rule = _OPERATORS.get(self.operator)
        return rule is not None and rule(labels.get(self.key), self.values)


def _compare(value: str | None, values: tuple[str, ...], sign: int) -> bool:
    if value is None or len(values) != 1:
        return False
    try:
        return sign * int(value) > sign * int(values[0])
    except ValueError:
        return False


_OPERATORS: Final[dict[str, Callable[[str | None, tuple[str, ...]], bool]]] = {
    "In": lambda value, values: value is not None and value in values,
    "NotIn": lambda value, values: value is None or value not in values,
    "Exists": lambda value, _: value is not None,
    "DoesNotExist": lambda value, _: value is None,
    "Gt": lambda value, values: _compare(value, values, 1),
    "Lt": lambda value, values: _compare(value, values, -1),
}


class Selector(NamedTuple):
    """A label selector: all of its requirements. None of them selects everything."""

    requirements: tuple[Requirement, ...] = ()

    def holds(self, labels: Mapping[str, str]) -> bool:
        """Whether every requirement holds."""
        return all(each.holds(labels) for each in self.requirements)


class NodeTerm(NamedTuple):
    """One term of a node selector: all of its requirements on labels and on fields. An empty one matches nothing."""

    labels: tuple[Requirement, ...] = ()
    fields: tuple[Requirement, ...] = ()

    def holds(self, labels: Mapping[str, str], name: str) -> bool:
        """Whether a node with these labels and this name matches."""
        if not self.labels and not self.fields:
            return False
        return all(each.holds(labels) for each in self.labels) and all(
            each.holds({"metadata.name": name}) for each in self.fields
        )


class PreferredNode(NamedTuple):
    """A node term that gives points."""

    weight: int
    term: NodeTerm


class SpreadConstraint(NamedTuple):
    """One entry of `topologySpreadConstraints`."""

    topology_key: str
    max_skew: int
    hard: bool
    """True for `DoNotSchedule`."""
    selector: Selector | None
    """None selects nothing."""
    min_domains: int | None = None
    node_affinity_policy: str = "Honor"
    node_taints_policy: str = "Ignore"
    match_label_keys: tuple[str, ...] = ()


class PodAffinityTerm(NamedTuple):
    """Other pods that this one wants near, or away."""

    topology_key: str
    selector: Selector | None
    """None selects nothing."""
    namespaces: tuple[str, ...]
    """Where the other pods are; empty is the pod's own namespace."""
    namespace_selector: Selector | None = None
    """None is by name only; the empty selector is every namespace."""


class WeightedPodAffinity(NamedTuple):
    """A term between pods that gives points; negative weight for anti-affinity."""

    weight: int
    term: PodAffinityTerm


class HostPort(NamedTuple):
    """A port of the host that the pod takes."""

    port: int
    protocol: str = "TCP"
    ip: str = "0.0.0.0"  # noqa: S104  # because: Kubernetes writes "every address" so


@dataclass(frozen=True, slots=True, kw_only=True)
class PodTerms:
    """One pod as its scheduling goes; see the module."""

    namespace: str = "default"
    labels: Labels = ()
    requests: Amounts = ()
    """What the pod takes of a node, init containers and overhead counted."""
    nonzero_cpu_milli: int = 0
    """CPU as scores count it: a container that asks for none counts as 100."""
    nonzero_memory_bytes: int = 0
    """Memory as scores count it: a container that asks for none counts as 200 MiB."""
    node_selector: Labels = ()
    required: tuple[NodeTerm, ...] | None = None
    """One of them must match; None is no such demand, and an empty tuple matches nothing."""
    preferred: tuple[PreferredNode, ...] = ()
    tolerations: tuple[Toleration, ...] = ()
    spread: tuple[SpreadConstraint, ...] = ()
    near: tuple[PodAffinityTerm, ...] = ()
    """Required affinity to other pods."""
    away: tuple[PodAffinityTerm, ...] = ()
    """Required anti-affinity."""
    preferred_pods: tuple[WeightedPodAffinity, ...] = ()
    host_ports: tuple[HostPort, ...] = ()
    images: tuple[str, ...] = ()
    may_preempt: bool = True
    """False for `preemptionPolicy: Never`."""

    @property
    def depends_on_pods(self) -> bool:
        """Whether where it may go depends on which other pods are where (hard rules only)."""
        return bool(self.near or self.away or self.host_ports or any(each.hard for each in self.spread))

    def tolerates(self, taints: tuple[Taint, ...]) -> bool:
        """Whether no taint with a hard effect keeps it away."""
        return all(
            any(each.tolerates(taint) for each in self.tolerations)
            for taint in taints
            if taint.effect in HARD_EFFECTS
        )

    def selects(self, labels: Mapping[str, str], name: str) -> bool:
        """Whether its node selector and its required node affinity match a node."""
        if any(labels.get(key) != value for key, value in self.node_selector):
            return False
        return self.required is None or any(term.holds(labels, name) for term in self.required)

    def allows(
        self, labels: Mapping[str, str], name: str, taints: tuple[Taint, ...], *, unschedulable: bool = False
    ) -> bool:
        """Whether it may ever run on such a node, whatever the node holds."""
        if unschedulable and not self.tolerates((Taint(UNSCHEDULABLE, "", "NoSchedule"),)):
            return False
        return self.tolerates(taints) and self.selects(labels, name)
