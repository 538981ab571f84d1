"""A plan in sentences and tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import median_low
from typing import Final

from policies.api import Semantics
from sim.console import table
from sim.experiment.prepare import Prepared, policies_of
from sim.gates.gate import Gate
from sim.planning.load import FULL
from sim.planning.looks import Look
from sim.planning.mix import Mix, MixAnswer
from sim.planning.plan import Answer, differences, rank_of
from sim.planning.probes import Gang, Worth
from sim.planning.question import Question, fleet_of
from sim.planning.quotas import handed_out
from sim.planning.written import Planned
from sim.report.words import value

FRONTIER_SHOWN: Final = 8

NOT_KEPT: Final = Semantics(order="", blocking="", placement="").quota


def plan_lines(planned: Planned) -> Iterator[str]:
    """What a plan found."""
    mixes = [answer for answer in planned.answers if isinstance(answer, MixAnswer)]
    counts = [answer for answer in planned.answers if isinstance(answer, Answer)]
    return mix_lines(mixes, planned.question) if mixes else answer_lines(counts, planned.question)


def answer_lines(answers: Sequence[Answer], question: Question) -> Iterator[str]:
    """A table with one row for each policy, what it means, and how sure it is."""
    what = f"servers of pool {question.pool}" if question.pool else "servers, the others removed at random"
    yield f"{what}, so that {_asked(question)}:"
    yield from table([_head(question), *(_row(answer, question) for answer in answers)])
    for answer in answers[1:]:
        yield _headline(answers[0], answer, question)
    for answer in answers:
        yield from _remarks(answer, question)
    yield _meaning(question)


def _asked(question: Question) -> str:
    said = "; ".join(gate.text for gate in question.gates)
    if question.spare:
        said += f", with any one {question.spare} gone"
    if question.growth != 1:
        how = "the load" if question.growth_as == "jobs" else "the load in days so much shorter"
        said += f", under {float(question.growth):g} times {how}"
    return said


def _head(question: Question) -> list[str]:
    return ["policy", "needs", "range", "devices", *(["cost"] if question.prices else []), "load"]


def _row(answer: Answer, question: Question) -> list[str]:
    at_answer = answer.at_answer
    beyond = f"more than {question.most}"
    low, high = answer.range
    cells = [
        answer.policy,
        beyond if answer.servers is None else str(answer.servers),
        "-" if low is None else f"{low} to {beyond if high is None else high}",
        "-" if answer.devices is None else str(answer.devices),
    ]
    if question.prices:
        cells.append("-" if answer.cost is None else f"{answer.cost:g}")
    load = None if at_answer is None else at_answer.load
    return [*cells, "-" if load is None else f"{load:.0%}"]


def _headline(first: Answer, other: Answer, question: Question) -> str:
    gains = differences(first, other)
    if gains is None:
        beyond = sum(count is None for answer in (first, other) for count in answer.counts)
        return (
            f"{other.policy} against {first.policy}: {beyond} of {2 * question.replications} searches found no count up to"
            f" {question.most}, so the difference is not known; a larger --to would tell"
        )
    servers = [a - b for a, b in zip(first.counts, other.counts, strict=True) if a is not None and b is not None]
    middle = median_low(gains)
    if middle == 0 and not any(gains):
        return f"{other.policy} needs as many cards as {first.policy}"
    word = "fewer" if middle >= 0 else "more"
    sign = 1 if middle >= 0 else -1
    low, high = sorted((sign * min(gains), sign * max(gains)))
    text = f"{other.policy} needs {abs(middle)} {word} cards than {first.policy} ({abs(median_low(servers))} servers)"
    if len(gains) == 1:
        return f"{text}, on the trace as it is"
    agree = sum(sign * gain > 0 for gain in gains)
    return f"{text}: the middle of {len(gains)} paired replications, from {low} to {high} {word}; {word} in {agree} of them"


def _remarks(answer: Answer, question: Question) -> Iterator[str]:
    below, at_answer, levels = answer.below, answer.at_answer, question.gates
    if answer.servers is None:
        assert below is not None, "the largest count was tried"
        yield f"{answer.policy}: even {below.servers[0]} are not enough: {_why(below, levels, question)}"
        yield from full_lines(answer.policy, below, question)
    elif below is not None:
        yield f"{answer.policy}: with one server less, {_why(below, levels, question)}"
    elif question.least > 1:
        yield f"{answer.policy}: {answer.servers} is the smallest count asked for; fewer may do"
    if at_answer is not None and at_answer.load is not None and at_answer.load > 1:
        where = f"pool {question.pool}" if question.pool else "the fleet"
        yield (
            f"{answer.policy}: the trace brings {at_answer.load:.0%} of what {where} can do while it lasts: a backlog grows until"
            " the last job has come, so on a longer trace some waits would be longer"
        )
    if not answer.monotone:
        yield f"{answer.policy}: not monotone: some counts below the answer were enough by luck, see --json"


def _why(look: Look, levels: Sequence[Gate], question: Question) -> str:
    """Which levels a fleet breaks, with their figures."""
    broken = []
    if look.figures.never > question.left_out:
        broken.append(f"{look.figures.never:.2%} of the jobs never start")
    for gate, found in zip(levels, look.figures.values, strict=True):
        assert gate.limit is not None, "a level is a limit"
        if not (found <= gate.limit if gate.worse > 0 else found >= gate.limit):
            broken.append(f"{gate.selector} is {figure(gate, found)}")
    where = f" without {look.without}" if look.without else ""
    return f"{'; '.join(broken) or 'nothing is left'}{where}"


def full_lines(policy: str, look: Look, question: Question) -> Iterator[str]:
    """The pools that are full whatever the searched ones have."""
    searched = " or ".join(question.searched)
    where = f" without {look.without}" if look.without else ""
    for each in look.full:
        said = f"{policy}: pool {each.pool} is at {each.load:.0%} of what it can do{where}"
        if each.only_elsewhere is None:
            yield said
        elif each.only_elsewhere > FULL:
            yield f"{said}: more servers of {searched} cannot help the jobs that need it"
        else:
            yield f"{said}; jobs that cannot run on {searched} take {each.only_elsewhere:.0%}"


def figure(gate: Gate, found: float) -> str:
    """The figure of a level with its unit."""
    if math.isnan(found):
        return "of no job"
    return value(gate.selector.quantity.metric, found) if math.isfinite(found) else "without end"


def _meaning(question: Question) -> str:
    tried = "the smallest count from which on every count tried was enough"
    if question.replications == 1:
        return f"needs: {tried}, on the trace as it is; more --replications say how much of it is luck"
    rank = rank_of(question.replications)
    alike = "" if question.shake else "; without shaking they differ by their seeds alone"
    return f"needs: the 90th percentile ({rank} of {question.replications}, sorted) of the replications, each {tried}{alike}"


def mix_lines(answers: Sequence[MixAnswer], question: Question) -> Iterator[str]:
    """The cheapest mix of each policy, and what else would do."""
    ranges = " and ".join(f"{pool} ({counts[0]} to {counts[-1]})" for pool, counts in question.pools.items())
    within = f", for at most {question.budget:g}" if question.budget is not None else ""
    yield f"servers of {ranges}, so that {_asked(question)}{within}:"
    for answer in answers:
        if answer.best is None:
            yield from _no_mix(answer, question)
            continue
        yield f"{answer.policy}: the cheapest is {_mix(answer.best)}"
        rows = [["", *question.pools, "devices", "cost"]]
        rows += [
            ["", *map(str, mix.servers.values()), str(mix.devices), f"{mix.cost:g}"]
            for mix in answer.frontier[:FRONTIER_SHOWN]
        ]
        yield from table(rows)
        if len(answer.frontier) > FRONTIER_SHOWN:
            yield f"and {len(answer.frontier) - FRONTIER_SHOWN} dearer mixes: see --json"
    best = [answer for answer in answers if answer.best is not None]
    for answer in best[1:] if len(best) == len(answers) else []:
        assert answer.best is not None, "only those with a mix"
        assert best[0].best is not None, "only those with a mix"
        gain = best[0].best.cost - answer.best.cost
        yield f"{answer.policy} costs {abs(gain):g} {'less' if gain >= 0 else 'more'} than {best[0].policy}"
    need = rank_of(question.replications)
    yield (
        f"enough: in {need} of {question.replications} replications; of each mix no pool can have one server less. Taken for"
        " granted: more servers of a pool never hurt"
    )


def _no_mix(answer: MixAnswer, question: Question) -> Iterator[str]:
    """That none is enough, and what the dearest that was tried lacks."""
    said = f"{answer.policy}: no mix in these ranges{'' if question.budget is None else ' and this budget'} is enough"
    failed = answer.dearest_failed
    if failed is None:
        yield said
        return
    counts = _counts(dict(zip(question.pools, failed.servers, strict=True)))
    yield f"{said}: with {counts}, {_why(failed, question.gates, question)}"
    yield from full_lines(answer.policy, failed, question)


def _counts(servers: Mapping[str, int]) -> str:
    return " + ".join(f"{count} of {pool}" for pool, count in servers.items())


def _mix(mix: Mix) -> str:
    return f"{_counts(mix.servers)}, with {mix.devices} devices in the whole fleet at a cost of {mix.cost:g}"


def gang_line(policy: str, gang: Gang, within: str) -> str:
    """The largest gang that starts in time."""
    if not gang.devices:
        return f"{policy}: no gang started within {within} in 9 of 10 cases, not even one of a single device"
    return f"{policy}: the largest gang that starts within {within} in 9 of 10 cases has {gang.devices} devices"


def worth_lines(policy: str, rows: Sequence[Worth], levels: Sequence[Gate]) -> Iterator[str]:
    """What one more server of each pool does to each level."""
    for each in rows:
        price = "" if each.cost is None else f", {each.cost:g}"
        for gate, before, after in zip(levels, each.before, each.after, strict=True):
            yield (
                f"{policy}: one more server of {each.pool} ({each.devices} x {each.accelerator}{price}):"
                f" {gate.selector} {figure(gate, before)} -> {figure(gate, after)}"
            )


def quota_lines(prepared: Prepared, question: Question) -> Iterator[str]:
    """A warning where the quotas, and not the servers, may be what is short on the largest fleet that was asked for."""
    if question.quotas == "scale":
        return
    counts = list(question.pools.values()) or [question.counts]
    largest = fleet_of(prepared.loaded.fleet, question, tuple(each[-1] for each in counts), prepared.rules.seed)
    idle = [(name, have, given) for name, (have, given) in handed_out(largest).items() if 0 < given < have]
    if not idle or not _keeps_quotas(prepared, question):
        return
    said = "; ".join(f"of {have} devices ({name}) quotas hand out {given}" for name, have, given in idle)
    yield f"quotas stay as they are: {said}. What no queue owns may stand idle: --quotas scale lets them grow with the fleet"


def _keeps_quotas(prepared: Prepared, question: Question) -> bool:
    chosen = policies_of(question.policies, prepared.rules, prepared.typical_pods, prepared.scheduler_config)
    return any(each.semantics.quota != NOT_KEPT for each in chosen.values())
