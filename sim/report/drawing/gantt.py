"""What chosen jobs did when: those that win and lose most, under the baseline and under the policy."""

from __future__ import annotations

from sim.report.drawing.axes import across
from sim.report.drawing.picture import Key, Panel, Picture
from sim.report.drawing.plot import Plot, short
from sim.report.drawing.scales import time_ticks
from sim.report.movers import span
from sim.report.page_who import devices
from sim.report.shown import Shown, Told
from sim.report.voice import Voice

ROW_PX = 48
NAME_COLUMNS = 20


def gantt(shown: Shown, voice: Voice) -> Picture | None:
    """A panel for each policy."""
    panels = [
        Panel(_panel(shown, voice, policy, told), _alt(shown, voice, told), policy)
        for policy, told in shown.stories.items()
        if told
    ]
    if not panels:
        return None
    keys = (Key("waiting", voice.say("legend.waiting")), Key("running s0", voice.say("legend.running")))
    return Picture(
        key="movers",
        title=voice.say("picture.movers.title"),
        caption=voice.for_page.say("picture.movers.caption", base=voice.for_page.name(shown.comparison.baseline)),
        panels=panels,
        keys=keys,
    )


def _panel(shown: Shown, voice: Voice, policy: str, stories: list[Told]) -> Plot:
    first, last = span([each for story in stories for each in (story.before, story.now)])
    long = max(last - first, 1)
    tall = ROW_PX * len(stories)
    plot = Plot(height=tall, left=18, right=12, above=4, below=40)
    across(plot, *time_ticks(long, voice, start_ms=first - float(shown.edges[0])))
    for number, story in enumerate(stories):
        top = 1 - number / len(stories)
        job = story.mover
        css = "strong" if job.loses else ""
        plot.text(0, top, _label(voice, story), css, dx=-16, dy=14, whole=job.job_id)
        series = (
            (story.before, shown.comparison.baseline, 20),
            (story.now, policy, 33),
        )
        for phases, name, dy in series:
            plot.text(0, top, shown.letter(name), "tick", anchor="end", dx=-5, dy=dy + 8)
            for phase in phases:
                x = ((phase.from_ms - first) / long, (phase.until_ms - first) / long)
                if phase.kind == "runs":
                    plot.bar(x, top, f"running s{shown.series(name) % 8}", dy=dy, tall=9)
                else:
                    plot.bar(x, top, "waiting", dy=dy + 2, tall=5)
    return plot


def _label(voice: Voice, story: Told) -> str:
    job = story.mover
    return voice.say(
        "gantt.loses" if job.loses else "gantt.wins",
        job=short(job.job_id, NAME_COLUMNS),
        devices=devices(job.devices, voice),
        before=voice.duration(job.baseline_wait_ms),
        now=voice.duration(job.wait_ms),
    )


def _alt(shown: Shown, voice: Voice, stories: list[Told]) -> str:
    return voice.joined([_label(voice, each) for each in stories], "list.semicolon")
