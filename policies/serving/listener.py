"""Takes connections from a socket that listens, and lets go of none before its protocol has it.

Between `accept` and `connection_made` lie turns of the event loop, and with TLS a handshake. asyncio's own server forgets who is
in between: a connection that comes while it closes is refused by a failed assertion that nobody hears, and left to the
garbage collector. Here each of them has a task, and `close` waits for every task.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from typing import Final

log = logging.getLogger(__name__)

PAUSE_S: Final = 0.2
"""Before the next attempt when the system could give no connection."""

NO_FILES: Final = (errno.EMFILE, errno.ENFILE)


class Listener:
    """The connections of one bound socket; each is given to a new protocol by `protocol`.

    A TLS handshake must end in `handshake_s`, and at most `arriving_max` connections may be under way to their protocol: one
    more ends the oldest of them. `make_room` is called when the process can open no more files; `cut` is told of each connection
    that was ended here, with the reason.
    """

    def __init__(
        self,
        listening: socket.socket,
        protocol: Callable[[], asyncio.Protocol],
        *,
        tls: ssl.SSLContext | None,
        handshake_s: float,
        arriving_max: int,
        make_room: Callable[[], None],
        cut: Callable[[str], None],
    ) -> None:
        self._listening = listening
        self._protocol = protocol
        self._tls = tls
        self._handshake_s = None if tls is None else handshake_s
        self._arriving_max = max(arriving_max, 2)
        self._make_room = make_room
        self._cut = cut
        self._arriving: dict[asyncio.Task[None], None] = {}
        """Whose protocol does not have them yet, the oldest in front."""
        self._ending: set[asyncio.Task[None]] = set()
        """Those among them that had to go."""
        self._again: asyncio.TimerHandle | None = None

    def open(self) -> None:
        """Take connections from now on."""
        self._again = None
        asyncio.get_running_loop().add_reader(self._listening, self._accept)

    async def close(self) -> None:
        """Take no more. Afterwards each connection that was taken is its protocol's, or closed."""
        if self._again is not None:
            self._again.cancel()
        asyncio.get_running_loop().remove_reader(self._listening)
        self._listening.close()
        # because: a task that is cancelled before it has begun never has its connection, and could not close it; and an event
        # loop calls back in the order in which it was asked to, so that after one turn each task has begun
        await asyncio.sleep(0)
        for task in self._arriving:
            task.cancel()
        await asyncio.gather(*self._arriving, *self._ending, return_exceptions=True)

    def _accept(self) -> None:
        """One at a time: between two of them the loop turns, and the first is on its way."""
        try:
            connection, _ = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionError):
            return
        except OSError as error:
            self._pause(error)
            return
        if len(self._arriving) >= self._arriving_max:
            self._end(next(iter(self._arriving)))
        task = asyncio.get_running_loop().create_task(self._connect(connection))
        self._arriving[task] = None
        task.add_done_callback(self._arrived)

    def _arrived(self, task: asyncio.Task[None]) -> None:
        self._arriving.pop(task, None)
        self._ending.discard(task)

    def _end(self, task: asyncio.Task[None]) -> None:
        del self._arriving[task]
        self._ending.add(task)
        task.cancel()
        self._cut("too many connections")

    def _pause(self, error: OSError) -> None:
        """The socket stays ready to be read, and the loop would do nothing else."""
        log.warning("no connection can be taken: %s", error.strerror)
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._listening)
        self._again = loop.call_later(PAUSE_S, self.open)
        if error.errno in NO_FILES:
            self._make_room()

    async def _connect(self, connection: socket.socket) -> None:
        """Until the protocol has it; what fails or is cancelled on the way is closed by its transport."""
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._protocol, connection, ssl=self._tls, ssl_handshake_timeout=self._handshake_s
            )
        except ConnectionAbortedError:
            self._cut("no TLS handshake in time")
        except OSError as error:
            log.debug("a TLS handshake failed: %s", error)
