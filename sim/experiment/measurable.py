"""Which of the selectors that were spelled out can be measured: gates and levels about nobody could never be decided."""

from __future__ import annotations

from collections.abc import Sequence

from sim.experiment.plan import Mask, Subjects
from sim.experiment.quantities import NOBODY, Selector, labels, serving


def measurable(selectors: Sequence[Selector], subjects: Subjects) -> Sequence[Selector]:
    """Without those that ask for requests that no service has, or for jobs with labels that none has together.

    Raises `ValueError` where nothing is left.
    """
    if not selectors:
        return selectors
    what = selectors[0].quantity
    if what.of_requests is None:
        found, who = (
            [each for each in selectors if _asked(each, subjects).any()],
            NOBODY.get(what.about or "", "no job that counts"),
        )
    else:
        found, who = [each for each in selectors if serving(each.where, subjects.services)], "no service"
    if not found:
        raise ValueError(f"{who} has {labels(selectors[0].where)}")
    return found


def _asked(selector: Selector, subjects: Subjects) -> Mask:
    """Those of the jobs that count that a selector is about."""
    about = selector.quantity.about
    found = subjects.labelled(selector.where)
    return found & subjects.having[about] if about in subjects.having else found
