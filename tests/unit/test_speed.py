"""How fast a job works on a placement."""

from __future__ import annotations

import pytest
from builders import servers

from policies.api import JobView, PodGroup, Share
from policies.topology import Node, Topology
from sim.world.speed import PPM, SpeedChange, SpeedModel

FLEET = Topology(
    [Node(name=f"n{i}", accelerator="ab"[i % 2], domains=(f"leaf{i // 2}",)) for i in range(4)], ("leaf",)
)
JOB = JobView("a", 0, 0, FLEET.request((PodGroup(2, 1),)), family="bert")
CARDS = {"a": PPM, "b": 600_000}


def on(*nodes: int) -> tuple[Share, ...]:
    return tuple(Share(node, 1) for node in nodes)


def test_nothing_switched_on_is_full_speed():
    model = SpeedModel(FLEET)
    assert model.always_full
    assert model.speed_ppm(JOB, on(0, 3)) == PPM


@pytest.mark.parametrize(("nodes", "speed"), [((0,), PPM), ((1,), 600_000), ((0, 2), PPM), ((0, 1), 600_000)])
def test_the_slowest_card_sets_the_pace(nodes, speed):
    assert SpeedModel(FLEET, card_ppm=lambda _, card: CARDS[card]).speed_ppm(JOB, on(*nodes)) == speed


@pytest.mark.parametrize(
    ("nodes", "speed"), [((0,), PPM), ((0, 1), 900_000), ((0, 2), 400_000), ((0, 1, 3), 400_000)]
)
def test_the_widest_level_that_the_gang_spans_counts(nodes, speed):
    model = SpeedModel(FLEET, locality_ppm=lambda _: (PPM, 900_000, 400_000))
    assert model.speed_ppm(JOB, on(*nodes)) == speed


def named(*models: str) -> JobView:
    return JOB._replace(request=FLEET.request((PodGroup(2, 1),), accelerators=models))


@pytest.mark.parametrize(
    ("models", "on_a", "on_b"),
    [
        ((), 1000, 600),
        (("b",), None, 1000),  # it was recorded there: it takes as long as it took
        (("a", "b"), 1000, 600),
        (("b", "c"), None, 480),  # it may have been recorded on c, which this fleet does not have
        (("a", "b", "vendor.example/gpu"), 1000, 600),  # a resource says nothing of the card
        (("b", "vendor.example/gpu"), None, 600),
    ],
)
def test_a_card_is_compared_with_the_fastest_that_the_job_names(models, on_a, on_b):
    model = SpeedModel(FLEET, card_ppm=lambda _, card: {**CARDS, "c": 1_250_000}[card])
    for node, speed in ((0, on_a), (1, on_b)):
        if speed is not None:
            assert model.speed_ppm(named(*models), on(node)) == speed * 1000
    allowed = [card for card, speed in (("a", on_a), ("b", on_b)) if speed is not None]
    assert model.fastest_ppm("bert", allowed, models) == 1000 * max(each for each in (on_a, on_b) if each)


def test_a_table_that_is_too_short_goes_on_with_its_last_factor():
    assert SpeedModel(FLEET, locality_ppm=lambda _: (PPM, 900_000)).speed_ppm(JOB, on(0, 3)) == 900_000


def test_the_family_is_asked_for():
    model = SpeedModel(FLEET, card_ppm=lambda family, _: 500_000 if family == "bert" else PPM)
    assert model.speed_ppm(JOB, on(0)) == 500_000
    assert model.speed_ppm(JOB._replace(family=None), on(0)) == PPM


def test_factors_multiply_and_never_reach_zero():
    model = SpeedModel(FLEET, card_ppm=lambda *_: 600_000, locality_ppm=lambda _: (PPM, 500_000, 500_000))
    assert model.speed_ppm(JOB, on(0, 1)) == 300_000
    assert SpeedModel(FLEET, card_ppm=lambda *_: 1, locality_ppm=lambda _: (1, 1, 1)).speed_ppm(JOB, on(0, 1)) == 1


def test_a_job_without_devices_has_no_card():
    model = SpeedModel(FLEET, card_ppm=lambda _, card: CARDS[card])
    assert model.speed_ppm(JOB, (Share(1, 0),)) == PPM


def test_changes_of_servers_come_and_go():
    model = SpeedModel(servers(2), changes=[SpeedChange(9, 0b10, PPM), SpeedChange(5, 0b11, 500_000)])
    assert [change.at_ms for change in model.changes] == [5, 9]
    assert not model.always_full
    model.apply(model.changes[0])
    assert [model.speed_ppm(JOB, on(node)) for node in (0, 1)] == [500_000, 500_000]
    model.apply(model.changes[1])
    assert [model.speed_ppm(JOB, on(node)) for node in (0, 1)] == [500_000, PPM]


@pytest.mark.parametrize(("at_ms", "factor"), [(-1, PPM), (0, 0), (0, -5), (0, 1000 * PPM + 1)])
def test_a_change_that_cannot_be(at_ms, factor):
    with pytest.raises(ValueError, match="must be"):
        SpeedChange(at_ms, 1, factor)
