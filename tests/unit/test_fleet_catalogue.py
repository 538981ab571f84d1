"""The catalogue of accelerators: the built-in file keeps the schema, and the schema refuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sim.fleet.catalogue import CONFIDENCES, catalogue, read_catalogue
from sim.fleet.problems import FleetError

ROW = """
rehearse_accelerators = 1
[[accelerator]]
id = "x-1"
name = "X One"
aliases = ["X1"]
vendor = "X"
software = "xx"
memory_mib = 1024
cards_per_server = 8
resource_names = ["x.com/x"]
shared_resource_names = []
sharing = "none"
confidence = "L"
source = "invented"
"""


def problems(text):
    with pytest.raises(FleetError) as caught:
        read_catalogue(text, source="t")
    return [str(problem) for problem in caught.value.problems]


def test_the_built_in_rows():
    rows = list(catalogue())
    assert len(rows) >= 1 + 41 + 2, "generic, the 40 cards with V100 in two sizes, and two hidden models of openb"
    assert len({row.id for row in rows}) == len(rows)
    for row in rows:
        assert row.confidence in CONFIDENCES
        assert row.source
        assert row.id == row.id.lower()
        assert " " not in row.id


@pytest.mark.parametrize(
    ("name", "id_"),
    [
        ("A100 SXM 80GB", "nvidia-a100-sxm-80gb"),
        ("a100_sxm_80gb", "nvidia-a100-sxm-80gb"),
        ("Ascend 910B3", "ascend-910b3"),
        ("G2", "openb-g2"),
        ("G3", "openb-g3"),
        ("T4", "nvidia-t4"),
        ("P100", "nvidia-p100-sxm2"),
        ("V100M16", "nvidia-v100-sxm2-16gb"),
        ("V100M32", "nvidia-v100-sxm2-32gb"),
        ("A10", "nvidia-a10"),
    ],
)
def test_names_lead_to_a_row(name, id_):
    assert catalogue().canonical(name) == id_


def test_an_unknown_name_is_left_as_it_is_and_gets_a_hint():
    assert catalogue().find("nvidia-t5") is None
    assert catalogue().canonical("nvidia-t5") == "nvidia-t5"
    assert catalogue().hint("nvidia-t5") == "; did you mean 'nvidia-t4'?"
    assert catalogue().hint("zzzzzz") == "; `rehearse fleet accelerators` lists them"


def test_memory_is_a_constraint_that_differs_by_size():
    assert catalogue().find("V100M16").memory_mib == 16 * 1024
    assert catalogue().find("V100M32").memory_mib == 32 * 1024
    assert catalogue().find("G2").memory_mib is None


def test_a_row_is_read():
    (row,) = read_catalogue(ROW, source="t")
    assert (row.id, row.aliases, row.memory_mib, row.power_w) == ("x-1", ("X1",), 1024, None)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('confidence = "L"', 'confidence = "Q"', "accelerator[0].confidence: must be one of H, M, L, got 'Q'"),
        ('source = "invented"', "", "accelerator[0].source: is required"),
        ('source = "invented"', 'source = " "', "accelerator[0].source: must be a text that is not blank, got ' '"),
        (
            "memory_mib = 1024",
            "memory_mib = 0",
            "accelerator[0].memory_mib: must be a whole number above 0, got 0; leave out what is unknown",
        ),
        (
            "memory_mib = 1024",
            "memory_mib = 1.5",
            "accelerator[0].memory_mib: must be a whole number above 0, got 1.5; leave out what is unknown",
        ),
        ("memory_mib", "memory_mb", "accelerator[0].memory_mb: unknown key; did you mean 'memory_mib'?"),
        ('aliases = ["X1"]', 'aliases = "X1"', "accelerator[0].aliases: must be a list of texts, got 'X1'"),
        ("rehearse_accelerators = 1", "rehearse_accelerators = 2", "rehearse_accelerators: must be 1"),
        ("rehearse_accelerators = 1", "rehearse_accelerators = 1\nx = 1", "x: unknown key"),
    ],
)
def test_a_catalogue_refuses(old, new, expected):
    assert problems(ROW.replace(old, new)) == [expected]


def test_a_catalogue_refuses_what_is_no_list_of_rows():
    expected = ["accelerator: must be a list of tables, each under [[accelerator]]"]
    assert problems("rehearse_accelerators = 1\naccelerator = 3") == expected


def test_a_catalogue_refuses_what_is_not_toml():
    assert problems("a = ")[0].startswith("is not TOML: ")


def test_two_rows_cannot_share_a_name():
    second = ROW.replace("rehearse_accelerators = 1", "").replace('"x-1"', '"y-1"').replace('"X One"', '"Y"')
    assert problems(ROW + second) == ["y-1: the name 'X1' already leads to x-1"]


def test_the_example_in_the_guide_is_a_row():
    guide = Path(__file__).parents[2] / "docs" / "how-to" / "add-an-accelerator.md"
    example = re.search(r"```toml\n(.*?)```", guide.read_text(encoding="utf-8"), re.DOTALL)
    (row,) = read_catalogue("rehearse_accelerators = 1\n" + example[1], source="guide")
    assert row.id == "acme-x1"
    assert catalogue().find(row.id) is None, "the guide must not name a card that is there"
