"""Gates against what was measured: pass, fail, or undecided, each with the reason and what would decide it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from sim.experiment.quantities import NOTHING, Names, Selector, expand
from sim.experiment.sampler import Sampler
from sim.fleet.problems import FleetError, Problem, did_you_mean
from sim.gates.gate import Gate
from sim.run import InputError
from sim.statistics.estimate import Estimate
from sim.statistics.interval import interval
from sim.statistics.verdict import Judged, Outcome, in_blocks, judge

STATUS: Final[Mapping[Outcome, int]] = {"pass": 0, "fail": 1, "undecided": 3}
"""Exit statuses of the house."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """One gate for one policy."""

    gate: str
    policy: str
    outcome: Outcome
    why: str
    metric: str
    """Of the registry: its unit."""
    value: float | None
    baseline: float | None
    """None for a limit, which needs none."""
    excess: float | None
    """How far beyond what is allowed; not above 0 where the gate is kept."""
    excess_low: float | None
    excess_high: float | None
    """The ends of its 95 % interval; each is a one-sided bound at 97.5 %."""
    blocks: int
    """Blocks that hold such a job."""
    worth: int
    """Independent blocks that they are worth."""
    blocks_needed: int | None
    """Blocks in all that would decide it if it is as it looks."""
    because: str = ""


def overall(results: Sequence[GateResult]) -> Outcome:
    """Fail if one fails, else undecided if one is, else pass."""
    outcomes = {each.outcome for each in results}
    return "fail" if "fail" in outcomes else "undecided" if "undecided" in outcomes else "pass"


def expanded(
    gates: Sequence[Gate],
    names: Names,
    policies: Sequence[str],
    source: str,
    *,
    having: Mapping[str, Names] = NOTHING,
    measurable: Callable[[Sequence[Selector]], Sequence[Selector]] = list,
) -> list[Gate]:
    """One gate for each name where `*` stands, by `expand`, of those that are `measurable`.

    Raises `InputError` with all names that no job, or no policy, has.
    """
    found: list[Gate] = []
    problems: list[Problem] = []
    for gate in gates:
        try:
            selectors = measurable(expand(gate.selector, names, having))
        except ValueError as error:
            problems.append(Problem(gate.text, str(error)))
            continue
        problems += [
            Problem(gate.text, f"policies: {each!r} is not compared with the baseline{did_you_mean(each, policies)}")
            for each in gate.policies
            if each not in policies
        ]
        own = str(gate.selector)
        found += [replace(gate, selector=each, text=gate.text.replace(own, str(each), 1)) for each in selectors]
    if problems:
        raise InputError(str(FleetError(problems, source=source)))
    return found


def judge_gates(sampler: Sampler, gates: Sequence[Gate], policies: Sequence[str], baseline: str) -> list[GateResult]:
    """Every gate for every policy that it is for. The gates are `expanded`."""
    return [
        _margin(sampler, gate, policy, baseline) if gate.margin is not None else _limit(sampler, gate, policy)
        for policy in policies
        for gate in gates
        if not gate.policies or policy in gate.policies
    ]


def broken(gates: Sequence[Gate], policies: Sequence[str], why: str) -> list[GateResult]:
    """For policies that were not measured: nothing is decided."""
    return [
        _result(gate, policy, Judged("undecided", why))
        for policy in policies
        for gate in gates
        if not gate.policies or policy in gate.policies
    ]


def _margin(sampler: Sampler, gate: Gate, policy: str, baseline: str) -> GateResult:
    what, where = gate.selector
    own, base = sampler.measured(policy, what, where), sampler.measured(baseline, what, where)
    same = sampler.same(policy, baseline, what, where)
    if own.estimate is None or base.estimate is None or gate.margin is None:
        return _result(gate, policy, Judged("undecided", own.why_not or base.why_not))
    margin, blocks = gate.margin, max(own.estimate.blocks, base.estimate.blocks)
    over = own.estimate.excess(base.estimate, relative=margin.relative, absolute=margin.absolute, worse=gate.worse)
    over = sampler.honest(over, gate.selector, (policy, baseline))
    said = judge(over.value, interval(over), blocks=over.blocks, same=same, of=blocks)
    return _result(gate, policy, said, over, value=own.estimate.value, baseline=base.estimate.value, blocks=blocks)


def _limit(sampler: Sampler, gate: Gate, policy: str) -> GateResult:
    what, where = gate.selector
    own = sampler.measured(policy, what, where)
    if own.estimate is None or gate.limit is None:
        return _result(gate, policy, Judged("undecided", own.why_not))
    over = sampler.honest(own.estimate.beyond(gate.limit, gate.worse), gate.selector, (policy,))
    none_at_all = what.per_job is not None and what.per_job.statistic == "sum" and own.estimate.value == 0
    said = judge(over.value, interval(over), blocks=over.blocks, same=False, of=own.estimate.blocks)
    if none_at_all and over.value <= 0:
        said = said._replace(outcome="pass", why="no job has any", blocks_needed=None)
    return _result(gate, policy, said, over, value=own.estimate.value, blocks=own.estimate.blocks)


def _result(
    gate: Gate,
    policy: str,
    said: Judged,
    over: Estimate | None = None,
    *,
    value: float | None = None,
    baseline: float | None = None,
    blocks: int = 0,
) -> GateResult:
    ends = None if over is None else interval(over)
    return GateResult(
        gate=gate.text,
        policy=policy,
        outcome=said.outcome,
        why=said.why,
        metric=gate.selector.quantity.metric.name,
        value=value,
        baseline=baseline,
        excess=None if over is None else over.value,
        excess_low=None if ends is None else ends.low,
        excess_high=None if ends is None else ends.high,
        blocks=blocks,
        worth=0 if over is None else over.blocks,
        blocks_needed=None if over is None else in_blocks(said.blocks_needed, blocks, over.blocks),
        because=gate.because,
    )
