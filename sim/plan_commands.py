"""`rehearse plan`: how many servers keep the service levels, and what else the fleet can do."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from sim.console import note, progress, say
from sim.run import InputError
from sim.scenario_options import scenario_of, scenario_options

if TYPE_CHECKING:
    from sim.experiment.prepare import Prepared
    from sim.experiment.scenario import Scenario
    from sim.gates.gate import Gate
    from sim.planning.question import Question
    from sim.planning.written import Planned

UNDECIDED: Final = 3

SHAKE: Final = "5%"

_POOL: Final = re.compile(r"(.+):(\d{1,6})\.\.(\d{1,6})", re.ASCII)

_OWN: Final = (
    "levels", "pools", "least", "most", "spare", "growths", "growth_as", "quotas", "prices", "budget", "left_out",
    "gang_within", "gang_queue", "gang_priority", "marginal", "workers", "out",
)  # fmt: skip


@click.command()
@scenario_options
@click.option("--policies", help="Policies, divided by commas; the first is compared with.")
@click.option(
    "--level",
    "levels",
    multiple=True,
    help="Such as 'wait.p95{queue=research} <= 30m'. [default: the limits among the scenario's gates]",
)
@click.option(
    "--pool",
    "pools",
    multiple=True,
    metavar="NAME[:LOW..HIGH]",
    help="The pool whose servers are counted; several give the cheapest mix. Left out: random servers are removed.",
)
@click.option("--from", "least", type=click.IntRange(1), help="The smallest count. [default: 1]")
@click.option("--to", "most", type=click.IntRange(1), help="The largest count. [default: as many as the fleet has]")
@click.option("--replications", type=click.IntRange(1, 1000), help="Copies of the trace a policy. [default: 11]")
@click.option("--shake", metavar="SHARE", help=f"How far copies of the trace are moved. [default: {SHAKE}]")
@click.option("--warm-up", metavar="TIME", help="Jobs submitted in this first time are not counted.")
@click.option("--drain", metavar="TIME", help="Nor those submitted in this last time.")
@click.option("--spare", metavar="LEVEL", help="Levels hold with any one server, leaf, zone, ... gone.")
@click.option("--growth", "growths", multiple=True, metavar="FACTOR", help="So many times the load.")
@click.option(
    "--growth-as",
    type=click.Choice(["jobs", "density"]),
    default="jobs",
    show_default=True,
    help="More jobs in the same days, or the same jobs in shorter days.",
)
@click.option(
    "--quotas",
    type=click.Choice(["keep", "scale"]),
    default="keep",
    show_default=True,
    help="What becomes of entitlements when the fleet grows.",
)
@click.option(
    "--price", "prices", multiple=True, metavar="ACCELERATOR=AMOUNT", help="Of one device; *=1 counts devices."
)
@click.option("--budget", type=click.FloatRange(0), help="The most that the whole fleet may cost.")
@click.option(
    "--left-out", type=click.FloatRange(0, 1), default=0.002, show_default=True, help="Jobs that may never start."
)
@click.option("--gang-within", metavar="TIME", help="Also: the largest gang that starts in this time.")
@click.option("--gang-queue", metavar="NAME", help="The queue of that gang.")
@click.option("--gang-priority", type=int, default=0, show_default=True, help="Its priority.")
@click.option("--marginal", is_flag=True, help="Also: what one more server of each pool is worth.")
@click.option("--workers", type=click.IntRange(1, 256), default=1, show_default=True, help="Processes.")
@click.option("--out", type=click.Path(path_type=Path), help="Directory for plan.json and everything that was tried.")
def plan(scenario_file: Path | None, strict: bool, as_json: bool, **flags: Any) -> None:
    """Find the smallest fleet that keeps the service levels, under each policy. Status 3 if none is enough."""
    from sim.compare_commands import note_findings
    from sim.experiment.compare import split_policies
    from sim.experiment.prepare import prepare
    from sim.planning.written import as_data, refuse_unless_plan, write_plan
    from sim.results import as_json as to_json

    asked = {key: flags.pop(key) for key in _OWN}
    flags["policies"] = split_policies(flags["policies"]) if flags["policies"] else None
    if asked["out"] is not None:
        refuse_unless_plan(asked["out"])
    scenario = scenario_of(scenario_file, flags)
    specs = _specs(scenario)
    questions = _questions(scenario, specs, asked)
    prepared = prepare(scenario, specs, strict=strict)
    note_findings(prepared)
    planned = [_answered(prepared, question, asked["workers"], as_json=as_json) for question in questions]
    data = as_data(prepared, planned, _extras(prepared, planned[0].question, asked, as_json=as_json))
    if asked["out"] is not None:
        write_plan(asked["out"], data, planned)
        note(f"everything that was tried: {asked['out']}")
    if as_json:
        say(to_json(data).rstrip())
    if not all(_is_complete(each) for each in planned):
        raise SystemExit(UNDECIDED)


def _specs(scenario: Scenario) -> list[str]:
    """The policies, the one that the others are compared with first. Raises `InputError`."""
    specs = [str(each) for each in scenario.policies or ([scenario.policy] if scenario.policy else [])]
    if scenario.baseline is not None:
        specs = [str(scenario.baseline), *specs]
    if not specs:
        raise InputError("--policies missing: `rehearse policies list` names those of the catalogue")
    if len(scenario.traces) > 1:
        raise InputError(f"traces: a plan is for one trace, got {len(scenario.traces)}: give one with --trace")
    return list(dict.fromkeys(specs))


def _questions(scenario: Scenario, specs: list[str], asked: Mapping[str, Any]) -> list[Question]:
    """One for each growth. Raises `InputError`."""
    from sim.experiment.scenario_keys import ShakeKeys
    from sim.experiment.shake import Shake
    from sim.planning.question import REPLICATIONS, Question

    keys = scenario.shake or ShakeKeys.model_validate({"submit": SHAKE, "run": SHAKE})
    shake = Shake(submit=keys.submit, run=keys.run)
    pool, pools, least, most = _pools(asked)
    question = Question(
        policies=tuple(specs),
        gates=_levels(scenario, asked["levels"]),
        pool=pool,
        least=least,
        most=most,
        pools=pools,
        replications=scenario.replications or REPLICATIONS,
        shake=shake if shake.submit or shake.run else None,
        spare=asked["spare"],
        growth_as=asked["growth_as"],
        quotas=asked["quotas"],
        warm_up_ms=scenario.warm_up,
        drain_ms=scenario.drain,
        left_out=asked["left_out"],
        prices=_prices(asked["prices"]),
        budget=asked["budget"],
    )
    from dataclasses import replace

    return [replace(question, growth=_factor(growth)) for growth in asked["growths"] or ("1",)]


def _levels(scenario: Scenario, texts: Sequence[str]) -> tuple[Gate, ...]:
    from sim.gates.gate_file import gates_of_items
    from sim.planning.levels import limits_of, parse_levels

    return (() if texts else limits_of(gates_of_items(scenario.gates))) or parse_levels(texts)


def _pools(asked: Mapping[str, Any]) -> tuple[str | None, dict[str, range], int, int | None]:
    """The pool of a search with its ends, or the ranges of the pools of a mix. Raises `InputError`."""
    least, most = asked["least"], asked["most"]
    ranges: dict[str, range | None] = {}
    for text in asked["pools"]:
        found = _POOL.fullmatch(text)
        name = found[1] if found else text
        if name in ranges:
            raise InputError(f"--pool {name}: appears twice")
        ranges[name] = range(int(found[2]), int(found[3]) + 1) if found else None
    given = {name: counts for name, counts in ranges.items() if counts is not None}
    if given and (least is not None or most is not None):
        raise InputError("--from and --to go with a --pool without a range, and with no pool")
    if len(ranges) > 1:
        bare = [name for name in ranges if name not in given]
        if bare:
            raise InputError(f"--pool {bare[0]}: of several pools each needs a range, such as {bare[0]}:4..20")
        return None, given, 1, None
    for name, counts in given.items():
        if not counts or counts[0] < 1:
            raise InputError(
                f"--pool {name}: there is no count from {counts.start} to {counts.stop - 1}; the least is 1"
            )
        return name, {}, counts[0], counts[-1]
    return next(iter(ranges), None), {}, least or 1, most


def _factor(text: str) -> Fraction:
    from sim.experiment.durations import parse_factor

    try:
        factor = parse_factor(text)
    except (ValueError, ZeroDivisionError):
        raise InputError(f"--growth: must be a factor such as 1.25, got {text!r}") from None
    if not 0 < factor <= 100:
        raise InputError(f"--growth: must be above 0 and at most 100, got {text}")
    return factor


def _prices(texts: tuple[str, ...]) -> dict[str, float]:
    found = {}
    for text in texts:
        name, _, amount = text.partition("=")
        try:
            found[name.strip()] = float(amount)
        except ValueError:
            raise InputError(
                f"--price: must be accelerator=amount, such as nvidia-a100-sxm-80gb=1.6, got {text!r}"
            ) from None
    return found


def _answered(prepared: Prepared, question: Question, workers: int, *, as_json: bool) -> Planned:
    """Search, and say what came of it."""
    from sim.planning.mix import outer_combinations, plan_mix
    from sim.planning.plan import STEPS
    from sim.planning.plan import plan as find
    from sim.planning.question import checked
    from sim.planning.text import plan_lines, quota_lines
    from sim.planning.written import Planned

    question = checked(prepared, question)
    what = f"plan, growth {float(question.growth):g}"
    if question.pools:
        with progress(what, len(question.policies) * outer_combinations(question)) as shown:
            planned = Planned(question, plan_mix(prepared, question, workers=workers, progress=shown))
    else:
        with progress(what, len(question.policies) * question.replications * STEPS) as shown:
            planned = Planned(question, find(prepared, question, workers=workers, progress=shown))
    for line in () if as_json else [*plan_lines(planned), *quota_lines(prepared, question), ""]:
        say(line)
    return planned


def _is_complete(planned: Planned) -> bool:
    from sim.planning.mix import MixAnswer

    return all(
        each.best is not None if isinstance(each, MixAnswer) else each.servers is not None for each in planned.answers
    )


def _extras(prepared: Prepared, question: Question, asked: Mapping[str, Any], *, as_json: bool) -> dict[str, Any]:
    from sim.experiment.durations import parse_duration
    from sim.planning.probes import largest_gang, worth_of_one_more
    from sim.planning.text import gang_line, worth_lines
    from sim.planning.written import finite

    found: dict[str, Any] = {}
    lines: list[str] = []
    if asked["gang_within"]:
        try:
            within_ms = parse_duration(asked["gang_within"])
        except ValueError as error:
            raise InputError(f"--gang-within: {error}") from error
        gangs = {
            spec: largest_gang(
                prepared, spec, within_ms=within_ms, priority=asked["gang_priority"], queue=asked["gang_queue"]
            )
            for spec in question.policies
        }
        found["largest_gang"] = {spec: gang._asdict() for spec, gang in gangs.items()}
        lines += [gang_line(spec, gang, asked["gang_within"]) for spec, gang in gangs.items()]
    if asked["marginal"]:
        worth = {spec: worth_of_one_more(prepared, spec, question) for spec in question.policies}
        found["one_more"] = {
            spec: [{**each._asdict(), "before": finite(each.before), "after": finite(each.after)} for each in rows]
            for spec, rows in worth.items()
        }
        lines += [line for spec, rows in worth.items() for line in worth_lines(spec, rows, question.gates)]
    for line in () if as_json else lines:
        say(line)
    return found
