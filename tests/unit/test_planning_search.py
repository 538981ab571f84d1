"""The smallest count that is enough, and the staircase of mixes."""

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.planning.mix import frontier
from sim.planning.search import exhaustive, smallest


@given(st.integers(1, 60), st.integers(0, 60), st.integers(1, 130), st.none() | st.integers(-5, 130))
def test_a_monotone_question_is_answered_as_by_looking_at_all(least, width, threshold, hint):
    most = least + width
    asked = []

    def enough(count):
        asked.append(count)
        return count >= threshold

    found = smallest(least, most, enough, hint=hint)
    assert found.count == exhaustive(least, most, lambda count: count >= threshold).count
    assert found.monotone
    assert len(asked) == len(set(asked)) <= 20
    assert all(least <= count <= most for count in asked)
    assert found.exceptions == []


def test_a_good_hint_needs_only_the_answer_and_its_neighbours():
    found = smallest(1, 1000, lambda count: count >= 500, hint=500)
    assert list(found.tried) == [497, 498, 499, 500, 501, 502, 503]


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.none() | st.integers(1, 40))
def test_the_answer_and_all_that_was_tried_above_it_is_enough(truth, hint):
    found = smallest(1, len(truth), lambda count: truth[count - 1], hint=hint)
    assert all(truth[count - 1] == met for count, met in found.tried.items())
    if found.count is None:
        assert not truth[-1]
    else:
        assert all(met for count, met in found.tried.items() if count >= found.count)
        assert found.count == 1 or found.tried[found.count - 1] is False


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
    assert smallest(1, 5, lambda count: count < 5, hint=5).count is None
    with pytest.raises(ValueError, match="no count from 5 to 4"):
        smallest(5, 4, lambda _: True)


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 6)), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 5)), max_size=4),
    st.integers(0, 30),
)
def test_the_frontier_of_mixes_is_that_of_looking_at_all(ends, needs, budget):
    ranges = [range(low, low + size) for low, size in ends]
    asked = []

    def enough(counts):  # enough of everything for one of the needs: any monotone question is of this form
        asked.append(counts)
        return any(all(have >= need for have, need in zip(counts, each, strict=False)) for each in needs)

    def affordable(counts):
        return sum((place + 1) * count for place, count in enumerate(counts)) <= budget

    found = frontier(ranges, enough, affordable)
    assert len(asked) == len(set(asked))
    assert all(affordable(counts) for counts in asked)
    good = [counts for counts in product(*ranges) if affordable(counts) and enough(counts)]
    minimal = [
        one
        for one in good
        if not any(other != one and all(a <= b for a, b in zip(other, one, strict=True)) for other in good)
    ]
    assert sorted(found) == sorted(minimal)


def test_a_staircase_needs_about_two_looks_a_step():
    asked = []

    def enough(counts):
        asked.append(counts)
        return 2 * counts[0] + counts[1] >= 60

    found = frontier([range(30), range(60)], enough)
    assert set(found) == {(n, 60 - 2 * n) for n in range(1, 30)}
    assert len(asked) < 120, "of 1,800 mixes"
