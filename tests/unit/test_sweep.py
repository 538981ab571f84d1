"""Sweeps: cells, refusals, results, and what happens when processes die."""

import os
import signal
import subprocess
import sys
import time

import duckdb
import pandas as pd
import pytest

from sim.cli import _status
from sim.sweep.cells import CELLS, Done
from sim.sweep.grid import read_sweep
from sim.sweep.run import FAILED, RESULTS, dask, processes, run_sweep

TRACE = "job_id,submit_ms,run_ms,gpus,queue\n" + "".join(
    f"j{i},{i * 37},{100 + i * 53 % 900},{1 + i % 8},{'ab'[i % 2]}\n" for i in range(60)
)


def write(folder, grid, more=""):
    (folder / "t.csv").write_text(TRACE)
    (folder / "sweep.yaml").write_text(
        "rehearse_sweep: 1\nbase: {rehearse_scenario: 1, trace: t.csv, cluster: 4x8}\n" + f"grid: {grid}\n" + more
    )
    return folder / "sweep.yaml"


def test_a_grid_is_a_product_and_dots_reach_inside(tmp_path):
    cells = read_sweep(write(tmp_path, "{policy: [fifo, easy], rules.restart: [0, 5s], seed: [1, 2, 3]}"))
    assert len(cells) == 12
    assert cells[0].varied == {"policy": "fifo", "rules.restart": 0, "seed": 1}
    assert [cell.scenario.rules.restart for cell in cells[:4]] == [0, 0, 0, 5000]
    assert len({cell.key for cell in cells}) == 12
    again = read_sweep(tmp_path / "sweep.yaml")
    assert [cell.key for cell in again] == [cell.key for cell in cells]
    (tmp_path / "t.csv").write_text(TRACE + "new,9999,1,1,a\n")
    assert not {cell.key for cell in read_sweep(tmp_path / "sweep.yaml")} & {cell.key for cell in cells}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("grid: {policy: [fifo]}\n", "must begin with `rehearse_sweep: 1`"),
        ("rehearse_sweep: 1\nbase: 3\ngrid: {policy: [fifo]}\n", "base: must be a scenario"),
        ("rehearse_sweep: 1\nbase: {trace: t, cluster: 1x1}\n", "grid or list"),
        ("rehearse_sweep: 1\nbase: {trace: t, cluster: 1x1}\ngrid: {policy: fifo}\n", "grid.policy: must be a list"),
        ("rehearse_sweep: 1\nbase: {trace: t, cluster: 1x1}\nlist: [3]\n", "list: must be a list of mappings"),
        ("rehearse_sweep: 1\nbase: {trace: t, cluster: 1x1}\ngrid: {polcy: [fifo]}\n", "did you mean"),
        ("rehearse_sweep: 1\nbase: {trace: t, cluster: 1x1}\ngrid: {seed: [1]}\n", "policy: is required"),
        (
            "rehearse_sweep: 1\nbase: {trace: t, cluster: 1x1}\ngrid: {policy: [fifo, fifo]}\n",
            "is the same as cell 0",
        ),
        ("rehearse_sweep: 1\ngird: {}\nbase: {trace: t, cluster: 1x1}\n", "did you mean 'grid'"),
    ],
)
def test_a_bad_sweep_is_refused_before_anything_runs(tmp_path, text, why, capsys):
    (tmp_path / "s.yaml").write_text(text)
    assert _status(["sweep", str(tmp_path / "s.yaml"), "--out", str(tmp_path / "out")]) == 2
    assert why in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_results_are_read_by_pandas_and_duckdb_and_a_second_call_does_nothing(tmp_path, capsys):
    sweep = write(
        tmp_path, "{policy: [fifo, best-effort-fifo], cluster: [4x8, 2x8]}", "list: [{policy: sjf-oracle}]\n"
    )
    out = tmp_path / "out"
    assert _status(["sweep", str(sweep), "--out", str(out)]) == 0
    assert "5 of 5 cells done" in capsys.readouterr().out
    table = pd.read_parquet(out / RESULTS)
    whole = table[table.group == "all"]
    assert whole["cell"].tolist() == [0, 1, 2, 3, 4]
    assert whole["varied.cluster"].tolist()[:4] == ["4x8", "2x8", "4x8", "2x8"]
    assert set(table[table.group == "queue"].name) == {"a", "b"}
    query = f"select avg(wait_mean_ms) from '{out}/{CELLS}/*.parquet' where \"group\" = 'all'"
    assert duckdb.sql(query).fetchall()[0][0] == pytest.approx(whole.wait_mean_ms.mean())
    before = (out / RESULTS).read_bytes()
    assert _status(["sweep", str(sweep), "--out", str(out), "--keep-runs"]) == 0
    assert "5 of them from before" in capsys.readouterr().out
    assert (out / RESULTS).read_bytes() == before


def test_a_cell_that_fails_is_told_and_the_rest_goes_on(tmp_path, capsys):
    sweep = write(tmp_path, "{policy: [fifo, 'nonsense:Thing', easy], trace: [t.csv, gone.csv]}")
    out = tmp_path / "out"
    assert _status(["sweep", str(sweep), "--out", str(out)]) == 1
    said = capsys.readouterr()
    assert "2 of 6 cells done" in said.out
    assert "gone.csv" in said.err
    assert len((out / FAILED).read_text().splitlines()) == 4
    assert len(list((out / CELLS).iterdir())) == 2
    assert _status(["sweep", str(sweep), "--out", str(tmp_path)]) == 2
    assert "not the directory of a sweep" in capsys.readouterr().err


KILLER = """
import os, signal
from policies.catalogue import make_policy
class Kills:
    name = "kills"
    runs_on_empty_queue = False
    def decide(self, view):
        os.kill(os.getpid(), signal.SIGKILL)
    def semantics(self):
        return make_policy("fifo", None).semantics()
"""


def test_a_cell_that_kills_its_worker_fails_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("sim.sweep.run.DEATHS_MAX", 2)
    (tmp_path / "killer.py").write_text(KILLER)
    monkeypatch.chdir(tmp_path)
    cells = read_sweep(write(tmp_path, "{policy: [fifo, 'killer:Kills', easy]}"))
    # the killer is in its own process only: making its semantics does not kill
    found = run_sweep(cells, tmp_path / "out", lambda: processes(2), workers=2)
    assert [done.number for done in found.failed] == [1]
    assert "died 2 times" in found.failed[0].error
    assert len(list((tmp_path / "out" / CELLS).iterdir())) == 2


def test_an_error_of_this_program_is_one_cell_s_failure(tmp_path):
    class Raises:
        def submit(self, function, job):
            from concurrent.futures import Future

            future = Future()
            if job.number == 1:
                future.set_exception(ZeroDivisionError("oh"))
            else:
                future.set_result(function(job))
            return future

    import contextlib

    cells = read_sweep(write(tmp_path, "{policy: [fifo, easy, sjf]}"))
    found = run_sweep(cells, tmp_path / "out", lambda: contextlib.nullcontext(Raises()))
    assert found.failed == [Done(1, cells[1].key, "ZeroDivisionError: oh")]


def test_killed_workers_and_coordinators_lose_nothing_and_do_nothing_twice(tmp_path):
    seeds = list(range(int(os.environ.get("REHEARSE_SWEEP_CELLS", "30")) // 2))
    sweep = write(tmp_path, f"{{policy: [fifo, easy], seed: {seeds}}}")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "sim.cli", "sweep", str(sweep), "--out", str(out), "--workers", "2"]
    stamps = {}
    deadline = time.monotonic() + 100
    for attempt in range(30):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        begun = len(list((out / CELLS).glob("*.parquet"))) if out.exists() else 0
        while process.poll() is None and attempt < 2:
            now = len(list((out / CELLS).glob("*.parquet"))) if out.exists() else 0
            if now >= begun + 4:
                victims = _children(process.pid) if attempt % 2 else []
                os.kill(victims[-1] if victims else process.pid, signal.SIGKILL)
                break
            time.sleep(0.01)
        code = process.wait(timeout=90)
        for path in (out / CELLS).glob("*.parquet"):
            stamps.setdefault(path.name, path.stat().st_mtime_ns)
        if code == 0:
            break
        assert time.monotonic() < deadline
    assert {path.name: path.stat().st_mtime_ns for path in (out / CELLS).glob("*")} == stamps, (
        "nothing was done twice"
    )
    assert len(stamps) == 2 * len(seeds)
    clean = tmp_path / "clean"
    assert _status(["sweep", str(sweep), "--out", str(clean)]) == 0
    assert (clean / RESULTS).read_bytes() == (out / RESULTS).read_bytes()


def _children(pid):
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(each) for each in found.stdout.split()]


def test_a_dask_cluster_gives_the_same_bytes(tmp_path):
    distributed = pytest.importorskip("distributed", reason="needs the extra rehearse[dask]")
    sweep = write(tmp_path, "{policy: [fifo, easy, sjf-oracle], seed: [1, 2]}")
    cells = read_sweep(sweep)
    assert not run_sweep(cells, tmp_path / "one", lambda: processes(1)).failed
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None, silence_logs=50
    ) as cluster:
        found = run_sweep(cells, tmp_path / "many", lambda: dask(cluster.scheduler_address), workers=2)
    assert not found.failed
    assert (tmp_path / "one" / RESULTS).read_bytes() == (tmp_path / "many" / RESULTS).read_bytes()
