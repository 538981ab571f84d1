"""Days that can be followed with a pencil: what two policies do to each of them is known, and every day is alike."""

from __future__ import annotations

from collections.abc import Iterator

from builders import job

from traces.job import JobRecord

DAY_MS = 86_400_000
HOUR = 3_600_000


def days(count: int = 10) -> Iterator[JobRecord]:
    """Each day: a takes six of eight devices for ten hours; b wants all eight at 1 h, c two at 2 h for twenty hours.

    fifo waits 0, 9 and 18 hours, best-effort-fifo 0, 21 and 0. Days are so far apart that each is replayed as if alone;
    blocks of six days hold one each.
    """
    for day in range(count):
        at = day * 10 * DAY_MS
        yield job(f"a{day}", at, 10 * HOUR, 6, user="ann", queue="big")
        yield job(f"b{day}", at + HOUR, 10 * HOUR, 8, user="bob", queue="big")
        yield job(f"c{day}", at + 2 * HOUR, 20 * HOUR, 2, user="cid", queue="small")
