"""The ledger of kube-scheduler kept in step with the running jobs of a view, at the cost of what changed."""

from __future__ import annotations

from typing import NamedTuple

from policies.api import ClusterView, JobView, Placement, RunningJob
from policies.kube.jobs import JobPods, node_amounts
from policies.kube.ledger import Ledger
from policies.kube.room import DeviceRoom


class Change(NamedTuple):
    """What happened since the last look, beside one's own actions."""

    released: bool
    """Something became free."""
    started: bool
    """Somebody else started something."""
    nodes: list[int] | None
    """The servers that changed; None if they are not known."""
    gone: tuple[str, ...] = ()
    """The jobs that run no longer: they ended, or wait again."""


NOTHING = Change(released=False, started=False, nodes=[])


class RunningPods:
    """The pods of the running jobs in a ledger. One instance for one cluster."""

    def __init__(self, view: ClusterView, pods: JobPods) -> None:
        self.nodes = view.nodes
        """The table of the cluster: another object means another cluster."""
        self.servers = view.nodes.topology.nodes
        self.ledger = Ledger(self.servers, [node_amounts(node) for node in self.servers])
        self.room = DeviceRoom()
        self.jobs: dict[str, RunningJob] = {}
        """The jobs whose pods are in the ledger."""
        self.job_of: dict[str, str] = {}
        """Pod -> job."""
        self._pods = pods
        self._uids: dict[str, list[str]] = {}
        self._position = view.nodes.changes
        self._starts = view.starts
        self._releases = view.releases
        self._compare(view)

    # -- changes that are one's own -------------------------------------------------------------------------------

    def started(self, job: JobView, placement: Placement, now_ms: int) -> None:
        """One's own `Start` was applied."""
        self._starts += 1
        self.add(RunningJob(job, placement, now_ms, None))

    def preempted(self, job_id: str) -> None:
        """One's own `Preempt` was applied."""
        self._releases += 1
        self.remove(job_id)

    def add(self, running: RunningJob) -> None:
        """The pods of a job are on their nodes."""
        job = running.job
        uids = []
        for each in self._pods.running(running, self.servers):
            uid = each.pod.uid
            self.ledger.add(each.pod, each.node)
            self.room.shares[uid] = (job.request, each.share)
            self.job_of[uid] = job.job_id
            uids.append(uid)
        self.jobs[job.job_id] = running
        self._uids[job.job_id] = uids

    def remove(self, job_id: str) -> RunningJob:
        """The pods of a job are gone."""
        for uid in self._uids.pop(job_id):
            self.ledger.remove(uid)
            del self.room.shares[uid], self.job_of[uid]
        return self.jobs.pop(job_id)

    # -- changes that others made ---------------------------------------------------------------------------------

    def sync(self, view: ClusterView) -> Change:
        """Bring the ledger up to date with the view."""
        starts, releases = view.starts, view.releases
        if starts == self._starts and releases == self._releases:
            return NOTHING
        changed = self.nodes.changed_since(self._position)
        self._position = self.nodes.changes
        change = Change(releases != self._releases, starts != self._starts, changed)
        self._starts, self._releases = starts, releases
        if changed is None or change.started:
            return change._replace(gone=self._compare(view))
        suspects = {self.job_of[uid]: None for node in changed for uid in self.ledger.pods_on[node]}
        gone = [job_id for job_id in suspects if job_id not in view.running]
        for job_id in gone:
            self.remove(job_id)
        if len(view.running) != len(self.jobs):
            gone += self._compare(view)
        return change._replace(gone=tuple(gone))

    def _compare(self, view: ClusterView) -> tuple[str, ...]:
        """Look at every running job. Gives those that are gone."""
        now = {running.job.job_id: running for running in view.running}
        gone = tuple(job_id for job_id in self.jobs if job_id not in now)
        for job_id, known in list(self.jobs.items()):
            running = now.get(job_id)
            if running is None or (running.placement, running.start_ms) != (known.placement, known.start_ms):
                self.remove(job_id)
        for job_id, running in now.items():
            if job_id not in self.jobs:
                self.add(running)
        return gone
