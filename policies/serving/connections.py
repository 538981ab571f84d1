"""Connections that may not keep a server waiting: limits on slow heads, slow readers, idling and numbers.

uvicorn bounds how long a connection idles between two requests and nothing else. Here a head must come in time and be of a
bounded size, a client must read what it asked for, and where there are too many connections one that asks nothing goes.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

log = logging.getLogger(__name__)

HEAD_BYTES_MAX: Final = 64 << 10
"""Of request line and headers."""


class Guard:
    """The limits of one server, and which of its connections have no request in work.

    `idle_s` is for a first byte to come, `head_s` for the rest of a head, `write_s` for a client to take what was written. `cut`
    is told of each connection that was ended, with the reason.
    """

    def __init__(
        self, *, connections: int, idle_s: float, head_s: float, write_s: float, cut: Callable[[str], None]
    ) -> None:
        self.connections = connections
        self.idle_s = idle_s
        self.head_s = head_s
        self.write_s = write_s
        self.cut = cut
        self.silent: OrderedDict[GuardedProtocol, None] = OrderedDict()
        """Those that have not asked anything yet, the oldest in front."""
        self.idle: OrderedDict[GuardedProtocol, None] = OrderedDict()
        """Those that have, and have no request in work now; the one that has idled longest in front."""
        self.state = ServerState()
        """Every connection, and the task of every request."""
        self._lost = asyncio.Event()

    def make_room(self) -> None:
        """End one connection without a request: rather one that never had any."""
        for waiting in (self.silent, self.idle):
            if waiting:
                next(iter(waiting)).end("too many connections")
                return

    def forget(self, connection: GuardedProtocol) -> None:
        """It has a request now, or is gone."""
        self.silent.pop(connection, None)
        self.idle.pop(connection, None)

    def lost(self, connection: GuardedProtocol) -> None:
        """It is gone."""
        self.forget(connection)
        self._lost.set()

    def protocols(self, config: Config) -> Callable[[], GuardedProtocol]:
        """Makes the protocol of each connection."""
        return lambda: GuardedProtocol(self, config)

    def all(self) -> list[GuardedProtocol]:
        """The connections that there are."""
        return [each for each in self.state.connections if isinstance(each, GuardedProtocol)]

    def shut_down(self) -> None:
        """End connections without a request now, and the others after their answer."""
        for connection in self.all():
            connection.shutdown()

    async def quiet(self) -> None:
        """Until there is no connection and no request any more."""
        while self.state.connections or self.state.tasks:
            self._lost.clear()
            await (asyncio.wait(list(self.state.tasks)) if self.state.tasks else self._lost.wait())

    async def cut_off(self) -> None:
        """End everything: requests are cancelled and answered with an error, and what clients do not take is dropped."""
        log.error("cut off what was in flight", extra={"fields": {"requests": len(self.state.tasks)}})
        for connection in self.all():
            if connection.flow.write_paused:
                connection.transport.abort()
        for task in self.state.tasks:
            task.cancel()
        if self.state.tasks:
            await asyncio.wait(list(self.state.tasks))
        for connection in self.all():
            connection.transport.abort()
        await self.quiet()


class GuardedProtocol(HttpToolsProtocol):
    """See the module."""

    def __init__(self, guard: Guard, config: Config) -> None:
        super().__init__(config, guard.state, {})
        self._guard = guard
        self._head: asyncio.TimerHandle | None = None
        self._writing: asyncio.TimerHandle | None = None
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # because: as uvicorn's
        """Make room if there are too many, and wait for a request."""
        super().connection_made(transport)
        guard = self._guard
        if len(self.connections) > guard.connections:
            guard.make_room()
        guard.silent[self] = None
        self._await_head(guard.idle_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._stop_timers()
        super().connection_lost(exc)
        self._guard.lost(self)

    def data_received(self, data: bytes) -> None:
        """As uvicorn, but a head may not be of any size, and what is no request may not come for ever."""
        if self._head is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head is not None and self._head_bytes > HEAD_BYTES_MAX:
            self.end("head too large")
        elif self._head is None and self in self._guard.idle and self.timeout_keep_alive_task is None:
            self._await_head(self._guard.head_s)

    def on_message_begin(self) -> None:
        """The first byte of a request: its head must follow in time."""
        super().on_message_begin()
        self._await_head(self._guard.head_s)

    def on_headers_complete(self) -> None:
        """The head is here: the application takes over."""
        if self._head is not None:
            self._head.cancel()
            self._head = None
        self._guard.forget(self)
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """Nothing is in work any more, unless the client was quick."""
        super().on_response_complete()
        if not self.transport.is_closing() and (self.cycle is None or self.cycle.response_complete):
            self._guard.idle[self] = None

    def pause_writing(self) -> None:
        """The client does not read: not for long."""
        super().pause_writing()
        if self._writing is None:
            self._writing = self.loop.call_later(self._guard.write_s, self.end, "reads too slowly")

    def resume_writing(self) -> None:
        """The client reads."""
        super().resume_writing()
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None

    def end(self, reason: str) -> None:
        """Cut the connection off."""
        self._guard.forget(self)
        self._stop_timers()
        if not self.transport.is_closing() or reason == "reads too slowly":
            self._guard.cut(reason)
            log.warning("cut off a connection: %s", reason, extra={"fields": {"client": str(self.client)}})
            self.transport.abort()

    def _await_head(self, seconds: float) -> None:
        if self._head is not None:
            self._head.cancel()
        self._head_bytes = 0
        self._head = self.loop.call_later(seconds, self.end, "no request in time")

    def _stop_timers(self) -> None:
        for timer in (self._head, self._writing):
            if timer is not None:
                timer.cancel()
        self._head = self._writing = None
