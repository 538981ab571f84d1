"""The one thread on which a served cluster changes and its policy decides.

Requests and watch events come in on an event loop; whatever touches the cluster or the policy goes through the desk, in the order
in which it came. So a policy that thinks for long delays decisions and nothing else: health, metrics and time limits go on.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol, TypeVar

from policies.api import Policy
from policies.kube.objects import Json, mapping, text, whole
from policies.serving.cluster import Cluster

T = TypeVar("T")

CLOSE_S: Final = 5.0
"""For a policy that still thinks when everything else has ended."""


class Recorder(Protocol):
    """Keeps what came in and what was decided, in order. See `policies.serving.journal`."""

    def event(self, at_ms: int, event: Json) -> None:
        """A watch event `{"type": ..., "object": ...}` that the cluster was told of."""
        ...

    def decision(self, at_ms: int, decision: Json) -> None:
        """A question and its answer."""
        ...

    @property
    def lost(self) -> int:
        """How many of them could not be kept."""
        ...


class Desk:
    """See the module. `clock` gives milliseconds since 1970."""

    def __init__(
        self, cluster: Cluster, policy: Policy, *, clock: Callable[[], int], recorder: Recorder | None = None
    ) -> None:
        self.cluster = cluster
        self.policy = policy
        self.recorder = recorder
        self._clock = clock
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="desk")

    async def do(self, work: Callable[[], T], *, limit_s: float | None = None) -> T:
        """Run `work` on the desk's thread. Raises TimeoutError after `limit_s`; the work then goes on alone."""
        future = asyncio.get_running_loop().run_in_executor(self._thread, self._run, work)
        if limit_s is None:
            return await future
        return await asyncio.wait_for(asyncio.shield(future), limit_s)

    def _run(self, work: Callable[[], T]) -> T:
        self.cluster.now_ms = self._clock()
        return work()

    def tell(self, event: Json) -> None:
        """Pass a watch event on to the cluster and the recorder. To be called on the desk's thread."""
        item = mapping(event.get("object"))
        kind, gone = text(item.get("kind")), event.get("type") == "DELETED"
        metadata = mapping(item.get("metadata"))
        if kind == "Node":
            if gone:
                self.cluster.delete_node(text(metadata.get("name")))
            else:
                self.cluster.set_node(item)
        elif kind == "Pod":
            if gone:
                self.cluster.delete_pod(text(metadata.get("uid")))
            else:
                self.cluster.set_pod(item)
        elif kind == "PodGroup":
            namespace, name = text(metadata.get("namespace")) or "default", text(metadata.get("name"))
            size = None if gone else group_size(item)
            if size is None:
                self.cluster.delete_group(namespace, name)
            else:
                self.cluster.set_group(namespace, name, size)
        if self.recorder is not None:
            self.recorder.event(self.cluster.now_ms, event)

    def close(self) -> None:
        """Wait for what is in work, and stop the thread. What has not begun is dropped."""
        self._thread.shutdown(wait=True, cancel_futures=True)


async def close_desk(desk: Desk, limit_s: float = CLOSE_S) -> bool:
    """Close the desk; False if its policy still thinks after `limit_s`."""
    ended = threading.Event()

    def close() -> None:
        desk.close()
        ended.set()

    threading.Thread(target=close, name="close the desk", daemon=True).start()
    return await asyncio.to_thread(ended.wait, limit_s)


def group_size(item: Json) -> int | None:
    """How many pods of a PodGroup must start together, in the words of whoever has such an object; None if it does not say."""
    spec = mapping(item.get("spec"))
    native = mapping(spec.get("schedulingPolicy"))
    if "basic" in native:
        return 1
    said = whole(spec.get("minMember"), 0) or whole(mapping(native.get("gang")).get("minCount"), 0)
    return said or whole(spec.get("minCount"), 0) or None
