"""The page on importing a cluster: its commands, one after the other, on the sample beside it."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest

from sim.cli import main
from sim.fleet.load import load_fleet
from traces.registry import read_trace

HOW_TO = Path(__file__).resolve().parents[2] / "docs" / "how-to"
EVENTS = Path(__file__).resolve().parents[2] / "traces" / "samples" / "k8s_events.jsonl"


def test_the_commands_of_the_page_run_in_order(tmp_path, monkeypatch, capsys):
    for file in (HOW_TO / "kubernetes-sample").iterdir():
        shutil.copy(file, tmp_path)
    shutil.copy(EVENTS, tmp_path / "events.jsonl")
    monkeypatch.chdir(tmp_path)
    page = (HOW_TO / "import-a-kubernetes-cluster.md").read_text(encoding="utf-8")
    commands = re.findall(r"^\$ rehearse (.*)$", page, re.MULTILINE)
    assert len(commands) == 10
    for command in commands:
        with pytest.raises(SystemExit) as exited:
            main(shlex.split(command))
        assert not exited.value.code, f"{command}\n{capsys.readouterr()}"
    levels = {name: load_fleet(name).fleet.levels for name in ("plain.yaml", "racks.yaml", "leaves.yaml")}
    assert levels == {"plain.yaml": ("zone",), "racks.yaml": ("rack", "block"), "leaves.yaml": ("tier-1", "tier-2")}
    fleet = load_fleet("fleet.yaml").fleet
    assert [(queue.name, dict(queue.nominal)) for queue in fleet.queues] == [
        ("research", {"nvidia-a100-sxm-80gb": 16, "nvidia-t4": 2}),
        ("risk", {"nvidia-a100-sxm-80gb": 16}),
    ]
    shares = {job.job_id: job.gpu_milli for job in read_trace(tmp_path / "jobs.csv").records if job.gpu_count}
    assert shares["research/infer-0"] == 250, "4 GiB of a card of 16, which the nodes of the file tell"
    assert (tmp_path / "first" / "jobs.parquet").exists()
