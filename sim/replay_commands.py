"""`rehearse replay`: what a scheduler has decided, beside what a policy would have decided in the same state."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import dropwhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from sim.console import note, say
from sim.run import InputError

if TYPE_CHECKING:
    from policies.kube.settings import Settings
    from sim.replay.lockstep import Explained

DIFFERS: Final = 1
"""The exit status where a decision is not explained."""


class Asked(NamedTuple):
    """What the command line asks for."""

    log: Path
    policy: str | None
    scheduler_config: Path | None
    first: int
    as_json: bool
    as_markdown: bool = False
    typical_pods: str | None = None
    seed: int = 0

    @property
    def explaining(self) -> str:
        """The policy that is to explain the decisions of a kube-scheduler."""
        return self.policy or "kube-default"


class Form(NamedTuple):
    """One kind of log that can be replayed."""

    name: str
    """For people."""
    begins: Callable[[object], bool]
    """Whether the first line of a file, as JSON, begins such a log."""
    replay: Callable[[Asked], None]
    """Replays and shows; raises SystemExit with `DIFFERS` if something is not explained."""


@click.command()
@click.argument("log", type=click.Path(path_type=Path))
@click.option(
    "--policy", help="The policy that is asked; kube-default, or the one that the journal names, if left out."
)
@click.option(
    "--scheduler-config",
    type=click.Path(path_type=Path),
    help="KubeSchedulerConfiguration that was in force; kube-scheduler's defaults if left out.",
)
@click.option("--first", default=5, show_default=True, type=click.IntRange(0), help="Differences to show.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print it as Markdown (of a journal).")
@click.option("--typical-pods", metavar="FILE", help="Pod list that gives the mix for place=fgd (of a journal).")
@click.option("--seed", default=0, show_default=True, help="For placements that draw (of a journal).")
def replay(log: Path, **options: Any) -> None:
    """Ask a policy what LOG says was decided, each time in the state before it; then what was recorded is applied.

    LOG is a log of the decisions of a kube-scheduler, or the journal of `rehearse serve`: a file or a folder. Status 1 if a
    decision differs.
    """
    asked = Asked(log, **options)
    begin = _FOLDER if log.is_dir() else _first_line(log)
    form = next((each for each in FORMS if each.begins(begin)), None)
    if form is None:
        known = ", or ".join(each.name for each in FORMS)
        raise InputError(f"{log}: line 1: is not the beginning of {known}")
    form.replay(asked)


_FOLDER: Final = {"journal": "a folder"}
"""Stands for the first line of a folder: only journals are folders."""


def _first_line(path: Path) -> object:
    """The first line that is not empty, as JSON; None if it is none."""
    from sim.replay.decisions import open_lines

    lines = open_lines(path)
    text = next(dropwhile(lambda line: not line.strip(), lines), None)
    if text is None:
        raise InputError(f"{path}: line 1: the file is empty")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: line 1: is not JSON: {error}") from None


# -- decisions of a kube-scheduler ---------------------------------------------------------------------------------


def _is_decision_log(first: object) -> bool:
    from sim.replay.decisions import is_decision_log

    return is_decision_log(first)


def _lockstep(asked: Asked) -> None:
    from policies.kube.settings import with_devices
    from sim.replay.decisions import extended_resources, read_decisions
    from sim.replay.lockstep import replay_lockstep

    if asked.as_markdown or asked.typical_pods or asked.seed:
        raise InputError("--markdown, --typical-pods and --seed go with a journal of `rehearse serve`")
    settings = _settings(asked)
    log = read_decisions(asked.log)
    found = replay_lockstep(log, with_devices(settings.profile, extended_resources(log), settings.device_weight))
    if asked.as_json:
        say(json.dumps({"log": str(asked.log), "policy": asked.explaining, **found.as_data()}, indent=1))
    else:
        for line in _lines(asked, found):
            say(line)
    if found.unexplained:
        raise SystemExit(DIFFERS)


def _settings(asked: Asked) -> Settings:
    """The settings that the policy and the configuration give. Raises `InputError`."""
    from policies.catalogue import UnknownPolicyError, parse
    from policies.kube.settings import OPTIONS, settings_of
    from sim.fleet.problems import did_you_mean
    from sim.kube_configuration import load_kube_configuration

    try:
        name, own = parse(asked.explaining)
    except UnknownPolicyError as error:
        raise InputError(str(error)) from None
    if name != "kube-default":
        raise InputError(
            f"--policy {asked.explaining}: decisions of a kube-scheduler are explained by kube-default only"
        )
    for key, value in own.items():
        allowed = OPTIONS.get(key)
        if allowed is None:
            raise InputError(
                f"--policy {asked.explaining}: kube-default has no parameter {key!r}{did_you_mean(key, OPTIONS)}"
            )
        if allowed and value not in allowed:
            raise InputError(f"--policy {asked.explaining}: {key}={value}: known are {', '.join(allowed)}")
    configuration = None
    if asked.scheduler_config is not None:
        configuration = load_kube_configuration(asked.scheduler_config)
        for fault in configuration.notes:
            note(f"{asked.scheduler_config}: {fault}")
        if configuration.extenders:
            raise InputError(
                f"{asked.scheduler_config}: extenders: what they answered is not in a log of decisions, which can"
                " therefore not be explained"
            )
    try:
        return settings_of(own, configuration)
    except ValueError as error:
        raise InputError(f"--policy {asked.explaining}: {error}") from None


def _lines(asked: Asked, found: Explained) -> list[str]:
    lines = [
        f"{asked.log.name} and {asked.explaining}: explained {found.explained} of {found.decisions} decisions",
        f"  {found.placements} placements, {found.preemptions} preemptions, {found.unschedulable} not scheduled",
        f"  {found.ties} with several that are as good",
    ]
    if found.messages:
        same = found.messages - len(found.messages_differ)
        lines.append(f"  {same} of {found.messages} messages are the same, word by word")
        for line, recorded, here in found.messages_differ[: asked.first]:
            lines += [f"    line {line} recorded: {recorded}", f"    line {line} here:     {here}"]
    for each in found.unexplained[: asked.first]:
        lines.append(f"line {each.line}: {each.pod} {each.recorded}: {each.why}")
    if len(found.unexplained) > asked.first:
        lines.append(f"... and {len(found.unexplained) - asked.first} more")
    return lines


# -- journals of served policies -------------------------------------------------------------------------------------


def _is_journal(first: object) -> bool:
    from sim.replay.journal_reading import is_journal

    return is_journal(first)


def _journal(asked: Asked) -> None:
    from sim.replay.journal_command import Wanted, replay_and_show

    if asked.scheduler_config is not None:
        raise InputError("--scheduler-config goes with a log of decisions of a kube-scheduler")
    if asked.as_json and asked.as_markdown:
        raise InputError("--json and --markdown: give one of them")
    form = "json" if asked.as_json else "markdown" if asked.as_markdown else "text"
    if replay_and_show(Wanted(asked.log, asked.policy, asked.first, form, asked.typical_pods, asked.seed)):
        raise SystemExit(DIFFERS)


FORMS: Final[tuple[Form, ...]] = (
    Form("a journal of `rehearse serve`", _is_journal, _journal),
    Form("a log of decisions (a line with the nodes, then one decision a line)", _is_decision_log, _lockstep),
)
"""Another kind of log is one more entry."""
