"""`rehearse compare`: replays the same traces under each policy, and under other orders of ties, then compares.

The directory holds one run directory for each policy, `comparison.json` and `report.html`. Every replay depends on its inputs
only, and results are put together in the order of the policies.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from sim.bounds.of_fleet import bounds_data
from sim.experiment.asked import Asked, asked_for
from sim.experiment.comparison import (
    Comparison,
    TieSpread,
    Values,
    compare_runs,
    measure_counted,
    no_ties,
    tie_spread,
)
from sim.experiment.comparison_file import write_comparison
from sim.experiment.effects import with_movers
from sim.experiment.measurable import measurable
from sim.experiment.paired import Paired, checked_family, pair
from sim.experiment.plan import Mask, Plan, Subjects, blocks_of, plan_of, subjects_of
from sim.experiment.prepare import Prepared
from sim.experiment.replays import Done, Task, Work, results
from sim.experiment.sampler import Observed, Sampler
from sim.gates.gate import Gate
from sim.gates.judge import GateResult, broken, expanded, judge_gates
from sim.metrics.registry import groups, summary
from sim.results import Run, read_run, write_run
from sim.run import InputError, Progress

REPORT: Final = "report.html"

TIE_ORDERS: Final = 2
"""Other orders of ties that are tried by default."""

TIE_JOBS_MAX: Final = 200_000
"""Above this many jobs ties are tried only on demand."""

FOLDER_MAX: Final = 100
"""Letters of a folder's name: the command of a policy may be longer than a file system allows."""


def policies_and_baseline(
    specs: Sequence[str], baseline: str | None, *, given: bool = False
) -> tuple[list[str], str]:
    """The policies, each once, and the baseline, which is among them, unless it is `given`. Raises `InputError`."""
    listed = list(specs)
    if not given and baseline is not None and baseline not in listed:
        listed.insert(0, baseline)
    repeated = [spec for spec, count in Counter(listed).items() if count > 1]
    if repeated:
        raise InputError(f"--policies: {', '.join(repeated)} given twice")
    if not listed or (len(listed) < 2 and not given):
        raise InputError("--policies: a comparison needs at least two, such as --policies fifo,easy")
    return listed, baseline or listed[0]


def split_policies(text: str) -> list[str]:
    """`fifo,easy:place=spread,per=queue,sjf`: a part with `=` but without `:` belongs to the policy before it.

    A comma inside quotes divides nothing: `fifo,process:./mine --weights '1,2'`.
    """
    listed: list[str] = []
    parts = re.findall(r"""(?:[^,'"]|'[^']*'|"[^"]*"|['"])+""", text)
    for part in filter(None, (part.strip() for part in parts)):
        name, equals, _ = part.partition("=")
        if equals and ":" not in name and listed:
            listed[-1] += f",{part}"
        else:
            listed.append(part)
    return listed


def folder_names(specs: Sequence[str]) -> dict[str, str]:
    """A policy's folder: its name with what a file system may not like replaced, unique."""
    taken: dict[str, str] = {}
    for spec in specs:
        plain = re.sub(r"[^A-Za-z0-9._=-]+", "_", spec).strip("._")[:FOLDER_MAX] or "policy"
        name, number = plain, 2
        while name.casefold() in map(str.casefold, taken.values()):
            name, number = f"{plain}-{number}", number + 1
        taken[spec] = name
    return taken


def tie_orders(prepared: Prepared) -> tuple[int, str | None]:
    """How many other orders of ties to try, and why none."""
    asked = prepared.scenario.tie_orders
    records = prepared.trace.records
    tied = sum(count for count in Counter(record.submit_ms for record in records).values() if count > 1)
    if prepared.rules.fill:
        return 0, "a static fill takes the pods in the order of the file"
    if not tied:
        return 0, "no two jobs are submitted in the same millisecond"
    if asked == 0:
        return 0, "not asked for"
    if asked is None and len(records) > TIE_JOBS_MAX:
        return 0, f"more than {TIE_JOBS_MAX:,} jobs: ask for it with --ties 2"
    return TIE_ORDERS if asked is None else asked, None


class Given(NamedTuple):
    """A baseline that was replayed elsewhere: by another version of the code, or on another day."""

    name: str
    run: Run
    observed: list[list[Observed]]
    """Trace -> replication."""


class Request(NamedTuple):
    """What is compared, checked before anything is replayed."""

    prepared: Sequence[Prepared]
    """One for each trace."""
    specs: Sequence[str]
    """Policies that are replayed here."""
    baseline: str
    given: Given | None
    plan: Plan
    subjects: Subjects
    family: Sequence[Asked]
    gates: Sequence[Gate]

    @property
    def others(self) -> list[str]:
        """The policies without the baseline."""
        return [spec for spec in self.specs if spec != self.baseline]


def request(
    prepared: Sequence[Prepared], specs: Sequence[str], baseline: str, *, gates: Sequence[Gate] = (), given: Given | None = None
) -> Request:  # fmt: skip
    """Everything that can be wrong with the questions. Raises `InputError`."""
    scenario = prepared[0].scenario
    plan = plan_of(scenario)
    subjects = subjects_of(prepared, plan)
    names, having = subjects.names(), subjects.names_having()
    others = [spec for spec in specs if given or spec != baseline]
    family = checked_family([asked_for(each) for each in scenario.metrics], names, "metrics", having=having)
    checked = expanded(
        gates, names, others, "gates", having=having, measurable=partial(measurable, subjects=subjects)
    )
    return Request(prepared, specs, given.name if given else baseline, given, plan, subjects, family, checked)


class Compared(NamedTuple):
    """A comparison, and what more can be asked of it."""

    comparison: Comparison
    sampler: Sampler | None
    """None where nothing can be measured: see `Comparison.paired`."""
    asked: Request


def compare(
    prepared: Prepared,
    specs: Sequence[str],
    baseline: str,
    out: Path,
    *,
    workers: int = 1,
    progress: Progress | None = None,
    more: Sequence[Prepared] = (),
    gates: Sequence[Gate] = (),
    given: Given | None = None,
) -> Compared:
    """Replay everything into `out`, a new directory, and compare. `more` are further traces. Raises `InputError`."""
    asked = request([prepared, *more], specs, baseline, gates=gates, given=given)
    names = [asked.given.name, *specs] if asked.given else list(specs)
    folders = folder_names(names)
    orders, reason = tie_orders(prepared)
    if asked.given is not None:
        write_run(asked.given.run, out / folders[asked.given.name], summary(asked.given.run))
    tasks = [*_tasks(asked, out, folders), *_tie_tasks(specs, orders)]
    work = Work(asked.prepared, asked.subjects.counted, asked.plan.shake)
    done = dict(zip(tasks, results(work, tasks, workers, progress), strict=True))
    runs = [read_run(out / folders[name]) for name in names]
    counted = asked.subjects.counted[0]
    observed = _observed(asked, done)
    sampler = _sampler(asked, observed)
    found = compare_runs(
        runs,
        asked.baseline,
        _ties(runs, done, counted, reason),
        counted=counted,
        paired=None if sampler is None else _paired(asked, sampler, observed, runs),
        gates=judged(asked, sampler, asked.gates),
    )
    found = replace(found, bounds=bounds_data(prepared, {run.name: run for run in runs}))
    write_comparison(found, folders, out)
    return Compared(found, sampler, asked)


def judged(asked: Request, sampler: Sampler | None, gates: Sequence[Gate]) -> list[GateResult]:
    """Gates that are `expanded`, for every policy: undecided for those that could not be measured."""
    measured = [] if sampler is None else [policy for policy in asked.others if policy in sampler.policies]
    found = [] if sampler is None else judge_gates(sampler, gates, measured, asked.baseline)
    left = [policy for policy in asked.others if policy not in measured]
    return [*found, *broken(gates, left, "a replay did not come to its end, or has no time: nothing can be compared")]


def replays_of(prepared: Sequence[Prepared], specs: Sequence[str]) -> int:
    """How many replays a comparison takes."""
    return len(specs) * (len(prepared) * plan_of(prepared[0].scenario).replications + tie_orders(prepared[0])[0])


def _tasks(asked: Request, out: Path, folders: Mapping[str, str]) -> list[Task]:
    """Each policy on each trace, as often as the plan says. The trace as it is goes to a run directory."""

    def place(trace: int, replication: int, spec: str) -> Path | None:
        if replication:
            return None
        return out / folders[spec] if trace == 0 else out / "traces" / str(trace + 1) / folders[spec]

    return [
        Task(spec, place(trace, replication, spec), trace=trace, replication=replication)
        for replication in range(asked.plan.replications)
        for trace in range(len(asked.prepared))
        for spec in asked.specs
    ]


def _tie_tasks(specs: Sequence[str], orders: int) -> list[Task]:
    return [Task(spec, None, number) for number in range(1, orders + 1) for spec in specs]


def _ties(runs: Sequence[Run], done: Mapping[Task, Done], counted: Mask, reason: str | None) -> TieSpread:
    if reason is not None:
        return no_ties(reason)
    others: dict[str, list[Values]] = {}
    for task, found in done.items():
        if task.other_ties is not None:
            others.setdefault(task.spec, []).append(found.values)
    whole = {run.name: measure_counted(run, next(groups(run.jobs)), counted) for run in runs if run.name in others}
    return tie_spread(whole, others)


def _sampler(asked: Request, observed: Mapping[str, list[list[Observed]]]) -> Sampler | None:
    """None unless the baseline and another policy came to their end in every replay."""
    if asked.baseline not in observed or len(observed) < 2:
        return None
    return Sampler(asked.subjects, blocks_of(asked.subjects, asked.plan), asked.plan, observed)


def _paired(
    asked: Request, sampler: Sampler, observed: Mapping[str, list[list[Observed]]], runs: Sequence[Run]
) -> Paired:
    found = pair(
        sampler,
        [policy for policy in asked.others if policy in sampler.policies],
        asked.baseline,
        asked.family,
        traces=[each.trace.path for each in asked.prepared],
        replays=_replays(asked, observed),
    )
    by_name = {run.name: run for run in runs}
    base, counted = by_name[asked.baseline], asked.subjects.counted[0]
    moved = {name: with_movers(each, by_name[name], base, counted) for name, each in found.policies.items()}
    return Paired(evidence=found.evidence, policies=moved)


def _observed(asked: Request, done: Mapping[Task, Done]) -> dict[str, list[list[Observed]]]:
    """Policy -> trace -> replication, of the policies that were observed every time."""
    found: dict[str, list[list[Observed]]] = {}
    if asked.given is not None:
        found[asked.given.name] = asked.given.observed
    cells: dict[tuple[str, int, int], Observed] = {
        (task.spec, task.trace, task.replication): each.observed
        for task, each in done.items()
        if task.other_ties is None and each.observed is not None
    }
    traces, numbers = range(len(asked.prepared)), range(asked.plan.replications)
    for spec in asked.specs:
        if all((spec, trace, number) in cells for trace in traces for number in numbers):
            found[spec] = [[cells[spec, trace, number] for number in numbers] for trace in traces]
    return found


def _replays(asked: Request, observed: Mapping[str, list[list[Observed]]]) -> list[dict[str, object]]:
    return [
        {
            "trace": trace,
            "replication": number,
            "seed": asked.plan.seed + number,
            "fingerprints": {policy: each[trace][number].fingerprint for policy, each in observed.items()},
        }
        for trace in range(len(asked.prepared))
        for number in range(asked.plan.replications)
    ]
