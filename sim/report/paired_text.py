"""The paired comparison and the gates as lines for a terminal. Says what `sim.experiment.paired` found; decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sim.console import table
from sim.experiment.comparison import Comparison
from sim.experiment.effects import Bounds, Effect
from sim.experiment.paired import Evidence
from sim.gates.judge import GateResult
from sim.metrics.metric import Metric
from sim.metrics.registry import BY_NAME
from sim.report.words import duration, value

MOVERS_SHOWN: Final = 3
"""Jobs of each kind that the terminal shows; `comparison.json` has ten."""


def paired_lines(comparison: Comparison) -> list[str]:
    """Every policy against the baseline with intervals and verdicts, who is worst off, and the gates."""
    paired = comparison.paired
    if paired is None:
        return gate_lines(comparison.gates)
    lines = evidence_lines(paired.evidence)
    for policy, found in paired.policies.items():
        head = [
            f"{policy} against {comparison.baseline}",
            comparison.baseline,
            policy,
            "difference, 95 % interval",
            "margin",
        ]
        rows = [[*head, "verdict"], *(effect_row(each) for each in found.metrics)]
        lines += ["", *table(rows)]
        lines += [f"Worst off by {kind}: {worst_words(each)}." for kind, each in found.worst_off.items()]
        if found.losers:
            lines.append(f"Jobs that lose most: {'; '.join(map(_mover, found.losers[:MOVERS_SHOWN]))}.")
        if found.winners:
            lines.append(f"Jobs that win most: {'; '.join(map(_mover, found.winners[:MOVERS_SHOWN]))}.")
    gates = gate_lines(comparison.gates)
    return [*lines, *([""] if gates else []), *gates]


def evidence_lines(evidence: Evidence) -> list[str]:
    """What the intervals rest on, and what must not be overlooked."""
    replays = f", {evidence.replications} replications" if evidence.replications > 1 else ""
    traces = f", {len(evidence.traces)} traces" if len(evidence.traces) > 1 else ""
    left_out = evidence.jobs - evidence.counted
    trimmed = f" ({left_out:,} of the warm-up and the drain are not)" if left_out else ""
    said = (
        f"Paired comparison: {evidence.counted:,} jobs are counted{trimmed}{traces}{replays}; {evidence.blocks} blocks, each"
        f" {evidence.block}; the intervals speak of {evidence.speaks_of}"
    )
    return [said, *(f"warning: {each}" for each in evidence.warnings)]


def effect_row(effect: Effect) -> list[str]:
    """Name, both values, the difference with its interval, margin and verdict."""
    metric = BY_NAME[effect.metric]
    name = effect.quantity if effect.kind == "all" else f"  {effect.quantity} {effect.kind} {effect.name}"
    needed = f" ({effect.blocks_needed:,} blocks would decide)" if effect.blocks_needed else ""
    both = [value(metric, each) for each in (effect.baseline, effect.value)]
    return [name, *both, interval_words(metric, effect.difference), effect.margin, effect.verdict + needed]


def worst_words(effect: Effect) -> str:
    """`research (1,894 jobs): wait.mean +3.3 h [+1 h, +5 h], worse`."""
    metric = BY_NAME[effect.metric]
    told = interval_words(metric, effect.difference)
    return f"{effect.name} ({effect.jobs:,} jobs), {effect.quantity} {told}: {effect.verdict}"


def interval_words(metric: Metric, found: Bounds | None) -> str:
    """`-2.1 h [-3 h, -1 h]`."""
    if found is None:
        return "-"
    figure, low, high = (signed(metric, each) for each in (found.value, found.low, found.high))
    return f"{figure} [{low}, {high}]"


def signed(metric: Metric, amount: float) -> str:
    """A change with its sign; shares in points."""
    if metric.unit == "share":
        return f"{amount * 100:+.1f} points"
    text = value(metric, abs(amount))
    return text if text.strip("0. s") == "" else f"{'-' if amount < 0 else '+'}{text}"


def gate_lines(results: Sequence[GateResult]) -> list[str]:
    """One line for each gate and policy, and a second one for what is not passed."""
    lines = []
    for each in results:
        because = f" ({each.because})" if each.because else ""
        lines.append(f"{each.outcome.upper():9} {each.policy}  {each.gate}{because}")
        lines.append(f"          {gate_words(each)}")
    return lines


def gate_words(result: GateResult) -> str:
    """The figures and the reason: `3.0 h against 5.0 h; against what is allowed -2.0 h [-3 h, -1 h]; ...`."""
    metric = BY_NAME[result.metric]
    said = [result.why]
    if result.value is not None:
        against = "" if result.baseline is None else f" against {value(metric, result.baseline)}"
        said.insert(0, f"{value(metric, result.value)}{against}")
    if result.excess is not None and result.excess_low is not None and result.excess_high is not None:
        ends = Bounds(value=result.excess, low=result.excess_low, high=result.excess_high)
        said.insert(1, f"against what is allowed {interval_words(metric, ends)}")
    if result.blocks_needed:
        said.append(f"about {result.blocks_needed:,} blocks would decide, there are {result.blocks:,}")
    return "; ".join(said)


def _mover(job: dict[str, object]) -> str:
    queue = f", queue {job['queue']}" if job["queue"] else ""
    waits = (duration(float(str(job[key]))) for key in ("baseline_wait_ms", "wait_ms"))
    devices = f"{job['gpus']:g} device{'' if job['gpus'] == 1 else 's'}"
    return f"{job['job_id']} ({devices}{queue}) {' -> '.join(waits)}"
