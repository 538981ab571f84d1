"""Small journals for tests that only need one to be there."""

from __future__ import annotations

from pathlib import Path

from kube_objects import added, node_object, pod_object

from policies.serving.journal import Journal


def write_small_journal(folder: Path) -> None:
    """An extender is asked about one pod that fits on one node: every policy agrees."""
    journal = Journal.open(folder, driver="extender", policy="best-effort-fifo:place=best-fit")
    pod = pod_object("p0")
    journal.event(1000, added(node_object("n0")))
    journal.event(1001, added(pod))
    reply = {"Nodes": None, "NodeNames": ["n0"], "FailedNodes": {}, "FailedAndUnresolvableNodes": {}, "Error": ""}
    journal.decision(1002, {"verb": "filter", "request": {"Pod": pod, "NodeNames": ["n0"]}, "reply": reply})
    journal.close()
