"""The causes as lines for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sim.causes.cause import CAUSES
from sim.console import table
from sim.report.words import duration


def cause_lines(by_policy: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Policy -> totals, as a table: the mean wait of a job, divided by cause."""
    rows = [["why jobs waited (mean of a job)", *by_policy]]
    for key, prefix in (("wait_ms", ""), ("wait_again_ms", "after a preemption: ")):
        rows += [
            [f"{prefix}{cause}", *(_part(found, key, cause) for found in by_policy.values())]
            for cause in CAUSES
            if any(found[key][cause] for found in by_policy.values())
        ]
    return table(rows) if len(rows) > 1 else ["No job waited."]


def _part(found: Mapping[str, Any], key: str, cause: str) -> str:
    total, whole = found[key][cause], sum(found[key].values())
    return f"{duration(total / found['jobs'])} ({total / whole:.0%})" if total else "-"
