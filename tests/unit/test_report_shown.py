"""What pictures are drawn from, exact against pencil and brute force, and how curves become few points."""

from __future__ import annotations

import re

import numpy as np
import pytest
from builders import job, servers
from reports import full, side_by_side
from runs import GOLDEN, run_of

from sim.fleet.load import load_fleet
from sim.fleet.table import topology_of
from sim.report.curves import held_devices, means, over_time, queue_length, time_edges, wait_grid, waits
from sim.report.drawing.causes import mean_by_cause
from sim.report.drawing.lines import label_places
from sim.report.drawing.plot import ACROSS, DOWN, Plot, polyline, short
from sim.report.drawing.scales import LogWaits, linear, nice_step, time_ticks
from sim.report.heat import heat, rows_of
from sim.report.movers import Phase, movers, phases
from sim.report.shown import LETTERS, shown
from sim.report.voice import plain
from sim.results import read_run, write_run
from sim.servers_table import servers_table

HEAD_BLOCKS = [job("a", 0, 10_000, 6), job("b", 1000, 10_000, 8), job("c", 2000, 20_000, 2)]
"""fifo: a 0, b 10 s, c 20 s. best-effort: a 0, c 2 s, b 22 s."""


def all_of(run):
    return np.ones(len(run.jobs), dtype=bool)


def test_the_curves_by_hand():
    run = run_of(GOLDEN, "1x8", "fifo")
    at, held = held_devices(run)
    # ends come before starts of the same instant; each entry is one change
    assert list(zip(at.tolist(), held.tolist(), strict=True)) == [
        (0, 8),
        (10_000, 0),
        (10_000, 4),
        (10_000, 5),
        (14_000, 4),
        (30_000, 0),
        (30_000, 8),
        (35_000, 0),
    ]
    at, waiting = queue_length(run)
    assert waiting.max() == 2
    assert waiting[-1] == 0
    _, devices = queue_length(run, devices=True)
    assert devices.max() == 4 + 8 + 1 - 1 - 4 + 9  # d waits while e, which asks for 9, is turned away
    assert devices[-1] == 0


def test_means_of_steps_are_exact():
    at = np.array([0, 10, 30])
    values = np.array([4.0, 1.0, 0.0])
    assert means(at, values, np.array([0.0, 5.0, 15.0, 30.0])).tolist() == [4.0, 2.5, 1.0]
    assert means(at, values, np.array([20.0, 40.0])).tolist() == [0.5]
    assert means(at[:1], values[:1], np.array([0.0, 1.0])).tolist() == [0.0]


def test_the_distribution_of_waits_is_that_of_counting():
    runs = [run_of(HEAD_BLOCKS, "1x8", spec) for spec in ("fifo", "best-effort-fifo")]
    grid = wait_grid(runs, all_of(runs[0]))
    assert (grid[0], grid[-1], len(grid) <= 402) == (0, 21_000, True)
    for run in runs:
        found = waits(run, all_of(run), grid)
        for at, share in zip(grid.tolist(), found.share.tolist(), strict=True):
            assert share == (run.jobs.wait_ms <= at).sum() / 3
    assert waits(runs[0], all_of(runs[0]), grid).half_ms == 9000
    never = run_of([*HEAD_BLOCKS, job("d", 0, 1, 99)], "1x8", "fifo")
    found = waits(never, all_of(never), grid)
    assert (found.share[-1], found.started, found.jobs, found.p95_ms) == (0.75, 3, 4, None)


def mixed(count: int = 60) -> list:
    """Whole devices, parts of one, gangs over servers, and gangs of parts."""
    rng = np.random.default_rng(7)
    found = []
    for number in range(count):
        at, run_ms = int(rng.integers(0, 50_000)), int(rng.integers(1000, 20_000))
        kind = number % 3
        more = {"gpu_milli": int(rng.integers(1, 1000))} if kind == 1 else {"pods": 2} if kind == 2 else {}
        gpus = (int(rng.integers(1, 9)), 1, int(rng.integers(1, 6)) * 2)[kind]
        found.append(job(f"j{number}", at, run_ms, gpus, **more))
    return found


def test_the_map_of_the_fleet_is_that_of_brute_force():
    run = run_of(mixed(), "5x8", "best-effort-fifo:place=spread")
    rows = rows_of(run.servers, run.levels)
    assert (rows.kind, rows.name, rows.devices.tolist()) == ("server", [f"n{i}" for i in range(5)], [8] * 5)
    edges = np.linspace(0, run.manifest["end_ms"], 14)
    found = heat(run, rows, edges)
    line = run.timeline
    held = np.zeros((5, 13))
    for number in np.flatnonzero(line.happened == 1):
        ends = np.flatnonzero((line.job == line.job[number]) & (np.arange(len(line.job)) > number))
        start, end = int(line.at_ms[number]), int(line.at_ms[ends[0]])
        shares = range(int(line.share_start[number]), int(line.share_start[number + 1]))
        whole = sum(int(line.share_devices[share]).bit_count() for share in shares)
        for share in shares:
            part = int(line.share_devices[share]).bit_count() / whole * run.jobs.demand_milli[line.job[number]] / 1000
            for column in range(13):
                inside = min(end, edges[column + 1]) - max(start, edges[column])
                held[line.share_node[share], column] += part * max(inside, 0) / (edges[column + 1] - edges[column])
    assert found == pytest.approx(held / 8)
    total = (found * rows.devices[:, None] * np.diff(edges)).sum() * 1000
    assert total == pytest.approx(run.manifest["held_milli_ms"])


@pytest.mark.parametrize(
    ("fleet", "kind", "count"),
    [
        ("1x8", "server", 1),
        ("48x8", "server", 48),
        ("49x8", "servers", 25),
        ("10000x8", "servers", 48),
        ("demo", "server", 40),
    ],
)
def test_any_fleet_fits(fleet, kind, count):
    table = servers_table(topology_of(load_fleet(fleet).fleet))
    rows = rows_of(table, tuple(load_fleet(fleet).fleet.levels))
    assert (rows.kind, len(rows.name)) == (kind, count)
    assert rows.devices.sum() == table.devices.sum()
    assert np.bincount(rows.of_server, minlength=count).tolist() == rows.servers.tolist()
    assert np.all(np.diff(rows.of_server) >= 0), "in the order of the fleet"


def test_domains_and_models_divide_a_large_fleet():
    table = servers_table(topology_of(load_fleet("demo").fleet))
    levels = tuple(load_fleet("demo").fleet.levels)
    by_domain = rows_of(table, levels, most=20)
    assert by_domain.kind in levels
    assert set(by_domain.name) <= {name for domains in table.domains for name in domains}
    flat = table._replace(domains=[])
    by_model = rows_of(flat, (), most=10)
    assert by_model.kind == "servers"
    assert "" not in by_model.accelerator, "no row holds servers of two models"
    alternating = flat._replace(accelerator=["x", "y"] * 20)
    assert set(rows_of(alternating, (), most=10).accelerator) == {""}


def test_the_servers_are_in_the_directory(tmp_path):
    run = run_of(GOLDEN, "1x8", "fifo")
    write_run(run, tmp_path / "run", {})
    back = read_run(tmp_path / "run").servers
    assert (back.name, back.devices.tolist(), back.accelerator, back.domains) == (["n0"], [8], ["generic"], [])
    (tmp_path / "run" / "servers.parquet").unlink()
    assert read_run(tmp_path / "run").servers is None
    assert servers_table(servers(2)).devices.tolist() == [8, 8]


def test_the_jobs_that_win_and_lose_most_by_hand():
    base, run = (run_of(HEAD_BLOCKS, "1x8", spec) for spec in ("fifo", "best-effort-fifo"))
    found = movers(run, base, all_of(base))
    assert [(each.job_id, each.loses, each.baseline_wait_ms, each.wait_ms) for each in found] == [
        ("b", True, 9000, 21_000),
        ("c", False, 18_000, 0),
    ]
    assert movers(run, base, np.array([True, False, True]))[0].job_id == "c"
    rows = [each.row for each in found]
    assert phases(base, rows) == {
        1: [Phase("waits", 1000, 10_000), Phase("runs", 10_000, 20_000)],
        2: [Phase("waits", 2000, 20_000), Phase("runs", 20_000, 40_000)],
    }


def test_a_preempted_job_waits_again():
    jobs = [job("low", 0, 10_000, 8, priority=0), job("high", 4000, 2000, 8, priority=9)]
    run = run_of(jobs, "1x8", "preempt-priority")
    assert phases(run, [0])[0] == [
        Phase("runs", 0, 4000),
        Phase("waits again", 4000, 6000),
        Phase("runs", 6000, 12_000),
    ]


def test_movers_are_those_of_the_comparison(tmp_path):
    found = full(tmp_path / "out")
    for policy, own in found.paired.policies.items():
        listed = shown(found).movers[policy]
        assert [each.job_id for each in listed if each.loses] == [each["job_id"] for each in own.losers]
        assert [each.job_id for each in listed if not each.loses] == [each["job_id"] for each in own.winners]


def test_causes_add_up_to_the_mean_wait(tmp_path):
    found = full(tmp_path / "out")
    for policy, parts in mean_by_cause(shown(found)).items():
        assert sum(parts.values()) == pytest.approx(found.whole.values[policy]["wait_mean_ms"])


def test_curves_of_all_policies_share_their_intervals():
    found = shown(side_by_side(mixed()))
    for policy, run in found.comparison.runs.items():
        area = (found.over_time[policy].allocated * np.diff(found.edges)).sum() * 1000
        assert area == pytest.approx(run.manifest["held_milli_ms"])
    assert len(found.edges) == 301
    assert not len(time_edges([]))
    assert over_time(found.comparison.runs["fifo"], found.edges).fragmented is not None


# -- drawing -------------------------------------------------------------------------------------------------------


def points(path: str) -> list[tuple[int, int]]:
    """The points of a relative path."""
    found: list[tuple[int, int]] = []
    for letter, numbers in re.findall(r"([Mlhv])([-\d ]+)", path):
        values = [int(each) for each in numbers.split()]
        if letter == "M":
            found.append((values[0], values[1]))
            continue
        dx, dy = (values[0], 0) if letter == "h" else (0, values[0]) if letter == "v" else (values[0], values[1])
        found.append((found[-1][0] + dx, found[-1][1] + dy))
    return found


def test_a_path_goes_through_its_points():
    rng = np.random.default_rng(3)
    x, y = np.sort(rng.random(500)), rng.random(500)
    found = points(polyline(x, y))
    wanted = [(round(a * ACROSS), round((1 - b) * DOWN)) for a, b in zip(x, y, strict=True)]
    # only points that lie on the one before are left out
    assert found == [each for number, each in enumerate(wanted) if number == 0 or each != wanted[number - 1]]
    assert polyline(x[:0], y[:0]) == ""


def test_cells_are_joined_and_cover_what_they_should():
    levels = np.array([[0, 1, 1, 2], [2, 2, 2, 2]])
    plot = Plot(height=10)
    plot.cells(levels, "heat")
    drawn = plot.for_page("k", "what it shows")
    covered = np.zeros_like(levels)
    for level, path in re.findall(r'<path class="heat(\d)" d="([^"]*)"', drawn):
        for column, row, wide in re.findall(r"M(\d+) (\d+)h(\d+)v1h-\d+z", path):
            covered[int(row), int(column) : int(column) + int(wide)] += int(level)
    assert covered.tolist() == levels.tolist()
    assert drawn.count("M") == 3


def test_text_is_escaped_and_names_are_shortened():
    plot = Plot(height=10)
    name = "<b>" + "x" * 50
    plot.text(0.5, 0.25, short(name, 10), whole=name)
    drawn = plot.for_page("k", '"quoted" <b>')
    assert '<text x="50%" y="75%"><title>&lt;b&gt;xxx' in drawn
    assert "<b>" not in drawn
    assert "\u2068&lt;b&gt;xx…xxxx\u2069" in drawn
    assert '<title id="k">&#34;quoted&#34; &lt;b&gt;</title>' in drawn


@pytest.mark.parametrize(
    ("span", "count", "step"), [(10, 5, 2), (1, 4, 0.25), (0.03, 6, 0.005), (7, 7, 1), (300, 3, 100)]
)
def test_round_ticks(span, count, step):
    assert nice_step(span, count) == pytest.approx(step)
    assert len(linear(0, span, count)) <= count + 1


def test_ticks_of_time_and_waits():
    ticks, title = time_ticks(17.2 * 86_400_000, plain())
    assert [tick.text for tick in ticks] == ["0", "5", "10", "15"]
    assert ticks[1].at == pytest.approx(5 / 17.2)
    assert title == "days since the first submission"
    later, title = time_ticks(10 * 60_000, plain("zh"), start_ms=3_600_000)
    assert (next(tick.text for tick in later), title) == ("60", "自首次提交起的分钟数")
    scale = LogWaits(100_000.0)
    assert scale.at(np.array([0.0, 1000.0, 10_000.0, 100_000.0])).tolist() == pytest.approx([0, 0, 0.5, 1])
    assert [tick.text for tick in scale.ticks(plain())] == ["≤ 1 s", "10 s", "1 min"]


def test_labels_of_curves_stand_apart():
    x = np.linspace(0, 1, 50)
    curves = [(x, x), (x, x * 0.9), (x, np.sqrt(x)), (x, np.full(50, 0.4))]
    places = label_places(curves)
    for number, (at, height) in enumerate(places):
        assert height == pytest.approx(np.interp(at, *curves[number]))
        for other in places[:number]:
            assert np.hypot((at - other[0]) * 2, height - other[1]) > 0.1
    assert len(LETTERS) == 26
