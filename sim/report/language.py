"""The languages of the pages: a catalogue of messages each, numbers as they are written there, and words of other rooms.

`lang/en.toml` and `lang/zh.toml` have the same keys. A message is a text with `{placeholders}`, or a table of such texts by
plural category of its placeholder `n`. A third language is a file and a line in `LANGUAGES`.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final

Message = str | Mapping[str, str]

LANGUAGES: Final = ("en", "zh")

CATEGORIES: Final = {"en": ("one", "other"), "zh": ("other",)}
"""The plural categories of whole numbers, as Unicode's CLDR names them."""

_PLACEHOLDER: Final = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Language:
    """One catalogue."""

    code: str
    messages: Mapping[str, Message]
    """Key with dots -> message."""

    @property
    def tag(self) -> str:
        """For the attribute `lang`."""
        return str(self.messages["language.tag"])

    def message(self, key: str, n: int | None = None) -> str:
        """The text of a key; of its plural forms, the one for `n`. Raises KeyError."""
        found = self.messages[key]
        return found if isinstance(found, str) else found[category(self.code, n or 0)]

    def has(self, key: str) -> bool:
        """True if there is such a message."""
        return key in self.messages


@cache
def language(code: str) -> Language:
    """The language with this code, one of `LANGUAGES`."""
    text = resources.files("sim.report").joinpath("lang", f"{code}.toml").read_text(encoding="utf-8")
    return Language(code, dict(_flat(tomllib.loads(text), "", code)))


def category(code: str, n: int) -> str:
    """The plural category of a whole number."""
    return "one" if code == "en" and n == 1 else "other"


def placeholders(text: str) -> set[str]:
    """The names in braces."""
    return set(_PLACEHOLDER.findall(text))


def _flat(data: Mapping[str, Any], prefix: str, code: str) -> Iterator[tuple[str, Message]]:
    for key, value in data.items():
        if isinstance(value, str) or set(value) <= {"one", "other"}:
            if not isinstance(value, str) and set(value) != set(CATEGORIES[code]):
                raise ValueError(f"lang/{code}.toml: {prefix}{key}: needs {' and '.join(CATEGORIES[code])}")
            yield f"{prefix}{key}", value
        else:
            yield from _flat(value, f"{prefix}{key}.", code)


@cache
def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    """What other rooms say in English: key and pattern, those with more of their own words first."""
    found = []
    for key, text in language("en").messages.items():
        if key.startswith("told.") and isinstance(text, str):
            parts = _PLACEHOLDER.split(text)
            pattern = "".join(
                f"(?P<{part}>.+?)" if number % 2 else re.escape(part) for number, part in enumerate(parts)
            )
            found.append((-sum(map(len, parts[::2])), key, re.compile(pattern, re.DOTALL)))
    return [(key, pattern) for _, key, pattern in sorted(found, key=lambda each: each[:2])]


@cache
def recognised(text: str) -> tuple[str, dict[str, str]] | None:
    """The key of a sentence that another room wrote, and what stands in its places; None if it is none of ours."""
    for key, pattern in _patterns():
        match = pattern.fullmatch(text)
        if match is not None:
            return key, match.groupdict()
    return None
