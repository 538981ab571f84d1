"""A plan as data: `plan.json` with the answers, and `tried.parquet` with a row for each fleet that was tried."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from sim.experiment.prepare import Prepared
from sim.planning.looks import Look
from sim.planning.mix import Mix, MixAnswer
from sim.planning.plan import QUANTILE, Answer, differences
from sim.planning.question import Question
from sim.results import as_json, has_key, refuse_unless_free, whole_directory
from sim.run import cluster_data, trace_data, versions

SCHEMA: Final = 1
PLAN, TRIED = "plan.json", "tried.parquet"


class Planned(NamedTuple):
    """One question with its answers."""

    question: Question
    answers: Sequence[Answer] | Sequence[MixAnswer]


def as_data(prepared: Prepared, planned: Sequence[Planned], more: dict[str, Any]) -> dict[str, Any]:
    """Plain data for JSON: numbers that are infinite are null."""
    data: dict[str, Any] = {
        "rehearse_plan": SCHEMA,
        "inputs": {
            "trace": trace_data(prepared.trace),
            "cluster": cluster_data(prepared.loaded),
            **({"services": prepared.services_data()} if prepared.services else {}),
        },
        "seed": prepared.rules.seed,
        "versions": versions(),
        "plans": [_plan_data(each) for each in planned],
        **more,
    }
    return data


def _plan_data(planned: Planned) -> dict[str, Any]:
    question, answers = planned
    first = answers[0]
    return {
        "pool": question.pool,
        "pools": {pool: [counts[0], counts[-1]] for pool, counts in question.pools.items()},
        "from": None if question.pools else question.least,
        "to": None if question.pools else question.most,
        "levels": [gate.text for gate in question.gates],
        "left_out": question.left_out,
        "replications": question.replications,
        "quantile": QUANTILE,
        "shake": None if question.shake is None else {"submit": question.shake.submit, "run": question.shake.run},
        "spare": question.spare,
        "growth": float(question.growth),
        "growth_as": question.growth_as,
        "quotas": question.quotas,
        "warm_up_ms": question.warm_up_ms,
        "drain_ms": question.drain_ms,
        "prices": dict(question.prices),
        "budget": question.budget,
        "answers": [
            _mix_data(answer) if isinstance(answer, MixAnswer) else _answer_data(answer, first) for answer in answers
        ],
    }


def _answer_data(answer: Answer, first: object) -> dict[str, Any]:
    assert isinstance(first, Answer), "the answers of one question are of one kind"
    below, at_answer = answer.below, answer.at_answer
    return {
        "policy": answer.policy,
        "servers": answer.servers,
        "devices": answer.devices,
        "cost": answer.cost,
        "load": None if at_answer is None else at_answer.load,
        "range": list(answer.range),
        "by_replication": answer.counts,
        "devices_by_replication": [None if each.best is None else each.best.devices for each in answer.searches],
        "fewer_devices_than_first": differences(first, answer),
        "monotone": answer.monotone,
        "enough_by_luck": [search.found.exceptions for search in answer.searches],
        "tried": [{str(count): met for count, met in search.found.tried.items()} for search in answer.searches],
        "one_less": None if below is None else _look_data(below),
    }


def _look_data(look: Look) -> dict[str, Any]:
    return {
        "servers": list(look.servers),
        "without": look.without or None,
        "never_start": look.figures.never,
        "figures": finite(look.figures.values),
        "full_pools": [each._asdict() for each in look.full],
    }


def _mix_data(answer: MixAnswer) -> dict[str, Any]:
    failed = answer.dearest_failed
    return {
        "policy": answer.policy,
        "best": None if answer.best is None else _mix(answer.best),
        "frontier": [_mix(each) for each in answer.frontier],
        "replays_of_mixes": len(answer.looks),
        "dearest_failed": None if failed is None else _look_data(failed),
    }


def _mix(mix: Mix) -> dict[str, Any]:
    return mix._asdict()


def finite(values: Iterable[float]) -> list[float | None]:
    """JSON has no infinity: what never happens, and what there is nothing of, is null."""
    return [value if math.isfinite(value) else None for value in values]


def refuse_unless_plan(path: Path) -> None:
    """Raise `RunDirectoryError` unless `path` is absent, empty, or holds an older plan."""
    refuse_unless_free(path, replaces=_is_plan)


def write_plan(path: Path, data: dict[str, Any], planned: Sequence[Planned]) -> None:
    """Write the directory, in place of an older plan. Raises `RunDirectoryError`."""
    refuse_unless_plan(path)
    with whole_directory(path) as made:
        pq.write_table(tried_table(planned), made / TRIED, compression="zstd")
        (made / PLAN).write_text(as_json(data), encoding="utf-8")


def tried_table(planned: Sequence[Planned]) -> Any:
    """A row for each fleet that was tried: what it was, whether it was enough, and the figure of each level in its unit.

    A job that never starts makes a quantile infinite.
    """
    rows = [
        _row(each.question, answer.policy, number, look)
        for each in planned
        for answer in each.answers
        for number, look in _looks(answer)
    ]
    types = {
        "growth": pa.float64(),
        "policy": pa.string(),
        "replication": pa.int64(),
        **{name: pa.int64() for row in rows[:1] for name in row if name.partition(".")[0] == "servers"},
        "devices": pa.int64(),
        "cost": pa.float64(),
        "enough": pa.bool_(),
        "without": pa.string(),
        "load": pa.float64(),
        "never_start": pa.float64(),
    }
    levels = [gate.text for each in planned[:1] for gate in each.question.gates]
    schema = pa.schema([*types.items(), *((text, pa.float64()) for text in dict.fromkeys(levels))])
    return pa.Table.from_pylist(rows, schema=schema)


def _looks(answer: Answer | MixAnswer) -> Iterable[tuple[int, Look]]:
    if isinstance(answer, MixAnswer):
        return answer.looks
    return [(number, look) for number, search in enumerate(answer.searches) for look in search.looks]


def _row(question: Question, policy: str, number: int, look: Look) -> dict[str, Any]:
    names = [f"servers.{pool}" for pool in question.pools] or ["servers"]
    return {
        "growth": float(question.growth),
        "policy": policy,
        "replication": number,
        **dict(zip(names, look.servers, strict=True)),
        "devices": look.devices,
        "cost": look.cost,
        "enough": look.enough,
        "without": look.without or None,
        "load": look.load,
        "never_start": look.figures.never,
        **{gate.text: value for gate, value in zip(question.gates, look.figures.values, strict=True)},
    }


def _is_plan(path: Path) -> bool:
    return has_key(path / PLAN, "rehearse_plan")
