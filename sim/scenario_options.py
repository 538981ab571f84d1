"""The flags that `run` and `compare` share, and the scenario that they make. A flag overrides the scenario file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

import click

from sim.experiment.scenario import RuleKeys, Scenario, make_scenario, read_scenario
from sim.report.language import LANGUAGES
from sim.rules import Decide, Overrun, Progress, Split
from sim.run import InputError

_Function = TypeVar("_Function", bound=Callable[..., Any])

_RULES: Final = tuple(RuleKeys.model_fields)

_SWITCH: Final = click.Choice(["auto", "on", "off"])

_OPTIONS: Final = (
    click.argument("scenario_file", required=False, metavar="[SCENARIO.yaml]", type=click.Path(path_type=Path)),
    click.option("--trace", help="Trace file; .gz is read as it is."),
    click.option("--format", help="Name of the trace's format; told by its content if left out."),
    click.option("--cluster", help="Fleet: YAML, node list, shorthand such as 312x8, or demo."),
    click.option("--seed", type=int, help="For everything random. [default: 0]"),
    click.option("--oracle/--no-oracle", default=None, help="Policies may see true run times."),
    click.option(
        "--split", type=click.Choice(get_args(Split)), help="How a total of devices is cut. [default: whole]"
    ),
    click.option("--ties", metavar="job_id|file|random", help="Order within a millisecond. [default: job_id]"),
    click.option("--fill/--no-fill", default=None, help="Static fill: file order, no departures, no retry."),
    click.option("--causes/--no-causes", default=None, help="Also tell why each job waited."),
    click.option("--typical-pods", metavar="FILE", help="Pod list that gives the mix for fragmentation."),
    click.option("--scheduler-config", metavar="FILE", help="KubeSchedulerConfiguration that kube-default follows."),
    click.option("--speed", type=_SWITCH, help="Accelerators change run times. [default: auto]"),
    click.option("--locality", type=_SWITCH, help="Distance changes run times. [default: auto]"),
    click.option("--speed-table", metavar="FILE", help="Speeds of cards by family, instead of the built-in ones."),
    click.option("--locality-table", metavar="FILE", help="Factors of locality, instead of the built-in ones."),
    click.option("--progress", type=click.Choice(get_args(Progress)), help="What preemption leaves. [default: keep]"),
    click.option("--checkpoint", metavar="TIME", help="Progress is kept up to multiples of this, such as 30m."),
    click.option("--restart", metavar="TIME", help="What each restart costs, such as 5m. [default: 0]"),
    click.option("--overrun", type=click.Choice(get_args(Overrun)), help="At the estimate's end. [default: extend]"),
    click.option("--decide", type=click.Choice(get_args(Decide)), help="When passes run. [default: instant]"),
    click.option("--cycle", metavar="TIME", help="Passes only at multiples of this, such as 30s."),
    click.option("--impossible", type=click.Choice(["reject", "refuse"]), help="Jobs that fit nowhere."),
    click.option("--thinking", metavar="free|measured|TIME", help="What a pass costs. [default: free]"),
    click.option("--strict", is_flag=True, help="Refuse to run if the check finds an error."),
    click.option("--json", "as_json", is_flag=True, help="Print the result as JSON."),
)


lang_option = click.option(
    "--lang", type=click.Choice(LANGUAGES), default=LANGUAGES[0], show_default=True, help="Language of the pages."
)


def scenario_options(function: _Function) -> _Function:
    """All flags of a scenario."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def _write_durations(data: dict[str, Any], *keys: str) -> None:
    """Milliseconds as a scenario file writes them, so that they can be read again."""
    for key in keys:
        if isinstance(data.get(key), int):
            data[key] = f"{data[key]}ms" if data[key] else "0"


def scenario_of(scenario_file: Path | None, flags: dict[str, Any]) -> Scenario:
    """The scenario of the file, if there is one, with every flag that was given. Raises `InputError`."""
    given = {key: value for key, value in flags.items() if value is not None and value != ()}
    base = read_scenario(scenario_file).model_dump(exclude_unset=True) if scenario_file is not None else {}
    rules = dict(base.get("rules", {}))
    rules.update((key, given.pop(key)) for key in _RULES if key in given)
    _write_durations(rules, "checkpoint", "restart", "cycle", "thinking")
    _write_durations(base, "warm_up", "drain")
    if "trace" in given:
        base.pop("traces", None)
    for each in base.get("slow", []):
        _write_durations(each, "at", "until")
    missing = [f"--{key}" for key in ("trace", "cluster") if key not in given and key not in base]
    if missing:
        raise InputError(f"{' and '.join(missing)} missing: give the flags, or a SCENARIO.yaml")
    data = {**base, **given, "rules": rules}
    return make_scenario(data, source="command line" if scenario_file is None else str(scenario_file))
