"""What a result means, in words: the choices of policy, rules and world that every run and report prints."""

from __future__ import annotations

from typing import Any, Final

from policies.api import Semantics
from sim.rules import Rules
from sim.world.choice import World

SPLIT: Final = {
    "whole": "a job that gives only a total takes as few servers as it can",
    "free": "a job that gives only a total may be cut anywhere",
}
TIES: Final = {
    "job_id": "jobs of the same millisecond arrive in the order of their ids, numbers as numbers",
    "file": "jobs of the same millisecond arrive in the order of the file",
    "random": "jobs of the same millisecond arrive in a random order, by the seed",
}
OVERRUN: Final = {
    "extend": "a job that outruns its estimate runs on",
    "kill": "a job that outruns its estimate is killed",
    "requeue": "a job that outruns its estimate waits again, asking for twice the time",
}
THINKING: Final = {
    "free": "a pass takes no simulated time",
    "fixed": "each pass takes {} ms: what it starts begins its work then, and the next pass is not before",
    "measured": "MEASURED: a pass takes the wall time that it took, so that no two runs need be the same; what it starts"
    " begins its work then, and the next pass is not before",
}


SPEEDS: Final = {
    True: "on: run times are taken as measured on the fastest card that the job names, else on its family's reference card",
    False: "off: every card runs every job at the speed of the trace",
}


def run_semantics(policy: Semantics, rules: Rules, world: World) -> dict[str, str]:
    """Topic -> meaning, in the order in which a report lists them."""
    said = {
        "order": policy.order,
        "blocking": policy.blocking,
        "scope": policy.scope,
        "placement": policy.placement,
        "reservation": policy.reservation,
        "preemption": policy.preemption,
        "quota": policy.quota,
        "tie order": TIES[rules.ties],
        "cut of a gang": SPLIT[rules.split],
        "decisions": _decisions(rules),
        "thinking": THINKING[rules.thinking].format(rules.thinking_ms),
        "after a preemption": _after_preemption(rules),
        "overrun": OVERRUN[rules.overrun],
        "true run times": _oracle(policy, rules),
        "accelerator speeds": SPEEDS[bool(world.speed)],
        "locality": "on: a gang that spans servers, or wider, is slower"
        if world.locality
        else "off: where a gang runs does not change its run time",
    }
    if world.slow:
        said["slow servers"] = f"{len(world.slow)} changes of speed while jobs run"
    for key, value in (policy.options or {}).items():
        said[f"option {key}"] = value
    return said


def _decisions(rules: Rules) -> str:
    if rules.fill:
        return "static fill: file order, no departures, no retry"
    if rules.cycle_ms is not None:
        return f"a pass at each multiple of {rules.cycle_ms} ms"
    if rules.decide == "event":
        return "a pass after each event"
    return "one pass after all events of the same millisecond (ends, arrivals, then the pass)"


def _after_preemption(rules: Rules) -> str:
    if rules.progress == "lose":
        kept = "starts from the beginning"
    elif rules.checkpoint_ms is None:
        kept = "keeps its progress"
    else:
        kept = f"keeps its progress up to the last multiple of {rules.checkpoint_ms} ms"
    return f"the preempted job {kept} and pays {rules.restart_ms} ms on its devices at each restart"


def _oracle(policy: Semantics, rules: Rules) -> str:
    if policy.peeks:
        return "PEEKED AT: an oracle, which cannot be deployed"
    if rules.oracle:
        return "granted: they stand for missing estimates"
    return "never seen"


def as_data(policy: Semantics) -> dict[str, Any]:
    """The policy's own part, for the manifest."""
    return {
        "needs_estimates": policy.needs_estimates,
        "peeks": policy.peeks,
        "keeps_quota": policy.quota != "not kept",
    }
