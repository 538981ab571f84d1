"""A comparison as Markdown for a pull request: the verdict first, and never longer than a comment may be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sim.experiment.comparison import Comparison
from sim.experiment.effects import Effect, PolicyEffects
from sim.gates.judge import GateResult, overall
from sim.report.paired_text import effect_row, evidence_lines, gate_words, summary_line, worst_words
from sim.report.verdict import verdict
from sim.report.voice import Voice, plain

CHARACTERS_MAX: Final = 65_000
"""What the common forges take as one comment, less a little."""

GROUPS_SHOWN: Final = 40

_MARK: Final = {"pass": "✅", "fail": "❌", "undecided": "❔"}
_VERDICT_MARK: Final = {"better": "🟢", "no worse": "⚪", "worse": "🔴", "undecided": "❔"}


def markdown(comparison: Comparison, voice: Voice | None = None) -> str:
    """Whole sections are left out from the end where it would grow too long, and that is said."""
    voice = voice or plain()
    sections = [
        _head(comparison, voice),
        *_gates(comparison.gates, voice),
        *_policies(comparison, voice),
        *_evidence(comparison, voice),
    ]
    left_out = f"\n\n*{voice.say('page.left_out')}*\n"
    text = sections[0][: CHARACTERS_MAX - len(left_out)]
    for section in sections[1:]:
        if len(text) + len(section) + 2 > CHARACTERS_MAX - len(left_out):
            return text + left_out
        text += f"\n\n{section}"
    return text + "\n"


def _head(comparison: Comparison, voice: Voice) -> str:
    lines = []
    if comparison.gates:
        counts = {outcome: sum(each.outcome == outcome for each in comparison.gates) for outcome in _MARK}
        said = [
            voice.say("gates.counts", count=count, outcome=voice.say(f"outcome.{outcome}"))
            for outcome, count in counts.items()
            if count
        ]
        outcome = overall(comparison.gates)
        words = voice.say("gates.markdown", outcome=voice.say(f"outcome.{outcome}"), told=voice.joined(said))
        lines.append(f"## {_MARK[outcome]} {words}")
    else:
        lines.append(f"## {voice.say('page.comparison')}")
    return "\n".join([*lines, "", *(f"- {_escaped(each)}" for each in verdict(comparison, voice))])


def _gates(results: Sequence[GateResult], voice: Voice) -> list[str]:
    if not results:
        return []
    order = {"fail": 0, "undecided": 1, "pass": 2}
    rows = []
    for each in sorted(results, key=lambda each: order[each.outcome]):
        words = gate_words(each, voice)
        because = voice.say("list.parenthesis", text=words, more=voice.name(each.because)) if each.because else words
        rows.append([_MARK[each.outcome], voice.name(each.policy), voice.name(each.gate), because])
    head = ["", *(voice.say(f"gates.{key}") for key in ("policy", "gate", "measured"))]
    return [f"### {voice.say('gates.title')}", *_tables(head, rows)]


def _policies(comparison: Comparison, voice: Voice) -> list[str]:
    if comparison.paired is None:
        return []
    base = voice.name(comparison.baseline)
    sections = []
    for policy, found in comparison.paired.policies.items():
        sections.append(f"### {_escaped(voice.say('who.against', policy=voice.name(policy), base=base))}")
        sections.append(_escaped(summary_line(comparison.baseline, policy, found, voice)))
        sections += _effects(base, policy, found.metrics, voice)
        worst = [f"- {_escaped(_worst(kind, each, voice))}" for kind, each in found.worst_off.items()]
        sections += ["\n".join(worst)] if worst else []
        sections += _jobs(found, voice)
    for policy, found in comparison.paired.policies.items():
        if found.groups:
            sections.append(f"### {_escaped(voice.say('page.under_groups', policy=voice.name(policy)))}")
            sections += _effects(base, policy, found.groups[:GROUPS_SHOWN], voice)
    return sections


def _worst(kind: str, effect: Effect, voice: Voice) -> str:
    return voice.say("who.worst_by", kind=voice.known(f"kind.{kind}", kind), told=worst_words(effect, voice))


def _effects(baseline: str, policy: str, effects: Sequence[Effect], voice: Voice) -> list[str]:
    rows = []
    for each in effects:
        name, base, own, difference, margin, said = effect_row(each, voice)
        rows.append([name.strip(), base, own, difference, margin, f"{_VERDICT_MARK[each.verdict]} {said}"])
    titles = [voice.say(f"who.{key}") for key in ("difference", "margin", "verdict")]
    return _tables(["", baseline, voice.name(policy), *titles], rows)


def _jobs(found: PolicyEffects, voice: Voice) -> list[str]:
    rows = [
        [
            voice.say(f"who.{title}"),
            voice.name(job["job_id"]),
            voice.name(job["queue"] or "-"),
            voice.plain(job["gpus"]),
            voice.duration(job["baseline_wait_ms"]),
            voice.duration(job["wait_ms"]),
        ]
        for title, jobs in (("loses", found.losers), ("wins", found.winners))
        for job in jobs
    ]
    head = ["", *(voice.say(f"table.{key}") for key in ("job", "queue", "device_count", "wait_before", "wait_now"))]
    return _tables(head, rows) if rows else []


def _evidence(comparison: Comparison, voice: Voice) -> list[str]:
    if comparison.paired is None:
        return []
    lines = evidence_lines(comparison.paired.evidence, voice)
    return [f"### {voice.say('method.evidence')}", "\n".join(f"- {_escaped(each)}" for each in lines)]


def _tables(head: list[str], rows: Sequence[list[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["\n".join(f"| {' | '.join(_escaped(cell) for cell in line)} |" for line in lines)]


def _escaped(text: str) -> str:
    """Names from a trace that are neither markup nor the end of a cell."""
    for letter in "\\`*_[]<>|":
        text = text.replace(letter, f"\\{letter}")
    return text.replace("\n", " ").replace("@", "@\u200b")
