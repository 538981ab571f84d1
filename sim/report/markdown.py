"""A comparison as Markdown for a pull request: the verdict first, and never longer than a comment may be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sim.experiment.comparison import Comparison
from sim.experiment.effects import Effect, PolicyEffects
from sim.gates.judge import GateResult, overall
from sim.report.paired_text import effect_row, evidence_lines, gate_words, worst_words
from sim.report.verdict import verdict
from sim.report.words import duration

CHARACTERS_MAX: Final = 65_000
"""What the common forges take as one comment, less a little."""

GROUPS_SHOWN: Final = 40

_MARK: Final = {"pass": "✅", "fail": "❌", "undecided": "❔"}
_VERDICT_MARK: Final = {"better": "🟢", "no worse": "⚪", "worse": "🔴", "undecided": "❔"}


def markdown(comparison: Comparison) -> str:
    """Whole sections are left out from the end where it would grow too long, and that is said."""
    sections = [_head(comparison), *_gates(comparison.gates), *_policies(comparison), *_evidence(comparison)]
    left_out = "\n\n*The rest is left out: it stands in the report.*\n"
    text = sections[0][: CHARACTERS_MAX - len(left_out)]
    for section in sections[1:]:
        if len(text) + len(section) + 2 > CHARACTERS_MAX - len(left_out):
            return text + left_out
        text += f"\n\n{section}"
    return text + "\n"


def _head(comparison: Comparison) -> str:
    lines = []
    if comparison.gates:
        counts = {outcome: sum(each.outcome == outcome for each in comparison.gates) for outcome in _MARK}
        told = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
        outcome = overall(comparison.gates)
        lines.append(f"## {_MARK[outcome]} Gates: {outcome} ({told})")
    else:
        lines.append("## Comparison of scheduling policies")
    return "\n".join([*lines, "", *(f"- {_escaped(each)}" for each in verdict(comparison))])


def _gates(results: Sequence[GateResult]) -> list[str]:
    if not results:
        return []
    order = {"fail": 0, "undecided": 1, "pass": 2}
    rows = [
        [
            _MARK[each.outcome],
            each.policy,
            each.gate,
            gate_words(each) + (f" ({each.because})" if each.because else ""),
        ]
        for each in sorted(results, key=lambda each: order[each.outcome])
    ]
    return ["### Gates", *_tables(["", "policy", "gate", "measured"], rows)]


def _policies(comparison: Comparison) -> list[str]:
    if comparison.paired is None:
        return []
    sections = []
    for policy, found in comparison.paired.policies.items():
        sections.append(f"### {_escaped(policy)} against {_escaped(comparison.baseline)}")
        sections += _effects(comparison.baseline, policy, found.metrics)
        worst = [f"- worst off by {kind}: {_escaped(worst_words(each))}" for kind, each in found.worst_off.items()]
        sections += ["\n".join(worst)] if worst else []
        sections += _jobs(found)
    for policy, found in comparison.paired.policies.items():
        if found.groups:
            sections.append(f"### Groups under {_escaped(policy)}")
            sections += _effects(comparison.baseline, policy, found.groups[:GROUPS_SHOWN])
    return sections


def _effects(baseline: str, policy: str, effects: Sequence[Effect]) -> list[str]:
    rows = []
    for each in effects:
        name, base, own, difference, margin, said = effect_row(each)
        rows.append([name.strip(), base, own, difference, margin, f"{_VERDICT_MARK[each.verdict]} {said}"])
    return _tables(["", baseline, policy, "difference, 95 % interval", "margin", "verdict"], rows)


def _jobs(found: PolicyEffects) -> list[str]:
    rows = [
        [
            title,
            str(job["job_id"]),
            str(job["queue"] or "-"),
            f"{job['gpus']:g}",
            duration(job["baseline_wait_ms"]),
            duration(job["wait_ms"]),
        ]
        for title, jobs in (("loses", found.losers), ("wins", found.winners))
        for job in jobs
    ]
    return _tables(["", "job", "queue", "devices", "wait before", "wait now"], rows) if rows else []


def _evidence(comparison: Comparison) -> list[str]:
    if comparison.paired is None:
        return []
    return ["### Evidence", "\n".join(f"- {_escaped(each)}" for each in evidence_lines(comparison.paired.evidence))]


def _tables(head: list[str], rows: Sequence[list[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["\n".join(f"| {' | '.join(_escaped(cell) for cell in line)} |" for line in lines)]


def _escaped(text: str) -> str:
    """Names from a trace that are neither markup nor the end of a cell."""
    for letter in "\\`*_[]<>|":
        text = text.replace(letter, f"\\{letter}")
    return text.replace("\n", " ").replace("@", "@\u200b")
