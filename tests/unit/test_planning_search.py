"""The smallest count that is enough."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.planning.search import exhaustive, smallest


@given(st.integers(1, 60), st.integers(0, 60), st.integers(1, 70))
def test_a_monotone_question_is_answered_as_by_looking_at_all(least, width, threshold):
    most = least + width
    asked = []

    def enough(count):
        asked.append(count)
        return count >= threshold

    found = smallest(least, most, enough)
    assert found.count == exhaustive(least, most, lambda count: count >= threshold).count
    assert found.monotone
    assert len(asked) == len(set(asked)) <= 15
    assert found.exceptions == []


@given(st.lists(st.booleans(), min_size=1, max_size=40))
def test_the_answer_and_all_that_was_tried_above_it_is_enough(truth):
    found = smallest(1, len(truth), lambda count: truth[count - 1])
    if found.count is None:
        assert not truth[-1]
    else:
        assert all(met for count, met in found.tried.items() if count >= found.count)
        assert all(truth[count - 1] == met for count, met in found.tried.items())


def test_luck_below_the_answer_is_told_and_a_failure_above_moves_it():
    met = {3, 5, 6, 7, 8, 9, 10}
    found = smallest(1, 10, lambda count: count in met)
    assert found.count == 5
    assert found.exceptions == [3]
    assert not found.monotone
    gap = smallest(1, 20, lambda count: count >= 6 and count != 7)
    assert gap.count == 8
    assert gap.exceptions == [6]


def test_nothing_is_enough_and_an_empty_range_is_refused():
    assert smallest(1, 5, lambda _: False).count is None
    with pytest.raises(ValueError, match="no count from 5 to 4"):
        smallest(5, 4, lambda _: True)
