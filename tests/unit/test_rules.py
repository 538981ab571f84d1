"""The rules of a run refuse what cannot be, and have the field's plain defaults."""

from __future__ import annotations

from dataclasses import asdict

import pytest
from builders import job, policy, servers

from sim.engine import Engine, arrival_order, natural
from sim.rules import Rules


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"restart_ms": -1}, "restart_ms: must be >= 0, got -1"),
        ({"checkpoint_ms": 0}, "checkpoint_ms: must be >= 1, got 0"),
        ({"cycle_ms": 0}, "cycle_ms: must be >= 1, got 0"),
        ({"seed": -1}, "seed: must be >= 0, got -1"),
        ({"thinking": "fixed"}, "thinking_ms: must be >= 1 where thinking is fixed, else 0; got 0 with fixed"),
        ({"thinking_ms": 5}, "thinking_ms: must be >= 1 where thinking is fixed, else 0; got 5 with free"),
        ({"thinking": "measured", "decide": "event"}, "thinking: a pass that takes time and a pass after each event"),
        ({"thinking": "measured", "fill": True}, "thinking: a static fill has no clock"),
    ],
)
def test_values_that_cannot_be(wrong, why):
    with pytest.raises(ValueError, match=why):
        Rules(**wrong)


def test_the_defaults_are_plain():
    assert asdict(Rules()) == {
        "split": "whole",
        "ties": "job_id",
        "oracle": False,
        "fill": False,
        "progress": "keep",
        "checkpoint_ms": None,
        "restart_ms": 0,
        "overrun": "extend",
        "decide": "instant",
        "cycle_ms": None,
        "impossible": "reject",
        "thinking": "free",
        "thinking_ms": 0,
        "seed": 0,
    }


@pytest.mark.parametrize(
    "ids",
    [
        ["job1", "job2", "job9", "job10", "job100"],
        ["1", "2", "10"],
        ["a1b2", "a1b10", "a2b1"],
        ["a", "b"],
        ["job_1_2", "job_1_10"],
        ["007", "08", "9"],
    ],
)
def test_numbers_inside_an_id_compare_as_numbers(ids):
    assert sorted(set(ids), key=natural) == ids


def test_different_ids_never_compare_equal():
    assert natural("job01") != natural("job1")
    assert natural("01") != natural("1")


def test_an_id_goes_before_those_that_it_begins():
    assert sorted(["12_3", "12", "job", "job7"], key=natural) == ["12", "12_3", "job", "job7"]


def test_an_id_of_very_many_digits_is_an_id():
    assert natural("9" * 5000) > natural("8" * 5000)


def test_arrival_is_by_submit_time_whatever_the_file_says():
    records = [job("late", 9, 1), job("early", 3, 1), job("tie2", 5, 1), job("tie1", 5, 1)]
    assert arrival_order(records, Rules()) == [1, 3, 2, 0]
    assert arrival_order(records, Rules(ties="file")) == [1, 2, 3, 0]
    assert arrival_order(records, Rules(fill=True)) == [0, 1, 2, 3]
    assert arrival_order([], Rules()) == []


def test_a_job_id_that_is_there_twice_is_refused():
    with pytest.raises(ValueError, match="the same job_id"):
        Engine([job("a", 0, 1), job("a", 1, 1)], servers(1), policy("fifo"))


def test_no_jobs_and_no_servers_are_a_run():
    assert len(Engine([], servers(1), policy("fifo")).run().timeline.at_ms) == 0
    outcome = Engine([job("a", 0, 1)], servers(0), policy("fifo")).run()
    assert list(outcome.rejections) == [0]
