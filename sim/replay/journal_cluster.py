"""A cluster that can be put back: into a state that was written down, or into the one before a pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from policies.api import DeviceMask, Placement
from policies.kube.objects import text
from policies.serving.cluster import Assignment, Cluster
from policies.serving.holdings import Place
from policies.serving.units import REST, Hold, Unit


class _State(NamedTuple):
    unit: Unit
    holds: dict[str, Hold]
    leaving: dict[str, Hold]
    parked: str


class ReplayedCluster(Cluster):
    """See the module."""

    _before: dict[str, _State] | None = None
    """Units that were changed since `mark`, as they were; None where nobody wants to go back."""

    def restore(self, holds: Mapping[str, Hold], leaving: Mapping[str, Hold], parked: Mapping[str, Any]) -> None:
        """Known pods are where they were, on those devices, since then; those that are `leaving` were preempted there."""
        for uid, hold in holds.items():
            unit = self.unit_of(uid)
            if unit is not None:
                unit.holds[uid] = hold
        for uid, hold in leaving.items():
            unit = self.unit_of(uid)
            if unit is not None:
                unit.holds.pop(uid, None)
                self._set_leaving(unit, uid, hold)
        for unit in self.units():
            unit.parked = text(parked.get(unit.name))
        self._nodes_changed()

    def mark(self) -> None:
        """From here on what is decided can be undone."""
        self._before = {}

    def undo(self) -> None:
        """As it was at the mark, in all that policies see. The counts of releases and starts never go back."""
        before, self._before = self._before or {}, None
        for state in before.values():
            self._give_back(state.unit)
            for uid, hold in list(state.unit.holds.items()):
                if state.holds.get(uid) != hold:
                    self._holdings.go(uid, hold.node)
            for uid in list(state.unit.leaving):
                self._left(state.unit, uid)
        for state in before.values():
            state.unit.holds.clear()
            state.unit.holds.update(state.holds)
            for uid, hold in state.leaving.items():
                self._set_leaving(state.unit, uid, hold)
            state.unit.parked = state.parked
        for state in before.values():
            self._apply(state.unit)

    def keep(self) -> None:
        """What was decided since the mark stays."""
        self._before = None

    def give(self, job_id: str, places: Mapping[str, tuple[str, DeviceMask]]) -> None:
        """A job starts as it did once: each pod, by uid, on that node and those devices. Pods that are not known are left out."""
        self.settle()
        unit = self._units.get(job_id.removesuffix(REST))
        if unit is None:
            return
        self._give_back(unit, counted=False)
        for uid, (node, devices) in places.items():
            if uid in unit.pods and uid not in unit.leaving:
                unit.holds[uid] = Hold(node, devices, self.now_ms, assumed=True)
        self._apply(unit)
        self.starts += 1

    # -- decisions, noted before they are done ---------------------------------------------------------------

    def assume(self, job_id: str, placement: Placement) -> list[Assignment]:
        """As `Cluster.assume`."""
        self._note(self._units.get(job_id.removesuffix(REST)))
        return super().assume(job_id, placement)

    def forget(self, uid: str) -> None:
        """As `Cluster.forget`."""
        self._note(self.unit_of(uid))
        super().forget(uid)

    def leave(self, job_id: str) -> list[Assignment]:
        """As `Cluster.leave`."""
        self._note(self._running_pods(job_id)[0])
        return super().leave(job_id)

    def stay(self, uid: str) -> None:
        """As `Cluster.stay`."""
        self._note(self.unit_of(uid))
        super().stay(uid)

    def park(self, job_id: str, reason: str) -> None:
        """As `Cluster.park`."""
        self._note(self._units.get(job_id.removesuffix(REST)))
        super().park(job_id, reason)

    # -- inside ------------------------------------------------------------------------------------------------

    def _note(self, unit: Unit | None) -> None:
        if self._before is not None and unit is not None and unit.name not in self._before:
            self._before[unit.name] = _State(unit, dict(unit.holds), dict(unit.leaving), unit.parked)

    def _set_leaving(self, unit: Unit, uid: str, hold: Hold) -> None:
        unit.leaving[uid] = hold
        self._leaving.setdefault(hold.node, {})[uid] = Place(unit.pods[uid], hold)
        self._holdings.come(unit.pods[uid], hold)
