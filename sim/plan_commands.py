"""`rehearse plan`: how many servers keep the service levels, and what else the fleet can do."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sim.console import note, say, table
from sim.run import InputError
from sim.scenario_options import scenario_of, scenario_options

if TYPE_CHECKING:
    from sim.experiment.prepare import Prepared
    from sim.planning.plan import Answer, Question

UNDECIDED = 3


@click.command()
@scenario_options
@click.option("--policies", help="Policies, divided by commas; the first is compared with.")
@click.option(
    "--level", "levels", multiple=True, help="Such as 'wait.p95{queue=research} <= 30m'. More than one may be given."
)
@click.option(
    "--pool", help="The pool whose servers are counted; left out: random servers of the whole fleet are removed."
)
@click.option("--from", "least", type=click.IntRange(1), default=1, show_default=True, help="The smallest count.")
@click.option("--to", "most", type=click.IntRange(1), help="The largest count. [default: as many as the fleet has]")
@click.option(
    "--replications", type=click.IntRange(1, 1000), default=11, show_default=True, help="Searches a policy."
)
@click.option(
    "--shake", metavar="SHARE", default="5%", show_default=True, help="How far copies of the trace are moved."
)
@click.option("--spare", metavar="LEVEL", help="Levels hold with any one server, leaf, zone, ... gone.")
@click.option("--growth", "growths", multiple=True, metavar="FACTOR", help="Submissions so many times as dense.")
@click.option(
    "--price", "prices", multiple=True, metavar="ACCELERATOR=AMOUNT", help="Of one device; *=1 counts devices."
)
@click.option(
    "--left-out",
    type=click.FloatRange(0, 1),
    default=0.002,
    show_default=True,
    help="Jobs that may never start.",
)
@click.option("--gang-within", metavar="TIME", help="Also: the largest gang that starts in this time.")
@click.option("--marginal", is_flag=True, help="Also: what one more server of each pool is worth.")
@click.option("--workers", type=click.IntRange(1, 256), default=1, show_default=True, help="Processes.")
def plan(scenario_file: Path | None, strict: bool, as_json: bool, **flags: Any) -> None:
    """Find the smallest fleet that keeps the service levels, under each policy. Status 3 if no count is enough."""
    from sim.experiment.compare import split_policies
    from sim.experiment.prepare import prepare
    from sim.results import as_json as to_json

    own = ("policies", "levels", "pool", "least", "most", "replications", "shake", "spare", "growths", "prices")
    asked = {key: flags.pop(key) for key in (*own, "left_out", "gang_within", "marginal", "workers")}
    scenario = scenario_of(scenario_file, flags)
    named = split_policies(asked["policies"]) if asked["policies"] else list(scenario.policies)
    specs = [str(each) for each in named or ([scenario.policy] if scenario.policy else [])]
    if not specs:
        raise InputError("--policies missing: `rehearse policies list` names those of the catalogue")
    prepared = prepare(scenario, specs, strict=strict)
    data: dict[str, Any] = {"plans": []}
    complete = True
    for growth in asked["growths"] or ("1",):
        question = _question(prepared, specs, asked, growth)
        answers = _answers(prepared, question, asked["workers"])
        complete = complete and all(answer.servers is not None for answer in answers)
        data["plans"].append(_data(answers, question))
        if not as_json:
            _show(answers, question)
    data.update(_extras(prepared, specs, asked, as_json=as_json))
    if as_json:
        say(to_json(data).rstrip())
    if not complete:
        raise SystemExit(UNDECIDED)


def _answers(prepared: Prepared, question: Question, workers: int) -> list[Answer]:
    from sim.planning.plan import plan as find

    return find(prepared, question, workers=workers, said=note)


def _data(answers: list[Answer], question: Question) -> dict[str, Any]:
    from sim.planning.plan import as_data

    return as_data(answers, question)


def _question(prepared: Prepared, specs: list[str], asked: Mapping[str, Any], growth: str) -> Question:
    from sim.experiment.shake import Shake
    from sim.planning.levels import parse_levels
    from sim.planning.plan import Question

    fleet, pool = prepared.loaded.fleet, asked["pool"]
    have = len(fleet.servers) if pool is None else sum(server.pool == pool for server in fleet.servers)
    scenario = prepared.scenario
    share = _share(asked["shake"])
    return Question(
        policies=tuple(specs),
        gates=parse_levels(asked["levels"]),
        pool=pool,
        least=asked["least"],
        most=asked["most"] or max(have, asked["least"]),
        replications=asked["replications"],
        shake=Shake(submit=share, run=share) if share else None,
        spare=asked["spare"],
        growth=_factor(growth),
        warm_up_ms=scenario.warm_up,
        drain_ms=scenario.drain,
        left_out=asked["left_out"],
        prices=_prices(asked["prices"]),
    )


def _share(text: str) -> float:
    try:
        share = float(text.removesuffix("%").strip()) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise InputError(f"--shake: must be a share such as 5%, got {text!r}") from None
    if not 0 <= share <= 0.5:
        raise InputError(f"--shake: must be from 0% to 50%, got {text}")
    return share


def _factor(text: str) -> Fraction:
    try:
        factor = Fraction(text.strip())
    except (ValueError, ZeroDivisionError):
        raise InputError(f"--growth: must be a factor such as 1.25, got {text!r}") from None
    if factor <= 0:
        raise InputError(f"--growth: must be above 0, got {text}")
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


def _show(answers: list[Answer], question: Question) -> None:
    from sim.planning.plan import differences

    what = f"servers of pool {question.pool}" if question.pool else "servers, removed at random"
    said = "; ".join(gate.text for gate in question.gates)
    spare = f", with any one {question.spare} gone" if question.spare else ""
    growth = f", submissions {float(question.growth):g} times as dense" if question.growth != 1 else ""
    say(f"{what}, so that {said}{spare}{growth}:")
    rows = [["policy", "needs", "range", "devices", "cost", "against the first"]]
    for answer in answers:
        fewer = differences(answers[0], answer) if answer is not answers[0] else None
        rows.append(
            [
                answer.policy,
                f"more than {question.most}" if answer.servers is None else str(answer.servers),
                "-" if answer.range is None else f"{answer.range[0]} to {answer.range[1]}",
                "-" if answer.devices is None else str(answer.devices),
                "-" if answer.cost is None else f"{answer.cost:g}",
                "-" if fewer is None else _fewer(fewer),
            ]
        )
    for line in table(rows):
        say(line)
    for answer in answers:
        why = "; ".join(answer.failing)
        if answer.servers is None:
            say(f"{answer.policy}: even {question.most} are not enough: {why}")
        elif why:
            say(f"{answer.policy}: with one server less: {why}")
        if not answer.monotone:
            say(f"{answer.policy}: not monotone: some counts below the answer were enough by luck, see --json")
    say(
        f"needs: the 90th percentile of {question.replications} replications, each the smallest count from which on every count"
        " tried was enough\n"
    )


def _fewer(differences: list[int]) -> str:
    middle = sorted(differences)[len(differences) // 2]
    word = "fewer" if middle >= 0 else "more"
    return f"{abs(middle)} {word} ({min(differences)} to {max(differences)})"


def _extras(prepared: Prepared, specs: list[str], asked: Mapping[str, Any], *, as_json: bool) -> dict[str, Any]:
    from sim.experiment.durations import parse_duration
    from sim.planning.probes import largest_gang, worth_of_one_more

    found: dict[str, Any] = {}
    question = _question(prepared, specs, asked, "1")
    if asked["gang_within"]:
        try:
            within_ms = parse_duration(asked["gang_within"])
        except ValueError as error:
            raise InputError(f"--gang-within: {error}") from error
        gangs = {spec: largest_gang(prepared, spec, within_ms=within_ms) for spec in specs}
        found["largest_gang"] = {spec: gang._asdict() for spec, gang in gangs.items()}
        for spec, gang in gangs.items() if not as_json else ():
            say(
                f"{spec}: the largest gang that starts within {asked['gang_within']} in 9 of 10 cases has {gang.devices} devices"
            )
    if asked["marginal"]:
        worth = {spec: worth_of_one_more(prepared, spec, question.gates, question) for spec in specs}
        found["one_more"] = {spec: [each._asdict() for each in rows] for spec, rows in worth.items()}
        for spec, rows in worth.items() if not as_json else ():
            for each in rows:
                for gate, before, after in zip(question.gates, each.before, each.after, strict=True):
                    say(
                        f"{spec}: one more server of {each.pool} ({each.devices} x {each.accelerator}):"
                        f" {gate.selector} {before:g} -> {after:g}"
                    )
    return found
