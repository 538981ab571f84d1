"""The bounds of a prepared comparison, from its fleet, its world and its rules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sim.bounds.bounds import Bounds, bounds_of
from sim.bounds.distance import how_far
from sim.fleet.table import queues_of, topology_of

if TYPE_CHECKING:
    from sim.experiment.prepare import Prepared
    from sim.results import Run


def bounds_of_prepared(prepared: Prepared) -> Bounds:
    """The bounds of its trace on its fleet."""
    fleet = prepared.loaded.fleet
    topology = topology_of(fleet)
    return bounds_of(
        prepared.trace.records,
        topology,
        rules=prepared.rules,
        queues=queues_of(fleet),
        speed=prepared.world.decided(fleet).speed_model(topology),
    )


def bounds_data(prepared: Prepared, runs: Mapping[str, Run]) -> dict[str, Any] | None:
    """How far each run is from them, for JSON; None in a static fill, which has no clock."""
    return None if prepared.rules.fill else how_far(bounds_of_prepared(prepared), runs).as_data()
