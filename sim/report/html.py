"""A comparison as one page that needs nothing else: no request leaves it, and every name in it is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any, Final

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from sim.causes.cause import CAUSES
from sim.experiment.comparison import Comparison, GroupValues
from sim.metrics.registry import BY_NAME
from sim.report.drawing.all import drawn
from sim.report.drawing.alone import alone
from sim.report.drawing.causes import mean_by_cause
from sim.report.drawing.picture import Panel
from sim.report.page_inputs import inputs, rejections
from sim.report.page_method import method
from sim.report.page_who import gate_rows, who
from sim.report.paired_text import group_title
from sim.report.shown import Shown, shown
from sim.report.verdict import headline, sentences
from sim.report.voice import Voice, markup, plain
from sim.report.words import better

_CHANGED: Final = {1: "better", 0: "", -1: "worse"}


def page(
    comparison: Comparison,
    code: str = "en",
    *,
    found: Shown | None = None,
    folder: str = "",
    files: Mapping[str, int] | None = None,
) -> str:
    """The page as text, in the language `code`. `files` are the Parquet files in `folder` beside it, and their rows."""
    found = found or shown(comparison)
    voice = markup(code)
    pictures = drawn(found, plain(code))
    anchors = _contents(comparison, voice, course=bool(pictures.course), data=bool(files))
    return (
        _environment()
        .get_template("page.html")
        .render(
            comparison=comparison,
            shown=found,
            voice=voice,
            say=voice.say,
            svg=_svg,
            css=style("picture.css") + style("page.css"),
            patterns=style("patterns.html"),
            title=plain(code).say(
                "page.title", policies=plain(code).joined([plain(code).name(each) for each in comparison.names])
            ),
            kicker=_kicker(comparison, voice),
            headline=headline(comparison, voice),
            sentences=sentences(comparison, voice),
            contents=anchors,
            gates=gate_rows(comparison.gates, voice),
            who=who(found, voice),
            tables=[_table(comparison, group, voice) for group in comparison.groups],
            pictures=pictures,
            cause_table=_cause_table(found, voice),
            method=method(found, voice),
            inputs=inputs(comparison, voice),
            rejections=rejections(comparison, voice),
            data_folder=folder,
            data_files=files or {},
        )
    )


def picture_file(comparison: Comparison, key: str, code: str = "en") -> str | None:
    """One picture of the page as an SVG file of its own; None where the page has none of that name."""
    found = shown(comparison)
    picture = drawn(found, plain(code)).all.get(key)
    return None if picture is None else alone(picture, found, style("picture.css"), style("patterns.html"))


def picture_names(comparison: Comparison) -> list[str]:
    """The pictures that the page of a comparison has."""
    return list(drawn(shown(comparison), plain()).all)


def _environment() -> Environment:
    return Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        loader=FunctionLoader(_template),
    )


def _template(name: str) -> str:
    return resources.files("sim.report").joinpath("templates", name).read_text(encoding="utf-8")


def style(name: str) -> Markup:
    """A style sheet, or the patterns of pictures."""
    return Markup(_template(name))  # noqa: S704  # because: a file of the program


def _svg(panel: Panel, key: str) -> Markup:
    return Markup(panel.plot.for_page(key, panel.alt))  # noqa: S704  # because: the picture escapes every name in it


def _kicker(comparison: Comparison, voice: Voice) -> str:
    data = comparison.runs[comparison.baseline].manifest["inputs"]
    trace = voice.name(data["trace"]["path"])
    traces = 1 if comparison.paired is None else len(comparison.paired.evidence.traces)
    return voice.say(
        "page.kicker",
        trace=trace if traces == 1 else voice.say("page.traces", n=traces, first=trace),
        fleet=voice.name(data["cluster"]["name"]),
        servers=voice.say("inputs.servers", n=data["cluster"]["servers"]),
        devices=voice.say("inputs.devices", n=data["cluster"]["devices"]),
    )


def _contents(comparison: Comparison, voice: Voice, *, course: bool, data: bool) -> list[tuple[str, str]]:
    """Anchor and title of each section that there is."""
    there = {
        "gates": bool(comparison.gates),
        "who": bool(comparison.others),
        "figures": True,
        "course": course,
        "method": True,
        "inputs": True,
        "data": data,
    }
    return [(key, voice.say(f"{key}.title")) for key, is_there in there.items() if is_there]


def _table(comparison: Comparison, group: GroupValues, voice: Voice) -> dict[str, Any]:
    rows = []
    for name, base in group.values[comparison.baseline].items():
        metric = BY_NAME[name]
        if all(group.values[policy][name] is None for policy in comparison.names):
            continue
        best = comparison.best(name, metric.better) if group.kind == "all" else []
        moved = len({group.values[policy][name] for policy in comparison.names}) > 1
        cells = []
        for policy in comparison.names:
            value = group.values[policy][name]
            own = policy == comparison.baseline or not moved
            width = comparison.ties.width(policy, name) if group.kind == "all" else None
            cells.append(
                {
                    "value": voice.value(metric, value),
                    "change": "" if own else voice.difference(metric, value, base),
                    "css": "" if own else _CHANGED[better(metric, value, base)],
                    "best": policy in best and len(best) < len(comparison.names),
                    "ties": voice.value(metric, width) if width else "",
                }
            )
        rows.append({"title": voice.metric(metric), "cells": cells})
    title = voice.say("figures.all") if group.kind == "all" else group_title(group.kind, group.name, voice)
    if group.kind == "queue":
        title = voice.say("figures.queue", name=title)
    if group.kind == "service":
        title = voice.say("figures.service", name=title)
    return {"title": title, "kind": group.kind, "jobs": group.jobs, "rows": rows}


def _cause_table(found: Shown, voice: Voice) -> Markup:
    """The figures of the picture of causes, as a table; nothing where no run was asked."""
    means = mean_by_cause(found)
    rows = []
    for cause in CAUSES:
        cells = []
        for parts in means.values():
            whole = sum(parts.values())
            part = voice.share(parts[cause] / whole, 0) if whole else "-"
            cells.append(voice.say("list.parenthesis", text=voice.duration(parts[cause]), more=part))
        rows.append({"title": voice.known(f"cause.{cause}", cause), "cells": cells})
    if not means:
        return Markup()
    template = _environment().get_template("causes.html")
    text = template.render(
        comparison=found.comparison, shown=found, voice=voice, say=voice.say, rows=rows, names=list(means)
    )
    return Markup(text)  # noqa: S704  # because: the template escapes
