"""`rehearse demo`: the main job on what comes with the product: weeks of an invented bank, on its fleet.

Each week is drawn by itself, and is a trace of its own. So weeks are independent blocks, and ten of them decide what one
cannot: a backlog lasts for days, and the days of one week are worth few observations.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import click

from sim.console import note, say, table
from sim.scenario_options import lang_option
from traces import synthetic
from traces.job import JobRecord
from traces.profiles import Profile
from traces.registry import read_trace
from traces.trace import Trace
from traces.write import write_trace

if TYPE_CHECKING:
    from sim.experiment.comparison import Comparison
    from sim.experiment.effects import PolicyEffects

WEEKS: Final = 10
"""Eight independent blocks are the fewest that decide anything."""
DAYS: Final = 7
LOAD: Final = 0.7
BUSY: Final = 0.9
"""The load of the one week that notebooks take where no trace is given."""
SEED: Final = 2025

WISHED: Final = ("fifo", "best-effort-fifo", "easy", "smallest-area")
"""Those of them that the catalogue has are compared, each queue apart."""

TOLD: Final = ("wait.mean", "wait.p95", "completion.mean")
"""The metrics that the terminal shows; the page has all."""

LIMIT_MS: Final = 2 * 86_400_000
"""The limit that the bank sets for a job whose user gave none; a longer one is asked for in whole days."""


class Team(NamedTuple):
    """Who uses the servers of one accelerator."""

    accelerator: str
    devices: int
    queues: dict[str, tuple[str, ...]]
    """Family of jobs -> queues of its users."""
    largest: int
    """Devices of the largest gang."""


TEAMS: Final = (
    Team(
        "nvidia-a100-sxm-80gb",
        192,
        {"risk-model": ("risk",), "fine-tuning": ("research", "risk"), "batch-inference": ("research",)},
        32,
    ),
    Team("ascend-910b3", 96, {"fine-tuning": ("language-models",), "pretraining": ("language-models",)}, 48),
    Team("nvidia-t4", 16, {"notebook": ("branches",)}, 1),
)

PRIORITIES: Final = {"notebook": 100, "risk-model": 50}


@click.command()
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The directory to write.")
@click.option(
    "--weeks", type=click.IntRange(1, 52), default=WEEKS, show_default=True, help="Fewer than eight decide nothing."
)
@click.option("--workers", type=click.IntRange(1, 64), help="Processes. [default: 2, where there are two processors]")
@lang_option
def demo(out: Path, weeks: int, workers: int | None, lang: str) -> None:
    """Compare several policies on built-in weeks and the built-in fleet, and write a page."""
    from policies.catalogue import POLICIES
    from sim.compare_commands import compare_and_show
    from sim.experiment.prepare import prepare
    from sim.experiment.scenario import make_scenario

    policies = [f"{name}:per=queue" for name in WISHED if name in POLICIES]
    kept = [out / "weeks" / f"week-{number:02d}.csv" for number in range(1, weeks + 1)]
    with tempfile.TemporaryDirectory() as folder:
        written = [Path(folder) / path.name for path in kept]
        traces = [_write_week(number, path, kept[number]) for number, path in enumerate(written)]
        # because: each job may use one model only, and its run time is that on this model; and ten weeks show what chance
        # does, other orders of ties would show little more in a quarter of the time again
        data = {"traces": [str(path) for path in kept], "cluster": "demo", "policies": policies, "speed": "off"}
        scenario = make_scenario({**data, "blocks": "trace", "tie_orders": 0}, source="demo")
        prepared = [prepare(scenario, policies, trace=trace) for trace in traces]
        jobs = sum(len(trace.records) for trace in traces)
        note(
            f"{weeks} week{'s'[: weeks > 1]} of an invented bank, {jobs:,} jobs on 304 devices, under {len(policies)} policies"
        )
        compare_and_show(
            prepared[0], policies, policies[0], out,
            workers=workers or min(2, os.cpu_count() or 1), more=prepared[1:], lang=lang, lines=demo_lines,
        )  # fmt: skip
        kept[0].parent.mkdir()
        for source, target in zip(written, kept, strict=True):
            target.write_bytes(source.read_bytes())
    say(f"weeks: {kept[0].parent} (replay one with --trace {kept[0]} --cluster demo --speed off)")


def _write_week(number: int, path: Path, kept: Path) -> Trace:
    """The trace as it is read from a file, which will be kept elsewhere."""
    write_trace(demo_trace(number, LOAD), path)
    return replace(read_trace(path), path=str(kept))


def demo_lines(comparison: Comparison) -> list[str]:
    """Who wins, at whose cost and how sure that is, on one screen."""
    from sim.report.paired_text import effect_row, evidence_lines
    from sim.report.verdict import headline
    from sim.report.voice import plain

    paired = comparison.paired
    lines = [headline(comparison, plain()), ""]
    if paired is None:
        return lines
    rows: list[list[str]] = []
    for quantity in TOLD:
        effects = {
            policy: effect_row(each)
            for policy, found in paired.policies.items()
            for each in found.metrics
            if each.quantity == quantity
        }
        base = next(iter(effects.values()))[1]
        rows += [[quantity, "", "difference, 95 % interval", "verdict"], [f"  {comparison.baseline}", base]]
        rows += [[f"  {policy}", row[2], row[3], row[5]] for policy, row in effects.items()]
    lines += [*table(rows), ""]
    lines += [_losers(policy, found) for policy, found in paired.policies.items()]
    return [*lines, "", *evidence_lines(paired.evidence)]


def _losers(policy: str, found: PolicyEffects) -> str:
    """The groups that are worse off for certain; if none is, the size that is helped least."""
    from sim.report.paired_text import worst_words

    worse = [f"{each.kind} {worst_words(each)}" for each in found.groups if each.verdict == "worse"]
    if worse:
        return f"Worse off under {policy}: {'; '.join(worse)}."
    least = f"; least helped by size: {worst_words(found.worst_off['size'])}" if "size" in found.worst_off else ""
    return f"No queue, user or size is shown to be worse off under {policy}{least}."


def demo_trace(week: int = 0, load: float = BUSY) -> list[JobRecord]:
    """A built-in week, by time of submission, in whole seconds as most logs have it: the same on every machine."""
    records = sorted(_jobs(SEED + week * len(TEAMS), load), key=lambda job: (job.submit_ms, job.job_id))
    width = len(str(len(records)))
    return [
        replace(job, job_id=f"job-{number:0{width}d}", submit_ms=job.submit_ms // 1000 * 1000)
        for number, job in enumerate(records)
    ]


def _jobs(seed: int, load: float) -> Iterator[JobRecord]:
    """The load of each pool apart, so that none is offered more than it can do."""
    bank = synthetic.profile_named("bank")
    for number, team in enumerate(TEAMS):
        spec = synthetic.Spec(
            profile=_only(bank, frozenset(team.queues)),
            seed=seed + number,
            days=DAYS,
            capacity=team.devices,
            load=load,
            gpus_max=team.largest,
        )
        for job in synthetic.generate(spec):
            names = team.queues[job.family or ""]
            yield replace(
                job,
                accelerators=(team.accelerator,),
                queue=names[int((job.user or "-0").rpartition("-")[2]) % len(names)],
                estimate_ms=_limit(job),
                priority=PRIORITIES.get(job.family or "", 0),
            )


def _only(profile: Profile, families: frozenset[str]) -> Profile:
    return replace(profile, families=tuple(each for each in profile.families if each.name in families))


def _limit(job: JobRecord) -> int:
    if job.estimate_ms is not None:
        return job.estimate_ms
    return max(LIMIT_MS, -(-job.run_ms // 86_400_000) * 86_400_000)
