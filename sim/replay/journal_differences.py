"""What a policy would have decided otherwise than the journal says: counted by kind and by tenant, the first ones kept."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

KINDS: Final = {
    "refused": "one of them puts the pod nowhere, the other does not",
    "quota": "the same, and an entitlement is the reason",
    "filter": "other nodes pass",
    "best node": "another node is the best",
    "order": "the best node is the same, the order behind it is not",
    "victims": "others would have to go",
    "start": "one of them starts a job that the other leaves waiting",
    "gang start": "the same, of a job with several pods",
    "placement": "the job starts on other nodes",
    "preemption": "other running jobs are preempted",
    "rejection": "one of them turns a job away",
    "error": "the policy gives no answer",
}
"""Kind of difference -> what it means."""


class Difference(NamedTuple):
    """One question that the policy answers otherwise."""

    kind: str
    tenant: str
    """The queue of the pod or job, else its namespace."""
    subject: str
    """The pod or job."""
    recorded: str
    here: str
    """What was decided, and what the policy would decide, in words."""
    file: str = ""
    line: int = 0
    at_ms: int = 0

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return self._asdict()


class Answer(NamedTuple):
    """What came of one question."""

    question: str
    """Its verb; `pass` for the pass of a scheduler."""
    tenants: tuple[str, ...] = ()
    """Whom it is about."""
    differences: tuple[Difference, ...] = ()
    not_compared: str = ""
    """Why it was not compared, or nothing."""


@dataclass(slots=True)
class Compared:
    """The result of a replay."""

    examples_max: int = 20
    """Differences that are kept of each kind."""
    questions: Counter[str] = field(default_factory=Counter)
    """Questions of the journal by verb."""
    events: int = 0
    compared: int = 0
    differ: int = 0
    """Questions with at least one difference."""
    by_kind: Counter[str] = field(default_factory=Counter)
    compared_by_tenant: Counter[str] = field(default_factory=Counter)
    by_tenant: dict[str, Counter[str]] = field(default_factory=dict)
    """Tenant -> kind -> differences."""
    not_compared: Counter[str] = field(default_factory=Counter)
    """Reason -> questions that were not compared."""
    examples: list[Difference] = field(default_factory=list)
    """In the order of the journal."""
    problems: list[str] = field(default_factory=list)
    """Lines that could not be read, with their places."""
    notes: list[str] = field(default_factory=list)

    def add(self, answer: Answer, file: str, line: int, at_ms: int) -> None:
        """Count one question."""
        self.questions[answer.question] += 1
        if answer.not_compared:
            self.not_compared[answer.not_compared] += 1
            return
        self.compared += 1
        self.differ += bool(answer.differences)
        self.compared_by_tenant.update(answer.tenants)
        for difference in answer.differences:
            self.by_kind[difference.kind] += 1
            self.by_tenant.setdefault(difference.tenant, Counter())[difference.kind] += 1
            if self.by_kind[difference.kind] <= self.examples_max:
                self.examples.append(difference._replace(file=file, line=line, at_ms=at_ms))

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        tenants = sorted({*self.compared_by_tenant, *self.by_tenant})
        return {
            "events": self.events,
            "questions": dict(sorted(self.questions.items())),
            "compared": self.compared,
            "differ": self.differ,
            "not_compared": dict(self.not_compared.most_common()),
            "by_kind": {kind: self.by_kind[kind] for kind in KINDS if self.by_kind[kind]},
            "by_tenant": {
                tenant: {
                    "compared": self.compared_by_tenant[tenant],
                    "differences": dict(sorted(self.by_tenant.get(tenant, {}).items())),
                }
                for tenant in tenants
            },
            "examples": [each.as_data() for each in self.examples],
            "problems": self.problems,
            "notes": self.notes,
        }


def some(names: Sequence[str], at_most: int = 4) -> str:
    """Some of these names in words."""
    if not names:
        return "none"
    left = len(names) - at_most
    return ", ".join(names[:at_most]) + (f" and {left} more" if left > 0 else "")
