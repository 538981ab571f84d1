"""Grid lines, ticks and titles, the same in all pictures."""

from __future__ import annotations

from collections.abc import Sequence

from sim.report.drawing.plot import Anchor, Plot
from sim.report.drawing.scales import Tick
from sim.report.names import width

LETTER_PX = 7.0
"""Width of a digit or a Latin letter, about."""


def across(plot: Plot, ticks: Sequence[Tick], title: str = "", *, labelled: bool = True) -> None:
    """The horizontal axis: a line at each tick, and below the plot its text and the title."""
    for tick in ticks:
        css = " minor" if tick.minor else ""
        plot.line((tick.at, 0), (tick.at, 1), f"grid{css}")
        if labelled:
            plot.text(tick.at, 0, tick.text, f"tick{css}", anchor=_anchor(tick.at), dy=15)
    if labelled and title:
        plot.text(1, 0, title, "axis", anchor="end", dy=31)


def upwards(plot: Plot, ticks: Sequence[Tick], title: str = "") -> None:
    """The vertical axis; its title stands above the plot."""
    for tick in ticks:
        plot.line((0, tick.at), (1, tick.at), "grid")
        plot.text(0, tick.at, tick.text, "tick", anchor="end", dx=-6, dy=3.5)
    if title:
        plot.text(0, 1, title, "axis", dx=-plot.left + 2, dy=-8)


def room_for(ticks: Sequence[Tick]) -> int:
    """Pixels to the left of the plot that the texts of an axis take."""
    return round(max((width(tick.text) for tick in ticks), default=0) * LETTER_PX) + 12


def _anchor(at: float) -> Anchor:
    return "end" if at > 0.97 else "start" if at < 0.01 else "middle"
