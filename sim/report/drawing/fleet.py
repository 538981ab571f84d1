"""The fleet over time: a shade for how full each server, domain or group of servers is."""

from __future__ import annotations

import numpy as np

from sim.report.drawing.axes import across
from sim.report.drawing.picture import Key, Panel, Picture
from sim.report.drawing.plot import Plot, short
from sim.report.drawing.scales import time_ticks
from sim.report.heat import Rows
from sim.report.shown import Shown
from sim.report.voice import Voice

LEVELS = 5
"""Shades; what is emptier than a half percent has none."""

LABEL_COLUMNS = 15


def heat(shown: Shown, voice: Voice) -> Picture | None:
    """A map for each policy, servers in the order of the fleet from the top."""
    rows = shown.rows
    if rows is None or not shown.heat:
        return None
    ticks, title = time_ticks(float(shown.heat_edges[-1] - shown.heat_edges[0]), voice)
    groups = _groups(rows)
    models = groups[0][0] == rows.accelerator[0]
    panels = []
    for number, (policy, shares) in enumerate(shown.heat.items()):
        last = number == len(shown.heat) - 1
        tall = max(len(rows.name) * 4, 12 * len(groups), 30)
        plot = Plot(height=tall, left=106, right=12, above=4, below=40 if last else 6)
        plot.cells(np.where(shares < 0.005, 0, np.ceil(shares * LEVELS - 1e-9)).astype(np.int64), "heat")
        across(plot, ticks, title, labelled=last)
        for name, first, end in groups:
            top, bottom = 1 - first / len(rows.name), 1 - end / len(rows.name)
            if models:
                plot.line((0, bottom), (1, bottom), "rule")
            label = short(name, LABEL_COLUMNS)
            plot.text(0, (top + bottom) / 2, label, "tick", anchor="end", dx=-6, dy=3.5, whole=name)
        weight = rows.devices / rows.devices.sum()
        idle = float(((shares < 0.005) * weight[:, None]).sum(axis=0).mean())
        mean = float((shares * weight[:, None]).sum(axis=0).mean())
        panels.append(Panel(plot, voice.say("alt.heat", mean=voice.share(mean), idle=voice.share(idle)), policy))
    step = 100 // LEVELS
    keys = [Key("heat0", voice.say("legend.empty"))]
    keys += [
        Key(f"heat{level}", voice.say("legend.up_to", share=voice.share(level * step / 100, 0)))
        for level in range(1, LEVELS + 1)
    ]
    return Picture(
        key="heat",
        title=voice.say("picture.heat.title"),
        caption=voice.for_page.say("picture.heat.caption", rows=_rows_words(rows, voice.for_page)),
        panels=panels,
        keys=tuple(keys),
    )


def _rows_words(rows: Rows, voice: Voice) -> str:
    total = int(rows.servers.sum())
    if rows.kind == "server":
        return voice.say("heat.each_server", n=total)
    if rows.kind == "servers":
        return voice.say("heat.neighbours", n=total, size=voice.plain(round(total / len(rows.name), 1)))
    return voice.say("heat.each_domain", n=total, rows=len(rows.name), level=voice.name(rows.kind))


def _groups(rows: Rows) -> list[tuple[str, int, int]]:
    """Name, first row and end of each run of rows of one model; of a fleet of one model, its first and last row by name."""
    found: list[tuple[str, int, int]] = []
    for number, model in enumerate(rows.accelerator):
        if found and found[-1][0] == model:
            found[-1] = (model, found[-1][1], number + 1)
        else:
            found.append((model, number, number + 1))
    if 1 < len(found) <= 12:
        return found
    count = len(rows.name)
    third = max(count // 6, 1)
    ends = [(rows.name[0].split(" … ")[0], 0, third)]
    return ends if count == 1 else [*ends, (rows.name[-1].split(" … ")[-1], count - third, count)]
