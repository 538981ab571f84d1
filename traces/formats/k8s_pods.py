"""Pods of Kubernetes: a dump (`kubectl get pods -A -o json`), or a log of watch events, one JSON object a line.

A pod that ended is a job; the pods of a gang are one. A log has lines `{"type": "ADDED|MODIFIED|DELETED", "object": {...}}`, or
the same under `event` beside an `at_ms` (ms since 1970), as the journal of a scheduler has them. Other objects in the file help,
where there are any: nodes tell the memory of cards that pods share, LocalQueues of Kueue their ClusterQueue, and the owner of a
pod (a Job, whose pods Kueue makes late) when it was submitted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from traces.formats.k8s_amounts import WHOLE
from traces.formats.k8s_pod import ENDED, PodFacts, scheduling_text, selector_keys
from traces.formats.k8s_told import Told, is_log, read_file
from traces.job import JobRecord
from traces.reading import FileFormat, Numbered, Reading, unique
from traces.row import Row
from traces.trace import Rejection
from traces.values import stamp_text

_OUTCOMES = ("node_fail", "timeout", "failed", "cancelled", "unknown", "completed")
"""Of a gang: the first that any of its pods has."""

_CREATED = "metadata.creationTimestamp"
_KINDS = (b'"Pod', b'"Node"', b'"LocalQueue"', b'"containers"')


class _Span(NamedTuple):
    """When a job was submitted, started and ended, in ms since 1970."""

    submit_ms: int
    start_ms: int
    end_ms: int


class K8sPodsFormat(FileFormat):
    """Pods that had not ended are rejected, with what they were doing; so are those whose devices cannot be counted."""

    name = "k8s-pods"
    description = "Kubernetes pods: `kubectl get pods -A -o json`, or watch events as JSON Lines"
    job_id_column = "metadata.name"

    def sniff(self, path: Path, head: bytes) -> bool:
        """True for a JSON list of Kubernetes objects, and for lines that are watch events."""
        first = head.lstrip(b"\xef\xbb\xbf \t\r\n")
        if not first.startswith(b"{"):
            return False
        return is_log(head) or (b'"items"' in first and any(kind in first for kind in _KINDS))

    def read(self, path: Path) -> Reading:
        """Each job once, in the order in which the file first tells of them; times count from the earliest submission."""
        reading = Reading()
        reading.attach(self._from_earliest(path, reading))
        return reading

    def rows(self, path: Path, reading: Reading, epoch_ms: int) -> Iterator[Numbered]:
        """Each job with the line on which the file first tells of it."""
        yield from _Jobs(read_file(path), reading, epoch_ms).rows()

    def _from_earliest(self, path: Path, reading: Reading) -> Iterator[JobRecord | Rejection]:
        told = read_file(path)
        rows = unique(_Jobs(told, Reading(), 0).rows(), None)
        epoch_ms = min((row.submit_ms for row in rows if isinstance(row, JobRecord)), default=0)
        reading.note(f"time 0 is {stamp_text(epoch_ms)} UTC, the earliest accepted submission")
        reading.note(
            "a job runs from when its last pod was bound to when its last container ended: pulling images counts"
        )
        if told.beside:
            reading.note(f"{told.beside} lines of the log are no events of objects, and no rows")
        yield from unique(_Jobs(told, reading, epoch_ms).rows(), self.job_id_column)


class _Jobs:
    """From what a file tells to its jobs."""

    def __init__(self, told: Told, reading: Reading, epoch_ms: int) -> None:
        self._told = told
        self._reading = reading
        self._epoch_ms = epoch_ms
        self._keys = frozenset(key for pod in told.pods.values() for key in selector_keys(pod.spec))
        self._first_of = _first_of(told)

    def rows(self) -> Iterator[Numbered]:
        """Jobs and rejections, in the order of their lines."""
        rows: list[Numbered] = [(each.line, each) for each in self._told.rejections]
        for job_id, pods in self._gangs().items():
            line = min(pod.line for pod in pods)
            rows.append((line, self._job(job_id, line, pods)))
        yield from sorted(rows, key=lambda row: row[0])

    def _gangs(self) -> dict[str, list[PodFacts]]:
        found: dict[str, list[PodFacts]] = {}
        for pod in self._told.pods.values():
            if pod.daemon:
                self._reading.count("pods that belong to their node (of DaemonSets, and mirrors) are no jobs")
                continue
            again = f"@{pod.incarnation}" if pod.incarnation > 1 else ""
            found.setdefault(f"{pod.namespace}/{pod.gang or pod.name}{again}", []).append(pod)
        return found

    def _job(self, job_id: str, line: int, pods: Sequence[PodFacts]) -> JobRecord | Rejection:
        row = Row(line, {}, self._reading, self._epoch_ms)
        row.job_id = job_id
        for pod in pods:
            at = f"{pod.name}: " if len(pods) > 1 else ""
            for problem in pod.problems:
                row.problem(f"{at}{problem.field}", problem.reason)
        span = self._span(row, pods)
        lead = max(pods, key=lambda pod: pod.asked.devices)
        if any(pod.spec != lead.spec for pod in pods):
            self._reading.count("gangs whose pods differ in their specification have the scheduling of their largest")
        submit_ms = max(span.submit_ms - self._epoch_ms, 0)
        return row.record(
            job_id,
            submit_ms=submit_ms,
            run_ms=max(span.end_ms - span.start_ms, 0),
            recorded_start_ms=row.started(submit_ms, max(span.start_ms - self._epoch_ms, 0)),
            cpu_milli=sum(pod.asked.cpu_milli for pod in pods),
            memory_mib=sum(pod.asked.memory_mib for pod in pods),
            user=_said(pod.user for pod in pods),
            queue=self._queue(lead),
            family=_said(pod.family for pod in pods),
            priority=lead.priority,
            estimate_ms=max((pod.estimate_ms for pod in pods if pod.estimate_ms is not None), default=None),
            outcome=min((pod.outcome for pod in pods), key=_OUTCOMES.index),
            scheduling=scheduling_text(lead, self._keys),
            **self._devices(row, pods, lead),
        )

    def _span(self, row: Row, pods: Sequence[PodFacts]) -> _Span:
        submits, starts, ends = [], [], []
        for pod in pods:
            at = f"{pod.name}: " if len(pods) > 1 else ""
            end_ms = pod.ended_ms
            if end_ms is None and pod.key in self._told.gone and pod.phase not in ENDED:
                end_ms = self._told.gone[pod.key]
            if pod.created_ms is None and not any(each.field == _CREATED for each in pod.problems):
                row.problem(f"{at}{_CREATED}", "must not be empty")
            if pod.scheduled_ms is None:
                row.problem(f"{at}status", f"{pod.phase.upper()}: the pod never started")
            elif end_ms is None and pod.phase not in ENDED and pod.key not in self._told.gone:
                row.problem(
                    f"{at}status.phase", f"{pod.phase.upper()}: the pod had not ended when the file was written"
                )
            elif end_ms is None:
                row.problem(f"{at}status.containerStatuses", "say no time at which the pod ended")
            submits.append(self._submit_ms(pod))
            starts.append(pod.scheduled_ms or 0)
            ends.append(end_ms or 0)
        span = _Span(min(submits), max(starts), max(ends))
        if span.end_ms < span.start_ms and not row.problems:
            row.problem("status", "must not have ended before it was bound")
        return span

    def _submit_ms(self, pod: PodFacts) -> int:
        """When the pod was made; of the first pod that a job made, when the job was."""
        owner_ms = self._told.created_ms.get(pod.owner or "")
        created_ms = pod.created_ms or 0
        if owner_ms is None or self._first_of.get(pod.owner or "") != pod.key:
            return created_ms
        return min(owner_ms, created_ms)

    def _queue(self, pod: PodFacts) -> str | None:
        return self._told.cluster_queue.get((pod.namespace, pod.queue or ""), pod.queue)

    def _devices(self, row: Row, pods: Sequence[PodFacts], lead: PodFacts) -> dict[str, Any]:
        """Devices of the whole gang, and the equal pods that they are cut into."""
        holders = [pod for pod in pods if pod.asked.devices]
        if not holders:
            return {"gpu_count": 0, "pods": len(pods)}
        resources = sorted({pod.asked.resource for pod in holders})
        if len(resources) > 1:
            row.problem(
                "spec.containers", f"pods of one gang ask for several kinds of devices: {', '.join(resources)}"
            )
        equal = len({pod.asked.devices for pod in holders}) == 1
        memories = [pod.asked.share.memory_mib for pod in holders if pod.asked.share.memory_mib is not None]
        return {
            "gpu_count": sum(pod.asked.devices for pod in holders),
            "pods": len(holders) if equal else None,
            "gpu_milli": max(self._milli(pod) for pod in holders),
            "gpu_memory_mib": max(memories, default=None),
            "accelerators": lead.models or (lead.asked.resource,),
        }

    def _milli(self, pod: PodFacts) -> int:
        share = pod.asked.share
        memory_mib = self._told.memory_mib.get(pod.node)
        if share != WHOLE and share.memory_mib is not None and memory_mib is None:
            self._reading.count(
                "pods share cards whose memory the file does not tell (its nodes would): they count whole"
            )
        return share.milli_of(memory_mib)


def _first_of(told: Told) -> dict[str, str]:
    """Owner -> the first pod that it made."""
    first: dict[str, PodFacts] = {}
    for pod in told.pods.values():
        if pod.owner is None or pod.created_ms is None:
            continue
        known = first.setdefault(pod.owner, pod)
        if (pod.created_ms, pod.name) < (known.created_ms or 0, known.name):
            first[pod.owner] = pod
    return {owner: pod.key for owner, pod in first.items()}


def _said(words: Iterable[str | None]) -> str | None:
    return next((word for word in words if word), None)


FORMAT = K8sPodsFormat()
