"""What went into a comparison: files with their SHA-256, seeds, versions, fingerprints, and the rows that are no jobs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sim.experiment.comparison import Comparison
from sim.report.voice import Voice


def inputs(comparison: Comparison, voice: Voice) -> list[dict[str, Any]]:
    """Rows of `what`, `told`, and perhaps a SHA-256 or a fingerprint."""
    manifest = comparison.runs[comparison.baseline].manifest
    return [
        *_trace(manifest["inputs"]["trace"], voice),
        _fleet(manifest["inputs"]["cluster"], voice),
        *_services(manifest["inputs"].get("services", []), voice),
        *_more_files(manifest, voice),
        _row(voice.say("inputs.seed"), str(manifest["seed"])),
        *_runs(comparison, voice),
        _row(voice.say("inputs.made_with"), _versions(manifest["versions"], voice)),
    ]


def _versions(found: Mapping[str, str], voice: Voice) -> str:
    return voice.joined([voice.name(f"{program} {number}") for program, number in found.items()])


def _row(what: str, told: str, sha256: str | None = None, code: str = "") -> dict[str, Any]:
    return {"what": what, "told": told, "sha256": sha256, "code": code}


def _trace(data: Mapping[str, Any], voice: Voice) -> Iterator[dict[str, Any]]:
    rows = voice.say("inputs.rows", n=data["rows"], accepted=data["accepted"], rejected=data["rejected"])
    told = voice.say("inputs.file", path=voice.whole(data["path"]), format=voice.name(data["format"]), rows=rows)
    yield _row(voice.say("inputs.trace"), told, data["sha256"])
    if data["unknown_columns"]:
        yield _row(voice.say("inputs.unknown_columns"), voice.names(data["unknown_columns"]))
    if data["notes"]:
        yield _row(
            voice.say("inputs.notes"), voice.joined([voice.told(each) for each in data["notes"]], "list.semicolon")
        )


def _fleet(data: Mapping[str, Any], voice: Voice) -> dict[str, Any]:
    models = [
        voice.say("inputs.of_model", n=count, model=voice.name(model))
        for model, count in data["devices_by_accelerator"].items()
    ]
    told = voice.joined([voice.whole(data["source"]), voice.say("inputs.servers", n=data["servers"]), *models])
    return _row(voice.say("inputs.fleet"), told, data["sha256"])


def _services(services: Sequence[Mapping[str, Any]], voice: Voice) -> Iterator[dict[str, Any]]:
    for each in services:
        file = each["rate_file"]
        told = voice.say("inputs.rate_in_scenario") if file is None else voice.whole(file)
        yield _row(voice.say("inputs.service", name=voice.name(each["name"])), told, each["rate_sha256"])


def _more_files(manifest: Mapping[str, Any], voice: Voice) -> Iterator[dict[str, Any]]:
    for key in ("typical_pods", "scheduler_config"):
        data = manifest["inputs"].get(key)
        if isinstance(data, Mapping):
            yield _row(voice.say(f"inputs.{key}"), voice.whole(data.get("path", "-")), data.get("sha256"))
    for key in ("speed_table", "locality_table"):
        data = manifest["world"].get(key)
        if isinstance(data, Mapping):
            yield _row(voice.say(f"inputs.{key}"), voice.whole(data["path"]), data["sha256"])


def _runs(comparison: Comparison, voice: Voice) -> Iterator[dict[str, Any]]:
    for name, run in comparison.runs.items():
        elsewhere = run.manifest.get("baseline")
        told = voice.joined([voice.name(each) for each in elsewhere.values()]) if elsewhere else ""
        yield _row(voice.say("inputs.result_of", policy=voice.name(name)), told, code=run.manifest["fingerprint"])


def rejections(comparison: Comparison, voice: Voice) -> dict[str, Any]:
    """The rows of the trace that are no jobs, as far as the manifest lists them."""
    data = comparison.runs[comparison.baseline].manifest["inputs"]["trace"]
    lines = []
    for row in data["rejections"]:
        place = [voice.say("inputs.line", line=str(row["line"]))]
        if row["job_id"]:
            place.append(voice.say("inputs.rejected_job", job=voice.name(row["job_id"])))
        said = [
            voice.say("inputs.problem", field=voice.name(each["field"]), reason=voice.told(each["reason"]))
            for each in row["problems"]
        ]
        lines.append(
            voice.say("inputs.rejected", place=voice.joined(place), said=voice.joined(said, "list.semicolon"))
        )
    title = voice.say("inputs.rejections", n=data["rejected"], shown=len(lines))
    return {"title": title, "lines": lines}
