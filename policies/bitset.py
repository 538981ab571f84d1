"""Sets of servers and of devices as the bits of one integer: union, intersection and lowest member in one step."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray


def bits(members: int) -> Iterator[int]:
    """The members, lowest first. Raises ValueError for a negative number, which is no set."""
    if members < 0:
        raise ValueError(f"{members} is not a set")
    while members:
        low = members & -members
        yield low.bit_length() - 1
        members ^= low


def lowest(members: int, count: int) -> int:
    """The set of the `count` lowest members; `members` has at least as many."""
    taken = 0
    for _ in range(count):
        low = members & -members
        taken |= low
        members ^= low
    return taken


def from_members(members: Iterable[int]) -> int:
    """The set of these numbers."""
    result = 0
    for member in members:
        result |= 1 << member
    return result


def to_array(members: int, size: int) -> NDArray[np.bool_]:
    """The set as a mask of shape (size,)."""
    raw = np.frombuffer(members.to_bytes((size + 7) // 8, "little"), dtype=np.uint8)
    return np.unpackbits(raw, count=size, bitorder="little").astype(bool)


def from_array(mask: NDArray[np.bool_]) -> int:
    """The set of the positions that are true."""
    return int.from_bytes(np.packbits(mask, bitorder="little").tobytes(), "little")


def ranges(members: int) -> str:
    """`0-3,7`: how a set of devices is written in stories and golden timelines."""
    parts: list[str] = []
    numbers = list(bits(members))
    start = 0
    for i in range(1, len(numbers) + 1):
        if i == len(numbers) or numbers[i] != numbers[i - 1] + 1:
            first, last = numbers[start], numbers[i - 1]
            parts.append(str(first) if first == last else f"{first}-{last}")
            start = i
    return ",".join(parts)
