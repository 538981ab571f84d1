"""Speeds and locality factors: look-up, estimate, smoothing, and what the files may not say."""

from __future__ import annotations

import pytest

from sim.fleet.catalogue import catalogue
from sim.fleet.problems import FleetError
from sim.world.tables import (
    PPM,
    card_ppm,
    locality_factors_ppm,
    locality_table,
    never_rising,
    read_locality,
    read_speeds,
    relative_speed,
    roofline_ppm,
    speed_table,
)

SPEEDS = """
rehearse_speeds = 1
order = [["nvidia-k80", "nvidia-v100-sxm2-16gb", "nvidia-a100-sxm-80gb"]]
[same_speed]
"nvidia-v100-sxm2-32gb" = "nvidia-v100-sxm2-16gb"
[[family]]
id = "default"
name = "anything"
reference = "nvidia-a100-sxm-80gb"
locality = "default"
[[family.speed]]
accelerator = "nvidia-a100-sxm-80gb"
raw_ppm = 1_000_000
estimated = false
confidence = "H"
source = "reference"
[[family.speed]]
accelerator = "nvidia-v100-sxm2-16gb"
raw_ppm = 1_200_000
estimated = false
confidence = "M"
source = "noise"
[[family]]
id = "vision"
name = "vision"
aliases = ["images"]
reference = "nvidia-v100-sxm2-16gb"
locality = "near"
keep_order = false
[[family.speed]]
accelerator = "nvidia-v100-sxm2-16gb"
raw_ppm = 1_000_000
estimated = false
confidence = "H"
source = "reference"
[[family.speed]]
accelerator = "nvidia-k80"
raw_ppm = 1_400_000
estimated = false
confidence = "H"
source = "host-bound"
"""

LOCALITY = """
rehearse_locality = 1
[[class]]
id = "default"
name = "d"
[[class.factor]]
raw_ppm = 1_000_000
estimated = false
confidence = "H"
source = "s"
[[class.factor]]
raw_ppm = 500_000
estimated = false
confidence = "H"
source = "s"
[[class.factor]]
raw_ppm = 600_000
estimated = false
confidence = "H"
source = "s"
"""


def test_a_measured_pair_is_the_row():
    figure = relative_speed("bert", "910B3")
    assert (figure.ppm, figure.estimated, figure.confidence) == (926_921, False, "M")
    assert "569.5/614.4" in figure.source
    assert card_ppm("bert", "910B3") == figure.ppm


def test_families_go_by_alias_and_unknown_ones_by_the_default():
    assert relative_speed("Llama-7B", "H100") == relative_speed("llm", "H100 SXM")
    unknown, default = relative_speed("my-model", "T4"), relative_speed(None, "T4")
    assert (unknown.ppm, unknown.estimated, unknown.confidence) == (default.ppm, True, "L")
    assert not default.estimated


def test_cards_that_differ_in_memory_only():
    assert relative_speed("lm", "V100M32") == relative_speed("lm", "V100M16")


def test_noise_is_smoothed_and_the_raw_value_kept():
    table = read_speeds(SPEEDS, source="t")
    figure = table.relative_speed(None, "V100")
    assert (figure.ppm, figure.raw_ppm) == (1_000_000, 1_200_000), "a V100 is not faster than an A100"
    kept = table.relative_speed("images", "K80")
    assert (kept.ppm, kept.raw_ppm) == (1_400_000, 1_400_000), "keep_order = false: as measured"


def test_an_unmeasured_pair_goes_by_the_default_family():
    # V100 is the reference of vision; A100 to V100 for the default family is 1,000,000 / 1,000,000 after smoothing
    figure = read_speeds(SPEEDS, source="t").relative_speed("vision", "A100")
    assert (figure.ppm, figure.raw_ppm, figure.estimated, figure.confidence) == (1_000_000, None, True, "L")


def test_an_unmeasured_card_goes_by_its_roofline():
    # L20: 119.5/312 = 0.383 of the peak, 864/2000 = 0.432 of the bandwidth; the smaller counts
    assert roofline_ppm(catalogue().find("L20")) == 383_013
    assert relative_speed(None, "L20").ppm == 383_013
    # S60: no peak published, 672/2000 of the bandwidth
    assert roofline_ppm(catalogue().find("S60")) == 336_000


@pytest.mark.parametrize("name", ["G2", "G3", "some card of mine"])
def test_a_card_without_figures_is_taken_as_the_reference_and_says_so(name):
    figure = relative_speed("bert", name)
    assert (figure.ppm, figure.estimated) == (PPM, True)


def test_the_generic_device_has_speed_one():
    assert {relative_speed(family.id, "generic").ppm for family in speed_table().families} == {PPM}


def test_speed_against_the_card_on_which_it_was_recorded():
    table = read_speeds(SPEEDS, source="t")
    assert table.speed_ratio_ppm("vision", "K80", "V100") == 1_400_000
    assert table.speed_ratio_ppm("vision", "V100", "K80") == 714_286
    assert table.speed_ratio_ppm("vision", "K80", "K80") == PPM


def test_the_built_in_tables_are_sound():
    for family in speed_table().families:
        assert family.speeds[family.reference].ppm == PPM
        assert locality_table().find(family.locality) is not None
        assert all(figure.source for figure in family.speeds.values())
    for each in locality_table().classes:
        factors = [figure.ppm for figure in each.factors]
        assert factors[0] == PPM
        assert factors == sorted(factors, reverse=True)


def test_locality_by_rank():
    # leaf, spine, zone: one server, leaf, spine, zone, whole fleet
    assert locality_factors_ppm(None, 3) == (1_000_000, 899_255, 832_837, 766_418, 700_000)
    assert locality_factors_ppm("lm", 1) == (1_000_000, 501_421, 501_421)
    assert locality_factors_ppm(None, 0) == (1_000_000, 899_255), "without levels rank 1 is the whole fleet"
    assert locality_table().factor("none", 99).ppm == PPM


def test_locality_is_smoothed_and_the_raw_value_kept():
    table = read_locality(LOCALITY, source="t")
    assert table.factors_ppm("default", 2) == (1_000_000, 500_000, 500_000, 500_000)
    assert table.factor("default", 2).raw_ppm == 600_000
    assert never_rising([5, 3, 4, 1]) == [5, 3, 3, 1]
    assert never_rising([]) == []


def test_locality_refuses_an_unknown_class_and_a_negative_rank():
    with pytest.raises(FleetError, match="unknown locality class 'defualt'; did you mean 'default'"):
        locality_table().factor("defualt", 0)
    with pytest.raises(ValueError, match="rank must be at least 0"):
        locality_table().factor("default", -1)


def problems(read, text):
    with pytest.raises(FleetError) as caught:
        read(text, source="t")
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("rehearse_speeds = 1", "rehearse_speeds = 2", "rehearse_speeds: must be 1, got 2"),
        ("rehearse_speeds = 1", "", "rehearse_speeds: is required"),
        ("order =", "oder =", "oder: unknown key; did you mean 'order'?"),
        ("raw_ppm = 1_200_000", "raw_ppm = 0", "family[0].speed[1].raw_ppm: must be 1 to 1000000000, got 0"),
        ("raw_ppm = 1_200_000", "raw_ppm = 1.2", "family[0].speed[1].raw_ppm: must be a whole number, got 1.2"),
        ('source = "noise"', "", "family[0].speed[1].source: is required"),
        ('source = "noise"', 'source = ""', "family[0].speed[1].source: must be text that is not blank, got ''"),
        ('confidence = "M"', 'confidence = "X"', "family[0].speed[1].confidence: must be one of H, M, L, got 'X'"),
        ('id = "vision"', 'id = "default"', "family: 'default' appears twice"),
        ('id = "default"', 'id = "other"', "family: there must be a family 'default'"),
        (
            'reference = "nvidia-v100-sxm2-16gb"',
            'reference = "nvidia-t4"',
            "family[1].reference: must have a row of its own",
        ),
        (
            'accelerator = "nvidia-k80"',
            'accelerator = "K80"',
            "family[1].speed[1].accelerator: must be the id of an accelerator: write 'nvidia-k80' for 'K80'",
        ),
        (
            '[["nvidia-k80",',
            '[["nvidia-k81",',
            "order, same_speed: must be the id of an accelerator, got 'nvidia-k81'; did you mean 'nvidia-k80'?",
        ),
        (
            'accelerator = "nvidia-k80"',
            'accelerator = "nvidia-v100-sxm2-16gb"',
            "family[1].speed[1].raw_ppm: must be 1000000: this is the reference",
        ),
    ],
)
def test_speeds_refuse(old, new, expected):
    assert old in SPEEDS
    assert expected in problems(read_speeds, SPEEDS.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("rehearse_locality = 1", "rehearse_locality = 3", "rehearse_locality: must be 1, got 3"),
        ('id = "default"', 'id = "other"', "class: there must be a class 'default'"),
        (
            "raw_ppm = 1_000_000",
            "raw_ppm = 900_000",
            "class[0].factor[0].raw_ppm: must be 1000000: one server is the measure",
        ),
        ("raw_ppm = 500_000", "raw_ppm = -1", "class[0].factor[1].raw_ppm: must be 1 to 1000000000, got -1"),
        ('name = "d"', 'nam = "d"', "class[0].nam: unknown key; did you mean 'name'?"),
    ],
)
def test_locality_refuses(old, new, expected):
    assert old in LOCALITY
    assert expected in problems(read_locality, LOCALITY.replace(old, new))


def test_locality_refuses_a_class_without_factors_and_two_of_one_name():
    text = LOCALITY + '[[class]]\nid = "default"\nname = "again"\nfactor = []\n'
    expected = ["class[1].factor: must have at least the row of rank 0", "class: 'default' appears twice"]
    assert problems(read_locality, text) == expected


@pytest.mark.parametrize("read", [read_speeds, read_locality])
@pytest.mark.parametrize(
    "text", ["a =", "family = 3\norder = 4\nsame_speed = 5", "class = [1]", "[[family]]\naliases = 3"]
)
def test_texts_of_another_kind_are_refused(read, text):
    assert problems(read, text)
