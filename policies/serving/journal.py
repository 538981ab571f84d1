"""The journal: every event that the cluster was told of and every decision, as JSON Lines that can be replayed.

Each file stands alone: a header, the cluster as it was, then what came. See docs/reference/journal.md for the lines, and
`rehearse replay` for what they are good for. Only what scheduling reads of an object is kept: no environment variables, no
command lines, no annotations but those that scheduling knows.

What is lost (a full disk, one that is too slow) is counted, and the scheduler goes on. A gap is followed by a new file, so
that no line is ever read against a state that it was not written in.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from policies.kube.objects import Json, mapping, text
from policies.serving.journal_decisions import NodeIndex, Written
from policies.serving.journal_names import Names
from policies.serving.journal_objects import reduce_object
from policies.serving.journal_writer import Limits, LineWriter

if TYPE_CHECKING:
    from policies.api import QueueView
    from policies.serving.cluster import Cluster
    from policies.serving.units import Hold

__all__ = ["VERSION", "Journal", "Limits"]

VERSION: Final = 1
"""Of the lines. A reader refuses a later one."""

RETRY_MS: Final = 1_000
"""How soon after a loss a new file is begun; twice as long after each further loss."""

RETRY_MS_MAX: Final = 60_000

UNWRITABLE: Final = (TypeError, ValueError, KeyError, AttributeError, RecursionError)
"""What an object of a form that nobody thought of may raise. It must not stop a scheduler."""

log = logging.getLogger(__name__)


def _dumps() -> Callable[[Any], bytes]:
    def plainly(value: Any) -> bytes:
        return json.dumps(value, separators=(",", ":"), default=str).encode("ascii")

    try:
        import orjson
    except ImportError:
        return plainly

    def fast(value: Any) -> bytes:
        try:
            return orjson.dumps(value)
        except TypeError:  # because: numbers of more than 64 bits and broken letters are beyond it
            return plainly(value)

    return fast


dumps: Final = _dumps()
"""A value as JSON in one line."""


class Journal:
    """See the module. A `policies.serving.desk.Recorder`; `event` and `decision` are for the desk's thread."""

    def __init__(
        self, writer: LineWriter, header: Json, limits: Limits, *, cluster: Cluster | None, names: Names | None
    ) -> None:
        self.gaps = 0
        """How often lines were lost."""
        self._dropped = 0
        self._writer = writer
        self._header = header
        self._limits = limits
        self._cluster = cluster
        self._names = names
        self._nodes = NodeIndex()
        self._written = Written(self._nodes, names)
        self._objects: dict[tuple[str, str], bytes] = {}
        """Kind and uid -> the object as it stands in a snapshot."""
        self._files = 0
        self._began_ms = 0
        self._bytes = 0
        self._gap = False
        """True from a loss until the next file begins."""
        self._retry_at_ms = 0
        self._retry_ms = RETRY_MS

    @classmethod
    def open(
        cls,
        folder: Path | str,
        *,
        driver: str,
        policy: str,
        configuration: Json | None = None,
        cluster: Cluster | None = None,
        limits: Limits | None = None,
        anonymise: str | None = None,
    ) -> Journal:
        """A journal in a folder, which is made if need be. Raises OSError if nothing can be written there.

        `driver` is `extender` or `scheduler`; `policy` is what was said after `--policy`. The cluster gives the snapshots which
        devices each pod holds. `anonymise` is the key under which names are hashed.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".journal-probe"
        probe.write_bytes(b"")
        probe.unlink()
        limits = limits or Limits()
        names = None if anonymise is None else Names(anonymise)
        header = {
            "journal": VERSION,
            "product": f"rehearse {_version()}",
            "driver": driver,
            "policy": _without_command(policy),
            "configuration": _said(configuration or {}, hashed=names is not None),
            "queues": [] if cluster is None else [_queue(queue, names) for queue in cluster.queues.values()],
            "anonymised": names is not None,
            "run": os.urandom(8).hex(),
        }
        return cls(LineWriter(folder, limits), header, limits, cluster=cluster, names=names)

    @property
    def lost(self) -> int:
        """Lines that were not written."""
        return self._dropped + self._writer.lost

    @property
    def path(self) -> Path | None:
        """The file that is written now."""
        return self._writer.path

    def event(self, at_ms: int, event: Json) -> None:
        """A watch event `{"type": ..., "object": ...}`, after the cluster was told of it."""
        self._begin_if_needed(at_ms)
        try:
            kind, written = dumps(text(event.get("type"))), self._noted(event)
        except UNWRITABLE as error:
            self._lose(at_ms, f"an event cannot be written: {error}")
        else:
            self._put(at_ms, b'{"at_ms":%d,"event":{"type":%s,"object":%s}}\n' % (at_ms, kind, written))
        self._rotate_if_due(at_ms, 1)

    def decision(self, at_ms: int, decision: Json) -> None:
        """A question and its answer, after what was decided was done to the cluster."""
        self._begin_if_needed(at_ms)
        try:
            written = dumps(self._written.decision(decision))
        except UNWRITABLE as error:
            self._lose(at_ms, f"a decision cannot be written: {error}")
        else:
            self._put(at_ms, b'{"at_ms":%d,"decision":%s}\n' % (at_ms, written))
        self._rotate_if_due(at_ms, 2)  # because: after an event the state is whole; a decision may be half done

    def close(self) -> None:
        """Write what waits, and end."""
        self._writer.close()

    # -- inside ------------------------------------------------------------------------------------------------

    def _noted(self, event: Json) -> bytes:
        """The reduced object of an event; from now on it is part of the snapshot, or no longer."""
        item = mapping(event.get("object"))
        reduced = reduce_object(item)
        if self._names is not None:
            reduced = self._names.object(reduced)
        written = dumps(reduced)
        kind, meta = text(reduced.get("kind")), mapping(reduced.get("metadata"))
        name = text(meta.get("name"))
        key = (kind, name if kind == "Node" else text(meta.get("uid")) or f"{text(meta.get('namespace'))}/{name}")
        if event.get("type") == "DELETED":
            self._objects.pop(key, None)
            if kind == "Node":
                self._nodes.remove(name)
        elif kind:
            self._objects[key] = written
            if kind == "Node":
                self._nodes.add(name)
        return written

    def _put(self, at_ms: int, line: bytes) -> None:
        if self._gap:
            self._dropped += 1
        elif self._writer.put(line):
            self._bytes += len(line)
        else:
            self._lose(at_ms, "" if self._writer.broken else "the disk is too slow")

    def _lose(self, at_ms: int, why: str) -> None:
        """A line is lost; so are all that come until the next file begins."""
        self._dropped += 1
        if self._gap:
            return
        self._gap = True
        self.gaps += 1
        self._retry_at_ms = at_ms + self._retry_ms
        self._retry_ms = min(2 * self._retry_ms, RETRY_MS_MAX)
        if why:
            log.warning("the journal has a gap: %s; decisions go on without being recorded", why)

    def _begin_if_needed(self, at_ms: int) -> None:
        if not self._files:
            self._begin(at_ms)

    def _rotate_if_due(self, at_ms: int, times: int) -> None:
        if self._gap:
            if at_ms >= self._retry_at_ms:
                self._begin(at_ms)
        elif (
            self._bytes >= times * self._limits.file_mib << 20
            or at_ms - self._began_ms >= times * self._limits.file_ms
        ):
            self._retry_ms = RETRY_MS
            self._begin(at_ms)

    def _begin(self, at_ms: int) -> None:
        """A new file: the header, every object that is known, and what the cluster holds where."""
        header = {
            **self._header,
            "at_ms": at_ms,
            "number": self._files,
            "after_gap": self._gap,
            "lost": self.lost,
        }
        lines = [dumps(header) + b"\n"]
        lines += [
            b'{"at_ms":%d,"event":{"type":"ADDED","object":%s},"snapshot":true}\n' % (at_ms, written)
            for written in self._in_order()
        ]
        lines.append(dumps({"at_ms": at_ms, "snapshot": {"objects": len(lines) - 1, **self._places()}}) + b"\n")
        if self._gap:
            log.warning("the journal begins anew; %d lines were lost", self.lost)
        self._gap = False
        self._files += 1
        self._began_ms = at_ms
        self._bytes = 0
        self._writer.begin(f"journal-{at_ms:013d}-{self._files - 1:04d}", lines)

    def _in_order(self) -> list[bytes]:
        """The objects: pods in the order in which their gangs arrived, after everything else."""
        ranks: dict[str, int] = {}
        for unit in self._cluster.units() if self._cluster is not None else ():
            for uid in unit.pods:
                ranks[uid if self._names is None else self._names.name(uid)] = unit.arrival
        first = [written for (kind, _), written in self._objects.items() if kind != "Pod"]
        pods = [(ranks.get(uid, 1 << 62), written) for (kind, uid), written in self._objects.items() if kind == "Pod"]
        pods.sort(key=lambda pod: pod[0])
        return first + [written for _, written in pods]

    def _places(self) -> dict[str, Any]:
        """Where the pods are, on which devices, since when, and whether the API server knows; who leaves; what is parked."""
        units = [] if self._cluster is None else list(self._cluster.units())
        name = self._names.name if self._names is not None else str
        return {
            "holds": [_place(name, uid, hold) for unit in units for uid, hold in unit.holds.items()],
            "leaving": [_place(name, uid, hold) for unit in units for uid, hold in unit.leaving.items()],
            "parked": {name(unit.name): name(unit.parked) for unit in units if unit.parked},
        }


def _place(name: Callable[[str], str], uid: str, hold: Hold) -> dict[str, Any]:
    return {**hold._asdict(), "uid": name(uid), "node": name(hold.node)}


def _queue(queue: QueueView, names: Names | None) -> dict[str, Any]:
    """What a queue is entitled to."""
    said = queue._asdict()
    del said["held_milli"]
    if names is not None:
        said["name"] = names.name(queue.name)
        said["cohort"] = None if queue.cohort is None else names.name(queue.cohort)
        said["pools"] = None if queue.pools is None else [names.name(pool) for pool in queue.pools]
    return said


def _version() -> str:
    try:
        return metadata.version("rehearse")
    except metadata.PackageNotFoundError:
        return "of no known version"


def _without_command(policy: str) -> str:
    """What was said after `--policy`; of a program only its name, for its arguments may hold a secret."""
    form, colon, rest = policy.partition(":")
    return f"{form}:{rest.split()[0] if rest.split() else ''}" if form == "process" and colon else policy


def _said(configuration: Json, *, hashed: bool) -> dict[str, Any]:
    """How the driver was set up: without secrets, and where names are hashed without texts but its own name."""
    kept: dict[str, Any] = _without_secrets(configuration)
    return {
        key: value
        for key, value in kept.items()
        if not hashed or key == "scheduler_name" or isinstance(value, int | float)
    }


SECRET: Final = ("data", "file", "key", "kubeconfig", "password", "secret", "token")
"""Ends of the keys of a configuration under which a secret, or the way to one, may stand."""


def _without_secrets(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {
            key: _without_secrets(each)
            for key, each in value.items()
            if not (isinstance(each, str | bytes) and str(key).lower().endswith(SECRET))
        }
    if isinstance(value, list | tuple):
        return [_without_secrets(each) for each in value]
    return value if isinstance(value, str | int | float | bool) or value is None else str(value)
