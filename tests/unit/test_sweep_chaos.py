"""Sweeps under kill -9: nothing is lost, nothing is done twice, nothing is left behind.

`make chaos` runs it long: REHEARSE_SWEEP_CELLS cells, and kills until all are done.
"""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
from sweeps import here, write

from sim.sweep.cells import CELLS
from sim.sweep.grid import read_sweep
from sim.sweep.run import RESULTS, dask, processes, run_sweep

CELL_COUNT = int(os.environ.get("REHEARSE_SWEEP_CELLS", "16"))
LONG = CELL_COUNT > 16


def alive(pid):
    """Whether a process runs: one that is dead and not waited for does not."""
    found = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return found.stdout.strip()[:1] not in {"", "Z"}


def children(pid):
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True, check=False)
    return [int(each) for each in found.stdout.split()]


def done(out):
    return {path.name: path.stat().st_mtime_ns for path in (out / CELLS).glob("*.parquet")}


GATED = """
import time
from pathlib import Path

from policies.framework.cycle import BestEffortCycle
from policies.ordering.priority import Priority
from policies.placement.best_fit import BestFit

HERE = Path(__file__).parent


class Gated(BestEffortCycle):
    '''Begins no cell while there are as many results as the file beside it allows.'''

    def __init__(self):
        super().__init__(name="gated", order=Priority(), placer=BestFit())
        self.begun = False

    def decide(self, view):
        while not self.begun:
            self.begun = len([*(HERE / "out" / "cells").glob("*.parquet")]) < int((HERE / "allowed").read_text())
            time.sleep(0 if self.begun else 0.005)
        return super().decide(view)
"""


def allow(folder, results):
    """No more cells are begun when there are so many results."""
    (folder / "new").write_text(str(results))
    (folder / "new").replace(folder / "allowed")


def until(holds, seconds=60):
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.01)


def wait_for_a_moment(process, out, chance):
    """Any moment, or in short the next result, after which the workers wait in the midst of a cell."""
    if LONG:
        time.sleep(chance.uniform(0.02, 1.5))
        return
    begun = len(done(out))
    allow(out.parent, begun + 1)
    until(lambda: process.poll() is not None or len(done(out)) > begun)


def test_killed_workers_and_coordinators_lose_nothing_and_do_nothing_twice(tmp_path, monkeypatch):
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")
    chance = random.Random(seed)
    (tmp_path / "gated_cells.py").write_text(GATED)
    monkeypatch.syspath_prepend(tmp_path)
    sweep = write(tmp_path, f"{{policy: ['gated_cells:Gated'], seed: {[*range(CELL_COUNT)]}}}")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "sim.cli", "sweep", str(sweep), "--out", str(out), "--workers", "2"]
    finds = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    stamps = {}
    kills = 0
    while True:
        allow(tmp_path, CELL_COUNT + 1 if LONG or kills == 2 else 0)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=finds)
        while process.poll() is None and (len(done(out)) < CELL_COUNT * 0.95 if LONG else kills < 2):
            wait_for_a_moment(process, out, chance)
            workers = children(process.pid)
            one = chance.choice([process.pid, *workers]) if LONG or not workers else (workers[-1], process.pid)[kills]
            if alive(one):
                os.kill(one, signal.SIGKILL)
                kills += 1
            if one == process.pid:
                process.wait()
                until(lambda workers=workers: not any(map(alive, workers)))
        code = process.wait(timeout=90)
        for name, stamp in done(out).items():
            assert stamps.setdefault(name, stamp) == stamp, "nothing is done twice"
        if code == 0:
            break
    assert kills >= (10 if LONG else 2)
    print(f"{kills} kills, {len(stamps)} cells")
    assert len(stamps) == CELL_COUNT
    cells = read_sweep(sweep)
    run_sweep(cells, tmp_path / "clean", here())
    assert (tmp_path / "clean" / RESULTS).read_bytes() == (out / RESULTS).read_bytes()
    assert {path.name for path in out.iterdir()} == {path.name for path in (tmp_path / "clean").iterdir()}


def test_an_interrupt_ends_at_once_and_says_so(tmp_path):
    sweep = write(tmp_path, f"{{policy: [fifo], seed: {[*range(500)]}}}")
    out = tmp_path / "out"
    # because: a test run in the background ignores interrupts, and so would the programs that it starts
    listens = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from sim.cli import main; main()"
    )
    command = [sys.executable, "-c", listens, "sweep", str(sweep), "--out", str(out), "--workers", "2"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        until(lambda: len(done(out)) > 2)
        os.killpg(process.pid, signal.SIGINT)  # because: a terminal interrupts the whole group
        said = process.communicate(timeout=60)[1]
    assert (process.returncode, said.strip()) == (130, "interrupted")
    assert 2 < len(done(out)) < 500


def test_a_dask_cluster_gives_the_same_bytes_also_when_workers_die(tmp_path):
    distributed = pytest.importorskip("distributed", reason="needs the extra rehearse[dask]")
    cells = read_sweep(write(tmp_path, "{policy: [fifo, easy, sjf-oracle], seed: [1, 2, 3, 4]}"))
    run_sweep(cells, tmp_path / "one", here())
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=2, host="127.0.0.1", dashboard_address=None, silence_logs=50
    ) as cluster:
        first = next(iter(cluster.workers.values()))

        def killing(number):
            if number == 1:
                os.kill(first.pid, signal.SIGKILL)

        address = cluster.scheduler_address
        found = run_sweep(cells, tmp_path / "many", lambda: dask(address), workers=2, progress=killing)
    assert not found.failed
    assert (tmp_path / "one" / RESULTS).read_bytes() == (tmp_path / "many" / RESULTS).read_bytes()


def test_processes_give_the_same_bytes(tmp_path):
    cells = read_sweep(write(tmp_path, "{policy: [fifo, easy, sjf-oracle], seed: [1, 2]}"))
    run_sweep(cells, tmp_path / "one", here())
    run_sweep(cells, tmp_path / "two", lambda: processes(2), workers=2)
    assert (tmp_path / "one" / RESULTS).read_bytes() == (tmp_path / "two" / RESULTS).read_bytes()
