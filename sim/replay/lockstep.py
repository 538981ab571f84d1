"""Lockstep: each recorded decision is scored in the state before it, then the recorded one is applied, not our own.

So one difference does not bring the next, and a tie is no difference: kube-scheduler chooses freely among the best. A placement
is explained if its node passes the filters and none scores higher; a preemption if its node is among the best candidates and the
victims are the same; "nowhere" if no node passes and no preemption helps.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from policies.kube.configuration import Profile
from policies.kube.core import Attempt, KubeScheduler
from policies.kube.ledger import Ledger
from sim.replay.decisions import Decision, DecisionLog, Deletion
from sim.replay.journal_differences import some

ALL_NODES = 100
"""`percentageOfNodesToScore` here: which nodes a scheduler left out is not in the log."""

SHOWN = 3
"""Nodes that are named of the best."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unexplained:
    """A decision that the policy would not have made."""

    line: int
    pod: str
    recorded: str
    """What was decided, in words."""
    why: str
    """Why not, in words."""
    node: str | None = None
    score: int | None = None
    """The total of the recorded node."""
    best_score: int | None = None
    best: tuple[str, ...] = ()
    """What the policy allows: the nodes with the best score, or the best candidates of a preemption."""
    parts: tuple[tuple[str, int, int], ...] = ()
    """(plugin, its weighted score of the recorded node, that of the first of the best)."""

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "line": self.line,
            "pod": self.pod,
            "recorded": self.recorded,
            "why": self.why,
            "node": self.node,
            "score": self.score,
            "best_score": self.best_score,
            "best": list(self.best),
            "parts": [{"plugin": name, "recorded": here, "best": best} for name, here, best in self.parts],
        }


@dataclass(slots=True)
class Explained:
    """What came of a log."""

    decisions: int = 0
    placements: int = 0
    preemptions: int = 0
    unschedulable: int = 0
    """How many of the decisions were each, as recorded."""
    deletions: int = 0
    ties: int = 0
    """Placements and preemptions for which several were as good."""
    messages: int = 0
    """Unschedulable pods whose message was recorded."""
    messages_differ: list[tuple[int, str, str]] = field(default_factory=list)
    """(line, recorded, ours). Wording changes with the version of kube-scheduler, so they do not count as unexplained."""
    unexplained: list[Unexplained] = field(default_factory=list)

    @property
    def explained(self) -> int:
        """How many decisions are explained."""
        return self.decisions - len(self.unexplained)

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "decisions": self.decisions,
            "explained": self.explained,
            "placements": self.placements,
            "preemptions": self.preemptions,
            "unschedulable": self.unschedulable,
            "deletions": self.deletions,
            "ties": self.ties,
            "messages": self.messages,
            "messages_same": self.messages - len(self.messages_differ),
            "messages_differ": [
                {"line": line, "recorded": recorded, "here": here} for line, recorded, here in self.messages_differ
            ],
            "unexplained": [each.as_data() for each in self.unexplained],
        }


def replay_lockstep(log: DecisionLog, profile: Profile) -> Explained:
    """Score every decision of a log under a profile."""
    ledger = Ledger(log.nodes)
    scheduler = KubeScheduler(ledger, profile, percentage=ALL_NODES)
    found = Explained()
    for entry in log.entries:
        if isinstance(entry, Deletion):
            ledger.remove(entry.uid)
            found.deletions += 1
            continue
        attempt = scheduler.attempt(entry.pod)
        _count(found, entry, attempt)
        fault = _fault(entry, attempt, scheduler)
        if fault is not None:
            found.unexplained.append(fault)
        _apply(entry, ledger)
    return found


def _apply(decision: Decision, ledger: Ledger) -> None:
    for uid in decision.victims:
        ledger.remove(uid)
    if decision.node is not None:
        ledger.add(decision.pod, ledger.number_of[decision.node])


def _count(found: Explained, decision: Decision, attempt: Attempt) -> None:
    found.decisions += 1
    if decision.nominated is not None:
        found.preemptions += 1
        found.ties += len(attempt.preemptions) > 1
    elif decision.node is not None:
        found.placements += 1
        found.ties += len(attempt.best) > 1
    else:
        found.unschedulable += 1
        if decision.message is not None and attempt.message:
            found.messages += 1
            if decision.message != attempt.message:
                found.messages_differ.append((decision.line, decision.message, attempt.message))


def _fault(decision: Decision, attempt: Attempt, scheduler: KubeScheduler) -> Unexplained | None:
    if decision.nominated is not None:
        return _preemption_fault(decision, decision.nominated, attempt, scheduler)
    if decision.node is not None:
        return _placement_fault(decision, decision.node, attempt, scheduler)
    if attempt.node is None and attempt.preemption is None:
        return None
    names = scheduler.ledger.nodes
    if attempt.node is not None:
        best = tuple(names[node].name for node in attempt.best)
        return Unexplained(
            line=decision.line,
            pod=decision.pod.name,
            recorded="not scheduled",
            why=f"it fits on {some(best, SHOWN)}",
            best=best,
        )
    best = tuple(names[each.node].name for each in attempt.preemptions)
    return Unexplained(
        line=decision.line,
        pod=decision.pod.name,
        recorded="not scheduled",
        why=f"it would preempt {_victims(attempt)}",
        best=best,
    )


def _placement_fault(decision: Decision, name: str, attempt: Attempt, scheduler: KubeScheduler) -> Unexplained | None:
    ledger = scheduler.ledger
    node = ledger.number_of[name]
    if node in attempt.best:
        return None
    recorded = f"bound to {name}"
    best = tuple(ledger.nodes[each].name for each in attempt.best)
    if attempt.verdict is not None and not attempt.verdict.feasible[node]:
        reasons = ", ".join(attempt.verdict.reasons_at(node))
        more = f"; it fits on {some(best, SHOWN)}" if best else "; it fits nowhere"
        return Unexplained(
            line=decision.line,
            pod=decision.pod.name,
            recorded=recorded,
            node=name,
            why=f"{name} does not pass the filters: {reasons}{more}",
            best=best,
        )
    assert attempt.scores is not None, "a node that passes and is not the best was scored"
    place = attempt.candidates.tolist().index(node)
    other = attempt.candidates.tolist().index(attempt.best[0])
    total = attempt.scores.total
    parts = tuple(
        (part.name, int(part.weight * part.scores[place]), int(part.weight * part.scores[other]))
        for part in attempt.scores.parts
    )
    differ = ", ".join(f"{plugin} {here} against {there}" for plugin, here, there in parts if here != there)
    return Unexplained(
        line=decision.line,
        pod=decision.pod.name,
        recorded=recorded,
        node=name,
        why=f"{name} scores {total[place]}, {some(best, SHOWN)} {total[other]}: {differ}",
        score=int(total[place]),
        best_score=int(total[other]),
        best=best,
        parts=parts,
    )


def _preemption_fault(
    decision: Decision, name: str, attempt: Attempt, scheduler: KubeScheduler
) -> Unexplained | None:
    ledger = scheduler.ledger
    best = {ledger.nodes[each.node].name: {victim.uid for victim in each.victims} for each in attempt.preemptions}
    if best.get(name) == set(decision.victims):
        return None
    if attempt.node is not None:
        fits = some([ledger.nodes[each].name for each in attempt.best], SHOWN)
        why = f"no preemption is needed: it fits on {fits}"
    elif name in best:
        why = f"the victims on {name} would be {', '.join(sorted(best[name]))}"
    elif best:
        why = f"a better candidate is {some(tuple(best), SHOWN)}: {_victims(attempt)}"
    else:
        why = f"no preemption helps: {attempt.message}"
    return Unexplained(
        line=decision.line,
        pod=decision.pod.name,
        recorded=f"nominated for {name}, preempting {', '.join(sorted(decision.victims))}",
        node=name,
        why=why,
        best=tuple(best),
    )


def _victims(attempt: Attempt) -> str:
    assert attempt.preemption is not None, "there are victims only where there is a preemption"
    return ", ".join(victim.uid for victim in attempt.preemption.victims)
