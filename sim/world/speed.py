"""How fast a job works on an allocation: the card for its family, times the locality of its gang, times what ails its servers.

A gang of synchronous workers runs at the pace of its slowest member, so the smallest card factor and the smallest
server factor count. The run time of the trace is taken as measured at full speed: on the reference card, inside one
domain of level 0. All factors are integer millionths.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from policies.api import JobView, NodeSet, Placement
from policies.bitset import bits
from policies.topology import Topology

PPM = 1_000_000
"""Full speed."""

RESOURCE = "/"
"""Stands in the name of an extended resource (`nvidia.com/gpu`), and of no model: which card it was is not known."""


@dataclass(frozen=True, slots=True)
class SpeedChange:
    """From `at_ms` on, these servers work at `factor_ppm` of their speed: a fail-slow server, a degraded leaf."""

    at_ms: int
    nodes: NodeSet
    factor_ppm: int

    def __post_init__(self) -> None:
        if self.at_ms < 0:
            raise ValueError(f"at_ms: must be >= 0, got {self.at_ms}")
        if not 1 <= self.factor_ppm <= 1000 * PPM:
            raise ValueError(f"factor_ppm: must be from 1 to {1000 * PPM}, got {self.factor_ppm}")


class SpeedModel:
    """Speeds in millionths. `card_ppm(family, accelerator)` and `locality_ppm(family)` (a factor for each width of a
    gang, from one server to the whole fleet) are tables; None switches one off.
    """

    def __init__(
        self,
        topology: Topology,
        *,
        card_ppm: Callable[[str | None, str], int] | None = None,
        locality_ppm: Callable[[str | None], Sequence[int]] | None = None,
        changes: Sequence[SpeedChange] = (),
    ) -> None:
        self._topology = topology
        self._card_ppm = card_ppm
        self._locality_ppm = locality_ppm
        self.changes = tuple(sorted(changes, key=lambda change: (change.at_ms, change.nodes, change.factor_ppm)))
        self._recorded_ppm: dict[tuple[str | None, tuple[str, ...]], int] = {}
        """Family and named models -> the speed at which a run time was recorded."""
        self._server_ppm: dict[int, int] = {}
        """Servers that do not work at their full speed."""

    @property
    def always_full(self) -> bool:
        """True if every job always works at full speed: then nobody need ask."""
        return self._card_ppm is None and self._locality_ppm is None and not self.changes

    def speed_ppm(self, job: JobView, placement: Placement) -> int:
        """The speed of a job on a placement now, at least 1."""
        speed = PPM
        if self._card_ppm is not None:
            cards = {self._topology.accelerator_of[share.node] for share in placement if share.device_mask}
            named = job.request.accelerators
            speed = min((self._of_card(job.family, card, named) for card in cards if card is not None), default=PPM)
        if self._locality_ppm is not None:
            factors = self._locality_ppm(job.family)
            width = self._topology.span(share.node for share in placement) if len(placement) > 1 else 0
            speed = speed * factors[min(width, len(factors) - 1)] // PPM
        if self._server_ppm:
            slowest = min(self._server_ppm.get(share.node, PPM) for share in placement)
            speed = speed * slowest // PPM
        return max(speed, 1)

    def fastest_ppm(self, family: str | None, cards: Iterable[str], named: tuple[str, ...] = ()) -> int:
        """The highest speed that a job of the family may ever have on any of these cards; no card is none that matters.

        `named` are the models that the job allows, as in its request.
        """
        speed = PPM
        if self._card_ppm is not None:
            speed = max((self._of_card(family, card, named) for card in cards), default=PPM)
        if self._locality_ppm is not None:
            speed = speed * max(self._locality_ppm(family)) // PPM
        fastest_server = max((change.factor_ppm for change in self.changes), default=PPM)
        return max(speed * max(fastest_server, PPM) // PPM, 1)

    def _of_card(self, family: str | None, card: str, named: tuple[str, ...]) -> int:
        """Against the reference card of the family; of a job that names models, against the fastest of those.

        A job that names models was recorded on one of them: on its only card it takes as long as it took.
        """
        assert self._card_ppm is not None
        speed = self._card_ppm(family, card)
        if not named or any(RESOURCE in name for name in named):
            return speed
        key = (family, named)
        if key not in self._recorded_ppm:
            self._recorded_ppm[key] = max(self._card_ppm(family, name) for name in named)
        return max(speed * PPM // self._recorded_ppm[key], 1)

    def apply(self, change: SpeedChange) -> None:
        """A change takes effect. For the engine."""
        for node in bits(change.nodes):
            if change.factor_ppm == PPM:
                self._server_ppm.pop(node, None)
            else:
                self._server_ppm[node] = change.factor_ppm
