"""A text file as numbered lines, streaming, through gzip or not; whatever is wrong with it is a `TraceError`."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from traces.trace import TraceError

LINE_BYTES_MAX = 1 << 20
"""A longer line is not a row of any trace: reading on would only fill the memory."""

HEAD_BYTES = 1 << 16
"""How much of a file is looked at to tell its format."""

GZIP_MAGIC = b"\x1f\x8b"
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")

UNREADABLE = (OSError, EOFError, zlib.error)
"""What the standard library raises for a file that is missing, forbidden, truncated or corrupt."""


def open_bytes(path: Path) -> IO[bytes] | gzip.GzipFile:
    """The file's bytes, decompressed if it begins like gzip, whatever its name says.

    Raises `OSError` if it cannot be opened.
    """
    with path.open("rb") as raw:
        compressed = raw.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    return gzip.open(path, "rb") if compressed else path.open("rb")


def head(path: Path) -> bytes:
    """The first decompressed bytes, as many as there are up to `HEAD_BYTES`, also of a truncated file.

    Raises `TraceError` if the file cannot be opened, or holds nothing.
    """
    try:
        with path.open("rb") as raw:
            first = raw.read(HEAD_BYTES)
        if first.startswith(GZIP_MAGIC):
            first = zlib.decompressobj(wbits=31).decompress(first, HEAD_BYTES)
    except UNREADABLE as error:
        raise TraceError(f"{path}: {describe_failure(error)}") from error
    if not first:
        raise TraceError(f"{path}: the file is empty")
    return first


def head_lines(first: bytes) -> list[str]:
    """The lines of a file's head as text, without a byte order mark; undecodable bytes are replaced."""
    text = first.removeprefix(BYTE_ORDER_MARK).decode("utf-8", errors="replace")
    return [line.removesuffix("\r") for line in text.split("\n")]


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Each line with its number from 1, without its line end, one at a time.

    Raises `TraceError` with file and line: missing, truncated, not UTF-8, NUL bytes, over-long, empty.
    """
    number = 0
    try:
        with open_bytes(path) as stream:
            while raw := stream.readline(LINE_BYTES_MAX + 1):
                number += 1
                yield number, _decoded(path, number, raw)
    except UNREADABLE as error:
        raise TraceError(f"{path}:{number + 1}: {describe_failure(error)}") from error
    if number == 0:
        raise TraceError(f"{path}: the file is empty")


def text_chunks(path: Path) -> Iterator[str]:
    """The text piece by piece, for a form in which lines mean nothing and one may hold the whole file.

    Raises `TraceError` with file and line: missing, truncated, not UTF-8, NUL bytes, empty.
    """
    line = 1
    decoder = codecs.getincrementaldecoder("utf-8")()
    first = True
    try:
        with open_bytes(path) as stream:
            while raw := stream.read(HEAD_BYTES):
                if first:
                    raw = _without_mark(path, raw)
                    first = False
                text = decoder.decode(raw)
                if "\0" in text:
                    at = line + text.count("\n", 0, text.index("\0"))
                    raise TraceError(f"{path}:{at}: the line holds a NUL byte: not a text file")
                yield text
                line += text.count("\n")
            decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        at = line + error.object.count(b"\n", 0, error.start)
        raise TraceError(f"{path}:{at}: not UTF-8: {error.reason}") from error
    except UNREADABLE as error:
        raise TraceError(f"{path}:{line}: {describe_failure(error)}") from error
    if first:
        raise TraceError(f"{path}: the file is empty")


def describe_failure(error: BaseException) -> str:
    """Why a file could not be read, in words, without the path that the message already has."""
    if isinstance(error, EOFError):
        return "the compressed file is truncated"
    if isinstance(error, zlib.error | gzip.BadGzipFile):
        return f"the compressed file is corrupt: {error}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)


def _without_mark(path: Path, raw: bytes) -> bytes:
    if raw.startswith(_UTF16_MARKS):
        raise TraceError(f"{path}:1: the file is UTF-16, not UTF-8")
    return raw.removeprefix(BYTE_ORDER_MARK)


def _decoded(path: Path, number: int, raw: bytes) -> str:
    if len(raw) > LINE_BYTES_MAX:
        raise TraceError(f"{path}:{number}: the line is longer than {LINE_BYTES_MAX} bytes")
    if number == 1:
        raw = _without_mark(path, raw)
    if b"\0" in raw:
        raise TraceError(f"{path}:{number}: the line holds a NUL byte: not a text file")
    try:
        line = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TraceError(f"{path}:{number}: not UTF-8: {error.reason} at byte {error.start}") from error
    return line.removesuffix("\n").removesuffix("\r")
