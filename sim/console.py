"""What the commands say: results on standard output, progress and warnings on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import click

from sim.run import Progress

PATIENCE_S: Final = 2.0
"""Shorter work shows no progress."""

WRONG_INPUT: Final = 2
"""The exit status of the house for a wrong input or command line."""


def note(text: str) -> None:
    """A line on standard error."""
    click.echo(text, err=True)


def say(text: str) -> None:
    """A result; a letter that the terminal does not have becomes a question mark."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    click.echo(text.encode(encoding, "replace").decode(encoding))


@contextmanager
def progress(what: str, total: int) -> Iterator[Progress | None]:
    """Counts ended jobs in a bar, once the work takes longer than two seconds; nothing where there is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Bar(*columns, console=Console(stderr=True), transient=True)
    task = bar.add_task(what, total=total)
    began = time.monotonic()

    def show(ended: int) -> None:
        if not bar.live.is_started and time.monotonic() - began > PATIENCE_S:
            bar.start()
        bar.update(task, completed=ended)

    try:
        yield show
    finally:
        bar.stop()


def table(rows: list[list[str]], *, right: bool = True) -> list[str]:
    """Lines with columns aligned: the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in rows if i < len(row)) for i in range(max(map(len, rows)))]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(widths[i]) if i == 0 or not right else cell.rjust(widths[i]) for i, cell in enumerate(row)
        ]
        lines.append("  ".join(cells).rstrip())
    return lines
