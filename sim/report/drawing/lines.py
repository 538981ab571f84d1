"""Curves: the distribution of waits, devices over time, and how a static fill goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from sim.report.curves import Floats, OverTime
from sim.report.drawing.axes import across, room_for, upwards
from sim.report.drawing.picture import Panel, Picture
from sim.report.drawing.plot import Plot, steps
from sim.report.drawing.scales import LogWaits, Tick, linear, time_ticks
from sim.report.shown import Shown
from sim.report.voice import Voice

SHARES = (0.0, 0.25, 0.5, 0.75, 0.95, 1.0)


def style(shown: Shown, policy: str) -> str:
    """The classes of a policy's colour and line."""
    number = shown.series(policy)
    return f"s{number % 8} d{number % 6}"


def waits(shown: Shown, voice: Voice) -> Picture | None:
    """The share of jobs that have started after a length of time, on a logarithmic axis."""
    if not any(each.started for each in shown.waits.values()):
        return None
    found = shown.waits
    scale = LogWaits(max(float(next(iter(found.values())).wait_ms[-1]), 10_000.0))
    ticks = [Tick(share, voice.share(share, 0)) for share in SHARES]
    plot = Plot(height=300, left=room_for(ticks), above=26, below=40, right=12)
    across(plot, scale.ticks(voice), voice.say("axis.wait"))
    upwards(plot, ticks, voice.say("axis.share_of_jobs"))
    curves = [(scale.at(each.wait_ms), each.share) for each in found.values()]
    for policy, (x, y) in zip(found, curves, strict=True):
        plot.curve(x, y, style(shown, policy))
    for policy, at in zip(found, label_places(curves), strict=True):
        plot.dot(*at, f"s{shown.series(policy) % 8}", shown.letter(policy))
    return Picture(
        key="waits",
        title=voice.say("picture.waits.title"),
        caption=voice.for_page.say("picture.waits.caption"),
        panels=[Panel(plot, _waits_alt(shown, voice))],
        policies=tuple(found),
    )


def _waits_alt(shown: Shown, voice: Voice) -> str:
    told = []
    for policy, each in shown.waits.items():
        ends = [voice.say("alt.never") if at is None else voice.duration(at) for at in (each.half_ms, each.p95_ms)]
        told.append(voice.say("alt.waits", policy=voice.name(policy), half=ends[0], most=ends[1]))
    return voice.joined(told, "list.semicolon")


def label_places(curves: Sequence[tuple[Floats, Floats]]) -> list[tuple[float, float]]:
    """For each curve a point on it that is far from the other curves and their labels."""
    places: list[tuple[float, float]] = []
    candidates = np.linspace(0.06, 0.94, 23)
    heights = [np.interp(candidates, x, y) for x, y in curves]
    for number, own in enumerate(heights):
        others = [abs(own - each) for place, each in enumerate(heights) if place != number]
        free = np.minimum.reduce(others) if others else np.ones(len(candidates))
        for at, height in places:
            away = np.hypot((candidates - at) * 2, own - height)
            free = np.where(away < 0.14, -1 + away, free)
        # because: in the middle of its climb a curve is told from its neighbours best
        best = int(np.argmax(np.minimum(free, 0.1) - 0.02 * abs(own - 0.5)))
        places.append((float(candidates[best]), float(own[best])))
    return places


Pick = Callable[[OverTime], Floats | None]


def over_time(shown: Shown, voice: Voice, key: str, pick: Pick, *, limit: float | None = None) -> Picture | None:
    """A strip for each policy, the baseline behind it. `limit` is a line that is named, such as the fleet's size."""
    found = {name: values for name, each in shown.over_time.items() if (values := pick(each)) is not None}
    if not found or not any(values.any() for values in found.values()):
        return None
    top = max(limit or 0.0, *(float(values.max()) for values in found.values())) * 1.06
    ticks = [Tick(value / top, voice.plain(value)) for value in linear(0, top, 3)]
    ticks_x, title_x = time_ticks(float(shown.edges[-1] - shown.edges[0]), voice)
    x, _ = steps((shown.edges - shown.edges[0]) / (shown.edges[-1] - shown.edges[0]), shown.edges[1:])
    base = found.get(shown.comparison.baseline)
    panels = []
    for number, (policy, values) in enumerate(found.items()):
        last = number == len(found) - 1
        plot = Plot(height=96, left=room_for(ticks), right=12, above=8, below=40 if last else 8)
        across(plot, ticks_x, title_x, labelled=last)
        upwards(plot, ticks)
        plot.area(x, np.repeat(values, 2) / top, f"s{shown.series(policy) % 8}")
        plot.curve(x, np.repeat(values, 2) / top, f"s{shown.series(policy) % 8}")
        if base is not None and base is not values:
            plot.curve(x, np.repeat(base, 2) / top, "s0 ghost")
        if limit is not None:
            plot.line((0, limit / top), (1, limit / top), "limit")
        alt = voice.say(
            f"alt.{key}",
            mean=voice.plain(round(float(values.mean()), 1)),
            most=voice.plain(round(float(values.max()), 1)),
        )
        panels.append(Panel(plot, alt, policy))
    return Picture(
        key=key,
        title=voice.say(f"picture.{key}.title"),
        caption=voice.for_page.say(f"picture.{key}.caption"),
        panels=panels,
    )


def fill(shown: Shown, voice: Voice) -> Picture | None:
    """A static fill: allocated (lines) and fragmented (thin lines) share of the capacity against what has arrived."""
    curves = {name: each for name, each in shown.fill.items() if len(each.arrived)}
    if not curves:
        return None
    right = max(float(each.arrived[-1]) for each in curves.values()) or 1.0
    ticks = [Tick(share, voice.share(share, 0)) for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    marks = linear(0, right, 6)
    plot = Plot(height=300, left=room_for(ticks), above=26, below=40, right=12)
    across(plot, [Tick(at / right, voice.share(at, 0), number % 2 == 1) for number, at in enumerate(marks)])
    plot.text(1, 0, voice.say("axis.arrived"), "axis", anchor="end", dy=31)
    upwards(plot, ticks, voice.say("axis.of_capacity"))
    lines = [(each.arrived / right, each.allocated) for each in curves.values()]
    for (policy, each), (x, y) in zip(curves.items(), lines, strict=True):
        plot.curve(x, y, style(shown, policy))
        plot.curve(x, each.fragmented, f"s{shown.series(policy) % 8} d2 thin")
    for policy, at in zip(curves, label_places(lines), strict=True):
        plot.dot(*at, f"s{shown.series(policy) % 8}", shown.letter(policy))
    told = [
        voice.say("alt.fill", policy=voice.name(name), share=voice.share(float(each.allocated[-1])))
        for name, each in curves.items()
    ]
    return Picture(
        key="fill",
        title=voice.say("picture.fill.title"),
        caption=voice.for_page.say("picture.fill.caption"),
        panels=[Panel(plot, voice.joined(told, "list.semicolon"))],
        policies=tuple(curves),
    )
