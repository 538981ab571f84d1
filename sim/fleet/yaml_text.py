"""YAML text -> plain data, in the small and safe part of YAML that a fleet file needs.

Read are mappings with text keys, lists, text, whole numbers, `true` and `false`, numbers with a point or an
exponent, and nothing (`~`). Not read are anchors and aliases (so a file cannot blow up), tags, merge keys and
several documents. `no`, `on`, `2024-01-01` and `012` are text, as in YAML 1.2 and unlike PyYAML's own loader.
Keys that appear twice in one mapping are all reported.
"""

from __future__ import annotations

import re
from typing import Any, Final

import yaml

from sim.fleet.problems import FleetError, Problem

MAX_CHARACTERS: Final = 16 * 1024 * 1024
"""Longer texts are refused unread: a fleet of 200,000 named servers stays well below."""

_NULL, _BOOL, _INT, _FLOAT = (f"tag:yaml.org,2002:{kind}" for kind in ("null", "bool", "int", "float"))


class _Loader(yaml.SafeLoader):
    """Composes nodes only; refuses what this module's docstring says is not read."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  # because: PyYAML's name and type

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # because: PyYAML's stubs leave it untyped
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            reason = "anchors (&) and aliases (*) are not read; write a text that begins with * or & in quotes"
            raise yaml.composer.ComposerError(None, None, reason, event.start_mark)
        if getattr(event, "tag", None) is not None:
            raise yaml.composer.ComposerError(None, None, "tags (!) are not read", event.start_mark)
        return super().compose_node(parent, index)


for _tag, _pattern, _first in (
    (_NULL, r"(?:~|null|Null|NULL|)", ["~", "n", "N", ""]),
    (_BOOL, r"(?:true|True|TRUE|false|False|FALSE)", list("tTfF")),
    (_INT, r"-?(?:0|[1-9][0-9]{0,2}(?:_[0-9]{3})+|[1-9][0-9]{0,17})", list("-0123456789")),
    (
        _FLOAT,
        r"[-+]?(?:[0-9]+\.[0-9]*(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.(?:inf|Inf|INF))|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
):
    _Loader.add_implicit_resolver(_tag, re.compile(rf"^(?:{_pattern})$"), _first)


def read_mapping(
    text: str, *, source: str, begins: str = "rehearse_fleet: 1", problems: list[Problem] | None = None
) -> dict[str, Any]:
    """The plain data of a YAML text whose root is a mapping. Raises `FleetError` for all that is not read.

    `begins` is what a file that is no mapping is told to begin with. With `problems` the keys that are wrong are added there
    instead, so that a caller can tell them with its own.
    """
    if len(text) > MAX_CHARACTERS:
        reason = f"is longer than {MAX_CHARACTERS} characters ({len(text)})"
        raise FleetError([Problem("", reason)], source=source)
    try:
        node = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        raise FleetError([_yaml_problem(error)], source=source) from None
    except yaml.YAMLError as error:
        raise FleetError([Problem("", f"is not YAML: {' '.join(str(error).split())}")], source=source) from None
    except RecursionError:
        raise FleetError([Problem("", "is nested too deeply")], source=source) from None
    if not isinstance(node, yaml.MappingNode):
        what = "nothing" if node is None else "a list" if isinstance(node, yaml.SequenceNode) else "a single value"
        reason = f"must be a mapping that begins with `{begins}`, but holds {what}"
        raise FleetError([Problem("", reason)], source=source)
    found: list[Problem] = []
    data = _mapping(node, "", found)
    if problems is not None:
        problems += found
    elif found:
        raise FleetError(found, source=source)
    return data


def _yaml_problem(error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    place = f"line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    hint = " (indent with blanks)" if "'\\t'" in str(error.problem) else ""
    return Problem(place, f"{error.problem or error.context}{hint}")


def _mapping(node: yaml.MappingNode, path: str, problems: list[Problem]) -> dict[str, Any]:
    data: dict[str, Any] = {}
    lines: dict[str, int] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            problems.append(Problem(path or "", f"line {line}: a key must be text"))
            continue
        key = key_node.value
        place = f"{path}.{key}" if path else key
        value = _plain(value_node, place, problems)
        if key in data:
            problems.append(Problem(place, f"appears twice, in line {lines[key]} and in line {line}"))
            continue
        data[key], lines[key] = value, line
    return data


def _plain(node: yaml.Node, path: str, problems: list[Problem]) -> object:
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, problems)
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, f"{path}[{index}]", problems) for index, item in enumerate(node.value)]
    text = str(node.value)
    if node.tag == _NULL:
        return None
    if node.tag == _BOOL:
        return text.casefold() == "true"
    if node.tag == _INT:
        return int(text)
    if node.tag == _FLOAT:
        return float(text.casefold().replace(".inf", "inf").replace(".nan", "nan"))
    return text
