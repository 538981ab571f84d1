"""`rehearse fleet`: what a cluster is, as text, picture or JSON, and the accelerators that a fleet may name."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from sim.fleet.kube_objects import Placed
    from sim.fleet.load import LoadedFleet

INPUT_IS_WRONG = 2
"""The exit status of the house for a wrong input or command line."""


@click.group()
def fleet() -> None:
    """Look at a fleet, and at the accelerators that it may be made of."""


@fleet.command()
@click.argument("cluster")
@click.option("--svg", type=click.Path(dir_okay=False, path_type=Path), help="Write a picture to this file as well.")
@click.option("--json", "as_json", is_flag=True, help="Print everything as one JSON object.")
@click.option("--yaml", "as_yaml", is_flag=True, help="Print a fleet file, to be edited.")
@click.option("--all", "whole", is_flag=True, help="Do not fold a large fleet.")
def show(cluster: str, svg: Path | None, as_json: bool, as_yaml: bool, whole: bool) -> None:
    """Draw CLUSTER: a fleet file, a node list, a shorthand such as 312x8, or demo."""
    from sim.fleet.load import load_fleet
    from sim.fleet.problems import FleetError

    if as_json and as_yaml:
        raise click.UsageError("--json and --yaml exclude each other")
    try:
        loaded = load_fleet(cluster)
    except FleetError as error:
        _refuse(str(error))
    if as_json:
        _say(json.dumps(_as_json(loaded), ensure_ascii=False, indent=1))
    elif as_yaml:
        from sim.fleet.yaml_dump import fleet_to_yaml

        _say(fleet_to_yaml(loaded.fleet).rstrip())
    else:
        from sim.fleet.draw import draw_fleet

        _say(draw_fleet(loaded.fleet, box="■" if _can_print("■") else "#", whole=whole))
    if svg is not None:
        _picture(loaded, svg)


@fleet.command("import")
@click.argument("files", nargs=-1, required=True, metavar="NODES.json...")
@click.option("--topology", multiple=True, help="A Topology of Kueue: the levels, by node label.")
@click.option("--hypernodes", multiple=True, help="Volcano's HyperNodes: the levels, by their members.")
@click.option("--queues", multiple=True, help="Kueue's ClusterQueues, Cohorts and ResourceFlavors.")
@click.option("--name", help="The name of the fleet; default: that of the first file.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the fleet file here.")
def import_(files: tuple[str, ...], name: str | None, out: Path | None, **more: tuple[str, ...]) -> None:
    """Make a fleet file of a cluster of Kubernetes, from what `kubectl get -o json` or `-o yaml` printed.

    A file may hold objects of several kinds; the options only say which file is which.
    """
    from sim.fleet.kubernetes import import_cluster
    from sim.fleet.problems import FleetError
    from sim.fleet.yaml_dump import fleet_to_yaml

    given = (*files, *(file for kind in more.values() for file in kind))
    try:
        found = import_cluster(_objects(given), source="import", name=name or Path(files[0]).name)
    except FleetError as error:
        _refuse(str(error))
    for note in found.notes:
        click.echo(f"note: {note}", err=True)
    text = fleet_to_yaml(found.fleet)
    if out is None:
        _say(text.rstrip())
    else:
        _write(text, out)
        whole = found.fleet
        click.echo(f"{out}: {len(whole.servers)} servers, {whole.devices} devices, {len(whole.queues)} queues")


@fleet.command()
@click.option("--json", "as_json", is_flag=True, help="Print everything, with sources, as a JSON list.")
def accelerators(as_json: bool) -> None:
    """List the accelerators of the catalogue, with how far each row can be trusted."""
    from sim.fleet.catalogue import catalogue
    from sim.fleet.draw import draw_catalogue

    if as_json:
        _say(json.dumps([asdict(row) for row in catalogue()], ensure_ascii=False, indent=1))
    else:
        _say(draw_catalogue(catalogue()))


def _as_json(loaded: LoadedFleet) -> dict[str, Any]:
    whole = loaded.fleet
    return {
        "name": whole.name,
        "source": loaded.source,
        "sha256": loaded.sha256,
        "devices": whole.devices,
        "devices_by_accelerator": whole.devices_by_accelerator,
        "levels": whole.levels,
        "pools": whole.pools,
        "servers": [asdict(server) for server in whole.servers],
        "queues": [asdict(queue) for queue in whole.queues],
    }


def _objects(files: tuple[str, ...]) -> list[Placed]:
    """The objects of all files, each with its file and place. Raises `FleetError` with what is wrong with any of them."""
    from sim.fleet.kube_objects import read_objects
    from sim.fleet.load import text_of_file
    from sim.fleet.problems import FleetError, Problem

    found: list[Placed] = []
    problems: list[Problem] = []
    for file in dict.fromkeys(files):
        try:
            read = read_objects(text_of_file(file), source=file)
        except FleetError as error:
            problems += [
                Problem(f"{file}: {each.path}" if each.path else file, each.reason) for each in error.problems
            ]
            continue
        found += [each._replace(place=f"{file}: {each.place}") for each in read]
    if problems:
        raise FleetError(problems, source="import")
    return found


def _write(text: str, out: Path) -> None:
    """The whole file or nothing."""
    from traces.whole_file import whole_file

    try:
        with whole_file(out) as made:
            made.write_text(text, encoding="utf-8")
    except OSError as error:
        _refuse(f"--out {out}: cannot be written: {error.strerror or error}")


def _picture(loaded: LoadedFleet, path: Path) -> None:
    from sim.fleet.picture import save_picture

    try:
        save_picture(loaded.fleet, path)
    except OSError as error:
        _refuse(f"--svg {path}: cannot be written: {error.strerror or error}")
    click.echo(f"picture: {path}", err=True)


def _can_print(text: str) -> bool:
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _say(text: str) -> None:
    """Print a result; a letter that the terminal does not have becomes a question mark."""
    if not _can_print(text):
        encoding = getattr(sys.stdout, "encoding", None) or "ascii"
        text = text.encode(encoding, "replace").decode(encoding)
    click.echo(text)


def _refuse(problems: str) -> NoReturn:
    click.echo(problems, err=True)
    raise SystemExit(INPUT_IS_WRONG)
