"""How far a replay is from the record."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.cli import _status
from sim.fidelity.validate import agreement, kolmogorov_smirnov, wasserstein

TRACE = "job_id,submit_ms,run_ms,gpus,queue,recorded_start_ms\n"

waits = st.lists(st.integers(0, 1000), min_size=1, max_size=30).map(lambda found: np.array(found, dtype=float))


@given(waits, st.data())
def test_distances_equal_their_definitions(one, data):
    other = np.array(data.draw(st.lists(st.integers(0, 1000), min_size=len(one), max_size=len(one))), dtype=float)
    grid = np.unique(np.concatenate((one, other)))
    gap = max(abs((one <= x).mean() - (other <= x).mean()) for x in grid)
    assert kolmogorov_smirnov(one, other) == pytest.approx(gap)
    # Wasserstein-1 is the area between the two distribution functions
    area = sum(
        abs((one <= left).mean() - (other <= left).mean()) * (right - left)
        for left, right in itertools.pairwise(grid)
    )
    assert wasserstein(one, other) == pytest.approx(area)


def test_a_constant_delay_is_found():
    predicted = np.arange(100.0) * 1000
    found = agreement(predicted, predicted + 45_000)
    assert found.overhead_ms == 45_000
    assert found.wasserstein_ms == 45_000
    assert found.wasserstein_with_overhead_ms == 0
    assert found.rank_correlation == pytest.approx(1)
    assert found.near_share == 1
    assert agreement(predicted[::-1], predicted).rank_correlation == pytest.approx(-1)
    assert agreement(np.zeros(5), predicted[:5]).rank_correlation is None


def run_of(folder, rows):
    (folder / "t.csv").write_text(TRACE + "".join(f"{row}\n" for row in rows))
    asked = ["run", "--trace", str(folder / "t.csv"), "--cluster", "1x8", "--policy", "fifo"]
    assert _status([*asked, "--out", str(folder / "run")]) == 0
    return str(folder / "run")


def test_a_faithful_replay_agrees_with_its_record(tmp_path, capsys):
    rows = [f"j{i},{i * 100},1000,8,{'a' if i % 2 else 'b'},{i * 1000 + 250}" for i in range(80)]
    out = run_of(tmp_path, rows)
    capsys.readouterr()
    assert _status(["validate", out, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["compared"] == 80
    assert found["overall"]["overhead_ms"] == 250
    assert found["overall"]["wasserstein_with_overhead_ms"] == 0
    assert set(found["by_queue"]) == {"a", "b"}
    assert (found["recorded_peak_milli"], found["over_capacity_share"]) == (8000, 0)
    assert _status(["validate", out]) == 0
    assert "smaller than what this model gets wrong" in capsys.readouterr().out


def test_a_fleet_that_is_too_small_is_told(tmp_path, capsys):
    out = run_of(tmp_path, [f"j{i},0,1000,8,a,{i // 2 * 1000}" for i in range(40)])
    assert _status(["validate", out]) == 0
    assert "above that for 100.0% of the time" in capsys.readouterr().out


def test_jobs_that_are_taken_away_before_they_start_are_told_apart(tmp_path, capsys):
    """One server: j0 to j39 follow each other. j38 and j39 go at 20 s, when j20 begins, and big never fits."""
    rows = [f"j{i},0,1000,8,a,{i * 1000},{20_000 if i > 37 else ''}" for i in range(40)]
    (tmp_path / "t.csv").write_text(TRACE.replace("ms\n", "ms,lifetime_ms\n") + "\n".join([*rows, "big,0,1,9,a,5,"]))
    asked = ["run", "--trace", str(tmp_path / "t.csv"), "--cluster", "1x8", "--policy", "fifo"]
    assert _status([*asked, "--out", str(tmp_path / "run")]) == 0
    capsys.readouterr()
    assert _status(["validate", str(tmp_path / "run"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["recorded"], found["compared"], found["withdrawn"]) == (41, 38, 2)
    said = found["conclusion"][0]
    assert said.startswith("3 of 41 jobs that ran never start in the run")
    assert "2 of them were taken away before" in said


def test_a_trace_without_recorded_starts_is_refused(tmp_path, capsys):
    out = run_of(tmp_path, ["a,0,1000,8,prod,"])
    assert _status(["validate", out]) == 2
    assert "records no starts" in capsys.readouterr().err
