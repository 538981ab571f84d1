"""`312x8` and `64x8:ascend-910b3`."""

from __future__ import annotations

import pytest

from sim.fleet.model import FleetError
from sim.fleet.shorthand import is_shorthand, parse_shorthand


def test_servers_are_numbered_and_unlimited():
    fleet = parse_shorthand("312x8")
    assert fleet.devices == 312 * 8
    assert [fleet.servers[0].name, fleet.servers[-1].name] == ["n0", "n311"]
    assert fleet.devices_by_accelerator == {"generic": 2496}
    first = fleet.servers[0]
    limits = (first.cpu_milli, first.memory_mib, first.max_pods, first.device_memory_mib)
    assert limits == (None, None, None, None)
    assert (fleet.levels, fleet.queues) == ((), ())


def test_a_flat_pool():
    assert {server.devices for server in parse_shorthand("100x1").servers} == {1}


def test_a_named_model_brings_its_memory():
    server = parse_shorthand("64x8:Ascend 910B3").servers[0]
    assert (server.accelerator, server.device_memory_mib) == ("ascend-910b3", 65536)


@pytest.mark.parametrize("text", ["312", "x8", "312x", "3x4x5", "a3x4", "-1x8", "1.5x8", "३x8", "3x8:"])
def test_what_is_not_shorthand(text):
    assert not is_shorthand(text)
    with pytest.raises(FleetError, match="is not SERVERSxDEVICES"):
        parse_shorthand(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0x8", ["servers: must be 1 to 200000, got 0"]),
        ("200001x1", ["servers: must be 1 to 200000, got 200001"]),
        ("8x0", ["devices: must be at least 1"]),
        (
            "1x100",
            ["devices: a server has at most 64 devices, got 100; for a flat pool of 100 devices write 100x1"],
        ),
        ("99999x9999", ["devices: a server has at most 64 devices, got 9999"]),
        (
            "0x65:t5",
            [
                "servers: must be 1 to 200000, got 0",
                "devices: a server has at most 64 devices, got 65",
                "accelerator: unknown model 't5'; `rehearse fleet accelerators` lists them",
            ],
        ),
    ],
)
def test_refusals_say_all_and_what_to_write_instead(text, expected):
    with pytest.raises(FleetError) as caught:
        parse_shorthand(text)
    assert [str(problem) for problem in caught.value.problems] == expected
