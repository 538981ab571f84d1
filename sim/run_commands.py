"""`rehearse run`, `report` and `version`. They read, call and show; they decide nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sim.compare_commands import note_findings
from sim.console import WRONG_INPUT, note, progress, say
from sim.report.language import LANGUAGES
from sim.run import InputError, versions
from sim.scenario_options import lang_option, scenario_of, scenario_options

if TYPE_CHECKING:
    from sim.experiment.comparison import Comparison


@click.command()
@scenario_options
@click.option("--policy", help="Catalogue name, package.module:Object, or process:COMMAND.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The run directory to write.")
@click.option("--report/--no-report", "with_report", default=False, help="Also write a page on the run.")
@lang_option
def run(
    scenario_file: Path | None, out: Path, *, strict: bool, as_json: bool, with_report: bool, lang: str, **flags: Any
) -> None:
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
    note_findings(prepared)
    with progress(f"replaying {scenario.policy}", len(prepared.trace.records)) as shown:
        result, summary = run_into(prepared, scenario.policy, out, shown)
    if with_report or lang != LANGUAGES[0]:
        _page_of(out, lang)
    if as_json:
        say(to_json({**summary, "out": str(out)}).rstrip())
    else:
        for line in [*run_lines(result, summary), "", f"run directory: {out}"]:
            say(line)
    if not result.complete:
        note(f"error: {result.manifest['message']}")
        note(f"what happened until then is in {out}")
        raise SystemExit(WRONG_INPUT)


def _page_of(out: Path, lang: str) -> None:
    from sim.experiment.compare import REPORT
    from sim.experiment.comparison_file import read_comparison
    from sim.report.files import write_page

    write_page(read_comparison(out), out / REPORT, lang)


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@lang_option
@click.option("--out", type=click.Path(path_type=Path), help="The page; DIRECTORY/report.html if left out.")
@click.option("--picture", metavar="NAME", help="Write one picture alone, as SVG, to --out.")
def report(directory: Path, lang: str, out: Path | None, picture: str | None) -> None:
    """Write the page of a comparison, or of a single run, again."""
    from sim.experiment.compare import REPORT
    from sim.experiment.comparison_file import read_comparison
    from sim.report.files import write_again

    comparison = read_comparison(directory)
    if picture is not None:
        _write_picture(comparison, picture, out or Path(f"{picture}.svg"), lang)
        return
    page = out or directory / REPORT
    write_again(comparison, page, lang)
    say(f"report: {page}")


def _write_picture(comparison: Comparison, name: str, out: Path, lang: str) -> None:
    from sim.fleet.problems import did_you_mean
    from sim.report.html import picture_file, picture_names

    text = picture_file(comparison, name, lang)
    if text is None:
        known = picture_names(comparison)
        hint = did_you_mean(name, known) or f"; it has {', '.join(known)}"
        raise InputError(f"--picture: the page has no picture {name!r}{hint}")
    out.write_text(text, encoding="utf-8")
    say(f"picture: {out}")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def version(as_json: bool) -> None:
    """Print the versions of this program and its parts."""
    from sim.results import as_json as to_json

    found = versions()
    say(to_json(found).rstrip() if as_json else "\n".join(f"{name} {number}" for name, number in found.items()))
