"""Questions to an extender and its answers, as the journal keeps them: short, though they speak of thousands of nodes.

A set of nodes is a list of names while that is short, else the bits of one number over the names of the nodes that are known at
that line, sorted: `{"of": 5000, "bits": "1f..."}`. Everything that is not listed here is dropped from a request.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import compress
from typing import Any, Final, NamedTuple

from policies.kube.objects import Json, items, mapping, text
from policies.serving.journal_names import Names
from policies.serving.journal_objects import reduce_object

PLAIN: Final = 16
"""Up to so many nodes are written by name."""

ONE: Final = ord("1")

_NAMED: Final = frozenset(("job", "name", "namespace", "node", "pod", "queue", "uid", "uids", "cancelled", "user"))
"""Keys of a decision under which names stand."""


class NodeIndex:
    """The names of the nodes that are known, numbered in their order."""

    def __init__(self) -> None:
        self._known: set[str] = set()
        self._names: list[str] | None = []
        self._number: dict[str, int] = {}

    def add(self, name: str) -> None:
        """A node is known from now on."""
        if name not in self._known:
            self._known.add(name)
            self._names = None

    def remove(self, name: str) -> None:
        """A node is gone."""
        if name in self._known:
            self._known.remove(name)
            self._names = None

    def clear(self) -> None:
        """Nothing is known."""
        self._known.clear()
        self._names = None

    @property
    def names(self) -> list[str]:
        """All names, sorted."""
        if self._names is None:
            self._names = sorted(self._known)
            self._number = {name: number for number, name in enumerate(self._names)}
        return self._names

    def write(self, names: Sequence[str]) -> Any:
        """A set of nodes in few characters. The order is lost where it is not short."""
        known = len(self.names)
        if len(names) <= PLAIN:
            return list(names)
        digits = bytearray(b"0") * known
        try:
            for at in map(self._number.__getitem__, names):
                digits[at] = ONE
        except KeyError:
            return list(names)
        digits.reverse()
        return {"of": known, "bits": format(int(digits, 2), "x")}

    def sort(self, values: Mapping[str, Any]) -> list[Any]:
        """The values of known nodes in the order of their names."""
        found: list[Any] = [self] * len(self.names)
        number = self._number
        for name, value in values.items():
            found[number[name]] = value
        return [value for value in found if value is not self]

    def read(self, written: Any) -> list[str]:
        """The names of a set. Raises ValueError if it is none, or is one of other nodes."""
        if isinstance(written, list):
            return [each for each in written if isinstance(each, str)]
        found = mapping(written)
        names = self.names
        if found.get("of") != len(names):
            raise ValueError(f"is a set of {found.get('of')} nodes where {len(names)} are known")
        bits = int(text(found.get("bits")) or "0", 16)
        if bits >> len(names):
            raise ValueError("has bits beyond the nodes that are known")
        return list(compress(names, map(int, reversed(format(bits, "b")))))


class Written(NamedTuple):
    """How decisions are written: over which nodes, and under which names."""

    nodes: NodeIndex
    names: Names | None = None

    def decision(self, decision: Json) -> dict[str, Any]:
        """A decision as the journal keeps it."""
        kept: dict[str, Any] = {}
        for key, value in decision.items():
            if key == "request":
                kept[key] = self.request(mapping(value))
            elif key == "reply":
                kept[key] = self.reply(value)
            else:
                kept[key] = self._hashed(value, key)
        return kept

    def request(self, request: Json) -> dict[str, Any]:
        """The question of any verb."""
        kept: dict[str, Any] = {}
        if isinstance(request.get("Pod"), dict):
            pod = reduce_object(request["Pod"], "Pod")
            kept["Pod"] = pod if self.names is None else self.names.object(pod)
        if request.get("NodeNames") is not None:
            kept["NodeNames"] = self._set(_texts(request["NodeNames"]))
        if request.get("Nodes") is not None:
            listed = items(mapping(request["Nodes"]).get("items"))
            kept["Nodes"] = self._set([text(mapping(each.get("metadata")).get("name")) for each in listed])
        for key in ("NodeNameToVictims", "NodeNameToMetaVictims"):
            if request.get(key) is not None:
                kept[key] = self._victims(mapping(request[key]))
        for key in ("PodName", "PodNamespace", "PodUID", "Node"):
            if request.get(key) is not None:
                kept[key] = self._name(text(request[key]))
        return kept

    def reply(self, reply: Any) -> Any:
        """The answer of any verb."""
        if isinstance(reply, list):
            return self._scores(reply)
        if not isinstance(reply, dict):
            return None
        kept: dict[str, Any] = {}
        if reply.get("NodeNames") is not None:
            kept["NodeNames"] = self._set(_texts(reply["NodeNames"]))
        if reply.get("Nodes") is not None:
            listed = items(mapping(reply["Nodes"]).get("items"))
            kept["Nodes"] = self._set([text(mapping(each.get("metadata")).get("name")) for each in listed])
        for key in ("FailedNodes", "FailedAndUnresolvableNodes"):
            if reply.get(key):
                kept[key] = self._reasons(mapping(reply[key]))
        if reply.get("NodeNameToMetaVictims") is not None:
            kept["NodeNameToMetaVictims"] = self._victims(mapping(reply["NodeNameToMetaVictims"]))
        if reply.get("Error"):
            kept["Error"] = self._name(text(reply["Error"]))
        return kept

    def _name(self, name: str) -> str:
        """A name; or a reason, which may name anybody: equal ones stay equal."""
        return name if self.names is None else self.names.name(name)

    def _set(self, names: Sequence[str]) -> Any:
        return self.nodes.write(names if self.names is None else [self.names.name(name) for name in names])

    def _reasons(self, failed: Json) -> list[Any]:
        by_reason: dict[str, list[str]] = {}
        for node, reason in failed.items():
            by_reason.setdefault(reason, []).append(node)
        return [[self._name(text(reason)), self._set(nodes)] for reason, nodes in by_reason.items()]

    def _scores(self, reply: list[Any]) -> Any:
        try:
            scores = {each["Host"]: each["Score"] for each in reply}
        except (KeyError, TypeError):
            return None
        if self.names is not None:
            scores = {self.names.name(name): score for name, score in scores.items()}
        written = self.nodes.write(list(scores))
        if isinstance(written, list):
            return [{"Host": name, "Score": score} for name, score in scores.items()]
        return {"nodes": written, "scores": self.nodes.sort(scores)}

    def _victims(self, victims: Json) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for node, each in victims.items():
            entry = mapping(each)
            uids = [
                text(pod.get("UID")) or text(mapping(pod.get("metadata")).get("uid"))
                for pod in items(entry.get("Pods"))
            ]
            found[self._name(node)] = {
                "Pods": [{"UID": self._name(uid)} for uid in uids],
                "NumPDBViolations": entry.get("NumPDBViolations") or 0,
            }
        return found

    def _hashed(self, value: Any, key: str) -> Any:
        if self.names is None:
            return value
        if isinstance(value, Mapping):
            return {each: self._hashed(inner, each) for each, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self._hashed(each, key) for each in value]
        if isinstance(value, str) and key in _NAMED:
            return self.names.name(value)
        return self._name(value) if isinstance(value, str) and key in ("reason", "error") else value


def _texts(value: Any) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, Iterable) else []


class Read(NamedTuple):
    """How decisions are read back, into the forms of the wire."""

    nodes: NodeIndex

    def decision(self, decision: Json) -> dict[str, Any]:
        """A decision as the driver recorded it, as far as it was kept. Raises ValueError."""
        found = dict(decision)
        if isinstance(decision.get("request"), dict):
            found["request"] = self._request(decision["request"])
        if "reply" in decision:
            found["reply"] = self._reply(decision["reply"])
        return found

    def _request(self, request: Json) -> dict[str, Any]:
        found = dict(request)
        if "NodeNames" in found:
            found["NodeNames"] = self.nodes.read(found["NodeNames"])
        if "Nodes" in found:
            # because: the nodes themselves are events of the journal; a question names them
            found["NodeNames"], found["Nodes"] = self.nodes.read(found["Nodes"]), None
        return found

    def _reply(self, reply: Any) -> Any:
        if isinstance(reply, list):
            return reply
        if not isinstance(reply, dict):
            return None
        if "scores" in reply:
            names, scores = self.nodes.read(reply.get("nodes")), reply["scores"]
            if not isinstance(scores, list) or len(scores) != len(names):
                raise ValueError("has not one score for each node")
            return [{"Host": name, "Score": score} for name, score in zip(names, scores, strict=True)]
        found = dict(reply)
        if "Nodes" in found:
            found["NodeNames"] = self.nodes.read(found.pop("Nodes"))
        elif "NodeNames" in found:
            found["NodeNames"] = self.nodes.read(found["NodeNames"])
        for key in ("FailedNodes", "FailedAndUnresolvableNodes"):
            if key in found:
                found[key] = {name: text(reason) for reason, nodes in found[key] for name in self.nodes.read(nodes)}
        return found
