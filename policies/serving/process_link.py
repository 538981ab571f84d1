"""A program with which lines are exchanged over its standard input and output, and which cannot hang the caller.

One question, one answer. Whatever the program does instead (end, stay silent, write without end, stop reading, fill its standard
error) becomes a `LinkError` that says so with the last lines of its standard error. POSIX only.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import subprocess
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from typing import IO, Final, NoReturn

LINE_MAX: Final = 16 << 20
"""Bytes of one line. More is no answer."""

GRACE_S: Final = 2.0
"""How long a program may take to end after the last line, and again after it is told to."""

READ: Final = 1 << 16
ERRORS_KEPT: Final = 4096
"""Bytes of standard error that are remembered."""
ERROR_LINES: Final = 6
"""Lines of it that an error quotes."""

log = logging.getLogger(__name__)


class LinkError(Exception):
    """The program did not do its part. The text says what it did, and quotes the end of its standard error."""


class Link:
    """A running program. `close` it; one that is forgotten is ended when this object goes.

    Raises `LinkError` if it cannot be started.
    """

    def __init__(self, command: Sequence[str], *, timeout_ms: int, cwd: str | None = None) -> None:
        self.command = tuple(command)
        self._timeout_ms = timeout_ms
        self._received = bytearray()
        self._errors = b""
        """The end of what it wrote to its standard error."""
        self._unlogged = b""
        """The last line of it, while it is not whole."""
        self._asked = False
        """True between a question and its answer."""
        if not hasattr(select, "poll"):
            raise LinkError("cannot be started: a policy in another process needs a POSIX system")
        try:
            self._process = subprocess.Popen(  # noqa: S603  # because: to run this program is what the user asks for
                self.command,
                bufsize=0,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=cwd,
                start_new_session=True,  # because: a shell that starts the real program must not outlive its end
            )
        except (OSError, ValueError) as error:
            name = getattr(error, "filename", None)
            reason = getattr(error, "strerror", None) or str(error)
            raise LinkError(f"cannot be started: {reason}{f': {name}' if name else ''}") from error
        self._finalizer = weakref.finalize(self, _end, self._process)
        self._in, self._out, self._err = (_handle(pipe) for pipe in _pipes(self._process))
        self._poll = select.poll()
        self._open = {self._out, self._err}
        for handle in self._open:
            self._poll.register(handle, select.POLLIN)

    @property
    def pid(self) -> int:
        """The program's process."""
        return self._process.pid

    def ask(self, question: bytes) -> bytes:
        """Write lines and read the one line that answers them, without its end. Raises `LinkError`; then only `close` is left."""
        if self._received:
            raise LinkError(f"wrote before it was asked: {_quoted(self._received)}{self._told()}")
        self._asked = True
        deadline = time.monotonic() + self._timeout_ms / 1000
        unsent = self._send(memoryview(question))
        if unsent:
            self._poll.register(self._in, select.POLLOUT)
        while (end := self._received.find(b"\n")) < 0:
            left = deadline - time.monotonic()
            events = self._poll.poll(left * 1000) if left > 0 else []
            if not events:
                raise LinkError(self._silent(len(unsent)))
            for handle, _ in events:
                if handle == self._in:
                    unsent = self._send(unsent)
                    if not unsent:
                        self._poll.unregister(self._in)
                elif handle == self._err:
                    self._read_error()
                else:
                    self._read_line()
        if unsent:
            raise LinkError(f"answered before it had read the question{self._told()}")
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        self._asked = False
        return line

    def close(self, last: bytes = b"") -> None:
        """Write a last line, end its input and wait for its end; a program that stays is ended."""
        if self._finalizer.detach() is None:
            return
        try:
            if not self._asked:
                self._send_last(last)
                self._wait_for_end(GRACE_S)
        finally:
            _end(self._process)

    # -- one step ----------------------------------------------------------------------------------------------

    def _send(self, unsent: memoryview) -> memoryview:
        """What could not be written yet."""
        try:
            return unsent[os.write(self._in, unsent) :]
        except BlockingIOError:
            return unsent
        except OSError:
            self._ended()

    def _send_last(self, last: bytes) -> None:
        pipe = self._process.stdin
        assert pipe is not None
        with suppress(OSError):  # because: it has ended before, or does not read: its end is all that is wanted now
            os.write(self._in, last)
        pipe.close()

    def _read_line(self) -> None:
        chunk = os.read(self._out, READ)
        if not chunk:
            self._ended()
        self._received += chunk
        if len(self._received) > LINE_MAX and b"\n" not in chunk:
            raise LinkError(
                f"wrote a line of more than {LINE_MAX >> 20} MiB: {_quoted(self._received)}{self._told()}"
            )

    def _read_error(self) -> None:
        chunk = os.read(self._err, READ)
        if not chunk:
            self._hang_up(self._err)
        if log.isEnabledFor(logging.INFO):
            *lines, self._unlogged = (self._unlogged + (chunk or b"\n")).split(b"\n")
            for line in filter(None, lines):
                log.info("%s: %s", self.command[0], line.decode("utf-8", "replace"))
            self._unlogged = self._unlogged[-ERRORS_KEPT:]
        self._errors = (self._errors + chunk)[-ERRORS_KEPT:]

    def _hang_up(self, handle: int) -> None:
        self._poll.unregister(handle)
        self._open.discard(handle)

    def _wait_for_end(self, patience_s: float) -> bool:
        """Read what it still writes until it has ended; False if it stays. What is read is dropped, but for its errors."""
        deadline = time.monotonic() + patience_s
        while self._open and (left := deadline - time.monotonic()) > 0:
            for handle, _ in self._poll.poll(left * 1000):
                if handle == self._err:
                    self._read_error()
                elif handle != self._out or not os.read(handle, READ):
                    self._hang_up(handle)
        try:
            self._process.wait(max(deadline - time.monotonic(), 0.01))
        except subprocess.TimeoutExpired:
            return False
        return True

    # -- what went wrong ---------------------------------------------------------------------------------------

    def _ended(self) -> NoReturn:
        """It has closed a pipe: most often because it is no more."""
        unfinished = f" in the middle of a line: {_quoted(self._received)}" if self._received else ""
        if not self._wait_for_end(GRACE_S):
            raise LinkError(f"closed its input or output and runs on{unfinished}{self._told()}")
        status = self._process.returncode
        how = f"ended with status {status}" if status >= 0 else f"was ended by signal {_signal(-status)}"
        raise LinkError(f"{how} before it answered{unfinished}{self._told()}")

    def _silent(self, unsent: int) -> str:
        what = f"gave no answer within {self._timeout_ms / 1000:g} s"
        if unsent:
            what += f" and left {unsent} bytes of the question unread"
        if self._received:
            what += f"; it wrote {_quoted(self._received)} and no end of the line"
        return what + self._told()

    def _told(self) -> str:
        lines = self._errors.decode("utf-8", "replace").strip().splitlines()[-ERROR_LINES:]
        return "".join(f"\n  stderr: {line[:200]}" for line in lines)


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes], IO[bytes]]:
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    return process.stdin, process.stdout, process.stderr


def _handle(pipe: IO[bytes]) -> int:
    handle = pipe.fileno()
    os.set_blocking(handle, False)
    return handle


def _end(process: subprocess.Popen[bytes]) -> None:
    """No process and no open pipe is left behind."""
    for pipe in _pipes(process):
        pipe.close()
    for kind in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        try:
            os.killpg(process.pid, kind)  # because: it leads the session that was made for it
        except OSError:
            process.send_signal(kind)
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            continue


def _signal(number: int) -> str:
    try:
        return f"{number} ({signal.Signals(number).name})"
    except ValueError:
        return str(number)


def _quoted(received: bytes | bytearray) -> str:
    beginning = bytes(received[:100]).decode("utf-8", "replace")
    return repr(beginning) + ("..." if len(received) > 100 else "")
