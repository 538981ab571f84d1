"""From an interval and a margin that was declared before to one word, and to what would decide if nothing does.

Everything here is turned so that more is worse.
"""

from __future__ import annotations

import math
from typing import Final, Literal, NamedTuple

from sim.statistics.interval import CONFIDENCE, Interval
from sim.statistics.student import NORMAL, t_quantile

Verdict = Literal["better", "no worse", "worse", "undecided"]
Outcome = Literal["pass", "fail", "undecided"]

BLOCKS_MIN: Final = 8
"""Below this the blocks say too little about each other, and nothing is decided."""

POWER: Final = 0.8
"""With the blocks that are asked for an effect as large as the one seen would be found this often."""

BLOCKS_MAX: Final = 100_000
"""Asking for more says that it cannot be decided."""


class Decision(NamedTuple):
    """What can be said, why, and how many independent blocks in all would decide it: None if no number would."""

    said: Verdict
    why: str
    blocks_needed: int | None = None


class Judged(NamedTuple):
    """The same for a gate."""

    outcome: Outcome
    why: str
    blocks_needed: int | None = None


def decide(
    difference: Interval | None,
    excess: Interval | None,
    *,
    p: float | None,
    blocks: int,
    same: bool,
    of: int | None = None,
) -> Decision:
    """The word for a metric.

    `difference` to the baseline, positive where worse; `excess` beyond the margin; `p`, corrected for the family, that
    there is no difference; `same` if every single job has the same value under both; `of`, the blocks that are worth
    `blocks` independent ones.
    """
    if same:
        return Decision("no worse", "every job has the same value under both")
    if blocks < BLOCKS_MIN:
        return Decision(
            "undecided", too_few(blocks, of), max(BLOCKS_MIN, (difference and enough(difference, blocks)) or 0)
        )
    if difference is None or excess is None or p is None:
        return Decision("undecided", "too few jobs to measure it in every resample")
    if p < 1 - CONFIDENCE and difference.value < 0:
        return Decision("better", "the difference is clear of zero, over all metrics asked for")
    if excess.high <= 0:
        return Decision("no worse", "the whole interval is inside the margin")
    if p < 1 - CONFIDENCE:
        return Decision("worse", "the difference is clear of zero, over all metrics asked for")
    needed = [enough(difference, blocks)]
    if excess.value < 0:
        needed.append(enough(excess, blocks))
    known = [each for each in needed if each is not None]
    return Decision(
        "undecided", "the interval holds both no change and more than the margin", min(known, default=None)
    )


def judge(value: float | None, excess: Interval | None, *, blocks: int, same: bool, of: int | None = None) -> Judged:
    """Pass if the one-sided 97.5 % bound is inside the margin, fail if the whole interval is outside.

    `value` is what lies beyond the margin, `excess` the same with its interval; `same` if no job can make a difference;
    `of` as for `decide`.
    """
    if value is None:
        return Judged("undecided", "there is nothing to measure")
    if same:
        return Judged("pass" if value <= 0 else "fail", "every job has the same value under both")
    if blocks < BLOCKS_MIN:
        return Judged("undecided", too_few(blocks, of), max(BLOCKS_MIN, (excess and enough(excess, blocks)) or 0))
    if excess is None:
        return Judged("undecided", "too few jobs to measure it in every resample")
    if excess.high <= 0:
        return Judged("pass", "the whole interval is inside")
    if excess.low > 0:
        return Judged("fail", "the whole interval is outside")
    return Judged("undecided", "the interval crosses the limit", enough(excess, blocks))


def too_few(blocks: int, of: int | None = None) -> str:
    """Why nothing is said: there are too few blocks, or the `of` that there are depend on each other."""
    said = f"too few independent blocks: {blocks}, and at least {BLOCKS_MIN} are needed"
    if of is None or of <= blocks:
        return said
    return f"{said}; the {of} blocks hang together, as where one backlog lasts over several of them"


def enough(found: Interval, blocks: int) -> int | None:
    """Blocks in all with which zero would be outside the interval, if the effect is as large as it looks.

    The interval shrinks with the square root of the blocks; the answer is for a power of 80 %. None where zero is the figure
    itself, or where it would take more than 100,000.
    """
    reach = found.value - found.low if found.value > 0 else found.high - found.value
    if found.value == 0 or not math.isfinite(reach):
        return None
    error = reach / t_quantile(0.5 + CONFIDENCE / 2, blocks - 1)
    both = NORMAL.inv_cdf(0.5 + CONFIDENCE / 2) + NORMAL.inv_cdf(POWER)
    needed = math.ceil(blocks * (error * both / found.value) ** 2)
    return max(needed, blocks + 1) if needed <= BLOCKS_MAX else None


def in_blocks(needed: int | None, blocks: int, worth: int) -> int | None:
    """So many independent blocks as blocks of which `blocks` are worth `worth`."""
    return None if needed is None else math.ceil(needed * blocks / max(worth, 1))
