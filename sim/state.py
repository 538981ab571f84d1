"""Who holds what. Every change of the simulated cluster goes through here, and is written to the timeline."""

from __future__ import annotations

from typing import Any

from policies import bitset
from policies.api import DEVICE_MILLI, JobView, Placement, QueueView, Request, RunningJob
from policies.nodes import UNLIMITED, NodeLedger
from policies.topology import Topology
from sim.instant import Moment
from sim.requests import RequestMaker
from sim.rules import Rules
from sim.timeline import Happened, Timeline
from sim.views import SimView, job_view
from traces.job import JobRecord

PPM = 1_000_000
"""Full speed. Work is counted in millionths of a millisecond at full speed, so that every speed is exact."""

# plain integers, because an enum's members cost a look-up each and make slow columns
ARRIVE, START, FINISH, KILL = int(Happened.ARRIVE), int(Happened.START), int(Happened.FINISH), int(Happened.KILL)
PREEMPT, SPEED, EXPIRE = int(Happened.PREEMPT), int(Happened.SPEED), int(Happened.EXPIRE)


class JobState:
    """The truth about a job that has arrived and has not ended."""

    __slots__ = (
        "end",
        "expected_end_ms",
        "overhead_ms",
        "placement",
        "record",
        "row",
        "speed_ppm",
        "start_ms",
        "view",
        "work",
        "worked_at_ms",
    )

    placement: Placement | None
    """What it holds now; None while it waits. What follows is meaningful while it runs."""
    start_ms: int
    overhead_ms: int
    """Time from its start in which it pays for its restart, and for the thinking, and does no work."""
    expected_end_ms: int | None
    speed_ppm: int
    worked_at_ms: int
    """When `work` was last brought up to date."""
    work: int
    """What is left to do, in millionths of a millisecond at full speed; -1 until it is other than the whole."""
    end: Moment
    """The event at which it will end."""

    def __init__(self, row: int, record: JobRecord, view: JobView) -> None:
        self.row = row
        self.record = record
        self.view = view
        self.work = -1
        self.placement = None

    @property
    def running(self) -> RunningJob | None:
        """It as policies see it while it runs."""
        if self.placement is None:
            return None
        return RunningJob(self.view, self.placement, self.start_ms, self.expected_end_ms, self.overhead_ms)

    def left(self) -> int:
        """What is left to do, as of `worked_at_ms`."""
        return self.record.run_ms * PPM if self.work < 0 else self.work


class InvariantError(AssertionError):
    """The state contradicts itself: a defect of this program, never of its input."""


class State:
    """The cluster in one run. `view` is what policies see of it."""

    def __init__(self, topology: Topology, queues: dict[str, QueueView], rules: Rules) -> None:
        self.ledger = NodeLedger(topology)
        self.view = SimView(self.ledger, queues)
        self.view.running.ask(self._running, self.attained_ms)
        self.rules = rules
        self.timeline = Timeline()
        self._log = self.timeline.add
        self._log_placement = self.timeline.add_placement
        self.jobs: dict[str, JobState] = {}
        """Everything that waits or runs."""
        self.requests = RequestMaker(topology, rules.split, {name: queue.pools for name, queue in queues.items()})
        self._request_of = self.requests.request
        self._oracle = rules.oracle
        self._first_ms = 0
        """What a first start costs on its devices before the work begins."""
        self._restart_ms = rules.restart_ms
        """What every other start costs."""
        self.arrived = 0
        self.ended = 0
        self._held = 0
        """Milli-devices times time, summed at each release and taken off at each start: an integral once all is
        released. `held_until_now` adds what is still held."""
        self._queues = queues

    # -- changes ---------------------------------------------------------------------------------------------

    def arrive(self, row: int, record: JobRecord) -> JobState:
        """A job is submitted and begins to wait."""
        sim = self.view
        view = job_view(record, self.arrived, self._request_of(record), self._oracle)
        self.arrived += 1
        job = self.jobs[record.job_id] = JobState(row, record, view)
        sim.pending.add(view)
        self._log((sim.now_ms, ARRIVE, row, 0))
        return job

    def start(self, job: JobState, placement: Placement, speed_ppm: int) -> int:
        """A waiting job gets its devices. Returns when it will have done its work at this speed.

        -1, and nothing has changed, if the devices are not free or not as many as the gang needs.
        """
        view = job.view
        request = view.request
        taken = self.ledger.take(request, placement)
        if taken != request.devices:
            if taken >= 0:
                self.ledger.release(request, placement)
            return -1
        sim = self.view
        now = sim.now_ms
        sim.pending.remove(view)
        overhead = self._restart_ms if view.preemptions else self._first_ms
        expected = view.estimate_ms
        if expected is not None:
            expected = now + overhead + max(expected - view.attained_ms, 0)
        job.placement = placement
        job.start_ms = now
        job.expected_end_ms = expected
        job.overhead_ms = overhead
        job.speed_ppm = speed_ppm
        job.worked_at_ms = now + overhead
        if sim.running.watched:
            sim.running.add(RunningJob(view, placement, now, expected, overhead))
        sim.starts += 1
        self._held -= request.devices * request.device_milli * now
        if self._queues:
            self._charge(job, placement, 1)
        self._log((now, START, job.row, speed_ppm))
        self._log_placement(placement)
        if speed_ppm == PPM and job.work < 0:
            return now + overhead + job.record.run_ms
        return now + overhead - (-job.left() // speed_ppm)

    def charge_starts(self, thinking_ms: int) -> None:
        """From now on each start costs this much on its devices, beside what a restart costs."""
        self._first_ms = thinking_ms
        self._restart_ms = self.rules.restart_ms + thinking_ms

    def finish(self, job: JobState, how: int = FINISH) -> None:
        """A running job ends: its work is done, it is killed, or its lifetime is over."""
        self._release(job)
        del self.jobs[job.record.job_id]
        self.ended += 1
        self._log((self.view.now_ms, how, job.row, 0))

    def preempt(self, job: JobState) -> None:
        """A running job loses its devices and waits again, with the progress that the rules leave it."""
        self._release(job)
        self.work_off(job)
        total = job.record.run_ms * PPM
        if self.rules.progress == "lose":
            job.work = total
        elif self.rules.checkpoint_ms is not None:
            done = total - job.left()
            job.work = total - done // (self.rules.checkpoint_ms * PPM) * (self.rules.checkpoint_ms * PPM)
        job.view = job.view._replace(attained_ms=(total - job.left()) // PPM, preemptions=job.view.preemptions + 1)
        self.view.pending.add(job.view)
        self._log((self.view.now_ms, PREEMPT, job.row, 0))

    def requeue(self, job: JobState) -> None:
        """A running job has outrun its estimate: it waits again, and asks for twice the time."""
        self.preempt(job)
        estimate = job.view.estimate_ms
        self.view.pending.remove(job.view)
        job.view = job.view._replace(estimate_ms=None if estimate is None else max(2 * estimate, 1))
        self.view.pending.add(job.view)

    def turn_away(self, job: JobState, how: Happened) -> None:
        """A waiting job is rejected, dropped or withdrawn for good."""
        self.view.pending.remove(job.view)
        del self.jobs[job.record.job_id]
        self.ended += 1
        self._log((self.view.now_ms, int(how), job.row, 0))

    def change_speed(self, job: JobState, speed_ppm: int) -> int:
        """A running job goes on at another speed. Returns when it will have done its work."""
        self.work_off(job)
        job.speed_ppm = speed_ppm
        self._log((self.view.now_ms, SPEED, job.row, speed_ppm))
        return max(self.view.now_ms, job.start_ms + job.overhead_ms) - (-job.left() // speed_ppm)

    def work_off(self, job: JobState) -> None:
        """Account for the work that a job did until now."""
        now = self.view.now_ms
        if now > job.worked_at_ms:
            job.work = max(job.left() - (now - job.worked_at_ms) * job.speed_ppm, 0)
            job.worked_at_ms = now

    def attained_ms(self, job_id: str) -> int:
        """Work that a running job has done until now, as run time at full speed."""
        job = self.jobs[job_id]
        done = job.record.run_ms * PPM - job.left()
        if self.view.now_ms > job.worked_at_ms:
            done += (self.view.now_ms - job.worked_at_ms) * job.speed_ppm
        return min(done // PPM, job.record.run_ms)

    def _running(self) -> list[RunningJob]:
        return [running for job in self.jobs.values() if (running := job.running) is not None]

    def _release(self, job: JobState) -> None:
        placement = job.placement
        assert placement is not None, f"job {job.record.job_id} holds nothing"
        sim = self.view
        request = job.view[3]  # its request
        self.ledger.release(request, placement)
        if sim.running.watched:
            sim.running.remove(job.view[0])
        sim.releases += 1
        self._held += request.devices * request.device_milli * sim.now_ms
        if self._queues:
            self._charge(job, placement, -1)
        job.placement = None

    def held_until_now(self) -> int:
        """Milli-device-milliseconds that jobs held so far."""
        open_now = sum(running.job.request.demand_milli for running in self._running())
        return self._held + open_now * self.view.now_ms

    def _charge(self, job: JobState, placement: Placement, sign: int) -> None:
        queue = self._queues.get(job.view.queue)
        if queue is None:
            return
        held = _held_by_accelerator(self.ledger.topology, job.view.request, placement)
        for accelerator, milli in held.items():
            queue.held_milli[accelerator] = queue.held_milli.get(accelerator, 0) + sign * milli

    # -- checks ----------------------------------------------------------------------------------------------

    def validate(self) -> None:
        """Recompute everything that can be recomputed. Raises `InvariantError` at the first contradiction."""
        self._validate_jobs()
        fresh = NodeLedger(self.ledger.topology)
        for running in self._running():
            fresh.take(running.job.request, running.placement)
        for name in ("idle_mask", "idle", "by_idle", "idle_total", "cpu_left", "memory_left", "pods_left", "partial"):
            _same(name, getattr(self.ledger, name), getattr(fresh, name))
        for number, node in enumerate(self.ledger.topology.nodes):
            if self.ledger.idle_mask[number] >> node.devices:
                raise InvariantError(f"{node.name} has idle devices that it does not have")
            lefts = (self.ledger.cpu_left[number], self.ledger.memory_left[number], self.ledger.pods_left[number])
            if min(lefts) < 0 or max(lefts) > UNLIMITED:
                raise InvariantError(f"{node.name} is over-committed: {lefts} left of CPU, memory and pods")
            for device, left in self.ledger.partial.get(number, {}).items():
                if not 0 <= left < DEVICE_MILLI:
                    raise InvariantError(f"device {device} of {node.name} has {left} milli-devices left")
        self._validate_queues()

    def _validate_jobs(self) -> None:
        waiting, running = len(self.view.pending), len(self._running())
        _same("jobs in the system", len(self.jobs), waiting + running)
        _same("jobs that arrived", self.arrived, waiting + running + self.ended)
        if self.view.running.watched:
            _same(
                "jobs that run",
                sorted(r.job.job_id for r in self.view.running),
                sorted(r.job.job_id for r in self._running()),
            )
        held = 0
        for job in self.jobs.values():
            running_now = job.running
            if (running_now is None) != (job.record.job_id in self.view.pending):
                raise InvariantError(f"job {job.record.job_id} both runs and waits, or neither")
            if running_now is not None:
                _whole_gang(running_now)
                held += job.view.request.demand_milli
        partly = sum(DEVICE_MILLI - left for lefts in self.ledger.partial.values() for left in lefts.values())
        taken = (
            self.ledger.topology.device_count - self.ledger.idle_total - sum(map(len, self.ledger.partial.values()))
        )
        _same("milli-devices held", held, taken * DEVICE_MILLI + partly)

    def _validate_queues(self) -> None:
        for name, queue in self._queues.items():
            held: dict[str, int] = {}
            for running in self._running():
                if running.job.queue == name:
                    for accelerator, milli in _held_by_accelerator(
                        self.ledger.topology, running.job.request, running.placement
                    ).items():
                        held[accelerator] = held.get(accelerator, 0) + milli
            _same(f"queue {name} holds", {k: v for k, v in queue.held_milli.items() if v}, held)


def _held_by_accelerator(topology: Topology, request: Request, placement: Placement) -> dict[str, int]:
    held = {"*": 0}
    milli = request.device_milli
    for share in placement:
        amount = share.device_mask.bit_count() * milli
        if amount:
            accelerator = topology.accelerator_of[share.node] or "generic"
            held[accelerator] = held.get(accelerator, 0) + amount
            held["*"] += amount
    return {accelerator: amount for accelerator, amount in held.items() if amount}


def _whole_gang(running: RunningJob) -> None:
    pods = [0] * len(running.job.request.gang)
    for share in running.placement:
        pods[share.group] += share.pods
        devices = share.pods * running.job.request.gang[share.group].devices
        _same(f"devices of job {running.job.job_id}", share.device_mask.bit_count(), devices)
    _same(f"pods of job {running.job.job_id}", pods, [group.pods for group in running.job.request.gang])


def _same(what: str, found: Any, expected: Any) -> None:
    if found != expected:
        raise InvariantError(f"{what}: {found} found, {expected} recomputed")


def describe(placement: Placement, topology: Topology) -> str:
    """`n0[0-3] n2[1]`: a placement in stories and golden timelines."""
    parts = []
    for share in placement:
        name = topology.nodes[share.node].name if 0 <= share.node < len(topology) else f"#{share.node}"
        parts.append(f"{name}[{bitset.ranges(share.device_mask)}]")
    return " ".join(parts)
