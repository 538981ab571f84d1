"""The paired comparison and the gates as lines for a terminal. Says what `sim.experiment.paired` found; decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sim.console import table
from sim.experiment.comparison import Comparison
from sim.experiment.effects import Bounds, Effect, PolicyEffects
from sim.experiment.paired import Evidence
from sim.experiment.quantities import quantity
from sim.gates.judge import GateResult
from sim.metrics.registry import BY_NAME
from sim.report.voice import Voice, plain

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
        lines += ["", *table(rows), summary_line(comparison.baseline, policy, found)]
        lines += [f"Worst off by {kind}: {worst_words(each)}." for kind, each in found.worst_off.items()]
        if found.losers:
            lines.append(f"Jobs that lose most: {'; '.join(map(_mover, found.losers[:MOVERS_SHOWN]))}.")
        if found.winners:
            lines.append(f"Jobs that win most: {'; '.join(map(_mover, found.winners[:MOVERS_SHOWN]))}.")
    gates = gate_lines(comparison.gates)
    return [*lines, *([""] if gates else []), *gates]


def summary_line(baseline: str, policy: str, found: PolicyEffects, voice: Voice | None = None) -> str:
    """`easy against fifo: worse in none; better in wait.mean, wait.p95; ...`: the verdicts in one sentence."""
    spoken = voice or plain()
    told = []
    for verdict in ("worse", "better", "no worse", "undecided"):
        names = [_of_some(each, voice) for each in found.metrics if each.verdict == verdict]
        if names or verdict in ("worse", "better"):
            # because: the titles of metrics have commas in them, their short names do not
            between = "list.comma" if voice is None else "list.dot"
            listed = spoken.joined(names, between) if names else spoken.say("method.none")
            told.append(spoken.say("who.summary_part", verdict=spoken.say(f"outcome.{verdict}"), names=listed))
    said = spoken.joined(told, "list.semicolon")
    return spoken.say("who.summary", policy=spoken.name(policy), base=spoken.name(baseline), told=said)


def _of_some(effect: Effect, voice: Voice | None) -> str:
    if voice is None:
        return effect.quantity + (f" of {effect.name}" if effect.name else "")
    title = quantity_title(effect, voice)
    if effect.kind == "all":
        return title
    return voice.say("groups.effect", metric=title, group=group_words(effect.kind, effect.name, voice))


def evidence_lines(evidence: Evidence, voice: Voice | None = None) -> list[str]:
    """What the intervals rest on, and what must not be overlooked."""
    voice = voice or plain()
    left_out = evidence.jobs - evidence.counted
    more = [voice.say("evidence.trimmed", n=left_out)] if left_out else []
    more += [voice.say("evidence.traces", n=len(evidence.traces))] if len(evidence.traces) > 1 else []
    more += [voice.say("evidence.replications", n=evidence.replications)] if evidence.replications > 1 else []
    said = voice.say(
        "evidence.said",
        counted=voice.say("evidence.counted", n=evidence.counted),
        more="".join(more),
        blocks=voice.say("evidence.blocks", n=evidence.blocks, block=voice.told(evidence.block)),
        what=voice.told(evidence.speaks_of),
    )
    return [said, *(voice.say("evidence.warning", told=voice.told(each)) for each in evidence.warnings)]


def effect_row(effect: Effect, voice: Voice | None = None) -> list[str]:
    """Name, both values, the difference with its interval, margin and verdict.

    Without a voice it is for a terminal, and names a metric as gates do.
    """
    spoken = voice or plain()
    metric = BY_NAME[effect.metric]
    name = effect.quantity if voice is None else quantity_title(effect, voice)
    if effect.kind != "all":
        group = f"{effect.kind} {effect.name}" if voice is None else group_words(effect.kind, effect.name, voice)
        name = f"  {name} {group}"
    both = [spoken.value(metric, each) for each in (effect.baseline, effect.value)]
    verdict = spoken.say(f"outcome.{effect.verdict}")
    if effect.blocks_needed:
        more = spoken.say("who.decide", n=effect.blocks_needed)
        verdict = spoken.say("list.parenthesis", text=verdict, more=more)
    return [
        name,
        *both,
        spoken.interval(metric, effect.difference),
        spoken.margin(effect.margin, metric.unit),
        verdict,
    ]


def quantity_title(effect: Effect, voice: Voice) -> str:
    """`wait, p95` of `wait.p95`, also of a quantile that is no metric of its own."""
    metric = BY_NAME[effect.metric]
    if quantity(effect.quantity).per_job == metric.per_job:
        return voice.metric(metric)
    column, _, statistic = effect.quantity.partition(".")
    return voice.say("metric.other_quantile", column=voice.known(f"column.{column}", column), statistic=statistic)


def group_words(kind: str, name: str, voice: Voice) -> str:
    """A group of jobs: its kind, and its name, which is a word of the house for a size class."""
    if kind == "size":
        return group_title(kind, name, voice)
    return voice.say("groups.of_kind", kind=voice.known(f"kind.{kind}", kind), name=group_title(kind, name, voice))


def group_title(kind: str, name: str, voice: Voice) -> str:
    """The name alone; `-` are the jobs that have none."""
    if kind == "size":
        return voice.known(f"size.{name.replace(' ', '_')}", name)
    return voice.say("groups.none") if name == "-" else voice.name(name)


def worst_words(effect: Effect, voice: Voice | None = None) -> str:
    """`research (1,894 jobs), wait.mean +3.3 h [+1 h, +5 h]: worse`."""
    spoken = voice or plain()
    return spoken.say(
        "who.worst_told",
        name=effect.name if voice is None else group_title(effect.kind, effect.name, voice),
        jobs=spoken.say("table.jobs", n=effect.jobs),
        metric=effect.quantity if voice is None else quantity_title(effect, voice),
        change=spoken.interval(BY_NAME[effect.metric], effect.difference),
        verdict=spoken.say(f"outcome.{effect.verdict}"),
    )


def gate_lines(results: Sequence[GateResult]) -> list[str]:
    """One line for each gate and policy, and a second one for what is not passed."""
    lines = []
    for each in results:
        because = f" ({each.because})" if each.because else ""
        lines.append(f"{each.outcome.upper():9} {each.policy}  {each.gate}{because}")
        lines.append(f"          {gate_words(each)}")
    return lines


def gate_words(result: GateResult, voice: Voice | None = None) -> str:
    """The figures and the reason: `3.0 h against 5.0 h; -2.0 h beyond what is allowed [-3 h, -1 h]: ...`."""
    voice = voice or plain()
    metric = BY_NAME[result.metric]
    said = [voice.told(result.why)]
    if result.value is not None:
        own = voice.value(metric, result.value)
        if result.baseline is not None:
            own = voice.say("gates.against", value=own, base=voice.value(metric, result.baseline))
        said.insert(0, own)
    if result.excess is not None and result.excess_low is not None and result.excess_high is not None:
        ends = Bounds(value=result.excess, low=result.excess_low, high=result.excess_high)
        said.insert(1, voice.say("gates.excess", amount=voice.interval(metric, ends)))
    if result.blocks_needed:
        said.append(voice.say("gates.blocks_needed", n=result.blocks_needed, blocks=result.blocks))
    return voice.joined(said, "list.semicolon")


def _mover(job: dict[str, object]) -> str:
    voice = plain()
    queue = f", queue {voice.name(job['queue'])}" if job["queue"] else ""
    waits = (voice.duration(float(str(job[key]))) for key in ("baseline_wait_ms", "wait_ms"))
    devices = f"{job['gpus']:g} device{'' if job['gpus'] == 1 else 's'}"
    return f"{voice.name(job['job_id'])} ({devices}{queue}) {' -> '.join(waits)}"
