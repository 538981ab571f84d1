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


def test_a_trace_without_recorded_starts_is_refused(tmp_path, capsys):
    out = run_of(tmp_path, ["a,0,1000,8,prod,"])
    assert _status(["validate", out]) == 2
    assert "records no starts" in capsys.readouterr().err
