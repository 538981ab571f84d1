"""What a policy in another process costs: the same schedule in process and over the pipe, and a message that says nothing.

Wall time, because two processes take turns. The smallest of several is taken.

    python -m benchmarks.process_policy [--jobs 5000] [--repeats 3]
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.replay import flat_servers, synthetic
from policies.api import Policy
from policies.catalogue import Parts, make_policy
from policies.serving.process import ProcessPolicy
from policies.serving.process_link import Link
from policies.topology import Topology
from sim.engine import Engine
from sim.streams import Streams
from traces.job import JobRecord

EXAMPLES = Path(__file__).resolve().parents[1] / "docs" / "examples"

ECHO = "import sys\nfor line in sys.stdin:\n    sys.stdout.write(line)\n    sys.stdout.flush()\n"


def bare(repeats: int, messages: int = 20_000) -> None:
    """A line of 100 bytes to a program that gives it back: the pipe and the two schedulers of the system alone."""
    with tempfile.TemporaryDirectory() as folder:
        echo = Path(folder) / "echo.py"
        echo.write_text(ECHO, encoding="utf-8")
        link = Link([sys.executable, "-S", "-E", str(echo)], timeout_ms=30_000)
        line = b"x" * 99 + b"\n"
        best = float("inf")
        for _ in range(repeats):
            start = time.perf_counter()
            for _ in range(messages):
                link.ask(line)
            best = min(best, time.perf_counter() - start)
        link.close()
    print(
        f"{'a line and its echo, Python':32s} {best / messages * 1e6:7.1f} us each  {messages / best:8,.0f} a second"
    )


def seconds(records: list[JobRecord], topology: Topology, policy: Policy) -> tuple[float, int]:
    """Wall time of one replay, and its passes."""
    start = time.perf_counter()
    outcome = Engine(records, topology, policy).run()
    return time.perf_counter() - start, outcome.passes


def replays(records: list[JobRecord], topology: Topology, repeats: int) -> None:
    """Best-effort FIFO with best fit: in process, in Python over the pipe, in JavaScript over the pipe."""
    spec = "best-effort-fifo:place=best-fit"
    best, passes = min(
        seconds(records, topology, make_policy(spec, Parts(generator=Streams(0).generator))) for _ in range(repeats)
    )
    print(f"{'in process':32s} {best / passes * 1e6:7.1f} us a pass  {len(records) / best:10,.0f} jobs/s")
    commands = {"Python over the pipe": [sys.executable, "-S", "-E", str(EXAMPLES / "best_fit.py")]}
    if shutil.which("node"):
        commands["JavaScript over the pipe"] = ["node", str(EXAMPLES / "best-fit.mjs")]
    for name, command in commands.items():
        times = []
        for _ in range(repeats):
            policy = ProcessPolicy(command)
            times.append((*seconds(records, topology, policy), policy.messages))
            policy.close()
        best, passes, messages = min(times)
        print(
            f"{name:32s} {best / passes * 1e6:7.1f} us a pass  {len(records) / best:10,.0f} jobs/s"
            f"  {best / messages * 1e6:6.1f} us a message  {messages / best:8,.0f} messages/s"
        )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=5000)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    bare(options.repeats)
    for servers in (16, 250):
        print(f"{options.jobs:,} jobs on {servers} x 8, load 0.9:")
        replays(synthetic(options.jobs, 8 * servers), flat_servers(servers), options.repeats)


if __name__ == "__main__":
    main()
