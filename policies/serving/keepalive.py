"""Notices a peer that is gone without a word, on a connection on which nothing is sent for minutes."""

from __future__ import annotations

import socket
from typing import Final

import aiohttp

IDLE_S: Final = 15
INTERVAL_S: Final = 5
PROBES: Final = 3
OPTIONS: Final = {"TCP_KEEPIDLE": IDLE_S, "TCP_KEEPINTVL": INTERVAL_S, "TCP_KEEPCNT": PROBES}


def keep_alive(response: aiohttp.ClientResponse) -> None:
    """Probe the connection of an answer that is still coming. Where the system has no such thing, nothing happens."""
    connection = response.connection
    sock = (
        None if connection is None or connection.transport is None else connection.transport.get_extra_info("socket")
    )
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in OPTIONS.items():
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
