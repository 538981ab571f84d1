"""Sweeps: cells and their identity, refusals, results, and what happens when something dies."""

import json
import os
import resource
import shutil

import duckdb
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sweeps import TRACE, here, write

from sim.cli import _status
from sim.results import RunDirectoryError, read_run
from sim.run import InputError
from sim.sweep import cells as cells_module
from sim.sweep.cells import CELLS, RUNS, Done, run_cell
from sim.sweep.gather import gather
from sim.sweep.grid import read_sweep
from sim.sweep.identity import Digests, cell_key
from sim.sweep.lock import only_one
from sim.sweep.run import EARLIER, FAILED, RESULTS, processes, run_sweep

# -- cells and their identity ----------------------------------------------------------------------------------------


def test_a_grid_is_a_product_and_dots_reach_inside(tmp_path):
    cells = read_sweep(write(tmp_path, "{policy: [fifo, easy], rules.restart: [0, 5s], seed: [1, 2, 3]}"))
    assert len(cells) == 12
    assert cells[0].varied == {"policy": "fifo", "rules.restart": 0, "seed": 1}
    assert [cell.scenario.rules.restart for cell in cells[:4]] == [0, 0, 0, 5000]
    assert len({cell.key for cell in cells}) == 12


SERVICE = "name: chat, rate: 2, service_time: 1s, replicas: 2"


def test_dots_reach_into_lists(tmp_path):
    base = f", services: [{{{SERVICE}}}, {{{SERVICE.replace('chat', 'code')}}}]"
    (tmp_path / "r.csv").write_text("at_ms,requests_per_s\n0,3\n")
    grid = "{policy: [fifo], services.1.replicas: [3, {least: 1, most: 4}], services.0.rate: [5, {file: r.csv}]}"
    cells = read_sweep(write(tmp_path, grid, base=base))
    data = [cell.data["services"] for cell in cells]
    assert [each[1]["replicas"] for each in data] == [3, 3, *[{"least": 1, "most": 4}] * 2]
    assert [each[0]["rate"] for each in data] == [5, {"file": str(tmp_path / "r.csv")}] * 2
    assert all((each[0]["replicas"], each[1]["rate"]) == (2, 2) for each in data)
    with pytest.raises(InputError, match=r"cell 0 .*services\.2\.slots: '2' is no place in a list of 2"):
        read_sweep(write(tmp_path, "{policy: [fifo], services.2.slots: [1]}", base=base))


def keys(path):
    return [cell.key for cell in read_sweep(path)]


def test_a_key_is_of_what_is_in_the_files_not_of_where_they_lie(tmp_path, monkeypatch):
    before = keys(write(tmp_path / "a", "{policy: [fifo], seed: [1]}"))
    assert keys(write(tmp_path / "b", "{policy: [fifo], seed: [1]}")) == before
    monkeypatch.chdir(tmp_path / "b")
    assert keys(tmp_path / "b" / "sweep.yaml") == before
    assert keys(write(tmp_path / "b", "{policy: [fifo], seed: [1]}", base=", gates: ['wait.p95 <= 1s']")) == before
    for changed in (", shake: 1 %", ", replications: 2", ", warm_up: 1s", ", rules: {ties: file}"):
        assert keys(write(tmp_path / "b", "{policy: [fifo], seed: [1]}", base=changed)) != before
    (tmp_path / "a" / "t.csv").write_text(TRACE + "new,9999,1,1,a\n")
    assert keys(tmp_path / "a" / "sweep.yaml") != before


def test_a_key_knows_the_code_of_a_policy_and_what_it_imports(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    package = tmp_path / "ours"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "policy.py").write_text("import json\nfrom .parts.order import key\nfrom ours import other\n")
    (package / "parts").mkdir()
    (package / "parts" / "__init__.py").write_text("")
    (package / "parts" / "order.py").write_text("key = 1\n")
    (package / "other.py").write_text("")
    (package / "unused.py").write_text("")
    (tmp_path / "run.sh").write_text("#!/bin/sh\n")
    (tmp_path / "run.sh").chmod(0o755)
    (tmp_path / "script.py").write_text("1\n")
    grid = "{policy: ['ours.policy:P', 'process:./run.sh', 'process:python3 script.py', fifo]}"
    sweep = write(tmp_path, grid)
    seen = [keys(sweep)]
    shutil.copytree(tmp_path, tmp_path / "copy")
    with monkeypatch.context() as elsewhere:
        elsewhere.chdir(tmp_path / "copy")
        assert keys(tmp_path / "copy" / "sweep.yaml")[1:] == seen[0][1:]
    for path in (package / "policy.py", package / "parts" / "order.py", package / "other.py"):
        path.write_text(path.read_text() + "# changed\n")
        seen.append(keys(sweep))
        assert [a == b for a, b in zip(seen[-2], seen[-1], strict=True)] == [False, True, True, True]
    (package / "unused.py").write_text("1\n")
    assert keys(sweep) == seen[-1]
    (tmp_path / "run.sh").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "script.py").write_text("22\n")
    assert [a == b for a, b in zip(seen[-1], keys(sweep), strict=True)] == [True, False, False, True]


def test_a_worker_refuses_another_program_or_other_files(tmp_path, monkeypatch):
    cells = read_sweep(write(tmp_path, "{policy: [fifo]}"))
    (tmp_path / "t.csv").write_text(TRACE + "new,9999,1,1,a\n")
    found = run_sweep(cells, tmp_path / "out", here())
    assert "has changed, or is another one on this worker" in found.failed[0].error
    cells = read_sweep(tmp_path / "sweep.yaml")
    monkeypatch.setattr("sim.sweep.identity.program", lambda: "another version")
    assert "has changed" in run_sweep(cells, tmp_path / "out", here()).failed[0].error


def test_a_worker_that_imported_an_older_policy_says_so(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cells_module, "_memory", cells_module._Memory())
    text = "from policies.catalogue import make_policy\ndef Mine(): return make_policy('fifo', None)\n"
    (tmp_path / "aging.py").write_text(text)
    assert not run_sweep(read_sweep(write(tmp_path, "{policy: ['aging:Mine']}")), tmp_path / "out", here()).failed
    (tmp_path / "aging.py").write_text(text + "# newer\n")
    found = run_sweep(read_sweep(tmp_path / "sweep.yaml"), tmp_path / "out", here())
    assert "start the workers anew" in found.failed[0].error


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
            "rehearse_sweep: 1\nbase: {cluster: 1x1}\ngrid: {policy: [fifo], traces: [[a, b]]}\n",
            "a cell has one trace",
        ),
        (
            "rehearse_sweep: 1\nbase: {trace: t, cluster: 1x1}\ngrid: {policy: [fifo, fifo]}\n",
            "is the same as cell 0",
        ),
        ("rehearse_sweep: 1\ngird: {}\nbase: {trace: t, cluster: 1x1}\n", "did you mean 'grid'"),
        (
            f"rehearse_sweep: 1\nbase: {{trace: t, cluster: 1x1, polcy: x}}\ngrid: {{policy: [fifo], seed: {[*range(30)]}}}\n",
            "and 10 more problems",
        ),
        (
            f"rehearse_sweep: 1\nbase: {{trace: t, cluster: 1x1}}\ngrid: {{seed: {[*range(1000)]}, policy: {[*range(101)]}}}\n",
            "gives 101000 cells; at most 100000",
        ),
    ],
)
def test_a_bad_sweep_is_refused_before_anything_runs(tmp_path, text, why, capsys):
    (tmp_path / "s.yaml").write_text(text)
    assert _status(["sweep", str(tmp_path / "s.yaml"), "--out", str(tmp_path / "out")]) == 2
    assert why in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


# -- results ---------------------------------------------------------------------------------------------------------


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
    before = (out / RESULTS).stat()
    cells = read_sweep(sweep)
    assert run_sweep(cells, out, here(lambda job: pytest.fail("nothing to do"))).kept == 5
    assert (out / RESULTS).stat() == before, "not even gathered again"
    assert _status(["sweep", str(sweep), "--out", str(out), "--check"]) == 0
    assert "5 cells, 5 of them done" in capsys.readouterr().out


def test_runs_are_kept_also_of_cells_that_were_done_without(tmp_path):
    cells = read_sweep(write(tmp_path, "{policy: [fifo], seed: [1, 2]}", base=", replications: 2, shake: 5 %"))
    out = tmp_path / "out"
    run_sweep(cells, out, here())
    before = (out / RESULTS).read_bytes()
    assert run_sweep(cells, out, here(), keep_runs=True).kept == 0
    assert run_sweep(cells, out, here(), keep_runs=True).kept == 2
    assert (out / RESULTS).read_bytes() == before
    table = pd.read_parquet(out / RESULTS)
    for number, folder in enumerate((cells[1].key, f"{cells[1].key}-1")):
        run = read_run(out / RUNS / folder)
        row = table[(table.cell == 1) & (table.group == "all") & (table.replication == number)].iloc[0]
        assert row.fingerprint == run.manifest["fingerprint"]
        assert row.wait_mean_ms == run.jobs.wait_ms.mean()
    assert len(set(table.fingerprint)) == 3, "the trace as it is under both seeds, and two shaken copies"


def test_warm_up_and_drain_are_left_out_of_the_figures(tmp_path):
    base = ", warm_up: 500ms, drain: 500ms"
    cells = read_sweep(write(tmp_path, "{policy: [fifo]}", base=base))
    run_sweep(cells, tmp_path / "out", here(), keep_runs=True)
    jobs = read_run(tmp_path / "out" / RUNS / cells[0].key).jobs
    inside = (jobs.submit_ms >= 500) & (jobs.submit_ms <= 59 * 37 - 500)
    row = pd.read_parquet(tmp_path / "out" / RESULTS).iloc[0]
    assert (row.jobs, row.wait_mean_ms) == (inside.sum(), jobs.wait_ms[inside].mean())
    assert 0 < inside.sum() < 60


def test_results_of_another_sweep_go_aside_and_come_back(tmp_path):
    out = tmp_path / "out"
    both = read_sweep(write(tmp_path, "{policy: [fifo, easy]}"))
    run_sweep(both, out, here())
    one = read_sweep(write(tmp_path, "{policy: [easy]}"))
    assert run_sweep(one, out, here()).kept == 1
    assert [path.stem for path in (out / CELLS).iterdir()] == [one[0].key]
    assert [path.stem for path in (out / EARLIER).iterdir()] == [both[0].key]
    assert pd.read_parquet(out / RESULTS).policy.unique().tolist() == ["easy"]
    assert run_sweep(both, out, here()).kept == 2
    assert pd.read_parquet(out / RESULTS).policy.unique().tolist() == ["fifo", "easy"]


def test_what_varies_has_columns_of_its_kind(tmp_path):
    more = "list:\n  - {policy: easy, rules.restart: 0, seed: 5}\n  - {policy: fifo, slow: [{at: 0, factor: 2, servers: [x]}]}\n"
    cells = read_sweep(write(tmp_path, "{policy: [fifo], rules.restart: [1s], seed: [3]}", more))
    found = run_sweep(cells, tmp_path / "out", here())
    assert [done.number for done in found.failed] == [2], "there is no server x"
    schema = pq.read_schema(tmp_path / "out" / RESULTS)
    assert str(schema.field("varied.seed").type) == "int64"
    table = pd.read_parquet(tmp_path / "out" / RESULTS)
    assert table[table.group == "all"]["varied.rules.restart"].tolist() == ['"1s"', "0"]


def test_many_cells_are_gathered_in_parts(tmp_path, monkeypatch):
    cells = read_sweep(write(tmp_path, f"{{policy: [fifo], seed: {[*range(7)]}}}"))
    run_sweep(cells, tmp_path / "out", here())
    whole = pd.read_parquet(tmp_path / "out" / RESULTS)
    monkeypatch.setattr("sim.sweep.gather.AT_ONCE", 3)
    (tmp_path / "out" / RESULTS).unlink()
    gather(cells, tmp_path / "out")
    assert pq.ParquetFile(tmp_path / "out" / RESULTS).num_row_groups == 3
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out" / RESULTS), whole)


# -- failures --------------------------------------------------------------------------------------------------------


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


def test_an_error_of_this_program_is_one_cell_s_failure(tmp_path):
    def raises(job):
        if job.number == 1:
            raise ZeroDivisionError("oh")

    cells = read_sweep(write(tmp_path, "{policy: [fifo, easy, sjf]}"))
    found = run_sweep(cells, tmp_path / "out", here(raises))
    assert found.failed == [Done(1, cells[1].key, "ZeroDivisionError: oh")]


def test_a_full_disk_stops_the_sweep_which_then_goes_on(tmp_path):
    cells = read_sweep(write(tmp_path, f"{{policy: [fifo], seed: {[*range(20)]}}}"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def full_from_the_third(job):
        # because: a file that may not grow fails as on a full disk, without filling one
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000 if job.number >= 3 else limits[0], limits[1]))

    try:
        with pytest.raises(
            RunDirectoryError, match=r"stopped, since of cell 3 .*cannot be written.* 3 of 20 cells are done"
        ):
            run_sweep(cells, tmp_path / "out", here(full_from_the_third))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    left = list((tmp_path / "out" / CELLS).iterdir())
    assert len(left) == 3, "only what was in flight was begun after it"
    assert not [path for path in left if path.name.startswith(".")]
    assert run_sweep(cells, tmp_path / "out", here()) == (20, 3, [])


def test_two_coordinators_do_not_work_in_one_directory(tmp_path):
    cells = read_sweep(write(tmp_path, "{policy: [fifo]}"))
    out = tmp_path / "out"

    def another(job):
        with pytest.raises(RunDirectoryError, match=f"at work there already: process {os.getpid()} on"):
            run_sweep(cells, out, here())

    assert not run_sweep(cells, out, here(another)).failed
    with only_one(out):
        pass  # because: the lock goes with the one who held it


def test_what_killed_coordinators_leave_is_tidied_up(tmp_path):
    cells = read_sweep(write(tmp_path, "{policy: [fifo, easy]}"))
    clean = tmp_path / "clean"
    run_sweep(cells, clean, here())
    early = tmp_path / "early"  # killed before it could say what it is
    (early / CELLS).mkdir(parents=True)
    (early / ".sweep.json.77").write_text("{")
    run_sweep(cells, early, here())
    late = tmp_path / "late"  # killed while it gathered, and while a worker wrote
    shutil.copytree(clean, late)
    (late / RESULTS).unlink()
    (late / ".results.parquet.77").write_bytes(b"PAR1")
    (late / CELLS / f".{cells[0].key}.parquet.host.77").write_bytes(b"PAR1")
    run_sweep(cells, late, here())
    for out in (early, late):
        assert (out / RESULTS).read_bytes() == (clean / RESULTS).read_bytes()
        assert sorted(path.name for path in out.rglob("*")) == sorted(path.name for path in clean.rglob("*"))


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
    found = run_sweep(cells, tmp_path / "out", lambda: processes(1))
    assert [done.number for done in found.failed] == [1]
    assert "died 2 times" in found.failed[0].error
    assert len(list((tmp_path / "out" / CELLS).iterdir())) == 2


def test_a_job_is_plain_data(tmp_path):
    (cell,) = read_sweep(write(tmp_path, "{policy: [{process: ['true'], timeout: 1s}]}"))
    found = run_sweep([cell], tmp_path / "out", here(json.dumps))
    assert "process:" in found.failed[0].error
    assert run_cell is cells_module.run_cell
    assert cell_key(cell.scenario, Digests()) == cell.key
