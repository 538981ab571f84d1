"""What is asked for: a metric by its own name or its short one, and of which jobs: `wait.p95{queue=prod}`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, NamedTuple

from sim.fleet.problems import did_you_mean
from sim.metrics.metric import Metric, OfRequests, PerJob
from sim.metrics.registry import METRICS

KINDS: Final = ("queue", "user", "size", "accelerator", "service")
"""What jobs can be told apart by."""

ALIASES: Final = {
    "evictions": "preemptions",
    "quota_violations": "quota_violation",
    "deadlines_missed": "deadline_missed",
    "slowdown": "bounded_slowdown",
    "jct": "completion",
}
KIND_ALIASES: Final = {"tenant": "user"}

NONE: Final = {
    "deadline_ms": "no job that counts has a deadline",
    "services": "there is no service",
    "objectives": "there is no service with an objective",
}
NOBODY: Final = {
    "deadline_ms": "no job with a deadline that counts",
    "services": "no service",
    "objectives": "no service with an objective",
}
FROM: Final = {
    "deadline_ms": "`rehearse trace convert` gives some with --deadline-factor",
    "services": "the key `services` of a scenario has them",
    "objectives": "the key `services` of a scenario has them",
}
"""`PerJob.having`, or `Metric.needs` -> how it is said that nothing is of the kind, and where such things come from."""

Names = Mapping[str, Sequence[str]]
"""Kind -> the names that jobs have."""

NOTHING: Final[Mapping[str, Names]] = MappingProxyType({})

EACH: Final = "*"
"""Instead of a name: for each of them."""

Where = tuple[tuple[str, str], ...]
"""Pairs of a kind and a name; a job must have all of them. Empty is every job."""

_SELECTOR: Final = re.compile(
    r"""([A-Za-z_][A-Za-z0-9_]*(?:\.[A-Za-z0-9_]+(?:\.\d+)?)?)\s*(?:\{((?:"[^"]*"|'[^']*'|[^}"'])*|[^}]*)\})?""",
    re.ASCII,
)
_LABEL: Final = re.compile(r"""\s*([A-Za-z_]+)\s*=\s*("[^"]*"|'[^']*'|[^,"']+)\s*(?:,|$)""", re.ASCII)
_UNQUOTED: Final = re.compile(r"""[^,"'}\s](?:[^,"'}]*[^,"'}\s])?""")
_QUANTILE: Final = re.compile(r"p(\d{1,2}(?:\.\d{1,3})?)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Quantity:
    """One figure that a comparison can ask for."""

    name: str
    """`wait.p95`, `preemptions`."""
    metric: Metric
    """The metric, or for a quantile that is none, the one whose column and unit it shares."""
    per_job: PerJob | None
    of_requests: OfRequests | None = None

    @property
    def about(self) -> str | None:
        """What not every job has, and this is about: a key of `NONE`."""
        return self.metric.needs or (None if self.per_job is None else self.per_job.having)

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
    return f"{{{','.join(f'{kind}={_quoted(name)}' for kind, name in where)}}}" if where else ""


def _quoted(name: str) -> str:
    """A name as a selector can be read again."""
    if _UNQUOTED.fullmatch(name):
        return name
    quote = "'" if '"' in name else '"'
    return f"{quote}{name}{quote}"


def short_name(metric: Metric) -> str:
    """`wait.p95` of `wait_p95_ms`: the column and the statistic. A count, a share, or a figure of the whole run has one word."""
    made_of = metric.per_job or metric.of_requests
    plain = metric.name.removesuffix("_ms")
    if made_of is None or made_of.statistic in ("sum", "late", "late count"):
        return plain
    if made_of.statistic == "mean" and metric.unit == "share":
        return made_of.column
    return f"{made_of.column}.{plain.removeprefix(made_of.column + '_')}"


_BY_SHORT_NAME: Final = {
    (name := short_name(metric)): Quantity(name, metric, metric.per_job, metric.of_requests) for metric in METRICS
}
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
        per_job, of_requests = metric.per_job, metric.of_requests
        made_of = per_job or of_requests
        if percent and made_of and (made_of.column, made_of.statistic) == (column, "quantile"):
            q, name = float(percent[1]) / 100, f"{column}.{statistic}"
            return Quantity(
                name, metric, per_job and replace(per_job, q=q), of_requests and replace(of_requests, q=q)
            )
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
    if where and what.per_job is None and what.of_requests is None:
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


class Served(NamedTuple):
    """A service whose requests can be asked about."""

    labels: Mapping[str, str]
    """Kind -> name, as all its replicas have them."""
    objective: bool
    """Whether it has one."""


def serving(where: Where, services: Iterable[Served]) -> list[str]:
    """The names of the services whose replicas have all the labels."""
    return [each.labels["service"] for each in services if set(where) <= each.labels.items()]


def expand(selector: Selector, names: Names, having: Mapping[str, Names] = NOTHING) -> list[Selector]:
    """One for each name where `*` stands; `names` are those that the jobs have. Raises `ValueError` for a name they have not.

    `having` are those of the jobs that have what not all have, such as a deadline: in metrics about it, only these count.
    """
    wheres: list[Where] = [()]
    who = "no job that counts"
    own = selector.quantity.about
    if own is not None and own in having:
        names = having[own]
        if not any(names.values()):
            raise ValueError(f"{NONE[own]}; {FROM[own]}")
        who = NOBODY[own]
    for kind, name in selector.where:
        known = names.get(kind, ())
        if name != EACH and name not in known:
            hint = did_you_mean(name, known) or f"; there are {', '.join(list(known)[:8]) or 'none'}"
            raise ValueError(f"{who} has {kind} {name!r}{hint}")
        wheres = [(*where, (kind, each)) for where in wheres for each in (known if name == EACH else [name])]
    return [selector._replace(where=where) for where in wheres]


def _labels(text: str) -> Where:
    pairs, at = [], 0
    while text[at:].strip():
        found = _LABEL.match(text, at)
        if found is None:
            raise ValueError(f"must be labels such as {{queue=prod}}, got {{{text}}}")
        name = found[2].strip()
        pairs.append((found[1], name[1:-1] if name[0] in "\"'" and len(name) > 1 else name))
        at = found.end()
    return make_where(pairs)
