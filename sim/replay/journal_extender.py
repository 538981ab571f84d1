"""The questions of a kube-scheduler to a served policy, put to another policy in the state in which they were asked.

The policy answers without leaving a trace; then what was recorded is done to the cluster. Filters are compared as sets, scores by
which node is best and by the order behind it, preemptions by their victims. A bind is no question to the policy.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable, Mapping
from itertools import zip_longest
from typing import Any, Final

from policies.api import Policy
from policies.kube.devices import DeviceKinds
from policies.kube.extender import Victims
from policies.kube.objects import Json, ObjectError, items, mapping, text
from policies.kube.pods import Pod
from policies.serving.cluster import Cluster
from policies.serving.extender import BOUND_MS, NotServableError, PolicyExtender
from policies.serving.extender_wire import WireError, read_bind_args, read_node_args, read_preempt_args
from policies.serving.units import Hold
from sim.replay.journal_differences import Answer, Difference, some
from sim.run import InputError

NO_ANSWER: Final = "recorded without an answer"
NO_HEADROOM: Final = re.compile(r"queue .* has no headroom")


class ExtenderSide(PolicyExtender):
    """See the module."""

    def __init__(self, cluster: Cluster, policy: Policy, kinds: DeviceKinds, configuration: Json) -> None:
        self.problems: list[str] = []
        self._held_ms = _whole(configuration.get("assume_ms"))
        try:
            super().__init__(cluster, policy, kinds, assume_ms=0)
        except NotServableError as error:
            raise InputError(f"--policy {policy.name}: cannot answer as an extender: {error}") from error

    def decide(self, decision: Json) -> Answer:
        """Ask the policy what was asked, compare, and go on with what was recorded."""
        verb, request, reply = text(decision.get("verb")), mapping(decision.get("request")), decision.get("reply")
        failed = isinstance(reply, Mapping) and bool(reply.get("Error"))
        if verb == "bind":
            self._bind(request, failed=failed)
            return Answer(verb, not_compared="binds are no question to the policy")
        try:
            pod = self.read(mapping(request.get("Pod")))
        except ObjectError as error:
            return Answer(verb, not_compared=f"{NO_ANSWER}: {error}" if failed else str(error))
        try:
            found = self._asked_again(verb, pod, request, reply)
            error_here = ""
        except (WireError, ObjectError) as error:
            return Answer(verb, not_compared=str(error))
        except Exception as error:  # because: a policy may raise anything
            found, error_here = [], f"{type(error).__name__}: {error}"
        if not failed:
            self._hold(verb, pod, reply)
        if failed:
            return Answer(verb, not_compared=NO_ANSWER)
        if error_here:
            found = [("error", "an answer", error_here)]
        differences = tuple(Difference(kind, pod.queue, pod.key, recorded, here) for kind, recorded, here in found)
        return Answer(verb, (pod.queue,), differences)

    def restored(self, holds: Mapping[str, Hold]) -> None:
        """How long an assumed pod counts as held was not written: as long as one that was bound."""
        for uid, hold in holds.items():
            if hold.assumed:
                deadline_ms = self._deadlines[uid] = self.cluster.now_ms + BOUND_MS
                heapq.heappush(self._queue, (deadline_ms, uid))

    # -- the verbs -------------------------------------------------------------------------------------------

    def _asked_again(self, verb: str, pod: Pod, request: Json, reply: Any) -> list[tuple[str, str, str]]:
        """(kind, recorded, here) of each difference."""
        if verb == "filter":
            return self._filter(pod, read_node_args(request).names, mapping(reply))
        if verb == "prioritize":
            return self._prioritize(pod, read_node_args(request).names, reply)
        if verb == "preempt":
            candidates = {node: each.victims for node, each in read_preempt_args(request).candidates.items()}
            return self._preempt(pod, candidates, mapping(reply))
        raise WireError(f"verb {verb!r} is not known")

    def _filter(self, pod: Pod, names: list[str], reply: Json) -> list[tuple[str, str, str]]:
        answer = self.filter(pod, names)
        recorded, here = set(reply.get("NodeNames") or ()), set(answer.nodes)
        if recorded == here:
            return []
        if bool(recorded) == bool(here):
            less, more = sorted(recorded - here), sorted(here - recorded)
            said = [f"does not pass {some(less)}"] * bool(less) + [f"passes {some(more)}"] * bool(more)
            return [("filter", f"passes {len(recorded)} of {len(names)} nodes", ", ".join(said))]
        reasons = (
            {**mapping(reply.get("FailedNodes")), **mapping(reply.get("FailedAndUnresolvableNodes"))}
            if not recorded
            else {**answer.failed, **answer.failed_and_unresolvable}
        )
        why = _commonest(reasons)
        kind = "quota" if NO_HEADROOM.match(why) else "refused"
        nowhere = f"nowhere: {why}" if why else "nowhere"
        passes = f"{len(recorded or here)} of {len(names)} nodes: {some(sorted(recorded or here))}"
        return [(kind, nowhere, passes) if not recorded else (kind, passes, nowhere)]

    def _prioritize(self, pod: Pod, names: list[str], reply: Any) -> list[tuple[str, str, str]]:
        recorded, here = _ranked(_scores(reply)), _ranked(self.prioritize(pod, names))
        pairs: Iterable[tuple[list[str], list[str]]] = zip_longest(recorded, here, fillvalue=[])
        differ = next(((rank, *pair) for rank, pair in enumerate(pairs, start=1) if pair[0] != pair[1]), None)
        if differ is None:
            return []
        rank, there, ours = differ
        if rank == 1:
            return [("best node", some(there), some(ours))]
        return [("order", f"rank {rank}: {some(there)}", f"rank {rank}: {some(ours)}")]

    def _preempt(self, pod: Pod, candidates: Mapping[str, Victims], reply: Json) -> list[tuple[str, str, str]]:
        here = {node: set(victims.uids) for node, victims in self.preempt(pod, candidates).items()}
        recorded = {
            node: {text(each.get("UID")) for each in items(mapping(victims).get("Pods"))}
            for node, victims in mapping(reply.get("NodeNameToMetaVictims")).items()
        }
        if here == recorded:
            return []
        node = min(node for node in {*here, *recorded} if here.get(node) != recorded.get(node))
        return [("victims", self._victims(node, recorded.get(node)), self._victims(node, here.get(node)))]

    def _victims(self, node: str, uids: set[str] | None) -> str:
        if uids is None:
            return f"not on {node}"
        known = (self.cluster.known(uid) for uid in uids)
        names = sorted(uid if pod is None else pod.key for uid, pod in zip(uids, known, strict=True))
        return f"on {node}: {some(names)}"

    # -- what was recorded happens -------------------------------------------------------------------------------

    def _hold(self, verb: str, pod: Pod, reply: Any) -> None:
        """What the driver assumed of its own answer."""
        if not self._held_ms:
            return
        passed = mapping(reply).get("NodeNames") if verb == "filter" else None
        if isinstance(passed, list) and len(passed) == 1:
            self._assume(pod, str(passed[0]), self._held_ms)
        scores = _scores(reply) if verb == "prioritize" else {}
        best = max(scores, key=scores.__getitem__, default="")
        if scores.get(best, 0) > 0:
            self._assume(pod, best, self._held_ms)

    def _bind(self, request: Json, *, failed: bool) -> None:
        try:
            args = read_bind_args(request)
        except WireError:
            return
        if failed:
            self.unbound(args.uid)
        else:
            self.binds(args.uid, args.node)


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


def _scores(reply: Any) -> dict[str, int]:
    return {text(each.get("Host")): _whole(each.get("Score")) for each in items(reply)}


def _ranked(scores: Mapping[str, int]) -> list[list[str]]:
    """The nodes from the best to the worst, equal ones together."""
    ranks: dict[int, list[str]] = {}
    for name, score in scores.items():
        ranks.setdefault(score, []).append(name)
    return [sorted(ranks[score]) for score in sorted(ranks, reverse=True)]


def _commonest(reasons: Mapping[str, Any]) -> str:
    told = [text(reason) for reason in reasons.values()]
    return max(sorted(set(told)), key=told.count) if told else ""
