"""What a comparison takes as evidence: how often each policy is replayed, which jobs count, and in which blocks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sim.experiment.blocks import AUTO, BlockRule, chosen, parse_blocks, time_blocks
from sim.experiment.prepare import Prepared
from sim.experiment.quantities import KINDS, Served, Where
from sim.experiment.scenario import Scenario
from sim.experiment.shake import Shake, shaken
from sim.metrics.registry import SIZE_CLASSES, size_codes
from sim.run import InputError
from sim.statistics.draws import RESAMPLES
from sim.streams import Streams
from traces.job import JobRecord

SHAKEN_REPLICATIONS: Final = 5
"""Replications where the scenario shakes and does not say how often."""

Mask = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The part of a scenario that is about evidence."""

    replications: int = 1
    """Of each policy on each trace. The first is the trace as it is; all have their own seed, counted on from the scenario's."""
    shake: Shake | None = None
    blocks: BlockRule = AUTO
    warm_up_ms: int = 0
    drain_ms: int = 0
    resamples: int = RESAMPLES
    seed: int = 0


def plan_of(scenario: Scenario) -> Plan:
    """The plan of a scenario."""
    shake = None if scenario.shake is None else Shake(submit=scenario.shake.submit, run=scenario.shake.run)
    asked = scenario.replications
    return Plan(
        replications=asked if asked is not None else SHAKEN_REPLICATIONS if shake else 1,
        shake=shake,
        blocks=parse_blocks(scenario.blocks),
        warm_up_ms=scenario.warm_up,
        drain_ms=scenario.drain,
        resamples=scenario.resamples,
        seed=scenario.seed,
    )


def replicated(prepared: Prepared, shake: Shake | None, number: int) -> Prepared:
    """What replication `number` replays: the same under every policy (common random numbers). Number 0 is the trace as it is."""
    if number == 0:
        return prepared
    seed = prepared.rules.seed + number
    trace = prepared.trace
    if shake is not None:
        # because: a rate of requests is no accident of single jobs, and submissions keep their first and their last
        own, made = trace.own.records, trace.records[trace.accepted :]
        trace = replace(trace, records=[*shaken(own, shake, Streams(seed).generator("shake")), *made])
    return replace(prepared, trace=trace, rules=replace(prepared.rules, seed=seed))


class Labels(NamedTuple):
    """What tells jobs apart by one kind: a code for each job that counts, and the names of the codes, sorted."""

    codes: Ints
    names: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Subjects:
    """The jobs that count, of all traces one after the other, in the order of their files."""

    counted: list[Mask]
    """For each trace: which of its records count."""
    trace: Ints
    submit_ms: Ints
    labels: dict[str, Labels]
    jobs: int
    """Jobs of all traces, also those that do not count."""
    having: dict[str, Mask] = field(default_factory=dict)
    """What not every job has (`PerJob.having`) -> which of those that count have it."""
    services: list[Served] = field(default_factory=list)
    """Those of all traces, each name once: their requests count even where none of their replicas does."""

    def __len__(self) -> int:
        return len(self.trace)

    def labelled(self, where: Where) -> Mask:
        """Those of the jobs that count that have all the labels."""
        found = np.ones(len(self), dtype=np.bool_)
        for kind, name in where:
            label = self.labels[kind]
            found &= label.codes == (label.names.index(name) if name in label.names else -1)
        return found

    def names(self) -> dict[str, list[str]]:
        """Kind -> the names that jobs that count have."""
        return self._names(slice(None))

    def names_having(self) -> dict[str, dict[str, list[str]]]:
        """The same of the jobs that have what not every job has, by that; of services, what their replicas have."""
        found = {what: self._names(mask) for what, mask in self.having.items()}
        for what, served in (
            ("services", self.services),
            ("objectives", [each for each in self.services if each.objective]),
        ):
            found[what] = {kind: sorted({each.labels[kind] for each in served}) for kind in self.labels}
        return found

    def _names(self, some: Mask | slice) -> dict[str, list[str]]:
        return {
            kind: [each.names[code] for code in np.unique(each.codes[some])] for kind, each in self.labels.items()
        }


def subjects_of(prepared: Sequence[Prepared], plan: Plan) -> Subjects:
    """Jobs submitted after the warm-up and before the drain. Raises `InputError` where none is left."""
    masks = [_counted(each, plan) for each in prepared]
    records = [
        job
        for each, mask in zip(prepared, masks, strict=True)
        for job, counts in zip(each.trace.records, mask.tolist(), strict=True)
        if counts
    ]
    labels = {kind: _labels([word(job) for job in records]) for kind, word in WORDS.items()}
    demand = np.fromiter((job.demand_milli for job in records), dtype=np.int64, count=len(records))
    labels["size"] = Labels(size_codes(demand), [name for name, _ in SIZE_CLASSES])
    return Subjects(
        counted=masks,
        trace=np.repeat(np.arange(len(prepared)), [int(mask.sum()) for mask in masks]),
        submit_ms=np.fromiter((job.submit_ms for job in records), dtype=np.int64, count=len(records)),
        labels={kind: labels[kind] for kind in KINDS},
        jobs=sum(map(len, masks)),
        having={"deadline_ms": np.array([job.deadline_ms is not None for job in records], dtype=np.bool_)},
        services=_services(prepared),
    )


WORDS: Final[dict[str, Callable[[JobRecord], str]]] = {
    "queue": lambda job: job.queue or "-",
    "user": lambda job: job.user or "-",
    "accelerator": lambda job: "|".join(job.accelerators) or "any",
    "service": lambda job: job.service or "-",
}
"""Kind -> the name that a job has; sizes have classes."""


def _services(prepared: Sequence[Prepared]) -> list[Served]:
    found: dict[str, Served] = {}
    for each in prepared:
        objectives = {service.name: service.objective_ms is not None for service in each.services}
        for job in each.trace.records if objectives else ():
            if job.service in objectives and job.service not in found:
                size, _ = SIZE_CLASSES[int(size_codes(np.array(job.demand_milli)))]
                labels = {**{kind: word(job) for kind, word in WORDS.items()}, "size": size}
                found[job.service] = Served(labels, objectives[job.service])
    return list(found.values())


def _counted(prepared: Prepared, plan: Plan) -> Mask:
    submit_ms = np.array([job.submit_ms for job in prepared.trace.records], dtype=np.int64)
    first, last = int(submit_ms.min()) + plan.warm_up_ms, int(submit_ms.max()) - plan.drain_ms
    mask: Mask = (submit_ms >= first) & (submit_ms <= last)
    if not mask.any():
        raise InputError(
            f"{prepared.trace.path}: warm_up and drain leave no job: submissions last"
            f" {(int(submit_ms.max()) - int(submit_ms.min())) / 3_600_000:.1f} h"
        )
    return mask


def _labels(words: list[str]) -> Labels:
    names = sorted(set(words))
    rank = {name: code for code, name in enumerate(names)}
    return Labels(np.fromiter((rank[word] for word in words), dtype=np.int64, count=len(words)), names)


class Blocks(NamedTuple):
    """The block of each job of each replication, and what a block is."""

    rule: BlockRule
    codes: Ints
    """Shape (replications, jobs that count)."""
    number: int
    """How many blocks there are."""


def blocks_of(subjects: Subjects, plan: Plan) -> Blocks:
    """Jobs of one stretch of time are in one block in all replications: another replication is no other day."""
    traces = range(len(subjects.counted))
    own = [subjects.submit_ms[subjects.trace == number] for number in traces]
    rule = chosen(plan.blocks, [int(np.ptp(each)) for each in own])
    if rule.unit == "trace":
        codes = subjects.trace
    elif rule.unit == "replication":
        codes = subjects.trace * plan.replications
    else:
        parts, before = [], 0
        for submit_ms in own:
            parts.append(time_blocks(submit_ms, rule) + before)
            before = int(parts[-1].max()) + 1
        codes = np.concatenate(parts)
    each = (
        np.arange(plan.replications)[:, None]
        if rule.unit == "replication"
        else np.zeros((plan.replications, 1), dtype=np.int64)
    )
    used, codes = np.unique(codes + each, return_inverse=True)
    return Blocks(rule, codes.reshape(plan.replications, -1), len(used))
