"""The flags of `rehearse serve` for its journal, and the journal that they ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from sim.run import InputError

if TYPE_CHECKING:
    from policies.kube.objects import Json
    from policies.serving.cluster import Cluster
    from policies.serving.journal import Journal

F = TypeVar("F", bound=Callable[..., Any])

MINUTE_MS: Final = 60_000


def journal_options(command: F) -> F:
    """The flags; they come as keywords that begin with `journal`."""
    options = (
        click.option("--journal", type=click.Path(path_type=Path), help="Folder that gets every event and decision."),
        click.option(
            "--journal-file-mib",
            default=256,
            type=click.IntRange(1),
            help="A file ends when it is larger.",
            show_default=True,
        ),
        click.option(
            "--journal-file-minutes", default=60, type=click.IntRange(1), help="Or older.", show_default=True
        ),
        click.option(
            "--journal-keep", type=click.IntRange(1), metavar="FILES", help="Remove older ones; all are kept else."
        ),
        click.option("--journal-compress", is_flag=True, help="Compress files that ended."),
        click.option(
            "--journal-sync",
            type=click.Choice(["off", "second", "line"]),
            default="off",
            show_default=True,
            help="When lines are forced to the disk.",
        ),
        click.option(
            "--journal-anonymise",
            type=click.Path(path_type=Path),
            metavar="KEYFILE",
            help="Hash names under the key in this file.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def journal_of(
    flags: Mapping[str, Any], *, driver: str, policy: str, cluster: Cluster, configuration: Json
) -> Journal | None:
    """The journal that the flags ask for, or None. Raises `InputError`."""
    from policies.serving.journal import Journal, Limits

    folder = flags["journal"]
    if folder is None:
        if flags["journal_anonymise"] is not None or flags["journal_keep"] is not None or flags["journal_compress"]:
            raise InputError("--journal-keep, --journal-compress and --journal-anonymise need --journal")
        return None
    limits = Limits(
        file_mib=flags["journal_file_mib"],
        file_ms=flags["journal_file_minutes"] * MINUTE_MS,
        keep_files=flags["journal_keep"],
        compress=flags["journal_compress"],
        sync=flags["journal_sync"],
    )
    try:
        return Journal.open(
            folder,
            driver=driver,
            policy=policy,
            configuration=configuration,
            cluster=cluster,
            limits=limits,
            anonymise=_key(flags["journal_anonymise"]),
        )
    except OSError as error:
        raise InputError(f"--journal {folder}: {error.strerror or error}") from error
    except ValueError as error:
        raise InputError(f"--journal-anonymise: {error}") from error


def _key(path: Path | None) -> str | None:
    """A key comes in a file: command lines are seen by everybody."""
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--journal-anonymise {path}: cannot be read: {error}") from None
