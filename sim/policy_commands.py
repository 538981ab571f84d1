"""`rehearse policies`: what the catalogue has, and whether a policy does what others say it should."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import click

from sim.console import note, say, table
from sim.run import InputError

DIFFERS = 1
"""The exit status where a policy was checked and found different."""


@click.group()
def policies() -> None:
    """List policies, and check one."""


@policies.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def list_command(as_json: bool) -> None:
    """List the names of the catalogue, where they can be deployed, and their parameters."""
    from policies.catalogue import COMMON, POLICIES
    from sim.results import as_json as to_json

    if as_json:
        common = {name: list(values) for name, values in COMMON.items()}
        deployments = _deployments()
        found: dict[str, Any] = {
            name: {
                "summary": entry.summary,
                "place": entry.place,
                "deployment": deployments[name],
                "parameters": {**common, **{key: list(values) for key, values in entry.options.items()}},
            }
            for name, entry in POLICIES.items()
        }
        say(to_json(found).rstrip())
        return
    for line in table([[name, entry.summary] for name, entry in POLICIES.items()], right=False):
        say(line)
    say("\nwhere they can be deployed (rehearse serve):")
    for line in table([[f"  {name}", said] for name, said in _deployments().items()], right=False):
        say(line)
    say("")
    say("every name takes, as in fifo:place=best-fit,per=queue:")
    for name, values in COMMON.items():
        say(f"  {name}= {', '.join(values)}")
    for name, entry in POLICIES.items():
        for key, values in entry.options.items():
            say(f"  {name}:{key}= {', '.join(values) or 'any value'}")
    say("\na policy of your own: --policy package.module:Object, or in any language --policy 'process:COMMAND'")


def _deployments() -> dict[str, str]:
    """Name -> where the policy can be deployed, without parameters."""
    from policies.catalogue import POLICIES, Parts, make_policy
    from policies.deployability import deployability
    from sim.streams import Streams

    parts = Parts(generator=Streams(0).generator)
    return {name: deployability(make_policy(name, parts)).text for name in POLICIES}


@policies.command()
@click.argument("policy")
@click.option("--reference", type=click.Path(path_type=Path), help="Folder with a trace and a table of starts.")
@click.option("--column", help="Column of the table; told by the policy's name if left out.")
@click.option("--cluster", help="Fleet; a flat pool of the trace's own size if left out.")
@click.option("--split", type=click.Choice(["whole", "free"]), help="How a total of devices is cut.")
@click.option("--ties", type=click.Choice(["job_id", "file"]), help="Order within a millisecond.")
@click.option("--oracle", is_flag=True, help="It may see true run times.")
@click.option("--draws", is_flag=True, help="It draws random numbers by design (conformance only).")
@click.option("--first", default=5, show_default=True, type=click.IntRange(0), help="Differences to show.")
def check(policy: str, reference: Path | None, first: int, draws: bool, **options: Any) -> None:
    """Check POLICY: against a table of starts, or against what every policy must keep. Status 1 if it fails."""
    if reference is not None:
        _check_reference(policy, reference, first, options)
    elif any(value for value in options.values()):
        raise InputError("--column, --cluster, --split, --ties and --oracle go with --reference")
    else:
        _check_conformance(policy, draws=draws)


def _check_reference(policy: str, folder: Path, first: int, options: dict[str, Any]) -> None:
    from sim.experiment.reference import compare_with_reference

    found = compare_with_reference(policy, folder, **options)
    said = f"{policy} and column {found.column} of {found.table}, on {found.cluster}"
    say(f"{said}: {found.agree} of {found.jobs} starts agree")
    if found.differences:
        rows = [["job", "start here, s", "start there, s"]]
        rows += [[each.job_id, _seconds(each.here_ms), _seconds(each.there_ms)] for each in found.differences[:first]]
        for line in table(rows):
            say(line)
        if len(found.differences) > first:
            say(f"... and {len(found.differences) - first} more")
        raise SystemExit(DIFFERS)


def _seconds(ms: int | None) -> str:
    return "never" if ms is None else f"{ms / 1000:g}"


def _check_conformance(policy: str, *, draws: bool) -> None:
    try:
        kit = importlib.import_module("policies.conformance")
    except ModuleNotFoundError:
        raise InputError("the conformance kit is not part of this installation; --reference DIR works") from None
    from policies.api import Policy
    from policies.catalogue import Parts
    from sim.run import choose_policy, close_policy
    from sim.streams import Streams

    parts = Parts(generator=Streams(0).generator)

    def make() -> Policy:
        return choose_policy(policy, parts, oracle=True).policy

    close_policy(make())
    drawing = draws or "random" in policy.partition(":")[2]  # the placements that draw have it in their names
    findings = list(kit.check_policy(make, draws=drawing))
    for finding in findings:
        say(str(finding))
    if findings:
        raise SystemExit(DIFFERS)
    note(f"{policy} keeps what every policy must keep")
