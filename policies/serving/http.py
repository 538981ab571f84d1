"""An HTTP server for a policy: limits on everything that comes in, health, readiness and metrics beside it, a graceful stop.

It binds first, so that who starts it knows the port; listens on loopback unless told otherwise; and speaks TLS if it is given a
certificate, with those clients only that one authority has signed, if it is given that.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
import uvicorn
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from policies.serving.connections import Guard
from policies.serving.listener import Listener

BACKLOG: Final = 2048

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a server puts up with."""

    body_bytes: int = 64 << 20
    request_s: float = 4.5
    """For an answer, once the body is here. Below kube-scheduler's httpTimeout of 5 s, so that it hears why."""
    body_s: float = 10.0
    """For a body to come, and for a client to take its reply."""
    head_s: float = 5.0
    """For a head to come, from its first byte, and before it for a TLS handshake."""
    idle_s: float = 120.0
    """For the next request on a connection. Go's client drops its own after 90 s."""
    waiting: int = 32
    """Requests that the policy works on or that wait for it; more are turned away."""
    held_bytes: int = 256 << 20
    """Of bodies in all; requests that would need more are turned away. Who is slow to send holds little."""
    connections: int = 1024
    """More make the one go that has idled longest."""
    stop_s: float = 6.0
    """For what is in flight when the server is told to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """Files in PEM."""

    cert: Path
    key: Path
    client_ca: Path | None = None
    """Only clients with a certificate by this authority are served; None asks for none."""

    def context(self) -> ssl.SSLContext:
        """What the files say. Raises `ServerSetupError`."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_cert_chain(self.cert, self.key)
            if self.client_ca is not None:
                context.load_verify_locations(self.client_ca)
                context.verify_mode = ssl.CERT_REQUIRED
        except (OSError, ssl.SSLError) as error:
            raise ServerSetupError(f"TLS files: {error}") from error
        return context


class ServerSetupError(ValueError):
    """A server cannot be started as it was asked to."""


class BodyError(Exception):
    """A body that is not taken; `status` says why."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        super().__init__(message)


class Bodies:
    """The bodies that a server holds at the moment."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.held_bytes = 0

    @contextlib.asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """The whole body of a request, held until the block is left. Raises `BodyError`."""
        held = _Held(self)
        try:
            yield await held.read(request, self._limits)
        finally:
            held.drop()


class _Held:
    """One body."""

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self._chunks: list[bytes] = []
        self.size = 0

    async def read(self, request: Request, limits: Limits) -> bytes:
        """What is not taken is read to its end and dropped: who still writes does not hear the answer."""
        declared = request.headers.get("content-length", "")
        told = int(declared) if declared.isascii() and declared.isdigit() and len(declared) < 20 else 0
        refused = self._refused(told, limits)
        if refused is not None and "expect" in request.headers:
            raise refused
        try:
            async with asyncio.timeout(limits.body_s):
                async for chunk in request.stream():
                    refused = refused or self._refused(self.size + len(chunk), limits)
                    if refused is None:
                        self._keep(chunk)
                    else:
                        self.drop()
        except TimeoutError:
            raise BodyError(408, f"the body did not come in {limits.body_s:g} s") from None
        except ClientDisconnect:
            raise BodyError(400, "the client went away before its body had come") from None
        if refused is not None:
            raise refused
        return b"".join(self._chunks)

    def _refused(self, size: int, limits: Limits) -> BodyError | None:
        if size > limits.body_bytes:
            return BodyError(413, f"the body has more than {limits.body_bytes} bytes")
        if self._bodies.held_bytes + size - self.size > limits.held_bytes:
            return BodyError(503, f"bodies of {self._bodies.held_bytes} bytes are in work already")
        return None

    def _keep(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self.size += len(chunk)
        self._bodies.held_bytes += len(chunk)

    def drop(self) -> None:
        """Let go of it."""
        self._bodies.held_bytes -= self.size
        self._chunks.clear()
        self.size = 0


def json_response(value: Any, status: int = 200, *, close: bool = False) -> Response:
    """A value as JSON; `close` ends the connection after it."""
    headers = {"connection": "close"} if close else None
    return Response(orjson.dumps(value), status, headers, "application/json")


def bind(host: str, port: int) -> socket.socket:
    """A socket that listens. Port 0 takes any that is free. Raises `ServerSetupError`."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind, proto)
    except OSError as error:
        raise ServerSetupError(f"{host}: {error.strerror or error}") from error
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(BACKLOG)
    except OSError as error:
        found.close()
        raise ServerSetupError(f"cannot listen on {host} port {port}: {error.strerror or error}") from error
    found.setblocking(False)
    return found


class HttpServer:
    """Serves an ASGI application from a bound socket until it is stopped. `cut` is told why connections were ended."""

    def __init__(
        self,
        app: Any,
        listening: socket.socket,
        *,
        limits: Limits,
        tls: ssl.SSLContext | None = None,
        cut: Callable[[str], None] = lambda _: None,
    ) -> None:
        host, port = listening.getsockname()[:2]
        self.url = f"{'http' if tls is None else 'https'}://{f'[{host}]' if ':' in host else host}:{port}"
        self._guard = Guard(
            connections=limits.connections,
            idle_s=limits.idle_s,
            head_s=limits.head_s,
            write_s=limits.body_s,
            cut=cut,
        )
        self._listener = Listener(
            listening,
            self._guard.protocols(_config(app, limits)),
            tls=tls,
            handshake_s=limits.head_s,
            arriving_max=limits.connections,
            make_room=self._guard.make_room,
            cut=cut,
        )
        self._stop_s = limits.stop_s
        self._stopping = asyncio.Event()
        self._hurrying = asyncio.Event()

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._guard.all())

    @property
    def requests(self) -> int:
        """How many are in work."""
        return len(self._guard.state.tasks)

    async def serve(self) -> None:
        """Serve until `stop`, then finish what is in flight. When it returns, no connection is left."""
        self._listener.open()
        try:
            await self._stopping.wait()
        finally:
            await self._listener.close()
            await self._finish()

    async def _finish(self) -> None:
        """First those that ask nothing go, then each with its last answer, and what is not at its end in time is cut off."""
        self._guard.shut_down()
        quiet = asyncio.create_task(self._guard.quiet())
        hurry = asyncio.create_task(self._hurrying.wait())
        await asyncio.wait((quiet, hurry), timeout=self._stop_s, return_when=asyncio.FIRST_COMPLETED)
        in_time = quiet.done()
        quiet.cancel()
        hurry.cancel()
        await asyncio.gather(quiet, hurry, return_exceptions=True)
        if not in_time:
            await self._guard.cut_off()

    def stop(self) -> None:
        """Take no more connections, finish what is in flight; a second call waits for nothing."""
        if self._stopping.is_set():
            self._hurrying.set()
        self._stopping.set()

    def stop_on_signals(self) -> None:
        """Stop on SIGTERM and SIGINT."""
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self.stop)


def _config(app: Any, limits: Limits) -> uvicorn.Config:
    """What uvicorn's protocol reads: HTTP and the application, nothing else."""
    config = uvicorn.Config(
        _ended(app),
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        timeout_keep_alive=round(limits.idle_s),
        log_level="warning",
    )
    config.load()
    return config


def _ended(app: Any) -> Any:
    """An application whose cancelled requests have ended: only a server that cuts them off cancels them, and it has said so."""

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await app(scope, receive, send)

    return asgi
