"""What an extender of kube-scheduler must give to the scheduling core. An HTTP client is one; a Python policy can be another.

The core calls in kube-scheduler's places and with its semantics:

- `filter` after all in-tree filters, on the nodes that passed them and only if there are any, extender after extender; the next
  one sees what the one before left. An error ends the attempt, and the pod is tried again after its backoff; from an extender
  that is `ignorable` an error lets all nodes pass.
- `prioritize` on the nodes that are left, unless it is only one. The score x `weight` x 10 is added to the in-tree total, not
  clamped; errors and names that are not among the nodes are ignored.
- `preempt` on all candidates of the default preemption, before the choice among them. It may drop nodes and drop victims; a
  node left without victims is an error, or is dropped if the extender is `ignorable`.
- `bind` in place of the default binder, of the first extender that binds and is interested. An error ends the attempt.

Extenders that are not interested in a pod are not called for it at all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from policies.kube.pods import Pod
from policies.topology import Node

SCORE_SCALE: Final = 10
"""kube-scheduler's 0..100 over the extenders' 0..10."""


class ExtenderError(Exception):
    """An extender gave no answer, or one that cannot be used. The message is for people."""


class FilterAnswer(NamedTuple):
    """What `filter` gives."""

    nodes: Sequence[str]
    """The names of the nodes that pass; an answer without any is "nowhere"."""
    failed: Mapping[str, str] = {}
    """Node -> why it does not pass; preemption may help there."""
    failed_and_unresolvable: Mapping[str, str] = {}
    """Node -> why it does not pass; preemption cannot help there."""


class Victims(NamedTuple):
    """Who would be preempted on one node."""

    uids: tuple[str, ...]
    """The most important first."""
    pdb_violations: int = 0


class Extender(Protocol):
    """See the module. Every method may raise `ExtenderError`, and nothing else for what is outside this program."""

    name: str
    """For people: the address, or the name of the policy."""
    weight: int
    """Of its scores."""
    ignorable: bool
    filters: bool
    """Whether it has a verb for it; without one, the method is not called."""
    prioritizes: bool
    preempts: bool
    binds: bool
    forgets_pods: bool
    """True where kube-scheduler makes anew the nodes that pass this filter and loses the pods on them: in-tree scores by
    resources then see empty nodes. So it is with `nodeCacheCapable: false` since v1.34 (kubernetes#141781)."""

    def know(self, nodes: Iterable[Node], pods: Mapping[str, Pod]) -> None:
        """The nodes of the cluster, and the pods on them by uid (live). Called before all else, and for another cluster again."""
        ...

    def is_interested(self, pod: Pod) -> bool:
        """Whether it is called for this pod (`managedResources`)."""
        ...

    def filter(self, pod: Pod, nodes: Sequence[str]) -> FilterAnswer:
        """Which of the nodes suit the pod. Names that are not among `nodes` are an error."""
        ...

    def prioritize(self, pod: Pod, nodes: Sequence[str]) -> Mapping[str, int]:
        """Points for the nodes, usually 0..10; a node that is left out gets none."""
        ...

    def preempt(self, pod: Pod, candidates: Mapping[str, Victims]) -> Mapping[str, Victims]:
        """The candidates that it agrees with, with the same victims or fewer."""
        ...

    def bind(self, pod: Pod, node: str) -> None:
        """Bind the pod."""
        ...

    def close(self) -> None:
        """The run is over: give back connections. It may be called again afterwards, for another run."""
        ...


def check_filter_answer(extender: Extender, answer: FilterAnswer, nodes: Sequence[str]) -> list[str]:
    """The nodes that pass, in the order of the answer. Raises `ExtenderError` for a node that was not offered."""
    offered = set(nodes)
    for name in answer.nodes:
        if name not in offered:
            raise ExtenderError(f"extender {extender.name}: filter names node {name!r}, which was not offered")
    return list(dict.fromkeys(answer.nodes))
