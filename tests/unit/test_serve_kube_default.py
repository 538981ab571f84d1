"""kube-default as a second scheduler: it sees what others run, and keeps the rules that depend on other pods."""

import pytest
from kube_builders import node, pod
from schedulers import play, scheduling

AWAY = {
    "affinity": {
        "podAntiAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "db"}}}
            ]
        }
    }
}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("policies.serving.scheduler.REPORT_S", 0.05)
    monkeypatch.setattr("policies.serving.unplaced.FAULT_MS", 10)


def nodes(*names):
    return [node(name, 2, labels={"kubernetes.io/hostname": name}) for name in names]


def test_anti_affinity_to_a_pod_of_another_scheduler_is_kept(tmp_path):
    async def scene(server):
        for item in nodes("a", "b"):
            server.add(item)
        server.add(pod("db", 0, node="a", scheduler="default-scheduler", labels={"app": "db"}))
        async with scheduling(server, tmp_path, "kube-default:ties=first"):
            server.add(pod("web", 1, labels={"app": "web"}, spec=AWAY))
            await server.until(lambda: "web" in server.placements())
        assert server.placements()["web"] == "b"

    play(tmp_path, scene)


def test_what_others_run_takes_its_place(tmp_path):
    async def scene(server):
        for item in nodes("a", "b"):
            server.add(item)
        server.add(pod("theirs", 2, node="a", scheduler="default-scheduler", priority=100))
        async with scheduling(server, tmp_path, "kube-default:ties=first"):
            for number in range(3):
                server.add(pod(f"mine{number}", 1, priority=number))
            await server.until(lambda: len(server.placements()) == 3)
        assert sorted(server.placements().values()) == ["a", "b", "b"]

    play(tmp_path, scene)
