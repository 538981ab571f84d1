"""Which jobs stand and fall together when a comparison is resampled: days, weeks, equal parts, replications or traces."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.experiment.durations import parse_duration
from sim.fleet.problems import did_you_mean
from sim.statistics.verdict import BLOCKS_MIN

DAY_MS: Final = 86_400_000
BLOCKS_AUTO: Final = 60
"""`auto` makes at most so many: longer blocks depend less on each other."""
COUNT_MAX: Final = 10_000

WORDS: Final = ("auto", "day", "week", "replication", "trace")

Ints = NDArray[np.int64]


class BlockRule(NamedTuple):
    """How blocks are cut."""

    unit: Literal["auto", "time", "count", "replication", "trace"]
    amount: int = 0
    """Milliseconds of `time`, blocks in all of each trace of `count`."""


AUTO: Final = BlockRule("auto")


def parse_blocks(given: object) -> BlockRule:
    """`day`, `week`, `12h`, `20`, `replication`, `trace` or `auto`. Raises `ValueError`."""
    text = str(given).strip()
    if text in ("auto", "replication", "trace"):
        return BlockRule(text)  # type: ignore[arg-type]  # because: one of three words of the same type
    if text in ("day", "week"):
        return BlockRule("time", DAY_MS * (7 if text == "week" else 1))
    if text.isascii() and text.isdecimal() and 2 <= int(text) <= COUNT_MAX:
        return BlockRule("count", int(text))
    try:
        length_ms = parse_duration(text)
    except ValueError:
        length_ms = 0
    if length_ms > 0:
        return BlockRule("time", length_ms)
    hint = did_you_mean(text, WORDS)
    raise ValueError(
        f"must be {', '.join(WORDS)}, a number from 2 to {COUNT_MAX:,} or a length of time, got {given!r}{hint}"
    )


def chosen(rule: BlockRule, spans_ms: list[int]) -> BlockRule:
    """`auto` made plain: whole traces where there are enough, else whole days, as many to a block as give 60 or fewer."""
    if rule.unit != "auto":
        return rule
    if len(spans_ms) >= BLOCKS_MIN:
        return BlockRule("trace")
    days = sum(-(-max(span, 1) // DAY_MS) for span in spans_ms)
    return BlockRule("time", DAY_MS * max(-(-days // BLOCKS_AUTO), 1))


def time_blocks(submit_ms: Ints, rule: BlockRule) -> Ints:
    """The block of each job of one trace, from the first that counts on, in the order of time.

    A rest shorter than half a block belongs to the block before it.
    """
    if not len(submit_ms):
        return submit_ms
    since: Ints = submit_ms - submit_ms.min()
    span = int(since.max()) + 1
    if rule.unit == "count":
        parts: Ints = since * rule.amount // span
        return parts
    count = max(span // rule.amount + (span % rule.amount * 2 >= rule.amount), 1)
    found: Ints = np.minimum(since // rule.amount, count - 1)
    return found
