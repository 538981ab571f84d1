"""Which jobs wait, why, and when to say so again. For the desk's thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from policies.kube.pods import Pod
from policies.serving.cluster import Cluster
from policies.serving.explain import Explainer
from policies.serving.units import Unit

FAULT_MS: Final = 5_000
"""So long a job may lack something (pods of its gang, its PodGroup) before anybody is told: it usually comes."""
AGAIN_MS: Final = 60_000
"""After this it is said again, after the next time in five of them, and so on."""
AGAIN_MAX_MS: Final = 300_000
AT_ONCE: Final = 100
"""Jobs that are explained in one go."""


@dataclass(slots=True)
class _Said:
    """Since when a job waits, when it is next to be told, and how long to wait after that."""

    passes: int
    next_ms: int
    step_ms: int


class Unplaced:
    """See the module."""

    def __init__(self, cluster: Cluster, explainer: Explainer, *, ours: Callable[[Pod], bool]) -> None:
        self._cluster = cluster
        self._explainer = explainer
        self._ours = ours
        self._said: dict[str, _Said] = {}

    def collect(self, passes: int, *, decided: bool) -> list[tuple[list[Pod], str]]:
        """(pods, why they wait) of the jobs of which it is time to speak: those that were decided on, or cannot be.

        `passes` is how many there were so far; `decided` says that nothing has changed since the last one.
        """
        found: list[tuple[list[Pod], str]] = []
        waiting: set[str] = set()
        for unit, pods in self._waiting():
            waiting.add(unit.name)
            if len(found) >= AT_ONCE:
                continue
            said = self._said.get(unit.name)
            fault = self._cluster.faults.get(f"job {unit.name}", "")
            if said is None:
                next_ms = self._cluster.now_ms + (FAULT_MS if fault and not unit.parked else 0)
                self._said[unit.name] = _Said(passes, next_ms, AGAIN_MS)
            elif self._cluster.now_ms >= said.next_ms and (fault or decided or passes > said.passes):
                said.next_ms = self._cluster.now_ms + said.step_ms
                said.step_ms = min(said.step_ms * 5, AGAIN_MAX_MS)
                found.append((pods, fault or self._explain(unit)))
        for name in self._said.keys() - waiting:
            del self._said[name]
        return found

    def _waiting(self) -> Iterator[tuple[Unit, list[Pod]]]:
        for unit in self._cluster.units():
            if len(unit.holds) + len(unit.leaving) < len(unit.pods):
                pods = [pod for pod in unit.waiting if self._ours(pod) and not pod.gates]
                if pods:
                    yield unit, pods

    def _explain(self, unit: Unit) -> str:
        job = self._cluster.job_of(unit.name)
        return "it waits" if job is None else self._explainer.explain(job)
