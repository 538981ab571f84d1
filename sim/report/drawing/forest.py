"""Differences with their intervals: a mark for each policy and thing, and what the evidence leaves open to both sides."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from sim.experiment.effects import Effect, PolicyEffects
from sim.experiment.quantities import KINDS
from sim.report.drawing.axes import across
from sim.report.drawing.picture import Panel, Picture
from sim.report.drawing.plot import Plot, short
from sim.report.drawing.scales import DAY_MS, HOUR_MS, Tick, linear
from sim.report.paired_text import group_title, quantity_title
from sim.report.shown import Shown
from sim.report.voice import Voice

GROUPS_MAX: Final = 10
"""Of a kind that are drawn."""

BEST_OFF: Final = 3
"""Of these the last, who win most; the others are those who lose most."""

LINE_PX: Final = 17

UNITS: Final = (("day", DAY_MS), ("hour", HOUR_MS), ("minute", 60_000), ("second", 1000), ("millisecond", 1))


class Mark(NamedTuple):
    """One figure of a policy, with the ends of its interval where it has one."""

    policy: str
    value: float
    low: float | None
    high: float | None


class Row(NamedTuple):
    """What is compared under its name, and a mark for each policy."""

    label: str
    whole: str
    marks: list[Mark]


def effects(shown: Shown, voice: Voice) -> Picture | None:
    """Every metric that was asked for, in percent of the baseline."""
    found = _effects(shown)
    by_metric: dict[str, list[Mark]] = {}
    for policy, each in found.items():
        for effect in each.metrics:
            mark = _in_percent(policy, effect)
            if mark is not None:
                by_metric.setdefault(effect.quantity, []).append(mark)
    titles = {effect.quantity: quantity_title(effect, voice) for each in found.values() for effect in each.metrics}
    rows = [Row(titles[name], "", marks) for name, marks in by_metric.items()]
    if not rows:
        return None
    base = voice.for_page.name(shown.comparison.baseline)
    plot = _forest(shown, rows, lambda part: voice.say("figure.percent", amount=_with_sign(part * 100)), floor=-1.0)
    return Picture(
        key="effects",
        title=voice.say("picture.effects.title", base=voice.name(shown.comparison.baseline)),
        caption=voice.for_page.say("picture.effects.caption", base=base),
        panels=[Panel(plot, _alt(rows, voice, voice.percent))],
        policies=tuple(found),
    )


def groups(shown: Shown, voice: Voice, kind: str) -> Picture | None:
    """The change of the mean wait of each group of a kind, in time."""
    by_group: dict[str, list[Mark]] = {}
    jobs: dict[str, int] = {}
    for policy, name, count, mark in _group_marks(shown, kind):
        by_group.setdefault(name, []).append(mark._replace(policy=policy))
        jobs[name] = count
    if len(by_group) < 2:
        return None
    names = sorted(by_group, key=lambda name: (-max(mark.value for mark in by_group[name]), name))
    if len(names) > GROUPS_MAX:
        names = [*names[: GROUPS_MAX - BEST_OFF], *names[-BEST_OFF:]]
    rows = [
        Row(
            voice.say("groups.row", name=short(group_title(kind, name, voice), 34), n=jobs[name]),
            name,
            by_group[name],
        )
        for name in names
    ]
    largest = max(abs(mark.value) for row in rows for mark in row.marks)
    unit, length = next((each for each in UNITS if largest >= 2 * each[1]), UNITS[-1])
    scaled = [row._replace(marks=[_scaled(mark, length) for mark in row.marks]) for row in rows]
    plot = _forest(shown, scaled, _with_sign)
    plot.text(1, 0, voice.say(f"axis.change.{unit}"), "axis", anchor="end", dy=31)
    base = voice.for_page.name(shown.comparison.baseline)
    return Picture(
        key=f"by_{kind}",
        title=voice.say(f"picture.by_{kind}.title"),
        caption=voice.for_page.say("picture.groups.caption", base=base)
        + (
            voice.for_page.say("picture.groups.left_out", n=len(by_group) - len(names))
            if len(by_group) > len(names)
            else ""
        ),
        panels=[Panel(plot, _alt(rows, voice, voice.duration))],
        policies=tuple(shown.comparison.others),
    )


def _effects(shown: Shown) -> dict[str, PolicyEffects]:
    paired = shown.comparison.paired
    return {} if paired is None else paired.policies


def _in_percent(policy: str, effect: Effect) -> Mark | None:
    if not effect.baseline or effect.value is None:
        return None
    base, found = effect.baseline, effect.difference
    low, high = (None, None) if found is None else (found.low / base, found.high / base)
    return Mark(policy, effect.value / base - 1, low, high)


def _group_marks(shown: Shown, kind: str) -> list[tuple[str, str, int, Mark]]:
    """Policy, group, jobs and mark: with intervals where there are statistics, else the plain means."""
    found = []
    paired = _effects(shown)
    for policy in shown.comparison.others:
        if policy in paired:
            for effect in paired[policy].groups:
                if (effect.kind, effect.quantity) != (kind, "wait.mean") or effect.value is None:
                    continue
                ends = effect.difference
                change = effect.value - (effect.baseline or 0.0)
                mark = Mark(policy, change, ends.low if ends else None, ends.high if ends else None)
                found.append((policy, effect.name, effect.jobs, mark))
        elif policy in shown.comparison.shifts:
            for each in shown.comparison.shifts[policy].groups:
                if each["kind"] == kind:
                    mark = Mark(policy, each["mean_change_ms"], None, None)
                    found.append((policy, each["name"], each["jobs"], mark))
    return found


def _scaled(mark: Mark, length: float) -> Mark:
    ends = (None if each is None else each / length for each in (mark.low, mark.high))
    return Mark(mark.policy, mark.value / length, *ends)


def _forest(shown: Shown, rows: Sequence[Row], text: Callable[[float], str], *, floor: float = -math.inf) -> Plot:
    low, high = _range(rows, floor)
    tall = sum(22 + LINE_PX * len(row.marks) for row in rows)
    plot = Plot(height=tall, left=14, right=14, above=4, below=40)

    def at(value: float) -> float:
        return (value - low) / (high - low)

    marks = [0.0 if math.isclose(each, 0, abs_tol=1e-12) else each for each in linear(low, high, 7)]
    across(plot, [Tick(at(v), text(v), minor=n % 2 != marks.index(0.0) % 2) for n, v in enumerate(marks)])
    plot.line((at(0), 0), (at(0), 1), "zero")
    dy = 0.0
    for row in rows:
        plot.text(0, 1, row.label, "strong", dx=-10, dy=dy + 15, whole=row.whole)
        dy += 22
        for mark in row.marks:
            _draw(plot, shown, mark, at, dy + LINE_PX / 2)
            dy += LINE_PX
    return plot


def _draw(plot: Plot, shown: Shown, mark: Mark, at: Callable[[float], float], dy: float) -> None:
    css = f"s{shown.series(mark.policy) % 8}"
    if mark.low is not None and mark.high is not None:
        begin, end = max(at(mark.low), 0.0), min(at(mark.high), 1.0)
        plot.line((begin, 1), (end, 1), f"whisker {css}", dy=dy)
        for outside, x, arrow in ((at(mark.low) < 0, begin, "◂"), (at(mark.high) > 1, end, "▸")):
            if outside:
                plot.text(x, 1, arrow, f"arrow {css}", anchor="middle", dy=dy + 4)
    open_ = "" if mark.low is not None else " open"
    plot.dot(at(mark.value), 1, css + open_, shown.letter(mark.policy), dy=dy)


def _range(rows: Sequence[Row], floor: float) -> tuple[float, float]:
    """Around all figures and zero; intervals that reach much further, or below the floor, are cut, and end in an arrow."""
    values = [mark.value for row in rows for mark in row.marks]
    largest = max(map(abs, values)) or 1.0
    lows = [mark.low for row in rows for mark in row.marks if mark.low is not None]
    highs = [mark.high for row in rows for mark in row.marks if mark.high is not None]
    low = max(min([*lows, *values, 0.0]), min(*values, 0.0) - largest, floor)
    high = min(max([*highs, *values, 0.0]), max(*values, 0.0) + largest)
    if high <= low:
        low, high = -largest, largest
    room = 0.04 * (high - low)
    return low - room, high + room


def _with_sign(value: float) -> str:
    return f"{value:+g}" if value else "0"


def _alt(rows: Sequence[Row], voice: Voice, text: Callable[[float], str]) -> str:
    told = [
        voice.say(
            "alt.row",
            label=row.label,
            marks=voice.joined([f"{voice.name(mark.policy)} {text(mark.value)}" for mark in row.marks], "list.comma"),
        )
        for row in rows
    ]
    return voice.joined(told, "list.semicolon")


GROUP_KINDS: Final = KINDS
