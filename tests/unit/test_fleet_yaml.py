"""The fleet file: what each key does, and every refusal at its path."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sim.fleet.model import FleetError
from sim.fleet.yaml_dump import fleet_to_yaml
from sim.fleet.yaml_file import read_fleet_yaml
from sim.fleet.yaml_schema import FleetKeys, PoolKeys, QueueKeys
from sim.fleet.yaml_text import MAX_CHARACTERS

SMALL = """\
rehearse_fleet: 1
levels: [leaf, spine]
pools:
  - name: a
    servers: 4
    accelerator: T4
    devices: 4
    place: {leaf: {every: 2}, spine: s}
"""


def read(text):
    return read_fleet_yaml(text, source="file")


def problems(text):
    with pytest.raises(FleetError) as caught:
        read(text)
    return [str(problem) for problem in caught.value.problems]


def changed(old, new):
    assert old in SMALL
    return SMALL.replace(old, new)


def test_a_small_file():
    fleet = read(SMALL)
    assert fleet.name == "file"
    assert [server.name for server in fleet.servers] == ["a-0", "a-1", "a-2", "a-3"]
    assert [server.domains for server in fleet.servers] == [
        ("s/a-leaf0", "s"),
        ("s/a-leaf0", "s"),
        ("s/a-leaf1", "s"),
        ("s/a-leaf1", "s"),
    ]
    first = fleet.servers[0]
    assert (first.accelerator, first.device_memory_mib) == ("nvidia-t4", 16384), "alias and memory of the catalogue"
    assert (first.cpu_milli, first.memory_mib, first.max_pods, first.islands, first.numa) == (
        None,
        None,
        None,
        (),
        (),
    )


def test_every_key():
    fleet = read(
        """
rehearse_fleet: 1
name: whole
levels: [leaf]
pools:
  - name: a
    servers: [x, y]
    accelerator: A100 SXM 80GB
    devices: 4
    device_memory_mib: 40_960
    islands: {every: 3}
    numa: [[0, 2], [1, 3]]
    cpu_milli: 96_000
    memory_mib: 1024
    max_pods: 110
    labels: {zone: no, since: 2024-01-01}
    place: {leaf: [l1, l2]}
  - {name: cpu, servers: 1, prefix: "", devices: 0, place: {leaf: {every: 1, named: l, first: 7}}}
queues:
  - name: q
    nominal: {A100: 3}
    borrowing_limit: {nvidia-a100-sxm-80gb: 1}
    cohort: c
    weight: 5
    pools: [a]
  - {name: r, nominal: {"*": 0}}
"""
    )
    x, y, cpu = fleet.servers
    assert (x.device_memory_mib, x.islands, x.numa) == (40960, ((0, 1, 2), (3,)), ((0, 2), (1, 3)))
    assert (x.cpu_milli, x.memory_mib, x.max_pods) == (96000, 1024, 110)
    assert x.labels == {"zone": "no", "since": "2024-01-01"}, "as in YAML 1.2 both are text"
    assert [x.domains, y.domains, cpu.domains] == [("l1",), ("l2",), ("l7",)]
    assert (cpu.name, cpu.accelerator, cpu.devices) == ("0", None, 0)
    q, r = fleet.queues
    assert q.nominal == {"nvidia-a100-sxm-80gb": 3}
    assert q.borrowing_limit == {"nvidia-a100-sxm-80gb": 1}
    assert (q.cohort, q.weight, q.pools) == ("c", 5, ("a",))
    assert (r.nominal, r.borrowing_limit, r.cohort, r.weight, r.pools) == ({"*": 0}, None, None, 1, None)


def test_a_name_that_repeats_under_two_parents_is_two_domains():
    fleet = read(
        """
rehearse_fleet: 1
levels: [leaf, spine]
pools:
  - {name: a, servers: 2, devices: 1, accelerator: generic, place: {leaf: l, spine: [s1, s2]}}
"""
    )
    assert [server.domains for server in fleet.servers] == [("s1/l", "s1"), ("s2/l", "s2")]


def test_exact_names_are_taken_as_written():
    text = changed("levels:", "names: exact\nlevels:").replace(
        "{leaf: {every: 2}, spine: s}", "{leaf: s/l, spine: s}"
    )
    server = read(text).servers[0]
    assert (server.accelerator, server.device_memory_mib, server.domains) == ("T4", None, ("s/l", "s"))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("rehearse_fleet: 1", "rehearse_fleet: 2", ["rehearse_fleet: must be 1, got 2"]),
        ("rehearse_fleet: 1\n", "", ["rehearse_fleet: is required"]),
        ("levels: [leaf, spine]", "levels: leaf", ["levels: must be a list, got 'leaf'"]),
        ("levels:", "levles:", ["levles: unknown key; did you mean 'levels'?"]),
        ("levels: [leaf, spine]", "levels: [spine]", ["pools[0].place.leaf: unknown level"]),
        ("name: a", "name: 12", ["pools[0].name: must be text, got 12; put it in quotes"]),
        ("name: a", "name: true", ["pools[0].name: must be text, got true; put it in quotes"]),
        ("name: a", "name:", ["pools[0].name: must be text, got nothing"]),
        ("servers: 4", "servers: 0", ["pools[0].servers: must be at least 1, got 0"]),
        ("servers: 4", "servers: 1e3", ["pools[0].servers: must be a count, or a list of names, got 1000.0"]),
        ("servers: 4", "servers: .nan", ["pools[0].servers: must be a count, or a list of names, got nan"]),
        ("servers: 4", "servers: true", ["pools[0].servers: must be a count, or a list of names, got true"]),
        ("servers: 4", "servers: 9999999", ["pools[0].servers: must be at most 200000, got 9999999"]),
        ("servers: 4", "servers: []", ["pools[0].servers: must not be empty"]),
        ("servers: 4", "servers: [a, 1, b, c]", ["pools[0].servers[1]: must be text, got 1; put it in quotes"]),
        (
            "servers: 4",
            'servers: [a, " ", b, c]',
            ["pools[0].servers: must be a text that is not blank and prints on one line, got ' '"],
        ),
        (
            "servers: 4",
            "servers: [x, y, x, z]",
            ["pools[0].servers[2]: the name 'x' is already that of pools[0].servers[0]"],
        ),
        ("devices: 4", "devices: 65", ["pools[0].devices: must be at most 64, got 65"]),
        ("devices: 4", "devices: 4.0", ["pools[0].devices: must be a whole number in digits, got 4.0"]),
        ("devices: 4", "devices: '4'", ["pools[0].devices: must be a whole number in digits, got '4'"]),
        ("devices: 4", "devices: 010", ["pools[0].devices: must be a whole number in digits, got '010'"]),
        ("devices: 4", "devices: yes", ["pools[0].devices: must be a whole number in digits, got 'yes'"]),
        ("    devices: 4\n", "", ["pools[0].devices: is required"]),
        ("    accelerator: T4\n", "", ["pools[0].accelerator: a server with 4 devices must name its model"]),
        ("T4", "nvidia-t5", ["pools[0].accelerator: unknown model 'nvidia-t5'; did you mean 'nvidia-t4'?"]),
        ("accelerator", "acelerator", ["pools[0].acelerator: unknown key; did you mean 'accelerator'?"]),
        (
            "devices: 4",
            "devices: 4\n    islands: [[0, 1], [1, 9]]",
            [
                "pools[0].islands[1]: device 1 is also in islands[0]",
                "pools[0].islands[1]: there is no device 9: devices are 0 to 3",
                "pools[0].islands: must hold every device; missing: 2, 3",
            ],
        ),
        (
            "devices: 4",
            "devices: 4\n    islands: 2",
            ["pools[0].islands: must be a list of lists of device numbers, or {every: 4}, got 2"],
        ),
        (
            "devices: 4",
            "devices: 4\n    numa: {evry: 2}",
            ["pools[0].numa.every: is required", "pools[0].numa.evry: unknown key; did you mean 'every'?"],
        ),
        (
            "devices: 4",
            "devices: 4\n    labels: {a: 1}",
            ["pools[0].labels.a: must be text, or a list with one text for each server, got 1; put it in quotes"],
        ),
        (
            "devices: 4",
            "devices: 4\n    labels: x",
            ["pools[0].labels: must be a mapping of keys to values, got 'x'"],
        ),
        ("devices: 4", "devices: 4\n    max_pods: -1", ["pools[0].max_pods: must be at least 0, got -1"]),
        ("{every: 2}", "{every: 0}", ["pools[0].place.leaf.every: must be at least 1, got 0"]),
        ("{every: 2}", "{every: 2, nmed: x}", ["pools[0].place.leaf.nmed: unknown key; did you mean 'named'?"]),
        (
            "{every: 2}",
            "3",
            ["pools[0].place.leaf: must be a name, {every: 16}, or a list with one name for each server, got 3"],
        ),
        ("{every: 2}", "[a, b]", ["pools[0].place.leaf: names 2 domains for 4 servers"]),
        (
            "leaf: {every: 2}, ",
            "",
            ["pools[0].place.leaf: is not placed: write a name, {every: 16}, or one name for each server"],
        ),
        ("spine: s}", "spine: s, spin: t}", ["pools[0].place.spin: unknown level; did you mean 'spine'?"]),
        (
            "spine: s}",
            "spine: {every: 3}}",
            ["pools[0].place.leaf.every: a spine of 3 servers cannot be cut into leafs of 2"],
        ),
        (
            "spine: s}",
            'spine: " "}',
            ["pools[0].place.spine: must be a text that is not blank and prints on one line, got ' '"],
        ),
    ],
)
def test_a_pool_refuses(old, new, expected):
    assert problems(changed(old, new)) == expected


QUEUE = SMALL + "queues:\n  - "


@pytest.mark.parametrize(
    ("queue", "expected"),
    [
        ("{name: q}", ["queues[0].nominal: is required"]),
        ("{name: q, nominal: {T4: -1}}", ["queues[0].nominal.T4: must be at least 0, got -1"]),
        ("{name: q, nominal: {T4: .inf}}", ["queues[0].nominal.T4: must be a whole number in digits, got inf"]),
        ("{name: q, nominal: {}, wieght: 1}", ["queues[0].wieght: unknown key; did you mean 'weight'?"]),
        ("{name: q, nominal: {}, weight: 0}", ["queues[0].weight: must be at least 1, got 0"]),
        ("{name: q, nominal: {A100: 1}}", ["queues[0].nominal.A100: no pool has the accelerator 'A100'"]),
        (
            "{name: q, nominal: {nvidia-t5: 1}}",
            ["queues[0].nominal.nvidia-t5: no pool has the accelerator 'nvidia-t5'; did you mean 'nvidia-t4'?"],
        ),
        (
            "{name: q, nominal: {T4: 1, nvidia-t4: 1}}",
            ["queues[0].nominal.nvidia-t4: is nvidia-t4, which is named already"],
        ),
        (
            "{name: q, nominal: {T4: 1}, borrowing_limit: {T4: 1}}",
            ["queues[0].borrowing_limit: a queue without a cohort has nobody to borrow from"],
        ),
        ("{name: q, nominal: {}, pools: [b]}", ["queues[0].pools: there is no pool 'b'"]),
        (
            "{name: q, nominal: {}}\n  - {name: q, nominal: {}}",
            ["queues[1]: the name 'q' is already that of queues[0]"],
        ),
    ],
)
def test_a_queue_refuses(queue, expected):
    assert problems(QUEUE + queue) == expected


ANCHORS = "line 1, column 4: anchors (&) and aliases (*) are not read; write a text that begins with * or & in quotes"
NUL = (
    'is not YAML: unacceptable character #x0000: special characters are not allowed in "<unicode string>", position 3'
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["must be a mapping that begins with `rehearse_fleet: 1`, but holds nothing"]),
        ("- a", ["must be a mapping that begins with `rehearse_fleet: 1`, but holds a list"]),
        ("word", ["must be a mapping that begins with `rehearse_fleet: 1`, but holds a single value"]),
        (
            "a: 1\n\tb: 2",
            ["line 2, column 1: found character '\\t' that cannot start any token (indent with blanks)"],
        ),
        (
            "a: &x [1]\nb: [*x, *x]",
            [ANCHORS],
        ),
        ("a: !!python/object:os.system x", ["line 1, column 4: tags (!) are not read"]),
        (
            "a: 1\na: 2\nb: {c: 1, c: 2}",
            ["a: appears twice, in line 1 and in line 2", "b.c: appears twice, in line 3 and in line 3"],
        ),
        ("? [a]\n: 1", ["line 1: a key must be text"]),
        ("a: [" + "[" * 3000, ["is nested too deeply"]),
        ("a: 'x", ["line 1, column 6: found unexpected end of stream"]),
        ("a: 1\n---\nb: 1", ["line 2, column 1: but found another document"]),
        ("a: \x00", [NUL]),
        ("a" * (MAX_CHARACTERS + 1), [f"is longer than {MAX_CHARACTERS} characters ({MAX_CHARACTERS + 1})"]),
        ("rehearse_fleet: 1\npools: []", ["pools: must not be empty"]),
        (
            "rehearse_fleet: 1\npools: [{name: a, servers: 200000, devices: 0}, {name: b, servers: 1, devices: 0}]",
            ["pools: hold 200001 servers; a fleet has at most 200000"],
        ),
        (
            "rehearse_fleet: 1\npools: [{name: a, servers: " + "9" * 5000 + ", devices: 0}]",
            ["pools[0].servers: must be a count, or a list of names, got '" + "9" * 56 + "..."],
        ),
    ],
)
def test_hostile_texts(text, expected):
    assert problems(text) == expected


def test_problems_of_several_pools_and_queues_come_together():
    text = """
rehearse_fleet: 1
pools:
  - {name: a, servers: 1, accelerator: T44, devices: 1}
  - {name: b, servers: 1, accelerator: T4, devices: 2, islands: [[0]]}
queues:
  - {name: q, nominal: {T4: 1}, borrowing_limit: {T4: 1}}
"""
    assert [line.split(":")[0] for line in problems(text)] == [
        "pools[0].accelerator",
        "pools[1].islands",
        "queues[0].borrowing_limit",
    ]


def test_a_dump_reads_back_and_keeps_hard_names():
    text = changed("name: a", "name: 'no'").replace("spine: s}", "spine: '1e3'}")
    fleet = read(text + "queues: [{name: '~', nominal: {'*': 3}, cohort: 'true'}]")
    assert read(fleet_to_yaml(fleet)) == fleet
    assert fleet.servers[0].domains[1] == "1e3"


def test_the_example_in_the_reference_is_a_fleet_and_every_key_is_described():
    text = (Path(__file__).parents[2] / "docs" / "reference" / "fleet-file.md").read_text(encoding="utf-8")
    fleet = read(re.search(r"```yaml\n(.*?)```", text, re.DOTALL)[1])
    assert (fleet.devices, fleet.queues[0].nominal) == (264, {"nvidia-a100-sxm-80gb": 128, "nvidia-t4": 8})
    for keys in (FleetKeys, PoolKeys, QueueKeys):
        for key in keys.model_fields:
            assert f"| `{key}` |" in text
