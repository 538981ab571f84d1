"""Jobs that were started and whose pods still wait for others to leave: nominated, as kube-scheduler calls it.

They hold their places, so nobody else gets them; they are bound when those who were preempted there are gone, each gang whole.
For the desk's thread.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from policies.serving.cluster import Assignment, Cluster
from policies.serving.passes import Started


@dataclass(slots=True)
class Flight:
    """A started job on its way."""

    job_id: str
    assignments: list[Assignment]
    began_ms: int
    blockers: set[str] = field(default_factory=set)
    """Uids of those that must leave first."""


class Flights:
    """See the module."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._nominated: list[Flight] = []

    def __len__(self) -> int:
        return len(self._nominated)

    def begin(self, started: Started) -> Flight:
        """A job was started. With `blockers` it is nominated; without, it is to be bound at once."""
        flight = Flight(started.job_id, started.assignments, self._cluster.now_ms)
        flight.blockers = self._blockers(flight)
        if flight.blockers:
            self._nominated.append(flight)
        return flight

    def review(self) -> tuple[list[Flight], list[Flight]]:
        """Those that nobody blocks any more, and those of which a pod has gone or is elsewhere. Both are let go."""
        ready: list[Flight] = []
        broken: list[Flight] = []
        still: list[Flight] = []
        for flight in self._nominated:
            if not all(self._holds(each) for each in flight.assignments):
                broken.append(flight)
                continue
            flight.blockers = self._blockers(flight)
            (still if flight.blockers else ready).append(flight)
        self._nominated = still
        for flight in broken:
            self._forget(flight)
        return ready, broken

    def cancel(self, uids: Iterable[str]) -> list[Flight]:
        """Let go of those with one of these pods: all their pods wait again."""
        wanted = set(uids)
        return self._let_go([f for f in self._nominated if any(each.pod.uid in wanted for each in f.assignments)])

    def blocked_by(self, uid: str) -> list[Flight]:
        """Let go of those that wait for this pod to leave: it does not."""
        return self._let_go([flight for flight in self._nominated if uid in self._blockers(flight)])

    def older_than(self, at_ms: int) -> list[Flight]:
        """Let go of those that have waited since before `at_ms`."""
        return self._let_go([flight for flight in self._nominated if flight.began_ms < at_ms])

    def all(self) -> list[Flight]:
        """Let go of all."""
        return self._let_go(list(self._nominated))

    def _let_go(self, flights: list[Flight]) -> list[Flight]:
        for flight in flights:
            self._nominated.remove(flight)
            self._forget(flight)
        return flights

    def _forget(self, flight: Flight) -> None:
        for pod, _ in flight.assignments:
            self._cluster.forget(pod.uid)

    def _holds(self, assignment: Assignment) -> bool:
        """Whether the pod still holds the place that it was given, and is not bound by somebody else."""
        hold = self._cluster.hold_of(assignment.pod.uid)
        pod = self._cluster.known(assignment.pod.uid)
        return (
            hold is not None and hold.assumed and hold.node == assignment.node and pod is not None and not pod.leaving
        )

    def _blockers(self, flight: Flight) -> set[str]:
        found: set[str] = set()
        for pod, _ in flight.assignments:
            found |= self._cluster.blockers(pod.uid)
        return found


class Recovery:
    """Jobs whose pods were nominated by whoever led before: they are not decided on before those who leave their nodes are gone.

    Else a new leader, who cannot know for whom the room is made, would preempt still more.
    """

    REASON = "pods are leaving the nodes for which it was nominated before"

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._waits_for: dict[str, set[str]] = {}
        self._until_ms = 0

    def begin(self, patience_ms: int) -> list[str]:
        """Look who waits for whom; the units that are parked."""
        leaving: dict[str, set[str]] = {}
        for unit in self._cluster.units():
            for uid, hold in unit.holds.items():
                if unit.pods[uid].leaving:
                    leaving.setdefault(hold.node, set()).add(uid)
        self._until_ms = self._cluster.now_ms + patience_ms
        self._waits_for = {}
        for unit in self._cluster.units():
            uids = set().union(*(leaving.get(pod.nominated, set()) for pod in unit.waiting if pod.nominated))
            if uids:
                self._waits_for[unit.name] = uids
        for name in self._waits_for:
            self._cluster.park(name, self.REASON)
        return list(self._waits_for)

    def review(self) -> list[str]:
        """Decide on those again for whom it is done, or has taken too long; which units these are."""
        late = self._cluster.now_ms >= self._until_ms
        done: list[str] = []
        for name, uids in list(self._waits_for.items()):
            uids -= {uid for uid in uids if self._cluster.known(uid) is None}
            if late or not uids:
                del self._waits_for[name]
                self._cluster.unpark(name, self.REASON)
                done.append(name)
        return done
