"""What is asked for: a metric by its own name or its short one, and of which jobs: `wait.p95{queue=prod}`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from sim.fleet.problems import did_you_mean
from sim.metrics.metric import Metric, PerJob
from sim.metrics.registry import METRICS

KINDS: Final = ("queue", "user", "size", "accelerator")
"""What jobs can be told apart by."""

ALIASES: Final = {
    "evictions": "preemptions",
    "quota_violations": "quota_violation",
    "slowdown": "bounded_slowdown",
    "jct": "completion",
}
KIND_ALIASES: Final = {"tenant": "user"}

EACH: Final = "*"
"""Instead of a name: for each of them."""

Where = tuple[tuple[str, str], ...]
"""Pairs of a kind and a name; a job must have all of them. Empty is every job."""

_SELECTOR: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+(?:\.\d+)?)?)\s*(?:\{([^}]*)\})?", re.ASCII)
_LABEL: Final = re.compile(r"""\s*([A-Za-z_]+)\s*=\s*("[^"]*"|'[^']*'|[^,"']+)\s*(?:,|$)""", re.ASCII)
_QUANTILE: Final = re.compile(r"p(\d{1,2}(?:\.\d{1,3})?)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Quantity:
    """One figure that a comparison can ask for."""

    name: str
    """`wait.p95`, `preemptions`."""
    metric: Metric
    """The metric, or for a quantile that is none, the one whose column and unit it shares."""
    per_job: PerJob | None

    @property
    def worse(self) -> int:
        """1 where more is worse, -1 where less is."""
        return 1 if self.metric.better == "lower" else -1

    def __reduce__(self) -> tuple[object, ...]:
        return (quantity, (self.name,))  # because: a metric is made of functions, which another process finds by name


class Selector(NamedTuple):
    """A quantity of some jobs."""

    quantity: Quantity
    where: Where

    def __str__(self) -> str:
        return f"{self.quantity.name}{labels(self.where)}"


def labels(where: Where) -> str:
    """`{queue=prod,size=8}`, or nothing for every job."""
    return f"{{{','.join(f'{kind}={name}' for kind, name in where)}}}" if where else ""


def short_name(metric: Metric) -> str:
    """`wait.p95` of `wait_p95_ms`: the column and the statistic. A count, or a figure of the whole run, has one word."""
    per_job = metric.per_job
    plain = metric.name.removesuffix("_ms")
    if per_job is None or per_job.statistic == "sum":
        return plain
    return f"{per_job.column}.{plain.removeprefix(per_job.column + '_')}"


_BY_SHORT_NAME: Final = {(name := short_name(metric)): Quantity(name, metric, metric.per_job) for metric in METRICS}
_KNOWN: Final = _BY_SHORT_NAME | {each.metric.name: each for each in _BY_SHORT_NAME.values()}


def quantities() -> list[Quantity]:
    """One for each metric."""
    return list(_BY_SHORT_NAME.values())


def quantity(text: str) -> Quantity:
    """By a metric's name, its short name, or any quantile of a column that has quantiles. Raises `ValueError`."""
    column, dot, statistic = text.partition(".")
    column = ALIASES.get(column, column)
    known = _KNOWN.get(column + dot + statistic)
    return known or _other_quantile(column, statistic) or _unknown(text)


def _other_quantile(column: str, statistic: str) -> Quantity | None:
    percent = _QUANTILE.fullmatch(statistic)
    for metric in METRICS:
        per_job = metric.per_job
        if percent and per_job and (per_job.column, per_job.statistic) == (column, "quantile"):
            q = float(percent[1]) / 100
            return Quantity(f"{column}.{statistic}", metric, PerJob(column, per_job.values, "quantile", q))
    return None


def _unknown(text: str) -> Quantity:
    hint = did_you_mean(text, [*_KNOWN, *ALIASES]) or f"; known are {', '.join(_BY_SHORT_NAME)}"
    raise ValueError(f"no metric {text!r}{hint}")


def parse_selector(text: str) -> tuple[Selector, str]:
    """The selector at the beginning of a text, and what follows it. Raises `ValueError`."""
    found = _SELECTOR.match(text.strip())
    if found is None:
        raise ValueError(f"must begin with a metric, such as wait.p95{{queue=prod}}, got {text.strip()!r}")
    where = _labels(found[2]) if found[2] is not None else ()
    return select(quantity(found[1]), where), text.strip()[found.end() :].strip()


def select(what: Quantity, where: Where) -> Selector:
    """Raises `ValueError` for some jobs of a figure that only the whole run has."""
    if where and what.per_job is None:
        raise ValueError(f"{what.name} is a figure of the whole run: leave out {labels(where)}")
    return Selector(what, where)


def check_kind(kind: str) -> str:
    """The kind that a word means. Raises `ValueError`."""
    meant = KIND_ALIASES.get(kind, kind)
    if meant not in KINDS:
        hint = did_you_mean(kind, [*KINDS, *KIND_ALIASES]) or f"; known are {', '.join(KINDS)}"
        raise ValueError(f"jobs cannot be told apart by {kind!r}{hint}")
    return meant


def make_where(pairs: Iterable[tuple[str, str]]) -> Where:
    """Checked kinds, each once. Raises `ValueError`."""
    found: dict[str, str] = {}
    for kind, name in pairs:
        meant = check_kind(kind)
        if meant in found:
            raise ValueError(f"{meant} appears twice")
        found[meant] = name
    return tuple(found.items())


def expand(selector: Selector, names: Mapping[str, Sequence[str]]) -> list[Selector]:
    """One for each name where `*` stands; `names` are those that the jobs have. Raises `ValueError` for a name they have not."""
    wheres: list[Where] = [()]
    for kind, name in selector.where:
        known = names.get(kind, ())
        if name != EACH and name not in known:
            hint = did_you_mean(name, known) or f"; there are {', '.join(list(known)[:8]) or 'none'}"
            raise ValueError(f"no job that counts has {kind} {name!r}{hint}")
        wheres = [(*where, (kind, each)) for where in wheres for each in (known if name == EACH else [name])]
    return [selector._replace(where=where) for where in wheres]


def _labels(text: str) -> Where:
    pairs, at = [], 0
    while text[at:].strip():
        found = _LABEL.match(text, at)
        if found is None:
            raise ValueError(f"must be labels such as {{queue=prod}}, got {{{text}}}")
        pairs.append((found[1], found[2].strip().strip("\"'")))
        at = found.end()
    return make_where(pairs)
