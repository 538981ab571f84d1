"""Nominal quota with borrowing, as Kueue's ClusterQueues keep it.

A queue may hold what it is entitled to, and beyond that what the other queues of its cohort leave unused, up to its
borrowing limit. Nothing is taken back from a borrower: that needs preemption, which this rule does not do. A queue
that the fleet does not know has no entitlement to keep. A job counts whole against each accelerator that it may use.
"""

from __future__ import annotations

from policies.api import ClusterView, JobView, NodeSet, QueueView

ANY = "*"
"""The key of an entitlement that counts every accelerator together."""


class NominalQuota:
    """See the module."""

    name = "nominal quota, borrowing inside the cohort up to the limit, no reclaim"

    def allowed(self, job: JobView, view: ClusterView) -> NodeSet:
        """The eligible servers whose accelerator the queue has headroom for, for the whole job."""
        queue = view.queues.get(job.queue)
        eligible = job.request.eligible
        if queue is None or not queue.nominal_milli:
            return eligible
        demand = job.request.demand_milli
        if headroom(queue, ANY, view) < demand:
            return 0
        topology = view.nodes.topology
        found = 0
        for accelerator, servers in topology.by_accelerator.items():
            if not servers & eligible:
                continue
            if not demand or not accelerator or headroom(queue, accelerator, view) >= demand:
                found |= servers
        return found & eligible


def headroom(queue: QueueView, accelerator: str, view: ClusterView) -> int:
    """Milli-devices of an accelerator that the queue may still take.

    Where the queue's entitlement names accelerators, one that it does not name is not its to use; where it names only
    `*`, single accelerators are not limited.
    """
    nominal = queue.nominal_milli
    if accelerator not in nominal:
        named = any(key != ANY for key in nominal)
        return 0 if named and accelerator != ANY else 1 << 62
    held = queue.held_milli.get(accelerator, 0)
    own = nominal[accelerator] - held
    if queue.cohort is None:
        return own
    unused = sum(
        other.nominal_milli.get(accelerator, 0) - other.held_milli.get(accelerator, 0)
        for other in view.queues.values()
        if other.cohort == queue.cohort
    )
    limit = queue.borrowing_limit_milli
    if limit is None or accelerator not in limit:
        return unused
    return min(unused, own + limit[accelerator])
