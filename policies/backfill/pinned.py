"""The plan that gives devices: a slot is a placement that is idle over its whole window."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

from policies.api import ClusterView, NodeSet, Placement, Request
from policies.backfill.future import Step
from policies.backfill.plan import Slot, known_ends
from policies.backfill.profile import FOREVER
from policies.backfill.reservation import has_room, take_if_free
from policies.framework.points import Placer

BLOCK = 32
"""Steps that are looked at together before the next question whether there is room."""


class PinnedPlan:
    """The servers over time. Right for every request; costs a look at every server for each step that is tried."""

    gives_devices = True

    def __init__(self, view: ClusterView, placer: Placer, *, shared: bool) -> None:
        """`shared`: some waiting job asks for more than whole devices."""
        nodes = view.nodes
        self.shared = shared or bool(nodes.partial) or nodes.limits_side_resources
        """True if the plan knows shares of devices, CPU, memory and pods."""
        self._known: dict[Request, tuple[int, int]] = {}
        """Request -> (run time, start) of the last slot found: while slots are only given away, no longer job of this
        request starts earlier."""
        self._nodes = nodes
        self._placer = placer
        step = Step.of(nodes, shared=self.shared)
        self.times_ms = [view.now_ms]
        self.steps = [step]
        for end_ms, running in known_ends(view):
            if end_ms != self.times_ms[-1]:
                step = step.copy()
                self.times_ms.append(end_ms)
                self.steps.append(step)
            step.change(running.job.request, running.placement, 1)

    def knows(self, request: Request) -> bool:
        """True if the plan has what the request asks for."""
        return self.shared or request.plain

    def earliest(self, request: Request, run_ms: int, within: NodeSet) -> Slot | None:
        """The first window in which a placement is idle throughout."""
        least_ms, not_before_ms = self._known.get(request, (0, 0))
        start = bisect_left(self.times_ms, not_before_ms) if run_ms >= least_ms else 0
        for first in range(start, len(self.steps)):
            slot = self._from(first, request, run_ms, within)
            if slot is not None:
                self._known[request] = (run_ms, slot.start_ms)
                return slot
        return None

    def at_once(self, request: Request, run_ms: int, within: NodeSet) -> Slot | None:
        """The window that starts now, if a placement is idle throughout."""
        return self._from(0, request, run_ms, within)

    def _from(self, first: int, request: Request, run_ms: int, within: NodeSet) -> Slot | None:
        step = self.steps[first]
        if not step.may_hold(request, within, self._nodes):
            return None
        last = self._end(first, run_ms)
        for place in range(first, last, BLOCK):
            step = step.least(self.steps[place : min(place + BLOCK, last)])
            if not step.may_hold(request, within, self._nodes):
                return None
        ledger = step.ledger(self._nodes)
        if not has_room(request, ledger, within):
            return None
        placement = self._placer.place(request, ledger, within)
        return None if placement is None else Slot(self.times_ms[first], run_ms, placement)

    def _end(self, first: int, run_ms: int) -> int:
        if run_ms >= FOREVER:
            return len(self.steps)
        return max(bisect_left(self.times_ms, self.times_ms[first] + run_ms), first + 1)

    def is_free(self, request: Request, slot: Slot) -> bool:
        """True if the slot's own devices are idle throughout."""
        assert slot.placement is not None, "a pinned slot has devices"
        first = bisect_right(self.times_ms, slot.start_ms) - 1
        step = self.steps[first]
        step = step.least(self.steps[first : self._end_of(slot)])
        return take_if_free(step.ledger(self._nodes), request, slot.placement)

    def take(self, request: Request, slot: Slot) -> None:
        """Give a slot away."""
        self._change(request, slot, -1)

    def give_back(self, request: Request, slot: Slot) -> None:
        """Undo `take`."""
        self._known.clear()
        self._change(request, slot, 1)

    def _change(self, request: Request, slot: Slot, sign: int) -> None:
        placement: Placement | None = slot.placement
        assert placement is not None, "a pinned slot has devices"
        first = self._cut(slot.start_ms)
        last = self._cut(slot.start_ms + slot.run_ms) if slot.run_ms < FOREVER else len(self.steps)
        for place in range(first, last):
            self.steps[place].change(request, placement, sign)

    def _end_of(self, slot: Slot) -> int:
        if slot.run_ms >= FOREVER:
            return len(self.steps)
        return bisect_left(self.times_ms, slot.start_ms + slot.run_ms)

    def _cut(self, at_ms: int) -> int:
        place = bisect_right(self.times_ms, at_ms) - 1
        if self.times_ms[place] != at_ms:
            self.steps.insert(place + 1, self.steps[place].copy())
            place += 1
            self.times_ms.insert(place, at_ms)
        return place

    def move_to(self, now_ms: int) -> bool:
        """See `Plan`."""
        if len(self.times_ms) > 1 and now_ms >= self.times_ms[1]:
            return False
        self.times_ms[0] = now_ms
        return True
