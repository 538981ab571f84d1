"""One scheduling pass: each action of the policy is checked and done to the cluster before the next one is asked for.

Runs on the desk's thread and talks to nobody. What is to be done in the world (bind, evict, tell) comes out as lists.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Final

from policies.api import Action, Placement, Policy, Preempt, Reject, Start, WakeAt
from policies.kube.pods import Pod
from policies.serving.cluster import Assignment, Cluster, PlacementError
from policies.serving.units import REST

log = logging.getLogger(__name__)

ACTIONS_MAX: Final = 100_000
"""Actions of one pass; then the next one goes on."""
PASS_S: Final = 30.0
"""A pass that yields for longer is cut, so that events are heard again; the next one goes on."""


@dataclass(slots=True)
class Started:
    """A job that holds its places and is to be bound."""

    job_id: str
    assignments: list[Assignment]


@dataclass(slots=True)
class Preempted:
    """A job whose pods are to be evicted."""

    job_id: str
    reason: str
    assignments: list[Assignment]


@dataclass(slots=True)
class PassResult:
    """What a pass decided, in its order."""

    started: list[Started] = field(default_factory=list)
    preempted: list[Preempted] = field(default_factory=list)
    rejected: list[tuple[list[Pod], str]] = field(default_factory=list)
    impossible: list[tuple[str, str]] = field(default_factory=list)
    """(job, why it is parked) of placements that cannot be: a fault of the policy, or something that it does not know of."""
    actions: list[dict[str, Any]] = field(default_factory=list)
    """For the journal."""
    wake_ms: int | None = None
    error: str = ""
    """The policy's own failure, or what it asked for that no driver grants."""
    again: bool = False
    """Whether there is more to decide at once."""
    cut: bool = False
    """Whether it was ended before the policy had said everything."""
    took_us: int = 0


class ActionError(ValueError):
    """An action that cannot be done. The pass ends with it."""


class PassRunner:
    """See the module. `going` says whether to go on: it is asked before each action is done.

    `cancel` lets those of these pods wait again that are still to be bound; to preempt a job is that, and to evict the rest.
    """

    def __init__(
        self, cluster: Cluster, policy: Policy, *, going: Callable[[], bool], cancel: Callable[[list[str]], bool]
    ) -> None:
        self._cluster = cluster
        self._policy = policy
        self._going = going
        self._cancel = cancel

    def run(self, tell: Callable[[Started], None] = lambda _: None) -> PassResult:
        """Let the policy decide. `tell` hears of each start at once."""
        result = PassResult()
        began_ns = time.perf_counter_ns()
        self._cluster.settle()
        try:
            self._decide(result, began_ns, tell)
        except ActionError as error:
            result.error = f"{self._policy.name}: {error}"
            log.error("%s", result.error)  # noqa: TRY400  # because: it is the policy's fault, and our traceback says nothing of it
        except Exception as error:
            # because: whatever a policy does, the scheduler goes on
            result.error = f"{self._policy.name} failed: {type(error).__name__}: {error}"
            log.exception("%s", result.error)
        result.took_us = (time.perf_counter_ns() - began_ns) // 1000
        return result

    def _decide(self, result: PassResult, began_ns: int, tell: Callable[[Started], None]) -> None:
        with closing(_generator(self._policy.decide(self._cluster))) as actions:
            for action in actions:
                if not self._going():
                    result.cut = True
                    return
                self._do(action, result, tell)
                late = time.perf_counter_ns() - began_ns > PASS_S * 1e9
                if result.impossible or late or len(result.actions) >= ACTIONS_MAX:
                    result.cut = result.again = True
                    return

    def _do(self, action: Action, result: PassResult, tell: Callable[[Started], None]) -> None:
        if isinstance(action, Start):
            self._start(action, result, tell)
        elif isinstance(action, Preempt):
            self._preempt(action, result)
        elif isinstance(action, Reject):
            self._reject(action, result)
        elif isinstance(action, WakeAt):
            if not isinstance(action.at_ms, int) or action.at_ms <= self._cluster.now_ms:
                raise ActionError(f"cannot wake at {action.at_ms!r}: that is not later than now")
            result.wake_ms = action.at_ms if result.wake_ms is None else min(action.at_ms, result.wake_ms)
            result.actions.append({"action": "wake_at", "at_ms": action.at_ms})
        else:
            raise ActionError(f"cannot do {action!r}: a scheduler starts, preempts, rejects and wakes")

    def _start(self, action: Start, result: PassResult, tell: Callable[[Started], None]) -> None:
        if action.job_id not in self._cluster.pending:
            raise ActionError(f"cannot start {action.job_id!r}: no such job waits")
        try:
            given = self._cluster.assume(action.job_id, action.placement)
        except PlacementError as error:
            # because: it would be tried again in each pass; so it waits for a while, and the others go on
            why = f"{self._policy.name} placed it where it cannot be: {error}"
            self._cluster.park(action.job_id, why)
            result.impossible.append((action.job_id, why))
            result.actions.append({"action": "park", "job": action.job_id, "reason": why})
            return
        started = Started(action.job_id, given)
        result.started.append(started)
        result.actions.append(
            {
                "action": "start",
                "job": action.job_id,
                "placement": self._written(action.placement),
                "pods": [{"uid": pod.uid, "node": node, "devices": self._devices_of(pod)} for pod, node in given],
            }
        )
        result.again = result.again or f"{action.job_id.removesuffix(REST)}{REST}" in self._cluster.pending
        tell(started)

    def _devices_of(self, pod: Pod) -> int:
        hold = self._cluster.hold_of(pod.uid)
        return 0 if hold is None else hold.devices

    def _preempt(self, action: Preempt, result: PassResult) -> None:
        entry: dict[str, Any] = {"action": "preempt", "job": action.job_id, "reason": action.reason}
        uids = [pod.uid for pod in self._cluster.pods_of(action.job_id)]
        unit = self._cluster.unit_of(uids[0]) if uids else None
        held = [] if unit is None else list(unit.holds)
        cancelled = self._cancel(uids)
        if cancelled:
            entry["cancelled"] = [uid for uid in held if self._cluster.hold_of(uid) is None]
        if action.job_id in self._cluster.running or not cancelled:
            try:
                left = self._cluster.leave(action.job_id)
            except PlacementError as error:
                raise ActionError(f"cannot preempt {action.job_id!r}: {error}") from error
            result.preempted.append(Preempted(action.job_id, action.reason, left))
            entry["uids"] = [pod.uid for pod, _ in left]
        result.actions.append(entry)

    def _reject(self, action: Reject, result: PassResult) -> None:
        if action.job_id not in self._cluster.pending:
            raise ActionError(f"cannot reject {action.job_id!r}: no such job waits")
        pods = self._cluster.pods_of(action.job_id)
        self._cluster.park(action.job_id, f"rejected: {action.reason}")
        result.rejected.append((pods, action.reason))
        result.actions.append({"action": "reject", "job": action.job_id, "reason": action.reason})

    def _written(self, placement: Placement) -> list[dict[str, Any]]:
        nodes = self._cluster.nodes.topology.nodes
        return [
            {"node": nodes[share.node].name, "devices": share.device_mask, "count": share.pods, "group": share.group}
            for share in placement
        ]


def _generator(actions: Any) -> Any:
    """What a policy yields, as something that can be closed."""

    def walk() -> Iterator[Any]:
        yield from actions

    return walk()
