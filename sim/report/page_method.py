"""How the figures of a page came about: evidence, bounds, oracles, models and how far they can be trusted, meaning, inputs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from sim.experiment.comparison import Comparison
from sim.report.models import figures, model_lines, model_tables
from sim.report.shown import Shown
from sim.report.voice import Voice

DEPLOYMENT: Final = "deployment"


def method(shown: Shown, voice: Voice) -> dict[str, Any]:
    """Everything between the pictures and the inputs."""
    comparison = shown.comparison
    runs = comparison.runs
    return {
        "evidence": evidence(comparison, voice),
        "bounds": bounds(comparison, voice),
        "oracles": _oracles(comparison, voice),
        "models": model_lines(comparison, voice),
        "model_tables": model_tables(figures(comparison), voice),
        "deployment": {name: voice.told(run.manifest["semantics"].get(DEPLOYMENT, "")) for name, run in runs.items()},
        "semantics": _semantics(comparison, voice),
        "states": [list(_states(run.manifest, voice)) for run in runs.values()],
        "rejected": [_reasons(run.manifest, voice) for run in runs.values()],
        "warnings": _warnings(comparison, voice),
        "findings": [finding_words(each, voice) for each in _findings(comparison)],
    }


def evidence(comparison: Comparison, voice: Voice) -> list[str]:
    """What the intervals rest on."""
    if comparison.paired is None:
        return [voice.say("method.no_evidence")]
    found = comparison.paired.evidence
    counted = [voice.say("method.counted", n=found.counted)]
    if found.jobs > found.counted:
        counted.append(voice.say("method.trimmed", n=found.jobs - found.counted))
    lines = [voice.sentence(*counted)]
    if len(found.traces) > 1:
        lines.append(voice.sentence(voice.say("method.traces", n=len(found.traces), names=voice.names(found.traces))))
    if found.replications > 1:
        lines.append(voice.sentence(voice.say("method.replications", n=found.replications)))
    if len(found.traces) > 1 or found.replications > 1:
        lines.append(voice.sentence(voice.say("method.pictures_of_first")))
    if found.shake is not None:
        said = {key: voice.share(float(each)) for key, each in found.shake.items()}
        lines.append(voice.sentence(voice.say("method.shake", submit=said["submit"], run=said["run"])))
    lines.append(voice.sentence(voice.say("method.blocks", n=found.blocks, block=voice.told(found.block))))
    spoken = voice.say(
        "method.speaks_of", resamples=found.resamples, seed=str(found.seed), what=voice.told(found.speaks_of)
    )
    lines += [voice.sentence(spoken), voice.say("method.verdicts")]
    return lines + [voice.say("evidence.warning", told=voice.told(each)) for each in found.warnings]


def bounds(comparison: Comparison, voice: Voice) -> dict[str, Any]:
    """The lower bounds, and how far each policy is from them and from the best oracle."""
    data = comparison.bounds
    if data is None:
        return {"lines": [voice.say("method.bounds_unknown")], "rows": []}
    if data["mean_completion_ms"] is None:
        why = voice.told(data["mean_completion_because"])
        return {"lines": [voice.sentence(voice.say("method.no_bound", why=why))], "rows": []}
    clauses = [voice.say("method.bound_completion", time=voice.duration(data["mean_completion_ms"]))]
    if data["makespan_ms"] is not None:
        clauses.append(voice.say("method.bound_makespan", time=voice.duration(data["makespan_ms"])))
    if data.get("jobs_with_lifetime"):
        clauses.append(voice.say("method.bound_without", n=data["jobs_with_lifetime"]))
    best = data["best_oracle"]
    oracle = voice.say("method.best_oracle", policy=voice.name(best)) if best else voice.say("method.no_best_oracle")
    lines = [
        voice.sentence(*clauses),
        voice.sentence(oracle),
        voice.sentence(voice.say("method.bound_because", told=voice.told(data["mean_completion_because"]))),
    ]
    return {"lines": lines, "rows": [_distance(each, voice) for each in data["policies"]]}


def _distance(each: Mapping[str, Any], voice: Voice) -> dict[str, Any]:
    def times(amount: float | None) -> str:
        return "-" if amount is None else f"{amount:.2f}"

    def length(ms: float | None) -> str:
        return "-" if ms is None else voice.duration(ms)

    return {
        "policy": each["policy"],
        "because": voice.told(each["because"]) if each["because"] else "",
        "cells": [
            length(each["mean_completion_ms"]),
            times(each["times_bound"]),
            times(each["times_best_oracle"]),
            length(each["makespan_ms"]),
            times(each["makespan_times_bound"]),
        ],
    }


def _oracles(comparison: Comparison, voice: Voice) -> list[str]:
    lines = []
    if comparison.oracles:
        lines.append(voice.sentence(voice.say("method.peeked", policies=voice.names(comparison.oracles))))
    granted = [name for name, run in comparison.runs.items() if run.manifest["rules"]["oracle"]]
    if set(granted) - set(comparison.oracles):
        lines.append(voice.sentence(voice.say("method.granted")))
    return lines or [voice.say("method.no_oracles")]


def _semantics(comparison: Comparison, voice: Voice) -> list[dict[str, Any]]:
    """Topic, the meaning under each policy, and whether they differ."""
    topics: dict[str, None] = {}
    for run in comparison.runs.values():
        topics.update(dict.fromkeys(run.manifest["semantics"]))
    rows = []
    for topic in topics:
        said = [str(run.manifest["semantics"].get(topic, "-")) for run in comparison.runs.values()]
        told = [each if each == "-" else voice.told(each) for each in said]
        rows.append({"topic": topic_words(topic, voice), "said": told, "differs": len(set(said)) > 1})
    return rows


def topic_words(topic: str, voice: Voice) -> str:
    """A topic of the semantics; an option is named as the policy names it."""
    if topic.startswith("option "):
        return voice.say("topic.option", name=voice.name(topic.removeprefix("option ")))
    return voice.known(f"topic.{topic.replace(' ', '_')}", topic)


def _states(manifest: Mapping[str, Any], voice: Voice) -> Iterator[str]:
    for state, count in manifest["jobs"]["by_state"].items():
        if count:
            yield voice.say("gates.counts", count=count, outcome=voice.known(f"state.{state}", state))


def _reasons(manifest: Mapping[str, Any], voice: Voice) -> list[str]:
    return [
        voice.say("method.reason", count=count, reason=voice.told(reason))
        for reason, count in manifest["jobs"]["not_run"].items()
    ]


def _warnings(comparison: Comparison, voice: Voice) -> list[str]:
    """Those of the check, in full where it gives them in parts, and those of other rooms, each once."""
    found: dict[str, str] = {}
    for run in comparison.runs.values():
        parts = {f"{each['severity']}: {_written(each)}": each for each in run.manifest["findings"]}
        for text in run.manifest["warnings"]:
            found[text] = finding_words(parts[text], voice) if text in parts else voice.told(text)
    return list(found.values())


def _written(finding: Mapping[str, Any]) -> str:
    return f"{finding['place']}: {finding['what']}; {finding['consequence']}"


def _findings(comparison: Comparison) -> list[Mapping[str, Any]]:
    """Each once, those that are no warnings: these stand at the top."""
    found: dict[str, Mapping[str, Any]] = {}
    for run in comparison.runs.values():
        for each in run.manifest["findings"]:
            if f"{each['severity']}: {_written(each)}" not in run.manifest["warnings"]:
                found[_written(each)] = each
    return list(found.values())


def finding_words(finding: Mapping[str, Any], voice: Voice) -> str:
    """Severity, place, what, and what follows from it."""
    return voice.say(
        "inputs.finding",
        severity=voice.known(f"severity.{finding['severity']}", finding["severity"]),
        place=voice.told(finding["place"]),
        what=voice.told(finding["what"]),
        so=voice.told(finding["consequence"]),
    )
