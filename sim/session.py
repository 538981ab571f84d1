"""What notebooks call: inputs in memory, runs, comparisons and plans as data frames. Thin over the rest; it decides nothing."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd

from sim.check import check
from sim.experiment.compare import compare
from sim.experiment.comparison import Comparison
from sim.experiment.plan import replicated
from sim.experiment.prepare import Prepared, prepare, replay_prepared, run_into
from sim.experiment.scenario import make_scenario
from sim.experiment.scenario_keys import ShakeKeys
from sim.experiment.shake import Shake
from sim.fidelity.validate import Fidelity, validate
from sim.fleet.problems import FleetError, did_you_mean
from sim.fleet.table import queues_of, topology_of
from sim.frames import causes_frame, wrapped
from sim.gates.gate import Gate, parse_gate
from sim.planning.fleets import with_servers
from sim.planning.levels import parse_levels
from sim.planning.mix import plan_mix
from sim.planning.plan import plan
from sim.planning.probes import worth_of_one_more
from sim.planning.question import Question, checked
from sim.planning.written import Planned
from sim.results import Run, RunDirectoryError
from sim.run import InputError
from traces.trace import Trace, TraceError
from traces.transform import window

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS

WARNINGS_SHOWN: Final = 5
"""Of a session; all of them are in its `warnings`."""

Days = float | tuple[float, float]


class SessionError(InputError):
    """The input is wrong. A notebook shows the message alone: a stack of calls would not help its reader."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows."""
        return [f"Wrong input: {self}"]


@contextmanager
def _told() -> Iterator[None]:
    """Errors of the input as `SessionError`."""
    try:
        yield
    except (InputError, FleetError, TraceError, RunDirectoryError) as error:
        raise SessionError(str(error)) from None


class Replayed(NamedTuple):
    """A replay beside what its trace recorded."""

    run: Run
    found: Fidelity


class Session:
    """A trace on a fleet, read once; replay it as often as you like.

    `trace` and `cluster` are as on the command line; without a trace it is the built-in one. Taken are only jobs of the first
    `days` (or of those from the first to the second number) and of these `queues`, and only servers of these `pools`. `keys` are
    those of a scenario file (`oracle=True`, `rules={"restart": "5m"}`, ...). Raises `SessionError` with everything that is wrong.
    """

    def __init__(
        self,
        trace: str | None = None,
        cluster: str = "demo",
        *,
        days: Days | None = None,
        queues: Sequence[str] | None = None,
        pools: Sequence[str] | None = None,
        **keys: Any,
    ) -> None:
        read = None if trace is not None else _demo_trace()
        data = {"trace": trace or "demo", "cluster": cluster, **keys}
        if trace is None:
            data.setdefault("speed", "off")  # because: each of its jobs may use one model, and ran on that
        with _told():
            scenario = make_scenario(data, source="session")
            prepared = prepare(scenario, [], trace=read)
            whole = prepared.trace
            rejected = [each for each in prepared.warnings if whole.rejections and each.startswith(f"{whole.path}: ")]
            if days is not None or queues is not None:
                prepared = prepare(scenario, [], trace=_chosen(whole.own, days, queues))
            self.prepared: Prepared = prepared if pools is None else _with_pools(prepared, pools)
        self.warnings: list[str] = list(dict.fromkeys([*rejected, *self.prepared.warnings]))
        """What must not be overlooked: rows that are no jobs, jobs that fit nowhere, and the like."""
        self._of = whole.accepted
        self._all_models = set(prepared.loaded.fleet.devices_by_accelerator)

    @property
    def jobs(self) -> int:
        """How many jobs are replayed."""
        return len(self.prepared.trace.records)

    def __str__(self) -> str:
        """Trace and fleet in a line each, and the first of the warnings."""
        fleet, records = self.prepared.loaded.fleet, self.prepared.trace.records
        submits = [job.submit_ms for job in records]
        days = (max(submits) - min(submits)) / DAY_MS
        lines = [
            f"trace {self.prepared.trace.path}: {self.jobs:,} of {self._of:,} jobs, submitted in {days:.1f} days",
            f"fleet {self.prepared.loaded.source}: {len(fleet.servers):,} servers, {fleet.devices:,} devices",
            *self.warnings[:WARNINGS_SHOWN],
        ]
        more = len(self.warnings) - WARNINGS_SHOWN
        return wrapped(*lines, *([f"and {more} more warnings: see session.warnings"] if more > 0 else []))

    def run(self, policy: str) -> Run:
        """One replay. Raises `SessionError` if the policy breaks its contract."""
        with _told():
            result = replay_prepared(self.prepared, policy)
            if not result.complete:
                raise InputError(str(result.manifest["message"]))
        return result

    def compare(self, policies: Sequence[str], *, gates: Sequence[str] = ()) -> Comparison:
        """Replays under several policies, compared with the first. `gates` are sentences, as in a file of gates.

        Raises `SessionError` if a policy breaks its contract.
        """
        with _told(), tempfile.TemporaryDirectory() as folder:
            asked = _gates(gates)
            found = compare(self.prepared, policies, policies[0], Path(folder) / "out", gates=asked).comparison
            broken = [f"{name}: {run.manifest['message']}" for name, run in found.runs.items() if not run.complete]
            if broken:
                raise InputError("\n".join(broken))
            return found

    def plan(
        self,
        policies: Sequence[str],
        levels: Sequence[str],
        *,
        shake: str = "5%",
        growth: float = 1,
        prices: Mapping[str, float] | None = None,
        workers: int = 1,
        **keys: Any,
    ) -> Planned:
        """The smallest fleet under each policy that keeps the levels. `keys` are those of `sim.planning.question.Question`."""
        with _told():
            asked = self._question(policies, levels, shake, prices or {}, growth=Fraction(str(growth)), **keys)
            question = checked(self.prepared, asked)
            find = plan_mix if question.pools else plan
            return Planned(question, find(self.prepared, question, workers=workers))

    def worth(
        self, policy: str, level: str, *, replications: int = 1, shake: str = "5%", prices: Mapping[str, float] | None = None
    ) -> pd.DataFrame:  # fmt: skip
        """What one more server of each pool does to the figure of a level, in the unit of its metric.

        One row for each pool and copy of the trace: pool, accelerator, devices, cost (None without prices), replication,
        before, after.
        """
        with _told():
            asked = self._question([policy], [level], shake, prices or {})
            question = checked(self.prepared, asked)
            return pd.DataFrame(
                {
                    **{name: getattr(each, name) for name in ("pool", "accelerator", "devices", "cost")},
                    "replication": number,
                    "before": each.before[0],
                    "after": each.after[0],
                }
                for number in range(replications)
                for each in worth_of_one_more(replicated(self.prepared, asked.shake, number), policy, question)
            )

    def causes(self, run: Run) -> pd.DataFrame:
        """What each job of a run of this session waited for: see `sim.frames.causes_frame`."""
        with _told():
            return causes_frame(run, self.prepared.loaded.fleet, self.prepared.trace.records)

    def as_recorded(self, policy: str, *, overhead_s: tuple[int, int], seed: int = 1) -> Session:
        """The same jobs with starts as a system under `policy` would have recorded them: made, for want of a real record.

        Each start costs an overhead that is drawn between two lengths of time; the job holds its devices and does not
        work yet. Jobs that never start have no recorded start.
        """
        records = self.prepared.trace.own.records
        low_ms, high_ms = (1000 * each for each in overhead_s)
        rng = np.random.default_rng(seed)
        costs: list[int] = rng.integers(low_ms, high_ms, len(records), endpoint=True).tolist()
        made = copy.copy(self)
        longer = [replace(job, run_ms=job.run_ms + cost) for job, cost in zip(records, costs, strict=True)]
        made.prepared = self.prepared.of_jobs(longer)
        jobs = made.run(policy).jobs
        starts = np.where(jobs.started, jobs.first_start_ms, -1).tolist()[
            : len(records)
        ]  # because: replicas come behind
        known = [
            replace(job, recorded_start_ms=start + cost if start >= 0 else None)
            for job, start, cost in zip(records, starts, costs, strict=True)
        ]
        made.prepared = self.prepared.of_jobs(known)
        return made

    def validate(self, policy: str) -> Replayed:
        """Replay, and compare with the recorded starts. Raises `SessionError` where too few of the jobs have one."""
        with _told(), tempfile.TemporaryDirectory() as folder:
            self._refuse_without_record()
            run, _ = run_into(self.prepared, policy, Path(folder) / "run")
            found = validate(Path(folder) / "run")
            if found.overall is None:
                raise InputError(
                    f"{policy}: {found.compared} jobs have a recorded start and one here, which says nothing"
                )
            return Replayed(run, found)

    def _question(
        self, policies: Sequence[str], levels: Sequence[str], shake: str, prices: Mapping[str, float], **keys: Any
    ) -> Question:
        """What is asked, not yet checked. A price may be of a model that only pools have that were left out."""
        try:
            share = ShakeKeys.model_validate({"submit": shake, "run": shake})
        except ValueError:
            raise InputError(f"shake: must be a percentage such as 5 %, at most 50 %, got {shake!r}") from None
        both = Shake(submit=share.submit, run=share.run)
        left_out = self._all_models - set(self.prepared.loaded.fleet.devices_by_accelerator)
        paid = {name: price for name, price in prices.items() if name not in left_out}
        return Question(policies=tuple(policies), gates=parse_levels(levels), shake=both, prices=paid, **keys)

    def _refuse_without_record(self) -> None:
        if all(job.recorded_start_ms is None for job in self.prepared.trace.records):
            raise InputError(
                f"{self.prepared.trace.path}: records no starts, so a replay cannot be compared with it (in a canonical trace"
                " they are the column recorded_start_ms)"
            )


def _demo_trace() -> Trace:
    from sim.demo import demo_trace

    records = demo_trace()
    return Trace(path="demo", format="canonical", sha256="", rows=len(records), records=records, rejections=[])


def _chosen(trace: Trace, days: Days | None, queues: Sequence[str] | None) -> Trace:
    """The jobs of some days, counted from the first submission, and of some queues. Raises `InputError` where none is left."""
    kept = trace.records
    if queues is not None:
        known = {job.queue or "-" for job in kept}
        wrong = [
            f"queues: no job has {name!r}{did_you_mean(name, sorted(known))}" for name in queues if name not in known
        ]
        if wrong:
            raise InputError("\n".join(wrong))
        kept = [job for job in kept if (job.queue or "-") in queues]
    if days is not None:
        first, last = days if isinstance(days, tuple | list) else (0, days)
        if not 0 <= first < last:
            raise InputError(f"days: must be a number above 0, or two that ascend, got {days!r}")
        begin = min((job.submit_ms for job in trace.records), default=0)
        kept = window(kept, begin + round(first * DAY_MS), begin + round(last * DAY_MS), rebase=False)
    if not kept:
        raise InputError(f"{trace.path}: no job is left of days {days!r} and queues {queues!r}")
    return trace.with_own(kept)


def _with_pools(prepared: Prepared, pools: Sequence[str]) -> Prepared:
    """The same with servers of these pools alone. Raises `InputError` for one that is not there."""
    loaded = prepared.loaded
    known = loaded.fleet.pools
    wrong = [f"pools: there is no pool {name!r}{did_you_mean(name, known)}" for name in pools if name not in known]
    if wrong:
        raise InputError("\n".join(wrong))
    fleet = with_servers(loaded.fleet, [server for server in loaded.fleet.servers if server.pool in pools])
    found = check(prepared.trace.records, topology_of(fleet), queues_of(fleet), prepared.rules, {})
    return replace(prepared, loaded=replace(loaded, fleet=fleet), findings=tuple(found))


def _gates(texts: Sequence[str]) -> list[Gate]:
    """Raises `InputError` with everything that is wrong."""
    found, problems = [], []
    for number, text in enumerate(texts):
        try:
            found.append(parse_gate(text))
        except ValueError as error:
            problems.append(f"gates[{number}]: {error}")
    if problems:
        raise InputError("\n".join(problems))
    return found
