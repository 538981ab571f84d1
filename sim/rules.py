"""The rules of a run that are neither the fleet's nor the policy's: what a scenario decides and every report prints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Split = Literal["whole", "free"]
Overrun = Literal["extend", "kill", "requeue"]
Progress = Literal["keep", "lose"]
Ties = Literal["job_id", "file", "random"]
Decide = Literal["instant", "event"]
Impossible = Literal["reject", "refuse"]
Thinking = Literal["free", "fixed", "measured"]

CHOICES = {
    "split": Split,
    "ties": Ties,
    "progress": Progress,
    "overrun": Overrun,
    "decide": Decide,
    "impossible": Impossible,
    "thinking": Thinking,
}
"""The rules that are one of a closed list."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Defaults are what the field calls plain. Raises ValueError for values that cannot be."""

    split: Split = "whole"
    """How a job that gives only a total is cut: into as few servers as it takes, or anywhere."""
    ties: Ties = "job_id"
    """The order of jobs that are submitted in the same millisecond."""
    oracle: bool = False
    """Policies may see true run times, and where a trace has no estimate the true run time stands for it."""
    fill: bool = False
    """Static fill: file order, no departures, no retry."""
    progress: Progress = "keep"
    """What a preempted job has when it starts again."""
    checkpoint_ms: int | None = None
    """Where progress is kept: only up to the last multiple of this; None keeps all."""
    restart_ms: int = 0
    """What a preempted job pays on its devices at each start after the first."""
    overrun: Overrun = "extend"
    """What happens when a job outruns its estimate."""
    decide: Decide = "instant"
    """One pass for each instant, or one after each event."""
    cycle_ms: int | None = None
    """Passes only at multiples of this; None is whenever something happened."""
    impossible: Impossible = "reject"
    """A job that cannot fit the empty fleet: rejected with the reason, or the run refused."""
    thinking: Thinking = "free"
    """What a pass costs in simulated time: nothing, always the same, or the wall time that it took."""
    thinking_ms: int = 0
    """The cost of each pass, where it is fixed."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name, kind in CHOICES.items():
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"{name}: must be one of {', '.join(get_args(kind))}, got {getattr(self, name)!r}")
        if self.decide == "event" and self.cycle_ms is not None:
            raise ValueError("cycle_ms: passes on a clock and a pass after each event exclude each other")
        if self.restart_ms < 0:
            raise ValueError(f"restart_ms: must be >= 0, got {self.restart_ms}")
        for name, value in (("checkpoint_ms", self.checkpoint_ms), ("cycle_ms", self.cycle_ms)):
            if value is not None and value < 1:
                raise ValueError(f"{name}: must be >= 1, got {value}")
        self._check_thinking()
        if self.seed < 0:
            raise ValueError(f"seed: must be >= 0, got {self.seed}")

    def _check_thinking(self) -> None:
        if (self.thinking == "fixed") != (self.thinking_ms > 0):
            raise ValueError(
                f"thinking_ms: must be >= 1 where thinking is fixed, else 0; got {self.thinking_ms} with {self.thinking}"
            )
        if self.thinking != "free" and self.decide == "event":
            raise ValueError("thinking: a pass that takes time and a pass after each event exclude each other")
        if self.thinking != "free" and self.fill:
            raise ValueError("thinking: a static fill has no clock that it could be charged to")
