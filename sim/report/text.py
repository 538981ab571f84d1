"""Results as lines for a terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from sim.bounds.distance import distance_lines
from sim.causes.columns import totals_by_policy
from sim.causes.text import cause_lines
from sim.console import table
from sim.experiment.comparison import Comparison, GroupValues
from sim.metrics.registry import BY_NAME
from sim.report.verdict import verdict
from sim.report.words import difference, value
from sim.results import Run


def run_lines(run: Run, summary: Mapping[str, Any]) -> list[str]:
    """One run: what it means, how the jobs ended, the metrics."""
    inputs = run.manifest["inputs"]
    cluster, trace = inputs["cluster"], inputs["trace"]
    states = ", ".join(f"{count} {state}" for state, count in summary["jobs"].items() if count)
    lines = [
        f"{run.name} on {cluster['name']}: {cluster['servers']} servers, {cluster['devices']} devices",
        f"{trace['path']}: {trace['rows']} rows = {trace['accepted']} jobs + {trace['rejected']} rejected",
        *service_lines(run),
        f"jobs: {states or 'none'}",
        *(f"  {count} rejected: {reason}" for reason, count in run.manifest["jobs"]["not_run"].items()),
        "",
    ]
    lines += semantics_lines(run.manifest)
    rows = [[BY_NAME[name].title, value(BY_NAME[name], found)] for name, found in summary["metrics"].items()]
    lines += ["", *table(rows), *size_lines(summary), *latency_lines(summary)]
    if "causes" in summary:
        lines += ["", *cause_lines({run.name: summary["causes"]})]
    return [*lines, "", f"fingerprint {run.manifest['fingerprint']}"]


def latency_lines(summary: Mapping[str, Any]) -> list[str]:
    """Requests and latencies of each service, where there are any."""
    services = {name: each for name, each in summary.get("by_service", {}).items() if "requests" in each}
    if not services:
        return []
    shown = [name for name in LATENCY_METRICS if name in summary["metrics"]]
    rows = [
        [
            "service",
            "requests",
            *(BY_NAME[name].title for name in shown),
            "never answered",
            "replicas ready",
            "wanted",
        ]
    ]
    for name, each in services.items():
        counts = [f"{each[key]:,.0f}" for key in ("requests", "unanswered_requests")]
        means = [each[key] for key in ("replicas_ready_mean", "replicas_wanted_mean")]
        figures = [value(BY_NAME[metric], each[metric]) for metric in shown]
        rows.append(
            [name, counts[0], *figures, counts[1], *("-" if mean is None else f"{mean:.2f}" for mean in means)]
        )
    return ["", *table(rows)]


def service_lines(run: Run) -> list[str]:
    """How many replicas each service of the scenario brings, beside the jobs of the trace."""
    counts = Counter(run.jobs.text("service").to_pylist())
    return [
        f"service {each['name']}: {counts[each['name']]} replicas"
        for each in run.manifest["inputs"].get("services", [])
    ]


def semantics_lines(manifest: Mapping[str, Any]) -> list[str]:
    """What the result means, topic by topic."""
    return table([[topic, meaning] for topic, meaning in manifest["semantics"].items()], right=False)


def size_lines(summary: Mapping[str, Any]) -> list[str]:
    """The mean and p95 wait, and the deadlines missed, by queue and size class, where there are any."""
    lines: list[str] = []
    asked = ("wait_mean_ms", "wait_p95_ms", "deadline_missed_share", "not_started")
    shown = [name for name in asked if name in summary["metrics"]]
    for key, title in (("by_queue", "queue"), ("by_size", "devices of a job")):
        if summary[key] and shown:
            rows = [[title, "jobs", *(BY_NAME[name].title for name in shown)]]
            for group, values in summary[key].items():
                rows.append([group, str(values["jobs"]), *(value(BY_NAME[name], values[name]) for name in shown)])
            lines += ["", *table(rows)]
    return lines


def comparison_lines(comparison: Comparison) -> list[str]:
    """Every metric of every policy beside the baseline, the groups, and at the end the verdict."""
    lines = first_of_several(comparison)
    shown = list(FILL_METRICS if comparison.runs[comparison.baseline].is_fill else GROUP_METRICS)
    by_kind = {"all": list(comparison.whole.values[comparison.baseline]), "service": [*LATENCY_METRICS, *shown]}
    for group in comparison.groups:
        metrics = by_kind.get(group.kind, shown)
        head = "all jobs" if group.kind == "all" else f"{group.kind} {group.name}"
        rows = [[f"{head} ({group.jobs:,})", *comparison.names]]
        for name in metrics:
            if name in group.values[comparison.baseline]:
                rows += _metric_rows(comparison, group, name)
        lines += [*table(rows), ""]
    causes = totals_by_policy(comparison.runs)
    if causes:
        lines += [*cause_lines(causes), ""]
    lines += [*deployment_lines(comparison), ""]
    return [*lines, *verdict(comparison), *distance_lines(comparison.bounds)]


def first_of_several(comparison: Comparison) -> list[str]:
    """That tables and jobs by name are of one replay, where there are several."""
    if comparison.replays == 1:
        return []
    path = comparison.runs[comparison.baseline].manifest["inputs"]["trace"]["path"]
    said = f"Tables and jobs by name are of the first of {comparison.replays} replays, of {path}."
    return [f"{said} Who wins, and every interval, is over all of them.", ""]


def deployment_lines(comparison: Comparison) -> list[str]:
    """Where each policy can be deployed; runs of before that was told have none."""
    rows = [[name, run.manifest["semantics"].get("deployment", "")] for name, run in comparison.runs.items()]
    return table([["deployment", ""], *rows], right=False) if any(said for _, said in rows) else []


GROUP_METRICS: Final = ("wait_mean_ms", "wait_p95_ms", "completion_mean_ms", "deadline_missed_share")
LATENCY_METRICS: Final = ("latency_mean_ms", "latency_p95_ms", "latency_p99_ms", "late_share")
FILL_METRICS: Final = ("allocated_share", "not_started")
"""What the terminal shows of queues and size classes; the page and the files have all."""


def _metric_rows(comparison: Comparison, group: GroupValues, name: str) -> list[list[str]]:
    """The values, and below them how each differs from the baseline; a star is the best of a metric."""
    metric = BY_NAME[name]
    values = {policy: found[name] for policy, found in group.values.items()}
    base = values[comparison.baseline]
    best = comparison.best(name, metric.better) if group.kind == "all" else []
    if len(best) == len(comparison.names):
        best = []
    shown = [
        metric.title,
        *(value(metric, each) + ("*" if policy in best else "") for policy, each in values.items()),
    ]
    changes = [""]
    changes += [
        "" if policy == comparison.baseline else difference(metric, each, base) for policy, each in values.items()
    ]
    rows = [shown]
    if any(change not in {"", "=", "-"} for change in changes):
        rows.append(changes)
    if group.kind == "all" and comparison.ties.not_measured is None:
        widths = [comparison.ties.width(policy, name) for policy in values]
        if any(widths):
            rows.append(["  ties alone", *("-" if width is None else value(metric, width) for width in widths)])
    return rows
