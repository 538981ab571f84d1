"""Node lists by hand, one broken line for each kind of error. The real files are in tests/reference."""

from __future__ import annotations

import pytest

from sim.fleet.model import FleetError
from sim.fleet.node_lists import OPENB_MAX_PODS, read_node_list, recognise

OPENB = "sn,cpu_milli,memory_mib,gpu,model\n"
LINGJUN = "ip,DSW,PSW,ASW\n"
PHILLY = "machineId, number of GPUs, single GPU mem\n"


def problems(text):
    with pytest.raises(FleetError) as caught:
        read_node_list(text, source="list")
    return [str(problem) for problem in caught.value.problems]


def test_openb():
    fleet = read_node_list(OPENB + "b,64000,262144,2,P100\na,32000,131072,0,\nc,1,2,8,G2\n", source="s")
    first, second, third = fleet.servers
    assert [server.name for server in fleet.servers] == ["b", "a", "c"], "the order of the file is kept"
    assert (first.pool, first.accelerator, first.devices, first.device_memory_mib) == ("P100", "P100", 2, 16384)
    assert (first.cpu_milli, first.memory_mib, first.max_pods) == (64000, 262144, OPENB_MAX_PODS)
    assert (second.pool, second.accelerator, second.devices) == ("cpu", None, 0)
    assert (third.accelerator, third.device_memory_mib) == ("G2", None)
    assert fleet.name == "s"


def test_lingjun_names_are_paths_because_they_repeat():
    fleet = read_node_list(LINGJUN + "h1,G6,P10,S2\nh2,G6,P12,S2\n", source="s")
    assert fleet.levels == ("asw", "psw", "dsw")
    assert fleet.servers[0].domains == ("G6/P10/S2", "G6/P10", "G6")
    assert fleet.servers[1].domains == ("G6/P12/S2", "G6/P12", "G6")
    assert fleet.devices == 16
    assert fleet.devices_by_accelerator == {"generic": 16}


def test_philly_in_both_forms():
    official = read_node_list(PHILLY + "m0,2, 12GB\nm1,8, 24GB\n", source="s")
    assert [server.device_memory_mib for server in official.servers] == [12288, 24576]
    assert official.pools == ("2-gpu", "8-gpu")
    revised = read_node_list(",machineId,number of GPUs\n0,m0,8\n1,m1,0\n", source="s")
    assert [(server.name, server.devices, server.accelerator) for server in revised.servers] == [
        ("m0", 8, "generic"),
        ("m1", 0, None),
    ]
    assert revised.servers[0].labels == {}


def test_further_columns_become_labels_and_line_ends_do_not_matter():
    fleet = read_node_list("\ufeffip,DSW,PSW,ASW,room\r\nh1,G6,P10,S2,r1\r\n\r\n", source="s")
    assert fleet.servers[0].labels == {"room": "r1"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (OPENB + "a,x,1,1,T4\n", ["line 2 cpu_milli: must be a whole number from 0 to 9007199254740992, got 'x'"]),
        (OPENB + "a,1,-1,1,T4\n", ["line 2 memory_mib: must be a whole number from 0 to 9007199254740992, got '-1'"]),
        (OPENB + "a,1,1,65,T4\n", ["line 2 gpu: must be a whole number from 0 to 64, got '65'"]),
        (OPENB + "a,1,1,nan,T4\n", ["line 2 gpu: must be a whole number from 0 to 64, got 'nan'"]),
        (OPENB + "a,1,1,1e1,T4\n", ["line 2 gpu: must be a whole number from 0 to 64, got '1e1'"]),
        (OPENB + "a,1,1,8,\n", ["line 2 model: must be given exactly where there are devices, got '' with gpu 8"]),
        (
            OPENB + "a,1,1,0,T4\n",
            ["line 2 model: must be given exactly where there are devices, got 'T4' with gpu 0"],
        ),
        (
            OPENB + "a,1,1,1,T\a\n",
            ["line 2 model: must be a text that is not blank and prints on one line, got 'T\\x07'"],
        ),
        (OPENB + ",1,1,1,T4\n", ["line 2 sn: must be a text that is not blank and prints on one line, got ''"]),
        (OPENB + "a,1,1,1,T4\na,1,1,1,T4\n", ["line 3 sn: the name 'a' is already that of line 2"]),
        (OPENB + "a,1,1,1\n", ["line 2: has 4 cells, the header has 5"]),
        (OPENB + 'a,1,1,1,"T4\n', ["line 2: is not CSV: unexpected end of data"]),
        (OPENB, ["must list 1 to 200000 servers, got 0"]),
        (LINGJUN + "h,G6,,S1\n", ["line 2 PSW: must be a text that is not blank and prints on one line, got ''"]),
        (
            "ip,DSW,PSW,ASW,ASW\nh,a,b,c,d\n",
            ["line 1: every column needs a name of its own that prints, got 'ASW'"] * 2,
        ),
        (PHILLY + "m,2,12\n", ["line 2 single GPU mem: must be a number of gigabytes such as 12GB, got '12'"]),
        (PHILLY + "m,2,0GB\n", ["line 2 single GPU mem: must be a number of gigabytes such as 12GB, got '0GB'"]),
    ],
)
def test_each_kind_of_bad_line(text, expected):
    assert problems(text) == expected


def test_all_bad_lines_at_once_in_the_order_of_the_file():
    text = OPENB + "a,x,1,1,T4\nb,1,1,1,T4\nb,1,1,99,T4\nc,1,1\n"
    places = [line.split(":")[0] for line in problems(text)]
    assert places == ["line 2 cpu_milli", "line 4 gpu", "line 4 sn", "line 5"]


def test_an_unknown_header_says_what_is_known():
    assert recognise("a,b,c\n1,2,3\n") is None
    (line,) = problems("a,b,c\n1,2,3\n")
    assert line.startswith("line 1: is not the header of a known node list; known are openb node list CSV: sn,")


def test_openb_lists_may_call_the_server_name():
    text = "{},cpu_milli,memory_mib,gpu,model\n0000-a,96000,393216,8,G2\n0001-b,32000,262144,0,\n"
    by_sn = read_node_list(text.format("sn"), source="x.csv")
    assert read_node_list(text.format("name"), source="x.csv") == by_sn
    assert [server.name for server in by_sn.servers] == ["0000-a", "0001-b"]
