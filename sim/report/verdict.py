"""The first sentences of a report: who wins, by how much, at whose cost, and how sure that is."""

from __future__ import annotations

from sim.experiment.comparison import Comparison
from sim.metrics.registry import BY_NAME, METRICS
from sim.report.words import better, difference, duration, value

HEADLINES = {
    "wait_mean_ms": "Mean wait",
    "wait_p95_ms": "p95 wait",
    "completion_mean_ms": "Mean completion",
    "makespan_ms": "Makespan",
}
FILL_HEADLINES = {
    "allocated_share": "Allocated share",
    "fragmented_share": "Fragmented share",
    "not_finished": "Pods that fitted nowhere",
}


def verdict(comparison: Comparison) -> list[str]:
    """Sentences, the most important first."""
    if not comparison.others:
        return [*_broken(comparison), f"One run: {comparison.baseline}.", *_unfinished(comparison)]
    headlines = FILL_HEADLINES if comparison.runs[comparison.baseline].is_fill else HEADLINES
    winners = [sentence for name, title in headlines.items() if (sentence := _winner(comparison, name, title))]
    doubts = [*_unfinished(comparison), *_ties(comparison)]
    return [*_broken(comparison), *winners, *_wins(comparison), *_costs(comparison), *doubts]


def _winner(comparison: Comparison, name: str, title: str) -> str | None:
    """Who wins a metric by how much; oracles apart, as bounds."""
    metric = BY_NAME[name]
    values = {policy: found[name] for policy, found in comparison.whole.values.items()}
    ended = [values[name] for name, run in comparison.runs.items() if run.complete]
    if len(ended) > 1 and len(set(ended)) == 1:
        return f"{title}: all the same, {value(metric, ended[0])}."
    deployable = _deployable(comparison)
    best = comparison.best(name, metric.better, deployable)
    if not best:
        return None
    base = comparison.baseline
    if base in best:
        said = f"{title}: nothing beats {base} ({value(metric, values[base])}){_next(comparison, name, best)}"
    else:
        change = difference(metric, values[best[0]], values[base])
        said = f"{title}: {_listed(best)} {'wins' if len(best) == 1 else 'win'} by {change.lstrip('+-')}: "
        said += f"{value(metric, values[best[0]])} against {value(metric, values[base])} under {base}"
    beyond = [each for each in comparison.oracles if each not in deployable]
    top = comparison.best(name, metric.better, beyond)
    if top and better(metric, values[top[0]], values[best[0]]) > 0:
        said += f"; {top[0]}, which peeks at true run times, shows that {value(metric, values[top[0]])} is possible"
    return f"{said}."


def _next(comparison: Comparison, name: str, best: list[str]) -> str:
    """The best of the others that can be deployed, and how far it is behind."""
    metric = BY_NAME[name]
    rest = [each for each in _deployable(comparison) if each not in best]
    second = comparison.best(name, metric.better, rest)
    if not second:
        return ""
    values = comparison.whole.values
    behind = difference(metric, values[second[0]][name], values[best[0]][name])
    return f"; next is {_listed(second)} with {behind}"


def _listed(names: list[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _deployable(comparison: Comparison) -> list[str]:
    """The policies that can win: without oracles, unless the baseline is one."""
    if comparison.baseline in comparison.oracles:
        return comparison.names
    return [name for name in comparison.names if name not in comparison.oracles]


def _wins(comparison: Comparison) -> list[str]:
    names = [name for name in _deployable(comparison) if comparison.runs[name].complete]
    if len(names) < 2:
        return []
    counted = [metric for metric in METRICS if metric.name in comparison.whole.values[comparison.baseline]]
    lists = [comparison.best(metric.name, metric.better, names) for metric in counted]
    decided = [best for best in lists if best and len(best) < len(names)]
    if not decided:
        return ["They do not differ in any metric."]
    score = {name: sum(name in best for best in decided) for name in names}
    told = ", ".join(f"{name} {score[name]}" for name in sorted(score, key=lambda name: (-score[name], name)))
    return [f"Of {len(decided)} metrics in which they differ, best or level with the best: {told}."]


def _costs(comparison: Comparison) -> list[str]:
    said = []
    for name, shift in comparison.shifts.items():
        if shift.compared and shift.longer:
            worst = shift.worst_jobs[0]
            said.append(
                f"Under {name}, {shift.longer:,} of {shift.compared:,} jobs ({shift.longer / shift.compared:.0%}) wait "
                f"longer than under {comparison.baseline}; worst is {worst['job_id']}, by {duration(worst['longer_ms'])}."
            )
    return said


def _unfinished(comparison: Comparison) -> list[str]:
    found = {name: values["not_started"] for name, values in comparison.whole.values.items()}
    if not any(found.values()):
        return []
    told = ", ".join(f"{name} {count:.0f}" for name, count in found.items() if count)
    return [f"Jobs that never started are in no mean: {told}."]


def _broken(comparison: Comparison) -> list[str]:
    names = [name for name, run in comparison.runs.items() if not run.complete]
    return [f"{_listed(names)} broke the contract and stopped early: no comparison is possible."] if names else []


def _ties(comparison: Comparison) -> list[str]:
    ties = comparison.ties
    if ties.not_measured is not None:
        return [f"Sensitivity to the order of ties: not measured ({ties.not_measured})."]
    widths = {name: ties.width(name, "wait_mean_ms") or 0.0 for name in comparison.names}
    widest = max(widths, key=lambda name: (widths[name], name))
    if not any(widths.values()):
        return ["The order of ties alone does not move the mean wait."]
    told = f"The order of ties alone moves the mean wait by up to {duration(widths[widest])} ({widest})"
    waits = {name: comparison.whole.values[name]["wait_mean_ms"] for name in comparison.names}
    base = waits[comparison.baseline]
    unclear = [
        name
        for name in comparison.others
        if (own := waits[name]) is not None
        and base is not None
        and own != base
        and abs(own - base) <= max(widths[name], widths[comparison.baseline])
    ]
    if unclear:
        return [f"{told}: as much as {_listed(unclear)} differs from {comparison.baseline}, so that is no result."]
    return [f"{told}; no difference in it to {comparison.baseline} is that small."]
