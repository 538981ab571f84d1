"""Which models of the world are on, whose tables, and which servers are slow: from the scenario to the end of a job."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from builders import job, replay

from policies.topology import Node, Topology
from sim.experiment.scenario import make_scenario
from sim.fleet.problems import FleetError
from sim.run import InputError
from sim.world import tables
from sim.world.choice import Slow, World

BASE = {"trace": "t.csv", "cluster": "1x1"}
FLEET = Topology(
    [Node(name=f"n{i}", devices=2, pool="old" if i else "new", domains=(f"leaf{i}",)) for i in range(2)], ("leaf",)
)


def ends(world: World, *jobs) -> list[int]:
    outcome = replay(jobs, FLEET, "fifo", speed=world.speed_model(FLEET))
    return [int(at) for at in outcome.timeline.at_ms[outcome.timeline.happened == 2]]


def test_a_server_is_slow_for_a_while():
    """Half speed until 20 ms: 10 ms of work done, 90 left at full speed."""
    world = World(
        speed=False, locality=False, slow=(Slow(at_ms=0, until_ms=20, factor_ppm=500_000, servers=("n0",)),)
    )
    assert ends(world, job("a", 0, 100, 2)) == [110]


@pytest.mark.parametrize("where", [{"pool": "old"}, {"domain": "leaf1"}, {"servers": ("n1",)}])
def test_a_pool_and_a_domain_name_their_servers(where):
    """a is on n0 and not slow; b is on n1 at a quarter of its speed from 10 ms on: 10 + 90 x 4."""
    world = World(speed=False, locality=False, slow=(Slow(at_ms=10, factor_ppm=250_000, **where),))
    assert ends(world, job("a", 0, 100, 2), job("b", 0, 100, 2)) == [100, 370]


def test_all_that_is_wrong_is_said_at_its_path():
    slow = Slow(at_ms=5, until_ms=5, factor_ppm=1, servers=("n7",), pool="odl", domain="leaf")
    with pytest.raises(FleetError) as caught:
        World(slow=(slow,)).speed_model(FLEET)
    assert [problem.path for problem in caught.value.problems] == [
        "slow[0].until",
        "slow[0].servers[0]",
        "slow[0].pool",
        "slow[0].domain",
    ]
    assert "did you mean 'old'?" in str(caught.value)
    with pytest.raises(FleetError, match="must name servers, a pool or a domain"):
        World(slow=(Slow(at_ms=5, factor_ppm=1),)).speed_model(FLEET)


def test_a_table_of_the_user_takes_the_place_of_the_built_in_one(tmp_path):
    """A gang over both servers is wider than the leaf: the last factor of its class, here a half."""
    text = (Path(tables.__file__).parent / "locality.toml").read_text(encoding="utf-8")
    own = tmp_path / "own.toml"
    own.write_text(text.replace("899_255", "500_000"), encoding="utf-8")
    gang = job("g", 0, 100, 4, pods=2)
    factor = tables.locality_factors_ppm(None, 1)[2]
    assert ends(World(speed=False, locality=True), gang) == [-(-100 * 1_000_000 // factor)]
    world = World(speed=False, locality=True, locality_table=str(own))
    assert ends(world, gang) == [200]
    data = json.loads(json.dumps(world.as_data()))
    assert data["speed_table"] == "built-in"
    assert len(data["locality_table"]["sha256"]) == 64


def test_a_table_that_is_wrong_is_refused(tmp_path):
    own = tmp_path / "own.toml"
    own.write_text("rehearse_locality = 1\n", encoding="utf-8")
    with pytest.raises(FleetError):
        World(locality=True, locality_table=str(own)).speed_model(FLEET)
    own.write_bytes(b"\xff\xfe")
    with pytest.raises(FleetError, match="UTF-8"):
        World(locality=True, locality_table=str(own)).speed_model(FLEET)
    with pytest.raises(OSError, match="absent"):
        World(locality=True, locality_table=str(tmp_path / "absent.toml")).speed_model(FLEET)


def test_the_scenario_has_them():
    data = {**BASE, "slow": [{"at": "1h", "until": "90min", "factor": 0.25, "pool": "old"}], "speed": "on"}
    world = make_scenario(data, source="s.yaml").to_world()
    assert world == World(
        speed=True, slow=(Slow(at_ms=3_600_000, until_ms=5_400_000, factor_ppm=250_000, pool="old"),)
    )


@pytest.mark.parametrize(
    ("slow", "says"),
    [
        ({"at": "0", "factor": 0}, "slow\\[0\\].factor"),
        ({"at": "0"}, "slow\\[0\\].factor: is required"),
        ({"at": "5", "factor": 0.5}, "slow\\[0\\].at: must be a length of time"),
        ({"at": "0", "factor": 0.5, "pol": "x"}, "slow\\[0\\].pol: unknown key; did you mean 'pool'"),
    ],
)
def test_a_wrong_scenario_is_refused_at_its_path(slow, says):
    with pytest.raises(InputError, match=says):
        make_scenario({**BASE, "slow": [slow]}, source="s.yaml")
