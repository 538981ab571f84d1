"""Which pictures mean something for a comparison, in the order in which a page shows them."""

from __future__ import annotations

from typing import NamedTuple

from sim.report.drawing.causes import causes
from sim.report.drawing.fleet import heat
from sim.report.drawing.forest import GROUP_KINDS, effects, groups
from sim.report.drawing.gantt import gantt
from sim.report.drawing.lines import fill, over_time, waits
from sim.report.drawing.picture import Picture
from sim.report.shown import Shown
from sim.report.voice import Voice


class Pictures(NamedTuple):
    """By what they answer."""

    who: list[Picture]
    """Who wins and who loses."""
    course: list[Picture]
    """What happens in the fleet."""

    @property
    def all(self) -> dict[str, Picture]:
        """By key."""
        return {each.key: each for each in (*self.who, *self.course)}


def drawn(shown: Shown, voice: Voice) -> Pictures:
    """All of them, in the words of a plain voice."""
    base = shown.comparison.runs[shown.comparison.baseline]
    capacity = base.capacity_milli / 1000
    who = [effects(shown, voice), *(groups(shown, voice, kind) for kind in GROUP_KINDS), gantt(shown, voice)]
    course = [
        waits(shown, voice),
        fill(shown, voice),
        causes(shown, voice),
        over_time(shown, voice, "allocated", lambda each: each.allocated, limit=capacity),
        over_time(shown, voice, "queued", lambda each: each.waiting),
        heat(shown, voice),
        over_time(shown, voice, "fragmented", lambda each: each.fragmented),
    ]
    return Pictures([each for each in who if each], [each for each in course if each])
