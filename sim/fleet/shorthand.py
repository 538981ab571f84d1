"""`312x8`: 312 servers n0 to n311 with 8 generic devices each; `64x8:ascend-910b3` names the model."""

from __future__ import annotations

import re
from typing import Final

from sim.fleet.catalogue import catalogue
from sim.fleet.model import GENERIC, MAX_DEVICES, MAX_SERVERS, Fleet, FleetError, Problem, Server

_SHAPE: Final = re.compile(r"(?P<servers>[0-9]{1,12})x(?P<devices>[0-9]{1,12})(?::(?P<accelerator>.+))?")

POOL: Final = "default"
"""The one pool of a fleet in shorthand."""


def is_shorthand(text: str) -> bool:
    """Whether the text has the form of the shorthand; its numbers may still be refused."""
    return _SHAPE.fullmatch(text.strip()) is not None


def parse_shorthand(text: str) -> Fleet:
    """The fleet of the shorthand `SERVERSxDEVICES[:ACCELERATOR]`; `100x1` is a flat pool of 100 devices.

    Servers have no CPU, memory or pod limit and there are no levels above them. A named model brings the
    memory of its devices from the catalogue. Raises `FleetError` with every problem.
    """
    match = _SHAPE.fullmatch(text.strip())
    if match is None:
        reason = "is not SERVERSxDEVICES or SERVERSxDEVICES:ACCELERATOR, as in 312x8 or 64x8:ascend-910b3"
        raise FleetError([Problem("", reason)], source=text)
    servers, devices = int(match["servers"]), int(match["devices"])
    name = (match["accelerator"] or GENERIC).strip()
    row = catalogue().find(name)
    problems = _count_problems(servers, devices)
    if row is None:
        problems.append(Problem("accelerator", f"unknown model {name!r}{catalogue().hint(name)}"))
    if problems or row is None:
        raise FleetError(problems, source=text)
    return Fleet(
        name=text.strip(),
        servers=tuple(
            Server(
                name=f"n{index}",
                pool=POOL,
                accelerator=row.id,
                devices=devices,
                device_memory_mib=row.memory_mib,
            )
            for index in range(servers)
        ),
    )


def _count_problems(servers: int, devices: int) -> list[Problem]:
    problems: list[Problem] = []
    if not 1 <= servers <= MAX_SERVERS:
        problems.append(Problem("servers", f"must be 1 to {MAX_SERVERS}, got {servers}"))
    if devices > MAX_DEVICES:
        total = servers * devices
        advice = f"; for a flat pool of {total} devices write {total}x1" if 1 <= total <= MAX_SERVERS else ""
        reason = f"a server has at most {MAX_DEVICES} devices, got {devices}{advice}"
        problems.append(Problem("devices", reason))
    if devices < 1:
        problems.append(Problem("devices", "must be at least 1"))
    return problems
