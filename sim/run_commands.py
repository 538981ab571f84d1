"""`rehearse run`, `compare`, `report` and `version`. They read, call and show; they decide nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sim.console import WRONG_INPUT, note, progress, say
from sim.run import InputError, versions
from sim.scenario_options import scenario_of, scenario_options

if TYPE_CHECKING:
    from sim.experiment.comparison import Comparison
    from sim.experiment.prepare import Prepared


@click.command()
@scenario_options
@click.option("--policy", help="Catalogue name with parameters, or package.module:Object.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The run directory to write.")
def run(scenario_file: Path | None, out: Path, strict: bool, as_json: bool, **flags: Any) -> None:
    """Replay a trace on a fleet under one policy, and write what happened to a run directory."""
    from sim.experiment.prepare import prepare, run_into
    from sim.report.text import run_lines
    from sim.results import as_json as to_json
    from sim.results import refuse_unless_free

    scenario = scenario_of(scenario_file, flags)
    if scenario.policy is None:
        raise InputError("--policy missing: `rehearse policies list` names those of the catalogue")
    refuse_unless_free(out)
    prepared = prepare(scenario, [scenario.policy], strict=strict)
    _note_findings(prepared)
    with progress(f"replaying {scenario.policy}", len(prepared.trace.records)) as shown:
        result, summary = run_into(prepared, scenario.policy, out, shown)
    if as_json:
        say(to_json({**summary, "out": str(out)}).rstrip())
    else:
        for line in [*run_lines(result, summary), "", f"run directory: {out}"]:
            say(line)
    if not result.complete:
        note(f"error: {result.manifest['message']}")
        note(f"what happened until then is in {out}")
        raise SystemExit(WRONG_INPUT)


@click.command()
@scenario_options
@click.option("--policies", help="Policies, divided by commas.")
@click.option("--baseline", help="The policy to compare with; the first if left out.")
@click.option("--workers", type=click.IntRange(1, 256), default=1, show_default=True, help="Processes.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The directory to write.")
def compare(scenario_file: Path | None, out: Path, strict: bool, as_json: bool, workers: int, **flags: Any) -> None:
    """Replay a trace under several policies, compare them, and write run directories and a page.

    `--ties 3` instead of an order tries three other random orders of ties; 0 tries none.
    """
    from sim.experiment.compare import policies_and_baseline, split_policies
    from sim.experiment.prepare import prepare

    flags["policies"] = split_policies(flags["policies"]) if flags["policies"] else None
    ties = flags["ties"]
    if ties is not None and ties.isdecimal():
        flags["ties"], flags["tie_orders"] = None, int(ties)
    scenario = scenario_of(scenario_file, flags)
    specs, baseline = policies_and_baseline(scenario.policies, scenario.baseline)
    _refuse_out(out)
    prepared = prepare(scenario, specs, strict=strict)
    comparison = compare_and_show(prepared, specs, baseline, out, workers=workers, as_json=as_json)
    broken = [run for run in comparison.runs.values() if not run.complete]
    for run in broken:
        note(f"error: {run.manifest['message']}")
    if broken:
        raise SystemExit(WRONG_INPUT)


def _refuse_out(out: Path) -> None:
    from sim.experiment.compare import is_comparison
    from sim.results import refuse_unless_free

    refuse_unless_free(out, replaces=is_comparison)


def compare_and_show(
    prepared: Prepared, specs: Sequence[str], baseline: str, out: Path, *, workers: int = 1, as_json: bool = False
) -> Comparison:
    """Replay, write `out` with its page, and print what came of it."""
    from sim.experiment.compare import COMPARISON, REPORT, compare, tie_orders
    from sim.report.html import write_page
    from sim.report.text import comparison_lines
    from sim.results import whole_directory

    _refuse_out(out)
    _note_findings(prepared)
    replays = len(specs) * (1 + tie_orders(prepared)[0])
    with whole_directory(out) as made:
        with progress(f"{replays} replays", replays * len(prepared.trace.records)) as shown:
            comparison = compare(prepared, specs, baseline, made, workers=workers, progress=shown)
        write_page(comparison, made / REPORT)
    if as_json:
        say((out / COMPARISON).read_text(encoding="utf-8").rstrip())
    else:
        for line in [*comparison_lines(comparison), "", f"run directories: {out}", f"report: {out / REPORT}"]:
            say(line)
    return comparison


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="The page; DIRECTORY/report.html if left out.")
def report(directory: Path, out: Path | None) -> None:
    """Write the page of a comparison, or of a single run, again."""
    from sim.experiment.compare import REPORT, read_comparison
    from sim.report.html import write_page

    page = out or directory / REPORT
    write_page(read_comparison(directory), page)
    say(f"report: {page}")


def _note_findings(prepared: Prepared) -> None:
    for finding in prepared.findings:
        note(str(finding))
    if prepared.trace.rejections:
        note(f"warning: {prepared.warnings[0]}")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def version(as_json: bool) -> None:
    """Print the versions of this program and its parts."""
    from sim.results import as_json as to_json

    found = versions()
    say(to_json(found).rstrip() if as_json else "\n".join(f"{name} {number}" for name, number in found.items()))
