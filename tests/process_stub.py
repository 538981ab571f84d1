"""Programs that tests run as policies in another process, and a look at what they leave behind."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from builders import job, servers

HANDLES = Path("/proc/self/fd")
CHILDREN = Path(f"/proc/self/task/{os.getpid()}/children")

PROGRAM = '''
import json, os, signal, sys, time

HELLO = {"type": "hello", "protocol": 1, "name": "stub 1",
         "semantics": {"order": "arrival", "blocking": "none", "placement": "first"}}

def read():
    line = sys.stdin.readline()
    return json.loads(line) if line else sys.exit()

def say(message):
    sys.stdout.write((message if isinstance(message, str) else json.dumps(message)) + "\\n")
    sys.stdout.flush()

def answer(message, *actions, **more):
    say({"type": "actions", "seq": message["seq"], "actions": list(actions), **more})

def start(job_id, node=0, **share):
    return {"action": "start", "job_id": job_id, "placement": [{"node": node, **share}]}

def passes():
    while True:
        message = read()
        if message["type"] == "bye":
            return
        if message["type"] == "pass":
            yield message

def first_then(act):
    """Starts the first job at 0 ms as it should be, then does what it is told at 100 ms."""
    read()
    say(HELLO)
    for message in passes():
        if message["now_ms"] < 100:
            answer(message, start("first", pods=1))
        else:
            act(message)
'''

JOBS = [job("first", 0, 50, 2), job("gang", 100, 50, 4, pods=2), job("last", 100, 10)]
TOPOLOGY = servers(2, 4)


def program(tmp_path: Path, body: str) -> list[str]:
    """The command of a program that does `body`."""
    file = tmp_path / "stub.py"
    file.write_text(PROGRAM + body)
    return [sys.executable, "-S", "-E", str(file)]


def target(handle: Path) -> str:
    try:
        return str(handle.readlink())
    except OSError:  # because: that of the look itself is closed by now
        return ""


def left() -> tuple[set[str], set[str]]:
    """Open pipes, and processes that run or that nobody has waited for; empty where the system does not say."""
    pipes = {name for each in HANDLES.iterdir() if "pipe" in (name := target(each))} if HANDLES.exists() else set()
    return pipes, set(CHILDREN.read_text().split()) if CHILDREN.exists() else set()


PROCESSES = [
    pytest.mark.skipif(os.name != "posix", reason="process policies need a POSIX system"),
    pytest.mark.usefixtures("nothing_is_left_behind"),
]
"""The marks of a module whose tests start processes; it imports the fixture too."""


@pytest.fixture
def nothing_is_left_behind():
    pipes, children = left()
    yield
    now = left()
    assert now[0] <= pipes, "a pipe is still open"
    assert now[1] <= children, "a process is still there"
