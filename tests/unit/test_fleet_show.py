"""`rehearse fleet`: text, picture, JSON and YAML, and exit status 2 with every problem."""

from __future__ import annotations

import json

from click.testing import CliRunner

from sim.fleet.draw import draw_fleet
from sim.fleet.load import builtin_fleet
from sim.fleet.model import Fleet, Server
from sim.fleet.picture import MAX_BOXES, save_picture
from sim.fleet.shorthand import parse_shorthand
from sim.fleet.yaml_file import read_fleet_yaml
from sim.fleet_commands import fleet as command


def run(*words):
    return CliRunner().invoke(command, list(words), catch_exceptions=False)


def test_a_small_fleet_as_text():
    fleet = read_fleet_yaml(
        """
rehearse_fleet: 1
name: two
levels: [leaf]
pools:
  - {name: a, servers: 2, accelerator: T4, devices: 4, islands: {every: 2}, place: {leaf: l1}}
  - {name: c, servers: 1, devices: 0, place: {leaf: l2}}
queues:
  - {name: q, nominal: {T4: 6}, cohort: k, borrowing_limit: {T4: 2}, pools: [a]}
  - {name: r, nominal: {T4: 2}}
""",
        source="s",
    )
    assert draw_fleet(fleet, box="#").splitlines() == [
        "two: 3 servers, 8 devices, 1 model of accelerator",
        "  leaf l1: 2 servers, 8 devices",
        "    2 x [##|##] nvidia-t4  pool a  a-0 and 1 other",
        "  leaf l2: 1 server, 0 devices",
        "    1 x [] no devices  pool c  c-0",
        "",
        "accelerator  name  software  devices  servers  MiB a device  confidence",
        "nvidia-t4    T4    cuda            8        2        16,384  M",
        "all                                8        3",
        "",
        "queue  cohort  weight  nominal devices  may borrow   pools",
        "q      k            1  6 nvidia-t4      2 nvidia-t4  a",
        "r      -            1  2 nvidia-t4      nothing      all",
    ]


def many(count):
    servers = tuple(
        Server(name=f"n{i}", pool=f"p{i}", accelerator="mine", devices=1, domains=(f"leaf-{i}",))
        for i in range(count)
    )
    return Fleet(name="many", levels=("leaf",), servers=servers)


def test_a_large_fleet_is_folded_unless_it_is_asked_for_whole():
    folded, whole = draw_fleet(many(30)), draw_fleet(many(30), whole=True)
    assert "  .. and 22 more of level leaf: 22 servers, 22 devices" in folded.splitlines()
    assert "leaf-29" not in folded
    assert "leaf-29" in whole
    assert "not in the catalogue" in whole
    flat = Fleet(
        name="flat", servers=tuple(Server(name=f"n{i}", pool=f"p{i}", accelerator="x", devices=1) for i in range(30))
    )
    assert "  .. and 22 more kinds of server" in draw_fleet(flat).splitlines()


def test_show_prints_the_demo_fleet():
    result = run("show", "demo")
    assert result.exit_code == 0
    assert "demo: 40 servers, 304 devices, 3 models of accelerator" in result.stdout
    assert "language-models" in result.stdout


def test_show_as_json_has_everything():
    data = json.loads(run("show", "2x4:T4", "--json").stdout)
    assert (data["devices"], data["devices_by_accelerator"], len(data["servers"])) == (8, {"nvidia-t4": 8}, 2)
    assert data["servers"][1]["name"] == "n1"


def test_show_as_yaml_is_a_fleet_file():
    assert read_fleet_yaml(run("show", "demo", "--yaml").stdout, source="s") == builtin_fleet()


def test_show_refuses_with_every_problem_and_status_2(tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text("rehearse_fleet: 3\npools: 4\n")
    result = run("show", str(bad))
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.splitlines()[1:] == ["  rehearse_fleet: must be 1, got 3", "  pools: must be a list, got 4"]
    assert run("show", "1x65").exit_code == 2
    assert run("show", "demo", "--json", "--yaml").exit_code == 2


def test_a_picture_is_the_same_bytes_each_time(tmp_path):
    first, second = tmp_path / "a.svg", tmp_path / "b.svg"
    assert run("show", "demo", "--svg", str(first)).exit_code == 0
    assert run("show", "demo", "--svg", str(second)).exit_code == 0
    assert first.read_bytes() == second.read_bytes()
    assert b"zone-b/spine-1/leaf-3" in first.read_bytes()


def test_a_picture_of_a_large_fleet_stays_small(tmp_path):
    for text, unit in (("1000x8", "a box is a server"), (f"{2 * MAX_BOXES}x8", "a box is 2 servers")):
        save_picture(parse_shorthand(text), tmp_path / "big.svg")
        assert unit in (tmp_path / "big.svg").read_text()
        assert (tmp_path / "big.svg").stat().st_size < 1_000_000


def test_a_picture_without_any_device(tmp_path):
    fleet = Fleet(name="银行", servers=(Server(name="a", pool="p", accelerator=None, devices=0),))
    save_picture(fleet, tmp_path / "none.svg")
    assert "银行" in (tmp_path / "none.svg").read_text(encoding="utf-8")


def test_a_picture_that_cannot_be_written(tmp_path):
    result = run("show", "2x2", "--svg", str(tmp_path / "no" / "where.svg"))
    assert result.exit_code == 2
    assert "cannot be written" in result.stderr


def test_accelerators_are_listed_with_their_confidence():
    text = run("accelerators").stdout
    assert "ascend-910b3" in text
    assert "L  recalled or disputed" in text
    rows = json.loads(run("accelerators", "--json").stdout)
    assert all(row["source"] for row in rows)
