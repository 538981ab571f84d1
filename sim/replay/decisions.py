"""A log of the decisions of a kube-scheduler, one JSON object a line, as values.

The first line is `{"nodes": [{"name", "labels", "taints", "allocatable", "unschedulable"?}]}`. Each further line is a creation,
`{"op": "create", "pod", "spec", "node", "message"}`, or `{"op": "delete", "pod"}`. `node` is where the pod was bound, null if it
could not be (then `message` may say why, and the pod is gone). A creation may have `nominated` and `victims` (the pod preempted
them, and was bound there when they had left), `start` (seconds, of its status) and `metadata` (`namespace`, `labels`).
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from policies.kube.devices import DeviceKinds
from policies.kube.nodes import read_node
from policies.kube.objects import ObjectError
from policies.kube.pods import Pod, read_pod
from policies.topology import Node
from sim.fleet.problems import did_you_mean
from sim.run import InputError

SHOWN_MAX: Final = 20
"""Problems that are listed; more are counted."""

CREATE_KEYS: Final = ("op", "pod", "spec", "metadata", "node", "message", "nominated", "victims", "start")
NODE_KEYS: Final = ("name", "labels", "taints", "allocatable", "unschedulable")

NO_KINDS: Final = DeviceKinds([], lambda _: None)
"""Cards are counted as any other resource here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One pod was created, and this was decided."""

    line: int
    pod: Pod
    node: str | None
    """Where it was bound; None if it could not be scheduled."""
    message: str | None = None
    nominated: str | None = None
    """The node for which it preempted."""
    victims: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """A pod that was bound is gone."""

    line: int
    uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionLog:
    """A whole log."""

    nodes: tuple[Node, ...]
    entries: tuple[Decision | Deletion, ...]


def extended_resources(log: DecisionLog) -> tuple[str, ...]:
    """The resources that stand for devices: those with a domain that is not Kubernetes' own."""
    names = dict.fromkeys(name for node in log.nodes for name, _ in node.allocatable)
    return tuple(name for name in names if "/" in name and "kubernetes.io/" not in name)


def open_lines(path: Path) -> Iterator[str]:
    """The lines of a text file, unpacked if it is gzip. Raises `InputError` if it cannot be read."""
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rt", encoding="utf-8") if packed else path.open(encoding="utf-8") as file:
            yield from file
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (UnicodeDecodeError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read: {error}") from None


def is_decision_log(first: object) -> bool:
    """Whether the first line of a file begins such a log."""
    return isinstance(first, Mapping) and "nodes" in first and "op" not in first


def read_decisions(path: Path) -> DecisionLog:
    """The log of a file. Raises `InputError` with every line that is wrong."""
    reader = _Reader()
    for line, text in enumerate(open_lines(path), start=1):
        if text.strip():
            reader.read(line, text)
    if not reader.begun:
        reader.wrong(1, "the file is empty")
    if reader.problems:
        listed = "".join(f"\n  line {line}: {reason}" for line, reason in reader.problems[:SHOWN_MAX])
        more = len(reader.problems) - SHOWN_MAX
        rest = f"\n  and {more} more" if more > 0 else ""
        count = f"{len(reader.problems)} problem" + ("s" if len(reader.problems) > 1 else "")
        raise InputError(f"{path}: {count}:{listed}{rest}")
    return DecisionLog(nodes=tuple(reader.nodes), entries=tuple(reader.entries))


@dataclass(slots=True)
class _Reader:
    """Reads line by line, and keeps who is where, so that what cannot have happened is found here."""

    nodes: list[Node] = field(default_factory=list)
    entries: list[Decision | Deletion] = field(default_factory=list)
    problems: list[tuple[int, str]] = field(default_factory=list)
    begun: bool = False
    names: set[str] = field(default_factory=set)
    where: dict[str, str] = field(default_factory=dict)
    """Pod -> node."""

    def wrong(self, line: int, reason: str) -> None:
        self.problems.append((line, reason))

    def read(self, line: int, text: str) -> None:
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            self.begun = True
            self.wrong(line, f"is not JSON: {error}")
            return
        if not isinstance(data, dict):
            self.begun = True
            self.wrong(line, "must be a JSON object")
        elif not self.begun:
            self.begun = True
            self._nodes(line, data)
        elif data.get("op") == "create":
            self._create(line, data)
        elif data.get("op") == "delete":
            self._delete(line, data)
        else:
            self.wrong(line, f"op must be create or delete, got {data.get('op')!r}")

    def _nodes(self, line: int, data: Mapping[str, Any]) -> None:
        listed = data.get("nodes")
        if not isinstance(listed, list) or not listed or not all(isinstance(each, dict) for each in listed):
            self.wrong(line, "nodes must be a list of at least one node")
            return
        for each in listed:
            for key in each.keys() - set(NODE_KEYS):
                self.wrong(line, f"nodes: {key!r} is not known{did_you_mean(str(key), NODE_KEYS)}")
            item = {
                "metadata": {"name": each.get("name"), "labels": each.get("labels")},
                "spec": {"taints": each.get("taints"), "unschedulable": each.get("unschedulable", False)},
                "status": {"allocatable": each.get("allocatable")},
            }
            try:
                node = read_node(item, NO_KINDS)
            except ObjectError as error:
                self.wrong(line, str(error))
                continue
            if node.name in self.names:
                self.wrong(line, f"node {node.name} is given twice")
            self.names.add(node.name)
            self.nodes.append(node)

    def _create(self, line: int, data: Mapping[str, Any]) -> None:
        before = len(self.problems)
        for key in data.keys() - set(CREATE_KEYS):
            self.wrong(line, f"{key!r} is not known{did_you_mean(str(key), CREATE_KEYS)}")
        pod = self._pod(line, data)
        node, nominated, message = (self._name(line, data, key) for key in ("node", "nominated", "message"))
        victims = data.get("victims") or []
        if not isinstance(victims, list) or not all(isinstance(each, str) for each in victims):
            self.wrong(line, "victims must be a list of names")
            victims = []
        for key, name in (("node", node), ("nominated", nominated)):
            if name is not None and name not in self.names:
                self.wrong(line, f"{key} {name!r} is not in the first line{did_you_mean(name, self.names)}")
        if bool(victims) != (nominated is not None):
            self.wrong(line, "nominated and victims go together")
        for uid in victims:
            if self.where.get(uid) != nominated:
                self.wrong(line, f"victim {uid!r} is not on {nominated}")
        if node is not None and nominated is not None and node != nominated:
            self.wrong(
                line, f"nominated for {nominated} but bound to {node}: what happened between is not in the log"
            )
        if pod is None or len(self.problems) > before:
            return
        for uid in victims:
            del self.where[uid]
        if node is not None:
            self.where[pod.uid] = node
        self.entries.append(
            Decision(line=line, pod=pod, node=node, message=message, nominated=nominated, victims=tuple(victims))
        )

    def _pod(self, line: int, data: Mapping[str, Any]) -> Pod | None:
        name = self._name(line, data, "pod")
        said = data.get("metadata")
        metadata: Mapping[str, Any] = said if isinstance(said, dict) else {}
        start = data.get("start")
        if start is not None and (isinstance(start, bool) or not isinstance(start, int)):
            self.wrong(line, f"start must be whole seconds, got {start!r}")
            start = None
        if name is None:
            self.wrong(line, "pod is required")
            return None
        if name in self.where:
            self.wrong(line, f"pod {name!r} is on {self.where[name]} already")
        try:
            pod = read_pod({"metadata": {**metadata, "name": name, "uid": name}, "spec": data.get("spec")}, NO_KINDS)
        except ObjectError as error:
            self.wrong(line, str(error))
            return None
        return pod if start is None else replace(pod, started_ms=1000 * start)

    def _delete(self, line: int, data: Mapping[str, Any]) -> None:
        name = self._name(line, data, "pod")
        if name is None or name not in self.where:
            self.wrong(line, f"pod {name!r} is nowhere: it cannot be deleted")
            return
        del self.where[name]
        self.entries.append(Deletion(line=line, uid=name))

    def _name(self, line: int, data: Mapping[str, Any], key: str) -> str | None:
        value = data.get(key)
        if value is not None and not isinstance(value, str):
            self.wrong(line, f"{key} must be text or null, got {value!r}")
            return None
        return value
