"""Slots given to waiting jobs: what a plan of the future must answer, and the plan that counts devices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from policies.api import ClusterView, NodeSet, Placement, Request, RunningJob
from policies.backfill.profile import FOREVER, Profile
from policies.backfill.reservation import free_milli


class Slot(NamedTuple):
    """A time for one waiting job, and its devices where the plan gives devices."""

    start_ms: int
    run_ms: int
    placement: Placement | None


class Plan(Protocol):
    """The future by estimates: running jobs, and slots given away. Belongs to one policy."""

    gives_devices: bool
    """True if a slot says which devices."""

    def knows(self, request: Request) -> bool:
        """True if the plan has what the request asks for: shares of devices and the like cost more to plan."""
        ...

    def earliest(self, request: Request, run_ms: int, within: NodeSet) -> Slot | None:
        """The first slot that takes nothing from those given away; None if there is none."""
        ...

    def at_once(self, request: Request, run_ms: int, within: NodeSet) -> Slot | None:
        """The slot that starts now, if there is one."""
        ...

    def is_free(self, request: Request, slot: Slot) -> bool:
        """True if this slot could be given away."""
        ...

    def take(self, request: Request, slot: Slot) -> None:
        """Give a slot away."""
        ...

    def give_back(self, request: Request, slot: Slot) -> None:
        """Undo `take`."""
        ...

    def move_to(self, now_ms: int) -> bool:
        """Let the plan begin now. False, and it is of no use any more, if the time has come for one of its steps."""
        ...


class CountingPlan:
    """Devices are counted, wherever they are: exact where every server has one device, a fiction elsewhere."""

    gives_devices = False

    def __init__(self, view: ClusterView, *, exact: bool) -> None:
        """`exact`: counting is exact for everybody so far, and must stay so."""
        self._everywhere = view.nodes.topology.everywhere if exact else None
        ends = ((end_ms, running.job.request.demand_milli) for end_ms, running in known_ends(view))
        self.profile = Profile(view.now_ms, free_milli(view.nodes), ends)

    def knows(self, request: Request) -> bool:
        """Devices are all that it knows; if it is to be exact, no others may ask for it."""
        return self._everywhere is None or (request.plain and request.eligible == self._everywhere)

    def earliest(self, request: Request, run_ms: int, within: NodeSet) -> Slot | None:
        """The first instant from which enough devices are free for as long as it runs."""
        start_ms = self.profile.earliest(request.demand_milli, run_ms)
        return None if start_ms is None else Slot(start_ms, run_ms, None)

    def at_once(self, request: Request, run_ms: int, within: NodeSet) -> Slot | None:
        """Now, if enough devices are free for as long as it runs."""
        now_ms = self.profile.times_ms[0]
        return Slot(now_ms, run_ms, None) if self.profile.fits(now_ms, run_ms, request.demand_milli) else None

    def is_free(self, request: Request, slot: Slot) -> bool:
        """True if enough devices are free in the slot."""
        return self.profile.fits(slot.start_ms, slot.run_ms, request.demand_milli)

    def take(self, request: Request, slot: Slot) -> None:
        """Give a slot away."""
        self.profile.take(slot.start_ms, slot.run_ms, request.demand_milli)

    def give_back(self, request: Request, slot: Slot) -> None:
        """Undo `take`."""
        self.profile.take(slot.start_ms, slot.run_ms, -request.demand_milli)

    def move_to(self, now_ms: int) -> bool:
        """See `Plan`."""
        return self.profile.move_to(now_ms)


def known_ends(view: ClusterView) -> Iterator[tuple[int, RunningJob]]:
    """(expected end, running job), earliest first, later than now; those without an estimate are left out."""
    soonest_ms = view.now_ms + 1
    for running in view.running.by_expected_end():
        end_ms = running.expected_end_ms
        if end_ms is None:
            return
        yield max(end_ms, soonest_ms), running


def counting_is_exact(view: ClusterView, waiting: Iterable[Request]) -> bool:
    """True if every server has one device, nothing is shared, and whoever waits may go anywhere."""
    nodes = view.nodes
    everywhere = nodes.topology.everywhere
    return (
        nodes.topology.widest <= 1
        and not nodes.partial
        and all(request.plain and request.eligible == everywhere for request in waiting)
    )


def run_ms_of(left_ms: int | None) -> int:
    """How long a slot lasts: at least a millisecond, for ever without an estimate."""
    return FOREVER if left_ms is None else max(left_ms, 1)
