"""How a server takes connections and lets go of them: whenever it is told to stop, none is left open or forgotten."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import resource
import socket
import ssl
import sys
import threading
import time
from itertools import count

import pytest
from extenders import certificate

from policies.serving.http import HttpServer, Limits, Tls, bind

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def hello(_scope, _receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@pytest.fixture
def forgotten(monkeypatch):
    """What the garbage collector had to close, said by whoever was collected; looked at after a collection."""
    found = []
    monkeypatch.setattr(sys, "unraisablehook", lambda about: found.append(str(about.exc_value)))

    def look():
        gc.collect()
        return found

    return look


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    cert, key = certificate(tmp_path_factory.mktemp("tls"), "server")
    return Tls(cert=cert, key=key)


def server_of(app=hello, *, tls=None, cut=None, **limits):
    """A server that does not serve yet, and its port: who connects waits to be accepted."""
    listening = bind("127.0.0.1", 0)
    server = HttpServer(
        app,
        listening,
        limits=Limits(**limits),
        tls=None if tls is None else tls.context(),
        cut=(lambda _: None) if cut is None else cut.append,
    )
    return server, listening.getsockname()[1]


@contextlib.contextmanager
def clients(port, number, says=b""):
    """Connections that have said this."""
    with contextlib.ExitStack() as stack:
        found = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 10)) for _ in range(number)]
        for each in found:
            each.sendall(says)
        yield found


def heard(client):
    """Everything that came before the other side ended it; nothing may be missing at the end but the end."""
    found = []
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(1 << 16):
            found.append(data)
    return b"".join(found)


def body(client):
    """What follows the head, on a connection that stays open."""
    found = b""
    while not found.endswith(b"\r\n\r\nok"):
        data = client.recv(1 << 16)
        assert data, f"the connection ended after {found!r}"
        found += data
    return b"ok"


# -- stopping at any moment ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "says", [b"", REQUEST, b"\x16\x03\x01\x02\x00\x01"], ids=["silent", "asking", "half a hello"]
)
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "tls"])
def test_none_is_forgotten_whichever_turn_of_the_loop_it_stops_in(forgotten, tls, secure, says):
    """Clients that wait to be accepted, then a stop some turns of the event loop later: accepted, on their way, connected."""

    async def stopped_after(turns):
        server, port = server_of(tls=tls if secure else None)
        with clients(port, 4, says) as there:
            serving = asyncio.create_task(server.serve())
            for _ in range(turns):
                await asyncio.sleep(0)
            server.stop()
            await asyncio.wait_for(serving, 5)
            assert server.connections == 0
            for client in there:
                heard(client)

    async def run():
        for turns in range(16):
            await stopped_after(turns)

    asyncio.run(run())
    assert forgotten() == []


def test_none_is_forgotten_while_clients_come_and_come(forgotten):
    """Two threads connect as fast as they can until nobody listens, fifty times; each time some are just being accepted."""

    def come(port, enough, number):
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for each in count():
                stack.enter_context(socket.create_connection(("127.0.0.1", port), 10))
                if each == number:
                    enough()

    async def once(number):
        server, port = server_of()
        loop = asyncio.get_running_loop()
        serving = asyncio.create_task(server.serve())
        threads = [
            threading.Thread(target=come, args=(port, lambda: loop.call_soon_threadsafe(server.stop), number))
            for _ in range(2)
        ]
        for thread in threads:
            thread.start()
        await asyncio.wait_for(serving, 10)
        for thread in threads:
            await asyncio.to_thread(thread.join, 10)

    for number in range(50):
        asyncio.run(once(number % 10))
    assert forgotten() == []


# -- the end of what is in flight -----------------------------------------------------------------------------------------


async def think_for_ever(_scope, _receive, _send):
    await asyncio.Event().wait()


async def talk_for_ever(_scope, _receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        await send({"type": "http.response.body", "body": bytes(1 << 20), "more_body": True})


@pytest.mark.parametrize("hurry", [False, True])
def test_who_has_no_answer_in_time_or_when_told_twice_hears_that_there_is_none(forgotten, caplog, hurry):
    async def run():
        server, port = server_of(think_for_ever, stop_s=60 if hurry else 0.05)
        serving = asyncio.create_task(server.serve())
        with clients(port, 1, REQUEST) as (asking,):
            while server.requests == 0:
                await asyncio.sleep(0.001)
            server.stop()
            if hurry:
                await asyncio.sleep(0)
                assert not serving.done()
                server.stop()
            await asyncio.wait_for(serving, 5)
            assert heard(asking).startswith(b"HTTP/1.1 500 ")

    asyncio.run(run())
    assert [record.fields for record in caplog.records if record.message == "cut off what was in flight"] == [
        {"requests": 1}
    ]
    assert not any(record.exc_info for record in caplog.records)
    assert forgotten() == []


def test_who_takes_nothing_does_not_keep_the_server(forgotten):
    async def run():
        server, port = server_of(talk_for_ever, stop_s=0.05)
        serving = asyncio.create_task(server.serve())
        with clients(port, 1, REQUEST):
            while server.requests == 0:
                await asyncio.sleep(0.001)
            server.stop()
            await asyncio.wait_for(serving, 5)
        assert (server.connections, server.requests) == (0, 0)

    asyncio.run(run())
    assert forgotten() == []


# -- those on their way ---------------------------------------------------------------------------------------------------


def test_a_handshake_that_does_not_end_is_cut_off(tls):
    async def run():
        cut = []
        server, port = server_of(tls=tls, cut=cut, head_s=0.05)
        serving = asyncio.create_task(server.serve())
        with clients(port, 3) as silent:
            for client in silent:
                assert await asyncio.to_thread(heard, client) == b""
            assert await asyncio.to_thread(ask, port, tls) == b"ok"
        assert cut == ["no TLS handshake in time"] * 3
        server.stop()
        await serving

    asyncio.run(run())


def test_more_handshakes_than_connections_are_allowed_make_the_oldest_go(tls):
    async def run():
        cut = []
        server, port = server_of(tls=tls, cut=cut, connections=4)
        serving = asyncio.create_task(server.serve())
        with clients(port, 10) as silent:
            assert await asyncio.to_thread(ask, port, tls) == b"ok"
            assert cut == ["too many connections"] * 7
            for client in silent[:7]:
                assert await asyncio.to_thread(heard, client) == b""
        server.stop()
        await serving

    asyncio.run(run())


def ask(port, tls):
    """The body of an answer over TLS."""
    context = ssl.create_default_context(cafile=tls.cert)
    with (
        socket.create_connection(("127.0.0.1", port), 10) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secure,
    ):
        secure.sendall(REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        return heard(secure).partition(b"\r\n\r\n")[2]


def test_without_a_file_to_open_one_connection_goes_and_the_next_is_served(caplog):
    """A process at its limit of open files: those that wait are answered one after the other, and it says why it is slow."""

    async def run():
        server, port = server_of()
        with clients(port, 3, REQUEST) as asking, no_more_files(but=1):
            serving = asyncio.create_task(server.serve())
            for client in asking:
                assert await asyncio.to_thread(body, client) == b"ok"
            server.stop()
            await serving

    began = time.monotonic()
    asyncio.run(run())
    assert time.monotonic() - began < 8
    assert sum("no connection can be taken" in record.message for record in caplog.records) >= 2


@contextlib.contextmanager
def no_more_files(but):
    """The process can open this many more files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    held = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (os.dup(0) + 16, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                held.append(os.dup(0))
        for _ in range(but):
            os.close(held.pop())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for each in held:
            os.close(each)
