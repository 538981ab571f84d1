"""What there is to tell of one job of a finished run: facts that `sim.explain_teller` finds and `sim.explain_text` says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Waited:
    """Some of the waiting, under one cause, and what was free meanwhile on the servers that the job may use."""

    from_ms: int
    until_ms: int
    cause: str
    after_preemption: bool
    free_milli_least: int
    free_milli_most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A job that held devices while this one waited for some."""

    job_id: str
    gpus: float
    held_milli_ms: int
    share: float
    """Of what all jobs held there in those times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overtaker:
    """A job that arrived later and started while this one waited."""

    job_id: str
    gpus: float
    at_ms: int
    while_first: bool
    """True if nobody who had arrived before this job was waiting then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """One time on devices."""

    from_ms: int
    until_ms: int
    ended: str
    where: list[str]
    """`name[0-3]` for each server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Everything that `rehearse explain` knows of one job."""

    job_id: str
    policy: str
    state: str
    reason: str | None
    asked: dict[str, Any]
    submit_ms: int
    end_ms: int
    """When the last thing happened to it; the end of the run for a job that still waited or ran then."""
    wait_ms: int | None
    causes_ms: dict[str, int]
    causes_again_ms: dict[str, int]
    startup_ms: int | None
    waited: list[Waited]
    ahead: int
    """Jobs that had arrived before it and were waiting when it was submitted."""
    first_in_line_ms: int | None
    """From then on nobody who had arrived before it was waiting; None if that was never so while it waited."""
    overtakers: list[Overtaker]
    """Those that take the most, the first few of them."""
    overtakers_count: int
    overtakers_while_first: int
    holders: list[Holder]
    """Of devices that it may use, while it waited for devices."""
    holders_count: int
    quota_holders: list[Holder]
    """Of entitlement that it may use, while it waited for entitlement."""
    quota_holders_count: int
    stretches: list[Stretch]

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)
