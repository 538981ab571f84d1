"""How long requests take, from the rate at which they come and the slots that answer them: pure mathematics of queues.

Requests wait in one line for a free slot, and times in a slot are exponential. Time is cut where the rate or the slots
change. While nothing is left over and less comes than the slots can answer, a piece is the stationary M/M/c queue
(Erlang C). Otherwise what is left over is a fluid: it grows by what comes and drains by what the slots can answer, and a
request waits until they have answered all that was there when it came, however their number changes meanwhile.

Close to saturation there is more to it. A stationary line is longer than a real one has time to become; and a line that grows
from empty is longer than a fluid, by what was not answered while it was empty by chance: b / (a - b) requests in the mean, of
a that come and b that are answered, as many as the stationary line has for b that come and a that are answered. Both are bounded
alike: from where it was before, the mean square of a line grows by at most two for each request that comes (a random walk with
a step up for an arrival and one down for an answer).

Slots of unlike speed count as so many of their mean speed. What is in a slot when its replica goes is answered all the same.
Sources: Erlang's delay formula; the fluid approximation as in Whitt, "Fluid models for multiserver queues with abandonments"
(Operations Research 2006), here without abandonment; reflected random walks as in Harrison, "Brownian Motion and Stochastic Flow
Systems" (1985).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.services.arrivals import Arrivals, Floats, together
from sim.services.service import Steps

PER_S: Final = 1000
"""Milliseconds of a second."""

NEGLIGIBLE: Final = 1e-17
"""Part of a sum that adds nothing to it."""

DUST: Final = 1e-12
"""Part of the requests of a piece that may be left over by the rounding of their sums alone."""

SURELY_FREE: Final = 1e30
"""One over the probability that all slots are busy, beyond which nobody waits."""


def arrivals(rate: Steps, end_ms: int, slots: Steps, per_s: Steps) -> Arrivals:
    """The requests of a service from the first step of its `rate` (requests a second) to its end.

    `slots` says how many answer, `per_s` how many requests they answer together in a second if none is idle; both are 0 before
    their first step.
    """
    begin_ms = int(rate.at_ms[0])
    cuts = np.unique(np.concatenate([rate.at_ms, slots.at_ms, per_s.at_ms, [end_ms]]))
    cuts = cuts[(cuts >= begin_ms) & (cuts <= end_ms)]
    pieces = _Pieces(
        edges_ms=(cuts - begin_ms).astype(np.float64),
        come=_at(rate, cuts[:-1]) / PER_S,
        answered=_at(per_s, cuts[:-1]) / PER_S,
        slots=_at(slots, cuts[:-1]),
    )
    calm, periods, lags = _regimes(pieces)
    parts = [_stationary(pieces, calm), *(_in_backlog(pieces, period, lags) for period in periods)]
    found = together(parts)
    return found.rows(np.argsort(found.from_ms, kind="stable"))


class _Pieces(NamedTuple):
    """Pieces of time; amounts are requests in a millisecond."""

    edges_ms: Floats
    """One more than there are pieces."""
    come: Floats
    answered: Floats
    slots: Floats

    def slot_per_ms(self, rows: NDArray[np.int64]) -> Floats:
        """What one slot answers in the mean."""
        found: Floats = self.answered[rows] / self.slots[rows]
        return found


class _Calm(NamedTuple):
    """A time without backlog in one piece, in which less comes than is answered."""

    from_ms: float
    until_ms: float
    piece: int
    spread: float
    """Mean square of the requests in line, given that no slot is free: the stationary one, or as far as it has come."""


class _Period(NamedTuple):
    """A time in which there is a backlog, or at once would be."""

    from_ms: float
    until_ms: float
    drained: bool
    """Whether nothing is left at its end."""


def _at(steps: Steps, times_ms: NDArray[np.int64]) -> Floats:
    """The values at these times; 0 before the first step."""
    place = np.searchsorted(steps.at_ms, times_ms, side="right") - 1
    values: Floats = np.where(place >= 0, steps.value[np.maximum(place, 0)], 0.0)
    return values


def _regimes(pieces: _Pieces) -> tuple[list[_Calm], list[_Period], Floats]:
    """The times without backlog, those with one, and by how much noise lengthens the backlog in each piece."""
    calm: list[_Calm] = []
    periods: list[_Period] = []
    lags = np.zeros(len(pieces.come))
    backlog = since = spread = lag = 0.0
    rows = zip(pieces.come.tolist(), pieces.answered.tolist(), pairwise(pieces.edges_ms.tolist()), strict=True)
    for piece, (come, answered, (begin, end)) in enumerate(rows):
        line = min(come, answered) / abs(answered - come) if answered != come else math.inf
        spread += 2 * come * (end - begin)
        empty = begin
        if backlog or 0 < come >= answered:
            since, lag = (since, lag) if backlog else (begin, 0.0)
            if backlog < math.sqrt(
                spread
            ):  # because: a line that is far from empty has nothing that noise could waste
                lag = max(lag, min(math.sqrt(spread / 2), line))
            lags[piece] = lag
            left = backlog + (come - answered) * (end - begin)
            left = left if left > DUST * (backlog + come * (end - begin)) else 0.0
            empty = end if left or come >= answered else min(begin + backlog / (answered - come), end)
            backlog = left
            if not backlog:
                periods.append(_Period(since, empty, drained=True))
        if empty < end:
            spread = min(spread, 2 * (answered / (answered - come)) ** 2 if come < answered else 0.0)
            calm += [_Calm(empty, end, piece, spread)] if come else []
    if backlog:
        periods.append(_Period(since, float(pieces.edges_ms[-1]), drained=False))
    return calm, periods, lags


def _stationary(pieces: _Pieces, calm: Sequence[_Calm]) -> Arrivals:
    rows = np.array([each.piece for each in calm], dtype=np.int64)
    begin, end = (np.array([each[side] for each in calm], dtype=np.float64) for side in (0, 1))
    come, relief = pieces.come[rows], pieces.answered[rows] - pieces.come[rows]
    slot, none = pieces.slot_per_ms(rows), np.zeros(len(rows))
    waits = all_busy(come / slot, pieces.slots[rows], relief / pieces.answered[rows])
    spread = np.array([each.spread for each in calm], dtype=np.float64)
    relief = np.maximum(relief, pieces.answered[rows] * np.sqrt(2 / spread))
    return Arrivals(begin, end, come * (end - begin), none, none, waits, relief, slot)


def all_busy(offered: Floats, slots: Floats, idle: Floats) -> Floats:
    """Erlang's C: the probability that a request finds no slot free. `offered` are slots that are busy in the mean, above 0,
    `idle` is 1 - offered / slots, above 0.

    One over Erlang's B is the sum over j of slots (slots - 1) ... (slots - j + 1) / offered^j, terms that are all positive.
    It is ended where nothing is added any more, and where it is so large that nobody waits.
    """
    total, term = np.ones(len(offered)), np.ones(len(offered))
    open_ = np.arange(len(offered))
    taken = 0
    with np.errstate(over="ignore"):  # because: beyond the largest number nobody waits either
        while len(open_):
            term[open_] *= (slots[open_] - taken) / offered[open_]
            total[open_] += term[open_]
            taken += 1
            now = total[open_]
            open_ = open_[(term[open_] > NEGLIGIBLE * now) & (now < SURELY_FREE)]
    blocked = 1 / total
    busy: Floats = blocked / (idle + (1 - idle) * blocked)
    return busy


def _in_backlog(pieces: _Pieces, period: _Period, lags: Floats) -> Arrivals:
    """The requests of one period: each waits until as many have been answered as had come before it."""
    inner = (pieces.edges_ms > period.from_ms) & (pieces.edges_ms < period.until_ms)
    edges = np.concatenate([[period.from_ms], pieces.edges_ms[inner], [period.until_ms]])
    rows = np.searchsorted(pieces.edges_ms, edges[:-1], side="right") - 1
    lengths = np.diff(edges)
    come = np.append(0.0, np.cumsum(pieces.come[rows] * lengths))
    answered = np.append(0.0, np.cumsum(pieces.answered[rows] * lengths))
    if period.drained:  # because: both are the same sum, but for its rounding
        answered = np.minimum(answered, come[-1])
        answered[-1] = come[-1]
    ranks = np.unique(np.concatenate([come, answered[answered < come[-1]]]))
    first, last = ranks[:-1], ranks[1:]
    middle = (first + last) / 2
    place = np.minimum(np.searchsorted(come, middle, side="right") - 1, len(rows) - 1)
    begin, end = (edges[place] + (rank - come[place]) / pieces.come[rows][place] for rank in (first, last))
    turn = np.searchsorted(answered, middle, side="right") - 1
    never = turn == len(rows)
    turn = np.minimum(turn, len(rows) - 1)
    slot, relief, waits = np.ones(len(first)), np.ones(len(first)), np.full((2, len(first)), np.inf)
    own = turn[~never]
    slot[~never] = pieces.slot_per_ms(rows[own])
    for side, (rank, at) in enumerate(((first, begin), (last, end))):
        reached = edges[own] + (rank[~never] - answered[own]) / pieces.answered[rows[own]]
        waits[side, ~never] = np.maximum(reached - at[~never], 0)
    noise = lags[rows[place]]
    noisy = ~never & (noise > 0)
    relief[noisy] = pieces.answered[rows[turn[noisy]]] / noise[noisy]
    return Arrivals(begin, end, last - first, waits[0], waits[1], noisy.astype(np.float64), relief, slot)
