"""A view of the cluster with the pending jobs of one queue."""

from __future__ import annotations

from collections.abc import Mapping

from policies.api import ClusterView, PendingJobs, QueueView, RunningJobs
from policies.nodes import NodeTable


class QueueScope:
    """The view, but only the pending jobs of queue `name`; live."""

    __slots__ = ("_view", "now_ms", "pending")

    def __init__(self, view: ClusterView, name: str) -> None:
        self._view = view
        self.now_ms = view.now_ms
        self.pending: PendingJobs = view.pending.of_queue(name)

    @property
    def nodes(self) -> NodeTable:
        """All servers."""
        return self._view.nodes

    @property
    def running(self) -> RunningJobs:
        """All running jobs."""
        return self._view.running

    @property
    def queues(self) -> Mapping[str, QueueView]:
        """All queues."""
        return self._view.queues

    @property
    def releases(self) -> int:
        """As the whole view's."""
        return self._view.releases

    @property
    def starts(self) -> int:
        """As the whole view's."""
        return self._view.starts
