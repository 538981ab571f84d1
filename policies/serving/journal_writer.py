"""Lines into files, on a thread of their own: whoever hands a line in never waits for a disk.

One line is one write of a complete line to a file opened for appending, so a process that is killed leaves at most one torn line,
the last. A file in which a write failed is never written to again, so nothing is ever appended to a torn line.
"""

from __future__ import annotations

import contextlib
import gzip
import logging
import os
import queue
import shutil
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, NamedTuple

log = logging.getLogger(__name__)

SUFFIX: Final = ".jsonl"
PATTERN: Final = "journal-*.jsonl*"

Sync = Literal["off", "second", "line"]


class Limits(NamedTuple):
    """How much is written where, and how safely."""

    file_mib: int = 256
    """A file that is larger is closed, and the next one begins."""
    file_ms: int = 3_600_000
    """The same for a file that is older."""
    keep_files: int | None = None
    """Older files are removed; None keeps all."""
    compress: bool = False
    """Whether closed files are compressed."""
    sync: Sync = "off"
    """When lines are forced to the disk. With `off` they survive the end of this process, but not of the machine."""
    queue_mib: int = 64
    """What may wait to be written; what comes on top is lost."""


class _File(NamedTuple):
    """A file is to begin, with these lines."""

    number: int
    stem: str
    lines: Sequence[bytes]


class LineWriter:
    """See the module. `put` and `begin` are for one thread."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self.folder = folder
        self.lost = 0
        """Lines that could not be written."""
        self.path: Path | None = None
        """The file that is written."""
        self._limits = limits
        self._queue: queue.SimpleQueue[bytes | _File | None] = queue.SimpleQueue()
        self._put_bytes = 0
        self._done_bytes = 0
        self._handle = -1
        """Of the file; -1 where there is none, or a write failed: it is not written to again."""
        self._asked = 0
        """Number of the file that was asked for last: counted by the thread that hands lines in."""
        self._begun = 0
        self._broken = -1
        """Number of the last file that was begun, and of the last in which a write failed: set by the writing thread."""
        self._dirty = False
        self._synced_s = 0.0
        self._tidying = threading.Thread()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    @property
    def broken(self) -> bool:
        """Whether a write has failed since the last file was asked for: what is put meanwhile is lost."""
        return self._broken == self._asked

    # -- for the thread that hands lines in ------------------------------------------------------------------

    def put(self, line: bytes) -> bool:
        """Write a line soon. False if it is lost."""
        size = self._put_bytes + len(line)
        if self.broken or size - self._done_bytes > self._limits.queue_mib << 20:
            return False
        self._put_bytes = size
        self._queue.put(line)
        return True

    def begin(self, stem: str, lines: Sequence[bytes]) -> None:
        """Close the file and begin another with these lines; a number is added to a name that is taken."""
        self._asked += 1
        self._queue.put(_File(self._asked, stem, lines))

    def close(self, limit_s: float = 10.0) -> None:
        """Write what waits, and end; after `limit_s` without success, end all the same."""
        self._queue.put(None)
        self._thread.join(limit_s)
        if self._tidying.ident is not None:
            self._tidying.join(limit_s)

    # -- the writing thread --------------------------------------------------------------------------------------

    def _run(self) -> None:
        while (item := self._next()) is not None:
            if isinstance(item, bytes):
                if self._handle < 0 or not self._written(item):
                    self.lost += 1
                self._done_bytes += len(item)
            else:
                self._begin(item)
        self._end_file()

    def _next(self) -> bytes | _File | None:
        if self._limits.sync != "second":
            return self._queue.get()
        while True:
            left_s = self._synced_s + 1.0 - time.monotonic()
            if self._dirty and left_s <= 0:
                self._sync()
                continue
            try:
                return self._queue.get(timeout=max(left_s, 0.01) if self._dirty else None)
            except queue.Empty:
                continue

    def _begin(self, file: _File) -> None:
        self._end_file()
        self._begun = file.number
        try:
            self._handle, self.path = _create(self.folder, file.stem)
        except OSError as error:
            self._break(error)
        else:
            for line in file.lines:
                if not self._written(line):
                    break
            if self._limits.sync != "off" and self._handle >= 0:
                self._sync()
                _sync_folder(self.folder)
        if (self._limits.compress or self._limits.keep_files is not None) and not self._tidying.is_alive():
            self._tidying = threading.Thread(target=self._tidy, args=(self.path,), name="journal-tidy", daemon=True)
            self._tidying.start()

    def _written(self, line: bytes) -> bool:
        try:
            done = os.write(self._handle, line)
            while done < len(line):  # because: a full disk takes a part, and then says why
                done += os.write(self._handle, line[done:])
        except OSError as error:
            self._break(error)
            return False
        self._dirty = True
        if self._limits.sync == "line":
            self._sync()
        return True

    def _sync(self) -> None:
        self._synced_s = time.monotonic()
        self._dirty = False
        try:
            os.fsync(self._handle)
        except OSError as error:
            self._break(error)

    def _break(self, error: OSError) -> None:
        log.warning(
            "the journal cannot be written to %s: %s; decisions go on without being recorded",
            self.path or self.folder,
            error.strerror or error,
        )
        self._broken = self._begun
        self._dirty = False
        handle, self._handle = self._handle, -1
        if handle >= 0:
            with contextlib.suppress(OSError):
                os.close(handle)

    def _end_file(self) -> None:
        if self._handle < 0:
            return
        if self._dirty and self._limits.sync != "off":
            self._sync()
        if self._handle < 0:
            return
        handle, self._handle = self._handle, -1
        self._dirty = False
        try:
            os.close(handle)
        except OSError as error:
            self._break(error)

    def _tidy(self, current: Path | None) -> None:
        """Compress and remove closed files."""
        try:
            found = (path for path in self.folder.glob(PATTERN) if path.suffix in (SUFFIX, ".gz"))
            files = sorted(path for path in found if path != current)
            if self._limits.keep_files is not None:
                surplus = files[: max(len(files) + 1 - max(self._limits.keep_files, 1), 0)]
                for path in surplus:
                    if not _in_use(path):
                        path.unlink(missing_ok=True)
                files = files[len(surplus) :]
            for path in files if self._limits.compress else ():
                if path.suffix == SUFFIX and not _in_use(path):
                    _compress(path)
        except OSError as error:
            log.warning("the journal's closed files stay as they are: %s", error)


def _create(folder: Path, stem: str) -> tuple[int, Path]:
    """A new file, locked as long as it is open."""
    number = 0
    while True:
        path = folder / f"{stem}-{number:03d}{SUFFIX}"
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o640)
        except FileExistsError:
            number += 1
            continue
        _locked(handle)
        return handle, path


def _locked(handle: int) -> bool:
    """Take the lock of an open file; False if somebody has it."""
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except ImportError:
        return True  # because: without locks, files of other processes cannot be told apart
    except OSError:
        return False
    return True


def _in_use(path: Path) -> bool:
    """Whether a process writes to a file."""
    with path.open("rb") as file:
        return not _locked(file.fileno())


def _compress(path: Path) -> None:
    """`x.jsonl` becomes `x.jsonl.gz`: whole or not at all."""
    part = path.with_name(f"{path.name}.gz.part")
    with path.open("rb") as source, gzip.open(part, "wb", compresslevel=6) as target:
        shutil.copyfileobj(source, target, 1 << 20)
    part.replace(path.with_name(f"{path.name}.gz"))
    path.unlink()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        log.debug("the folder of the journal cannot be synchronised: %s", error)
    finally:
        os.close(handle)
