"""The story of a job in plain words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from sim.causes.cause import CAUSES, MEANING, Cause
from sim.console import table
from sim.explain_story import Holder, Story, Waited
from sim.report.words import duration

SHOWN: Final = 12
"""Intervals that are shown; of more the longest."""

_NAMED: Final = {name: MEANING[Cause(number)] for number, name in enumerate(CAUSES)}


def clock(ms: int) -> str:
    """`3 d 04:05:06.789`, the time since the trace's epoch."""
    seconds, rest = divmod(ms, 1000)
    minutes, second = divmod(seconds, 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    told = f"{hour:02}:{minute:02}:{second:02}" + (f".{rest:03}" if rest else "")
    return f"{days} d {told}" if days else told


def story_lines(story: Story) -> list[str]:
    """All that there is to tell, in the order in which it happened."""
    return [
        f"{story.job_id} under {story.policy}: {story.state}" + (f", {story.reason}" if story.reason else ""),
        f"  asked for {_asked(story.asked)}",
        *_came(story),
        *_waited(story),
        *_in_the_way(story),
        *_ran(story),
    ]


def _asked(asked: dict[str, Any]) -> str:
    pods = " and ".join(f"{each['pods']} of {each['gpus']}" for each in asked["pods"])
    count = sum(each["pods"] for each in asked["pods"])
    parts = [_devices(asked["gpus"]), f"in {count} pod{'' if count == 1 else 's'} ({pods})"]
    if "gpu_milli" in asked:
        parts.append(f"{asked['gpu_milli']} thousandths of each")
    if "gpu_memory_mib" in asked:
        parts.append(f"with at least {asked['gpu_memory_mib']:,} MiB each")
    if "cpu_milli" in asked:
        parts.append(f"{asked['cpu_milli'] / 1000:g} cores")
    if "memory_mib" in asked:
        parts.append(f"{asked['memory_mib']:,} MiB of memory")
    if "accelerators" in asked:
        parts.append(f"of {' or '.join(asked['accelerators'])}")
    parts.append(f"on any of {asked['servers_allowed']:,} of the fleet's {asked['servers']:,} servers")
    if "estimate_ms" in asked:
        parts.append(f"for {duration(asked['estimate_ms'])} by its estimate")
    if "deadline_ms" in asked:
        parts.append(f"to finish within {duration(asked['deadline_ms'])}")
    if "lifetime_ms" in asked:
        parts.append(f"to be taken away {duration(asked['lifetime_ms'])} after its submission")
    parts += [f"{key} {asked[key]}" for key in ("user", "queue", "priority") if key in asked]
    return ", ".join(parts)


def _came(story: Story) -> Iterator[str]:
    line = f"  submitted at {clock(story.submit_ms)}"
    if story.ahead:
        line += f", when {_jobs(story.ahead)} that had arrived before it {_was(story.ahead)} waiting"
    yield line


def _waited(story: Story) -> Iterator[str]:
    if not story.waited:
        yield "  did not wait"
        return
    for said, causes in (("waited", story.causes_ms), ("waited after preemptions", story.causes_again_ms)):
        total = sum(causes.values())
        if total:
            parts = [f"{name} {duration(ms)} ({ms / total:.0%})" for name, ms in causes.items() if ms]
            yield f"  {said} {duration(total)}: {', '.join(parts)}"
    shown = story.waited
    if len(shown) > SHOWN:
        longest = sorted(shown, key=lambda part: (part.from_ms - part.until_ms, part.from_ms))[:SHOWN]
        shown = sorted(longest, key=lambda part: part.from_ms)
        yield f"  the {SHOWN} longest of {len(story.waited)} parts:"
    rows = [
        [f"    {clock(part.from_ms)}", f"for {duration(part.until_ms - part.from_ms)}", _why(part)] for part in shown
    ]
    yield from table(rows, right=False)


def _why(part: Waited) -> str:
    least, most = part.free_milli_least / 1000, part.free_milli_most / 1000
    free = f"{least:g} free" if least == most else f"{least:g} to {most:g} free"
    return f"{part.cause}: {_NAMED[part.cause]} ({free})"


def _in_the_way(story: Story) -> Iterator[str]:
    if story.first_in_line_ms is not None:
        yield f"  first in line, by arrival, from {clock(story.first_in_line_ms)}"
    if story.overtakers_count:
        first = story.overtakers_while_first
        note = f", {first} of them while it was first in line" if first else ""
        yield f"  {_jobs(story.overtakers_count)} that arrived later started before it{note}; the largest:"
        rows = [[f"    {each.job_id}", _devices(each.gpus), f"at {clock(each.at_ms)}"] for each in story.overtakers]
        yield from table(rows, right=False)
    yield from _holders(story.holders, story.holders_count, "devices that it may use, while it waited for devices")
    yield from _holders(
        story.quota_holders, story.quota_holders_count, "entitlement that it may use, while it waited for that"
    )


def _holders(holders: list[Holder], count: int, what: str) -> Iterator[str]:
    if holders:
        yield f"  {_jobs(count)} held {what}; most of it:"
        rows = [[f"    {each.job_id}", _devices(each.gpus), f"{each.share:.0%}"] for each in holders]
        yield from table(rows, right=False)


def _ran(story: Story) -> Iterator[str]:
    for stretch in story.stretches:
        yield f"  started at {clock(stretch.from_ms)} on {_places(stretch.where)}"
        yield f"  {_ENDED[stretch.ended]} at {clock(stretch.until_ms)}, after {duration(stretch.until_ms - stretch.from_ms)}"
    if story.startup_ms:
        yield f"  {duration(story.startup_ms)} of its time on devices went into starting up"
    if not story.stretches:
        yield f"  never started; {story.state} at {clock(story.end_ms)}"
    elif story.stretches[-1].ended == "preempt":
        yield f"  {story.state} at {clock(story.end_ms)}, without another start"


_ENDED: Final = {
    "finish": "finished",
    "kill": "was killed",
    "preempt": "was preempted",
    "expire": "was taken away, as its lifetime was over,",
    "still running": "was still running",
}


def _places(where: list[str]) -> str:
    told = " ".join(where[:SHOWN])
    return told if len(where) <= SHOWN else f"{told} and {len(where) - SHOWN} more servers"


def _devices(gpus: float) -> str:
    return f"{gpus:g} device{'' if gpus == 1 else 's'}"


def _jobs(count: int) -> str:
    return f"{count:,} job{'' if count == 1 else 's'}"


def _was(count: int) -> str:
    return "was" if count == 1 else "were"
