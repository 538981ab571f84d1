"""Any fleet survives a fleet file, and no text makes the readers fail in another way than they say."""

from __future__ import annotations

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from sim.fleet.load import fleet_of_text
from sim.fleet.model import Fleet, FleetError, Queue, Server
from sim.fleet.shorthand import parse_shorthand
from sim.fleet.yaml_dump import fleet_to_yaml
from sim.fleet.yaml_file import read_fleet_yaml

LEVELS = ("leaf", "spine", "zone")

hard_words = st.sampled_from(
    ["no", "1e3", "~", "null", "true", "0x1", "012", "12:30", "2024-01-01", "*", "<<", "a: b", "- x", "#"]
)
names = hard_words | st.text(min_size=1, max_size=8).filter(lambda text: text.strip() and text.isprintable())
amounts = st.none() | st.integers(0, 2**53)


@st.composite
def groups(draw, devices):
    """A partition of the devices, or nothing."""
    if devices == 0 or draw(st.booleans()):
        return ()
    marks = draw(st.lists(st.integers(0, 2), min_size=devices, max_size=devices))
    parts = [tuple(device for device in range(devices) if marks[device] == mark) for mark in range(3)]
    return tuple(part for part in parts if part)


@st.composite
def servers(draw, name, levels):
    devices = draw(st.integers(0, 9))
    path = [draw(st.sampled_from(["a", "b"])) for _ in levels]
    return Server(
        name=name,
        pool=draw(names),
        accelerator=draw(st.sampled_from(["generic", "nvidia-t4", "my card", "V100M16"])) if devices else None,
        devices=devices,
        device_memory_mib=draw(st.none() | st.integers(1, 2**53)) if devices else None,
        islands=draw(groups(devices)),
        numa=draw(groups(devices)),
        cpu_milli=draw(amounts),
        memory_mib=draw(amounts),
        max_pods=draw(amounts),
        domains=tuple("/".join(reversed(path[rank:])) for rank in range(len(levels))),
        labels=draw(st.dictionaries(names, st.text(max_size=3).filter(str.isprintable), max_size=2)),
    )


@st.composite
def queues(draw, name, pools):
    keys = draw(st.just(["*"]) | st.lists(names.filter(lambda key: key != "*"), max_size=3, unique=True))
    nominal = {key: draw(st.integers(0, 100)) for key in keys}
    cohort = draw(st.none() | names)
    limits = st.none() | st.fixed_dictionaries({key: st.integers(0, 9) for key in keys})
    return Queue(
        name=name,
        nominal=nominal,
        borrowing_limit=draw(limits) if cohort is not None else None,
        cohort=cohort,
        weight=draw(st.integers(1, 9)),
        pools=draw(st.none() | st.just(pools[:1])),
    )


@st.composite
def fleets(draw):
    levels = LEVELS[: draw(st.integers(0, 3))]
    own = tuple(draw(servers(name, levels)) for name in draw(st.lists(names, min_size=1, max_size=5, unique=True)))
    pools = tuple(dict.fromkeys(server.pool for server in own))
    sharing = tuple(draw(queues(name, pools)) for name in draw(st.lists(names, max_size=3, unique=True)))
    return Fleet(name=draw(names), levels=levels, servers=own, queues=sharing)


@given(fleets())
@settings(max_examples=150, deadline=None)  # because: the first example imports pydantic
def test_any_fleet_survives_a_fleet_file(fleet):
    assert read_fleet_yaml(fleet_to_yaml(fleet), source="s") == fleet


yaml_pieces = st.sampled_from(
    [
        "rehearse_fleet: 1\n",
        "pools:",
        " - ",
        "{",
        "}",
        "[",
        "]",
        "name: a\n",
        "servers: 3",
        ", ",
        "\t",
        "&x ",
        "*x",
        "!t ",
    ]
)
csv_pieces = st.sampled_from(
    [
        "sn,cpu_milli,memory_mib,gpu,model\n",
        "ip,DSW,PSW,ASW\n",
        "machineId,number of GPUs\n",
        "a,1,2,3,T4\n",
        '"',
        "\0",
    ]
)
pieces = yaml_pieces | csv_pieces


@given(st.lists(pieces | st.text(max_size=4), max_size=20).map("".join))
@settings(max_examples=300, deadline=None)  # because: the first example imports pydantic
def test_no_text_makes_a_reader_fail_in_another_way(text):
    with contextlib.suppress(FleetError):
        fleet_of_text(text, source="s")


@given(st.integers(1, 300), st.integers(1, 64))
def test_the_shorthand_has_as_many_devices_as_it_says(count, devices):
    fleet = parse_shorthand(f"{count}x{devices}")
    assert (len(fleet.servers), fleet.devices) == (count, count * devices)
