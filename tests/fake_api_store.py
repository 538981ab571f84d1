"""What the fake API server keeps: objects with versions, a log of changes, and how pods are bound and leave."""

from __future__ import annotations

import asyncio
import copy
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kube_builders import GPU, gpus_of

Item = dict[str, Any]

KINDS = {
    ("", "v1", "nodes"): "Node",
    ("", "v1", "pods"): "Pod",
    ("coordination.k8s.io", "v1", "leases"): "Lease",
    ("events.k8s.io", "v1", "events"): "Event",
    ("scheduling.x-k8s.io", "v1alpha1", "podgroups"): "PodGroup",
}
CLUSTER_WIDE = ("nodes",)


class Refused(Exception):  # noqa: N818  # because: it is an answer, not a mistake
    """An answer that is no success."""

    def __init__(self, status: int, reason: str, message: str, details: Item | None = None) -> None:
        self.status = status
        self.reason = reason
        self.details = details
        super().__init__(message)


@dataclass
class FakeApiStore:
    """See the module. `violations` are bindings beyond what a node has."""

    eviction: str = "policy/v1"
    grace_s: float | None = 0.0
    """How long a bound pod stays after its deletion was asked for; None is until `reap`."""
    kinds: dict[tuple[str, str, str], str] = field(default_factory=lambda: dict(KINDS))
    violations: list[str] = field(default_factory=list)
    bindings: list[tuple[str, str]] = field(default_factory=list)
    """(pod, node) in their order."""

    def __post_init__(self) -> None:
        self._objects: dict[str, dict[str, Item]] = {plural: {} for _, _, plural in self.kinds}
        self._version = itertools.count(1)
        self._now = 0
        self._oldest = 0
        self._log: list[tuple[int, str, str, Item]] = []
        self._news = asyncio.Condition()
        self._uids = itertools.count(1)
        self._tasks: set[asyncio.Task[None]] = set()

    # -- what tests do and see ---------------------------------------------------------------------------------

    def add(self, item: Item) -> Item:
        """Put an object there."""
        plural = next(plural for (_, _, plural), kind in self.kinds.items() if kind == item["kind"])
        return self._create(plural, copy.deepcopy(item))

    def change(self, item: Item) -> Item:
        """Replace an object."""
        plural = next(plural for (_, _, plural), kind in self.kinds.items() if kind == item["kind"])
        return self._put(plural, {**copy.deepcopy(item)})

    def remove(self, kind: str, name: str, namespace: str = "default") -> None:
        """Take an object away at once."""
        plural = next(plural for (_, _, plural), known in self.kinds.items() if known == kind)
        self._delete(plural, name if plural in CLUSTER_WIDE else f"{namespace}/{name}")

    def all(self, plural: str) -> list[Item]:
        return list(self._objects[plural].values())

    def pod(self, name: str, namespace: str = "default") -> Item | None:
        return self._objects["pods"].get(f"{namespace}/{name}")

    def placements(self) -> dict[str, str]:
        """Pod -> node, of those that are bound."""
        return {
            each["metadata"]["name"]: each["spec"]["nodeName"]
            for each in self.all("pods")
            if each["spec"].get("nodeName")
        }

    def events_of(self, name: str) -> list[Item]:
        return [each for each in self.all("events") if each["regarding"]["name"] == name]

    def forget_past(self) -> None:
        """Compaction: who asks for a watch from before now gets 410. Those that watch already miss nothing."""
        self._oldest = self._now

    def reap(self, name: str, namespace: str = "default") -> None:
        """A pod that was asked to leave has left."""
        self._delete("pods", f"{namespace}/{name}")

    async def until(self, true: Callable[[], bool], limit_s: float = 30.0) -> None:
        """Wait for something to be so."""
        async with asyncio.timeout(limit_s):
            while not true():
                await asyncio.sleep(0.005)

    # -- the store ---------------------------------------------------------------------------------------------

    def _stamp(self, item: Item) -> None:
        self._now = next(self._version)
        item["metadata"]["resourceVersion"] = str(self._now)

    def _key(self, plural: str, item: Item) -> str:
        metadata = item["metadata"]
        return (
            metadata["name"]
            if plural in CLUSTER_WIDE
            else f"{metadata.get('namespace', 'default')}/{metadata['name']}"
        )

    def _tell(self, plural: str, kind: str, item: Item) -> None:
        self._log.append((self._now, plural, kind, copy.deepcopy(item)))
        task = asyncio.ensure_future(self._wake())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _wake(self) -> None:
        async with self._news:
            self._news.notify_all()

    def _create(self, plural: str, item: Item) -> Item:
        metadata = item["metadata"]
        if "name" not in metadata:
            metadata["name"] = f"{metadata['generateName']}{next(self._uids)}"
        key = self._key(plural, item)
        if key in self._objects[plural]:
            raise Refused(409, "AlreadyExists", f"{plural} {key!r} already exists")
        metadata.setdefault("uid", f"uid-{next(self._uids)}")
        metadata.setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
        self._stamp(item)
        self._objects[plural][key] = item
        self._tell(plural, "ADDED", item)
        return item

    def _put(self, plural: str, item: Item) -> Item:
        key = self._key(plural, item)
        before = self._objects[plural].get(key)
        if before is None:
            raise Refused(404, "NotFound", f"{plural} {key!r} not found")
        said = item["metadata"].get("resourceVersion")
        if said and said != before["metadata"]["resourceVersion"]:
            raise Refused(
                409, "Conflict", "the object has been modified; please apply your changes to the latest version"
            )
        item["metadata"]["uid"] = before["metadata"]["uid"]
        self._stamp(item)
        self._objects[plural][key] = item
        self._tell(plural, "MODIFIED", item)
        return item

    def _delete(self, plural: str, key: str) -> None:
        item = self._objects[plural].pop(key)
        self._stamp(item)
        self._tell(plural, "DELETED", item)

    def _ask_to_leave(self, key: str) -> None:
        """Deletion of a pod: at once if it is not bound, else after its grace."""
        item = copy.deepcopy(self._objects["pods"][key])
        if not item["spec"].get("nodeName") or self.grace_s == 0.0:
            self._delete("pods", key)
            return
        if item["metadata"].get("deletionTimestamp"):
            return
        item["metadata"]["deletionTimestamp"] = "2026-01-01T01:00:00Z"
        item["metadata"].pop("resourceVersion")
        self._put("pods", item)
        if self.grace_s is not None:
            task = asyncio.ensure_future(self._leave_later(key, item["metadata"]["uid"]))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _leave_later(self, key: str, uid: str) -> None:
        assert self.grace_s is not None
        await asyncio.sleep(self.grace_s)
        if key in self._objects["pods"] and self._objects["pods"][key]["metadata"]["uid"] == uid:
            self._delete("pods", key)

    def _bind(self, key: str, binding: Item) -> None:
        item = self._objects["pods"].get(key)
        if item is None:
            raise Refused(404, "NotFound", f'pods "{key}" not found')
        wanted = binding["metadata"].get("uid")
        if wanted and wanted != item["metadata"]["uid"]:
            raise Refused(409, "Conflict", f"Precondition failed: UID in precondition: {wanted}")
        if item["metadata"].get("deletionTimestamp"):
            raise Refused(409, "Conflict", f"pod {key} is being deleted, cannot be assigned to a host")
        if item["spec"].get("nodeName"):
            raise Refused(409, "Conflict", f"pod {key} is already assigned to node {item['spec']['nodeName']!r}")
        item = copy.deepcopy(item)
        item["spec"]["nodeName"] = node = binding["target"]["name"]
        item["metadata"].pop("resourceVersion")
        self._put("pods", item)
        self.bindings.append((item["metadata"]["name"], node))
        self._inspect(node)

    def _inspect(self, name: str) -> None:
        """A kubelet would refuse what is too much."""
        node = self._objects["nodes"].get(name)
        if node is None:
            self.violations.append(f"bound to {name}, which does not exist")
            return
        there = [each for each in self.all("pods") if each["spec"].get("nodeName") == name]
        used = sum(gpus_of(each) for each in there)
        if used > int(node["status"]["allocatable"].get(GPU, 0)):
            self.violations.append(f"{name} holds {used} devices: {[each['metadata']['name'] for each in there]}")


def merged(item: Item, change: Item) -> Item:
    """A merge patch; `conditions` by their type, as a strategic one does."""
    for key, value in change.items():
        if value is None:
            item.pop(key, None)
        elif key == "conditions":
            kinds = {each["type"] for each in value}
            item[key] = [each for each in item.get(key, []) if each["type"] not in kinds] + value
        elif isinstance(value, dict) and isinstance(item.get(key), dict):
            merged(item[key], value)
        else:
            item[key] = value
    return item
