"""A scheduler for any policy: it watches nodes and pods, lets the policy decide, and binds and evicts as it decided.

Everything that touches the cluster or the policy runs on the desk's thread, in order; everything that speaks to the API server
runs on the event loop. A job that was started holds its places from that moment on, so nothing is given twice while a binding
is under way, and a place is free again only when it is certain that its pod is not bound there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

from policies.kube.objects import mapping, text
from policies.kube.pods import Pod
from policies.serving.api import ApiClient
from policies.serving.binder import Binder, Fate, Outcome
from policies.serving.clock import Clock
from policies.serving.departures import Departures
from policies.serving.desk import Desk
from policies.serving.evictor import Evictor
from policies.serving.explain import Explainer
from policies.serving.flights import Flight, Flights, Recovery
from policies.serving.leader import Leadership
from policies.serving.metrics import Metrics
from policies.serving.passes import PassResult, PassRunner, Started
from policies.serving.reports import Report, Reporter
from policies.serving.resources import LIVE_PODS, NODES, POD_GROUPS
from policies.serving.retries import Retries
from policies.serving.scheduler_metrics import SchedulerMetrics
from policies.serving.units import REST, unit_name
from policies.serving.unplaced import Unplaced
from policies.serving.watch import Event, Watcher

log = logging.getLogger(__name__)

RETRY_MAX_S: Final = 10.0
"""A job whose pods could not be bound is tried again after this at most."""
GIVEN_UP_MAX_S: Final = 300.0
"""The same for one whose victims did not leave in time."""
POLICY_RETRY_S: Final = 1.0
POLICY_RETRY_MAX_S: Final = 30.0
REPORT_S: Final = 1.0
"""How often to look whom to tell why he waits."""
BREAK_OFF_S: Final = 60.0
"""For bindings that are under way when this process begins to lead again."""
STOP_S: Final = 5.0
"""For bindings that are under way when the scheduler is told to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerOptions:
    """How it works."""

    name: str = "rehearse"
    """`schedulerName` of the pods that it places."""
    cycle_ms: int = 0
    """Decide at multiples of this only; 0 is as soon as something has changed."""
    debounce_ms: int = 5
    """Wait so long after a change for those that come with it."""
    patience_ms: int = 300_000
    """So long a job waits for its victims to leave; then both are as before."""


class Scheduler:
    """See the module. `run` works until it is cancelled; `stop` then ends what is under way."""

    def __init__(
        self,
        api: ApiClient,
        desk: Desk,
        options: SchedulerOptions,
        *,
        clock: Clock,
        leadership: Leadership,
        identity: str = "rehearse",
        metrics: Metrics | None = None,
    ) -> None:
        self.leadership = leadership
        self.metrics = SchedulerMetrics(metrics or Metrics())
        self.busy: Callable[[float | None], None] = lambda _: None
        """Told when the policy begins to think (by `perf_counter`), and None when it has ended."""
        self._desk = desk
        self._cluster = desk.cluster
        self._options = options
        self._clock = clock
        self._versions: dict[str, str] = {}
        """Uid -> resource version, of pods that are not bound."""
        self._wanted = asyncio.Event()
        self._ready = False
        """Whether this process leads and knows what is so."""
        self._taking_over: asyncio.Task[None] | None = None
        self._wake_ms: int | None = None
        self._passes = 0
        self._decided = -1
        """`changes` of the cluster after the last pass."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._flights = Flights(self._cluster)
        self._recovery = Recovery(self._cluster)
        self._runner = PassRunner(self._cluster, desk.policy, going=self._may_decide, cancel=self._cancel)
        explainer = Explainer(self._cluster, desk.policy)
        self._unplaced = Unplaced(self._cluster, explainer, ours=lambda pod: pod.scheduler == options.name)
        self._watcher = Watcher(api, (NODES, LIVE_PODS, *POD_GROUPS), self._sink, clock=clock)
        self._retries = Retries(clock=clock, due=self._again)
        self._departures = Departures(Binder(api, leadership, clock=clock), self.metrics, self._landed)
        self._evictor = Evictor(
            api,
            leadership,
            clock=clock,
            patience_s=options.patience_ms / 1000,
            wanted=self._is_to_leave,
            refused=self._stays,
            counted=lambda result: self.metrics.evictions.labels(result).inc(),
        )
        self._reporter = Reporter(
            api,
            controller=options.name,
            instance=identity,
            clock=clock,
            versions=self._versions,
            dropped=self.metrics.dropped_reports.inc,
        )

    # -- life --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Work until cancelled."""
        self._loop = asyncio.get_running_loop()
        if self.leadership.leads:
            self.leadership_changed(leads=True)
        async with asyncio.TaskGroup() as group:
            for work in (self._watcher.run, self._reporter.run, self._decide, self._retries.run, self._report):
                group.create_task(work())

    async def stop(self) -> None:
        """End what is under way, for `STOP_S` at most. To be called when `run` has been cancelled."""
        self._ready = False
        if self._taking_over is not None:
            self._taking_over.cancel()
            await asyncio.gather(self._taking_over, return_exceptions=True)
        await self._evictor.stop()
        await self._departures.settled(STOP_S)

    def unready(self) -> str:
        """Why it cannot work yet, or nothing."""
        if self._watcher.is_synced:
            return ""
        said = "; ".join(f"{name}: {fault}" for name, fault in self._watcher.faults.items())
        return f"nodes and pods are not listed yet{f' ({said})' if said else ''}"

    def detail(self) -> dict[str, Any]:
        """For /healthz."""
        return {
            "leads": self.leadership.leads,
            "decides": self._ready,
            "passes": self._passes,
            "watch_faults": self._watcher.faults,
            "api_server_silent_s": round(self._watcher.silent_s, 1),
        }

    def leadership_changed(self, leads: bool) -> None:
        """To be called when leadership begins or ends."""
        self.metrics.leads.set(leads)
        self._ready = False
        if self._taking_over is not None:
            self._taking_over.cancel()
        self._taking_over = asyncio.ensure_future(self._take_over() if leads else self._stand_by())

    async def _take_over(self) -> None:
        """Begin to decide only with all that whoever led before has done."""
        await self._watcher.synced()
        await self._departures.settled(BREAK_OFF_S)
        await self._watcher.resync()
        await self._desk.do(self._reconcile)
        self._ready = True
        self._wanted.set()
        log.info("deciding for pods of scheduler %s", self._options.name)

    async def _stand_by(self) -> None:
        await self._evictor.stop()
        await self._desk.do(lambda: self._forgotten(self._flights.all()))

    def _reconcile(self) -> None:
        """What was assumed and is not so by a new list is forgotten; who was to leave and was not asked stays."""
        self._forgotten(self._flights.all())
        for unit in list(self._cluster.units()):
            assumed = [uid for uid, hold in (*unit.holds.items(), *unit.leaving.items()) if hold.assumed]
            for uid in assumed:
                self._cluster.forget(uid)
            if assumed:
                self._record({"kind": "forget", "job": unit.name, "uids": assumed, "reason": ""})
            staying = [uid for uid in unit.leaving if not unit.pods[uid].leaving]
            for uid in staying:
                self._cluster.stay(uid)
            if staying:
                self._record({"kind": "stay", "uids": staying})
        for name in self._recovery.begin(self._options.patience_ms):
            self._record({"kind": "park", "job": name, "reason": Recovery.REASON})

    def _forgotten(self, flights: list[Flight], reason: str = "") -> None:
        """Write down that nominated jobs wait again, and park them if there is a reason. On the desk's thread."""
        for flight in flights:
            name = flight.job_id.removesuffix(REST)
            if reason:
                self._cluster.park(name, reason)
            uids = [pod.uid for pod, _ in flight.assignments]
            self._record({"kind": "forget", "job": name, "uids": uids, "reason": reason})

    def _may_decide(self) -> bool:
        return self._ready and self.leadership.leads

    # -- what the API server says --------------------------------------------------------------------------------

    async def _sink(self, events: list[Event]) -> None:
        changes, ready, broken = await self._desk.do(lambda: self._take_in(events))
        for flight in ready:
            self._departures.launch(flight)
        self._tell_nominations(broken, ended=True)
        if changes != self._decided:
            self._wanted.set()

    def _take_in(self, events: list[Event]) -> tuple[int, list[Flight], list[Flight]]:
        for event in events:
            try:
                self._note_version(event)
                self._desk.tell(event)
            except Exception:
                # because: one object that nobody foresaw must not end the knowledge of all others
                log.exception("an event could not be taken in: %s", _named(event))
        for name in self._recovery.review():
            self._record({"kind": "unpark", "job": name, "reason": Recovery.REASON})
        ready, broken = self._flights.review()
        self._forgotten(broken)
        return self._cluster.changes, ready, broken

    def _note_version(self, event: Event) -> None:
        item = mapping(event.get("object"))
        if item.get("kind") != "Pod":
            return
        metadata, spec = mapping(item.get("metadata")), mapping(item.get("spec"))
        uid = text(metadata.get("uid"))
        if event.get("type") == "DELETED" or spec.get("nodeName") or spec.get("schedulerName") != self._options.name:
            self._versions.pop(uid, None)
        else:
            self._versions[uid] = text(metadata.get("resourceVersion"))

    # -- deciding --------------------------------------------------------------------------------------------------

    async def _decide(self) -> None:
        failures = 0
        while True:
            await self._reason()
            if not self._may_decide():
                continue
            result = await self._desk.do(self._pass)
            if result is None:
                continue
            await self._do(result)
            failures = failures + 1 if result.error else 0
            if result.error:
                self._wanted.set()
                wait_s = min(POLICY_RETRY_S * 2 ** (failures - 1), POLICY_RETRY_MAX_S)
                await self._clock.sleep(wait_s)
            elif result.again:
                self._wanted.set()

    async def _reason(self) -> None:
        """Wait until there is a reason to decide, and until it is time."""
        wake_s = None if self._wake_ms is None else max(self._wake_ms - self._clock.now_ms(), 0) / 1000
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wanted.wait(), wake_s)
        cycle_ms = self._options.cycle_ms
        await self._clock.sleep(
            (cycle_ms - self._clock.now_ms() % cycle_ms if cycle_ms else self._options.debounce_ms) / 1000
        )
        self._wanted.clear()
        if self._wake_ms is not None and self._wake_ms <= self._clock.now_ms():
            self._wake_ms = None

    def _pass(self) -> PassResult | None:
        """Let the policy decide; None if there is nothing to decide on. On the desk's thread."""
        policy = self._desk.policy
        self._cluster.settle()
        self._decided = self._cluster.changes
        if not len(self._cluster.pending) and not policy.runs_on_empty_queue:
            return None
        self.busy(perf_counter())
        try:
            result = self._runner.run(self._begin)
        finally:
            self.busy(None)
        self._decided = self._cluster.changes
        self._passes += 1
        self._record(
            {
                "kind": "pass",
                "policy": policy.name,
                "actions": result.actions,
                "took_us": result.took_us,
                **({"error": result.error} if result.error else {}),
                **({"cut": True} if result.cut else {}),
            }
        )
        return result

    def _begin(self, started: Started) -> None:
        """A job was started: bound at once, or nominated. On the desk's thread."""
        flight = self._flights.begin(started)
        assert self._loop is not None
        if flight.blockers:
            self._loop.call_soon_threadsafe(self._tell_nominations, [flight])
        else:
            self._loop.call_soon_threadsafe(self._departures.launch, flight)
        for pod, _ in started.assignments[:1]:
            if pod.created_ms is not None:
                self.metrics.wait_seconds.observe(max(self._cluster.now_ms - pod.created_ms, 0) / 1000)

    def _cancel(self, uids: list[str]) -> bool:
        """Let nominated jobs with these pods wait again. On the desk's thread."""
        cancelled = self._flights.cancel(uids)
        if cancelled and self._loop is not None:
            self._loop.call_soon_threadsafe(lambda: self._tell_nominations(cancelled, ended=True))
        return bool(cancelled)

    async def _do(self, result: PassResult) -> None:
        """What a pass decided, besides the starts."""
        self.metrics.passes.labels("error" if result.error else "ok").inc()
        self.metrics.pass_seconds.observe(result.took_us / 1e6)
        for action in result.actions:
            self.metrics.actions.labels(action["action"]).inc()
        if result.wake_ms is not None:
            self._wake_ms = result.wake_ms if self._wake_ms is None else min(result.wake_ms, self._wake_ms)
        for job in result.preempted:
            reason = f"Preempted by {self._desk.policy.name}{f': {job.reason}' if job.reason else ''}"
            for pod, _ in job.assignments:
                self._evictor.evict(pod, self._departures.of(pod.uid))
                self._reporter.tell([Report(pod, "Preempted", reason, "Preempting", warning=False)])
        for pods, reason in result.rejected:
            note = f"{self._desk.policy.name} turns it away for good: {reason}"
            self._reporter.tell(
                [Report(pod, "FailedScheduling", note, "Scheduling", unschedulable=True) for pod in pods]
            )
        for job_id, why in result.impossible:
            log.error("%s: %s", job_id, why)
            self._retries.later(job_id.removesuffix(REST), why, max_s=RETRY_MAX_S)

    # -- binding ---------------------------------------------------------------------------------------------------

    async def _landed(self, flight: Flight, pods: list[tuple[Pod, str, Outcome]]) -> None:
        """Those that are certainly not bound wait again, after a while if the API server refused them."""
        name = unit_name(pods[0][0])
        self._reporter.tell(
            [
                Report(pod, "Scheduled", f"Successfully assigned {pod.key} to {node}", "Binding", warning=False)
                for pod, node, outcome in pods
                if outcome.fate is Fate.BOUND
            ]
        )
        unbound = [(pod, outcome) for pod, _, outcome in pods if outcome.fate in (Fate.REFUSED, Fate.UNSENT)]
        if not unbound:
            self._retries.succeeded(name)
            return
        refused = [outcome.said for _, outcome in unbound if outcome.fate is Fate.REFUSED]
        parked = f"binding failed: {refused[0]}" if refused else ""
        await self._desk.do(lambda: self._let_wait(name, [pod.uid for pod, _ in unbound], parked))
        if refused:
            self._retries.later(name, parked, max_s=RETRY_MAX_S)
            self._reporter.tell([Report(pod, "FailedScheduling", parked, "Binding") for pod, _ in unbound])
        self._wanted.set()

    def _let_wait(self, unit: str, uids: list[str], parked: str) -> None:
        """Pods that hold no place after all. On the desk's thread."""
        for uid in uids:
            self._cluster.forget(uid)
        if parked:
            self._cluster.park(unit, parked)
        self._record({"kind": "forget", "job": unit, "uids": uids, "reason": parked})

    async def _again(self, unit: str, reason: str) -> None:
        """What was put off is decided on again."""

        def unpark() -> None:
            self._cluster.unpark(unit, reason)
            self._record({"kind": "unpark", "job": unit, "reason": reason})

        await self._desk.do(unpark)
        self._wanted.set()

    # -- victims -----------------------------------------------------------------------------------------------------

    async def _is_to_leave(self, pod: Pod) -> bool:
        def look() -> bool:
            unit = self._cluster.unit_of(pod.uid)
            return unit is not None and pod.uid in unit.leaving

        return await self._desk.do(look)

    async def _stays(self, pod: Pod, why: str) -> None:
        """A victim does not leave: who waits for its place waits like anybody else."""
        log.warning("%s is not evicted: %s", pod.key, why)
        parked = f"{pod.key} was to leave for it and does not: {why}"
        self._give_up(await self._desk.do(lambda: self._let_stay(pod.uid, parked)), parked)

    def _let_stay(self, uid: str, parked: str) -> list[Flight]:
        flights = self._flights.blocked_by(uid)
        self._forgotten(flights, parked)
        self._cluster.stay(uid)
        self._record({"kind": "stay", "uids": [uid]})
        return flights

    def _give_up(self, flights: list[Flight], reason: str) -> None:
        for flight in flights:
            self._retries.later(flight.job_id.removesuffix(REST), reason, max_s=GIVEN_UP_MAX_S)
            for uid in flight.blockers:
                self._evictor.cancel(uid)
        self._tell_nominations(flights, ended=True)
        self._wanted.set()

    def _tell_nominations(self, flights: list[Flight], *, ended: bool = False) -> None:
        for flight in flights:
            for pod, node in flight.assignments:
                note = f"nominated for {node}, where {len(flight.blockers)} pods are to leave"
                if ended:
                    note = f"no longer nominated for {node}"
                name = "" if ended else node
                self._reporter.tell([Report(pod, "Nominated", note, "Preempting", warning=False, nominated=name)])

    # -- telling -------------------------------------------------------------------------------------------------------

    async def _report(self) -> None:
        """Say why jobs wait, and let go of what has waited too long for its victims."""
        late_why = f"those who were to leave for it were not gone after {self._options.patience_ms / 1000:g} s"
        while True:
            await self._clock.sleep(REPORT_S)
            if not self._may_decide():
                continue
            found, late = await self._desk.do(lambda: self._look_round(late_why))
            for pods, why in found:
                self._reporter.tell(
                    [Report(pod, "FailedScheduling", why, "Scheduling", unschedulable=True) for pod in pods]
                )
            if late:
                self._give_up(late, late_why)
            await self._sink([])

    def _look_round(self, late_why: str) -> tuple[list[tuple[list[Pod], str]], list[Flight]]:
        self.metrics.jobs_waiting.set(len(self._cluster.pending))
        self.metrics.jobs_nominated.set(len(self._flights))
        late = self._flights.older_than(self._cluster.now_ms - self._options.patience_ms)
        stay = {uid for flight in late for uid in flight.blockers}
        late += [other for uid in sorted(stay) for other in self._flights.blocked_by(uid)]
        self._forgotten(late, late_why)
        for uid in sorted(stay):
            self._cluster.stay(uid)
        if stay:
            self._record({"kind": "stay", "uids": sorted(stay)})
        decided = self._decided == self._cluster.changes
        return self._unplaced.collect(self._passes, decided=decided), late

    def _record(self, decision: dict[str, Any]) -> None:
        if self._desk.recorder is not None:
            self._desk.recorder.decision(self._cluster.now_ms, {"driver": "scheduler", **decision})


def _named(event: Event) -> str:
    metadata = mapping(mapping(event.get("object")).get("metadata"))
    return f"{event.get('type')} {text(metadata.get('namespace'))}/{text(metadata.get('name'))}"
