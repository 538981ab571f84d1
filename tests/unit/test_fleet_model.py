"""Servers, queues and fleets refuse what cannot be, and list all of it."""

from __future__ import annotations

import pickle

import pytest

from sim.fleet.model import MAX_SERVERS, Fleet, FleetError, Problem, Queue, Server


def server(**changes):
    values = {"name": "a", "pool": "p", "accelerator": "generic", "devices": 4} | changes
    return Server(**values)


def problems(make, **changes):
    with pytest.raises(FleetError) as caught:
        make(**changes)
    return [str(problem) for problem in caught.value.problems]


def test_counts_of_a_mixed_fleet():
    fleet = Fleet(
        name="f",
        servers=(
            server(name="a"),
            server(name="b", accelerator="x", devices=2, pool="q"),
            server(name="c", accelerator=None, devices=0),
            server(name="d"),
        ),
    )
    assert fleet.devices == 4 + 2 + 0 + 4
    assert fleet.devices_by_accelerator == {"generic": 8, "x": 2}
    assert fleet.pools == ("p", "q")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": " "}, "name: must be a text that is not blank and prints on one line, got ' '"),
        ({"name": "a\nb"}, "name: must be a text that is not blank and prints on one line, got 'a\\nb'"),
        ({"pool": ""}, "pool: must be a text that is not blank and prints on one line, got ''"),
        ({"devices": 65}, "devices: must be a whole number from 0 to 64, got 65"),
        ({"devices": -1}, "devices: must be a whole number from 0 to 64, got -1"),
        ({"devices": True}, "devices: must be a whole number from 0 to 64, got True"),
        ({"accelerator": None}, "accelerator: a server with 4 devices must name its model"),
        ({"devices": 0}, "accelerator: must be absent on a server without devices, got 'generic'"),
        (
            {"devices": 0, "accelerator": None, "device_memory_mib": 1},
            "device_memory_mib: must be absent on a server without devices",
        ),
        ({"device_memory_mib": 0}, "device_memory_mib: must be a whole number from 1 to 9007199254740992, got 0"),
        ({"cpu_milli": -1}, "cpu_milli: must be a whole number from 0 to 9007199254740992, got -1"),
        ({"memory_mib": 2**53 + 1}, f"memory_mib: must be a whole number from 0 to {2**53}, got {2**53 + 1}"),
        ({"max_pods": 1.5}, "max_pods: must be a whole number from 0 to 9007199254740992, got 1.5"),
        ({"islands": ((0, 1), (2,))}, "islands: must hold every device; missing: 3"),
        ({"islands": ((0, 1), (1, 2, 3))}, "islands[1]: device 1 is also in islands[0]"),
        ({"islands": ((0, 1, 2, 3), ())}, "islands[1]: is empty; a group holds at least one device"),
        ({"numa": ((0, 1, 2, 3, 4),)}, "numa[0]: there is no device 4: devices are 0 to 3"),
        (
            {"devices": 0, "accelerator": None, "numa": ((0,),)},
            "numa[0]: there is no device 0: the server has no devices",
        ),
        ({"domains": ("",)}, "domains[0]: must be a text that is not blank and prints on one line, got ''"),
        ({"labels": {"a": 1}}, "labels: keys and values are text, got 'a': 1"),
    ],
)
def test_a_server_refuses(changes, expected):
    assert problems(server, **changes) == [expected]


def test_all_problems_at_once_and_in_the_text():
    with pytest.raises(FleetError) as caught:
        server(name="", accelerator=None, cpu_milli=-5)
    assert [problem.path for problem in caught.value.problems] == ["name", "accelerator", "cpu_milli"]
    assert str(caught.value).splitlines()[0] == "server '': 3 problems:"
    assert len(str(caught.value).splitlines()) == 4


def queue(**changes):
    return Queue(**({"name": "q", "nominal": {"generic": 4}} | changes))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": ""}, "name: must be a text that is not blank and prints on one line, got ''"),
        ({"weight": 0}, "weight: must be a whole number of at least 1, got 0"),
        ({"cohort": " "}, "cohort: must be a text that is not blank and prints on one line, got ' '"),
        ({"nominal": {"a": -1}}, f"nominal.a: must be a whole number from 0 to {2**53}, got -1"),
        ({"nominal": {"a": None}}, f"nominal.a: must be a whole number from 0 to {2**53}, got None"),
        (
            {"nominal": {"*": 1, "a": 1}},
            "nominal: counts either all accelerators together ('*') or each by name, not both",
        ),
        (
            {"borrowing_limit": {"generic": 1}},
            "borrowing_limit: a queue without a cohort has nobody to borrow from",
        ),
        (
            {"cohort": "c", "borrowing_limit": {"other": 1}},
            "borrowing_limit.other: has no nominal quota, so nothing can be borrowed beyond it; write 0 in nominal",
        ),
        ({"pools": ()}, "pools: an empty list allows nothing; leave it out to allow every pool"),
        ({"pools": ("p", "p")}, "pools[1]: the name 'p' is already that of pools[0]"),
    ],
)
def test_a_queue_refuses(changes, expected):
    assert problems(queue, **changes) == [expected]


def fleet(**changes):
    return Fleet(**({"name": "f", "servers": (server(),)} | changes))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"name": ""}, "name: must be a text that is not blank and prints on one line, got ''"),
        ({"servers": ()}, f"servers: a fleet has 1 to {MAX_SERVERS} servers, got 0"),
        ({"servers": (server(), server())}, "servers[1]: the name 'a' is already that of servers[0]"),
        ({"queues": (queue(), queue())}, "queues[1]: the name 'q' is already that of queues[0]"),
        (
            {"queues": (queue(pools=("pp",)),)},
            "queues[0].pools: there is no pool 'pp'; did you mean 'p'?",
        ),
        ({"levels": ("leaf",)}, "servers[0].domains: a needs one domain for each of ['leaf'], got []"),
        (
            {"levels": ("server",), "servers": (server(domains=("x",)),)},
            "levels[0]: 'server' already has a meaning; give the level another name",
        ),
        (
            {"levels": ("leaf", "leaf"), "servers": (server(domains=("x", "y")),)},
            "levels[1]: the name 'leaf' is already that of levels[0]",
        ),
    ],
)
def test_a_fleet_refuses(changes, expected):
    assert problems(fleet, **changes) == [expected]


def test_a_domain_lies_in_one_wider_domain():
    servers = tuple(
        server(name=name, domains=domains)
        for name, domains in (("a", ("S1", "P1")), ("b", ("S1", "P1")), ("c", ("S1", "P2")), ("d", ("S1", "P2")))
    )
    expected = (
        "servers[2].domains[0]: leaf 'S1' of c lies in spine 'P2', but in 'P1' for an earlier one; "
        "write a path such as P2/S1"
    )
    assert problems(fleet, levels=("leaf", "spine"), servers=servers) == [expected]


def test_a_fleet_and_its_errors_travel_between_processes():
    whole = fleet(queues=(queue(cohort="c", borrowing_limit={"generic": 1}),))
    assert pickle.loads(pickle.dumps(whole)) == whole
    assert hash(pickle.loads(pickle.dumps(whole))) == hash(whole)
    error = FleetError([Problem("a", "b"), Problem("", "c")], source="s")
    assert str(pickle.loads(pickle.dumps(error))) == str(error) == "s: 2 problems:\n  a: b\n  c"


def test_a_problem_seen_from_further_out():
    assert str(Problem("[0]", "r").under("pools")) == "pools[0]: r"
    assert str(Problem("name", "r").under("pools[0]")) == "pools[0].name: r"
    assert str(Problem("", "r").under("pools[0]")) == "pools[0]: r"
