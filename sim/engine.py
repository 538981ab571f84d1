"""The SimPy process: arrive, finish, decide. Turns records, a fleet and a policy into a timeline.

One event for the next arrival, one for each running job, and one pass after everything that happens in the same
millisecond. An idle queue costs no pass.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import simpy
from simpy.events import EventPriority

from policies.api import Action, Policy, Preempt, QueueView, Reject, Start, WakeAt
from policies.topology import Topology
from sim.decision import PolicyStalledError, Referee, RefusedActionError
from sim.instant import Instant, Moment
from sim.rules import Rules
from sim.state import EXPIRE, KILL, PPM, JobState, State
from sim.streams import Streams
from sim.thinking import Thinking
from sim.timeline import CHUNK, Columns, Happened
from sim.world.speed import SpeedChange, SpeedModel
from traces.job import JobRecord

# plain integers, because SimPy compares them in its heap
FINISH, ARRIVE = EventPriority(int(Instant.FINISH)), EventPriority(int(Instant.ARRIVE))
CONTROL, DECIDE = EventPriority(int(Instant.CONTROL)), EventPriority(int(Instant.DECIDE))

new_moment = Moment.__new__
"""Makes an event without the call of its `__init__`: one is made at each start of a job."""

IDLE_WAKES_MAX = 100_000
"""Passes in a row that a policy may ask for without anything changing."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one replay gave."""

    records: Sequence[JobRecord]
    timeline: Columns
    rejections: dict[int, str]
    """Row of a record that was turned away -> why."""
    end_ms: int
    passes: int
    held_milli_ms: int
    """Milli-device-milliseconds that jobs held in sum."""


class PolicyError(Exception):
    """A policy broke its contract. `outcome` holds everything until then: nothing is lost."""

    def __init__(self, message: str, outcome: Outcome) -> None:
        super().__init__(message)
        self.outcome = outcome


class Engine:
    """One replay. Use once: build it, `run()` it. Raises ValueError if two records have the same id."""

    def __init__(
        self,
        records: Sequence[JobRecord],
        topology: Topology,
        policy: Policy,
        *,
        rules: Rules | None = None,
        queues: dict[str, QueueView] | None = None,
        speed: SpeedModel | None = None,
        validate: bool = False,
    ) -> None:
        self.rules = rules or Rules()
        if len({record.job_id for record in records}) != len(records):
            raise ValueError("two records have the same job_id: a trace must name each job once")
        self.records = records
        self.policy = policy
        self.state = State(topology, queues or {}, self.rules)
        self._validate = validate
        self._speed = None if speed is None or speed.always_full else speed
        self._referee = Referee(self.state, policy.name or type(policy).__name__)
        self._env = simpy.Environment()
        self._each_event = self.rules.decide == "event"
        self._thinking: Thinking | None = None
        if self.rules.thinking != "free":
            self._thinking = Thinking(policy, self.rules, self.state)
        self._decisions = policy.decide if self._thinking is None else self._thinking.decide
        self._plain_passes = not self._each_event and self.rules.cycle_ms is None and self._thinking is None
        self._lifetimes = not self.rules.fill and any(record.lifetime_ms is not None for record in records)
        self._plain_ends = self.rules.overrun == "extend" and not self.rules.fill and not self._lifetimes
        self._order = arrival_order(records, self.rules)
        self._submits = self._order[:] if self.rules.fill else [records[row].submit_ms for row in self._order]
        self._submits.append(-1)  # because: then looking one further needs no question
        self._actions_max = 1000 + 4 * len(records)
        """A pass that yields more does not come to an end."""
        self._on_finish = self._finish
        self._next = 0
        self._pass_is_due = False
        self._wakes: set[int] = set()
        self._idle_wakes = 0
        self._rejections: dict[int, str] = {}
        self._passes = 0
        self._always_pass = bool(getattr(policy, "runs_on_empty_queue", False))
        self._always_look = self._always_pass or validate
        """True if even the end of a job that nobody waits for is worth a look."""
        self._progress: Callable[[int], None] | None = None

    def run(self, progress: Callable[[int], None] | None = None) -> Outcome:
        """Replay everything. `progress` is told now and then how many jobs have ended.

        Raises `PolicyError` if the policy asks for what cannot be, fails, or lets jobs wait for ever.
        """
        self._progress = progress
        if self._order:
            self._at(self._submits[0], ARRIVE, Moment(self._arrive))
        if self._speed is not None:
            for change in self._speed.changes:
                self._at(change.at_ms, CONTROL, Moment(self._change_speed, change))
        collecting = gc.isenabled()
        gc.disable()  # because: nothing here makes cycles, and a collection would walk every record of the trace
        try:
            self._env.run()
            if self.state.view.pending and not self.rules.fill:
                raise self._referee.stalled()
        except (RefusedActionError, PolicyStalledError) as error:
            raise PolicyError(str(error), self._outcome()) from error
        finally:
            if collecting:
                gc.enable()
        self.state.validate()
        return self._outcome()

    def _outcome(self) -> Outcome:
        state = self.state
        line = state.timeline.columns()
        # because: a change of speed or a wake after the last job is no part of what the run took
        end_ms = int(line.at_ms[-1]) if len(line.at_ms) and not state.jobs else state.view.now_ms
        return Outcome(
            records=self.records,
            timeline=line,
            rejections=self._rejections,
            end_ms=end_ms,
            passes=self._passes,
            held_milli_ms=state.held_until_now(),
        )

    # -- events ----------------------------------------------------------------------------------------------

    def _at(self, at_ms: int, instant: EventPriority, moment: Moment) -> None:
        self._env.schedule(moment, instant, at_ms - self._env.now)

    def _arrive(self, moment: Moment) -> None:
        state = self.state
        order, submits, records = self._order, self._submits, self.records
        impossible = state.requests.impossible
        place = self._next
        now = state.view.now_ms = submits[place]
        while submits[place] == now:
            row = order[place]
            place += 1
            job = state.arrive(row, records[row])
            if impossible and job.view.request in impossible:
                self._turn_away(job, "larger than the fleet: it cannot start even on empty servers")
            else:
                if self._lifetimes:
                    self._expire_later(job)
                if self._each_event:
                    self._next = place
                    self._decide()
        self._next = place
        if place < len(order):
            moment.again(self._arrive)
            self._env.schedule(moment, ARRIVE, submits[place] - now)
        self._after_event()

    def _finish(self, moment: Moment) -> None:
        job: JobState = moment.payload
        state = self.state
        state.view.now_ms = self._env.now  # type: ignore[assignment]  # because: time is integer here
        del job.end  # because: job and event point at each other, and the collector is off
        state.finish(job)
        if state.view.pending.jobs or self._always_look:
            self._after_event()

    def _expire_later(self, job: JobState) -> None:
        lifetime_ms = job.record.lifetime_ms
        if lifetime_ms is not None:
            self._at(job.record.submit_ms + lifetime_ms, FINISH, Moment(self._expire, job))

    def _expire(self, moment: Moment) -> None:
        job: JobState = moment.payload
        state = self.state
        if state.jobs.get(job.record.job_id) is not job:
            return  # because: it was turned away or killed before
        state.view.now_ms = self._env.now  # type: ignore[assignment]  # because: time is integer here
        if job.placement is None:
            state.turn_away(job, Happened.WITHDRAW)
        else:
            job.end.disarm()
            del job.end
            state.finish(job, EXPIRE)
        self._after_event()

    def _overrun(self, moment: Moment) -> None:
        job: JobState = moment.payload
        self.state.view.now_ms = self._env.now  # type: ignore[assignment]  # because: time is integer here
        del job.end
        if self.rules.overrun == "kill":
            self.state.finish(job, KILL)
        else:
            self.state.requeue(job)
        self._after_event()

    def _change_speed(self, moment: Moment) -> None:
        change: SpeedChange = moment.payload
        assert self._speed is not None
        state = self.state
        state.view.now_ms = self._env.now  # type: ignore[assignment]  # because: time is integer here
        self._speed.apply(change)
        if self.rules.fill:
            return  # because: nothing of a static fill runs down
        # because: the table's own order within a millisecond depends on whether a policy has looked at it before
        for running in sorted(state.view.running, key=lambda each: (each.start_ms, each.job.arrival)):
            if any(change.nodes >> share.node & 1 for share in running.placement):
                job = state.jobs[running.job.job_id]
                speed = self._speed.speed_ppm(job.view, running.placement)
                if speed != job.speed_ppm:
                    job.end.disarm()
                    self._schedule_end(job, state.change_speed(job, speed))
        self._after_event()

    def _schedule_end(self, job: JobState, done_ms: int) -> None:
        limit, lifetime_ms = job.expected_end_ms, job.record.lifetime_ms
        if lifetime_ms is not None:
            done_ms = job.record.submit_ms + lifetime_ms
        if self.rules.overrun != "extend" and limit is not None and done_ms > limit:
            job.end = Moment(self._overrun, job)
            self._at(limit, FINISH, job.end)
        else:
            job.end = Moment(self._finish, job)
            if lifetime_ms is None:  # because: else it ends with its lifetime, not with its work
                self._at(done_ms, FINISH, job.end)

    # -- passes ----------------------------------------------------------------------------------------------

    def _after_event(self) -> None:
        """Decide now if the instant is over, else when it is."""
        state = self.state
        if self._validate:
            state.validate()
        if len(state.timeline.open) >= CHUNK:
            state.timeline.settle()
            if self._progress is not None:
                self._progress(state.ended)
        if (state.view.pending.jobs or self._always_pass) and not self._pass_is_due:
            if self._plain_passes:
                if self._env.peek() > state.view.now_ms:
                    self._decide()
                else:
                    self._pass_is_due = True
                    self._env.schedule(Moment(self._due), DECIDE, 0)
            else:
                self._pass_later()

    def _pass_later(self) -> None:
        if self._each_event:
            self._decide()
            return
        at_ms = self.state.view.now_ms
        if self._thinking is not None:
            at_ms = max(at_ms, self._thinking.until_ms)
        if self.rules.cycle_ms is not None:
            at_ms += -at_ms % self.rules.cycle_ms
        self._pass_is_due = True
        self._at(at_ms, DECIDE, Moment(self._due))

    def _due(self, _: Moment) -> None:
        self._pass_is_due = False
        self.state.view.now_ms = self._env.now  # type: ignore[assignment]  # because: time is integer here
        self._decide()

    def _woken(self, moment: Moment) -> None:
        self._wakes.discard(moment.payload)
        state = self.state
        state.view.now_ms = self._env.now  # type: ignore[assignment]  # because: time is integer here
        if self._pass_is_due or (self._thinking is not None and self._wake_waits(self._thinking)):
            return
        before = (state.view.starts, state.view.releases, state.ended, self._next)
        self._decide()
        asleep = (state.view.starts, state.view.releases, state.ended, self._next) == before
        self._idle_wakes = self._idle_wakes + 1 if asleep else 0
        if self._idle_wakes > IDLE_WAKES_MAX:
            raise self._referee.stalled()

    def _wake_waits(self, thinking: Thinking) -> bool:
        """True if the policy still thinks, or has just begun to: then it is woken when it is done, or has been."""
        now_ms = self.state.view.now_ms
        if thinking.until_ms <= now_ms:
            return False
        if thinking.since_ms < now_ms:
            self._wake_at(thinking.until_ms)
        return True

    def _wake_at(self, at_ms: int) -> None:
        if at_ms not in self._wakes:
            self._wakes.add(at_ms)
            self._at(at_ms, DECIDE, Moment(self._woken, at_ms))

    def _decide(self) -> None:
        """One scheduling pass: each action is checked and applied before the next is asked for."""
        self._passes += 1
        state = self.state
        left = self._actions_max
        try:
            for action in self._decisions(state.view):
                if type(action) is Start:
                    self._start(action)
                else:
                    self._apply(action)
                left -= 1
                if left < 0:
                    raise self._referee.endless()  # noqa: TRY301  # because: the other refusals leave here too
        except (RefusedActionError, PolicyStalledError):
            raise
        except Exception as error:
            raise self._referee.failed(error) from error
        if self.rules.fill:
            for view in list(state.view.pending):
                state.turn_away(state.jobs[view.job_id], Happened.DROP)
        if self._validate:
            state.validate()

    def _start(self, action: Start) -> None:
        state = self.state
        placement = action[1]
        try:
            job = state.jobs.get(action[0])
        except TypeError:
            job = None
        if (
            job is None
            or job.placement is not None
            or not job.view[3].simple
            or type(placement) is not tuple
            or self._speed is not None
        ):
            job = self._referee.start(action)  # else the ledger refuses all that can be wrong
        speed = PPM if self._speed is None else self._speed.speed_ppm(job.view, placement)
        done_ms = state.start(job, placement, speed)
        if done_ms < 0:
            raise self._referee.unfit(job, placement)
        if self._plain_ends:
            job.end = end = new_moment(Moment)  # as Moment(self._on_finish, job), in half the time
            end.callbacks = [self._on_finish]
            end.payload = job
            self._env.schedule(end, FINISH, done_ms - state.view.now_ms)
        elif not self.rules.fill:
            self._schedule_end(job, done_ms)

    def _apply(self, action: Action) -> None:
        referee = self._referee
        if isinstance(action, Preempt):
            if self.rules.fill:
                raise referee.no_departures(action)
            job = referee.preempt(action)
            job.end.disarm()
            del job.end
            self.state.preempt(job)
        elif isinstance(action, Reject):
            self._turn_away(referee.reject(action), f"rejected by the policy: {action.reason}")
        elif isinstance(action, WakeAt):
            self._wake_at(referee.wake_at(action))
        else:
            raise referee.unknown(action)

    def _turn_away(self, job: JobState, reason: str) -> None:
        self._rejections[job.row] = reason
        self.state.turn_away(job, Happened.REJECT)


def arrival_order(records: Sequence[JobRecord], rules: Rules) -> list[int]:
    """Rows in the order of arrival: by submit time, and within one millisecond by the tie order of the rules."""
    rows = list(range(len(records)))
    if rules.fill:
        return rows
    rows.sort(key=lambda row: records[row].submit_ms)
    if rules.ties == "file":
        return rows
    shuffled: Sequence[int] = ()
    if rules.ties == "random":
        shuffled = np.argsort(Streams(rules.seed).generator("ties").random(len(rows)), kind="stable").tolist()
        rank = [0] * len(rows)
        for place, row in enumerate(shuffled):
            rank[row] = place
        shuffled = rank
    first = 0
    submits = [records[row].submit_ms for row in rows]
    for place in range(1, len(rows) + 1):
        if place == len(rows) or submits[place] != submits[first]:
            if place - first > 1:
                if rules.ties == "random":
                    rows[first:place] = sorted(rows[first:place], key=lambda row: shuffled[row])
                else:
                    rows[first:place] = sorted(rows[first:place], key=lambda row: natural(records[row].job_id))
            first = place
    return rows


def natural(job_id: str) -> tuple[tuple[int, int, str], ...]:
    """Numbers inside an id compare as numbers: job9 before job10, and 12 before 12_3."""
    keys = []
    for part in re.split(r"([0-9]+)", job_id):
        if part.isdecimal():
            digits = part.lstrip("0")
            keys.append((1, len(digits), digits))  # because: int() refuses numbers of thousands of digits
        elif part:
            keys.append((2, 0, part))
    return (*keys, (0, 0, job_id))
