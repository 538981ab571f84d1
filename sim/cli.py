"""`rehearse`: the command line. Loads a command only when it is called, and turns every failure into a line and a status.

Status 0 is done, 1 a check or gate that failed, 2 wrong input, 3 undecided. A traceback is a defect: with REHEARSE_DEBUG=1
it is shown.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

import click

WRONG_INPUT: Final = 2
INTERRUPTED: Final = 130


class Where(NamedTuple):
    """Where a command is defined, and what `--help` says of it without loading it."""

    module: str
    name: str
    summary: str


COMMANDS: Final = {
    "run": Where("sim.run_commands", "run", "Replay a trace on a fleet under one policy."),
    "compare": Where("sim.compare_commands", "compare", "Replay a trace under several policies and compare them."),
    "scenario": Where("sim.scenario_commands", "scenario", "Check scenarios, and print what they may hold."),
    "report": Where("sim.run_commands", "report", "Write the page of a comparison or run again."),
    "replay": Where("sim.replay_commands", "replay", "Explain what a scheduler has decided, decision by decision."),
    "plan": Where("sim.plan_commands", "plan", "Find the smallest fleet that keeps the service levels."),
    "sweep": Where("sim.sweep_commands", "sweep", "Run a grid or a list of scenarios over processes or a cluster."),
    "validate": Where("sim.result_commands", "validate", "Compare a run with what its trace recorded."),
    "export": Where("sim.result_commands", "export", "Write a run in the format of another program."),
    "explain": Where("sim.explain_commands", "explain", "Tell why one job of a run waited, and where it ran."),
    "trace": Where("sim.trace_commands", "trace", "Check, describe, convert, generate and anonymise traces."),
    "fleet": Where("sim.fleet_commands", "fleet", "Look at a fleet, and at the accelerators it may be made of."),
    "serve": Where("sim.serve_commands", "serve", "Answer kube-scheduler, or schedule a cluster, with a policy."),
    "policies": Where("sim.policy_commands", "policies", "List policies, and check one."),
    "demo": Where("sim.demo", "demo", "Compare four policies on ten built-in weeks of an invented bank."),
    "version": Where("sim.run_commands", "version", "Print the versions of this program and its parts."),
}
"""A new command is one line here."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of `COMMANDS`."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import it."""
        del ctx
        where = COMMANDS.get(cmd_name)
        if where is None:
            return None
        command: click.Command = getattr(importlib.import_module(where.module), where.name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """An unknown command answers with the nearest."""
        from sim.fleet.problems import did_you_mean

        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            hint = did_you_mean(args[0], COMMANDS) or f"; known are {', '.join(COMMANDS)}"
            raise click.UsageError(f"no such command {args[0]!r}{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, where.summary) for name, where in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Replay GPU job traces against a modelled fleet, and compare scheduling policies before the rollout."""


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and leave with its status."""
    sys.exit(_status(list(sys.argv[1:] if args is None else args)))


def _status(args: list[str]) -> int:
    try:
        cli.main(args, prog_name="rehearse", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return WRONG_INPUT
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else WRONG_INPUT if stop.code else 0
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # because: the exit flushes into the pipe again
        return 0
    except Exception as error:
        return _failed(error)
    return 0


def _failed(error: Exception) -> int:
    """One line for wrong input; for a defect of this program, the place of it too."""
    if os.environ.get("REHEARSE_DEBUG") == "1":
        raise error
    from sim.fleet.problems import FleetError
    from sim.results import RunDirectoryError
    from sim.run import InputError
    from traces.trace import TraceError

    if isinstance(error, FleetError | InputError | RunDirectoryError | TraceError):
        click.echo(f"error: {error}", err=True)
    elif isinstance(error, OSError):
        name = f"{error.filename}: " if error.filename else ""
        click.echo(f"error: {name}{error.strerror or error}", err=True)
    else:
        click.echo(f"internal error, please report it: {type(error).__name__}: {error} ({_place(error)})", err=True)
    return WRONG_INPUT


def _place(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "no place known"
    return f"{Path(trace.tb_frame.f_code.co_filename).name}, line {trace.tb_lineno}; REHEARSE_DEBUG=1 shows more"


if __name__ == "__main__":
    main()
