"""Which models of the world were on, and how far their figures can be trusted: the marks H, M and L of catalogue and tables.

Tables that a user gave are named with their SHA-256 and not read again; figures of the built-in ones are those of this version.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from sim.experiment.comparison import Comparison
from sim.fleet.catalogue import catalogue
from sim.jobs_table import span_names
from sim.report.voice import Voice
from sim.world.tables import PPM, locality_table, speed_table


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
        lines.append(voice.sentence(voice.say("method.is_on", model=voice.say(f"method.{key}"), state=voice.joined(state))))
    if world["slow"]:
        lines.append(voice.sentence(voice.say("method.slow_servers", n=len(world["slow"]))))
    return [*lines, voice.say("method.failures")]


def _source(table: str | Mapping[str, Any], voice: Voice) -> str:
    if isinstance(table, str):
        return voice.say("method.table_builtin")
    return voice.say("method.table_own", path=voice.name(table["path"]))


def model_tables(comparison: Comparison, voice: Voice) -> list[Table]:
    """Accelerators, speeds that were used, factors of locality, each with confidence and source."""
    run = comparison.runs[comparison.baseline]
    world = run.manifest["world"]
    tables = [_accelerators(run.manifest["inputs"]["cluster"]["devices_by_accelerator"], voice)]
    if world["speed"] and world["speed_table"] == "built-in":
        tables.append(_speeds(comparison, voice))
    if world["locality"] and world["locality_table"] == "built-in" and world["speed_table"] == "built-in":
        tables.append(_localities(comparison, voice))
    return tables


def _accelerators(devices: Mapping[str, int], voice: Voice) -> Table:
    rows = []
    for model, count in devices.items():
        card = catalogue().find(model)
        known = ["-", "-"] if card is None else [card.confidence, voice.quoted(card.source)]
        rows.append([voice.name(model), voice.count(count), *known])
    head = [voice.say(f"table.{key}") for key in ("model", "device_count", "confidence", "source")]
    return Table(voice.say("method.accelerators"), head, rows)


def used_pairs(comparison: Comparison) -> Counter[tuple[str | None, str]]:
    """Family of jobs and accelerator -> jobs that ran so under any policy."""
    found: Counter[tuple[str | None, str]] = Counter()
    for run in comparison.runs.values():
        families, cards = (run.jobs.text(name).to_pylist() for name in ("family", "accelerator"))
        found.update((family, card) for family, card in zip(families, cards, strict=True) if card is not None)
    return found


def _speeds(comparison: Comparison, voice: Voice) -> Table:
    rows = []
    for family, card in sorted(used_pairs(comparison), key=lambda pair: (pair[0] or "", pair[1])):
        figure = speed_table().relative_speed(family, card)
        rows.append(
            [
                voice.name(family or "-"),
                voice.name(card),
                voice.plain(figure.ppm / PPM),
                figure.confidence,
                voice.say("method.estimated" if figure.estimated else "method.measured"),
                voice.quoted(figure.source),
            ]
        )
    head = [
        voice.say(key)
        for key in ("method.family", "table.model", "method.relative_speed", "table.confidence", "method.how", "table.source")
    ]
    return Table(voice.say("method.speed_used"), head, rows)


def _localities(comparison: Comparison, voice: Voice) -> Table:
    run = comparison.runs[comparison.baseline]
    families = {family for family, _ in used_pairs(comparison)}
    classes = sorted({speed_table().family(family).locality for family in families})
    rows = []
    for each in classes:
        for rank, span in enumerate(span_names(run.levels)):
            figure = locality_table().factor(each, rank)
            rows.append(
                [
                    voice.name(each),
                    voice.known(f"span.{span}", span) if span in ("server", "fleet") else voice.name(span),
                    voice.share(figure.ppm / PPM),
                    figure.confidence,
                    voice.say("method.estimated" if figure.estimated else "method.measured"),
                    voice.quoted(figure.source),
                ]
            )
    keys = ("method.locality_class", "method.span", "method.locality_factor", "table.confidence", "method.how", "table.source")
    return Table(voice.say("method.locality"), [voice.say(key) for key in keys], rows)
