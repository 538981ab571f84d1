"""Runs, comparisons and plans as data frames, for notebooks. Figures are in the units of their names; nothing is decided here."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from sim.causes.cause import CAUSES
from sim.causes.of_run import causes_of_run
from sim.experiment.comparison import Comparison
from sim.experiment.effects import Effect
from sim.fidelity.validate import TAIL, Fidelity
from sim.fleet.model import Fleet
from sim.jobs_table import jobs_arrow
from sim.metrics.registry import SIZE_CLASSES, groups
from sim.planning.plan import Answer
from sim.planning.text import plan_lines
from sim.planning.written import Planned, tried_table
from sim.report.paired_text import gate_words
from sim.results import Run
from sim.stretches import stretches
from traces.job import DEVICE_MILLI, JobRecord

if TYPE_CHECKING:
    from numpy.typing import NDArray

HOUR_MS: Final = 3_600_000

WIDTH: Final = 110
"""Letters that a line of a notebook holds."""


def jobs_frame(run: Run) -> pd.DataFrame:
    """The jobs of a run, as `jobs.parquet` has them."""
    frame: pd.DataFrame = jobs_arrow(run.jobs, run.levels).to_pandas()
    return frame


def wrapped(*sentences: str) -> str:
    """Each sentence from a new line on, broken between words where a notebook would break it anywhere."""
    return "\n".join(
        line for said in sentences for line in textwrap.wrap(said, WIDTH, subsequent_indent=_indent(said))
    )


def _indent(text: str) -> str:
    return " " * (len(text) - len(text.lstrip()))


def plan_text(planned: Planned) -> str:
    """What a plan found."""
    return wrapped(*plan_lines(planned))


def needs_frame(planned: Planned) -> pd.DataFrame:
    """One row for each policy of a plan that counts one pool, or the whole fleet.

    `servers` that it needs (null where the largest count is not enough) and the same in `words`, `low` and `high` of the
    replications, `first` of the trace as it is, `devices`, `cost`.
    """
    answers = [answer for answer in planned.answers if isinstance(answer, Answer)]
    beyond = f"more than {planned.question.most}"
    return pd.DataFrame(
        {
            "servers": answer.servers,
            "words": beyond if answer.servers is None else str(answer.servers),
            "low": answer.range[0],
            "high": answer.range[1],
            "first": answer.counts[0],
            "devices": answer.devices,
            "cost": answer.cost,
        }
        for answer in answers
    ).set_axis([answer.policy for answer in answers])


def tried_frame(planned: Planned) -> pd.DataFrame:
    """One row for each fleet that a plan tried; a level is a column, named as it is written."""
    frame: pd.DataFrame = tried_table([planned]).to_pandas()
    return frame


def curve_frame(planned: Planned) -> pd.DataFrame:
    """The figure of the worst level on each fleet that was tried, in the unit of its metric: a row for each policy and count.

    `low`, `middle` and `high` are of the replications that tried it. Raises ValueError for levels of several units.
    """
    units = {gate.selector.quantity.metric.unit for gate in planned.question.gates}
    senses = {gate.worse for gate in planned.question.gates}
    if len(units) > 1 or len(senses) > 1:
        raise ValueError("the levels are of several units: none of them is the worst")
    tried, levels = tried_frame(planned), [gate.text for gate in planned.question.gates]
    worst = tried[levels].max(axis="columns") if senses == {1} else tried[levels].min(axis="columns")
    found = worst.groupby([tried["policy"], tried["servers"]], sort=False).agg(["min", "median", "max"]).sort_index()
    return found.set_axis(["low", "middle", "high"], axis="columns")


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


def gates_frame(comparison: Comparison) -> pd.DataFrame:
    """One row for each gate and policy: outcome, figures, and how far beyond what is allowed with the ends of its interval.

    Figures are in the unit of the metric, milliseconds for times; `why` says it in words.
    """
    names = ["policy", "outcome", "metric", "value", "baseline", "excess", "excess_low", "excess_high"]
    rows = [[*(getattr(each, name) for name in names), gate_words(each)] for each in comparison.gates]
    return pd.DataFrame(
        rows, columns=[*names, "why"], index=pd.Index([each.gate for each in comparison.gates], dtype=str)
    )


def causes_frame(run: Run, fleet: Fleet, records: Sequence[JobRecord]) -> pd.DataFrame:
    """What each job waited for before its first start: a row for each job that started, a column of hours for each cause.

    Beside them `queue`, `size` and `gpus`, and in `wait` their sum. Raises ValueError for a static fill.
    """
    found = causes_of_run(run, fleet, records)
    frame = pd.DataFrame(found.columns.first.T / HOUR_MS, columns=list(CAUSES))
    sizes = [group for group in groups(run.jobs) if group.kind == "size"]
    codes = np.argmax([group.rows for group in sizes], axis=0).tolist()
    names = pd.Index([group.name for group in sizes])
    frame.insert(0, "queue", run.jobs.text("queue").fill_null("-").to_pylist())
    frame.insert(1, "size", pd.Series(pd.Categorical.from_codes(codes, names, ordered=True)))
    frame.insert(2, "gpus", run.jobs.demand_milli / DEVICE_MILLI)
    frame.insert(3, "wait", frame[list(CAUSES)].sum(axis="columns"))
    frame.index = pd.Index(run.jobs.text("job_id").to_pylist(), name="job_id")
    return frame[run.jobs.started]


def mostly(waits: pd.DataFrame) -> pd.Series[str]:
    """The cause with the most hours in each row of a table that has columns of causes; `nothing` in a row without a wait."""
    causes = waits[[name for name in CAUSES if name in waits]]
    return causes.idxmax(axis="columns").where(causes.max(axis="columns") > 0, "nothing")


def waits_frame(run: Run, records: Sequence[JobRecord]) -> pd.DataFrame:
    """Predicted and recorded wait in seconds of each job that has both and whose clocks agree; with `queue` and `gpus`."""
    jobs = jobs_frame(run)
    starts = pd.Series([job.recorded_start_ms for job in records], dtype=float)
    found = pd.DataFrame(
        {
            "queue": jobs["queue"].fillna("-"),
            "gpus": jobs["gpus"],
            "predicted": jobs["wait_ms"] / 1000,
            "recorded": (starts - jobs["submit_ms"]) / 1000,
        }
    ).set_index(jobs["job_id"])
    return found[(found["recorded"] >= 0) & found["predicted"].notna()]


def held_frame(run: Run, records: Sequence[JobRecord]) -> pd.DataFrame:
    """Devices that jobs held, as predicted and as recorded: the mean of each hour from the first to the last submission.

    The index is the number of the hour. What is recorded is a start and a run time, so that overheads are not in it.
    """
    submits = run.jobs.submit_ms
    begin, hours = int(submits.min()), int(np.ptp(submits)) // HOUR_MS + 1
    devices = run.jobs.demand_milli / DEVICE_MILLI
    ran = stretches(run.timeline, int(run.manifest["end_ms"]))
    known = [(row, job.recorded_start_ms) for row, job in enumerate(records) if job.recorded_start_ms is not None]
    rows, starts = np.array(known, dtype=np.int64).reshape(-1, 2).T
    return pd.DataFrame(
        {
            "predicted": _by_hour(ran.start_ms - begin, ran.end_ms - begin, devices[ran.job], hours),
            "recorded": _by_hour(starts - begin, starts - begin + run.jobs.work_ms[rows], devices[rows], hours),
        }
    ).rename_axis("hour")


def _by_hour(starts: NDArray[Any], ends: NDArray[Any], devices: NDArray[Any], hours: int) -> NDArray[np.float64]:
    """The mean of what is held in each of the first hours; times in milliseconds from the begin of the first."""
    times = np.concatenate((starts, ends))
    order = np.argsort(times, kind="stable")
    times, held = times[order].astype(np.float64), np.cumsum(np.concatenate((devices, -devices))[order])
    if not len(times):
        return np.zeros(hours)
    area = np.concatenate(([0.0], np.cumsum(held[:-1] * np.diff(times))))
    edges = np.arange(hours + 1) * HOUR_MS
    means: NDArray[np.float64] = np.diff(np.interp(edges, times, area)) / HOUR_MS
    return means


def effects_frame(comparison: Comparison, policy: str, quantity: str = "wait.mean") -> pd.DataFrame:
    """What a policy changes against the baseline, with its 95 % interval: one row for each group of jobs.

    All jobs, then each queue, the largest first, then each size, the smallest first. Figures are in the unit of the metric,
    milliseconds for times; an interval is null where too little is known. Empty where nothing was compared in pairs.
    """
    paired = comparison.paired
    found = paired.policies.get(policy) if paired is not None else None
    effects = [] if found is None else [*found.metrics, *found.groups]
    kinds, sizes = ("all", "queue", "size"), [name for name, _ in SIZE_CLASSES]
    shown = [each for each in effects if each.quantity == quantity and each.kind in kinds]
    shown.sort(key=lambda each: (kinds.index(each.kind), sizes.index(each.name) if each.kind == "size" else 0))
    rows = [
        (each.kind, each.name, each.jobs, each.baseline, each.value, *_change(each), each.verdict) for each in shown
    ]
    columns = ["kind", "name", "jobs", "baseline", "value", "change", "low", "high", "verdict"]
    return pd.DataFrame(rows, columns=columns).set_index(["kind", "name"])


def _change(effect: Effect) -> tuple[float | None, float | None, float | None]:
    """The change and the ends of its interval, which is not known where there are too few blocks."""
    if effect.difference is not None:
        return effect.difference.value, effect.difference.low, effect.difference.high
    if effect.value is None or effect.baseline is None:
        return None, None, None
    return effect.value - effect.baseline, None, None


def members(jobs: pd.DataFrame, kind: str, name: str) -> pd.DataFrame:
    """Those rows of `causes_frame` that are of a group of `effects_frame`."""
    return jobs if kind == "all" else jobs[jobs[kind] == name]


def agreement_frame(found: Mapping[str, Fidelity]) -> pd.DataFrame:
    """How near the replay under each policy is to the record, the nearest first.

    Wasserstein distance in minutes, Kolmogorov-Smirnov distance, rank correlation of the jobs (null where one side is constant),
    share of the jobs that are predicted well.
    """
    rows = {
        policy: {
            "Wasserstein": each.overall.wasserstein_ms / 60_000,
            "KS": each.overall.ks,
            "rank": each.overall.rank_correlation,
            "near": each.overall.near_share,
        }
        for policy, each in found.items()
        if each.overall is not None
    }
    return pd.DataFrame(rows, dtype=float).T.sort_values("Wasserstein", kind="stable")


def errors_frame(found: Fidelity) -> pd.DataFrame:
    """Recorded and predicted waits in milliseconds, mean and 95th percentile, with the relative errors.

    Of all jobs, and of each queue where there are several. An error is null where the record has no waits.
    """
    groups = {"all": found.overall, **(found.by_queue if len(found.by_queue) > 1 else {})}
    rows = {}
    for name, each in groups.items():
        if each is not None:
            tail = each.recorded_quantiles_ms[TAIL], each.predicted_quantiles_ms[TAIL]
            pairs = {"mean": (each.recorded_mean_ms, each.predicted_mean_ms), "p95": tail}
            rows[name] = {"jobs": each.jobs} | {
                key: value for what, pair in pairs.items() for key, value in _error(what, *pair)
            }
    return pd.DataFrame.from_dict(rows, orient="index")


def _error(what: str, recorded: float, predicted: float) -> Iterator[tuple[str, float]]:
    yield f"{what} recorded", recorded
    yield f"{what} predicted", predicted
    yield f"{what} error", predicted / recorded - 1 if recorded > 0 else np.nan
