"""Published node lists give the fleets that their papers count, and our tables agree with the facts they cite."""

from __future__ import annotations

import json
import statistics
from collections import Counter

import pytest
from shared import needs

from sim.fleet.catalogue import catalogue
from sim.fleet.load import load_fleet
from sim.world.tables import locality_table, speed_table

pytestmark = pytest.mark.reference


def counts(fleet):
    return Counter((server.accelerator, server.devices) for server in fleet.servers)


def test_openb():
    fleet = load_fleet(str(needs("traces/openb/openb_node_list_all_node.csv"))).fleet
    with_devices = load_fleet(str(needs("traces/openb/openb_node_list_gpu_node.csv"))).fleet
    assert (len(fleet.servers), fleet.devices) == (1523, 6212)
    assert (len(with_devices.servers), with_devices.devices) == (1213, 6212)
    assert counts(fleet) == {
        ("G2", 8): 549,
        ("T4", 2): 387,
        ("T4", 4): 17,
        ("P100", 2): 131,
        ("P100", 1): 3,
        ("V100M16", 4): 28,
        ("V100M16", 8): 8,
        ("V100M16", 1): 19,
        ("V100M32", 8): 21,
        ("V100M32", 4): 9,
        ("G3", 8): 39,
        ("A10", 1): 2,
        (None, 0): 310,
    }
    assert fleet.servers[0].name == "openb-node-0000"
    assert all(server.max_pods == 1001 for server in fleet.servers)
    assert all(catalogue().find(model) for model in fleet.devices_by_accelerator)


def test_lingjun():
    fleet = load_fleet(str(needs("traces/lingjun/topo.csv"))).fleet
    assert (len(fleet.servers), fleet.devices) == (847, 847 * 8)
    widths = [len({server.domains[rank] for server in fleet.servers}) for rank in range(3)]
    assert fleet.levels == ("asw", "psw", "dsw")
    assert widths == [119, 3, 1], "48 names of ASW, but 119 pairs with their PSW"


def test_philly():
    fleet = load_fleet(str(needs("traces/philly/cluster_machine_list"))).fleet
    assert counts(fleet) == {("generic", 2): 321, ("generic", 8): 231}
    assert fleet.devices == 2490
    assert {server.device_memory_mib for server in fleet.servers} == {12 * 1024, 24 * 1024}
    revised = load_fleet(str(needs("traces/philly/revised_machine_list.csv"))).fleet
    assert len(revised.servers) == 552


def test_every_card_of_the_facts_is_in_the_catalogue():
    facts = json.loads(needs("facts/accelerators.json").read_text(encoding="utf-8"))["accelerators"]
    assert len(facts) == 40
    for fact in facts:
        row = catalogue().find(fact["name"])
        assert row is not None, fact["name"]
        assert row.confidence == fact["confidence"]
        assert row.cards_per_server == fact["cards_per_node"]
        if isinstance(fact["memory_GB"], int):
            assert row.memory_mib == fact["memory_GB"] * 1024
        if isinstance(fact["fp16_bf16_dense_TFLOPS"], int | float):
            assert row.bf16_gflops == fact["fp16_bf16_dense_TFLOPS"] * 1000
        if fact["mem_bw_GBps"] is not None:
            assert row.memory_bandwidth_bytes_per_s == fact["mem_bw_GBps"] * 10**9


@pytest.fixture(scope="module")
def throughputs():
    return json.loads(needs("facts/throughputs.json").read_text(encoding="utf-8"))


def raw_ppm(family, accelerator):
    return speed_table().family(family).speeds[accelerator].raw_ppm


def ppm(ratio):
    return round(ratio * 1_000_000)


def test_gavel_speeds_are_the_medians_of_the_facts(throughputs):
    ratios: dict[tuple[str, str], list[float]] = {}
    for entry in throughputs["gavel_isolated"]["entries"]:
        if entry["gpus"] == 1:
            for card in ("k80", "p100"):
                ratio = entry[f"{card}_consolidated"] / entry["v100_consolidated"]
                ratios.setdefault((entry["model"].split(" (")[0], card), []).append(ratio)
    cards = {"k80": "nvidia-k80", "p100": "nvidia-p100-sxm2"}
    families = {"ResNet-18", "ResNet-50", "Transformer", "LM", "Recommendation", "CycleGAN", "A3C"}
    assert {model for model, _ in ratios} == families
    for (model, card), values in ratios.items():
        assert raw_ppm(model, cards[card]) == ppm(statistics.median(values)), model


def test_sia_speeds_are_the_ratios_of_the_facts(throughputs):
    speed: dict[tuple[str, str], float] = {}
    for entry in throughputs["sia_profiles"]["entries"]:
        if "1" in entry["best_by_placement"]:
            speed[entry["app"], entry["key"]] = entry["best_by_placement"]["1"]["samples_per_s"]
    for app in ("bert", "deepspeech2", "yolov3"):
        assert raw_ppm(app, "nvidia-t4") == ppm(speed[app, "aws"] / speed[app, "dgx-ext"])
        assert raw_ppm(app, "nvidia-v100-sxm2-16gb") == ppm(speed[app, "azure"] / speed[app, "dgx-ext"])
    for app in ("imagenet", "cifar10"):
        assert raw_ppm(app, "nvidia-t4") == ppm(speed[app, "aws"] / speed[app, "azure"])
        assert raw_ppm(app, "nvidia-a100-sxm-80gb") == ppm(speed[app, "dgx-ext"] / speed[app, "azure"])


def test_locality_of_the_talkative_class_is_the_medians_of_the_facts(throughputs):
    by_gpus: dict[int, list[float]] = {}
    for entry in throughputs["gavel_isolated"]["entries"]:
        near, far = entry["v100_consolidated"], entry["v100_unconsolidated"]
        if entry["gpus"] > 1 and near and far:
            by_gpus.setdefault(entry["gpus"], []).append(far / near)
    factors = locality_table().find("communication-bound").factors
    expected = [ppm(statistics.median(by_gpus[gpus])) for gpus in (2, 4, 8)]
    assert [figure.raw_ppm for figure in factors[1:]] == expected
