"""How things are said: messages of a language with figures and names in them, as plain text or as markup.

In markup everything is escaped, and what another room wrote in English and is not in the
catalogue is shown as it was written, and marked as English.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from markupsafe import Markup, escape

from sim.experiment.durations import parse_duration
from sim.experiment.margins import Unit, parse_margin
from sim.metrics.metric import Metric
from sim.report.language import Language, language, recognised
from sim.report.names import fitted, turns, visible, width

_UNITS: Final = (("day", 86_400_000), ("hour", 3_600_000), ("minute", 60_000))

_AND: Final = re.compile(r",? and (?=it |the head |reserves )")
"""Between the reasons of `policies.deployability`, which have an `and` of their own."""

NAME_MAX: Final = 64
"""Columns of a name in a sentence or a table; the lists of policies and inputs have it in full."""

_NO_BREAK: Final = "\u00a0"


class Voice:
    """See the module."""

    def __init__(self, spoken: Language, *, markup: bool = False) -> None:
        self.language = spoken
        self.markup = markup

    @property
    def for_page(self) -> Voice:
        """The same language as markup."""
        return markup(self.language.code)

    def say(self, key: str, /, **values: Any) -> str:
        """The message; a number `n` chooses its plural form. In markup a value that is not markup is escaped."""
        n = values.get("n")
        whole = n if isinstance(n, int) else None
        shown = {name: self.count(each) if isinstance(each, int) else each for name, each in values.items()}
        text = self.language.message(key, whole)
        if not self.markup:
            return text.format(**shown)
        return Markup(escape(text)).format(**shown)  # noqa: S704  # because: the message is escaped here, its values by `format`

    def name(self, text: object) -> str:
        """A name that somebody else chose, in a page shortened to what a line holds."""
        return self.whole(text if not self.markup or width(str(text)) <= NAME_MAX else fitted(str(text), NAME_MAX))

    def whole(self, text: object) -> str:
        """The same in full length; where it is written from right to left, that ends with it."""
        shown = visible(str(text))
        if not self.markup:
            return shown
        return Markup("<bdi>{}</bdi>").format(shown) if turns(shown) else escape(shown)

    def breakable(self, name: str) -> str:
        """A name as `name` or `whole` gives it, which a narrow column may break behind its punctuation."""
        broken = str(name)
        for mark in (":", ",", "=", "_"):
            broken = broken.replace(mark, f"{mark}<wbr>")
        return Markup(broken)  # noqa: S704  # because: it is escaped already, and no entity has these marks in it

    def listed(self, parts: Sequence[str]) -> str:
        """`a`, `a and b`, `a, b and c`."""
        if len(parts) < 2:
            return parts[0] if parts else ""
        return self.say("list.and", first=self.joined(parts[:-1]), last=parts[-1])

    def names(self, texts: Sequence[object]) -> str:
        """The same of names."""
        return self.listed([self.name(each) for each in texts])

    def joined(self, parts: Sequence[str], key: str = "list.comma") -> str:
        """Parts with what the language puts between them."""
        between = self.language.message(key)
        return escape(between).join(parts) if self.markup else between.join(parts)

    def sentence(self, *clauses: str) -> str:
        """Clauses one after the other, and the full stop."""
        return self.say("list.sentence", said=self.joined([each for each in clauses if each], "list.semicolon"))

    # -- what other rooms say --------------------------------------------------------------------------------------

    def told(self, text: str) -> str:
        """What another room says in English, in this language."""
        if self.language.code == "en" or not text:
            return self._as_written(text, foreign=False)
        found = recognised(text)
        if found is not None:
            key, places = found
            return self.say(key, **{place: self._place(place, value) for place, value in places.items()})
        parts = _recognised_parts(text)
        if parts:
            return self.joined([self.told(each) for each in parts], "list.semicolon")
        return self._as_written(text, foreign=True)

    def _place(self, place: str, text: str) -> str:
        """What stands in a place is read by the first word of the place's name."""
        match place.partition("_")[0]:
            case "said":
                return self.told(text)
            case "list":
                return self.joined([self.told(each) for each in text.split(", ")], "list.semicolon")
            case "and":
                return self.joined([self.told(each) for each in _AND.split(text)], "list.semicolon")
            case "time":
                return self._time(text)
            case "n":
                return text
        return self.name(text)

    def _time(self, text: str) -> str:
        try:
            return self.round_duration(parse_duration(text.replace(" ", "")))
        except ValueError:
            return self.name(text)

    def quoted(self, text: str) -> str:
        """A source, as it is written in the tables of the program: in English in every language."""
        return self._as_written(text, foreign=self.language.code != "en")

    def _as_written(self, text: str, *, foreign: bool) -> str:
        shown = visible(text)
        if not self.markup:
            return shown
        return Markup('<span lang="en">{}</span>').format(shown) if foreign else escape(shown)

    # -- figures ---------------------------------------------------------------------------------------------------

    def count(self, number: float) -> str:
        """A whole number, thousands apart."""
        return f"{number:,.0f}"

    def plain(self, number: float) -> str:
        """A number with as many figures as it needs, at most three behind the point."""
        return f"{number:,.3f}".rstrip("0").rstrip(".")

    def share(self, part: float, digits: int = 1) -> str:
        """A part of 1 in percent."""
        return f"{part:.{digits}%}"

    def duration(self, ms: float) -> str:
        """`3.2 d`, `4.0 h`, `52 s`: three figures at most, the unit that suits."""
        size = abs(ms)
        for unit, length in _UNITS:
            if size >= length:
                return self._with_unit(unit, f"{ms / length:.1f}")
        if size >= 1000 or size == 0:
            return self._with_unit("second", f"{ms / 1000:.3g}")
        return self._with_unit("millisecond", f"{ms:.3g}")

    def round_duration(self, ms: float) -> str:
        """The same for round lengths: `3 h`."""
        for unit, length in (*_UNITS, ("second", 1000)):
            if ms >= length:
                return self._with_unit(unit, self.plain(ms / length))
        return self._with_unit("millisecond", self.plain(ms))

    def _with_unit(self, unit: str, amount: str) -> str:
        text = self.language.message(f"unit.{unit}").format(amount=amount)
        return text.replace(" ", _NO_BREAK) if self.markup else text

    def value(self, metric: Metric, found: float | None) -> str:
        """One figure with its unit; `-` where there is nothing to measure."""
        if found is None:
            return "-"
        if metric.unit == "ms":
            return self.duration(found)
        if metric.unit == "share":
            return self.share(found)
        return self.count(found) if metric.unit == "count" else f"{found:,.2f}"

    def difference(self, metric: Metric, found: float | None, base: float | None) -> str:
        """`-2.1 h (-34 %)`: against the baseline, absolute and in percent; `=` where nothing differs."""
        if found is None or base is None:
            return "-"
        change = found - base
        if change == 0:
            return "="
        if metric.unit == "share":
            return self.points(change)
        size = f"{'+' if change > 0 else '-'}{self.value(metric, abs(change))}"
        return self.say("figure.with_percent", change=size, percent=self.percent(change / base)) if base else size

    def points(self, change: float) -> str:
        """A change of a share."""
        return self.say("figure.points", amount=f"{change * 100:+.1f}")

    def percent(self, ratio: float) -> str:
        """`+12 %`, `-0.3 %`, `x 7.2`: above a tripling the factor says more."""
        if ratio > 2:
            return self.say("figure.times", amount=f"{ratio + 1:,.1f}")
        if -1 < ratio < -0.995:  # because: -100 % says that nothing is left
            return self.say("figure.percent", amount=f"{max(ratio * 100, -99.9):.1f}")
        return self.say(
            "figure.percent", amount=f"{ratio * 100:+.0f}" if abs(ratio) >= 0.0995 else f"{ratio * 100:+.1f}"
        )

    def signed(self, metric: Metric, amount: float) -> str:
        """A change with its sign; shares in points."""
        if metric.unit == "share":
            return self.points(amount)
        text = self.value(metric, abs(amount))
        nothing = self.value(metric, 0.0)
        return text if text == nothing else f"{'-' if amount < 0 else '+'}{text}"

    def interval(self, metric: Metric, found: Any) -> str:
        """`-2.1 h [-3 h, -1 h]`; `-` where it is not known."""
        if found is None:
            return "-"
        figure, low, high = (self.signed(metric, each) for each in (found.value, found.low, found.high))
        return self.say("figure.interval", figure=figure, low=low, high=high)

    def margin(self, text: str, unit: Unit) -> str:
        """How much worse is still no worse: as it was declared, or in the words of this language."""
        if self.language.code == "en":
            return text
        try:
            found = parse_margin(text, unit)
        except ValueError:
            return self.name(text)
        said = []
        if found.relative is not None:
            part = self.plain(abs(found.relative) * 100)
            said.append(self.say("figure.percent", amount=f"{'-' if found.relative < 0 else '+'}{part}"))
        if found.absolute is not None:
            sign = "-" if found.absolute < 0 else "+"
            amount = abs(found.absolute)
            of_unit = {
                "ms": self.round_duration(amount),
                "share": self.say("figure.points", amount=self.plain(amount * 100)),
            }
            said.append(f"{sign}{of_unit.get(unit, self.plain(amount))}")
        return said[0] if len(said) == 1 else self.say("figure.margin_or", one=said[0], other=said[1])

    # -- names of the house ----------------------------------------------------------------------------------------

    def metric(self, metric: Metric) -> str:
        """Its title."""
        return self.known(f"metric.{metric.name}", metric.title)

    def known(self, key: str, otherwise: str) -> str:
        """The message of a key, or a text where the catalogue has none: something that was added to another room."""
        return (
            self.say(key)
            if self.language.has(key)
            else self._as_written(otherwise, foreign=self.language.code != "en")
        )


def _recognised_parts(text: str) -> list[str]:
    """The sentences of the house of which a text is put together with semicolons; none if one of them is not known."""
    if recognised(text):
        return [text]
    pieces = text.split("; ")
    for count in range(len(pieces) - 1, 0, -1):
        head = "; ".join(pieces[:count])
        rest = _recognised_parts("; ".join(pieces[count:])) if recognised(head) else []
        if rest:
            return [head, *rest]
    return []


@cache
def plain(code: str = "en") -> Voice:
    """For terminals, Markdown and tables."""
    return Voice(language(code))


@cache
def markup(code: str = "en") -> Voice:
    """For the page."""
    return Voice(language(code), markup=True)
