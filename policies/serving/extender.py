"""What a policy made of extension points answers kube-scheduler: which nodes, which of them first, whose victims, and the bind.

A pod is asked about alone, whatever gang it is of. Of the policy only its entitlements, its rule of placement and its choice of
victims speak here; the order of the queue is kube-scheduler's. Decides and assumes, knows no HTTP, and is used by one thread.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol, runtime_checkable

import numpy as np

from policies import bitset
from policies.api import ClusterView, JobView, NodeSet, Placement, Policy, RunningJob
from policies.deployability import cycle_of
from policies.framework.cycle import Cycle
from policies.framework.points import Placer
from policies.framework.ranking import best_nodes
from policies.kube.devices import DeviceKinds
from policies.kube.extender import FilterAnswer, Victims
from policies.kube.objects import Json, mapping, text
from policies.kube.pods import Pod, read_pod
from policies.serving.cluster import Cluster
from policies.serving.reasons import NOT_KNOWN, Shortages, mismatch, no_quota
from policies.serving.shapes import others_of

TOP: Final = 10
"""The best node gets this score, the next one less, down to 1: kube-scheduler's MaxExtenderPriority."""

BOUND_MS: Final = 60_000
"""How long a pod that was bound here, or may have been, counts as held if the watch does not say so."""

PODS_KEPT: Final = 1024
"""Pods that were asked about last: the next verb speaks of the same ones."""


class NotServableError(ValueError):
    """A policy that is not made of extension points."""


class Known(NamedTuple):
    """A pod that was asked about, as it was read."""

    item: Json
    pod: Pod


@runtime_checkable
class Preempts(Protocol):
    """A cycle that chooses victims."""

    placer: Placer

    def victims(
        self, job: JobView, candidates: Iterable[RunningJob], view: ClusterView, within: NodeSet | None = None
    ) -> tuple[list[RunningJob], Placement] | None:
        """Who of the candidates must go, and where the job then fits; None if it does not fit even so."""
        ...

    def may_take(self, job: JobView, running: RunningJob) -> bool:
        """Whether a waiting job may take the place of a running one at all."""
        ...


class PolicyExtender:
    """See the module. `assume_ms` is how long the best node of an answer counts as taken; 0 is not at all.

    Raises `NotServableError` for a policy that is not made of extension points.
    """

    def __init__(self, cluster: Cluster, policy: Policy, kinds: DeviceKinds, *, assume_ms: int = 0) -> None:
        if cycle_of(policy) is None:
            raise NotServableError(f"{policy.name} is not made of extension points")
        self.cluster = cluster
        self.policy = policy
        self.assume_ms = assume_ms
        self._kinds = kinds
        self._asked: OrderedDict[str, Known] = OrderedDict()
        """By uid, the pods that were asked about last."""
        self._deadlines: dict[str, int] = {}
        """By uid, until when a pod counts as held on our word alone."""
        self._queue: list[tuple[int, str]] = []
        """The same as a heap; entries that `_deadlines` does not have are outdated."""
        self._lent: set[str] = set()
        """Pods that the cluster has from here, because the watch had not told of them yet."""
        self._bare: dict[str, str] = {}
        """Node -> version, of those that only requests tell of."""

    @property
    def preempts(self) -> bool:
        """Whether the policy ever chooses victims."""
        return isinstance(cycle_of(self.policy), Preempts)

    # -- the verbs ---------------------------------------------------------------------------------------------

    def read(self, item: Json) -> Pod:
        """The pod of a request. Raises `ObjectError`."""
        uid = text(mapping(item.get("metadata")).get("uid"))
        known = self._asked.get(uid)
        if known is None or known.item != item:
            known = Known(item, read_pod(item, self._kinds))
            self._asked[known.pod.uid] = known
        self._asked.move_to_end(known.pod.uid)
        if len(self._asked) > PODS_KEPT:
            self._asked.popitem(last=False)
        return known.pod

    def filter(self, pod: Pod, nodes: Sequence[str]) -> FilterAnswer:
        """Which of the nodes have room for the pod now, by kind, devices, CPU, memory, pods and entitlement."""
        cycle, job = self._ask(pod)
        numbers = self.cluster.numbers_of(nodes)
        table, request = self.cluster.nodes, job.request
        entitled = self._entitled(cycle, job)
        good = (table.pods_everywhere(request, request.gang[0]) > 0) & bitset.to_array(entitled, len(table))
        passes = np.append(good, [False])[numbers].tolist()  # because: -1, what is not known, is the last one
        answer = FilterAnswer([name for name, passed in zip(nodes, passes, strict=True) if passed], {}, {})
        if len(answer.nodes) < len(nodes):
            failed = {name: n for name, n, passed in zip(nodes, numbers, passes, strict=True) if not passed}
            answer = FilterAnswer(answer.nodes, *self._why(cycle, pod, job, failed, entitled))
        if self.assume_ms and len(answer.nodes) == 1:
            # because: kube-scheduler does not ask for scores of a single node
            self._assume(pod, answer.nodes[0], self.assume_ms)
        return answer

    def prioritize(self, pod: Pod, nodes: Sequence[str]) -> dict[str, int]:
        """A score for each node: 10 for the one that the policy takes, 9 for the next, down to 1; 0 for all others."""
        cycle, job = self._ask(pod)
        scores = dict.fromkeys(nodes, 0)
        table = self.cluster.nodes
        asked = np.zeros(len(table) + 1, dtype=bool)
        asked[self.cluster.numbers_of(nodes)] = True
        within = bitset.from_array(asked[:-1]) & self._entitled(cycle, job)
        names = [
            table.topology.nodes[node].name for node in best_nodes(cycle.placer, job.request, table, within, TOP)
        ]
        scores.update((name, TOP - place) for place, name in enumerate(names))
        if self.assume_ms and names:
            self._assume(pod, names[0], self.assume_ms)
        return scores

    def preempt(self, pod: Pod, candidates: Mapping[str, Victims]) -> dict[str, Victims]:
        """The candidates on which the policy too would preempt, with those victims that must go; never another."""
        cycle, job = self._ask(pod)
        if not isinstance(cycle, Preempts):
            return {}
        # because: where something stands in the way that is not counted here, kube-scheduler knows better who must go
        counts_all = not others_of(pod) and not pod.terms.depends_on_pods
        entitled = self._entitled(cycle, job)
        table = self.cluster.nodes
        table.columns()  # because: each what-if below copies them, or would make its own of every node
        now = table.what_if()
        kept: dict[str, Victims] = {}
        for node, proposed in candidates.items():
            number = self.cluster.number_of(node)
            within = 0 if number is None else entitled & 1 << number
            running = self._running(node, proposed.uids) if within else {}
            if not counts_all:
                uids = tuple(running) if all(cycle.may_take(job, each) for each in running.values()) else ()
            elif running and cycle.placer.place(job.request, now, within) is None:
                uids = self._must_go(cycle, job, running, within)
            else:
                uids = ()
            if uids:
                kept[node] = Victims(uids, min(proposed.pdb_violations, len(uids)))
        return kept

    def binds(self, uid: str, node: str) -> None:
        """The pod is about to be bound here: it holds its place from now on."""
        known = self._asked.get(uid)
        self._release(uid)
        if known is not None or self.cluster.known(uid) is not None:
            self._assume(None if known is None else known.pod, node, BOUND_MS, uid)

    def unbound(self, uid: str) -> None:
        """The pod could not be bound: it waits again."""
        self._release(uid)

    # -- nodes that only requests tell of --------------------------------------------------------------------------

    def learn(self, nodes: Mapping[str, Json], tell: Callable[[Json], None]) -> None:
        """Pass on what changed of these nodes as if it were watched. For requests without an API server behind."""
        for name, item in nodes.items():
            meta = mapping(item.get("metadata"))
            version = f"{text(meta.get('uid'))}/{text(meta.get('resourceVersion'))}"
            if version == "/" or self._bare.get(name) != version:
                tell({"type": "MODIFIED", "object": {"kind": "Node", "apiVersion": "v1", **item}})
                self._bare[name] = version
        if len(self._bare) > 4 * len(nodes) + PODS_KEPT:
            for name in self._bare.keys() - nodes.keys():
                tell({"type": "DELETED", "object": {"kind": "Node", "apiVersion": "v1", "metadata": {"name": name}}})
                del self._bare[name]

    # -- inside ------------------------------------------------------------------------------------------------------

    def _ask(self, pod: Pod) -> tuple[Cycle, JobView]:
        """The cycle that decides for the pod, and the pod as a job that holds nothing."""
        while self._queue and self._queue[0][0] <= self.cluster.now_ms:
            deadline_ms, uid = heapq.heappop(self._queue)
            if self._deadlines.get(uid) == deadline_ms:
                self._release(uid)
        self._release(pod.uid)
        cycle = cycle_of(self.policy, pod.queue)
        assert cycle is not None, "checked at the beginning"
        return cycle, self.cluster.view_of(pod)

    def _entitled(self, cycle: Cycle, job: JobView) -> NodeSet:
        if cycle.admission is None:
            return job.request.eligible
        return cycle.admission.allowed(job, self.cluster) & job.request.eligible

    def _why(
        self, cycle: Cycle, pod: Pod, job: JobView, failed: Mapping[str, int], entitled: NodeSet
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Why each of these nodes failed: where preemption may help, and where it cannot. Entitlements it does not cure."""
        table, request = self.cluster.nodes, job.request
        eligible_at = table.topology.as_array(request.eligible).tolist()
        entitled_at = bitset.to_array(entitled, len(table)).tolist()
        shortages = Shortages(request, table)
        quota = "" if cycle.admission is None else no_quota(job, cycle.admission.name)
        fixable: dict[str, str] = {}
        hopeless: dict[str, str] = {}
        for name, number in failed.items():
            if number < 0:
                hopeless[name] = self.cluster.faults.get(f"node {name}", NOT_KNOWN)
            elif not eligible_at[number]:
                hopeless[name] = mismatch(pod, request, table.topology.nodes[number])
            elif not entitled_at[number]:
                hopeless[name] = quota
            else:
                fixable[name] = shortages.of(number)
        return fixable, hopeless

    def _must_go(
        self, cycle: Preempts, job: JobView, running: Mapping[str, RunningJob], within: NodeSet
    ) -> tuple[str, ...]:
        """Who of these pods must go so that the job fits there."""
        found = cycle.victims(job, running.values(), self.cluster, within)
        gone = {id(each) for each in found[0]} if found else set()
        return tuple(uid for uid, each in running.items() if id(each) in gone)

    def _running(self, node: str, uids: Iterable[str]) -> dict[str, RunningJob]:
        """What each of these pods holds on the node; empty if that is not known of all of them."""
        running: dict[str, RunningJob] = {}
        for uid in uids:
            hold, found = self.cluster.hold_of(uid), self.cluster.alone(uid)
            if hold is None or hold.node != node or found is None:
                return {}
            running[uid] = found
        return running

    # -- what holds on our word alone ----------------------------------------------------------------------------------

    def _assume(self, pod: Pod | None, node: str, for_ms: int, uid: str = "") -> None:
        uid = uid or (pod.uid if pod is not None else "")
        if pod is not None and self.cluster.known(uid) is None:
            self.cluster.put(pod)
            self._lent.add(uid)
        self.cluster.assume_pod(uid, node)
        deadline_ms = self.cluster.now_ms + for_ms
        self._deadlines[uid] = deadline_ms
        heapq.heappush(self._queue, (deadline_ms, uid))

    def _release(self, uid: str) -> None:
        """Nothing holds on our word for this pod any more; what the API server says of it stays."""
        if self._deadlines.pop(uid, None) is None:
            return
        self.cluster.forget(uid)
        if uid in self._lent:
            self._lent.discard(uid)
            if self.cluster.hold_of(uid) is None:
                self.cluster.delete_pod(uid)
