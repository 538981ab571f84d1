"""A file that stands in its place when all of it is written, and not before."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A name beside `path` to write to: it becomes `path` when the block ends, and is gone if the block fails.

    It begins with `.` and the name of `path`, and no other process has it, also where hosts share the folder. Raises OSError.
    """
    made = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}")
    try:
        yield made
        with made.open("rb") as file:
            os.fsync(file.fileno())  # because: the name must not be there before the content is
        made.replace(path)
    finally:
        made.unlink(missing_ok=True)
