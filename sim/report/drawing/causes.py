"""What jobs waited for: a bar for each policy, divided by cause."""

from __future__ import annotations

from sim.causes.cause import CAUSES
from sim.causes.columns import totals_by_policy
from sim.report.drawing.axes import across
from sim.report.drawing.picture import Key, Panel, Picture
from sim.report.drawing.plot import Plot, short
from sim.report.drawing.scales import DAY_MS, HOUR_MS, Tick, linear
from sim.report.shown import Shown
from sim.report.voice import Voice

UNITS = (("day", DAY_MS), ("hour", HOUR_MS), ("minute", 60_000), ("second", 1000))
ROW_PX = 46


def causes(shown: Shown, voice: Voice) -> Picture | None:
    """The mean wait of a job, stacked; waiting after preemptions counts too. None where no run was asked why."""
    means = mean_by_cause(shown)
    largest = max((sum(each.values()) for each in means.values()), default=0.0)
    if largest <= 0:
        return None
    unit, length = next((each for each in UNITS if largest >= 2 * each[1]), UNITS[-1])
    top = largest * 1.04
    values = linear(0, top / length, 6)
    plot = Plot(height=ROW_PX * len(means), left=14, right=14, above=4, below=40)
    across(
        plot,
        [Tick(value * length / top, voice.plain(value), number % 2 == 1) for number, value in enumerate(values)],
        voice.say(f"axis.mean_wait.{unit}"),
    )
    told = []
    for number, (policy, parts) in enumerate(means.items()):
        high = 1 - number / len(means)
        label = voice.say(
            "causes.row",
            letter=shown.letter(policy),
            name=short(policy, 34),
            time=voice.duration(sum(parts.values())),
        )
        plot.text(0, high, label, "strong", dx=-10, dy=15, whole=policy)
        before = 0.0
        for cause, mean in parts.items():
            if mean > 0:
                plot.bar((before / top, (before + mean) / top), high, f"cause {cause}", dy=21, tall=16)
                before += mean
        said = [
            voice.say("alt.cause", cause=voice.known(f"cause.{cause}", cause), time=voice.duration(mean))
            for cause, mean in parts.items()
            if mean > 0
        ]
        told.append(voice.say("alt.row", label=voice.name(policy), marks=voice.joined(said, "list.comma")))
    return Picture(
        key="causes",
        title=voice.say("picture.causes.title"),
        caption=voice.for_page.say("picture.causes.caption"),
        panels=[Panel(plot, voice.joined(told, "list.semicolon"))],
        keys=tuple(Key(f"cause {cause}", voice.known(f"cause.{cause}", cause)) for cause in CAUSES),
    )


def mean_by_cause(shown: Shown) -> dict[str, dict[str, float]]:
    """Policy -> cause -> milliseconds, mean over the jobs that started, waiting after preemptions included."""
    return {
        policy: {
            cause: (found["wait_ms"][cause] + found["wait_again_ms"][cause]) / max(found["jobs"], 1)
            for cause in CAUSES
        }
        for policy, found in totals_by_policy(shown.comparison.runs).items()
    }
