"""The causes of waiting on real traces: they add up for every job, and say what the policy's own words say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from builders import policy
from shared import needs

from policies.api import QueueView
from policies.quota.nominal import NominalQuota
from policies.topology import Node, Topology
from sim.bounds.bounds import bounds_of
from sim.causes.cause import CAUSES
from sim.causes.table import causes_of
from sim.engine import Engine
from sim.fleet.load import load_fleet
from sim.fleet.table import topology_of
from sim.jobs_table import jobs_table
from sim.rules import Rules
from traces.registry import read_trace
from traces.transform import window

pytestmark = pytest.mark.reference

DAY_MS = 86_400_000


def waits(records, topology, spec, queues=None, **rules) -> dict[str, int]:
    """Total milliseconds by cause. Each job's add up to its wait, and after preemptions to the rest of its time off devices."""
    live = {name: queue._replace(held_milli={}) for name, queue in (queues or {}).items()}
    built = Rules(oracle=True, **rules)
    outcome = Engine(records, topology, policy(spec), rules=built, queues=live).run()
    admission = NominalQuota() if "quota=keep" in spec else None
    found = causes_of(
        records, outcome.timeline, topology, rules=built, end_ms=outcome.end_ms, queues=queues, admission=admission
    ).columns
    table = jobs_table(outcome, topology)
    assert table.started.all()
    assert np.array_equal(found.first.sum(axis=0), table.wait_ms)
    assert np.array_equal(found.again.sum(axis=0), table.completion_ms - table.wait_ms - table.held_ms)
    assert (found.first >= 0).all()
    bounds = bounds_of(records, topology, rules=built, queues=queues)
    assert bounds.sum_completion_ms <= table.completion_ms.sum()
    assert bounds.makespan.value_ms <= table.end_ms.max() - table.submit_ms.min()
    return dict(zip(CAUSES, found.first.sum(axis=1).tolist(), strict=True))


@pytest.fixture(scope="module")
def philly_trace():
    folder = Path(needs("traces/philly/philly_gpu_jobs_joined.csv.gz")).parent
    trace = read_trace(folder / "philly_gpu_jobs_joined.csv.gz")
    return trace.records, topology_of(load_fleet(str(folder / "cluster_machine_list")).fleet)


@pytest.fixture(scope="module")
def philly(philly_trace):
    """Four days on a third of the servers."""
    records, topology = philly_trace
    third = Topology([node for i, node in enumerate(topology.nodes) if i % 3 == 0], topology.levels)
    return window(records, 64 * DAY_MS, 68 * DAY_MS), third


@pytest.mark.parametrize("spec", ["fifo", "best-effort-fifo", "sjf", "easy"])
def test_philly(philly, spec):
    records, topology = philly
    assert len(records) > 5000
    found = waits(records, topology, spec)
    assert found["cycle"] == found["quota"] == 0
    assert found["capacity"] + found["fragmentation"] > 0
    if spec == "best-effort-fifo":
        assert found["order"] == 0, "it leaves nobody waiting who fits"
    else:
        assert found["order"] > 0


def test_philly_on_a_clock(philly_trace):
    """Three quiet days on the whole fleet, passes each ten minutes: everybody waits for the next one, and for nothing else."""
    records, topology = philly_trace
    quiet = window(records, 82 * DAY_MS, 85 * DAY_MS)
    assert len(quiet) > 800
    found = waits(quiet, topology, "best-effort-fifo", cycle_ms=600_000)
    assert found == dict.fromkeys(CAUSES, 0) | {"cycle": sum(-record.submit_ms % 600_000 for record in quiet)}


def test_venus_with_quotas():
    """Both queues may hold ten servers' worth of twenty-two; the small one never needs them, the large one does."""
    records = read_trace(needs("traces/helios_venus/helios_venus_2vc_sept.csv.gz")).records
    topology = Topology([Node(name=f"n{i}") for i in range(22)])
    largest = max(record.gpu_count for record in records) * 1000
    nominal = {"*": max(80_000, largest)}
    queues = {name: QueueView(name, nominal, None, None, 1, None, {}) for name in ("vcvGl", "vcvlY")}
    free = waits(records, topology, "best-effort-fifo", queues)
    kept = waits(records, topology, "best-effort-fifo:quota=keep", queues)
    assert free["quota"] == 0
    assert kept["quota"] > 0
    assert kept["order"] == free["order"] == 0
    waits(records, topology, "srtf-oracle", queues)


def test_openb_with_shared_devices_and_cpu():
    """A quarter of its servers, and its pods submitted five hundred times as densely, so that they wait."""
    nodes = load_fleet(str(needs("traces/openb/openb_node_list_gpu_node.csv"))).fleet
    topology = Topology([node for i, node in enumerate(topology_of(nodes).nodes) if i % 4 == 0])
    trace = read_trace(needs("traces/openb/openb_pod_list_default.csv.gz"))
    records = [replace(record, submit_ms=record.submit_ms // 500) for record in trace.records]
    found = waits(records, topology, "best-effort-fifo")
    assert found["fragmentation"] > 0
    assert found["order"] == 0
    assert waits(records, topology, "fifo")["order"] > 0
