"""`kube-default`: kube-scheduler's in-tree behaviour as a policy.

One pod after the other: filter all nodes, score those that pass, take the best; a pod of higher priority may preempt. The queue
is kube-scheduler's: priority, then arrival; a pod that fits nowhere waits for an event and its backoff while others go on. A gang
is one group cycle. docs/reference/kube-default.md says what is modelled and what is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from policies.api import Action, ClusterView, Policy, Semantics
from policies.framework.points import Admission
from policies.kube.core import Draw, the_first
from policies.kube.cycle import ClusterCycle
from policies.kube.extender import Extender
from policies.kube.settings import Settings


class KubeDefault(Policy):
    """See the module. `generator` gives the stream for ties at its beginning; it is asked once for each cluster."""

    keeps_pod_rules = True
    """It keeps affinity between pods, hard spreading and host ports: whoever serves it leaves such pods to it."""

    def __init__(
        self,
        *,
        name: str,
        settings: Settings,
        generator: Callable[[], np.random.Generator],
        extenders: Sequence[Extender] = (),
        admission: Admission | None = None,
    ) -> None:
        self.name = name
        self.settings = settings
        self.extenders = tuple(extenders)
        self._generator = generator
        self._admission = admission
        self._cycle: ClusterCycle | None = None
        """What is known of the cluster that was last seen: its ledger and the scheduling queue."""

    def decide(self, view: ClusterView) -> Iterator[Action]:
        """Try every pod that is due."""
        cycle = self._cycle
        if cycle is None or cycle.running.nodes is not view.nodes:
            cycle = self._cycle = ClusterCycle(
                view,
                self.settings,
                draw=self._draw(),
                extenders=self.extenders,
                admission=self._admission,
            )
        yield from cycle.decide(view)

    def _draw(self) -> Draw:
        if not self.settings.random_ties:
            return the_first
        generator = self._generator()
        return lambda count: int(generator.integers(count))

    def close(self) -> None:
        """The run is over: let the extenders give back their connections."""
        for extender in self.extenders:
            extender.close()

    def semantics(self) -> Semantics:
        """What this policy means."""
        settings = self.settings
        fit = settings.profile.fit
        counted = ", ".join(f"{each.name} x{each.weight}" for each in fit.resources)
        if settings.device_weight:
            counted += f", devices x{settings.device_weight}"
        ties = "a random one" if settings.random_ties else "the lowest number"
        share = f"{settings.percentage} %" if settings.percentage else "an adaptive share"
        backoff = {
            "wait": f"waits for an event and {settings.backoff_initial_ms}..{settings.backoff_max_ms} ms",
            "pop": "waits for an event",
            "off": "waits for an event",
        }[settings.backoff]
        return Semantics(
            order="priority, then arrival (PrioritySort)",
            blocking=f"skips what does not fit, which {backoff}; no reservation",
            placement=f"kube-scheduler's scores: {fit.strategy} of {counted}, and the other plugins; {ties} among the best,"
            f" {share} of the feasible nodes",
            preemption="kube-scheduler's default preemption, whole jobs" if settings.preempts else "never",
            quota="not kept" if self._admission is None else self._admission.name,
            options={
                "strategy": fit.strategy,
                "ties": "random" if settings.random_ties else "first",
                "backoff": settings.backoff,
                "extenders": ", ".join(each.name for each in self.extenders) or "none",
            },
        )
