"""Names that others wrote: shown as they are, but never able to hide, to reorder or to stretch what stands around them."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_UNSEEN: Final = re.compile(
    "[\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)
"""Controls, marks and overrides of the writing direction, letters without width, halves of letters."""


def visible(name: str) -> str:
    """The name with each letter that cannot be seen, or that turns the writing round, written as `[U+202E]`."""
    return _UNSEEN.sub(lambda found: f"[U+{ord(found[0]):04X}]", name)


def turns(name: str) -> bool:
    """True if some of it is written from right to left."""
    return any(unicodedata.bidirectional(each) in ("R", "AL", "AN") for each in name)


def width(text: str) -> int:
    """Columns that a text takes where a Chinese letter takes two."""
    return sum(
        0 if unicodedata.combining(each) else 2 if unicodedata.east_asian_width(each) in "WF" else 1 for each in text
    )


def fitted(name: str, columns: int) -> str:
    """The visible name, its middle left out where it is wider than so many columns."""
    text = visible(name)
    if width(text) <= columns:
        return text
    head, tail = "", ""
    for first, last in zip(text, reversed(text), strict=True):
        if width(head + first + tail) >= columns:
            break
        head += first
        if width(head + last + tail) >= columns:
            break
        tail = last + tail
    return f"{head}…{tail}"
