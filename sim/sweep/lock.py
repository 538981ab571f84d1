"""One coordinator at a time in a directory. The lock goes with its process, however that ends."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from sim.results import RunDirectoryError

LOCK: Final = ".lock"


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Hold the directory. Raises `RunDirectoryError`, naming the process, if another one holds it."""
    with (folder / LOCK).open("a+", encoding="utf-8") as file:
        if not _locked(file.fileno()):
            file.seek(0)
            raise RunDirectoryError(f"{folder}: a sweep is at work there already: {file.read().strip() or 'unknown'}")
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
        file.flush()
        yield


def _locked(number: int) -> bool:
    """Whether the open file is ours alone now."""
    if sys.platform == "win32":
        return True  # because: it has no such lock; two coordinators then do some cells twice, with the same result
    import fcntl

    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
