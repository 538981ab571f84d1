"""Lower bounds on the end of the last job."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.bounds.weights import areas

Integers = NDArray[np.int64]


def longest_chain(submit_ms: Integers, run_ms: Integers) -> int:
    """No job ends before its submission plus its run time. There is at least one job."""
    return int((submit_ms + run_ms).max())


def work_bound(submit_ms: Integers, run_ms: Integers, weights: Integers, limit: int) -> int:
    """What is submitted from some moment on takes at least its weight x run time at the limit. There is at least one job."""
    order = np.argsort(-submit_ms, kind="stable")
    submit = submit_ms[order]
    work = np.cumsum(areas(weights[order], run_ms[order]))
    return int((submit - (-work // limit)).max())
