"""`rehearse compare`: policies side by side, with intervals, and gates that set the exit status."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sim.console import WRONG_INPUT, note, progress, say
from sim.run import InputError
from sim.scenario_options import lang_option, scenario_of, scenario_options

if TYPE_CHECKING:
    from sim.experiment.compare import Given
    from sim.experiment.comparison import Comparison
    from sim.experiment.prepare import Prepared
    from sim.gates.gate import Gate


@click.command()
@scenario_options
@click.option("--policies", help="Policies, divided by commas.")
@click.option("--baseline", help="The policy to compare with; the first if left out.")
@click.option(
    "--baseline-run",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Compare with the run that a directory holds.",
)
@click.option("--baseline-ref", metavar="REF", help="Compare with the baseline policy as git has it at this version.")
@click.option("--gates", metavar="FILE", help="What every policy must keep; sets the exit status.")
@click.option(
    "--replications", type=int, metavar="N", help="Replays of each policy, each with its own seed. [default: 1]"
)
@click.option("--shake", metavar="SHARE", help="Move submissions and run times by up to this, such as '3 %'.")
@click.option("--blocks", metavar="BLOCKS", help="day, week, 12h, a number, replication, trace. [default: auto]")
@click.option("--warm-up", metavar="TIME", help="Jobs submitted in this first time are not counted.")
@click.option("--drain", metavar="TIME", help="Nor those submitted in this last time.")
@click.option("--workers", type=click.IntRange(1, 256), default=1, show_default=True, help="Processes.")
@lang_option
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The directory to write.")
def compare(
    scenario_file: Path | None,
    out: Path,
    *,
    strict: bool,
    as_json: bool,
    workers: int,
    lang: str,
    baseline_run: Path | None,
    baseline_ref: str | None,
    **flags: Any,
) -> None:
    """Replay traces under several policies, compare them pair by pair, and write run directories and reports.

    `--ties 3` instead of an order tries three other random orders of ties; 0 tries none. With gates the status is 0 if all
    pass, 1 if one fails, 3 if none fails and one is undecided.
    """
    from sim.experiment.compare import policies_and_baseline, split_policies
    from sim.experiment.prepare import prepare_all
    from sim.gates.gate_file import gates_of_items

    flags["policies"] = split_policies(flags["policies"]) if flags["policies"] else None
    ties = flags["ties"]
    if ties is not None and ties.isdecimal():
        flags["ties"], flags["tie_orders"] = None, int(ties)
    scenario = scenario_of(scenario_file, flags)
    gates = gates_of_items(scenario.gates)
    elsewhere = baseline_run is not None or baseline_ref is not None
    specs, baseline = policies_and_baseline(scenario.policies, scenario.baseline, given=elsewhere)
    _refuse_out(out)
    prepared = prepare_all(scenario, specs, strict=strict)
    given = _given(prepared, baseline, baseline_run, baseline_ref)
    comparison = compare_and_show(
        prepared[0],
        specs,
        baseline,
        out,
        workers=workers,
        as_json=as_json,
        more=prepared[1:],
        gates=gates,
        given=given,
        lang=lang,
    )
    leave(comparison)


def _given(prepared: Sequence[Prepared], baseline: str, run: Path | None, ref: str | None) -> Given | None:
    from sim.experiment.at_ref import baseline_at_ref
    from sim.experiment.elsewhere import baseline_of_run

    if run is not None and ref is not None:
        raise InputError("--baseline-run and --baseline-ref exclude each other")
    if run is not None:
        return baseline_of_run(prepared, run)
    return None if ref is None else baseline_at_ref(prepared, baseline, ref)


def leave(comparison: Comparison) -> None:
    """Leave with the status that the gates give, or that of a policy that broke its contract."""
    from sim.gates.judge import STATUS, overall

    broken = [run for run in comparison.runs.values() if not run.complete]
    for run in broken:
        note(f"error: {run.manifest['message']}")
    if broken:
        raise SystemExit(WRONG_INPUT)
    if comparison.gates and (status := STATUS[overall(comparison.gates)]):
        raise SystemExit(status)


def _refuse_out(out: Path) -> None:
    from sim.experiment.comparison_file import is_comparison
    from sim.results import refuse_unless_free

    refuse_unless_free(out, replaces=is_comparison)


def compare_and_show(
    prepared: Prepared,
    specs: Sequence[str],
    baseline: str,
    out: Path,
    *,
    workers: int = 1,
    as_json: bool = False,
    more: Sequence[Prepared] = (),
    gates: Sequence[Gate] = (),
    given: Given | None = None,
    lang: str = "en",
    lines: Callable[[Comparison], list[str]] | None = None,
) -> Comparison:
    """Replay, write `out` with its reports, and print what came of it: all that was found, if no other `lines` are given."""
    from sim.experiment.compare import REPORT, compare, replays_of
    from sim.experiment.comparison_file import COMPARISON
    from sim.report.files import write_reports
    from sim.results import whole_directory

    _refuse_out(out)
    if lines is None:
        note_findings(prepared)
    replays = replays_of([prepared, *more], specs)
    with whole_directory(out) as made:
        with progress(f"{replays} replays", replays * len(prepared.trace.records)) as shown:
            compared = compare(
                prepared, specs, baseline, made, workers=workers, progress=shown, more=more, gates=gates, given=given
            )
        comparison = compared.comparison
        write_reports(comparison, made, lang)
    if as_json:
        say((out / COMPARISON).read_text(encoding="utf-8").rstrip())
    else:
        told = (lines or _all_lines)(comparison)
        for line in [*told, "", f"run directories: {out}", f"report: {out / REPORT}"]:
            say(line)
    return comparison


def _all_lines(comparison: Comparison) -> list[str]:
    from sim.report.paired_text import paired_lines
    from sim.report.text import comparison_lines

    return [*comparison_lines(comparison), "", *paired_lines(comparison)]


def note_findings(prepared: Prepared) -> None:
    """What the check found, on standard error."""
    for finding in prepared.findings:
        note(str(finding))
    if prepared.trace.rejections:
        note(f"warning: {prepared.warnings[0]}")
