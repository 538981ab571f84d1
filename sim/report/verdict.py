"""The first sentences of a report: who wins, by how much, at whose cost, and how sure that is."""

from __future__ import annotations

from typing import Final

from sim.experiment.comparison import Comparison
from sim.metrics.registry import BY_NAME, METRICS
from sim.report.voice import Voice, plain
from sim.report.words import better

HEADLINES: Final = ("wait_mean_ms", "wait_p95_ms", "completion_mean_ms", "makespan_ms")
FILL_HEADLINES: Final = ("allocated_share", "fragmented_share", "not_finished")


def verdict(comparison: Comparison, voice: Voice | None = None) -> list[str]:
    """Sentences, the most important first; in English as plain text if no other voice is given."""
    voice = voice or plain()
    if not comparison.others:
        alone = voice.sentence(voice.say("verdict.one_run", policy=voice.name(comparison.baseline)))
        return [*_broken(comparison, voice), alone, *_unfinished(comparison, voice)]
    winners = [found for name in headlines(comparison) if (found := _winner(comparison, name, voice))]
    doubts = [*_unfinished(comparison, voice), *_ties(comparison, voice)]
    return [*_broken(comparison, voice), *winners, *_wins(comparison, voice), *_costs(comparison, voice), *doubts]


def headline(comparison: Comparison, voice: Voice) -> str:
    """The verdict in one sentence: what the gates say where there are any, else who wins, and how sure that is."""
    if comparison.gates:
        return voice.sentence(*_gates(comparison, voice))
    return _first(comparison, voice)


def sentences(comparison: Comparison, voice: Voice) -> list[str]:
    """What there is to say below the headline."""
    rest = verdict(comparison, voice)[1:]
    oracle = _oracle(comparison, headlines(comparison)[0], voice) if comparison.others else ""
    possible = [voice.sentence(oracle)] if oracle and all(run.complete for run in comparison.runs.values()) else []
    return [*([_first(comparison, voice)] if comparison.gates else []), *possible, *rest]


def _first(comparison: Comparison, voice: Voice) -> str:
    """The first sentence of `verdict`, with how sure it is instead of what an oracle could do."""
    broken = _broken(comparison, voice)
    if broken or not comparison.others:
        return (broken or verdict(comparison, voice))[0]
    first = headlines(comparison)[0]
    said = _winner_clauses(comparison, first, voice, oracle=False)
    return voice.sentence(*said, _sureness(comparison, first, voice)) if said else verdict(comparison, voice)[0]


def _gates(comparison: Comparison, voice: Voice) -> list[str]:
    """Clauses: who fails, who is undecided, who keeps every gate."""
    by_policy: dict[str, list[str]] = {}
    for each in comparison.gates:
        by_policy.setdefault(each.policy, []).append(each.outcome)
    said: dict[str, list[str]] = {"fail": [], "undecided": []}
    for policy, outcomes in by_policy.items():
        failed, undecided = outcomes.count("fail"), outcomes.count("undecided")
        name = voice.name(policy)
        if failed and undecided:
            counts = {"total": len(outcomes), "failed": failed, "undecided": undecided}
            said["fail"].append(voice.say("gates.fail_and_open", policy=name, **counts))
        elif failed:
            said["fail"].append(voice.say("gates.fail", n=len(outcomes), policy=name, failed=failed))
        elif undecided:
            said["undecided"].append(voice.say("gates.open", n=len(outcomes), policy=name, undecided=undecided))
    keep = [policy for policy, outcomes in by_policy.items() if set(outcomes) == {"pass"}]
    kept = [voice.say("gates.keep", n=len(keep), policies=voice.names(keep))] if keep else []
    return [*said["fail"], *said["undecided"], *kept]


def headlines(comparison: Comparison) -> tuple[str, ...]:
    """The metrics by which a winner is named."""
    return FILL_HEADLINES if comparison.runs[comparison.baseline].is_fill else HEADLINES


def _sureness(comparison: Comparison, name: str, voice: Voice) -> str:
    """What the interval of the winner says, or of the next where the baseline wins; nothing without statistics."""
    if comparison.paired is None:
        return ""
    metric = BY_NAME[name]
    best = _best(comparison, name, _deployable(comparison))
    rest = [each for each in _deployable(comparison) if each not in best]
    spoken = [each for each in best if each != comparison.baseline] or _best(comparison, name, rest)
    if comparison.baseline in best and len(best) > 1:
        return ""
    policy = next((each for each in spoken if each in comparison.paired.policies), None)
    found = comparison.effect(policy, name) if policy is not None else None
    if found is None:
        return ""
    if found.verdict in ("better", "worse") and found.difference is not None:
        low, high = (voice.signed(metric, each) for each in (found.difference.low, found.difference.high))
        return voice.say("verdict.sure", low=low, high=high)
    # because: of who wins "no worse" alone would sound as if it had not won
    no_worse = "verdict.not_worse" if comparison.baseline in best else "verdict.not_better"
    return voice.say(
        no_worse if found.verdict == "no worse" else "verdict.unsure", n=comparison.paired.evidence.blocks
    )


def _winner(comparison: Comparison, name: str, voice: Voice) -> str | None:
    """Who wins a metric by how much, and how sure that is; oracles apart, as bounds."""
    said = _winner_clauses(comparison, name, voice)
    return voice.sentence(*said, _sureness(comparison, name, voice)) if said else None


def _winner_clauses(comparison: Comparison, name: str, voice: Voice, *, oracle: bool = True) -> list[str]:
    metric = BY_NAME[name]
    title = voice.say(f"headline.{name}")
    values = comparison.overall(name)
    ended = [values[policy] for policy, run in comparison.runs.items() if run.complete and policy in values]
    if len(ended) > 1 and len(set(ended)) == 1:
        return [voice.say("verdict.all_same", metric=title, value=voice.value(metric, ended[0]))]
    best = _best(comparison, name, _deployable(comparison))
    if not best:
        return []
    base = comparison.baseline
    if base in best:
        own = voice.value(metric, values[base])
        said = [voice.say("verdict.nothing_beats", metric=title, base=voice.name(base), value=own)]
        said.append(_next(comparison, name, best, voice))
    else:
        change = voice.difference(metric, values[best[0]], values[base]).lstrip("+-")
        said = [
            voice.say(
                "verdict.wins",
                metric=title,
                n=len(best),
                policies=voice.names(best),
                change=change,
                value=voice.value(metric, values[best[0]]),
                base_value=voice.value(metric, values[base]),
                base=voice.name(base),
            )
        ]
    if oracle:
        said.append(_oracle(comparison, name, voice))
    return [each for each in said if each]


def _oracle(comparison: Comparison, name: str, voice: Voice) -> str:
    """What an oracle shows to be possible beyond the best that can be deployed; empty where it does not."""
    metric = BY_NAME[name]
    values = comparison.overall(name)
    deployable = _deployable(comparison)
    best = _best(comparison, name, deployable)
    top = _best(comparison, name, [each for each in comparison.oracles if each not in deployable])
    if not top or not best or better(metric, values[top[0]], values[best[0]]) <= 0:
        return ""
    possible = voice.value(metric, values[top[0]])
    return voice.say("verdict.oracle", policy=voice.name(top[0]), value=possible)


def _next(comparison: Comparison, name: str, best: list[str], voice: Voice) -> str:
    """The best of the others that can be deployed, and how far it is behind."""
    metric = BY_NAME[name]
    rest = [each for each in _deployable(comparison) if each not in best]
    second = _best(comparison, name, rest)
    if not second:
        return ""
    values = comparison.overall(name)
    behind = voice.difference(metric, values[second[0]], values[best[0]])
    return voice.say("verdict.next", policies=voice.names(second), change=behind)


def _best(comparison: Comparison, name: str, among: list[str]) -> list[str]:
    """The policies among these that have the best value over all replays."""
    return comparison.best(name, BY_NAME[name].better, among, comparison.overall(name))


def _deployable(comparison: Comparison) -> list[str]:
    """The policies that can win: without oracles, unless the baseline is one."""
    if comparison.baseline in comparison.oracles:
        return comparison.names
    return [name for name in comparison.names if name not in comparison.oracles]


def _wins(comparison: Comparison, voice: Voice) -> list[str]:
    names = [name for name in _deployable(comparison) if comparison.runs[name].complete]
    if len(names) < 2:
        return []
    counted = [metric for metric in METRICS if metric.name in comparison.whole.values[comparison.baseline]]
    lists = [_best(comparison, metric.name, names) for metric in counted]
    decided = [best for best in lists if best and len(best) < len(names)]
    if not decided:
        return [voice.sentence(voice.say("verdict.no_difference"))]
    score = {name: sum(name in best for best in decided) for name in names}
    order = sorted(score, key=lambda name: (-score[name], name))
    told = voice.joined([voice.say("verdict.score", policy=voice.name(name), score=score[name]) for name in order])
    return [voice.sentence(voice.say("verdict.best_of", n=len(decided), told=told))]


def _costs(comparison: Comparison, voice: Voice) -> list[str]:
    said = []
    for name, shift in comparison.shifts.items():
        if shift.compared and shift.longer:
            worst = shift.worst_jobs[0]
            longer = voice.say(
                "verdict.longer",
                policy=voice.name(name),
                longer=shift.longer,
                compared=shift.compared,
                share=voice.share(shift.longer / shift.compared, 0),
                base=voice.name(comparison.baseline),
            )
            job = voice.say(
                "verdict.worst_job", job=voice.name(worst["job_id"]), time=voice.duration(worst["longer_ms"])
            )
            said.append(of_first(comparison, voice, voice.sentence(longer, job)))
    return said


def of_first(comparison: Comparison, voice: Voice, sentence: str) -> str:
    """The sentence, and that it is about the first replay, where there are several."""
    if comparison.replays == 1:
        return sentence
    return voice.say("verdict.of_first", told=sentence, n=comparison.replays)


def _unfinished(comparison: Comparison, voice: Voice) -> list[str]:
    found = {name: values["not_started"] for name, values in comparison.whole.values.items()}
    counts = {name: count for name, count in found.items() if count}
    if not counts:
        return []
    told = [voice.say("verdict.score", policy=voice.name(name), score=int(count)) for name, count in counts.items()]
    never = voice.sentence(voice.say("verdict.never_started", told=voice.joined(told)))
    return [of_first(comparison, voice, never)]


def _broken(comparison: Comparison, voice: Voice) -> list[str]:
    names = [name for name, run in comparison.runs.items() if not run.complete]
    return [voice.sentence(voice.say("verdict.broken", policies=voice.names(names)))] if names else []


def _ties(comparison: Comparison, voice: Voice) -> list[str]:
    ties = comparison.ties
    if ties.not_measured is not None:
        return [voice.sentence(voice.say("verdict.ties_not_measured", why=voice.told(ties.not_measured)))]
    widths = {name: ties.width(name, "wait_mean_ms") or 0.0 for name in comparison.names}
    widest = max(widths, key=lambda name: (widths[name], name))
    if not any(widths.values()):
        return [voice.sentence(voice.say("verdict.ties_nothing"))]
    told = voice.say("verdict.ties_move", time=voice.duration(widths[widest]), policy=voice.name(widest))
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
    key, policies = ("verdict.ties_no_result", voice.names(unclear)) if unclear else ("verdict.ties_result", "")
    rest = voice.say(key, policies=policies, base=voice.name(comparison.baseline))
    return [of_first(comparison, voice, voice.sentence(voice.say("verdict.ties", told=told, rest=rest)))]
