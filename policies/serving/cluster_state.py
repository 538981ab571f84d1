"""What is known of a cluster of Kubernetes: the view that policies have of it, and answers about its pods.

`policies.serving.cluster` is where it is told of changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from policies.api import DeviceMask, JobView, QueueView, RunningJob, Share
from policies.kube.devices import DeviceKinds
from policies.kube.nodes import LEVELS
from policies.kube.pods import Pod
from policies.kube.registry import RegisteredDevice
from policies.kube.sharing import WHOLE
from policies.nodes import NodeTable
from policies.queues import JobPool
from policies.running import RunningTable
from policies.serving.holdings import Holdings, Place
from policies.serving.shapes import Shape, ShapeError, job_view
from policies.serving.units import REST, Hold, Unit
from policies.topology import Node


class ClusterState:
    """See the module. A `policies.api.ClusterView`.

    `ours` says which waiting pods are this scheduler's to place, `shown` which running pods policies see and may preempt (the
    places of the others are taken all the same), and `held_back` why a waiting pod must not be decided on, or nothing. `levels`
    leads from a level to its node label, narrow to wide; `labels` keeps the labels of pods for policies that look at other pods.
    """

    def __init__(
        self,
        kinds: DeviceKinds,
        *,
        ours: Callable[[Pod], bool] = lambda _: True,
        shown: Callable[[Pod], bool] = lambda _: True,
        held_back: Callable[[Pod], str] = lambda _: "",
        levels: Mapping[str, str] = LEVELS,
        queues: Mapping[str, QueueView] | None = None,
        labels: bool = False,
    ) -> None:
        self.pending = JobPool()
        self.running = RunningTable()
        self.queues: dict[str, QueueView] = {
            name: queue._replace(held_milli={}) for name, queue in (queues or {}).items()
        }
        self.releases = 0
        self.starts = 0
        self.changes = 0
        """How often anything changed that a decision may depend on."""
        self.faults: dict[str, str] = {}
        """Object -> what is wrong with it, or why it cannot be placed yet: nothing is passed over in silence."""
        self._kinds = kinds
        self._ours = ours
        self._held_back = held_back
        self._levels = dict(levels)
        self._labels = labels
        self._nodes: dict[str, Node] = {}
        self._cards: dict[str, Sequence[RegisteredDevice]] = {}
        """Node -> its devices as their plugin registered them, where one did."""
        self._told: dict[str, DeviceMask] = {}
        """Uid -> the devices that the annotations of a bound pod name."""
        self._units: dict[str, Unit] = {}
        self._unit_of: dict[str, str] = {}
        self._group_sizes: dict[str, int] = {}
        self._waits: dict[str, Shape] = {}
        self._arrivals = 0
        self._stale = True
        self._leaving: dict[str, dict[str, Place]] = {}
        """Node -> uid -> who was preempted there and is not gone yet."""
        self._holdings = Holdings(
            self.running, self.queues, self.faults, levels=self._levels, labels=labels, shown=shown
        )

    # -- the view --------------------------------------------------------------------------------------------

    @property
    def now_ms(self) -> int:
        """The driver's clock, in milliseconds since 1970. It never goes back."""
        return self.running.now_ms

    @now_ms.setter
    def now_ms(self, now_ms: int) -> None:
        """Set by the driver."""
        self.running.now_ms = max(now_ms, self.running.now_ms)

    @property
    def nodes(self) -> NodeTable:
        """The servers with what is left of each."""
        self.settle()
        return self._holdings.ledger

    def settle(self) -> None:
        """Take changes of nodes into account. A driver calls it before each pass; it is cheap if nothing changed."""
        if not self._stale:
            return
        if not self._holdings.relabel(self._nodes):
            for unit in self._units.values():
                self._holdings.give_back(unit)
            self._holdings.reset(self._nodes)
        self._stale = False
        self.releases += 1
        # because: those that know their devices keep them, and the others take what is left
        for unit in sorted(self._units.values(), key=_guesses):
            self._holdings.take(unit, self.now_ms)
        for unit in self._units.values():
            self._wait(unit)

    # -- questions ------------------------------------------------------------------------------------------------

    def pods_of(self, job_id: str) -> list[Pod]:
        """The pods of a job that waits or runs."""
        shape = self._waits.get(job_id)
        if shape is not None:
            return sorted((pod for group in shape.groups for pod in group), key=lambda pod: pod.key)
        return self._running_pods(job_id)[1]

    def job_of(self, unit: str) -> JobView | None:
        """The job of a unit that waits, or None."""
        return self.pending.get(unit) or self.pending.get(f"{unit}{REST}")

    def known(self, uid: str) -> Pod | None:
        """The pod with this uid, or None."""
        unit = self.unit_of(uid)
        return None if unit is None else unit.pods.get(uid)

    def unit_of(self, uid: str) -> Unit | None:
        """What a pod is part of, or None."""
        return self._units.get(self._unit_of.get(uid, ""))

    def hold_of(self, uid: str) -> Hold | None:
        """Where a pod is, or None."""
        unit = self.unit_of(uid)
        return None if unit is None else unit.holds.get(uid)

    def running_of(self, uid: str) -> RunningJob | None:
        """The running job that a pod is part of, or None."""
        for running, pods in self._holdings.runs_of(self._unit_of.get(uid, "")):
            if any(pod.uid == uid for pod in pods):
                return running
        return None

    def alone(self, uid: str) -> RunningJob | None:
        """A pod by itself as a running job, with what it truly holds; None if it holds nothing on a node that is known."""
        pod, hold, running = self.known(uid), self.hold_of(uid), self.running_of(uid)
        node = None if hold is None else self.number_of(hold.node)
        if pod is None or hold is None or running is None or node is None:
            return None
        if hold.devices.bit_count() != pod.devices:
            pod = replace(pod, devices=hold.devices.bit_count(), share=WHOLE)
        job = self.view_of(pod)._replace(arrival=running.job.arrival)
        return RunningJob(job, (Share(node, hold.devices),), hold.start_ms, None)

    def blockers(self, uid: str) -> set[str]:
        """Who was preempted and still has what this assumed pod was given: it must not be bound before they are gone."""
        pod, hold = self.known(uid), self.hold_of(uid)
        leaving = {} if hold is None else self._leaving.get(hold.node, {})
        if pod is None or hold is None or not leaving:
            return set()
        self.settle()
        return self._holdings.blockers(pod, hold, leaving)

    def view_of(self, pod: Pod) -> JobView:
        """A single pod as a job, whether it is known here or not."""
        self.settle()
        request = self._holdings.shapes.shape([pod]).request
        return job_view(pod.key, self._arrivals + 1, [pod], request, self.now_ms)

    def number_of(self, node: str) -> int | None:
        """The number of a node in `nodes`, or None if it is not known."""
        self.settle()
        return self._holdings.number.get(node)

    def numbers_of(self, names: Iterable[str]) -> list[int]:
        """The number of each node in `nodes`; -1 where it is not known."""
        self.settle()
        number_of = self._holdings.number.get
        return [number_of(name, -1) for name in names]

    def units(self) -> Iterator[Unit]:
        """Everything that waits or runs."""
        return iter(self._units.values())

    # -- inside -----------------------------------------------------------------------------------------------------

    def _running_pods(self, job_id: str) -> tuple[Unit | None, list[Pod]]:
        """The unit and the pods of a running job."""
        # because: where no request describes the pods of a unit together, each is a job named by its uid
        for name in (job_id, job_id.rpartition("/")[0]):
            for running, pods in self._holdings.runs_of(name):
                if running.job.job_id == job_id:
                    return self._units[name], [self._units[name].pods[pod.uid] for pod in pods]
        return None, []

    def _give_back(self, unit: Unit, *, counted: bool = True) -> None:
        """Release what the unit's pods hold, before it changes. `counted` tells policies that something may have become free."""
        if self._holdings.give_back(unit):
            self.releases += counted

    def _drop(self, unit: Unit, uid: str) -> None:
        """A pod holds its place no more."""
        if uid in unit.holds:
            self._give_back(unit)
            self._holdings.go(uid, unit.holds.pop(uid).node)

    def _left(self, unit: Unit, uid: str) -> None:
        """A pod that was to leave is gone, or is not to leave any more."""
        hold = unit.leaving.pop(uid, None)
        if hold is not None:
            self._holdings.go(uid, hold.node)
            left = self._leaving[hold.node]
            del left[uid]
            if not left:
                del self._leaving[hold.node]

    def _apply(self, unit: Unit) -> None:
        """Bring the pending pool, the running table and the ledger in line with the unit."""
        self.changes += 1
        if self._stale:
            self._unwait(unit)  # because: the rebuild that is due does the rest for all
            return
        self._holdings.take(unit, self.now_ms)
        for short in [self._units[name] for name in self._holdings.short if name != unit.name]:
            self._holdings.give_back(short)  # because: what it lacks may have become free
            self._holdings.take(short, self.now_ms)
        self._wait(unit)

    def _unwait(self, unit: Unit) -> None:
        for job_id in (unit.name, f"{unit.name}{REST}"):
            if self._waits.pop(job_id, None) is not None:
                job = self.pending.get(job_id)
                assert job is not None, "what waits is in the pool"
                self.pending.remove(job)
        self.faults.pop(f"job {unit.name}", None)

    def _wait(self, unit: Unit) -> None:
        self._unwait(unit)
        waiting = [pod for pod in unit.waiting if self._ours(pod)]
        if not waiting:
            return
        fault = unit.fault(waiting) or next(filter(None, map(self._held_back, waiting)), "") or unit.parked
        try:
            shape = None if fault else self._holdings.shapes.shape(unit.next_of(waiting))
        except ShapeError as error:
            fault, shape = str(error), None
        if shape is None:
            self.faults[f"job {unit.name}"] = fault
            return
        job_id = f"{unit.name}{REST}" if unit.holds else unit.name
        self._waits[job_id] = shape
        self.pending.add(job_view(job_id, unit.arrival, unit.next_of(waiting), shape.request, self.now_ms))


def _guesses(unit: Unit) -> bool:
    """Whether it is not known of some pod which devices it has."""
    return any(not hold.devices for hold in unit.holds.values())
