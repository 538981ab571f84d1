"""`rehearse validate` and `export`: what else can be done with a finished run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from sim.console import say, table
from sim.run import InputError, cluster_data


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print as JSON.")
def validate(directory: Path, as_json: bool) -> None:
    """Compare the run in DIRECTORY with the starts that its trace recorded, and say how far to trust it."""
    from sim.fidelity.validate import validate as validate_run
    from sim.results import as_json as to_json

    found = validate_run(directory)
    if as_json:
        say(to_json(found.as_data()).rstrip())
        return
    say(f"{found.compared} of {found.jobs} jobs have a recorded start and started in the run")
    if found.overall is not None:
        rows = [["", "jobs", "mean", "p50", "p90", "p95", "p99", "KS", "Wasserstein", "rank", "near", "overhead"]]
        rows += _rows("all", found.overall)
        for queue, each in found.by_queue.items() if len(found.by_queue) > 1 else ():
            rows += _rows(queue, each)
        for line in table(rows):
            say(line)
        say(
            "\nwaits in seconds, predicted / recorded; near: within a minute or a tenth; overhead: what added to every"
        )
        say("predicted wait brings the two distributions closest")
    if found.idle_delay_ms is not None:
        delay = found.idle_delay_ms
        say(
            f"jobs that the run starts at once waited {delay['p50'] / 1000:g} s in the record (median; p95"
            f" {delay['p95'] / 1000:g} s): scheduling and start-up"
        )
    for sentence in found.conclusion:
        say(sentence)


def _rows(name: str, found: object) -> Iterator[list[str]]:
    from sim.fidelity.validate import Agreement

    assert isinstance(found, Agreement)
    pairs = [(found.predicted_mean_ms, found.recorded_mean_ms)]
    pairs += list(zip(found.predicted_quantiles_ms, found.recorded_quantiles_ms, strict=True))
    rank = "-" if found.rank_correlation is None else f"{found.rank_correlation:.2f}"
    yield [
        name,
        str(found.jobs),
        *(f"{here / 1000:.0f} / {there / 1000:.0f}" for here, there in pairs),
        f"{found.ks:.2f}",
        f"{found.wasserstein_ms / 1000:.0f}",
        rank,
        f"{found.near_share:.0%}",
        f"{found.overhead_ms / 1000:.0f}",
    ]


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--perfetto", required=True, type=click.Path(path_type=Path), help="The file to write; .gz packs it.")
@click.option("--cluster", help="The fleet of a run of an older version, for the names of its servers.")
@click.option("--from", "begin", metavar="TIME", help="Only from this time after the first submission on.")
@click.option("--to", "end", metavar="TIME", help="Only until this time after the first submission.")
def export(directory: Path, perfetto: Path, cluster: str | None, begin: str | None, end: str | None) -> None:
    """Write the run in DIRECTORY as a trace that Perfetto and Chrome's tracing page open."""
    from sim.export.perfetto import write_perfetto
    from sim.fleet.load import load_fleet
    from sim.results import read_run

    from_ms, to_ms = _time("--from", begin), _time("--to", end)
    if from_ms is not None and to_ms is not None and to_ms <= from_ms:
        raise InputError(f"--to {end}: must be later than --from {begin}")
    run = read_run(directory)
    names: list[str] = []
    if cluster is not None:
        loaded = load_fleet(cluster)
        known, given = run.manifest["inputs"]["cluster"], cluster_data(loaded)
        if any(known[key] != given[key] for key in ("sha256", "servers", "devices")):
            raise InputError(f"--cluster {cluster}: is not the fleet of {directory}, which was {known['source']}")
        names = [server.name for server in loaded.fleet.servers]
    try:
        count = write_perfetto(run, perfetto, servers=names, from_ms=from_ms, to_ms=to_ms)
    except ValueError as error:
        raise InputError(f"{directory}: {error}") from error
    say(f"{perfetto}: {count:,} events, {perfetto.stat().st_size / 1e6:.1f} MB")


def _time(flag: str, text: str | None) -> int | None:
    from sim.experiment.durations import parse_duration

    try:
        return None if text is None else parse_duration(text)
    except ValueError as error:
        raise InputError(f"{flag}: {error}") from error
