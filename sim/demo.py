"""`rehearse demo`: the main job on what comes with the product: the trace of an invented bank, on its fleet."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

import click

from sim.console import note, say
from sim.scenario_options import lang_option
from traces import synthetic
from traces.job import JobRecord
from traces.profiles import Profile
from traces.registry import read_trace
from traces.write import write_trace

DAYS: Final = 7
LOAD: Final = 0.9
SEED: Final = 2025

WISHED: Final = ("fifo", "best-effort-fifo", "easy", "sjf", "smallest-area")
"""Those of them that the catalogue has are compared, each queue apart."""

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
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes.")
@lang_option
def demo(out: Path, workers: int, lang: str) -> None:
    """Compare several policies on the built-in trace and fleet, and write a page."""
    from policies.catalogue import POLICIES
    from sim.compare_commands import compare_and_show
    from sim.experiment.prepare import prepare
    from sim.experiment.scenario import make_scenario

    policies = [f"{name}:per=queue" for name in WISHED if name in POLICIES]
    kept = out / "trace.csv"
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "trace.csv"
        write_trace(demo_trace(), written)
        trace = replace(read_trace(written), path=str(kept))
        # because: each job may use one model only, and its run time is that on this model
        data = {"trace": str(kept), "cluster": "demo", "policies": policies, "speed": "off"}
        scenario = make_scenario(data, source="demo")
        note(f"{len(trace.records)} jobs of {DAYS} days of an invented bank, under {len(policies)} policies")
        prepared = prepare(scenario, policies, trace=trace)
        compare_and_show(prepared, policies, policies[0], out, workers=workers, lang=lang)
        kept.write_bytes(written.read_bytes())
    say(f"trace: {kept} (replay it with --trace {kept} --cluster demo)")


def demo_trace() -> list[JobRecord]:
    """The built-in trace, by time of submission, in whole seconds as most logs have it: the same on every machine."""
    records = sorted(_jobs(), key=lambda job: (job.submit_ms, job.job_id))
    width = len(str(len(records)))
    return [
        replace(job, job_id=f"job-{number:0{width}d}", submit_ms=job.submit_ms // 1000 * 1000)
        for number, job in enumerate(records)
    ]


def _jobs() -> Iterator[JobRecord]:
    """The load of each pool apart, so that none is offered more than it can do."""
    bank = synthetic.profile_named("bank")
    for number, team in enumerate(TEAMS):
        spec = synthetic.Spec(
            profile=_only(bank, frozenset(team.queues)),
            seed=SEED + number,
            days=DAYS,
            capacity=team.devices,
            load=LOAD,
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
