"""The command line as a process of its own, without the second that Python takes to load it each time.

One process has loaded the program and does nothing else; each command is a fork of it, with its own folder, environment, streams
and status, and ends as any program does.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple, Self

ROOT = Path(__file__).parents[1]

LOADED = """
import json, os, sys
import jinja2, pyarrow.dataset, pyarrow.pandas_compat
import sim.cli, sim.run_commands, sim.compare_commands, sim.experiment.compare, sim.check
from policies import catalogue, conformance

for line in sys.stdin:
    asked = json.loads(line)
    pid = os.fork()
    if pid == 0:
        os.chdir(asked["cwd"])
        os.environ.clear()
        os.environ.update(asked["env"])
        for number, path in enumerate((os.devnull, *asked["streams"])):
            os.dup2(os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.argv[1:] = asked["args"]
        sim.cli.main()
    _, status = os.waitpid(pid, 0)
    os.write(asked["answer"], b"%d\\n" % os.waitstatus_to_exitcode(status))
"""


class Done(NamedTuple):
    """What a command said, and how it ended."""

    returncode: int
    stdout: str
    stderr: str


class Commands:
    """A context manager; `run` is `python -m sim.cli` in a folder."""

    def __init__(self, folder: Path) -> None:
        self._streams = [str(folder / "stdout"), str(folder / "stderr")]

    def __enter__(self) -> Self:
        read, self._answer = os.pipe()
        self._answers = os.fdopen(read)
        self._loaded = subprocess.Popen(
            [sys.executable, "-c", LOADED], cwd=ROOT, stdin=subprocess.PIPE, text=True, pass_fds=[self._answer]
        )
        os.close(self._answer)
        return self

    def __exit__(self, *_: object) -> None:
        self._loaded.communicate(timeout=20)
        self._answers.close()

    def run(self, args: tuple[Any, ...], cwd: Path) -> Done:
        """Run a command to its end."""
        asked = {
            "args": [*map(str, args)],
            "cwd": str(cwd),
            "env": dict(os.environ),
            "streams": self._streams,
            "answer": self._answer,
        }
        assert self._loaded.stdin is not None
        self._loaded.stdin.write(json.dumps(asked) + "\n")
        self._loaded.stdin.flush()
        status = self._answers.readline()
        assert status, "the process that has loaded the program is gone"
        stdout, stderr = (Path(each).read_text() for each in self._streams)
        return Done(int(status), stdout, stderr)
