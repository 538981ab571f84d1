"""One cycle for each queue: a head blocks its own queue only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from policies.api import Action, ClusterView, Policy, Semantics
from policies.framework.scoped import QueueScope


class PerQueue(Policy):
    """Runs a cycle of its own for each queue that has a pending job, in the order of the names.

    Each cycle sees only its queue's pending jobs, and all servers and all running jobs.
    """

    def __init__(self, make: Callable[[], Policy]) -> None:
        self._make = make
        self._cycles: dict[str, Policy] = {}
        """One for each queue seen so far: a cycle remembers what found no room."""
        sample = make()
        self.name = sample.name
        self.runs_on_empty_queue = sample.runs_on_empty_queue
        self._semantics = sample.semantics()

    def decide(self, view: ClusterView) -> Iterator[Action]:
        """Queue after queue."""
        for name in view.pending.queue_names():
            yield from self.cycle_of(name).decide(QueueScope(view, name))

    def cycle_of(self, queue: str) -> Policy:
        """The cycle of one queue."""
        cycle = self._cycles.get(queue)
        if cycle is None:
            cycle = self._cycles[queue] = self._make()
        return cycle

    def close(self) -> None:
        """The run is over, for each cycle."""
        for cycle in self._cycles.values():
            cycle.close()

    def semantics(self) -> Semantics:
        """As the cycle's, for each queue apart."""
        return replace(self._semantics, scope="each queue apart, in the order of their names")
