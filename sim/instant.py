"""The order of events inside one instant.

The number is the priority under which SimPy sorts events of the same time: the smaller goes first.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any

import simpy


class Instant(IntEnum):
    """One scheduling pass comes after everything that happens in the same millisecond."""

    FINISH = 10
    """First, because a job that ends gives its devices to whoever arrives in the same instant."""
    FAIL = 20
    """After finish, because a job that is done by now cannot be lost any more."""
    REPAIR = 30
    """After fail, because a server that fails and returns in one instant has still lost its jobs."""
    ARRIVE = 40
    """After all that changes what is free, because arriving changes nothing of it."""
    CONTROL = 50
    """After arrive, because a changed speed, quota or limit applies to everything that is there."""
    DECIDE = 60
    """Last, because the pass must see the whole instant, and runs once for it."""


class Moment(simpy.Event):
    """A slim event with one callback and what it is about. Disarmed by taking its callback away."""

    _ok = True
    _value = None

    def __init__(self, callback: Callable[[Any], None], payload: Any = None) -> None:
        # because: Event.__init__ stores the environment and a pending value, which a callback event never uses
        self.callbacks = [callback]
        self.payload = payload

    def again(self, callback: Callable[[Any], None]) -> None:
        """Make an event that has passed ready to be scheduled once more."""
        self.callbacks = [callback]

    def disarm(self) -> None:
        """Let it pass without effect: SimPy has no cancel."""
        if self.callbacks is not None:
            self.callbacks.clear()
