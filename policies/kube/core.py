"""kube-scheduler's scheduling cycle for one pod: filter, score, choose; or preempt, or say why not.

The same code replays the decisions of a real kube-scheduler and decides in the simulator. It acts on nothing: the owner of the
ledger adds the pod where the attempt says, and nominates or evicts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from policies.kube.configuration import Profile
from policies.kube.extender import SCORE_SCALE, Extender, ExtenderError, Victims, check_filter_answer
from policies.kube.facts import FactFinder
from policies.kube.filters import PodCheck, Room, Verdict
from policies.kube.ledger import Counts, Ledger, Mask
from policies.kube.messages import NEVER_PREEMPTS, NO_CLAIMS, VICTIMS_LEAVE, unschedulable
from policies.kube.pods import Pod
from policies.kube.preemption import Candidate, DisruptionBudget, Preemptor, best_of, told
from policies.kube.scoring import Part, Scorer, Scores

NODES_LEAST: Final = 100
"""A cluster with fewer nodes is always looked at as a whole, and so many feasible ones are looked for in any other."""

PERCENTAGE_LEAST: Final = 5

Draw = Callable[[int], int]
"""n -> a number 0..n-1: the choice among equals."""


def the_first(_: int) -> int:
    """The choice of the first among equals."""
    return 0


def as_it_is(pod: Pod) -> Pod:
    """The pod itself."""
    return pod


@dataclass(slots=True)
class Attempt:
    """What came of one attempt to schedule one pod."""

    pod: Pod
    node: int | None = None
    """Where it goes now."""
    candidates: Counts = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """The nodes that were scored, or the one that was left; ascending."""
    scores: Scores | None = None
    """None where there was nothing to choose."""
    best: tuple[int, ...] = ()
    """The nodes with the largest score: the choice among them is free."""
    verdict: Verdict | None = None
    preemption: Candidate | None = None
    """Whom to evict, and where it will go then."""
    preemptions: tuple[Candidate, ...] = ()
    """The candidates that are as good: the choice among them is free."""
    error: str | None = None
    """An extender failed: the attempt ended there, and is repeated after the backoff."""
    message: str = ""
    """Why it cannot be scheduled, in kube-scheduler's words; empty where it can."""


class KubeScheduler:
    """See the module. Nodes that a profile's percentage leaves out are left out as in the original, one node after the other."""

    def __init__(
        self,
        ledger: Ledger,
        profile: Profile | None = None,
        *,
        percentage: int = 0,
        draw: Draw = the_first,
        extenders: Sequence[Extender] = (),
        budgets: Sequence[DisruptionBudget] = (),
        images: Mapping[str, Mapping[str, int]] | None = None,
        room: Room | None = None,
        show: Callable[[Pod], Pod] = as_it_is,
    ) -> None:
        self.ledger = ledger
        self.profile = profile or Profile()
        self.extenders = tuple(extenders)
        self.nominated: dict[str, tuple[Pod, int]] = {}
        """Pods whose victims are leaving, by uid, with their node: it is kept free from pods of lower priority."""
        self.facts = FactFinder(ledger, self.profile)
        self.scorer = Scorer(ledger, self.profile, self.facts, images)
        self.preemptor = Preemptor(ledger, self.profile, draw=draw, budgets=budgets)
        self._percentage = percentage
        self._draw = draw
        self._room = room
        self._show = show
        """How a pod is shown to the extenders."""
        self._order = np.array(ledger.tree_order(), dtype=np.int64)
        self._next = 0
        """Where the next search for feasible nodes begins."""
        for extender in self.extenders:
            extender.know(ledger.nodes, ledger.pod_of)

    # -- filter ----------------------------------------------------------------------------------------------------

    def check(self, pod: Pod) -> PodCheck:
        """The filters for a pod on the ledger as it is."""
        return PodCheck(pod, self.ledger, self.profile, self.facts, self._room)

    def filter(self, pod: Pod) -> Verdict:
        """What the in-tree filters say of each node, with the nominated pods of no lower priority counted as if there."""
        rivals = [
            (rival, node)
            for uid, (rival, node) in self.nominated.items()
            if uid != pod.uid and rival.priority >= pod.priority and uid not in self.ledger.node_of
        ]
        for rival, node in rivals:
            self.ledger.add(rival, node)
        try:
            verdict = self.check(pod).verdict()
        finally:
            for rival, _ in rivals:
                self.ledger.remove(rival.uid)
        if rivals and pod.terms.depends_on_pods:
            for reason, nodes in self.check(pod).verdict().faults:  # because: a rival may also have made it possible
                verdict.reject(reason, nodes)
        return verdict

    def _sampled(self, feasible: Mask) -> Mask:
        """The feasible nodes that are found before the search stops; the next search begins behind them."""
        size = len(self.ledger)
        wanted = nodes_to_find(self._percentage, size)
        order = np.roll(self._order, -self._next)
        found = np.flatnonzero(feasible[order])
        if len(found) <= wanted:
            return feasible
        self._next = (self._next + int(found[wanted])) % size
        kept = np.zeros(size, dtype=np.bool_)
        kept[order[found[:wanted]]] = True
        return kept

    def _interested(self, pod: Pod) -> list[Extender]:
        """The extenders that are called for a pod, in their order."""
        if not self.extenders:
            return []
        shown = self._show(pod)
        return [each for each in self.extenders if each.is_interested(shown)]

    def _extend(self, pod: Pod, candidates: Counts, verdict: Verdict) -> Counts:
        """What the extenders leave of the candidates. Raises `ExtenderError`."""
        for extender in self._interested(pod):
            if not len(candidates):
                break
            if not extender.filters:
                continue
            names = [self.ledger.nodes[node].name for node in candidates.tolist()]
            try:
                answer = extender.filter(self._show(pod), names)
                passed = check_filter_answer(extender, answer, names)
            except ExtenderError:
                if extender.ignorable:
                    continue
                raise
            rejections = [(answer.failed_and_unresolvable, True), (answer.failed, False)]
            for failed, for_good in rejections:
                for name, reason in failed.items():
                    number = self.ledger.number_of.get(name)
                    if number is not None:
                        verdict.reject(reason, _only(number, len(self.ledger)), for_good=for_good)
            candidates = np.sort(np.array([self.ledger.number_of[name] for name in passed], dtype=np.int64))
        return candidates

    # -- score -----------------------------------------------------------------------------------------------------

    def score(self, pod: Pod, candidates: Counts) -> Scores:
        """The in-tree scores and those of the extenders."""
        asked = self._interested(pod)
        as_if_empty = any(each.filters and each.forgets_pods for each in asked)
        found = self.scorer.scores(pod, candidates, as_if_empty=as_if_empty)
        for extender in asked:
            if not extender.prioritizes:
                continue
            names = [self.ledger.nodes[node].name for node in candidates.tolist()]
            try:
                points = extender.prioritize(self._show(pod), names)
            except ExtenderError:
                continue
            given = np.array([points.get(name, 0) for name in names], dtype=np.int64)
            weight = extender.weight * SCORE_SCALE
            found = Scores(found.total + weight * given, (*found.parts, Part(extender.name, weight, given)))
        return found

    # -- the whole attempt -----------------------------------------------------------------------------------------

    def attempt(self, pod: Pod, *, allowed: Mask | None = None, preempt: bool = True) -> Attempt:
        """Where a pod goes, whom it would preempt, or why it has to wait. Changes nothing but where the search goes on.

        `allowed` are the nodes it may use at all (quota); the others do not exist for it.
        """
        if not len(self.ledger):
            return Attempt(pod, message="no nodes available to schedule pods")
        found = Attempt(pod)
        try:
            candidates = self._nominated_first(pod, allowed)
            if candidates is None:
                found.verdict = verdict = self.filter(pod)
                if allowed is not None:
                    verdict.reject("node(s) not allowed", ~allowed, for_good=True)
                    # because: a node that is not allowed and full as well is no candidate for preemption either
                    verdict.unresolvable |= ~allowed
                candidates = np.flatnonzero(self._sampled(verdict.feasible))
                candidates = self._extend(pod, candidates, verdict)
            if len(candidates):
                return self._choose(found, candidates)
            self._post_filter(found, preempt=preempt)
        except ExtenderError as error:
            found.error = found.message = str(error)
        return found

    def _nominated_first(self, pod: Pod, allowed: Mask | None) -> Counts | None:
        """The node for which the pod is nominated, if it fits there now."""
        nominated = self.nominated.get(pod.uid)
        if nominated is None:
            return None
        verdict = self.filter(pod)
        node = nominated[1]
        if not verdict.feasible[node] or (allowed is not None and not allowed[node]):
            return None
        candidates = self._extend(pod, np.array([node], dtype=np.int64), verdict)
        return candidates if len(candidates) else None

    def _choose(self, found: Attempt, candidates: Counts) -> Attempt:
        found.candidates = candidates
        if len(candidates) == 1:
            found.best = (int(candidates[0]),)
        else:
            found.scores = self.score(found.pod, candidates)
            found.best = tuple(candidates[found.scores.best()].tolist())
        found.node = found.best[self._draw(len(found.best)) if len(found.best) > 1 else 0]
        return found

    def _post_filter(self, found: Attempt, *, preempt: bool) -> None:
        verdict = found.verdict
        assert verdict is not None, "a pod that fits nowhere was filtered"
        said = [NO_CLAIMS] if "DynamicResources" in self.profile.post_filters else []
        if preempt and self.profile.preempts:
            reason = self._may_not_preempt(found.pod) or self._preempt(found, verdict)
            if not reason:
                return
            said.append(reason)
        found.message = unschedulable(len(self.ledger), verdict.counts(), tuple(said))

    def _may_not_preempt(self, pod: Pod) -> str:
        if not pod.terms.may_preempt:
            return f"preemption: {NEVER_PREEMPTS}"
        nominated = self.nominated.get(pod.uid)
        if nominated is not None and any(
            other.leaving and other.priority < pod.priority for other in self.ledger.pods_on[nominated[1]].values()
        ):
            return f"preemption: {VICTIMS_LEAVE}"
        return ""

    def _preempt(self, found: Attempt, verdict: Verdict) -> str:
        """Find whom to evict; the reason if there is nobody."""
        search = self.preemptor.search(self.check(found.pod), verdict)
        candidates = self._agreed(found.pod, search.candidates)
        if not candidates:
            return told(len(self.ledger), search.reasons)
        found.preemptions = best_of(candidates)
        found.preemption = found.preemptions[self._draw(len(found.preemptions)) if len(found.preemptions) > 1 else 0]
        return ""

    def _agreed(self, pod: Pod, candidates: Sequence[Candidate]) -> Sequence[Candidate]:
        """What the extenders leave of the candidates. Raises `ExtenderError`."""
        for extender in self._interested(pod):
            if not candidates:
                break
            if not extender.preempts:
                continue
            try:
                candidates = self._ask_preempt(extender, pod, candidates)
            except ExtenderError:
                if not extender.ignorable:
                    raise
        return candidates

    def _ask_preempt(self, extender: Extender, pod: Pod, candidates: Sequence[Candidate]) -> list[Candidate]:
        offered = {self.ledger.nodes[each.node].name: each for each in candidates}
        answer = extender.preempt(
            self._show(pod),
            {
                name: Victims(tuple(victim.uid for victim in each.victims), each.pdb_violations)
                for name, each in offered.items()
            },
        )
        left = []
        for name, victims in answer.items():
            if name not in offered:
                raise ExtenderError(f"extender {extender.name}: preempt names node {name!r}, which was not offered")
            known = {victim.uid: victim for victim in offered[name].victims}
            strange = [uid for uid in victims.uids if uid not in known]
            if strange:
                raise ExtenderError(
                    f"extender {extender.name}: preempt names pod {strange[0]!r}, which was no victim on node {name!r}"
                )
            if victims.uids:
                kept = tuple(victim for uid, victim in known.items() if uid in victims.uids)
                left.append(offered[name]._replace(victims=kept, pdb_violations=victims.pdb_violations))
            elif not extender.ignorable:
                raise ExtenderError(f"extender {extender.name}: preempt leaves no victim on node {name!r}")
        return left

    # -- bind and nominate ----------------------------------------------------------------------------------------

    def bind(self, pod: Pod, node: int) -> None:
        """Let the extender bind the pod that binds such pods; without one nothing happens. Raises `ExtenderError`."""
        binder = next((each for each in self._interested(pod) if each.binds), None)
        if binder is not None:
            binder.bind(self._show(pod), self.ledger.nodes[node].name)

    def nominate(self, pod: Pod, node: int) -> None:
        """The pod waits for its victims to leave; pods of lower priority that are nominated there lose their claim."""
        for uid, (other, where) in list(self.nominated.items()):
            if where == node and other.priority < pod.priority:
                del self.nominated[uid]
        self.nominated[pod.uid] = (pod, node)

    def forget(self, uid: str) -> None:
        """A nominated pod is bound, or gone."""
        self.nominated.pop(uid, None)


def nodes_to_find(percentage: int, nodes: int) -> int:
    """After how many feasible nodes the search stops; a percentage of 0 adapts to the size of the cluster."""
    if nodes < NODES_LEAST:
        return nodes
    if percentage == 0:
        percentage = max(50 - nodes // 125, PERCENTAGE_LEAST)
    return max(nodes * percentage // 100, NODES_LEAST)


def _only(node: int, nodes: int) -> Mask:
    mask = np.zeros(nodes, dtype=np.bool_)
    mask[node] = True
    return mask
