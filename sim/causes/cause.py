"""The causes of waiting: a closed list, in the order in which they are asked. `docs/reference/wait-causes.md` defines them."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class Cause(IntEnum):
    """The first that holds is the cause; between two changes of state it is the same for all jobs that ask for the same."""

    CAPACITY = 0
    """Less is free, summed over the servers that it may use, than it asks for."""
    QUOTA = 1
    """Enough is free, but not on the servers for which its queue has entitlement left."""
    FRAGMENTATION = 2
    """Enough is free, but no placement of the whole gang exists."""
    ORDER = 3
    """A placement exists and a pass has come: others go first, or the policy holds it back (a reservation, a backoff)."""
    CYCLE = 4
    """A placement exists and no pass has come yet."""


CAUSES: Final = tuple(cause.name.lower() for cause in Cause)
"""The names as columns, files and texts have them."""

MEANING: Final = {
    Cause.CAPACITY: "not enough was free",
    Cause.QUOTA: "its queue had no entitlement left",
    Cause.FRAGMENTATION: "enough was free, but scattered: no placement",
    Cause.ORDER: "it would have fitted: others went first, or the policy held it back",
    Cause.CYCLE: "it would have fitted: no pass had come yet",
}
