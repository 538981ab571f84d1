"""Small journals for tests that only need one to be there."""

from __future__ import annotations

from pathlib import Path

from kube_objects import added, node_object, pod_object

from policies.serving.journal import Journal
from sim.replay.journal_reading import Entry, open_journal


def opened(folder, **more) -> Journal:
    return Journal.open(folder, **{"driver": "extender", "policy": "fifo", **more})


def read(path) -> tuple[list[Entry | None], list[str]]:
    """All entries of all processes, and the problems in words."""
    found = open_journal(path)
    entries = [entry for process in found.processes for file in process.files for entry in file.entries()]
    problems = [*found.problems, *(p for process in found.processes for file in process.files for p in file.problems)]
    return entries, [str(problem) for problem in problems]


def write_some(journal: Journal, count: int = 3) -> None:
    journal.event(1000, added(node_object("n0")))
    for number in range(count):
        journal.event(1001 + number, added(pod_object(f"p{number}")))
        journal.decision(1001 + number, {"verb": "bind", "request": {"PodUID": f"uid-p{number}", "Node": "n0"}})


def write_small_journal(folder: Path) -> None:
    """An extender is asked about one pod that fits on one node: every policy agrees."""
    journal = Journal.open(folder, driver="extender", policy="best-effort-fifo:place=best-fit")
    pod = pod_object("p0")
    journal.event(1000, added(node_object("n0")))
    journal.event(1001, added(pod))
    reply = {"Nodes": None, "NodeNames": ["n0"], "FailedNodes": {}, "FailedAndUnresolvableNodes": {}, "Error": ""}
    journal.decision(1002, {"verb": "filter", "request": {"Pod": pod, "NodeNames": ["n0"]}, "reply": reply})
    journal.close()
