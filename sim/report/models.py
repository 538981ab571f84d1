"""Which models of the world were on, and how far their figures can be trusted: the marks H, M and L of catalogue and tables.

Tables that a user gave are named with their SHA-256 and not read again; figures of the built-in ones are those of this version.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sim.experiment.comparison import Comparison
from sim.fleet.catalogue import catalogue
from sim.jobs_table import span_names
from sim.report.voice import Voice
from sim.world.tables import PPM, locality_table, speed_table


class Figure(NamedTuple):
    """One figure of a catalogue or table."""

    kind: str
    """`accelerator`, `speed` or `locality`."""
    name: str
    """Of the card; for locality what a gang spans."""
    group: str | None
    """The family of jobs, or the class of locality."""
    devices: int | None
    factor: float | None
    """Of the speed, 1 is full."""
    confidence: str | None
    """H, M or L; None for a card that the catalogue does not have."""
    estimated: bool | None
    source: str | None


class Table(NamedTuple):
    """A table of words."""

    title: str
    head: list[str]
    rows: list[list[str]]


def model_lines(comparison: Comparison, voice: Voice) -> list[str]:
    """What is on and what is off, and what there is no model of."""
    world = comparison.runs[comparison.baseline].manifest["world"]
    lines = []
    for key in ("speed", "locality"):
        state = [voice.say("method.on" if world[key] else "method.off")]
        if world[key]:
            state.append(_source(world[f"{key}_table"], voice))
        lines.append(
            voice.sentence(voice.say("method.is_on", model=voice.say(f"method.{key}"), state=voice.joined(state)))
        )
    if world["slow"]:
        lines.append(voice.sentence(voice.say("method.slow_servers", n=len(world["slow"]))))
    return [*lines, voice.say("method.failures")]


def _source(table: str | Mapping[str, Any], voice: Voice) -> str:
    if isinstance(table, str):
        return voice.say("method.table_builtin")
    return voice.say("method.table_own", path=voice.name(table["path"]))


def figures(comparison: Comparison) -> list[Figure]:
    """Accelerators, speeds that were used and factors of locality; of tables of the user's own there are none."""
    run = comparison.runs[comparison.baseline]
    world = run.manifest["world"]
    found = _accelerators(run.manifest["inputs"]["cluster"]["devices_by_accelerator"])
    builtin = world["speed_table"] == "built-in"
    if world["speed"] and builtin:
        found += _speeds(comparison)
    if world["locality"] and world["locality_table"] == "built-in" and builtin:
        found += _localities(comparison)
    return found


def model_tables(found: Sequence[Figure], voice: Voice) -> list[Table]:
    """The figures as tables, one for each kind."""
    heads = {
        "accelerator": ("table.model", "table.device_count", "table.confidence", "table.source"),
        "speed": (
            "table.model", "method.family", "method.relative_speed", "table.confidence", "method.how", "table.source",
        ),
        "locality": (
            "method.span", "method.locality_class", "method.locality_factor", "table.confidence", "method.how",
            "table.source",
        ),
    }  # fmt: skip
    titles = {"accelerator": "method.accelerators", "speed": "method.speed_used", "locality": "method.locality"}
    return [
        Table(voice.say(titles[kind]), [voice.say(key) for key in head], rows)
        for kind, head in heads.items()
        if (rows := [_cells(each, voice) for each in found if each.kind == kind])
    ]


def _cells(figure: Figure, voice: Voice) -> list[str]:
    trust = [figure.confidence or "-"]
    source = voice.quoted(figure.source) if figure.source else "-"
    if figure.kind == "accelerator":
        return [voice.name(figure.name), voice.count(figure.devices or 0), *trust, source]
    name = voice.name(figure.name)
    if figure.kind == "locality" and figure.name in ("server", "fleet"):
        name = voice.say(f"span.{figure.name}")
    trust.append(voice.say("method.estimated" if figure.estimated else "method.measured"))
    return [name, voice.name(figure.group or "-"), voice.share(figure.factor or 0.0), *trust, source]


def _accelerators(devices: Mapping[str, int]) -> list[Figure]:
    found = []
    for model, count in devices.items():
        card = catalogue().find(model)
        known = (None, None) if card is None else (card.confidence, card.source)
        found.append(Figure("accelerator", model, None, count, None, known[0], None, known[1]))
    return found


def used_pairs(comparison: Comparison) -> set[tuple[str | None, str]]:
    """Family of jobs and accelerator, of everything that ran under any policy."""
    found: set[tuple[str | None, str]] = set()
    for run in comparison.runs.values():
        families, cards = (run.jobs.text(name).to_pylist() for name in ("family", "accelerator"))
        found |= {(family, card) for family, card in zip(families, cards, strict=True) if card is not None}
    return found


def _speeds(comparison: Comparison) -> list[Figure]:
    found = []
    for family, card in sorted(used_pairs(comparison), key=lambda pair: (pair[1], pair[0] or "")):
        figure = speed_table().relative_speed(family, card)
        factor = figure.ppm / PPM
        found.append(Figure("speed", card, family, None, factor, figure.confidence, figure.estimated, figure.source))
    return found


def _localities(comparison: Comparison) -> list[Figure]:
    run = comparison.runs[comparison.baseline]
    families = {family for family, _ in used_pairs(comparison)}
    found = []
    for group in sorted({speed_table().family(family).locality for family in families}):
        for rank, span in enumerate(span_names(run.levels)):
            figure = locality_table().factor(group, rank)
            factor = figure.ppm / PPM
            found.append(
                Figure("locality", span, group, None, factor, figure.confidence, figure.estimated, figure.source)
            )
    return found
