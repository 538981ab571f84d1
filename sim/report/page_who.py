"""What the page says of each policy against the baseline: counts, who is worst off, who wins and loses most, all effects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sim.experiment.effects import Effect, PolicyEffects
from sim.gates.judge import GateResult
from sim.metrics.registry import BY_NAME
from sim.report.movers import Mover
from sim.report.paired_text import gate_words, group_title, group_words, quantity_title
from sim.report.shown import Shown
from sim.report.verdict import of_first
from sim.report.voice import Voice

GROUPS_SHOWN: Final = 40
"""Rows of the table of groups; the Parquet file has all."""

LISTED: Final = 3
"""Jobs that are named outside of the table."""


def gate_rows(results: Sequence[GateResult], voice: Voice) -> list[dict[str, Any]]:
    """The gates, what fails first."""
    order = {"fail": 0, "undecided": 1, "pass": 2}
    return [
        {
            "outcome": each.outcome,
            "policy": each.policy,
            "gate": each.gate,
            "because": each.because,
            "words": gate_words(each, voice),
        }
        for each in sorted(results, key=lambda each: order[each.outcome])
    ]


def who(shown: Shown, voice: Voice) -> list[dict[str, Any]]:
    """One for each policy that is compared; without statistics there are the counts and the jobs."""
    if shown.comparison.runs[shown.comparison.baseline].is_fill:
        return []
    paired = shown.comparison.paired
    found = {} if paired is None else paired.policies
    return [_policy(shown, policy, found.get(policy), voice) for policy in shown.comparison.others]


def _policy(shown: Shown, policy: str, effects: PolicyEffects | None, voice: Voice) -> dict[str, Any]:
    jobs = shown.movers.get(policy, [])
    losers, winners = ([each for each in jobs if each.loses is side] for side in (True, False))
    groups = effects.groups if effects else []
    left_out = len(groups) - GROUPS_SHOWN
    return {
        "policy": policy,
        "summary": _summary(effects.metrics, voice) if effects else "",
        "counts": _counts(shown, policy, voice),
        "worst": [_worst(kind, each, voice) for kind, each in (effects.worst_off if effects else {}).items()],
        "losers": [_told(each, voice) for each in losers[:LISTED]],
        "winners": [_told(each, voice) for each in winners[:LISTED]],
        "effects": [effect_cells(each, voice) for each in (effects.metrics if effects else [])],
        "groups": [effect_cells(each, voice) for each in groups[:GROUPS_SHOWN]],
        "groups_left_out": voice.say("who.groups_left_out", n=left_out) if left_out > 0 else "",
        "movers": [_cells(each, voice) for each in jobs],
        "users": _users(shown, policy, voice),
    }


def _summary(effects: Sequence[Effect], voice: Voice) -> str:
    """How many metrics have which verdict; those that are better or worse by name."""
    said = []
    for verdict in ("worse", "better", "no worse", "undecided"):
        names = [quantity_title(each, voice) for each in effects if each.verdict == verdict]
        word = voice.say(f"outcome.{verdict}")
        if names and verdict in ("worse", "better"):
            said.append(voice.say("who.named", verdict=word, names=voice.joined(names, "list.dot")))
        elif names:
            said.append(voice.say("who.number", verdict=word, n=len(names)))
    return voice.say("who.of_all", n=len(effects), told=voice.joined(said, "list.semicolon"))


def _counts(shown: Shown, policy: str, voice: Voice) -> str:
    shift = shown.comparison.shifts.get(policy)
    if shift is None or not shift.compared:
        return ""
    only = ""
    if shift.only_policy or shift.only_baseline:
        only = voice.say("who.only", here=shift.only_policy, there=shift.only_baseline)
    said = voice.say(
        "who.counts",
        compared=shift.compared,
        longer=shift.longer,
        longer_share=voice.share(shift.longer / shift.compared),
        shorter=shift.shorter,
        shorter_share=voice.share(shift.shorter / shift.compared),
        only=only,
    )
    return of_first(shown.comparison, voice, said)


def _worst(kind: str, effect: Effect, voice: Voice) -> str:
    return voice.say(
        "who.worst",
        kind=voice.known(f"kind.{kind}", kind),
        name=group_title(kind, effect.name, voice),
        jobs=voice.say("table.jobs", n=effect.jobs),
        metric=quantity_title(effect, voice),
        change=voice.interval(BY_NAME[effect.metric], effect.difference)
        if effect.difference is not None
        else voice.difference(BY_NAME[effect.metric], effect.value, effect.baseline),
        verdict=voice.say(f"outcome.{effect.verdict}"),
    )


def _told(job: Mover, voice: Voice) -> str:
    return voice.say(
        "who.mover",
        job=voice.name(job.job_id),
        devices=devices(job.devices, voice),
        before=voice.duration(job.baseline_wait_ms),
        now=voice.duration(job.wait_ms),
    )


def devices(amount: float, voice: Voice) -> str:
    """`1 device`, `0.25 devices`."""
    key = "table.devices"
    return voice.say(key, n=1 if amount == 1 else 2, amount=voice.plain(amount))


def _cells(job: Mover, voice: Voice) -> dict[str, Any]:
    return {
        "id": voice.name(job.job_id),
        "loses": job.loses,
        "queue": voice.name(job.queue or "-"),
        "user": voice.name(job.user or "-"),
        "devices": voice.plain(job.devices),
        "before": voice.duration(job.baseline_wait_ms),
        "now": voice.duration(job.wait_ms),
        "change": voice.signed(BY_NAME["wait_mean_ms"], float(job.change_ms)),
    }


def effect_cells(effect: Effect, voice: Voice) -> dict[str, Any]:
    """One row of a table of effects."""
    metric = BY_NAME[effect.metric]
    name = quantity_title(effect, voice)
    if effect.kind != "all":
        name = voice.say("groups.effect", metric=name, group=group_words(effect.kind, effect.name, voice))
    return {
        "name": name,
        "before": voice.value(metric, effect.baseline),
        "now": voice.value(metric, effect.value),
        "difference": voice.interval(metric, effect.difference)
        if effect.difference is not None
        else voice.difference(metric, effect.value, effect.baseline),
        "margin": voice.margin(effect.margin, metric.unit),
        "verdict": effect.verdict,
        "decide": voice.say("who.decide", n=effect.blocks_needed) if effect.blocks_needed else "",
    }


def _users(shown: Shown, policy: str, voice: Voice) -> list[str]:
    shift = shown.comparison.shifts.get(policy)
    return [
        voice.say(
            "who.user",
            user=voice.name(each["user"]),
            jobs=voice.say("table.jobs", n=int(each["jobs"])),
            change=f"+{voice.duration(each['mean_change_ms'])}",
        )
        for each in (shift.worst_users if shift else [])
    ]
