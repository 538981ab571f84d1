"""The paired comparison of all policies with the baseline: on what evidence, what each changes, and the gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from sim.experiment.asked import Asked, default_family
from sim.experiment.blocks import DAY_MS, BlockRule
from sim.experiment.durations import as_text
from sim.experiment.effects import PolicyEffects, effects_of
from sim.experiment.quantities import NOTHING, Names, Selector, expand, quantity
from sim.experiment.sampler import Sampler
from sim.fleet.problems import FleetError, Problem
from sim.run import InputError
from sim.statistics.verdict import BLOCKS_MIN

HEADLINE: Final = "wait.mean"
"""By which the dependence of blocks is told."""

SPEAKS_OF: Final = {
    "time": "other times like these",
    "count": "other times like these",
    "replication": "this trace alone, with what chance moves in it",
    "trace": "other traces like these",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What the intervals rest on."""

    traces: list[str]
    replications: int
    """Of each policy on each trace."""
    shake: dict[str, float] | None
    block: str
    """What a block is, in words."""
    blocks: int
    speaks_of: str
    """What the intervals say something about."""
    jobs: int
    counted: int
    """Jobs of one replication that are measured; the others are replayed only."""
    warm_up_ms: int
    drain_ms: int
    resamples: int
    seed: int
    warnings: list[str]
    replays: list[dict[str, Any]]
    """Trace, replication, seed, and the fingerprint under each policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Paired:
    """Evidence, and what each policy changes."""

    evidence: Evidence
    policies: dict[str, PolicyEffects] = field(default_factory=dict)


def checked_family(
    asked: Sequence[Asked], names: Names, source: str, *, having: Mapping[str, Names] = NOTHING
) -> list[Asked]:
    """One for each name where `*` stands. Raises `InputError` for names that no job has; see `expand`."""
    found: list[Asked] = []
    problems: list[Problem] = []
    for each in asked:
        try:
            found += [
                Asked(selector=selector, margin=each.margin) for selector in expand(each.selector, names, having)
            ]
        except ValueError as error:
            problems.append(Problem(f"metrics: {each.selector}", str(error)))
    if problems:
        raise InputError(str(FleetError(problems, source=source)))
    return found


def pair(
    sampler: Sampler,
    policies: Sequence[str],
    baseline: str,
    family: Sequence[Asked],
    *,
    traces: Sequence[str],
    replays: list[dict[str, Any]],
) -> Paired:
    """Compare. An empty family is every metric."""
    wanted = list(family) or family_for(sampler, baseline)
    found = {policy: effects_of(sampler, policy, baseline, wanted) for policy in policies}
    plan, subjects = sampler.plan, sampler.subjects
    return Paired(
        evidence=Evidence(
            traces=list(traces),
            replications=plan.replications,
            shake=None if plan.shake is None else {"submit": plan.shake.submit, "run": plan.shake.run},
            block=block_words(sampler),
            blocks=sampler.blocks.number,
            speaks_of=SPEAKS_OF[sampler.blocks.rule.unit],
            jobs=subjects.jobs,
            counted=len(subjects),
            warm_up_ms=plan.warm_up_ms,
            drain_ms=plan.drain_ms,
            resamples=plan.resamples,
            seed=plan.seed,
            warnings=_warnings(sampler, policies, baseline),
            replays=replays,
        ),
        policies=found,
    )


def family_for(sampler: Sampler, baseline: str) -> list[Asked]:
    """Every metric that these blocks can tell something about, and that means something for these jobs."""
    whole_runs = sampler.blocks.rule.unit in ("replication", "trace")
    return [
        each
        for each in default_family(whole_runs=whole_runs)
        if sampler.measured(baseline, *each.selector).estimate is not None
    ]


def block_words(sampler: Sampler) -> str:
    """`1 d of submissions`, `one of 20 equal parts of a trace (3.9 d)`, `a trace`."""
    rule = sampler.blocks.rule
    if rule.unit == "count":
        own = sampler.subjects.submit_ms[sampler.subjects.trace == 0]
        return f"one of {rule.amount} equal parts of a trace ({as_text(round(int(np.ptp(own)) / rule.amount))})"
    return f"{as_text(rule.amount)} of submissions" if rule.unit == "time" else f"a {rule.unit}"


def _warnings(sampler: Sampler, policies: Sequence[str], baseline: str) -> list[str]:
    rule, plan, number = sampler.blocks.rule, sampler.plan, sampler.blocks.number
    found: list[str] = []
    if number < BLOCKS_MIN:
        found.append(
            f"too few blocks: {number}, and at least {BLOCKS_MIN} are needed: give a longer trace, several traces, or"
            " replications with blocks: replication"
        )
    if plan.replications > 1 and sampler.distinct <= len(sampler.subjects.counted):
        found.append("all replications came out alike: nothing in this scenario depends on the seed; shake the input")
    elif rule.unit == "replication" and sampler.distinct < number:
        found.append(
            f"{number - sampler.distinct} replications repeat another one: they are no evidence of their own"
        )
    if _length_ms(sampler, rule) < DAY_MS and rule.unit in ("time", "count"):
        found.append("blocks are shorter than a day: they differ by the hour, and depend on each other")
    for policy in policies:
        worth = _worth(sampler, policy, baseline)
        if worth is not None and worth < number:
            found.append(
                f"blocks that follow each other move together under {policy}: {number} are worth {worth} in the mean wait, and"
                " its intervals are widened accordingly"
            )
    return found


def _length_ms(sampler: Sampler, rule: BlockRule) -> float:
    return rule.amount if rule.unit == "time" else float(np.ptp(sampler.subjects.submit_ms)) / max(rule.amount, 1)


def _worth(sampler: Sampler, policy: str, baseline: str) -> int | None:
    """Independent blocks that the blocks are worth for the headline."""
    selector = Selector(quantity(HEADLINE), ())
    own, base = (sampler.measured(each, *selector).estimate for each in (policy, baseline))
    return None if own is None or base is None else sampler.honest(own - base, selector, (policy, baseline)).blocks
