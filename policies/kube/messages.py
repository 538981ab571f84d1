"""Why a pod cannot be scheduled, in kube-scheduler's words: `0/30 nodes are available: 30 Insufficient nvidia.com/gpu.`"""

from __future__ import annotations

from collections.abc import Mapping

NOT_HELPFUL = "Preemption is not helpful for scheduling"
NO_VICTIMS = "No preemption victims found for incoming pod"
NO_CLAIMS = "no new claims to deallocate"
"""What the plugin for dynamic resources has to say of a pod that claims none."""

NEVER_PREEMPTS = "not eligible due to preemptionPolicy=Never."
VICTIMS_LEAVE = "not eligible due to a terminating pod on the nominated node."


def unavailable(nodes: int, reasons: Mapping[str, int]) -> str:
    """How many nodes have which reason; a node may have several. Sorted as texts, as the original does."""
    told = sorted(f"{count} {reason}" for reason, count in reasons.items() if count)
    return f"0/{nodes} nodes are available" + (f": {', '.join(told)}." if told else ".")


def unschedulable(nodes: int, reasons: Mapping[str, int], post_filters: tuple[str, ...]) -> str:
    """The whole message: why no node fits, then what the post-filters say."""
    said = ", ".join(each for each in post_filters if each)
    return unavailable(nodes, reasons) + (f" {said}" if said else "")
