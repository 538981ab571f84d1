"""The openb packing study (Weng et al., USENIX ATC 2023): every bin of its published curves, through the real engine."""

from __future__ import annotations

import csv
import gzip
from typing import NamedTuple

import numpy as np
import pytest
from shared import needs

from policies.catalogue import Parts, make_policy
from policies.placement.fragmentation import PodKind, typical_pods
from policies.topology import Node, Topology
from sim.engine import Engine
from sim.metrics.fragmentation import FillCurve, fill_curve, own_mix
from sim.rules import Rules
from sim.streams import Streams
from traces.job import JobRecord

pytestmark = pytest.mark.reference

MAX_PODS = 1001
SEEDS = (42, 43)
PUBLISHED = {
    "openb-random": "01-Random",
    "dot-product": "02-DotProd",
    "gpu-clustering": "03-GpuClustering",
    "gpu-packing": "04-GpuPacking",
    "openb-best-fit": "05-BestFit",
    "fgd": "06-FGD",
}
DETERMINISTIC = tuple(name for name in PUBLISHED if name != "openb-random")
METRICS = ("gpu_allocated_pct", "gpu_fragmented_pct")


class Experiment(NamedTuple):
    topology: Topology
    pods: list[JobRecord]


def rows(relative):
    with gzip.open(needs(relative), "rt", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def record(row):
    return JobRecord(
        job_id=row["name"],
        submit_ms=0,
        run_ms=0,
        gpu_count=int(row["num_gpu"]),
        gpu_milli=int(row["gpu_milli"]) or 1000,
        pods=1,
        cpu_milli=int(row["cpu_milli"]),
        memory_mib=int(row["memory_mib"]),
        accelerators=tuple(dict.fromkeys(filter(None, row["gpu_spec"].split("|")))),
    )


def server(row):
    return Node(
        name=row["name"],
        accelerator=row["model"],
        devices=int(row["gpu"]),
        cpu_milli=int(row["cpu_milli"]),
        memory_mib=int(row["memory_mib"]),
        max_pods=MAX_PODS,
    )


@pytest.fixture(scope="module")
def original():
    return rows("traces/openb/openb_pod_list_default.csv.gz")


@pytest.fixture(scope="module")
def mix(original):
    return typical_pods(
        PodKind(int(row["cpu_milli"]), int(row["gpu_milli"]), int(row["num_gpu"]), row["gpu_spec"])
        for row in original
    )


@pytest.fixture(scope="module")
def experiments():
    found = {}
    for seed in SEEDS:
        folder = f"reference/fgd_fill/default-{seed}"
        # ties go to the lexicographically smallest name, so servers are numbered in the order of their names
        nodes = sorted(rows(f"{folder}/nodes.csv.gz"), key=lambda row: row["name"])
        found[seed] = Experiment(
            Topology([server(row) for row in nodes]), [record(row) for row in rows(f"{folder}/pods.csv.gz")]
        )
    return found


@pytest.fixture(scope="module")
def expected():
    with needs("reference/fgd_fill/expected.csv").open(encoding="utf-8") as file:
        lines = list(csv.reader(file))
    bins = [int(cell) for cell in lines[0][4:]]
    assert bins == list(range(131))
    return {(line[1], int(line[2]), line[3]): np.array(line[4:], dtype=float) for line in lines[1:]}


def fill(experiment, name, mix, seed) -> FillCurve:
    parts = Parts(generator=Streams(seed).generator, typical_pods=mix)
    policy = make_policy(f"best-effort-fifo:place={name}", parts)
    outcome = Engine(experiment.pods, experiment.topology, policy, rules=Rules(fill=True)).run()
    return fill_curve(outcome.records, outcome.timeline, experiment.topology, mix)


def binned(curve, topology) -> dict[str, np.ndarray]:
    """For each metric the mean, in percent of all devices, of the samples whose arrived load rounds to each percent."""
    capacity = 1000 * topology.device_count
    percent = np.rint(100 * curve.arrived_gpu_milli / capacity).astype(int)
    samples = np.bincount(percent, minlength=131)
    return {
        metric: np.bincount(percent, 100 * values / capacity, minlength=131)[:131] / samples[:131]
        for metric, values in zip(METRICS, (curve.allocated_gpu_milli, curve.fragmented_gpu_milli), strict=True)
    }


def test_the_mix_has_35_kinds(mix):
    assert len(mix) == 35
    assert sum(pod.share for pod in mix) == pytest.approx(1, abs=1e-12)


def test_the_own_mix_of_the_trace_is_the_mix_of_the_study(mix, original, experiments):
    assert own_mix([record(row) for row in original], experiments[42].topology) == mix


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", DETERMINISTIC)
def test_every_bin(name, seed, mix, experiments, expected):
    experiment = experiments[seed]
    found = binned(fill(experiment, name, mix, seed), experiment.topology)
    for metric in METRICS:
        off = np.abs(found[metric] - expected[PUBLISHED[name], seed, metric])
        assert off.max() <= 0.01, f"{metric}: bin {off.argmax()} is off by {off.max():.4f}"


@pytest.mark.parametrize("seed", SEEDS)
def test_random_in_the_mean(seed, mix, experiments, expected):
    experiment = experiments[seed]
    found = binned(fill(experiment, "openb-random", mix, seed), experiment.topology)
    for metric in METRICS:
        assert found[metric][130] == pytest.approx(expected[PUBLISHED["openb-random"], seed, metric][130], abs=1.5)


def test_a_bin_would_show_a_difference(mix, experiments, expected):
    """The comparison is not blind: another rule's curve does not pass for this one's."""
    experiment = experiments[42]
    found = binned(fill(experiment, "openb-best-fit", mix, 42), experiment.topology)
    for metric in METRICS:
        assert np.abs(found[metric] - expected[PUBLISHED["gpu-packing"], 42, metric]).max() > 0.5
