"""The columns of the canonical trace, shared by its reader and its writer."""

from __future__ import annotations

SCHEMA_VERSION = "1"
"""Raised when a column changes its meaning, not when one is added."""

SCHEMA_KEY = "rehearse-trace"
"""What stands before the version: in a CSV's first comment line, and as key in Parquet's metadata."""

REQUIRED_COLUMNS = ("job_id", "submit_ms", "run_ms", "gpus")

OPTIONAL_COLUMNS = (
    "pods",
    "gpu_milli",
    "gpu_memory_mib",
    "cpu_milli",
    "memory_mib",
    "accelerators",
    "user",
    "queue",
    "priority",
    "estimate_ms",
    "deadline_ms",
    "lifetime_ms",
    "outcome",
    "recorded_start_ms",
    "family",
    "service",
    "scheduling",
)

COLUMNS = (*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS)

TEXT_COLUMNS = frozenset({"job_id", "accelerators", "user", "queue", "outcome", "family", "service", "scheduling"})
"""The others hold integers."""
