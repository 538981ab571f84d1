"""What a pass costs in simulated time, where the rules charge it. Stands in the policy's place in the engine.

The actions of a pass are applied at once, so that the view stays true. What is charged is time: a job that a pass starts
holds its devices and begins its work when the thinking that led to it is over, and the next pass waits until all of it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from time import perf_counter_ns
from typing import Any, Final

from policies.api import Action, ClusterView, Policy
from sim.rules import Rules
from sim.state import State

NS_OF_MS: Final = 1_000_000

_OVER: Final[Any] = object()
"""Behind the last action of a pass; None would be an action that the referee refuses."""


class Thinking:
    """The passes of one policy in one run, with their price. Only for rules under which thinking is not free."""

    def __init__(
        self, policy: Policy, rules: Rules, state: State, *, clock: Callable[[], int] = perf_counter_ns
    ) -> None:
        self._policy = policy
        self._state = state
        self._clock = clock
        """Nanoseconds; read only where the thinking is measured."""
        self._measured = rules.thinking == "measured"
        self._fixed_ms = rules.thinking_ms
        self.since_ms = -1
        """When the last pass began."""
        self.until_ms = 0
        """When its thinking is over: no pass begins before."""
        state.charge_starts(self._fixed_ms)

    def decide(self, view: ClusterView) -> Iterable[Action]:
        """As the policy's own."""
        self.since_ms = view.now_ms
        if self._measured:
            return self._timed(view)
        self.until_ms = view.now_ms + self._fixed_ms
        return self._policy.decide(view)

    def _timed(self, view: ClusterView) -> Iterator[Action]:
        """Each action when it comes, the starts charged with all the time that the policy took until then."""
        now_ms = view.now_ms
        took_ns = 0
        began = self._clock()
        decisions = iter(self._policy.decide(view))
        while True:
            action = next(decisions, _OVER)
            took_ns += self._clock() - began
            spent_ms = -(-took_ns // NS_OF_MS)
            self.until_ms = now_ms + spent_ms
            if action is _OVER:
                return
            self._state.charge_starts(spent_ms)
            yield action
            began = self._clock()
