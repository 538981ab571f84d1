"""What a comparison is asked to tell: quantities, each with the margin that was declared for it before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from sim.experiment.margins import Margin, default_margin, parse_margin
from sim.experiment.quantities import Selector, make_where, parse_selector, quantities, quantity, select
from sim.fleet.problems import did_you_mean

KEYS: Final = ("metric", "where", "margin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A quantity of some jobs with its margin."""

    selector: Selector
    margin: Margin


def default_family(*, whole_runs: bool) -> list[Asked]:
    """Every metric, with the margin of its unit; figures of whole runs only where whole runs are the blocks."""
    return [
        Asked(selector=Selector(each, ()), margin=default_margin(each.metric))
        for each in quantities()
        if whole_runs or each.per_job is not None
    ]


def asked_for(value: object) -> Asked:
    """`wait.p95{queue=prod}: +5 % or +2 min`, without its margin, or as a mapping. Raises `ValueError`."""
    if isinstance(value, Mapping) and len(value) == 1 and "metric" not in value:
        ((name, margin),) = value.items()
        return _asked(str(name), margin)
    if isinstance(value, Mapping):
        unknown = [key for key in value if key not in KEYS]
        if unknown:
            raise ValueError(f"{unknown[0]}: unknown key{did_you_mean(str(unknown[0]), KEYS)}")
        where = value.get("where") or {}
        if not isinstance(where, Mapping):
            raise ValueError(f"where: must be a mapping such as {{queue: prod}}, got {where!r}")  # noqa: TRY004  # because: wrong input, not a wrong type
        pairs = make_where((str(kind), str(name)) for kind, name in where.items())
        return _with_margin(select(quantity(str(value.get("metric"))), pairs), value.get("margin"))
    name, colon, margin = str(value).partition("}:" if "}:" in str(value) else ":")
    return _asked(name + ("}" if colon == "}:" else ""), margin if colon else None)


def _asked(name: str, margin: object) -> Asked:
    selector, rest = parse_selector(name)
    if rest:
        raise ValueError(
            f"must be a metric and perhaps a margin, such as wait.p95: +5 %, got {rest!r} behind {selector}"
        )
    return _with_margin(selector, margin)


def _with_margin(selector: Selector, margin: object) -> Asked:
    metric = selector.quantity.metric
    if margin is None:
        return Asked(selector=selector, margin=default_margin(metric))
    return Asked(selector=selector, margin=parse_margin(str(margin), metric.unit, selector.quantity.worse))
