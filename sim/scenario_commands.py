"""`rehearse scenario`: what scenario files and gates may hold, as JSON Schema for editors, and a check without a replay."""

from __future__ import annotations

from pathlib import Path

import click

from sim.console import say


@click.group()
def scenario() -> None:
    """Check scenarios, and print what they may hold."""


@scenario.command()
@click.option("--gates", is_flag=True, help="Of a file of gates instead.")
def schema(*, gates: bool) -> None:
    """Print the JSON Schema of a scenario file."""
    from sim.experiment.schema import gates_schema, scenario_schema
    from sim.results import as_json

    say(as_json(gates_schema() if gates else scenario_schema()).rstrip())


@scenario.command()
@click.argument("file", type=click.Path(path_type=Path))
def check(file: Path) -> None:
    """Read a scenario and its gates, and report every problem at its place."""
    from sim.experiment.scenario import read_scenario
    from sim.gates.gate_file import gates_of_items

    found = read_scenario(file)
    gates = gates_of_items(found.gates)
    told = f", {len(gates)} gates" if gates else ""
    say(f"{file}: {len(found.policies) or int(found.policy is not None)} policies{told}")
