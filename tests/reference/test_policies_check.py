"""`rehearse policies check --reference` on the tables of independent programs: every start, to the millisecond."""

from __future__ import annotations

import pytest
from shared import needs

from policies.catalogue import POLICIES
from sim.experiment.reference import COLUMN_OF, compare_with_reference

pytestmark = pytest.mark.reference


@pytest.mark.parametrize("policy", [name for name in COLUMN_OF if name in POLICIES])
def test_kth_sp2(policy):
    found = compare_with_reference(policy, needs("reference/swf_flat"))
    assert found.differences == []
    assert found.agree == 28_481


@pytest.mark.parametrize("policy", ["fifo:place=first-fit", "fifo:place=best-fit", "best-effort-fifo:place=best-fit"])
def test_venus96(policy):
    found = compare_with_reference(policy, needs("reference/venus96"))
    assert found.differences == []
    assert found.agree == 23_859
