"""The main job on real traces: whole, under several policies, with every job accounted for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from builders import replay
from shared import needs

from policies.api import QueueView
from policies.topology import Node, Topology
from sim.fleet.load import load_fleet
from sim.fleet.table import topology_of
from sim.jobs_table import FINISHED, JobsTable, jobs_table
from sim.world.speed import SpeedModel
from sim.world.tables import locality_factors_ppm
from traces.registry import read_trace
from traces.trace import Trace

pytestmark = pytest.mark.reference


def run(trace: Trace, topology: Topology, spec: str, **rules) -> JobsTable:
    outcome = replay(trace.records, topology, spec, validate=False, **rules)
    table = jobs_table(outcome, topology)
    assert table.held_milli_ms() == outcome.held_milli_ms, "device-milliseconds of the jobs and of the servers differ"
    return table


@pytest.fixture(scope="module")
def philly() -> tuple[Trace, Topology]:
    folder = Path(needs("traces/philly/philly_gpu_jobs_joined.csv.gz")).parent
    trace = read_trace(folder / "philly_gpu_jobs_joined.csv.gz")
    return trace, topology_of(load_fleet(str(folder / "cluster_machine_list")).fleet)


@pytest.mark.parametrize("spec", ["fifo", "best-effort-fifo", "sjf", "easy"])
def test_the_whole_of_philly(philly, spec):
    trace, topology = philly
    assert topology.device_count == 2490
    table = run(trace, topology, spec, oracle=True)
    assert len(table) == 111_549
    assert (table.state == FINISHED).all()
    assert (table.run_ms == table.work_ms).all()
    assert (table.wait_ms >= 0).all()
    order = np.lexsort((np.arange(len(table)), table.submit_ms))
    if spec == "fifo":  # strict: starts are in the order of arrival
        assert (np.diff(table.first_start_ms[order]) >= 0).all()


def test_backfilling_helps_philly_and_delays_no_head(philly):
    """Not a theorem for every job, but with exact estimates EASY must beat the strict order on average."""
    trace, topology = philly
    strict = run(trace, topology, "fifo", oracle=True)
    easy = run(trace, topology, "easy", oracle=True)
    assert easy.wait_ms.mean() < strict.wait_ms.mean()
    assert easy.first_start_ms.max() <= strict.first_start_ms.max() + int(strict.work_ms.max())


def test_the_venus_slice_queue_by_queue():
    """Each queue has servers of its own: alone or side by side, it is the same."""
    trace = read_trace(needs("traces/helios_venus/helios_venus_2vc_sept.csv.gz"))
    sizes = {"vcvGl": 20, "vcvlY": 2}
    nodes = [Node(name=f"{queue}-{i}", pool=queue) for queue, count in sizes.items() for i in range(count)]
    queues = {name: QueueView(name, {}, None, None, 1, (name,), {}) for name in sizes}
    both = replay(trace.records, Topology(nodes), "fifo:per=queue", validate=False, queues=queues)
    table = jobs_table(both, Topology(nodes))
    ends = {record.job_id: int(end) for record, end in zip(trace.records, table.end_ms, strict=True)}
    assert len(trace.records) == 1867
    for queue, count in sizes.items():
        own = [record for record in trace.records if record.queue == queue]
        alone = Topology([Node(name=f"{queue}-{i}") for i in range(count)])
        single = jobs_table(replay(own, alone, "fifo", validate=False), alone)
        assert [int(end) for end in single.end_ms] == [ends[record.job_id] for record in own]


@pytest.fixture(scope="module")
def lingjun() -> tuple[Trace, Topology]:
    fleet = load_fleet(str(needs("traces/lingjun/topo.csv"))).fleet
    return read_trace(needs("traces/lingjun/rfold_crux.csv.gz")), topology_of(fleet)


def locality(topology: Topology) -> SpeedModel:
    levels = len(topology.levels)
    return SpeedModel(topology, locality_ppm=lambda family: locality_factors_ppm(family, levels))


def test_on_lingjun_consolidate_beats_spread_where_locality_counts(lingjun):
    trace, topology = lingjun
    assert len(topology) == 847
    together = run(trace, topology, "fifo:place=consolidate", speed=locality(topology))
    apart = run(trace, topology, "fifo:place=spread", speed=locality(topology))
    assert together.completion_ms.mean() < apart.completion_ms.mean()
    assert (together.span <= apart.span).all(), "no gang is wider when consolidated: the fleet is never full"
    assert (together.nodes <= apart.nodes).all()


def test_on_lingjun_placement_changes_no_run_time_where_locality_is_off(lingjun):
    trace, topology = lingjun
    together = run(trace, topology, "fifo:place=consolidate")
    apart = run(trace, topology, "fifo:place=spread")
    assert (together.run_ms == apart.run_ms).all()
    assert (together.run_ms == together.work_ms).all()
