"""Rebuilds the cluster of a journal line by line, and puts each recorded question to another policy.

What was recorded is then done, not what the policy would have done: one difference does not bring the next. Where lines are
missing or damaged nobody knows the state, so the questions behind them are read but not compared, until the next file begins with
a snapshot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from policies.api import Policy, QueueView
from policies.kube.devices import DeviceKinds
from policies.kube.objects import Json, items, mapping, text
from policies.serving.desk import Desk
from policies.serving.journal_decisions import NodeIndex, Read
from policies.serving.scheduler_cluster import cluster_as
from policies.serving.units import Hold
from sim.replay.journal_cluster import ReplayedCluster
from sim.replay.journal_differences import Answer, Compared
from sim.replay.journal_extender import ExtenderSide
from sim.replay.journal_reading import Entry, Journal, JournalFile, Process
from sim.replay.journal_scheduler import SchedulerSide
from sim.run import InputError

UNSURE: Final = "a line before it is missing, so the state is not known"

HASHED: Final = "names are hashed, so equal nodes are taken in another order: differences may be such ties"


class Side(Protocol):
    """How the questions of one kind of driver are put to a policy."""

    problems: list[str]
    """Recorded decisions that could not be done again."""

    def decide(self, decision: Json) -> Answer:
        """Ask, compare, and do what was recorded."""
        ...

    def restored(self, holds: Mapping[str, Hold]) -> None:
        """A snapshot said who holds what."""
        ...


SIDES: Final[Mapping[str, Callable[[ReplayedCluster, Policy, DeviceKinds, Json], Side]]] = {
    "extender": ExtenderSide,
    "scheduler": SchedulerSide,
}
"""Driver -> how it is replayed."""


def replay_journal(
    journal: Journal, make_policy: Callable[[], Policy], kinds: DeviceKinds, *, examples_max: int = 20
) -> Compared:
    """Compare every decision of a journal with what the policy decides. Raises `InputError`.

    `make_policy` is called for each process that wrote the journal, and after each gap: what a policy remembers is lost there.
    """
    found = Compared(examples_max=examples_max)
    found.problems += map(str, journal.problems)
    if any(process.header.get("anonymised") for process in journal.processes):
        found.notes.append(HASHED)
    for process in journal.processes:
        _Walk(process, make_policy, kinds, found).run()
    return found


class _Walk:
    """One process, from its first file to its last."""

    def __init__(
        self, process: Process, make_policy: Callable[[], Policy], kinds: DeviceKinds, found: Compared
    ) -> None:
        self._process = process
        self._make_policy = make_policy
        self._kinds = kinds
        self._found = found
        self._index = NodeIndex()
        self._sure = False
        self._number = -1
        """Of the file before, or -1."""

    def run(self) -> None:
        for file in self._process.files:
            follows = self._sure and file.number == self._number + 1 and not file.header.get("after_gap")
            if not follows:
                self._begin(file)
            self._number = file.number
            for entry in file.entries():
                if entry is None:
                    self._sure = False
                elif not (follows and (entry.is_snapshot or entry.snapshot is not None)):
                    self._line(file, entry)
            self._found.problems += map(str, file.problems)

    def _begin(self, file: JournalFile) -> None:
        """Forget everything: a snapshot follows."""
        header = file.header
        driver = text(header.get("driver"))
        if driver not in SIDES:
            raise InputError(f"{file.path}: line 1: driver {driver!r} is not known; known are {', '.join(SIDES)}")
        configuration = mapping(header.get("configuration"))
        policy = self._make_policy()
        self._cluster = cluster_of(driver, policy, configuration, items(header.get("queues")), self._kinds)
        self._desk = Desk(self._cluster, policy, clock=lambda: self._cluster.now_ms)
        self._side = SIDES[driver](self._cluster, policy, self._kinds, configuration)
        self._index.clear()
        self._sure = True
        self._objects = 0

    def _line(self, file: JournalFile, entry: Entry) -> None:
        self._cluster.now_ms = entry.at_ms
        if entry.event is not None:
            self._objects += entry.is_snapshot
            self._event(entry.event)
            self._found.events += not entry.is_snapshot
        elif entry.snapshot is not None:
            self._sure = self._sure and entry.snapshot.get("objects") == self._objects
            holds = _holds(entry.snapshot.get("holds"))
            leaving = _holds(entry.snapshot.get("leaving"))
            self._cluster.restore(holds, leaving, mapping(entry.snapshot.get("parked")))
            self._side.restored(holds)
        elif entry.decision is not None:
            place = f"{file.path.name}:{entry.line}"
            self._found.add(self._decision(entry.decision, place), file.path.name, entry.line, entry.at_ms)

    def _event(self, event: Mapping[str, Any]) -> None:
        item = mapping(event.get("object"))
        name = text(mapping(item.get("metadata")).get("name"))
        if item.get("kind") == "Node":
            if event.get("type") == "DELETED":
                self._index.remove(name)
            else:
                self._index.add(name)
        self._desk.tell(event)

    def _decision(self, decision: Mapping[str, Any], place: str) -> Answer:
        question = text(decision.get("verb")) or text(decision.get("kind"))
        try:
            read = Read(self._index).decision(decision)
        except (ValueError, TypeError, KeyError) as error:
            return Answer(question, not_compared=f"cannot be read: {error}")
        answer = self._side.decide(read)
        for problem in self._side.problems:
            self._found.problems.append(f"{place}: {problem}")
        self._side.problems.clear()
        return answer if self._sure else Answer(answer.question, not_compared=UNSURE)


def cluster_of(
    driver: str, policy: Policy, configuration: Json, queues: Sequence[Json], kinds: DeviceKinds
) -> ReplayedCluster:
    """A cluster as the driver has it for this policy, without anything in it."""
    views = {text(each.get("name")): _queue(each) for each in queues}
    if driver != "scheduler":
        return ReplayedCluster(kinds, ours=lambda _: False, queues=views)
    return cluster_as(ReplayedCluster, policy, text(configuration.get("scheduler_name")), kinds, queues=views)


def _queue(said: Json) -> QueueView:
    pools = said.get("pools")
    return QueueView(
        name=text(said.get("name")),
        nominal_milli=dict(mapping(said.get("nominal_milli"))),
        borrowing_limit_milli=said.get("borrowing_limit_milli"),
        cohort=said.get("cohort"),
        weight=said.get("weight") or 1,
        pools=None if pools is None else tuple(pools),
        held_milli={},
    )


def _holds(said: object) -> dict[str, Hold]:
    return {
        text(each.get("uid")): Hold(
            text(each.get("node")),
            each.get("devices") or 0,
            each.get("start_ms") or 0,
            assumed=each.get("assumed") is True,
        )
        for each in items(said)
    }
