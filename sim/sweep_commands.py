"""`rehearse sweep`: many scenarios over processes or a cluster."""

from __future__ import annotations

from pathlib import Path

import click

from sim.console import note, progress, say


@click.command()
@click.argument("sweep_file", metavar="SWEEP.yaml", type=click.Path(path_type=Path))
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="The directory; one that is there goes on."
)
@click.option(
    "--workers", type=click.IntRange(1, 1024), default=1, show_default=True, help="Processes on this machine."
)
@click.option("--dask", metavar="tcp://HOST:PORT", help="The scheduler of a Dask cluster, instead of processes.")
@click.option("--keep-runs", is_flag=True, help="Also a whole run directory for each cell, under runs/.")
@click.option("--check", is_flag=True, help="Only read the file and count the cells.")
def sweep(sweep_file: Path, *, out: Path, workers: int, dask: str | None, keep_runs: bool, check: bool) -> None:
    """Run every cell of SWEEP.yaml that has no result yet. Status 1 if a cell failed; the others are done."""
    from sim.sweep.grid import read_sweep
    from sim.sweep.run import FAILED, RESULTS, processes, run_sweep, with_result
    from sim.sweep.run import dask as on_dask

    cells = read_sweep(sweep_file)
    there = len(with_result(cells, out, keep_runs=keep_runs))
    if check:
        say(f"{len(cells)} cells, {there} of them done")
        return
    with progress(f"{len(cells) - there} of {len(cells)} cells", len(cells) - there) as shown:
        found = run_sweep(
            cells,
            out,
            (lambda: on_dask(dask)) if dask is not None else (lambda: processes(workers)),
            workers=workers,
            keep_runs=keep_runs,
            progress=shown,
        )
    again = f", {found.kept} of them from before" if found.kept else ""
    say(f"{found.cells - len(found.failed)} of {found.cells} cells done{again}: {out / RESULTS}")
    for done in found.failed[:10]:
        note(f"error: cell {done.number}: {done.error}")
    if found.failed:
        note(f"{len(found.failed)} cells failed: {out / FAILED}; the same command tries them again")
        raise SystemExit(1)
