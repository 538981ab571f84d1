"""Replays a timeline over the servers, and asks after each instant why whoever still waits waits.

Between two changes of state nothing changes for anybody, and jobs of one kind (`sim.causes.kinds`) wait for the same, so
the question is asked once for each kind that waits, and only after an instant that took or gave back anything. What a job
waited for is then a difference of two running sums of its kind: the cost is in the instants and the kinds that wait in
them, not in the jobs.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from policies.api import Placement, QueueView, Request
from policies.framework.points import Admission
from policies.nodes import NodeLedger
from policies.topology import Topology
from policies.values import NodeSet, Share
from sim.causes.cause import Cause
from sim.causes.counting import Free
from sim.causes.entitlement import Entitlement
from sim.causes.kinds import Integers, Kind, kinds_of
from sim.causes.passes import Passes
from sim.causes.room import Room
from sim.rules import Rules
from sim.timeline import LEAVES, Columns, Happened
from sim.timeline import RELEASES as RELEASED
from traces.job import JobRecord

CAPACITY, QUOTA, FRAGMENTATION = int(Cause.CAPACITY), int(Cause.QUOTA), int(Cause.FRAGMENTATION)
ORDER, CYCLE = int(Cause.ORDER), int(Cause.CYCLE)
ARRIVE, START, PREEMPT = int(Happened.ARRIVE), int(Happened.START), int(Happened.PREEMPT)
WITHDRAW = int(Happened.WITHDRAW)
ENDS_WAITING: Final = frozenset(map(int, LEAVES))
RELEASES: Final = frozenset(map(int, RELEASED))


class Stretches(NamedTuple):
    """Times in which jobs waited, in the order in which they ended; those of no length are left out."""

    row: Integers
    from_ms: Integers
    until_ms: Integers
    again: Integers
    """1 for a job that had run before."""


class Replayed(NamedTuple):
    """What a replay found."""

    kinds: list[Kind]
    kind_of: Integers
    """The kind of each record."""
    stretches: Stretches
    passes: Passes


class CauseReplay:
    """One replay; use once. `admission` is the rule by which the run kept entitlements, None where it kept none."""

    def __init__(
        self,
        records: Sequence[JobRecord],
        topology: Topology,
        rules: Rules,
        queues: Mapping[str, QueueView],
        admission: Admission | None,
    ) -> None:
        found = kinds_of(records, topology, rules.split, queues, by_queue=admission is not None)
        self.kinds, self._kind_of, self._impossible = found
        self._rules = rules
        self._ledger = NodeLedger(topology)
        self._room = Room(self._ledger)
        self._free: dict[NodeSet, Free] = {}
        self._parts: dict[Request, list[tuple[Free, int]]] = {}
        """For each request, the sums that it moves: 1 whole, 0 in part."""
        self._entitlement = None if admission is None else Entitlement(admission, queues, self._ledger)
        self._passes = Passes(rules)
        self._active: dict[int, Kind] = {}
        """The kinds that wait, and some that did at the last instant."""
        self._unseen: list[Kind] = []
        """Kinds that wait for a pass: a placement exists since the last one."""
        self._since: dict[int, int] = {}
        self._held: dict[int, Placement] = {}
        self._ran = bytearray(len(records))
        """1 for each record that has started once."""
        self._waits = (array("q"), array("q"), array("q"), array("q"))
        self._waiting = 0
        self._now_ms = 0
        self._taken = False

    def run(self, line: Columns, end_ms: int) -> Replayed:
        """Everything, until the end of the run."""
        at = line.at_ms.tolist()
        rows, happened = line.job.tolist(), line.happened.tolist()
        entry, entries = 0, len(at)
        while entry < entries:
            self._now_ms = at_ms = at[entry]
            for pass_ms in self._passes.before(at_ms):
                self._seen(pass_ms)
            event = acted = False
            while entry < entries and at[entry] == at_ms:
                what, row = happened[entry], rows[entry]
                of_a_pass = self._is_of_a_pass(what, row)
                self._entry(what, row, line, entry)
                acted = acted or of_a_pass
                # because: a pass is due as soon as anything happens while a job waits, even if that one goes in the same instant
                event = event or (not of_a_pass and (acted or self._waiting > self._just_arrived(what, row)))
                entry += 1
            self._close(at_ms, event=event, acted=acted)
        return self._finished(end_ms)

    def _just_arrived(self, what: int, row: int) -> int:
        """1 for the arrival of a job that is turned away at once: nobody has waited for that."""
        return int(what == ARRIVE and self.kinds[self._kind_of[row]].request in self._impossible)

    def _is_of_a_pass(self, what: int, row: int) -> bool:
        """Whether a pass did it: a start, a rejection by the policy, a preemption that is no overrun."""
        if what == START:
            return True
        if what == PREEMPT:
            return self._rules.overrun != "requeue"
        return (
            what in ENDS_WAITING
            and what != WITHDRAW
            and self.kinds[self._kind_of[row]].request not in self._impossible
        )

    # -- entries ---------------------------------------------------------------------------------------------

    def _entry(self, what: int, row: int, line: Columns, entry: int) -> None:
        kind = self.kinds[self._kind_of[row]]
        if what == START:
            placement = _placement(line, entry)
            self._held[row] = placement
            self._ledger.take(kind.request, placement)
            self._move(kind, placement, -1)
        elif what in RELEASES:
            placement = self._held.pop(row)
            self._ledger.release(kind.request, placement)
            self._move(kind, placement, 1)
        if what in (ARRIVE, PREEMPT):
            kind.waiting += 1
            self._waiting += 1
            self._since[row] = self._now_ms
            self._active[id(kind)] = kind
        elif what in ENDS_WAITING and row in self._since:
            kind.waiting -= 1
            self._waiting -= 1
            self._waited(row, self._now_ms)
            self._ran[row] = 1

    def _waited(self, row: int, until_ms: int) -> None:
        since_ms = self._since.pop(row)
        if until_ms > since_ms:
            for column, value in zip(self._waits, (row, since_ms, until_ms, self._ran[row]), strict=True):
                column.append(value)

    def _move(self, kind: Kind, placement: Placement, sign: int) -> None:
        """Everything that is summed up: what is free, and what the queue holds."""
        self._taken = True
        request = kind.request
        parts = self._parts.get(request)
        if parts is None:
            parts = self._parts[request] = self._parts_of(request)
        for free, whole in parts:
            if whole:
                free.move(kind.amounts, sign)
            else:
                free.move_part(request, placement, sign)
        if self._entitlement is not None:
            self._entitlement.charge(kind.example.queue, request, placement, -sign)

    def _parts_of(self, request: Request) -> list[tuple[Free, int]]:
        eligible = request.eligible
        return [(free, int(eligible & nodes == eligible)) for nodes, free in self._free.items() if eligible & nodes]

    # -- causes ----------------------------------------------------------------------------------------------

    def _close(self, at_ms: int, *, event: bool, acted: bool) -> None:
        """An instant is over: ask why whoever still waits waits."""
        passes = self._passes
        seen = True if passes.always else passes.instant(at_ms, event=event, acted=acted)
        taken, self._taken = self._taken, False
        if taken:
            self._room.changed()
        if seen:
            self._unseen.clear()
        idle = []
        for key, kind in self._active.items():
            if not kind.waiting:
                kind.cause = -1
                idle.append(key)
            elif taken or kind.cause < 0 or (seen and kind.cause == CYCLE):
                cause = self._why(kind, seen=seen)
                if cause != kind.cause:
                    kind.set(at_ms, cause)
                    if cause == CYCLE:
                        self._unseen.append(kind)
        for key in idle:
            del self._active[key]

    def _seen(self, pass_ms: int) -> None:
        """A pass came between two instants, and started nothing: whoever waited for it is passed over from then on."""
        for kind in self._unseen:
            if kind.cause == CYCLE:
                kind.set(pass_ms, ORDER)
        self._unseen.clear()

    def _why(self, kind: Kind, *, seen: bool) -> int:
        request = kind.request
        eligible = request.eligible
        free = self._free.get(eligible) or self._count(eligible)
        if free.lacks(kind.amounts):
            return CAPACITY
        if self._entitlement is not None:
            allowed = self._entitlement.allowed(kind)
            if allowed != eligible:
                if not allowed or (self._free.get(allowed) or self._count(allowed)).lacks(kind.amounts):
                    return QUOTA
                eligible = allowed
        if not self._room.fits(request, eligible):
            return FRAGMENTATION
        if seen:
            return ORDER
        return kind.cause if kind.cause in (ORDER, CYCLE) else CYCLE

    def _count(self, nodes: NodeSet) -> Free:
        """The sum over a set of servers, from now on kept up to date."""
        free = self._free[nodes] = Free(nodes, self._ledger)
        self._parts.clear()
        return free

    def _finished(self, end_ms: int) -> Replayed:
        for pass_ms in self._passes.before(end_ms):
            self._seen(pass_ms)
        for row in list(self._since):
            self._waited(row, end_ms)
        stretches = Stretches._make(np.array(column, dtype=np.int64) for column in self._waits)
        return Replayed(self.kinds, np.array(self._kind_of, dtype=np.int64), stretches, self._passes)


def _placement(line: Columns, entry: int) -> Placement:
    first, behind = int(line.share_start[entry]), int(line.share_start[entry + 1])
    shares = zip(
        line.share_node[first:behind].tolist(),
        line.share_devices[first:behind].tolist(),
        line.share_pods[first:behind].tolist(),
        line.share_group[first:behind].tolist(),
        strict=True,
    )
    return tuple(map(Share._make, shares))
