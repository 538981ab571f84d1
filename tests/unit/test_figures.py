"""What the figures of the notebooks share."""

import re
from itertools import combinations
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
import pandas as pd
import pytest

import sim.report.templates
from sim.figures import COLOURS, OUTCOMES, ROWS_SHOWN, SERIES, forest, set_up, short_names, stacked, time_axis


@pytest.fixture
def axes():
    with mpl.rc_context({"backend": "agg"}):
        set_up()
        figure, axes = plt.subplots()
        yield axes
        plt.close(figure)


def test_the_colours_are_those_of_the_report_on_white_paper():
    sheet = (Path(sim.report.templates.__file__).parent / "picture.css").read_text(encoding="utf-8")
    light, dark = sheet.split("prefers-color-scheme: dark")
    assert all(f"--{name}: {value};" in light for name, value in COLOURS.items())
    assert not any(f"--c0: {value};" in dark for value in COLOURS.values())
    assert [COLOURS[f"c{number}"] for number in range(8)] == list(SERIES)
    assert {"ink", "soft", "paper", "ghost"} <= COLOURS.keys()


def test_lines_can_be_told_apart_without_colour(axes):
    lines = [axes.plot([0, 1])[0] for _ in range(4)]
    assert len({line.get_linestyle() for line in lines}) == 4
    assert lines[0].get_color() == COLOURS["c0"]


def test_outcomes_that_mean_different_things_differ_in_colour_and_in_mark():
    alike = [{"better", "pass"}, {"worse", "fail"}]
    for one, other in combinations(OUTCOMES, 2):
        if {one, other} in alike:
            assert OUTCOMES[one] == OUTCOMES[other]
        else:
            assert all(a != b for a, b in zip(OUTCOMES[one], OUTCOMES[other], strict=True))


def test_an_axis_of_time_has_words_and_holds_the_longest(axes):
    time_axis(axes.xaxis, 7200)
    time_axis(axes.yaxis, 0, every=2)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["at once", "10 s", "1 min", "10 min", "1 h"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["at once", "1 min"]
    assert axes.get_xlim()[1] > 7200
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_a_forest_has_a_row_for_each_group_and_no_mark_where_nothing_is_known(axes):
    rows = {"a": (1.0, 0.0, 3.0, "worse"), "b": (None, None, None, "undecided"), "c": (-1.0, -2.0, -0.5, "better")}
    rows["d"] = (2.0, None, None, "undecided")
    forest(axes, pd.DataFrame.from_dict(rows, orient="index", columns=["value", "low", "high", "verdict"]))
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c", "d"]
    marks = {each.get_label(): each.lines[0].get_xydata().tolist() for each in axes.containers}
    assert marks == {"worse": [[1.0, 0.0]], "better": [[-1.0, 2.0]], "undecided": [[2.0, 3.0]]}
    whiskers = {each.get_label(): each.lines[2][0].get_segments()[0][:, 0].tolist() for each in axes.containers}
    assert whiskers == {"worse": [0.0, 3.0], "better": [-2.0, -0.5], "undecided": [2.0, 2.0]}
    assert axes.get_ylim()[0] > axes.get_ylim()[1], "the first row is above"


def test_a_long_forest_shows_the_largest(axes):
    frame = pd.DataFrame(
        {"value": range(40), "low": 0, "high": 40, "verdict": "worse"}, index=[f"g{n}" for n in range(40)]
    )
    forest(axes, frame)
    assert len(axes.get_yticklabels()) == ROWS_SHOWN
    assert axes.get_yticklabels()[-1].get_text() == "g39"
    assert re.fullmatch(rf"the {ROWS_SHOWN} largest of 40", axes.get_ylabel())


def test_stacked_bars_end_at_the_sum_and_differ_in_pattern(axes):
    stacked(axes, pd.DataFrame({"capacity": [1.0, 2.0], "order": [3.0, 0.5]}, index=["a", "b"]))
    ends = [bars[0].get_x() + bars[0].get_width() for bars in axes.containers]
    assert ends == [1.0, 4.0]
    assert len({bars[0].get_hatch() for bars in axes.containers}) == 2
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["capacity", "order"]


def test_nothing_to_stack_is_an_empty_picture_and_no_warning(axes):
    stacked(axes, pd.DataFrame(index=["a", "b"]))
    forest(axes, pd.DataFrame(columns=["value", "low", "high", "verdict"]))
    assert axes.get_legend() is None


@pytest.mark.parametrize(
    ("policies", "short"),
    [
        (["fifo:per=queue", "easy:per=queue"], ["fifo", "easy"]),
        (["fifo:per=queue", "easy"], ["fifo:per=queue", "easy"]),
        (["easy:place=spread,per=queue", "easy:per=queue"], ["easy:place=spread", "easy"]),
        (["fifo"], ["fifo"]),
        (["fifo:per=queue", "fifo:per=queue"], ["fifo", "fifo"]),
    ],
)
def test_short_names_leave_out_what_all_share(policies, short):
    assert [short_names(policies)[each] for each in policies] == short
