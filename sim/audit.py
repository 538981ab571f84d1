"""The auditor: reads a timeline from its first entry to its last and recomputes what must have been true.

It knows the fleet, the records and the rules, and nothing of the engine: one dictionary entry for each device in use, and
plain sums. What it finds wrong is a defect of the program, never of its input. Work is counted in millionths of a
millisecond at full speed, so that every time is exact.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from policies.api import QueueView
from policies.topology import Node, Topology
from sim.audit_entries import Entry, Held, Pods, allows, entries, pods_of
from sim.engine import Outcome
from sim.rules import Rules
from sim.state import InvariantError
from sim.timeline import EXPIRED, Happened
from traces.job import JobRecord

FULL = 1_000_000
"""Full speed, and the work of one millisecond at full speed."""

WHOLE = 1000
"""One device, in milli-devices."""

DECIDED = (Happened.START, Happened.DROP)
"""These only a scheduling pass does."""


class AuditError(InvariantError):
    """The timeline contradicts itself, its inputs or its sums. The message says at which entry."""


class AuditedJob:
    """What the entries so far say of one job that has arrived."""

    def __init__(self, record: JobRecord) -> None:
        self.record = record
        self.state = "waiting"
        self.left = record.run_ms * FULL
        """Work still to do, as of `counted_ms`."""
        self.attained_ms = 0
        """Work that was done and kept at the last preemption."""
        self.preemptions = 0
        self.held: tuple[Held, ...] = ()
        self.start_ms = 0
        self.ready_ms = 0
        """Until here it pays for its restart and for the thinking. Where that was measured: the least that it can be."""
        self.counted_ms = 0
        self.speed_ppm = FULL

    def left_at(self, at_ms: int) -> int:
        """Work still to do at a time, if it goes on as it does; negative if it was done before."""
        return self.left - max(at_ms - max(self.counted_ms, self.ready_ms), 0) * self.speed_ppm

    def count_until(self, at_ms: int) -> None:
        """Take off the work done until now."""
        self.left = max(self.left_at(at_ms), 0)
        self.counted_ms = at_ms


class Auditor:
    """Give it each entry in order with `see`, then the sums with `close`. Raises `AuditError` at the first contradiction."""

    def __init__(
        self,
        topology: Topology,
        rules: Rules,
        records: Sequence[JobRecord],
        queues: Mapping[str, QueueView] | None = None,
    ) -> None:
        self.topology = topology
        self.rules = rules
        self.records = records
        self.queues = queues or {}
        self.jobs: dict[int, AuditedJob] = {}
        """By row, everything that arrived."""
        self.in_use: dict[tuple[int, int], int] = {}
        """(server, device) -> milli-devices that jobs hold."""
        self.since_ms: dict[tuple[int, int], int] = {}
        """The same devices -> when `device_milli_ms` was last counted."""
        self.side: dict[int, list[int]] = {}
        """Server -> CPU, memory and pods that jobs hold."""
        self.device_milli_ms = 0
        """Summed device by device, over time."""
        self.stretch_milli_ms = 0
        """The same, summed start by start."""
        self.rejected: set[int] = set()
        self.now_ms = 0
        self.ended = 0
        self._last: Entry | None = None
        self._this_instant: set[Happened] = set()
        self._last_arrival: tuple[object, ...] = ()
        self._kinds: dict[tuple[object, ...], tuple[frozenset[int], tuple[Pods, ...]]] = {}

    # -- entries ---------------------------------------------------------------------------------------------

    def see(self, entry: Entry) -> None:
        """The next entry."""
        if entry.at_ms < self.now_ms:
            raise self._wrong(entry, f"time runs backwards: {self.now_ms} ms came before")
        self._pass_time(entry)
        self._check_instant(entry)
        if entry.happened is Happened.ARRIVE:
            self._arrive(entry)
        else:
            job = self.jobs.get(entry.row)
            if job is None:
                raise self._wrong(entry, "the job has not arrived")
            self._change(entry, job)
        self._this_instant.add(entry.happened)
        self._last = entry

    def _pass_time(self, entry: Entry) -> None:
        if entry.at_ms > self.now_ms:
            self.now_ms = entry.at_ms
            self._this_instant = set()

    def _check_instant(self, entry: Entry) -> None:
        """Finish, then arrive, then control, then decide; only what began in this instant may end after them."""
        before = self._this_instant
        job = self.jobs.get(entry.row)
        later: tuple[Happened, ...] = ()
        if entry.happened in (Happened.FINISH, Happened.KILL, *EXPIRED):
            if job is not None and (job.start_ms < entry.at_ms or entry.happened in EXPIRED):
                later = (Happened.ARRIVE, Happened.SPEED)
        elif entry.happened is Happened.ARRIVE:
            later = (Happened.SPEED,)
        if self.rules.decide == "instant" and (later or entry.happened is Happened.SPEED):
            later = (*later, *DECIDED)
        wrong = [happened for happened in later if happened in before]
        if wrong:
            raise self._wrong(entry, f"it comes after {wrong[0].name.lower()} in the same instant")

    def _arrive(self, entry: Entry) -> None:
        if entry.row in self.jobs:
            raise self._wrong(entry, "the job arrives twice")
        record = self.records[entry.row]
        if not self.rules.fill and record.submit_ms != entry.at_ms:
            raise self._wrong(entry, f"it was submitted at {record.submit_ms} ms")
        place = self._place_in_order(entry, record)
        if place < self._last_arrival:
            raise self._wrong(entry, "it arrives out of order")
        self._last_arrival = place
        self.jobs[entry.row] = AuditedJob(record)

    def _place_in_order(self, entry: Entry, record: JobRecord) -> tuple[object, ...]:
        if self.rules.fill:
            return (entry.row,)
        if self.rules.ties == "file":
            return (record.submit_ms, entry.row)
        if self.rules.ties == "random":
            return (record.submit_ms,)
        digits = re.findall(r"[0-9]+|[^0-9]+", record.job_id)
        natural = tuple((0, len(d.lstrip("0")), d.lstrip("0")) if d[0] in "0123456789" else (1, 0, d) for d in digits)
        return (record.submit_ms, natural)

    def _change(self, entry: Entry, job: AuditedJob) -> None:
        waits = entry.happened in (Happened.START, Happened.REJECT, Happened.DROP, Happened.WITHDRAW)
        needed = "waiting" if waits else "running"
        if job.state != needed:
            raise self._wrong(entry, f"the job is {job.state}, not {needed}")
        lifetime = job.record.lifetime_ms
        if lifetime is not None and not self.rules.fill and entry.at_ms > job.record.submit_ms + lifetime:
            raise self._wrong(entry, f"its lifetime of {lifetime} ms is over")
        if entry.happened is Happened.START:
            self._start(entry, job)
        elif entry.happened is Happened.SPEED:
            self._check_speed(entry)
            job.count_until(entry.at_ms)
            job.speed_ppm = entry.speed_ppm
        elif entry.happened is Happened.PREEMPT:
            self._preempt(entry, job)
        else:
            self._end(entry, job)

    # -- what a job does -------------------------------------------------------------------------------------

    def _start(self, entry: Entry, job: AuditedJob) -> None:
        self._check_speed(entry)
        self._check_gang(entry, job.record)
        job.state, job.held, job.start_ms = "running", entry.held, entry.at_ms
        overhead_ms = self.rules.thinking_ms + (self.rules.restart_ms if job.preemptions else 0)
        job.ready_ms = job.counted_ms = entry.at_ms + overhead_ms
        job.speed_ppm = entry.speed_ppm
        self._hold(entry, job, 1)

    def _preempt(self, entry: Entry, job: AuditedJob) -> None:
        self._give_back(entry, job)
        job.state = "waiting"
        job.preemptions += 1
        whole = job.record.run_ms * FULL
        kept = whole - job.left
        if self.rules.progress == "lose":
            kept = 0
        elif self.rules.checkpoint_ms is not None:
            kept -= kept % (self.rules.checkpoint_ms * FULL)
        job.left = whole - kept
        job.attained_ms = kept // FULL

    def _end(self, entry: Entry, job: AuditedJob) -> None:
        if entry.happened is Happened.FINISH:
            self._check_finish(entry, job)
        elif entry.happened is Happened.KILL:
            self._check_kill(entry, job)
        elif entry.happened in EXPIRED:
            self._check_lifetime(entry, job)
        elif entry.happened is Happened.DROP and not self.rules.fill:
            raise self._wrong(entry, "jobs are dropped by static fill only")
        if job.state == "running":
            self._give_back(entry, job)
        if entry.happened is Happened.REJECT:
            self.rejected.add(entry.row)
        job.state = "ended"
        self.ended += 1

    def _give_back(self, entry: Entry, job: AuditedJob) -> None:
        job.count_until(entry.at_ms)
        demand = job.record.gpu_count * job.record.gpu_milli
        self.stretch_milli_ms += demand * (entry.at_ms - job.start_ms)
        self._hold(entry, job, -1)
        job.held = ()

    def _check_speed(self, entry: Entry) -> None:
        if entry.speed_ppm < 1:
            raise self._wrong(entry, f"its speed is {entry.speed_ppm} millionths")

    def _check_finish(self, entry: Entry, job: AuditedJob) -> None:
        """It ends in the first millisecond in which its work is done, and not behind its limit."""
        if self.rules.fill:
            raise self._wrong(entry, "in static fill nothing ends")
        if job.record.lifetime_ms is not None:
            raise self._wrong(entry, "what has a lifetime ends with it, not with its work")
        left = job.left_at(entry.at_ms)
        if left > 0:
            raise self._wrong(entry, f"{left} millionths of a millisecond of work are left")
        if entry.at_ms < job.ready_ms:
            raise self._wrong(entry, f"it pays for its restart until {job.ready_ms} ms")
        first = max(job.counted_ms, job.ready_ms)
        if self.rules.thinking == "measured":
            return  # because: no entry says what was measured, so that all times of work are bounds
        if entry.at_ms != first and job.left_at(entry.at_ms - 1) <= 0:
            raise self._wrong(entry, "its work was done before")
        limit = self._limit_ms(job)
        if self.rules.overrun == "kill" and limit is not None and entry.at_ms > limit:
            raise self._wrong(entry, f"it should have been killed at {limit} ms")

    def _check_lifetime(self, entry: Entry, job: AuditedJob) -> None:
        lifetime = job.record.lifetime_ms
        if self.rules.fill or lifetime is None or job.record.submit_ms + lifetime != entry.at_ms:
            raise self._wrong(entry, f"it was submitted at {job.record.submit_ms} ms, and its lifetime is {lifetime}")

    def _check_kill(self, entry: Entry, job: AuditedJob) -> None:
        limit = self._limit_ms(job)
        if self.rules.thinking == "measured" and limit is not None and limit <= entry.at_ms:
            return
        if self.rules.overrun != "kill" or limit != entry.at_ms:
            raise self._wrong(entry, f"overrun is {self.rules.overrun}, and its limit is at {limit} ms")
        if job.left_at(entry.at_ms) <= 0 and job.record.lifetime_ms is None:
            raise self._wrong(entry, "its work was done at its limit: it is complete")

    def _limit_ms(self, job: AuditedJob) -> int | None:
        estimate = job.record.estimate_ms
        if estimate is None and self.rules.oracle:
            estimate = job.record.run_ms
        return None if estimate is None else job.ready_ms + max(estimate - job.attained_ms, 0)

    # -- what a job holds ------------------------------------------------------------------------------------

    def _check_gang(self, entry: Entry, record: JobRecord) -> None:
        allowed, gang = self._kind(record)
        pods = [0] * len(gang)
        for held in entry.held:
            if not 0 <= held.node < len(self.topology.nodes):
                raise self._wrong(entry, f"there is no server {held.node}")
            node = self.topology.nodes[held.node]
            if held.node not in allowed:
                raise self._wrong(entry, f"the job does not allow {node.name}")
            if not 0 <= held.group < len(gang) or held.pods < 1:
                raise self._wrong(entry, f"{held.pods} pods of group {held.group} on {node.name}")
            if len(held.devices) != held.pods * gang[held.group].devices:
                raise self._wrong(entry, f"{held.pods} pods on {len(held.devices)} devices of {node.name}")
            pods[held.group] += held.pods
        if pods != [group.pods for group in gang]:
            raise self._wrong(entry, f"{pods} pods of a gang of {[group.pods for group in gang]}")

    def _hold(self, entry: Entry, job: AuditedJob, sign: int) -> None:
        gang = self._kind(job.record)[1]
        for held in job.held:
            node = self.topology.nodes[held.node]
            for device in held.devices:
                if device >= node.devices:
                    raise self._wrong(entry, f"{node.name} has no device {device}")
                milli = self._hold_device((held.node, device), sign * job.record.gpu_milli)
                if not 0 <= milli <= WHOLE:
                    raise self._wrong(entry, f"{milli} milli of device {device} of {node.name} are held")
            self._hold_side(entry, node, held, gang[held.group], sign)

    def _hold_device(self, device: tuple[int, int], milli: int) -> int:
        before = self.in_use.pop(device, 0)
        self.device_milli_ms += before * (self.now_ms - self.since_ms.pop(device, self.now_ms))
        if before + milli:
            self.in_use[device] = before + milli
            self.since_ms[device] = self.now_ms
        return before + milli

    def _hold_side(self, entry: Entry, node: Node, held: Held, group: Pods, sign: int) -> None:
        used = self.side.setdefault(held.node, [0, 0, 0])
        limits = (node.cpu_milli, node.memory_mib, node.max_pods)
        amounts = (group.cpu_milli, group.memory_mib, 1)
        for i, (limit, amount) in enumerate(zip(limits, amounts, strict=True)):
            used[i] += sign * held.pods * amount
            if used[i] < 0 or (limit is not None and used[i] > limit):
                what = ("milli-cores", "MiB of memory", "pods")[i]
                raise self._wrong(entry, f"{used[i]} {what} of {node.name} are held, it has {limit}")

    def _kind(self, record: JobRecord) -> tuple[frozenset[int], tuple[Pods, ...]]:
        """The servers that a job may use, and the pods that it is cut into."""
        queue = self.queues.get(record.queue or "")
        pools = None if queue is None else queue.pools
        asks = (record.gpu_count, record.pods, record.cpu_milli, record.memory_mib)
        key = (*asks, record.gpu_memory_mib, record.accelerators, record.scheduling, pools)
        if key not in self._kinds:
            nodes = self.topology.nodes
            allowed = frozenset(i for i, node in enumerate(nodes) if allows(record, pools, node))
            largest = max((nodes[i].devices for i in allowed), default=1) or 1
            self._kinds[key] = (allowed, tuple(pods_of(record, self.rules.split, largest)))
        return self._kinds[key]

    # -- sums ------------------------------------------------------------------------------------------------

    def close(self, outcome: Outcome, *, complete: bool = True) -> None:
        """Conservation of jobs and of device-milliseconds. `complete` is False for a run that was refused midway."""
        last = self._last
        if outcome.end_ms < self.now_ms:
            raise AuditError(f"the run ends at {outcome.end_ms} ms, its last entry is at {self.now_ms} ms")
        states = [job.state for job in self.jobs.values()]
        running = [job for job in self.jobs.values() if job.state == "running"]
        if len(states) != states.count("waiting") + len(running) + self.ended:
            raise AuditError(f"{len(states)} jobs arrived, the states do not add up")
        if complete:
            self._check_complete(states)
        if set(outcome.rejections) != self.rejected:
            raise AuditError("the jobs that were rejected are not the jobs with a reason")
        by_device = self.device_milli_ms + sum(
            milli * (outcome.end_ms - self.since_ms[device]) for device, milli in self.in_use.items()
        )
        by_stretch = self.stretch_milli_ms + sum(
            job.record.gpu_count * job.record.gpu_milli * (outcome.end_ms - job.start_ms) for job in running
        )
        if not by_device == by_stretch == outcome.held_milli_ms:
            sums = f"{by_device} device by device, {by_stretch} job by job, {outcome.held_milli_ms} by the run"
            raise AuditError(f"milli-device-milliseconds after {last}: {sums}")

    def _check_complete(self, states: Sequence[str]) -> None:
        if len(states) != len(self.records):
            raise AuditError(f"{len(self.records)} records, {len(states)} arrivals")
        if "waiting" in states:
            raise AuditError(f"{states.count('waiting')} jobs still wait at the end")
        if "running" in states and not self.rules.fill:
            raise AuditError(f"{states.count('running')} jobs still run at the end")

    def _wrong(self, entry: Entry, why: str) -> AuditError:
        job_id = self.records[entry.row].job_id if 0 <= entry.row < len(self.records) else f"row {entry.row}"
        place = f"timeline entry {entry.number}: {entry.at_ms} {entry.happened.name.lower()} {job_id}"
        return AuditError(f"{place}: {why}")


def audit(
    outcome: Outcome,
    topology: Topology,
    rules: Rules | None = None,
    queues: Mapping[str, QueueView] | None = None,
    *,
    complete: bool = True,
) -> None:
    """Audit a whole run. `complete` is False for the outcome of a `PolicyError`. Raises `AuditError`."""
    auditor = Auditor(topology, rules or Rules(), outcome.records, queues)
    for entry in entries(outcome.timeline):
        auditor.see(entry)
    auditor.close(outcome, complete=complete)
