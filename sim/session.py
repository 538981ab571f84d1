"""What notebooks call: inputs in memory, runs and comparisons as data frames. Thin over the rest; it decides nothing."""

from __future__ import annotations

import tempfile
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from sim.experiment.compare import compare
from sim.experiment.comparison import Comparison
from sim.experiment.prepare import Prepared, prepare, replay_prepared
from sim.experiment.scenario import make_scenario
from sim.experiment.scenario_keys import ShakeKeys
from sim.experiment.shake import Shake
from sim.jobs_table import jobs_arrow
from sim.planning.levels import parse_levels
from sim.planning.mix import plan_mix
from sim.planning.plan import plan
from sim.planning.question import Question, checked
from sim.planning.text import plan_lines
from sim.planning.written import Planned, tried_table
from sim.results import Run
from sim.run import InputError
from traces.trace import Trace
from traces.transform import window

if TYPE_CHECKING:
    from sim.gates.gate import Gate

HOUR_MS = 3_600_000


class Session:
    """A trace on a fleet, read once; replay it as often as you like.

    `keys` are those of a scenario file (`oracle=True`, `rules={"restart": "5m"}`, ...). Without a trace it is the built-in
    one. Only jobs of the first `days` are taken. Raises `InputError` with everything that is wrong.
    """

    def __init__(
        self, trace: str | None = None, cluster: str = "demo", *, days: float | None = None, **keys: Any
    ) -> None:
        read = None if trace is not None else _demo_trace()
        data = {"trace": trace or "demo", "cluster": cluster, **keys}
        if trace is None:
            data.setdefault("speed", "off")  # because: each of its jobs may use one model, and ran on that
        scenario = make_scenario(data, source="session")
        prepared = prepare(scenario, [], trace=read)
        if days is not None:
            kept = window(prepared.trace.own.records, 0, round(days * 24 * HOUR_MS))
            prepared = prepared.of_jobs(kept)
        self.prepared: Prepared = prepared

    @property
    def jobs(self) -> int:
        """How many jobs are replayed."""
        return len(self.prepared.trace.records)

    def run(self, policy: str) -> Run:
        """One replay. Raises `InputError` if the policy breaks its contract."""
        result = replay_prepared(self.prepared, policy)
        if not result.complete:
            raise InputError(str(result.manifest["message"]))
        return result

    def compare(self, policies: Sequence[str], *, gates: Sequence[Gate] = ()) -> Comparison:
        """Replays under several policies, compared with the first."""
        with tempfile.TemporaryDirectory() as folder:
            return compare(self.prepared, policies, policies[0], Path(folder) / "out", gates=gates).comparison

    def plan(
        self, policies: Sequence[str], levels: Sequence[str], *, shake: str = "5%", workers: int = 1, **keys: Any
    ) -> Planned:
        """The smallest fleet under each policy that keeps the levels. `keys` are those of `sim.planning.question.Question`."""
        share = ShakeKeys.model_validate({"submit": shake, "run": shake})
        asked = Question(
            policies=tuple(policies),
            gates=parse_levels(levels),
            shake=Shake(submit=share.submit, run=share.run),
            **keys,
        )
        question = checked(self.prepared, asked)
        find = plan_mix if question.pools else plan
        return Planned(question, find(self.prepared, question, workers=workers))


def _demo_trace() -> Trace:
    from sim.demo import demo_trace

    records = demo_trace()
    return Trace(path="demo", format="canonical", sha256="", rows=len(records), records=records, rejections=[])


def jobs_frame(run: Run) -> pd.DataFrame:
    """The jobs of a run, as `jobs.parquet` has them."""
    frame: pd.DataFrame = jobs_arrow(run.jobs, run.levels).to_pandas()
    return frame


def plan_text(planned: Planned, width: int = 90) -> str:
    """What a plan found, in sentences of so many letters a line."""
    return "\n".join(line for said in plan_lines(planned) for line in textwrap.wrap(said, width))


def tried_frame(planned: Planned) -> pd.DataFrame:
    """One row for each fleet that a plan tried; a level is a column, named as it is written."""
    frame: pd.DataFrame = tried_table([planned]).to_pandas()
    return frame


def metrics_frame(comparison: Comparison, *names: str) -> pd.DataFrame:
    """The metrics of all jobs: one row for each policy. Without `names`, all of them."""
    values = comparison.whole.values
    frame = pd.DataFrame({policy: values[policy] for policy in comparison.names}).T
    return frame[list(names)] if names else frame


def groups_frame(comparison: Comparison, metric: str) -> pd.DataFrame:
    """One metric by queue and size class: one row for each group, one column for each policy."""
    rows = {
        (group.kind, group.name): {policy: group.values[policy].get(metric) for policy in comparison.names}
        for group in comparison.groups
    }
    return pd.DataFrame(rows).T
