"""The passes of a served scheduler, decided again by another policy in the state in which they began.

The policy's pass is done to the cluster and compared with the recorded one: which jobs start, where their pods go, who is
preempted, who is turned away. If they are the same it stands; if not it is undone, and what was recorded is done.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from policies.api import Policy
from policies.kube.devices import DeviceKinds
from policies.kube.objects import Json, items, text, whole
from policies.serving.cluster import PlacementError
from policies.serving.passes import PassRunner
from policies.serving.units import Hold
from sim.replay.journal_cluster import ReplayedCluster
from sim.replay.journal_differences import Answer, Difference, some

PASS: Final = "pass"  # noqa: S105  # because: it is the pass of a scheduler
CUT: Final = "a pass that was cut short"
FAILED: Final = "a pass in which the policy failed"

Action = Mapping[str, Any]


class SchedulerSide:
    """See the module."""

    def __init__(self, cluster: ReplayedCluster, policy: Policy, kinds: DeviceKinds, configuration: Json) -> None:
        del kinds, configuration
        self.problems: list[str] = []
        """Recorded decisions that could not be done again."""
        self._cluster = cluster
        self._policy = policy
        self._runner = PassRunner(cluster, policy, going=lambda: True, cancel=self._cancel)

    def restored(self, holds: Mapping[str, Hold]) -> None:
        """Nothing more is to be done."""

    def decide(self, decision: Json) -> Answer:
        """Ask, compare, and go on with what was recorded."""
        kind = text(decision.get("kind"))
        if kind == PASS:
            return self._pass(decision)
        self._follow_up(kind, decision)
        return Answer(kind, not_compared="what became of decisions")

    # -- a pass ------------------------------------------------------------------------------------------------

    def _pass(self, decision: Json) -> Answer:
        recorded = items(decision.get("actions"))
        cluster = self._cluster
        cluster.settle()
        tenants = tuple(cluster.pending.queue_names())
        cluster.mark()
        result = self._runner.run()
        why = CUT if decision.get("cut") else FAILED if decision.get("error") else ""
        found: list[Difference] = []
        if result.error and not why:
            found.append(Difference("error", "", self._policy.name, "an answer", result.error))
        if not _same(recorded, result.actions):
            if not why:
                found += self._differences(recorded, result.actions)
            cluster.undo()
            for action in recorded:
                self._do(action)
        cluster.keep()
        return Answer(PASS, tenants, tuple(found), why)

    def _differences(self, recorded: Sequence[Json], here: Sequence[Action]) -> list[Difference]:
        there, ours = _by_job(recorded), _by_job(here)
        found = []
        for job in dict.fromkeys([*there, *ours]):
            kind, was, would = _difference(there.get(job, {}), ours.get(job, {}))
            if kind:
                found.append(Difference(kind, self._queue(job, recorded, here), job, was, would))
        return found

    def _queue(self, job: str, *actions: Sequence[Action]) -> str:
        """The queue of a job that one of them speaks of."""
        pods = self._cluster.pods_of(job)
        if pods:
            return pods[0].queue
        for each in (each for listed in actions for each in listed if each.get("job") == job):
            uids = [*(text(pod.get("uid")) for pod in items(each.get("pods"))), *(each.get("uids") or ())]
            known = next((pod for uid in uids if (pod := self._cluster.known(uid)) is not None), None)
            if known is not None:
                return known.queue
        return ""

    def _cancel(self, uids: list[str]) -> bool:
        """Jobs that are nominated wait again: those with assumed pods whose places are not free yet."""
        cluster = self._cluster
        units = {unit.name: unit for uid in uids if (unit := cluster.unit_of(uid)) is not None}
        cancelled = False
        for unit in units.values():
            assumed = [uid for uid, hold in unit.holds.items() if hold.assumed]
            if any(cluster.blockers(uid) for uid in assumed):
                for uid in assumed:
                    cluster.forget(uid)
                cancelled = True
        return cancelled

    # -- what was recorded -----------------------------------------------------------------------------------------

    def _do(self, action: Action) -> None:
        job, reason = text(action.get("job")), text(action.get("reason"))
        kind = action.get("action")
        try:
            if kind == "start":
                self._start(job, action)
            elif kind == "preempt":
                for uid in action.get("cancelled") or ():
                    self._cluster.forget(uid)
                if "uids" in action:
                    self._cluster.leave(job)
            elif kind == "reject":
                self._cluster.park(job, f"rejected: {reason}")
            elif kind == "park":
                self._cluster.park(job, reason)
        except PlacementError as error:
            self.problems.append(f"the recorded {kind} of {job} cannot be done again: {error}")

    def _start(self, job: str, action: Action) -> None:
        pods = items(action.get("pods"))
        waiting = self._cluster.pods_of(job) if job in self._cluster.pending else []
        if {pod.uid for pod in waiting} != {text(pod.get("uid")) for pod in pods}:
            self.problems.append(f"{job} was started, and does not wait here as it did then")
        self._cluster.give(
            job, {text(pod.get("uid")): (text(pod.get("node")), whole(pod.get("devices"), 0)) for pod in pods}
        )

    def _follow_up(self, kind: str, decision: Json) -> None:
        job, reason = text(decision.get("job")), text(decision.get("reason"))
        uids = [uid for uid in decision.get("uids") or () if isinstance(uid, str)]
        if kind == "forget":
            for uid in uids:
                self._cluster.forget(uid)
            if reason:
                self._cluster.park(job, reason)
        elif kind == "stay":
            for uid in uids:
                self._cluster.stay(uid)
        elif kind == "park":
            self._cluster.park(job, reason)
        elif kind == "unpark":
            self._cluster.unpark(job, reason)


def _same(recorded: Sequence[Json], here: Sequence[Action]) -> bool:
    return [_bare(each) for each in recorded] == [_bare(each) for each in here]


def _bare(action: Action) -> dict[str, Any]:
    return {key: value for key, value in action.items() if key != "reason"}


def _by_job(actions: Sequence[Action]) -> dict[str, dict[str, Action]]:
    """Job -> kind of action -> the last of them."""
    found: dict[str, dict[str, Action]] = {}
    for each in actions:
        if text(each.get("job")):
            found.setdefault(each["job"], {})[each["action"]] = each
    return found


def _difference(there: Mapping[str, Action], here: Mapping[str, Action]) -> tuple[str, str, str]:
    """(kind, recorded, here) of what was done to one job; an empty kind is no difference."""
    for action, kind in (("preempt", "preemption"), ("reject", "rejection")):
        if (action in there) != (action in here):
            done, left = f"{action}s it", "does not"
            return (kind, done, left) if action in there else (kind, left, done)
    was, would = there.get("start"), here.get("start")
    if (was is None) != (would is None):
        pods = items((was or would or {}).get("pods"))
        return "gang start" if len(pods) > 1 else "start", _where(was), _where(would)
    if was is not None and would is not None and _nodes(was) != _nodes(would):
        return "placement", _where(was), _where(would)
    return "", "", ""


def _nodes(start: Action) -> list[str]:
    return sorted(text(pod.get("node")) for pod in items(start.get("pods")))


def _where(start: Action | None) -> str:
    return "does not start" if start is None else f"starts on {some(list(dict.fromkeys(_nodes(start))))}"
