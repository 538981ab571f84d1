"""A comparison as one page that needs nothing else: no request leaves it, and every name in it is escaped."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from sim.experiment.comparison import Comparison, GroupValues
from sim.metrics.registry import BY_NAME
from sim.report.pictures import COLOURS, drawn
from sim.report.verdict import verdict
from sim.report.words import better, difference, duration, value

_VERDICT_CLASS = {1: "better", 0: "", -1: "worse"}


def write_page(comparison: Comparison, path: Path) -> None:
    """Write the page. Raises `OSError` if it cannot be written."""
    path.write_text(page(comparison), encoding="utf-8")


def page(comparison: Comparison) -> str:
    """The page as text."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["duration"] = duration
    environment.filters["breakable"] = breakable
    text = resources.files("sim.report").joinpath("page.html").read_text(encoding="utf-8")
    base = comparison.runs[comparison.baseline]
    sentences = verdict(comparison)
    return environment.from_string(text).render(
        comparison=comparison,
        headline=sentences[0] if sentences else "",
        sentences=sentences[1:],
        colours={name: COLOURS[i % len(COLOURS)] for i, name in enumerate(comparison.names)},
        inputs=base.manifest["inputs"],
        tables=[_table(comparison, group) for group in comparison.groups],
        semantics=_semantics(comparison),
        # because: the pictures are made here, and matplotlib escapes the names in them
        pictures=[(title, text, Markup(svg)) for title, text, svg in drawn(comparison)],  # noqa: S704
        manifest=base.manifest,
    )


def breakable(name: str) -> Markup:
    """A long name, escaped, that a narrow screen may break behind its punctuation."""
    text = str(escape(name))
    for mark in (":", ",", "="):
        text = text.replace(mark, f"{mark}<wbr>")
    return Markup(text)  # noqa: S704  # because: escaped two lines above


def _table(comparison: Comparison, group: GroupValues) -> dict[str, Any]:
    rows = []
    for name, base in group.values[comparison.baseline].items():
        metric = BY_NAME[name]
        best = comparison.best(name, metric.better) if group.kind == "all" else []
        cells = []
        moved = len({group.values[policy][name] for policy in comparison.names}) > 1
        for policy in comparison.names:
            found = group.values[policy][name]
            own = policy == comparison.baseline or not moved
            width = comparison.ties.width(policy, name) if group.kind == "all" else None
            cells.append(
                {
                    "value": value(metric, found),
                    "change": "" if own else difference(metric, found, base),
                    "class": "" if own else _VERDICT_CLASS[better(metric, found, base)],
                    "best": policy in best and len(best) < len(comparison.names),
                    "ties": value(metric, width) if width else "",
                }
            )
        rows.append({"title": metric.title, "better": metric.better, "cells": cells})
    title = "All jobs" if group.kind == "all" else f"Queue {group.name}" if group.kind == "queue" else group.name
    return {"title": title, "kind": group.kind, "jobs": group.jobs, "rows": rows}


def _semantics(comparison: Comparison) -> list[tuple[str, list[str], bool]]:
    """Topic, the meaning under each policy, and whether they differ."""
    topics: dict[str, None] = {}
    for run in comparison.runs.values():
        topics.update(dict.fromkeys(run.manifest["semantics"]))
    rows = []
    for topic in topics:
        said = [str(run.manifest["semantics"].get(topic, "-")) for run in comparison.runs.values()]
        rows.append((topic, said, len(set(said)) > 1))
    return rows
