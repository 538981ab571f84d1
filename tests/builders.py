"""Small fleets, jobs and runs for tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from policies.api import Policy
from policies.catalogue import Parts, make_policy
from policies.topology import Node, Topology
from sim.engine import Engine, Outcome
from sim.rules import Rules
from sim.state import describe
from sim.streams import Streams
from sim.timeline import Happened
from traces.job import JobRecord


def job(job_id: str, submit_ms: int, run_ms: int, gpus: int = 1, **more) -> JobRecord:
    return JobRecord(job_id=job_id, submit_ms=submit_ms, run_ms=run_ms, gpu_count=gpus, **more)


def small_jobs(rng: np.random.Generator, count: int = 150) -> list[JobRecord]:
    """Jobs of a few seconds in one minute, of 1 to 8 devices, in two queues."""
    return [
        job(
            f"j{i}",
            int(at),
            int(rng.integers(1, 4000)),
            int(rng.choice((1, 2, 4, 8))),
            queue=str(rng.choice(("a", "b"))),
        )
        for i, at in enumerate(np.sort(rng.integers(0, 60_000, count)))
    ]


def servers(count: int, devices: int = 8, **more) -> Topology:
    return Topology([Node(name=f"n{i}", devices=devices, **more) for i in range(count)])


def policy(spec: str, seed: int = 0) -> Policy:
    return make_policy(spec, Parts(generator=Streams(seed).generator))


def replay(jobs: Sequence[JobRecord], topology: Topology, what: str | Policy, *, validate=True, **rules) -> Outcome:
    """Replays jobs and checks every invariant at every instant."""
    queues = rules.pop("queues", None)
    speed = rules.pop("speed", None)
    built = policy(what, rules.get("seed", 0)) if isinstance(what, str) else what
    engine = Engine(jobs, topology, built, rules=Rules(**rules), queues=queues, speed=speed, validate=validate)
    return engine.run()


def starts(outcome: Outcome) -> dict[str, int]:
    """First start of each job, in milliseconds."""
    line = outcome.timeline
    first: dict[str, int] = {}
    for row, at in zip(
        line.job[line.happened == Happened.START], line.at_ms[line.happened == Happened.START], strict=True
    ):
        first.setdefault(outcome.records[int(row)].job_id, int(at))
    return first


def golden(outcome: Outcome, topology: Topology) -> str:
    """The timeline as text that one can read aloud: `100 start c n0[0-3]`."""
    line = outcome.timeline
    rows = []
    for i in range(len(line.at_ms)):
        shares = [
            (int(line.share_node[k]), int(line.share_devices[k]), int(line.share_pods[k]), int(line.share_group[k]))
            for k in range(int(line.share_start[i]), int(line.share_start[i + 1]))
        ]
        from policies.api import Share

        where = describe(tuple(Share(*share) for share in shares), topology)
        name = Happened(int(line.happened[i])).name.lower()
        row = f"{int(line.at_ms[i])} {name} {outcome.records[int(line.job[i])].job_id}"
        if name == "speed":
            row += f" {int(line.speed_ppm[i])}"
        rows.append(f"{row} {where}".rstrip())
    return "\n".join(rows)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)
