"""Prints the timelines of a busy mixed workload under many policies: run in processes of their own by `test_hash_seeds`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # because: this file is also run as a script

from builders import golden, job, replay, rng

from policies.api import QueueView
from policies.topology import Node, Topology

SPECS = (
    "fifo",
    "best-effort-fifo:place=random",
    "best-effort-sjf:place=consolidate,per=queue",
    "best-effort-fifo:place=spread,quota=keep",
    "srtf-oracle",
    "preempt-priority:place=first-fit",
    "easy:place=gpu-packing",
    "easy-sjbf:place=dot-product",
    "conservative:reservation=counting",
)


def fleet() -> Topology:
    return Topology(
        [
            Node(name=f"n{i}", accelerator="ab"[i % 2], devices=4, cpu_milli=8000, domains=(f"leaf{i // 2}",))
            for i in range(6)
        ],
        ("leaf",),
    )


def workload(count: int = 120) -> list:
    draw = rng(5)
    at_ms = 0
    jobs = []
    for i in range(count):
        at_ms += int(draw.integers(0, 12))
        run_ms = int(draw.integers(0, 120))
        gpus = int(draw.choice((1, 1, 2, 4, 6)))
        jobs.append(
            job(
                f"j{i}",
                at_ms,
                run_ms,
                gpus,
                gpu_milli=int(draw.choice((1000, 300))) if gpus == 1 else 1000,
                cpu_milli=500 * gpus,
                accelerators=((), ("a",), ("a", "b"))[int(draw.integers(3))],
                queue=("red", "blue", None)[int(draw.integers(3))],
                priority=int(draw.integers(3)),
                estimate_ms=run_ms + int(draw.integers(0, 50)) - 10 if run_ms > 10 else None,
            )
        )
    return jobs


def queues() -> dict[str, QueueView]:
    return {
        name: QueueView(name, {"*": nominal}, None, "all", 1, None, {})
        for name, nominal in {"red": 12_000, "blue": 12_000}.items()
    }


def everything() -> str:
    parts = []
    for spec in SPECS:
        outcome = replay(
            workload(), fleet(), spec, validate=False, queues=queues(), ties="random", seed=3, oracle=True
        )
        parts.append(f"{spec}\n{golden(outcome, fleet())}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    print(everything())
