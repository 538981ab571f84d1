"""`rehearse explain`: why one job of a run waited, and where it ran."""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np

from sim.console import say
from sim.fleet.problems import did_you_mean
from sim.results import Run
from sim.run import InputError


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.argument("job")
@click.option("--trace", type=click.Path(path_type=Path), help="The trace of the run, where it has moved.")
@click.option("--cluster", help="The fleet of the run, where it has moved.")
@click.option("--json", "as_json", is_flag=True, help="Print the story as JSON.")
def explain(directory: Path, job: str, trace: Path | None, cluster: str | None, as_json: bool) -> None:
    """Tell the story of JOB in the run of DIRECTORY: what it asked for, why it waited, who was in the way, where it ran.

    Reads the trace and the fleet of the run again.
    """
    from sim.explain_inputs import inputs_of
    from sim.explain_teller import story_of
    from sim.explain_text import story_lines
    from sim.results import as_json as to_json
    from sim.results import read_run

    run = read_run(directory)
    if run.is_fill:
        raise InputError(f"{directory}: is a static fill, which has no clock: nothing waited in it")
    row = row_of(run, job)
    story = story_of(run, row, inputs_of(run, trace=trace, cluster=cluster))
    say(to_json(story.as_data()).rstrip() if as_json else "\n".join(story_lines(story)))


def row_of(run: Run, job_id: str) -> int:
    """The row of a job. Raises `InputError` with the nearest id for one that the run does not have."""
    ids = run.jobs.text("job_id")
    found = np.flatnonzero(ids.to_numpy(zero_copy_only=False) == job_id)
    if len(found):
        return int(found[0])
    # because: comparing with a million ids takes seconds, and an id that was mistyped has about the same length
    alike = [each for each in ids.to_pylist() if abs(len(each) - len(job_id)) <= 2]
    raise InputError(f"the run has no job {job_id!r} among its {len(ids):,}{did_you_mean(job_id, alike)}")
