"""Files of Kubernetes objects, as `kubectl get ... -o json` or `-o yaml` prints them -> objects, each with its place.

A file holds one object, a list of objects (of several kinds, if asked for together), or in YAML several documents.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from sim.fleet.problems import FleetError, Problem
from sim.fleet.yaml_text import read_mapping

KINDS: Final = {
    "Node": "",
    "Topology": "kueue.x-k8s.io",
    "HyperNode": "topology.volcano.sh",
    "ClusterQueue": "kueue.x-k8s.io",
    "Cohort": "kueue.x-k8s.io",
    "ResourceFlavor": "kueue.x-k8s.io",
}
"""The kinds that a fleet is made of, and their API group."""

_DOCUMENT: Final = re.compile(r"^---[ \t]*(?:#.*)?$", re.MULTILINE)


class Placed(NamedTuple):
    """One object, and where it stands (`nodes.json: items[3]`)."""

    place: str
    kind: str
    item: dict[str, Any]

    def at(self, path: str) -> str:
        """The place of something inside the object."""
        joint = "." if self.place and path and not self.place.endswith(": ") else ""
        return f"{self.place}{joint}{path}" or "the object"


def looks_like_objects(text: str) -> bool:
    """Whether a text is JSON with items, as `kubectl get nodes -o json` prints; it may still be refused."""
    start = text.lstrip("\ufeff \t\r\n")
    return start.startswith("{") and '"items"' in start


def read_objects(text: str, *, source: str) -> list[Placed]:
    """The objects of a text. Raises `FleetError` if it is neither JSON nor YAML, or holds something else."""
    stripped = text.lstrip("\ufeff \t\r\n")
    documents = _of_json(stripped, source) if stripped.startswith("{") else _of_yaml(text, source)
    found: list[Placed] = []
    problems: list[Problem] = []
    for place, document in documents:
        items = document.get("items")
        if items is None and "items" not in document:
            found.append(Placed(place, _kind(document, ""), document))
            continue
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            problems.append(Problem(f"{place}items", "must be a list of nodes, each a JSON object"))
            continue
        of_list = str(document.get("kind") or "").removesuffix("List")
        found += [Placed(f"{place}items[{number}]", _kind(item, of_list), item) for number, item in enumerate(items)]
    if problems:
        raise FleetError(problems, source=source)
    return found


def _of_json(text: str, source: str) -> list[tuple[str, dict[str, Any]]]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise FleetError([Problem("", f"is not JSON: {error}")], source=source) from None
    return [("", document)]


def _of_yaml(text: str, source: str) -> Iterator[tuple[str, dict[str, Any]]]:
    parts = [part for part in _DOCUMENT.split(text) if _says_something(part)]
    for number, part in enumerate(parts or [text], start=1):
        place = f"document {number}: " if len(parts) > 1 else ""
        yield place, read_mapping(part, source=source, begins="apiVersion: v1")


def _says_something(part: str) -> bool:
    return any(line.strip() and not line.lstrip().startswith("#") for line in part.splitlines())


def _kind(item: dict[str, Any], of_list: str) -> str:
    """The kind of an object; the one of its list where it does not say, and a node where nothing says."""
    kind = item.get("kind")
    if isinstance(kind, str) and kind:
        group = str(item.get("apiVersion") or "").partition("/")[0] if "/" in str(item.get("apiVersion")) else ""
        return kind if KINDS.get(kind, group) in (group, "") or not group else f"{kind}.{group}"
    return of_list or "Node"
