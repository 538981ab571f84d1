"""Nominal quota with borrowing, by hand."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from policies.api import JobView, PodGroup, QueueView
from policies.nodes import NodeTable
from policies.quota.nominal import NominalQuota, headroom
from policies.topology import Node, Topology

FLEET = Topology(
    [Node(name="a0", accelerator="a"), Node(name="b0", accelerator="b"), Node(name="c0", accelerator=None, devices=0)]
)
NODES = NodeTable(FLEET)
PLENTY = 1 << 60


def queue(name, nominal, held=None, *, limit=None, cohort=None) -> QueueView:
    return QueueView(name, nominal, limit, cohort, 1, None, dict(held or {}))


def world(*queues: QueueView):
    return SimpleNamespace(queues={each.name: each for each in queues}, nodes=NODES)


@pytest.mark.parametrize(
    ("queues", "expected"),
    [
        # alone: what is left of its own
        ([queue("q", {"*": 5000}, {"*": 2000})], 3000),
        ([queue("q", {"*": 5000}, {"*": 6000})], -1000),
        # in a cohort: what all leave unused
        ([queue("q", {"*": 5000}, {"*": 4000}, cohort="c"), queue("r", {"*": 3000}, {"*": 1000}, cohort="c")], 3000),
        # a borrower takes from what is unused
        ([queue("q", {"*": 5000}, cohort="c"), queue("r", {"*": 3000}, {"*": 7000}, cohort="c")], 1000),
        # the limit: own 1000 and 500 more
        (
            [
                queue("q", {"*": 5000}, {"*": 4000}, cohort="c", limit={"*": 500}),
                queue("r", {"*": 3000}, cohort="c"),
            ],
            1500,
        ),
        # a limit of 0 is none of the others'
        (
            [queue("q", {"*": 5000}, {"*": 4000}, cohort="c", limit={"*": 0}), queue("r", {"*": 9000}, cohort="c")],
            1000,
        ),
        # another cohort is none of its business
        ([queue("q", {"*": 5000}, cohort="c"), queue("r", {"*": 3000}, cohort="d")], 5000),
    ],
)
def test_headroom(queues, expected):
    assert headroom(queues[0], "*", world(*queues)) == expected


def test_an_accelerator_that_is_not_named_is_not_its_to_use():
    named = queue("q", {"a": 1000})
    assert headroom(named, "b", world(named)) == 0
    assert headroom(named, "*", world(named)) > PLENTY
    only_any = queue("q", {"*": 1000})
    assert headroom(only_any, "a", world(only_any)) > PLENTY


def allowed(job_devices: int, *queues: QueueView, milli: int = 1000) -> str:
    job = JobView("j", 0, 0, FLEET.request((PodGroup(1, job_devices),), device_milli=milli), "q")
    found = NominalQuota().allowed(job, world(*queues))
    return "".join(node.name[0] for number, node in enumerate(FLEET.nodes) if found >> number & 1)


def test_servers_by_what_is_left_of_each_accelerator():
    both = {"a": 2000, "b": 1000}
    assert allowed(1, queue("q", both)) == "abc"
    assert allowed(2, queue("q", both)) == "ac"
    assert allowed(2, queue("q", both, {"a": 1000})) == "c"
    assert allowed(1, queue("q", {"*": 1000, **both}, {"*": 500})) == ""
    assert allowed(1, queue("q", {"*": 1000, **both}, {"*": 500}), milli=500) == "abc"


def test_no_queue_and_no_entitlement_are_no_limit():
    assert allowed(8) == "abc"
    assert allowed(8, queue("q", {})) == "abc"
