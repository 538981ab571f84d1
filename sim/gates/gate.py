"""One gate: a metric of some jobs, and how much worse it may become, or a limit. As a sentence or as a mapping."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from sim.experiment.margins import EXAMPLES, Margin, parse_limit, parse_margin
from sim.experiment.quantities import Selector, Where, make_where, parse_selector, quantity, select
from sim.fleet.problems import did_you_mean

KEYS: Final = ("metric", "where", "allow", "at_most", "at_least", "policies", "because")

_PHRASES: Final = {
    "no worse than": 0,
    "no more than": 1,
    "at most": 1,
    "no less than": -1,
    "at least": -1,
}
"""Words -> which way is worse: 0 as the metric says."""

_WORDS: Final = re.compile(rf"({'|'.join(_PHRASES)})\s+(.*)", re.IGNORECASE)
_LIMIT: Final = re.compile(r"(<=|>=|≤|≥)\s*(.*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A margin against the baseline, or a limit."""

    selector: Selector
    worse: Literal[1, -1]
    """1 where more of it is worse."""
    margin: Margin | None = None
    limit: float | None = None
    text: str
    """As it is shown."""
    policies: tuple[str, ...] = ()
    """Only these; empty is every policy that is not the baseline."""
    because: str = ""


def parse_gate(value: object) -> Gate:
    """A sentence, a mapping of one metric to a sentence, or a mapping with keys. Raises `ValueError` with a hint."""
    if isinstance(value, Mapping):
        if len(value) == 1 and not value.keys() & set(KEYS):
            ((name, phrase),) = value.items()
            return _from_text(str(name), str(phrase))
        return _from_keys(value)
    if not isinstance(value, str):
        raise ValueError(  # noqa: TRY004  # because: wrong input, not a wrong type
            f"must be a sentence such as 'wait.p95: no more than +5 % or +2 min', or a mapping, got {value!r}"
        )
    selector, rest = parse_selector(value)
    return _gate(selector, rest.removeprefix(":").strip())


def _from_text(name: str, phrase: str) -> Gate:
    selector, rest = parse_selector(name)
    if rest:
        raise ValueError(f"must be a metric before the colon, got {rest!r} behind {selector}")
    return _gate(selector, phrase.strip())


def _gate(selector: Selector, phrase: str, **more: Any) -> Gate:
    what = selector.quantity
    limit = _LIMIT.fullmatch(phrase)
    if limit:
        more_is_worse = limit[1] in ("<=", "≤")
        return _limited(selector, limit[2], worse=1 if more_is_worse else -1, **more)
    words = _WORDS.fullmatch(phrase)
    if words is None and phrase[:1] not in {"+", "-"}:
        hint = did_you_mean(" ".join(phrase.split()[:3]), _PHRASES)
        raise ValueError(f"must go on with one of {', '.join(_PHRASES)}, <= or >=, got {phrase!r}{hint}")
    side = _PHRASES[words[1].casefold()] if words else 0
    amount = words[2] if words else phrase
    worse = side or what.worse
    margin = parse_margin(amount, what.metric.unit, worse)
    said = words[1].casefold() if words else "no worse than"
    return Gate(
        selector=selector,
        worse=1 if worse > 0 else -1,
        margin=margin,
        text=f"{selector}: {said} {margin.text}",
        **more,
    )


def _limited(selector: Selector, text: str, *, worse: Literal[1, -1], **more: Any) -> Gate:
    limit = parse_limit(text, selector.quantity.metric.unit)
    sign = "<=" if worse > 0 else ">="
    return Gate(selector=selector, worse=worse, limit=limit, text=f"{selector} {sign} {text.strip()}", **more)


def _from_keys(data: Mapping[Any, Any]) -> Gate:
    unknown = [str(key) for key in data if key not in KEYS]
    if unknown:
        raise ValueError(f"{unknown[0]}: unknown key{did_you_mean(unknown[0], KEYS)}")
    if "metric" not in data:
        raise ValueError("metric: is required")
    selector = select(quantity(str(data["metric"]).strip()), _where(data.get("where")))
    bounds = [key for key in ("allow", "at_most", "at_least") if key in data]
    if len(bounds) != 1:
        raise ValueError(
            "must have one of allow (against the baseline), at_most and at_least (a limit), "
            f"such as allow: {EXAMPLES[selector.quantity.metric.unit]}"
        )
    more = {"policies": tuple(_texts(data.get("policies"), "policies")), "because": str(data.get("because") or "")}
    amount = " or ".join(_texts(data[bounds[0]], bounds[0]))
    if bounds[0] == "allow":
        return _gate(selector, f"no worse than {amount}", **more)
    return _limited(selector, amount, worse=1 if bounds[0] == "at_most" else -1, **more)


def _where(value: object) -> Where:
    if value is None:
        return ()
    if not isinstance(value, Mapping):
        raise ValueError(f"where: must be a mapping such as {{queue: prod}}, got {value!r}")  # noqa: TRY004  # because: wrong input, not a wrong type
    return make_where((str(kind), str(name)) for kind, name in value.items())


def _texts(value: object, key: str) -> Iterable[str]:
    if value is None:
        return []
    found = value if isinstance(value, list) else [value]
    if not all(isinstance(each, str | int | float) and not isinstance(each, bool) for each in found):
        raise ValueError(f"{key}: must be text or a list of texts, got {value!r}")
    return [str(each) for each in found]
