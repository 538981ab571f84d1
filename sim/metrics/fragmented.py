"""Fragmented share of capacity: idle devices that the typical pod of the mix cannot use, mean over time.

See `sim.metrics.fragmentation` for the measure. In a static fill it is what is fragmented at the end.
"""

from __future__ import annotations

from sim.metrics.fragmentation import mean_over_time
from sim.metrics.metric import Metric, Sample


def fragmented_share(sample: Sample) -> float | None:
    """None where it was not measured."""
    run = sample.run
    capacity = run.capacity_milli
    if run.fill is not None and len(run.fill.fragmented_gpu_milli) and capacity:
        return float(run.fill.fragmented_gpu_milli[-1]) / capacity
    if run.fragmentation is None or not capacity:
        return None
    mean = mean_over_time(run.fragmentation, int(run.manifest["end_ms"]))
    return None if mean is None else mean / capacity


METRICS = (
    Metric(
        name="fragmented_share",
        title="fragmented share of capacity",
        unit="share",
        better="lower",
        of=fragmented_share,
        grouped=False,
        in_fill=True,
    ),
)
