"""A JSON array of objects, one object at a time with the line on which it begins."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from traces.reading import fail
from traces.textfile import text_chunks

OBJECT_CHARS_MAX = 1 << 24
"""A longer element is not a job: reading on would only fill the memory."""

_BLANKS = re.compile(r"[ \t\r\n]*")


def elements(path: Path) -> Iterator[tuple[int, Any]]:
    """Each element of the array and its line. NaN and infinities come as their names.

    Raises `TraceError` with file and line: no array, syntax, truncated, or whatever `text_chunks` finds.
    """
    source = _Source(path)
    if source.next_char() != "[":
        raise fail(path, source.line, "must be a JSON array, a list of jobs between [ and ]")
    source.skip(1)
    if source.next_char() == "]":
        source.skip(1)
    else:
        yield from _elements(source)
    if source.next_char():
        raise fail(path, source.line, "there is text after the end of the JSON array")


def elements_of(path: Path, key: str) -> Iterator[tuple[int, Any]]:
    """Each element of the array that a JSON object has under `key`, and its line; the other members are passed over.

    Raises `TraceError` with file and line: no such array, syntax, truncated, or whatever `text_chunks` finds.
    """
    source = _Source(path)
    if source.next_char() != "{":
        raise fail(path, source.line, f"must be a JSON object with a list under {key!r}")
    source.skip(1)
    found = False
    while source.next_char() != "}":
        name = source.element()
        if not isinstance(name, str) or source.next_char() != ":":
            raise fail(path, source.line, "expected the name of a member and a colon: not JSON, or truncated")
        source.skip(1)
        if name == key and source.next_char() == "[":
            found = True
            source.skip(1)
            if source.next_char() == "]":
                source.skip(1)
            else:
                yield from _elements(source)
        else:
            source.next_char()
            source.element()
        if source.next_char() != ",":
            break
        source.skip(1)
        if source.next_char() == "}":
            raise fail(path, source.line, "expected another member after a comma: not JSON")
    if source.next_char() != "}":
        raise fail(path, source.line, "expected , or } after a member of the object: not JSON, or truncated")
    source.skip(1)
    if source.next_char():
        raise fail(path, source.line, "there is text after the end of the JSON object")
    if not found:
        raise fail(path, source.line, f"has no list under {key!r}")


def _elements(source: _Source) -> Iterator[tuple[int, Any]]:
    while True:
        source.next_char()
        line = source.line
        yield line, source.element()
        after = source.next_char()
        source.skip(1)
        if after == "]":
            return
        if after != ",":
            found = repr(after) if after else "the end of the file: it is truncated"
            raise fail(source.path, source.line, f"expected , or ] after an element of the array, got {found}")


class _Source:
    """Text of the file from the current place on; `line` is the line of that place."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.line = 1
        self._buffer = ""
        self._at = 0
        self._chunks = text_chunks(path)
        self._decoder = json.JSONDecoder(parse_constant=str)

    def next_char(self) -> str:
        """The next character that is no blank, without consuming it; empty at the end of the file."""
        while True:
            match = _BLANKS.match(self._buffer, self._at)
            self.skip(match.end() - self._at if match else 0)
            if self._at < len(self._buffer):
                return self._buffer[self._at]
            if not self._more(1):
                return ""

    def skip(self, chars: int) -> None:
        """Leave these characters behind."""
        self.line += self._buffer.count("\n", self._at, self._at + chars)
        self._at += chars

    def element(self) -> Any:
        """The JSON value at the current place, which is left behind it."""
        wanted = 1
        while True:
            start = self._at
            try:
                value, end = self._decoder.raw_decode(self._buffer, start)
            except (ValueError, RecursionError) as error:
                wanted *= 2
                if isinstance(error, RecursionError) or not self._more(wanted):
                    raise self._broken(error, start) from error
                continue
            if end == len(self._buffer) and self._more(1):
                continue
            self.skip(end - self._at)
            return value

    def _more(self, chunks: int) -> bool:
        """Read so many more chunks; False if there were none, or the element is too long already."""
        self._buffer = self._buffer[self._at :]
        self._at = 0
        if len(self._buffer) > OBJECT_CHARS_MAX:
            return False
        read = list(itertools.islice(self._chunks, chunks))
        self._buffer += "".join(read)
        return bool(read)

    def _broken(self, error: Exception, start: int) -> Exception:
        if isinstance(error, json.JSONDecodeError):
            line = self.line + self._buffer.count("\n", self._at, self._at + error.pos - start)
            return fail(self.path, line, f"not JSON, or truncated: {error.msg}")
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        return fail(self.path, self.line, f"not JSON that can be read: {reason}")
